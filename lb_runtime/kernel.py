"""One kernel of one source, looked at once: its module, program graph and facts; and its ranges.

Everything here follows from text and build options alone; no device is asked.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from time import perf_counter

from lb_runtime.analysis.facts import KernelFacts, kernel_facts
from lb_runtime.errors import LaunchError
from lb_runtime.launch import NDRange, allows_non_uniform
from lb_runtime.records import dataclass
from predictor import assembly, ir, program_graph
from predictor.frontend import compile_text, included_text
from predictor.program_graph import ProgramGraph


@dataclass(frozen=True, slots=True)
class LookSeconds:
    """Where the time of looking at a kernel went, in seconds."""

    compile: float
    parse: float
    graph: float
    facts: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.compile + self.parse + self.graph + self.facts


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel as text, as program graph and as facts.

    `filename` names the source in errors; `options` are the build options for every compiler.
    """

    source: str
    options: tuple[str, ...]
    filename: str
    facts: KernelFacts
    graph: ProgramGraph
    seconds: LookSeconds

    @property
    def name(self) -> str:
        """The kernel function's name."""
        return self.facts.name


def look_at(
    source: str,
    options: Sequence[str] = (),
    kernel_name: str | None = None,
    *,
    filename: str = "<kernel>",
    cache: bool = True,
) -> Kernel:
    """Compile a source and look at one of its kernels; the only one where none is named.

    Raises:
        CompileError, FrontEndError: the front end refuses the source, or cannot run.
        KernelNotFoundError: no kernel of that name, or none is named and there are several.
    """
    options = tuple(options)
    started = perf_counter()
    text = compile_text(source, options, filename=filename, cache=cache)
    compiled = perf_counter()
    module = _parsed(text)
    parsed = perf_counter()
    everything = included_text(source, options, filename=filename)
    if everything != source:
        # Programs are kept by their text: one whose includes change must become another text.
        digest = hashlib.sha256(everything.encode("utf-8", "surrogateescape")).hexdigest()
        source = f"{source}\n// includes {digest}\n"
    facts = kernel_facts(module, everything, options, kernel_name)
    judged = perf_counter()
    graph = program_graph.build(module.only(facts.name))
    ended = perf_counter()
    seconds = LookSeconds(compiled - started, parsed - compiled, ended - judged, judged - parsed)
    return Kernel(source, options, filename, facts, graph, seconds)


def names_in(source: str, options: Sequence[str] = ()) -> list[str]:
    """The names of a source's kernels. Raises as `look_at`."""
    return [ir.bare_name(each.name) for each in _parsed(compile_text(source, options)).kernels()]


@functools.lru_cache(maxsize=2)
def _parsed(text: str) -> ir.Module:
    """The module of a text: kernels of one source are looked at one after the other."""
    return assembly.parse(text)


def launch_range(
    kernel: Kernel,
    global_size: tuple[int, ...],
    local_size: tuple[int, ...] | None,
    offset: tuple[int, ...] | None,
) -> NDRange:
    """The range of a launch; a local size that is not given is the one that the kernel requires.

    Where the kernel's build options ask for OpenCL C 2.0 or later, the local size need not divide the
    global size.

    Raises:
        LaunchError: sizes that do not fit each other or the kernel's `reqd_work_group_size`.
    """
    required = kernel.facts.required_local_size
    if required is not None:
        padded = (*required[: len(global_size)],)
        if local_size is not None and tuple(local_size) != padded:
            raise LaunchError(
                f"local size {local_size} given, but kernel {kernel.name} requires {padded}"
            )
        if any(size != 1 for size in required[len(global_size) :]):
            raise LaunchError(
                f"{len(global_size)} dimensions given, but kernel {kernel.name} requires work-groups "
                f"of {required}"
            )
        local_size = padded
    return NDRange.of(
        global_size,
        local_size,
        offset,
        allow_non_uniform=allows_non_uniform(kernel.options),
    )
