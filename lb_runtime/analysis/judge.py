"""Facts and a launch in, verdict out: which dimension to cut, and how each buffer becomes one again.

The rule, from OpenCL 1.2, section 3.3.1: without global atomics a race-free kernel has no traffic between
work-groups, so a cut at work-group edges changes nothing, and each location is written by one part. Where
the accesses show that one part writes what another reads, or that parts write different values to one
place, the launch is declined. Where they cannot tell, the language's rule stands and the bytes that differ
from the original are merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, permutations
from typing import NamedTuple

from lb_runtime.analysis.accesses import Access, arguments_written, slice_accesses
from lb_runtime.analysis.facts import KernelFacts
from lb_runtime.analysis.forms import Grid
from lb_runtime.analysis.reasons import Reason
from lb_runtime.analysis.regions import Region
from lb_runtime.analysis.verdict import (
    ArgumentVerdict,
    Declined,
    Footprint,
    Merge,
    Splittable,
    Verdict,
)
from lb_runtime.launch import BufferArgument, Launch, Slice


def judge(kernel: KernelFacts, launch: Launch, shares: tuple[float, ...]) -> Verdict:
    """Whether and how a launch can be cut into parts of these shares.

    Dimensions are tried from the slowest; the first along which every written range is known and
    disjoint is taken, else the first along which a split is safe at all.
    """
    if kernel.reasons:
        return Declined(kernel.reasons)
    fallback: Splittable | None = None
    reasons: list[Reason] = []
    for dimension in reversed(range(launch.nd_range.dimensions)):
        if launch.nd_range.groups[dimension] < 2:
            continue
        verdict = _judge_dimension(kernel, launch, dimension, shares)
        if isinstance(verdict, Declined):
            reasons.extend(verdict.reasons)
        elif all(argument.merge is not Merge.DIFFERENCE for argument in verdict.arguments):
            return verdict
        elif fallback is None:
            fallback = verdict
    if fallback is not None:
        return fallback
    if not reasons:
        reasons.append(Reason("one-group", f"{launch.nd_range.groups} work-groups"))
    return Declined(tuple(dict.fromkeys(reasons)))


def _shared_memory(
    kernel: KernelFacts, launch: Launch, accesses: Sequence[Access]
) -> Reason | None:
    """Two arguments that are the same memory, unless the kernel writes neither."""
    written = set(arguments_written(accesses))
    owners: dict[int, int] = {}
    for index, argument in enumerate(launch.arguments):
        if not isinstance(argument, BufferArgument):
            continue
        other = owners.setdefault(argument.memory, index)
        if other != index and written & {other, index}:
            names = f"{kernel.parameters[other].name} and {kernel.parameters[index].name}"
            return Reason("aliased", f"arguments {names} are the same memory")
    return None


def _judge_dimension(
    kernel: KernelFacts, launch: Launch, dimension: int, shares: tuple[float, ...]
) -> Verdict:
    cut = launch.nd_range.cut(dimension, shares)
    devices = tuple(number for number, piece in enumerate(cut) if piece.groups)
    slices = tuple(piece for piece in cut if piece.groups)
    parts: list[tuple[Access, ...]] = []
    for piece in slices:
        found = slice_accesses(kernel, launch, piece)
        if found.reason:
            return Declined((found.reason,))
        parts.append(found.accesses)
    if reason := _shared_memory(kernel, launch, [a for part in parts for a in part]):
        return Declined((reason,))
    grid = Grid(launch.nd_range.offset, launch.nd_range.local_size)
    verdicts: list[ArgumentVerdict] = []
    for index, (parameter, argument) in enumerate(zip(kernel.parameters, launch.arguments)):
        if not isinstance(argument, BufferArgument):
            verdicts.append(
                ArgumentVerdict(parameter.name, parameter.kind, parameter.type_text, None)
            )
            continue
        mine = [tuple(a for a in accesses if a.argument == index) for accesses in parts]
        reason = _conflict(mine, parameter.name, dimension, grid) or _unknown(mine, parameter.name)
        if reason:
            return Declined((reason,))
        merge, footprints, why, line = _merge(mine, argument.size_bytes)
        verdicts.append(
            ArgumentVerdict(
                parameter.name, parameter.kind, parameter.type_text, merge, footprints, why, line
            )
        )
    return Splittable(dimension, slices, devices, tuple(verdicts))


def _unknown(parts: Sequence[tuple[Access, ...]], name: str) -> Reason | None:
    """A read that may see what another part writes, where data decides one of the two places.

    The language's rule (no race) would make it safe; this version does not rely on it for buffers that
    a kernel both reads and writes.
    """
    for one, other in permutations(parts, 2):
        for write in (access for access in one if access.is_write):
            for read in (access for access in other if not access.is_write):
                known = write.is_exact and read.is_exact
                meet = write.span.low <= read.span.high and read.span.low <= write.span.high
                if meet and not known:
                    detail = f"{name} is read here and written in line {write.line}"
                    return Reason("data-dependent", detail, read.line)
    return None


class _Exact(NamedTuple):
    """An access whose bytes follow from ids and counts, with what `_conflict` asks of each pair.

    `step` is by how many bytes its address moves on from one work-group to the next.
    """

    low: int
    high: int
    step: int
    has_choice: bool
    access: Access


def _conflict(
    parts: Sequence[tuple[Access, ...]], name: str, dimension: int, grid: Grid
) -> Reason | None:
    """An access that is shown to meet another part's write at the same bytes."""
    exact = [
        [
            _Exact(*a.span, a.form.group_step(dimension, grid), a.form.has_choice, a)
            for a in accesses
            if a.is_exact
        ]
        for accesses in parts
    ]
    for one, other in permutations(exact, 2):
        for write in (each for each in one if each.access.is_write):
            for met in other:
                if met.low <= write.high and write.low <= met.high:
                    reason = _shown(write, met, name)
                    if reason:
                        return reason
    return None


def _shown(write: _Exact, met: _Exact, name: str) -> Reason | None:
    """Why a write and another part's access that may meet it are no split's way to work, if they are."""
    if write.step and write.step == met.step and write.access.form == met.access.form:
        # Equal addresses that move on with the group: each work-item meets only itself.
        return None
    if not met.access.is_write:
        if write.has_choice:
            return None
        detail = f"{name} is read here and written in line {write.access.line}"
        return Reason("crosses-parts", detail, met.access.line)
    if write.step or met.step or write.has_choice or met.has_choice:
        return None
    value = write.access.written_value
    if value and value == met.access.written_value:
        return None
    return Reason("same-location", f"{name} is written", met.access.line)


def _merge(
    parts: Sequence[tuple[Access, ...]], size_bytes: int
) -> tuple[Merge, tuple[Footprint, ...], str, int]:
    """How one buffer merges, what each part needs and leaves, why, and the line that decides."""
    whole = Region.range(0, size_bytes)
    reads = [_hull(part, size_bytes, writes=False) for part in parts]
    writes = [_hull(part, size_bytes, writes=True) for part in parts]
    first_write = next((a.line for part in parts for a in part if a.is_write), 0)
    if not any(access.is_write for part in parts for access in part):
        footprints = tuple(Footprint(read, Region.range(0, 0)) for read in reads)
        return Merge.NONE, footprints, "", 0
    ordered = sorted((w for w in writes if w.size_bytes), key=lambda w: w.start)
    disjoint = all(a.stop <= b.start for a, b in pairwise(ordered))
    if disjoint:
        footprints = tuple(Footprint(r.union(w).hull, w) for r, w in zip(reads, writes))
        return Merge.RANGE, footprints, "", first_write
    inexact = next((a for part in parts for a in part if a.is_write and not a.is_exact), None)
    if inexact is not None:
        why, line = "the written index comes from data or is not followed", inexact.line
    else:
        why, line = "the parts' written ranges interleave", first_write
    return Merge.DIFFERENCE, tuple(Footprint(whole, w) for w in writes), why, line


def _hull(accesses: Sequence[Access], size_bytes: int, *, writes: bool) -> Region:
    """The bytes of the buffer that reads (or writes) may touch, clipped to the buffer."""
    result = Region.range(0, 0)
    for access in accesses:
        if access.is_write == writes:
            start = min(max(access.span.low, 0), size_bytes)
            stop = max(start, min(access.span.high + 1, size_bytes))
            result = result.union(Region.range(start, stop)).hull
    return result


def written_arguments(kernel: KernelFacts, launch: Launch) -> tuple[bool, ...]:
    """For each argument, whether the kernel may write it; True where that is not known."""
    if not kernel.reasons:
        whole = Slice(0, 0, launch.nd_range.groups[0])
        found = slice_accesses(kernel, launch, whole)
        if not found.reason:
            written = set(arguments_written(found.accesses))
            return tuple(index in written for index in range(len(kernel.parameters)))
    if any(reason.code == "device-text" for reason in kernel.reasons):
        return tuple(not parameter.llvm_type.endswith("(2)") for parameter in kernel.parameters)
    return tuple(not parameter.is_read_only for parameter in kernel.parameters)
