"""A plan says which device runs which slice of a launch, what bytes it needs and what bytes it leaves.

A plan is a value: making one needs no device, and `execute` carries it out without deciding anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lb_runtime.analysis.regions import Region
from lb_runtime.analysis.verdict import AtomicZone, Merge, Splittable
from lb_runtime.launch import BufferArgument, Launch, Slice


@dataclass(frozen=True, slots=True)
class BufferPlan:
    """One buffer argument in one part.

    `argument` is the index in the kernel's signature. `needs` are the bytes that the part's device must
    hold before it starts: what the part reads, and the old content of what it may leave unwritten.
    `leaves` are the bytes that the part may write: for `Merge.RANGE` they are copied back as they are
    (no other part's `leaves` overlap them); for `Merge.DIFFERENCE` the bytes in it that differ from
    the original are; for `Merge.ATOMIC` each of the `zones` is combined by its operation; for
    `Merge.NONE` it is empty.
    """

    argument: int
    merge: Merge
    needs: Region
    leaves: Region
    zones: tuple[AtomicZone, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """The slice of the range that one device runs.

    `device` indexes the runtime's devices (0 plays CPU, 1 plays GPU). `global_offset` and
    `global_size` are what to pass to `clEnqueueNDRangeKernel`, in work-items.
    """

    device: int
    piece: Slice
    global_offset: tuple[int, ...]
    global_size: tuple[int, ...]
    buffers: tuple[BufferPlan, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All parts of one launch. An unsplit launch is a plan with one part.

    `parts` holds no empty part.
    """

    launch: Launch
    parts: tuple[Part, ...]
    source: str
    options: tuple[str, ...]


def split_plan(launch: Launch, verdict: Splittable, source: str, options: tuple[str, ...]) -> Plan:
    """The plan of a launch that can be cut: part `i` runs slice `i` of the verdict.

    `source` and `options` are those in which work-item built-ins answer as in the whole launch.
    """
    parts = tuple(
        _part(launch, device, piece, number, verdict)
        for number, (device, piece) in enumerate(zip(verdict.devices, verdict.slices))
    )
    return Plan(launch, parts, source, options)


def _part(launch: Launch, device: int, piece: Slice, number: int, verdict: Splittable) -> Part:
    offset, size = launch.nd_range.part(piece)
    buffers = tuple(
        BufferPlan(
            index,
            argument.merge,
            argument.footprints[number].needs,
            argument.footprints[number].leaves,
            argument.zones,
        )
        for index, argument in enumerate(verdict.arguments)
        if argument.merge is not None
    )
    return Part(device, piece, offset, size, buffers)


def whole_plan(
    launch: Launch,
    device: int,
    written: Sequence[bool],
    source: str,
    options: tuple[str, ...],
) -> Plan:
    """The plan that runs the whole launch on one device.

    `written[i]` tells whether the kernel may write argument `i`; only such buffers are fetched.
    """
    nd_range = launch.nd_range
    whole = Slice(0, 0, nd_range.groups[0])
    buffers = tuple(
        BufferPlan(
            index,
            Merge.RANGE if written[index] else Merge.NONE,
            Region.range(0, argument.size_bytes),
            Region.range(0, argument.size_bytes if written[index] else 0),
        )
        for index, argument in enumerate(launch.arguments)
        if isinstance(argument, BufferArgument)
    )
    part = Part(device, whole, nd_range.offset, nd_range.global_size, buffers)
    return Plan(launch, (part,), source, options)
