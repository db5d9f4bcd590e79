"""What the subcommands share: the kernel file, its launch from options and default launch, its values."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from lb_runtime.analysis.assumptions import AssumedLaunch, assume
from lb_runtime.analysis.facts import ParameterFacts
from lb_runtime.analysis.made_up import (
    ArrayMade,
    ImageMade,
    LocalMade,
    Made,
    NumberMade,
    SamplerMade,
    scalar_bytes,
)
from lb_runtime.arguments import HostValue, checked
from lb_runtime.cli.kernel_file import DefaultLaunch, read_default_launch, read_source
from lb_runtime.cli.specs import Spec, parse_spec
from lb_runtime.errors import ArgumentError, LaunchError
from lb_runtime.images import CHANNEL_TYPES, Image, Sampler
from lb_runtime.kernel import Kernel, launch_range, look_at
from lb_runtime.launch import LocalArgument
from lb_runtime.memory.pages import on_page
from predictor.frontend import split_options

Command = TypeVar("Command", bound=Callable[..., Any])


class Sizes(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks alone
    """Work-items per dimension, `4096x4096`; each a number such as 1048576, 1M or 1<<20."""

    name = "N[xN[xN]]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Read sizes; a wrong text is a usage error."""
        if isinstance(value, tuple):
            return value
        sizes: list[int] = []
        for text in re.split(r"[x,]", str(value)):
            match = re.fullmatch(r"\s*(\d+)\s*(?:<<\s*(\d+)|([kKmMgG]))?\s*", text)
            if not match:
                self.fail(
                    f"{value!r} given, expected sizes such as 1048576 or 4096x4096", param, ctx
                )
            scale = {"": 0, "k": 10, "m": 20, "g": 30}[(match[3] or "").lower()]
            sizes.append(int(match[1]) << (int(match[2] or 0) + scale))
        if len(sizes) > 3:
            self.fail(f"{value!r} given, expected at most 3 dimensions", param, ctx)
        return tuple(sizes)


class Share(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks alone
    """A CPU share: auto, cpu, gpu, a fraction or a percentage."""

    name = "auto|0.3|30%|cpu|gpu"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        """Read a share; None for auto, a wrong text is a usage error."""
        text = str(value).strip().lower()
        if text in ("auto", "cpu", "gpu"):
            return {"auto": None, "cpu": 1.0, "gpu": 0.0}[text]
        try:
            share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            self.fail(
                f"{value!r} given, expected auto, cpu, gpu, a CPU share from 0 to 1, or 0% to 100%",
                param,
                ctx,
            )
        return share


def kernel_options(command: Command) -> Command:
    """The arguments and options that choose a kernel."""
    for decorate in reversed(
        (
            click.argument("path", metavar="KERNEL.cl", type=click.Path(path_type=Path)),
            click.option("--kernel", "name", metavar="NAME", help="Which kernel of the file."),
            click.option(
                "--options",
                "-O",
                "build_options",
                metavar="'-D N=4 ...'",
                help="Build options, added to those of the default launch.",
            ),
        )
    ):
        command = decorate(command)
    return command


def launch_options(command: Command) -> Command:
    """The options that choose a launch."""
    for decorate in reversed(
        (
            click.option(
                "-g", "--global", "global_size", type=Sizes(), help="Global size, in work-items."
            ),
            click.option(
                "-l", "--local", "local_size", type=Sizes(), help="Local size, in work-items."
            ),
            click.option("--offset", type=Sizes(), help="Global offset, in work-items."),
            click.option(
                "--arg",
                "specs",
                metavar="NAME=SPEC",
                multiple=True,
                help="An argument: a number, rand:float32:1M, zeros:int32:1000, arange:int32:64, "
                "local:float32:256, or a FILE.npy. Repeat for each.",
            ),
        )
    ):
        command = decorate(command)
    return command


def judging_options(command: Command) -> Command:
    """The options that ask more of a kernel before it is split."""
    for decorate in reversed(
        (
            click.option(
                "--exact",
                is_flag=True,
                default=None,
                help="Split only kernels whose values are the same on every device; or LB_EXACT=1.",
            ),
            click.option(
                "--strict",
                is_flag=True,
                default=None,
                help="Split only where no two work-groups can meet, whatever the data; or LB_STRICT=1.",
            ),
        )
    ):
        command = decorate(command)
    return command


@dataclass(frozen=True, slots=True)
class KernelChoice:
    """A kernel of a file, and the default launch beside it if that is for this kernel."""

    kernel: Kernel
    default: DefaultLaunch | None


def choose_kernel(path: Path, name: str | None, build_options: str | None) -> KernelChoice:
    """Read and look at a kernel; the default launch names it where the command line does not.

    Includes are looked for in the current folder first, as OpenCL's compilers do, then in the file's.

    Raises:
        KernelFileError, CompileError, KernelNotFoundError.
    """
    source = read_source(path)
    default = read_default_launch(path)
    name = name or (default.kernel if default else None)
    options = (*(default.options if default else ()), *split_options(build_options or ""))
    if re.search(r"^\s*#\s*include", source, re.MULTILINE):
        options = (*options, f"-I{path.parent}")
    kernel = look_at(source, options, name, filename=str(path))
    matching = default if default and default.kernel == kernel.name else None
    return KernelChoice(kernel, matching)


def choose_specs(choice: KernelChoice, given: tuple[str, ...]) -> dict[str, Spec]:
    """The SPEC of each argument by name: the default launch's, replaced by those given.

    Raises:
        ArgumentError: a text that is no NAME=SPEC, or a name that the kernel does not have.
    """
    specs: dict[str, Spec] = dict(choice.default.arguments) if choice.default else {}
    parameters = choice.kernel.facts.parameters
    names = [parameter.name for parameter in parameters]
    for text in given:
        name, equals, spec = text.partition("=")
        if not equals:
            raise ArgumentError(f"--arg {text!r} given, expected NAME=SPEC, such as n=1024")
        if name.isdigit() and int(name) < len(names):
            name = names[int(name)]
        try:
            specs[name] = parse_spec(spec)
        except ArgumentError as error:
            raise ArgumentError(f"argument {name}: {error}") from None
    unknown = [name for name in specs if name not in names]
    if unknown:
        raise ArgumentError(
            f"kernel {choice.kernel.name} has no argument {unknown[0]!r}, but: "
            f"{', '.join(names) or 'none'}"
        )
    return specs


@dataclass(frozen=True, slots=True, eq=False)
class ChosenLaunch:
    """The launch that a command is about.

    `given` are the values of options and default launch by parameter; `assumed` holds the launch, and
    what was chosen for what they leave open.
    """

    choice: KernelChoice
    given: dict[str, HostValue]
    assumed: AssumedLaunch

    def values(self, seed: int) -> list[HostValue]:
        """The value of each parameter; what is made up is random by this seed."""
        values: list[HostValue] = []
        for position, parameter in enumerate(self.choice.kernel.facts.parameters):
            chosen = self.assumed.made.get(parameter.name)
            if parameter.name in self.given:
                values.append(self.given[parameter.name])
            elif chosen is None:
                raise ArgumentError(
                    f"argument {parameter.name} is a {parameter.type_text}, for which no value can be "
                    "made up: run this kernel from your own program"
                )
            else:
                values.append(_value(chosen, seed, position))
        return values

    def refuse_danger(self) -> None:
        """Refuse to run where made-up data may lead outside of memory, which crashes drivers.

        Raises:
            ArgumentError: it may.
        """
        if self.assumed.dangers:
            raise ArgumentError(
                f"not run with made-up data, which may lead outside of memory: {self.assumed.dangers[0]}; "
                "give --arg NAME=SPEC for it and for what it is computed from"
            )

    def tell(self, indent: str = "") -> None:
        """Print what was assumed; nothing where nothing was."""
        if self.assumed.text:
            click.echo(f"{indent}assumed: {self.assumed.text}")
        for note in self.assumed.notes:
            click.echo(f"{indent}assumed: {note}")

    def as_json(self) -> dict[str, Any]:
        """What was assumed, for a program to read: options of `lb`, and notes."""
        return {"options": self.assumed.text, "notes": list(self.assumed.notes)}


def _value(made: Made, seed: int, position: int) -> HostValue:
    """What was chosen for the parameter at a position, as a value."""
    if isinstance(made, ArrayMade):
        return _placed(parse_spec(made.spec).materialise(seed, position))
    if isinstance(made, NumberMade):
        return made.number
    if isinstance(made, LocalMade):
        return LocalArgument(made.size_bytes)
    if isinstance(made, ImageMade):
        dtype = CHANNEL_TYPES[made.channel_type]
        shape = "x".join(str(size) for size in reversed(made.shape))
        pixels = np.asarray(parse_spec(f"rand:{dtype}x4:{shape}").materialise(seed, position))
        return Image(pixels, "RGBA", made.channel_type)
    if isinstance(made, SamplerMade):
        return Sampler(False, "CLAMP_TO_EDGE", "NEAREST")
    return made.scalar


def _placed(value: HostValue) -> HostValue:
    """An array where CPU devices can read it without a copy, other values as they are."""
    return on_page(value) if isinstance(value, np.ndarray) and value.ndim else value


def choose_launch(
    choice: KernelChoice,
    global_size: tuple[int, ...] | None,
    local_size: tuple[int, ...] | None,
    offset: tuple[int, ...] | None,
    specs: tuple[str, ...],
    seed: int = 0,
) -> ChosenLaunch:
    """The launch that options and default launch describe; what they leave open is assumed.

    Raises:
        ArgumentError: a value that does not fit its parameter, an image, or a launch that would take
            more memory than is made up.
        LaunchError: sizes that do not fit each other.
    """
    kernel = choice.kernel
    facts = kernel.facts
    chosen = choose_specs(choice, specs)
    given: dict[str, HostValue] = {}
    for position, parameter in enumerate(facts.parameters):
        if parameter.name in chosen:
            value = _placed(chosen[parameter.name].materialise(seed, position))
            _check_element(parameter, value)
            given[parameter.name] = value
    known = {p.name: checked(p, given[p.name]) for p in facts.parameters if p.name in given}
    nd_range, is_local_free = None, False
    if global_size is not None or choice.default is not None:
        sizes = choose_range(choice, global_size, local_size, offset)
        nd_range, is_local_free = launch_range(kernel, *sizes), sizes[1] is None
    assumed = assume(
        facts,
        nd_range,
        known,
        local_size=local_size,
        offset=offset,
        is_local_free=is_local_free,
    )
    return ChosenLaunch(choice, given, assumed)


def _check_element(parameter: ParameterFacts, value: object) -> None:
    """Refuse an array whose elements are not as wide as what the kernel reads them as."""
    width = scalar_bytes(parameter)
    if parameter.kind != "buffer" or not isinstance(value, np.ndarray) or not width:
        return
    if value.dtype.names is None and value.dtype.itemsize != width:
        raise ArgumentError(
            f"argument {parameter.name} is {parameter.type_text}, whose elements have {width} bytes, but "
            f"an array of {value.dtype} was given: give {_example(parameter)}"
        )


def _example(parameter: ParameterFacts) -> str:
    """A SPEC that would fit a parameter."""
    element = re.sub(r"\b(?:const|restrict|volatile|__\w+)\b|\*", "", parameter.type_text).strip()
    if parameter.kind == "buffer":
        return f"rand:{element or 'float'}:1M"
    if parameter.kind == "local":
        return f"local:{element or 'float'}:256"
    return "1024" if parameter.llvm_type.startswith("i") else "1.0"


def choose_range(
    choice: KernelChoice,
    global_size: tuple[int, ...] | None,
    local_size: tuple[int, ...] | None,
    offset: tuple[int, ...] | None,
) -> tuple[tuple[int, ...], tuple[int, ...] | None, tuple[int, ...] | None]:
    """Global size, local size and offset: those given, else those of the default launch.

    A default local size is kept for another global size where it still divides it.

    Raises:
        LaunchError: there is neither.
    """
    default = choice.default
    if global_size is None:
        if default is None:
            raise LaunchError("no global size: give it with -g, such as -g 1048576 or -g 1024x1024")
        return default.global_size, local_size or default.local_size, offset or default.offset
    if default is not None and len(default.global_size) == len(global_size):
        kept = default.local_size
        if local_size is None and kept is not None:
            divides = all(total % size == 0 for total, size in zip(global_size, kept))
            local_size = kept if divides else None
        offset = offset or default.offset
    return global_size, local_size, offset
