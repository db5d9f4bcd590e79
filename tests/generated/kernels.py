"""Whole kernels with their launches: drawn from a `random.Random`, so that a seed gives each back.

Hypothesis gives a `Random` of its own, which it can make simpler: the first of any choices is the simplest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np

from generated.draft import Draft, Parameter
from generated.expressions import condition, numbering
from generated.group_patterns import GROUP_PATTERNS
from generated.patterns import PATTERNS
from generated.shared_patterns import SHARED_PATTERNS
from lb_runtime.arguments import HostValue
from lb_runtime.launch import NDRange

NAME = "generated"
POCL, INTEL, MIXED = "Portable Computing Language", "Intel(R) OpenCL", "one of each"

OTHER_KERNEL = """
kernel void other(global int *to) {
    to[get_group_id(0) * get_local_size(0)] = (int)get_global_size(0);
}
"""


@dataclass(frozen=True)
class Generated:
    """A kernel, a launch of it, and how the launch is to be cut.

    `shares` has one entry for each part, `devices` the number of the device (0 or 1) that runs it.
    `local_size` is None where the runtime is to choose. `pair` names the two devices: one
    of POCL or INTEL cut in two, or one of each, MIXED, whose compilers should agree on every byte.
    """

    source: str
    options: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    global_size: tuple[int, ...]
    local_size: tuple[int, ...] | None
    offset: tuple[int, ...]
    shares: tuple[float, ...]
    devices: tuple[int, ...]
    pair: str
    patterns: tuple[str, ...]
    seed: int

    @property
    def uses_double(self) -> bool:
        """Whether a device needs double precision for it."""
        return "double" in self.source

    def values(self) -> list[HostValue]:
        """The arguments; each call makes them anew."""
        random = np.random.default_rng(self.seed)
        values: list[HostValue] = []
        for parameter in self.parameters:
            values.append(parameter.content.make(random, values))
        return values

    def __str__(self) -> str:
        launch = (
            f"global {self.global_size}, local {self.local_size}, offset {self.offset}, "
            f"shares {self.shares}, devices {self.devices} of {self.pair}, content seed {self.seed}"
        )
        contents = "\n".join(f"  {p.declaration}: {p.content}" for p in self.parameters)
        return f"{self.source}\n{' '.join(self.options)} {launch}\n{contents}"


def generate(random: Random) -> Generated:
    """A kernel that has no race, and a launch in which it leaves no buffer."""
    global_size, local_size, offset = _launch(random)
    pair = random.choice((MIXED, INTEL, MIXED, INTEL, MIXED, MIXED, POCL))
    if any(offset):
        # Intel's compiler gets bounds wrong on narrowed differences of an id and a constant: seen are
        # `int i = get_global_id(0) - five()` before `i >= 1`, and `short` ids beside other guards.
        pair = POCL
    options: tuple[str, ...] = ()
    if pair == INTEL and random.randint(1, 100) <= 20:
        # PoCL's CPU device stays at OpenCL C 1.2.
        options = ("-cl-std=CL2.0",)
        if local_size is not None and random.randint(1, 2) == 1:
            global_size = tuple(max(2, size - random.randint(0, 2)) for size in global_size)
    nd_range = NDRange.of(global_size, local_size, offset, allow_non_uniform=bool(options))
    draft = Draft(
        random,
        nd_range,
        is_mixed=pair == MIXED,
        is_exact=random.randint(1, 5) < (5 if pair == MIXED else 3),
        options=options,
    )
    statements = _statements(draft)
    body = "\n    ".join(statements)
    # What the body names is declared before it, and declarations may name others.
    declared = _declarations(draft, body)
    parameters = list(draft.parameters)
    if all(p.content.kind != "same" for p in parameters):
        random.shuffle(parameters)
    source = _text(draft, parameters, [*declared, body])
    shares, devices = _cut(random)
    return Generated(
        source,
        options,
        tuple(parameters),
        global_size,
        local_size,
        offset,
        shares,
        devices,
        pair,
        tuple(draft.patterns),
        random.randint(0, 1000),
    )


def _launch(random: Random) -> tuple[tuple[int, ...], tuple[int, ...] | None, tuple[int, ...]]:
    """Global size, local size and offset of up to a few thousand work-items."""
    dimensions = random.choice((1, 1, 2, 2, 3))
    offset = (0,) * dimensions
    if random.randint(1, 100) > 80:
        offset = tuple(random.choice((5, 0, 17, 1000, 130560)) for _ in range(dimensions))
    if random.randint(1, 100) <= 12:
        edges = {1: (258, 700), 2: (12, 40), 3: (6, 12)}[dimensions]
        return tuple(random.randint(*edges) for _ in range(dimensions)), None, offset
    sizes = {1: (4, 8, 1, 3, 7, 16, 32, 64), 2: (2, 4, 1, 3, 8), 3: (2, 1, 3, 4)}[dimensions]
    local = tuple(random.choice(sizes) for _ in range(dimensions))
    if dimensions == 2 and random.randint(1, 100) <= 30:
        local = (local[0], local[0])
    most = {1: 14, 2: 6, 3: 4}[dimensions]
    groups = [random.randint(1 if dimensions > 1 else 2, most) for _ in range(dimensions)]
    if max(groups) == 1:
        groups[-1] = 2
    if random.randint(1, 100) <= 10:
        groups[random.randint(0, dimensions - 1)] = random.choice((35, 70, 100))
    return tuple(g * size for g, size in zip(groups, local)), local, offset


def _cut(random: Random) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """The parts' shares, which sum to 1, and their devices."""
    devices = random.choice(
        ((0, 1), (0, 1), (0, 1), (1, 0), (0, 1, 0), (1, 0, 1), (0, 1, 1), (0, 0, 1))
    )
    weights = [random.randint(1, 9) for _ in devices]
    return tuple(weight / sum(weights) for weight in weights), devices


def _chosen(draft: Draft, patterns: dict[Callable[[Draft], str], int]) -> str:
    """The statements of one pattern, taken as often as its weight says."""
    pattern = draft.random.choices(list(patterns), weights=list(patterns.values()))[0]
    draft.patterns.append(pattern.__name__)
    return pattern(draft)


def _statements(draft: Draft) -> list[str]:
    """The kernel's statements: those with barriers first, so that items may return after them."""
    kind = draft.number(1, 100)
    together: list[str] = []
    alone: list[str] = []
    if kind <= 18 and not draft.nd_range.non_uniform:
        together.append(_chosen(draft, GROUP_PATTERNS))
    elif kind <= 36 and (draft.is_exact or not draft.is_mixed):
        # Sums of numbers that devices round differently would be neither device's.
        alone.append(_chosen(draft, SHARED_PATTERNS))
    if not (together or alone) or draft.chance(40):
        alone.append(_chosen(draft, PATTERNS))
    if draft.chance(30):
        alone.append(_chosen(draft, PATTERNS))
    if draft.chance(10):
        together.append(f"if {condition(draft, 1)} return;")
    if len(alone) > 1 and draft.chance(10):
        alone = [f"if {condition(draft, 1)} {{ {' '.join(alone)} }}"]
    return [f"{{ {s} }}" if "return" not in s else s for s in (*together, *alone)]


def _declarations(draft: Draft, body: str) -> list[str]:
    """Declarations of those variables that the body names: `i`, coordinates, `lid`, `grp`, local memory."""
    nd_range = draft.nd_range
    lines: list[str] = []

    def names(name: str) -> bool:
        return any(re.search(rf"\b{name}\b", text) for text in (body, *lines))

    if names("i"):
        number = numbering(draft).text if draft.chance(70) else own_place_of_all(draft)
        lines.append(f"const {draft.integer()} i = {number};")
    for dimension in reversed(range(nd_range.dimensions)):
        if names(f"c{dimension}"):
            offset = nd_range.offset[dimension]
            start = f" - {offset}" if offset else ""
            kind = draft.integer()
            lines.insert(0, f"const {kind} c{dimension} = get_global_id({dimension}){start};")
    if names("lid"):
        lines.append(f"const int lid = {_linear('get_local_id', nd_range.local_size)};")
    if names("grp"):
        lines.append(f"const int grp = {_linear('get_group_id', nd_range.groups)};")
    return [*draft.variables.values(), *lines]


def own_place_of_all(draft: Draft) -> str:
    """The plainest number of a work-item."""
    nd_range = draft.nd_range
    text = ""
    for dimension in reversed(range(nd_range.dimensions)):
        offset = nd_range.offset[dimension]
        each = (
            f"(get_global_id({dimension}) - {offset})" if offset else f"get_global_id({dimension})"
        )
        text = f"({text} * {nd_range.global_size[dimension]} + {each})" if text else each
    return text


def _linear(built_in: str, sizes: tuple[int, ...]) -> str:
    text = ""
    for dimension in reversed(range(len(sizes))):
        each = f"{built_in}({dimension})"
        text = f"({text} * {sizes[dimension]} + {each})" if text else each
    return text


def _text(draft: Draft, parameters: list[Parameter], lines: list[str]) -> str:
    """The program's text."""
    body = "\n    ".join(lines)
    helpers = list(draft.helpers.values())
    if draft.options and draft.chance(50):
        # Pointers to generic memory.
        helpers = [text.replace("global ", "") for text in helpers]
    if "double" in body or any("double" in p.declaration for p in parameters):
        helpers.insert(0, "#pragma OPENCL EXTENSION cl_khr_fp64 : enable")
    if draft.chance(15):
        helpers.append("#define ID(d) get_global_id(d)")
        body = body.replace("get_global_id(", "ID(")
    if draft.chance(15):
        helpers.append("#define WIDTH get_global_size(0)")
        body = body.replace("get_global_size(0)", "WIDTH")
    if draft.chance(10):
        helpers.append(OTHER_KERNEL.strip())
    attribute = ""
    if draft.chance(10):
        sizes = (*draft.nd_range.local_size, 1, 1)[:3]
        attribute = f"__attribute__((reqd_work_group_size({', '.join(map(str, sizes))})))\n"
    signature = ", ".join(p.declaration for p in parameters)
    # Pragmas stand before all that needs them.
    helpers.sort(key=lambda text: not text.startswith("#pragma"))
    head = "\n".join(helpers) + "\n" if helpers else ""
    return f"{head}{attribute}kernel void {NAME}({signature})\n{{\n    {body}\n}}\n"
