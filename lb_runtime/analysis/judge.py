"""Whether a launch can be cut, worked out: along which dimension, and how each buffer becomes one again.

The rule, from OpenCL 1.2, section 3.3.1: without global atomics a race-free kernel has no traffic between
work-groups, so a cut at work-group edges changes nothing, and each location is written by one part. Where
work-items show that one part writes what another reads, or that parts write different values to one place,
the launch is declined. Where nothing is shown, the language's rule stands, unless `strict` asks for proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from functools import cached_property
from itertools import combinations, permutations

from lb_runtime.analysis.accesses import Access, slice_accesses
from lb_runtime.analysis.facts import KernelFacts
from lb_runtime.analysis.footprints import nest
from lb_runtime.analysis.forms import Form
from lb_runtime.analysis.image_boxes import judge_images
from lb_runtime.analysis.meets import Meetings
from lb_runtime.analysis.reasons import Reason
from lb_runtime.analysis.regions import Region, Rows
from lb_runtime.analysis.verdict import (
    ArgumentVerdict,
    AtomicZone,
    Declined,
    Footprint,
    Merge,
    Splittable,
    Verdict,
)
from lb_runtime.launch import BufferArgument, ImageArgument, Launch, Slice
from lb_runtime.records import dataclass

DOUBT = "data-dependent"
"""The code for parts of which it is not told whether they meet."""
SHARED_BYTES = 4
"""So many bytes that two accesses may share are looked at."""


def judge(
    kernel: KernelFacts, launch: Launch, shares: tuple[float, ...], *, strict: bool = False
) -> Verdict:
    """Whether and how a launch can be cut into parts of these shares.

    Dimensions are tried from the slowest. The first along which every part writes a range of its own is
    taken, else the first along which the parts' rows are disjoint, else the first along which a split is
    safe at all. With `strict`, what might be a race in the program is one.
    """
    if kernel.reasons:
        return Declined(kernel.reasons)
    for parameter, argument in zip(kernel.parameters, launch.arguments):
        if isinstance(argument, BufferArgument) and argument.is_fine_grain:
            detail = f"argument {parameter.name} is fine-grained shared virtual memory"
            return Declined((Reason("fine-grain", detail),))
    meetings = Meetings(launch)
    wanted = sum(share > 0 for share in shares)
    found: list[Splittable] = []
    reasons: list[Reason] = []
    for dimension in reversed(range(launch.nd_range.dimensions)):
        if launch.nd_range.groups[dimension] < 2:
            continue
        verdict = _judge_dimension(kernel, launch, dimension, shares, meetings, strict=strict)
        if isinstance(verdict, Declined):
            reasons.extend(verdict.reasons)
            continue
        if _cost(verdict, wanted) == 0:
            return verdict
        found.append(verdict)
    if found:
        return min(found, key=lambda verdict: _cost(verdict, wanted))
    if not reasons:
        reasons.append(Reason("one-group", f"{launch.nd_range.groups} work-groups"))
    return Declined(tuple(dict.fromkeys(reasons)))


def _cost(verdict: Splittable, wanted: int) -> int:
    """How far a split is from one range per part and buffer: 1 rows, 2 differences, 3 too few parts."""
    if len(verdict.slices) < wanted:
        return 3
    if any(argument.merge is Merge.DIFFERENCE for argument in verdict.arguments):
        return 2
    return int(
        any(
            not footprint.leaves.is_range
            for argument in verdict.arguments
            for footprint in argument.footprints
        )
    )


@dataclass(frozen=True)
class _Touch:
    """An access with the rows of its memory that it touches; `is_full` where it touches all of them."""

    access: Access
    rows: tuple[Rows, ...]
    is_full: bool

    @cached_property
    def region(self) -> Region:
        """The rows as a region."""
        return Region.of(self.rows)


@dataclass(frozen=True)
class _Memory:
    """One memory object: its name, its size, and what each part's accesses touch of it."""

    name: str
    size_bytes: int
    parts: tuple[tuple[_Touch, ...], ...]

    def touches(self) -> Iterable[_Touch]:
        """Those of all parts."""
        return (touch for part in self.parts for touch in part)

    @cached_property
    def reads(self) -> tuple[Region, ...]:
        """What each part may read."""
        return tuple(_union(part, writes=False) for part in self.parts)

    @cached_property
    def writes(self) -> tuple[Region, ...]:
        """What each part may write."""
        return tuple(_union(part, writes=True) for part in self.parts)


@dataclass(frozen=True, slots=True)
class _Merged:
    """How one memory becomes one again, what each part needs and leaves, why, and the line that decides."""

    merge: Merge
    footprints: tuple[Footprint, ...]
    reason: str = ""
    line: int = 0
    zones: tuple[AtomicZone, ...] = ()
    doubt: Reason | None = None


def _judge_dimension(
    kernel: KernelFacts,
    launch: Launch,
    dimension: int,
    shares: tuple[float, ...],
    meetings: Meetings,
    *,
    strict: bool,
) -> Verdict:
    cut = launch.nd_range.cut(dimension, shares)
    devices = tuple(number for number, piece in enumerate(cut) if piece.groups)
    slices = tuple(piece for piece in cut if piece.groups)
    found = [slice_accesses(kernel, launch, piece) for piece in slices]
    if refused := [each.reason for each in found if each.reason]:
        return Declined((refused[0],))
    parts = [each.accesses for each in found]
    images = judge_images(kernel, launch, [each.images for each in found])
    if isinstance(images, Reason):
        return Declined((images,))
    merged: dict[int, _Merged] = {}
    memories = _memories(kernel, launch, parts)
    untouched = {
        index
        for index, argument in enumerate(launch.arguments)
        if isinstance(argument, BufferArgument)
        and not any(touch.access.is_write for touch in memories[argument.memory].touches())
    }
    for number, memory in memories.items():
        result = _merge(memory, meetings, untouched)
        if isinstance(result, Reason):
            return Declined((result,))
        if strict and result.doubt:
            return Declined((result.doubt,))
        merged[number] = result
    verdicts: list[ArgumentVerdict] = []
    for parameter, argument in zip(kernel.parameters, launch.arguments):
        facts = parameter.name, parameter.kind, parameter.type_text
        if isinstance(argument, ImageArgument):
            verdicts.append(images[len(verdicts)])
            continue
        if not isinstance(argument, BufferArgument):
            verdicts.append(ArgumentVerdict(*facts, None))
            continue
        how = merged[argument.memory]
        verdicts.append(
            ArgumentVerdict(*facts, how.merge, how.footprints, how.reason, how.line, how.zones)
        )
    doubt = next((each.doubt for each in merged.values() if each.doubt), None)
    return Splittable(dimension, slices, devices, tuple(verdicts), doubt)


def _memories(
    kernel: KernelFacts, launch: Launch, parts: Sequence[Sequence[Access]]
) -> dict[int, _Memory]:
    """What the parts touch, memory by memory: arguments that share one are one."""
    arguments: dict[int, list[int]] = {}
    for index, argument in enumerate(launch.arguments):
        if isinstance(argument, BufferArgument):
            arguments.setdefault(argument.memory, []).append(index)
    memories: dict[int, _Memory] = {}
    for number, indices in arguments.items():
        given = [launch.arguments[index] for index in indices]
        size = max(each.stop_bytes for each in given if isinstance(each, BufferArgument))
        touched = tuple(
            tuple(_touches([a for a in accesses if a.argument in indices], launch))
            for accesses in parts
        )
        name = " and ".join(kernel.parameters[index].name for index in indices)
        memories[number] = _Memory(name, size, touched)
    return memories


def _touches(accesses: Sequence[Access], launch: Launch) -> Iterable[_Touch]:
    """The rows that accesses touch, counted from their memory's first byte; each kind once."""
    seen: set[tuple[object, ...]] = set()
    for access in accesses:
        argument = launch.arguments[access.argument]
        if not isinstance(argument, BufferArgument):
            continue
        key = (
            access.argument, access.is_write, access.form, access.span, access.size_bytes,
            access.site.stored, access.is_certain, access.atomic, access.site.frame.path, access.site.block,
        )  # fmt: skip
        if key in seen:
            continue
        seen.add(key)
        found = nest(access.form, access.size_bytes, access.bounds, argument.size_bytes)
        start = argument.start_bytes
        rows = [Rows(r.start + start, r.run, r.pitch, r.count) for r in found.rows]
        if rows:
            is_sure = access.is_certain and access.sure_bytes == access.size_bytes
            yield _Touch(access, tuple(rows), found.is_full and is_sure)


def _merge(memory: _Memory, meetings: Meetings, untouched: Set[int]) -> _Merged | Reason:
    """How one memory merges, or why the parts cannot go apart."""
    if any(touch.access.atomic for touch in memory.touches()):
        return _merge_atomics(memory)
    conflict = _conflict(memory, meetings, untouched)
    if conflict and conflict.code != DOUBT:
        return conflict
    return replace(_merge_plain(memory), doubt=conflict)


def _merge_plain(memory: _Memory) -> _Merged:
    """How a memory merges that plain accesses touch, none of which get into each other's way."""
    reads = memory.reads
    if not any(touch.access.is_write for touch in memory.touches()):
        footprints = tuple(Footprint(_compact(read), Region()) for read in reads)
        return _Merged(Merge.NONE, footprints)
    writes = memory.writes
    line = next(touch.access.line for touch in memory.touches() if touch.access.is_write)
    for leaves in ([_compact(write) for write in writes], writes):
        if not any(one.overlaps(other) for one, other in combinations(leaves, 2)):
            footprints = tuple(
                Footprint(_compact(_needed(part, read, left)), left)
                for part, read, left in zip(memory.parts, reads, leaves)
            )
            return _Merged(Merge.RANGE, footprints, "", line)
    footprints = tuple(
        Footprint(read.union(write).hull, write.hull) for read, write in zip(reads, writes)
    )
    inexact = next(
        (t.access for t in memory.touches() if t.access.is_write and not t.access.is_exact), None
    )
    if inexact is not None:
        why = "the written index comes from data or is not followed"
        return _Merged(Merge.DIFFERENCE, footprints, why, inexact.line)
    return _Merged(Merge.DIFFERENCE, footprints, "the parts' written ranges interleave", line)


def _union(part: Sequence[_Touch], *, writes: bool) -> Region:
    """The bytes that a part's reads (or writes) may touch."""
    rows = [r for touch in part if touch.access.is_write == writes for r in touch.rows]
    return Region.of(rows) if rows else Region()


def _compact(region: Region) -> Region:
    """The region, or the range around it where that costs few bytes more."""
    return region if 2 * region.size_bytes < region.stop - region.start else region.hull


def _needed(part: Sequence[_Touch], read: Region, leaves: Region) -> Region:
    """What a part reads, and the old content of what it leaves unless it is sure to write all of it."""
    written = [r for touch in part if touch.is_full and touch.access.is_write for r in touch.rows]
    if written and Region.exactly(written).holds(leaves):
        return read
    return read.union(leaves)


def _conflict(memory: _Memory, meetings: Meetings, untouched: Set[int]) -> Reason | None:
    """Why the parts get into each other's way, if that is shown; else, by the code `DOUBT`, if it may be."""
    doubtful: Reason | None = None
    for write, met in _overlaps(memory, meetings):
        if met.access.is_write and _is_same_value(write, met, untouched):
            continue
        line = met.access.line
        if met.access.is_write:
            reason = Reason("same-location", f"{memory.name} is written", line)
        else:
            detail = f"{memory.name} is read here and written in line {write.access.line}"
            reason = Reason("crosses-parts", detail, line)
        shared = write.region.shared_bytes(met.region, SHARED_BYTES)
        if meetings.are_shown(write.access, met.access, shared):
            return reason
        doubtful = doubtful or Reason(DOUBT, reason.detail, line)
    return doubtful


def _overlaps(memory: _Memory, meetings: Meetings) -> Iterable[tuple[_Touch, _Touch]]:
    """Each write of a part with each access of another part that may touch the same bytes."""
    unions = memory.reads, memory.writes
    for one, other in permutations(range(len(memory.parts)), 2):
        for writes in (False, True):
            # Two writes meet one way round as the other.
            if (writes and one > other) or not unions[True][one].overlaps(unions[writes][other]):
                continue
            for write in (touch for touch in memory.parts[one] if touch.access.is_write):
                if not write.region.overlaps(unions[writes][other]):
                    continue
                for met in memory.parts[other]:
                    if met.access.is_write != writes:
                        continue
                    if write.region.hull.overlaps(met.region.hull):
                        if not meetings.may_compare():
                            # Whether others meet is not told.
                            yield write, met
                            return
                        if write.region.overlaps(met.region):
                            yield write, met


def _is_same_value(one: _Touch, other: _Touch, untouched: Set[int]) -> bool:
    """Whether two writes are known to leave the same value in the same place.

    `untouched` are the arguments that nobody writes: what is read from them is the same for all.
    """
    value = one.access.written
    return (
        bool(value.text)
        and one.access.argument == other.access.argument
        and value == other.access.written
        and value.sources <= untouched
        and one.access.size_bytes == other.access.size_bytes
        and _are_aligned(one.access.form, other.access.form, one.access.size_bytes)
    )


def _are_aligned(one: Form, other: Form, size_bytes: int) -> bool:
    """Whether elements at any two values of these addresses are in one place, or share no byte.

    The symbols of the two forms are those of two work-items, and do not cancel out.
    """
    return not (one.constant - other.constant) % size_bytes and all(
        not coefficient % size_bytes for form in (one, other) for _, coefficient in form.terms
    )


def _merge_atomics(memory: _Memory) -> _Merged | Reason:
    """Zones of a memory that one kind of atomic changes each, and nothing else touches."""
    found: list[tuple[Region, _Touch]] = []
    for touch in memory.touches():
        found.append((touch.region.hull, touch))
    first = next(touch.access for touch in memory.touches() if touch.access.atomic)
    zones: list[AtomicZone] = []
    for region, touch in sorted(found, key=lambda each: each[0].start):
        atomic = touch.access.atomic
        if atomic is None:
            what = "written" if touch.access.is_write else "read"
            detail = f"{memory.name} is {what} here and changed by atomics in line {first.line}"
            return Reason("global-atomic", detail, touch.access.line)
        start = region.start // atomic.width_bytes * atomic.width_bytes
        width = atomic.width_bytes
        # No integer reaches into what is left at the end of a memory.
        stop = min(-(-region.stop // width) * width, memory.size_bytes // width * width)
        if start >= stop:
            continue
        if zones and zones[-1].stop > start:
            last = zones[-1]
            if (last.operation, last.width_bytes, last.is_signed) != tuple(atomic) and not (
                last.operation == atomic.operation not in ("min", "max")
                and last.width_bytes == atomic.width_bytes
            ):
                detail = f"atomics of several kinds may meet in {memory.name}"
                return Reason("global-atomic", detail, touch.access.line)
            zones[-1] = AtomicZone(
                last.operation, last.start, max(last.stop, stop), last.width_bytes, last.is_signed
            )
        else:
            zones.append(
                AtomicZone(atomic.operation, start, stop, atomic.width_bytes, atomic.is_signed)
            )
    region = Region.of(Rows(zone.start, zone.stop - zone.start) for zone in zones)
    footprints = (Footprint(region, region),) * len(memory.parts)
    why = f"{', '.join(dict.fromkeys(zone.operation for zone in zones))} of integers"
    return _Merged(Merge.ATOMIC, footprints, why, first.line, tuple(zones))


def written_arguments(kernel: KernelFacts, launch: Launch) -> tuple[bool, ...]:
    """For each argument, whether the kernel may write it; True where that is not known."""
    if not kernel.reasons:
        whole = Slice(0, 0, launch.nd_range.groups[0])
        found = slice_accesses(kernel, launch, whole)
        if not found.reason:
            written = {access.argument for access in found.accesses if access.is_write}
            written |= {access.argument for access in found.images if access.is_write}
            return tuple(index in written for index in range(len(kernel.parameters)))
    if any(reason.code == "device-text" for reason in kernel.reasons):
        return tuple(not parameter.llvm_type.endswith("(2)") for parameter in kernel.parameters)
    return tuple(not parameter.is_read_only for parameter in kernel.parameters)
