"""How far a launch reaches: into each buffer, into local memory, and how many steps its loops take.

Evaluated for the whole range at once, together with what the accesses' strides tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

from lb_runtime.analysis import layout, strides
from lb_runtime.analysis.accesses import Access, slice_accesses
from lb_runtime.analysis.facts import KernelFacts
from lb_runtime.analysis.forms import Form, Span
from lb_runtime.analysis.frame import Frame
from lb_runtime.analysis.origins import Memory, Origins
from lb_runtime.analysis.reasons import Reason
from lb_runtime.analysis.rough import Rough
from lb_runtime.analysis.values import WORK_GROUP_POINTER
from lb_runtime.launch import Launch, LocalArgument, Slice
from predictor import ir

FAR_BYTES = 1 << 28
"""No buffer that is made up is as large: what may be touched beyond is not known well."""
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
class Unknown:
    """An access of which it is not known how far it goes.

    `argument` is the buffer's parameter, `reasons` are those of `Rough`.
    """

    argument: int
    is_write: bool
    line: int
    reasons: frozenset[str]


@dataclass(frozen=True, slots=True)
class Strides:
    """Sizes that a kernel's strides fit to, by dimension; see `strides`.

    `groups` are local sizes, the likeliest first; `globals` global sizes; `loop` the iterations of loops
    (0 for none); `lone` the dimensions that are for one work-group.
    """

    groups: tuple[strides.Sizes, ...]
    globals: strides.Sizes
    loop: int
    lone: frozenset[int]


@dataclass(frozen=True, slots=True)
class Extents:
    """What one launch reaches.

    `buffers` and `local_bytes` are by parameter; a local argument of which nothing is known is left
    out. `leaves_local` tells that an access shown to be in local memory of a fixed size may leave it.
    `steps` estimates the innermost loop iterations of all work-items together. `strides` tells what
    sizes the kernel was written for. `index_limits` bounds what a buffer holds whose integers are added
    to ids where something is written. `read_where_scattered` is the last byte that is read by id
    of each buffer that is written where data says. `estimated` are the buffers of
    which some access goes where forms do not follow it, `unknown` those accesses that may go anywhere;
    `lost` tells of a pointer that is not followed.
    `accesses` counts them.
    """

    buffers: dict[int, Reach]
    local_bytes: dict[int, int]
    leaves_local: bool
    steps: int
    strides: Strides
    index_limits: dict[int, int]
    read_where_scattered: dict[int, int]
    accesses: int
    estimated: frozenset[int]
    unknown: tuple[Unknown, ...]
    lost: Reason | None


def extents(
    kernel: KernelFacts,
    launch: Launch,
    origins: Origins,
    data_loops: frozenset[tuple[str, str]],
) -> Extents:
    """Evaluate a launch; `data_loops` are those that data ends."""
    whole = Slice(0, 0, launch.nd_range.groups[0])
    walked = slice_accesses(kernel, launch, whole)
    accesses = walked.accesses
    found, unknown = _narrowed(accesses, origins, launch)
    frame = next((a.site.frame for a in found if not a.site.frame.path), None)
    local, lost = _local_spans(frame, origins) if frame is not None else ({}, frozenset())
    sizes = _variable_bytes(kernel)
    inside = [(form, sizes.get(memory)) for memory, (_, all_) in local.items() for form in all_]
    global_sizes, loop_size = strides.global_sizes(found)
    return Extents(
        _hulls(found),
        {
            int(memory[1]): span.high + 1
            for memory, (span, _) in local.items()
            if memory[0] == "local argument" and memory not in lost
        },
        any(
            memory in sizes and not (span.low >= 0 and span.high < sizes[memory])
            for memory, (span, _) in local.items()
        )
        or _leaves_arguments(launch, local),
        launch.nd_range.items * (_trips(frame, data_loops) if frame is not None else 1),
        Strides(
            tuple(strides.group_sizes(found, inside)),
            global_sizes,
            loop_size,
            strides.lone_dimensions(found),
        ),
        _index_limits(found, origins),
        _read_where_scattered(found),
        len(found),
        frozenset(each.argument for each in accesses if _is_far(each)),
        unknown,
        walked.reason if walked.reason and walked.reason.code == "unknown-pointer" else None,
    )


def _is_far(access: Access) -> bool:
    """Whether an access may go further than any buffer that is made up."""
    is_far = access.span.low < -FAR_BYTES or access.span.high >= FAR_BYTES
    return is_far and not access.is_exact


def _narrowed(
    accesses: Iterable[Access], origins: Origins, launch: Launch
) -> tuple[list[Access], tuple[Unknown, ...]]:
    """The accesses with those that may go anywhere estimated, and those that still may."""
    rough = Rough(origins, launch)
    found: list[Access] = []
    unknown: dict[Unknown, None] = {}
    for access in accesses:
        if _is_far(access) or (access.span.low < 0 and not access.is_exact):
            span, reasons = rough.access(access)
            span = access.span.meet(span)
            is_fact = False
            if span.low <= span.high:
                # Where ids and numbers alone decide, a span that is too large is a fact.
                is_fact = not reasons and span.low >= 0 and span.high >= FAR_BYTES
                access = replace(access, span=span, is_exact=is_fact)
            if not is_fact and (span.low < 0 or span.high >= FAR_BYTES):
                unknown[Unknown(access.argument, access.is_write, access.line, reasons)] = None
        found.append(access)
    return found, tuple(unknown)


def _index_limits(accesses: Iterable[Access], origins: Origins) -> dict[int, int]:
    limits: dict[int, int] = {}
    for access in accesses:
        found = strides.index_limit(access)
        if found is None or access.site.frame.path:
            continue
        name, limit = found
        for origin in origins.of(origins.kernel, ir.Operand("local", "", name)):
            if origin.kind == "load":
                limits[origin.number] = min(limits.get(origin.number, limit), limit)
    return limits


def _read_where_scattered(accesses: Iterable[Access]) -> dict[int, int]:
    scattered = {a.argument for a in accesses if a.is_write and not a.is_exact}
    reads: dict[int, int] = {}
    for access in accesses:
        if access.argument in scattered and access.is_exact and not access.is_write:
            reads[access.argument] = max(reads.get(access.argument, 0), access.span.high)
    return reads


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


def _local_spans(frame: Frame, origins: Origins) -> tuple[_Local, frozenset[Memory]]:
    """The bytes of each local memory that the kernel's own accesses may touch, and their forms.

    The second value is the memory that some access touches at places that are not known.
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
    return found, frozenset(lost)


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
