"""How far a launch reaches: into each buffer, into local memory, and how many steps its loops take.

Evaluated for the whole range at once. What the accesses say of strides is kept too: a kernel with sizes
written into it is recognised by them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from lb_runtime.analysis import layout
from lb_runtime.analysis.accesses import Access, slice_accesses
from lb_runtime.analysis.facts import KernelFacts
from lb_runtime.analysis.forms import Form, Span
from lb_runtime.analysis.frame import Frame
from lb_runtime.analysis.origins import Memory, Origins
from lb_runtime.analysis.values import WORK_GROUP_POINTER
from lb_runtime.launch import Launch, LocalArgument, Slice

UNKNOWN_TRIPS = 16
"""The iterations that a loop is taken to have which data ends, or of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The bytes `[low, high]` of a buffer that a launch may touch, both included.

    `is_exact` tells that ids and counted loops alone decide.
    """

    low: int
    high: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Extents:
    """What one launch reaches.

    `buffers` and `local_bytes` are by parameter; a local argument of which nothing is known is left
    out. `leaves_local` tells that an access shown to be in local memory of a fixed size may leave it.
    `steps` estimates the innermost loop iterations of all work-items together. `group_sizes` and
    `global_sizes` are sizes, by dimension, that strides of accesses fit to, and `loop_size` the
    iterations that they fit to (0 for none). `accesses` counts them.
    """

    buffers: dict[int, Reach]
    local_bytes: dict[int, int]
    leaves_local: bool
    steps: int
    group_sizes: dict[int, int]
    global_sizes: dict[int, int]
    loop_size: int
    accesses: int


def extents(
    kernel: KernelFacts,
    launch: Launch,
    origins: Origins,
    data_loops: frozenset[tuple[str, str]],
) -> Extents:
    """Evaluate a launch; `data_loops` are those that data ends."""
    whole = Slice(0, 0, launch.nd_range.groups[0])
    found = slice_accesses(kernel, launch, whole).accesses
    frame = next((a.site.frame for a in found if not a.site.frame.path), None)
    local = _local_spans(frame, origins) if frame is not None else {}
    sizes = _variable_bytes(kernel)
    inside = [(form, sizes.get(memory)) for memory, (_, all_) in local.items() for form in all_]
    global_sizes, loop_size = _global_sizes(found)
    return Extents(
        _hulls(found),
        {
            int(memory[1]): span.high + 1
            for memory, (span, _) in local.items()
            if memory[0] == "local argument" and isinstance(memory[1], int)
        },
        any(
            memory in sizes and not (span.low >= 0 and span.high < sizes[memory])
            for memory, (span, _) in local.items()
        )
        or _leaves_arguments(launch, local),
        launch.nd_range.items * (_trips(frame, data_loops) if frame is not None else 1),
        _group_sizes([(a.form, None) for a in found if not a.is_write])
        | _group_sizes(inside)
        | _group_sizes([(a.form, None) for a in found if a.is_write]),
        global_sizes,
        loop_size,
        len(found),
    )


def _hulls(accesses: Iterable[Access]) -> dict[int, Reach]:
    hulls: dict[int, Reach] = {}
    for access in accesses:
        mine = Reach(access.span.low, access.span.high, access.is_exact)
        known = hulls.get(access.argument, mine)
        hulls[access.argument] = Reach(
            min(known.low, mine.low), max(known.high, mine.high), known.is_exact and mine.is_exact
        )
    return hulls


# Local memory

_Local = dict[Memory, tuple[Span, list[Form]]]


def _local_spans(frame: Frame, origins: Origins) -> _Local:
    """The bytes of each local memory that the kernel's own accesses may touch, and their forms.

    Memory that some access touches at places that are not known is left out.
    """
    found: _Local = {}
    lost: set[Memory] = set()
    function = origins.kernel
    for block in frame.flow.order:
        bounds = frame.bounds(block)
        if bounds.is_empty:
            continue
        for instruction in frame.flow.blocks[block].instructions:
            if instruction.opcode not in ("load", "store"):
                continue
            pointer = instruction.operands[-1]
            if layout.address_space(pointer.type) != 3:
                continue
            addresses = frame.pointer(pointer)
            memories = origins.memory(function, pointer)
            value = (
                instruction.operands[0].type if instruction.opcode == "store" else instruction.type
            )
            form = addresses[0].offset
            span = bounds.interval(form)
            size = _size(value, frame)
            is_followed = len(addresses) == len(memories) == 1 and size > 0
            if pointer.kind == "local" and addresses == WORK_GROUP_POINTER:
                # Either its first byte, or not followed.
                definition = origins.definition_of(function, pointer)
                is_followed &= definition is None or definition.opcode == "getelementptr"
            if not is_followed or not all(-_FAR < end < _FAR for end in span):
                lost |= memories
                continue
            mine = Span(span.low, span.high + size - 1)
            memory = next(iter(memories))
            known, forms = found.setdefault(memory, (mine, []))
            forms.append(form)
            found[memory] = known.hull(mine), forms
    return {memory: each for memory, each in found.items() if memory not in lost}


def _size(type_text: str, frame: Frame) -> int:
    """The bytes of a value in memory, 0 where they are not known."""
    try:
        return layout.size_bytes(type_text, frame.module.structs)
    except layout.UnknownLayoutError:
        return 0


_FAR = 1 << 30
"""No local memory is as large; an offset beyond it is one that is not known."""


def _variable_bytes(kernel: KernelFacts) -> dict[Memory, int]:
    """The sizes of the program's variables in local memory."""
    sizes: dict[Memory, int] = {}
    for name, variable in kernel.module.globals.items():
        if variable.address_space == 3:
            try:
                size = layout.size_bytes(variable.type, kernel.module.structs)
            except layout.UnknownLayoutError:
                continue
            sizes["variable", name] = size
    return sizes


def _leaves_arguments(launch: Launch, local: _Local) -> bool:
    for memory, (span, _) in local.items():
        if memory[0] == "local argument":
            argument = launch.arguments[int(memory[1])]
            if span.low < 0:
                return True
            if isinstance(argument, LocalArgument) and span.high >= argument.size_bytes:
                return True
    return False


# Loops


def _trips(frame: Frame, data_loops: frozenset[tuple[str, str]]) -> int:
    """The iterations of the loop nest that iterates most."""
    name = frame.function.name.lstrip("@").strip('"')
    most = 1
    for block in frame.flow.loops:
        counts = []
        for loop in frame.flow.loops_of(block):
            facts = frame.loop(loop)
            last = (
                frame.bounds(block).interval(Form.symbol(facts.iteration)).high if facts else _FAR
            )
            is_known = last < _FAR and (name, loop.header) not in data_loops
            counts.append(max(1, last) if is_known else UNKNOWN_TRIPS)
        most = max(most, prod(counts))
    return most


# Strides


def _group_sizes(forms: Sequence[tuple[Form, int | None]]) -> dict[int, int]:
    """Local sizes that accesses by group id and local id fit to.

    In `16 * group + local` a group has 16 work-items; in `16 * local(1) + local(0)` a row of a group
    has. The second entry of a form is the size in bytes of the memory that it points into, if known.
    """
    votes: dict[int, Counter[int]] = {}
    for form, size_bytes in dict.fromkeys(forms):
        terms = {s: abs(c) for s, c in form.terms if s.kind in ("local", "group")}
        if any(s.kind == "global" for s, _ in form.terms):
            continue
        rows = sum(symbol.kind == "local" for symbol in terms) > 1
        steps = sorted({*terms.values(), *([size_bytes] if size_bytes and rows else ())})
        for symbol, coefficient in terms.items():
            above = next((step for step in steps if step > coefficient), None)
            if symbol.kind == "local" and above and not above % coefficient:
                votes.setdefault(int(symbol.where[0]), Counter())[above // coefficient] += 1
    return {d: min(each.most_common(), key=lambda v: (-v[1], v[0]))[0] for d, each in votes.items()}


def _global_sizes(accesses: Iterable[Access]) -> tuple[dict[int, int], int]:
    """Global sizes that writes by global id fit to, and how often loops may run that count places.

    In `13 * global(1) + global(0)` a row has 13 work-items; where places `global(0)`, `global(0) + 8`
    and `global(0) + 16` are written, a launch has 8. A choice among ids counts for dimension 0.
    """
    written: dict[tuple[int, Form], set[int]] = {}
    for access in accesses:
        if access.is_write:
            key = access.argument, access.form.plus(-access.form.constant)
            written.setdefault(key, set()).add(access.form.constant)
    sizes: dict[int, int] = {}
    loop_size = 0
    for (_, form), constants in written.items():
        gaps = {b - a for a, b in pairwise(sorted(constants))}
        steps = sorted(gaps | {abs(c) for s, c in form.terms if s.kind in _COUNTED})
        for symbol, coefficient in form.terms:
            above = next((step for step in steps if step > abs(coefficient)), 0)
            if symbol.kind not in _COUNTED or not above or above % coefficient:
                continue
            size = above // abs(coefficient)
            if symbol.kind == "loop":
                loop_size = min(loop_size or size, size)
            else:
                dimension = int(symbol.where[0]) if symbol.kind == "global" else 0
                sizes[dimension] = min(sizes.get(dimension, size), size)
    return sizes, loop_size


_COUNTED = ("global", "loop", "choice")
