"""A plan says which device runs which slice of a launch, what bytes it needs and what bytes it leaves.

A plan is a value: making one needs no device, and `execute` carries it out without deciding anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lb_runtime.analysis.regions import Region
from lb_runtime.analysis.verdict import AtomicZone, Merge, Splittable
from lb_runtime.errors import ExecutionError
from lb_runtime.launch import BufferArgument, ImageArgument, Launch, Slice
from lb_runtime.records import dataclass

if TYPE_CHECKING:
    from lb_runtime.images import Box


@dataclass(frozen=True, slots=True)
class BufferPlan:
    """One buffer argument in one part.

    `argument` is the index in the kernel's signature. `needs` are the bytes that the part's device must
    hold before it starts: what the part reads, and the old content of what it may leave unwritten.
    `leaves` are the bytes that the part may write: for `Merge.RANGE` they are copied back as they are
    (no other part's `leaves` overlap them); for `Merge.DIFFERENCE` the bytes in it that differ from
    the original are; for `Merge.ATOMIC` each of the `zones` is combined by its operation; for
    `Merge.NONE` it is empty. All of them count bytes of the argument's memory. Written arguments that
    are one memory have plans that differ in `argument` alone.
    """

    argument: int
    merge: Merge
    needs: Region
    leaves: Region
    zones: tuple[AtomicZone, ...] = ()


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """One image argument in one part.

    An image that is read (`Merge.NONE`) is sent whole. Of one that is written (`Merge.RANGE`) the part
    may write the box of `size` pixels from `origin` on, along width, height, depth as far as there are:
    its pixels are sent, since the kernel may leave some unwritten, and copied back as they are. No other
    part's box overlaps it; all of one part's arguments that are one image have one box.
    """

    argument: int
    merge: Merge
    origin: tuple[int, ...] = ()
    size: tuple[int, ...] = ()

    @property
    def box(self) -> Box:
        """Origin and size of what the part may write."""
        return self.origin, self.size


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """One memory in one part: what the plans of all arguments that are this memory come to.

    `argument` is the first of them; the rest is as in `BufferPlan`.
    """

    memory: int
    argument: int
    merge: Merge
    needs: Region
    leaves: Region
    zones: tuple[AtomicZone, ...] = ()

    @property
    def fetched(self) -> Region:
        """The bytes that come back from the device, where they are merged."""
        if self.merge is Merge.NONE:
            return Region()
        return self.leaves if self.merge is Merge.RANGE else self.leaves.hull


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
    images: tuple[ImagePlan, ...] = ()


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
        if argument.merge is not None and isinstance(launch.arguments[index], BufferArgument)
    )
    images = tuple(
        ImagePlan(index, argument.merge, *(argument.boxes[number] if argument.boxes else ()))
        for index, argument in enumerate(verdict.arguments)
        if argument.merge is not None and isinstance(launch.arguments[index], ImageArgument)
    )
    return Part(device, piece, offset, size, buffers, images)


def memory_plans(launch: Launch, part: Part) -> tuple[MemoryPlan, ...]:
    """What a part does with each memory, so that none is sent, fetched or merged twice.

    Raises `ExecutionError` where arguments that are one memory are to be merged in different ways.
    """
    plans: dict[int, MemoryPlan] = {}
    for buffer in part.buffers:
        argument = launch.arguments[buffer.argument]
        if not isinstance(argument, BufferArgument):
            raise ExecutionError(f"argument {buffer.argument} has a buffer's plan, but is none")
        mine = MemoryPlan(
            argument.memory,
            buffer.argument,
            buffer.merge,
            buffer.needs,
            buffer.leaves,
            buffer.zones,
        )
        known = plans.get(argument.memory)
        plans[argument.memory] = mine if known is None else _together(known, mine)
    return tuple(plans.values())


def _together(one: MemoryPlan, other: MemoryPlan) -> MemoryPlan:
    """The plan of a memory from those of two of its arguments."""
    needs = one.needs if one.needs == other.needs else one.needs.union(other.needs)
    if one.merge is Merge.NONE or other.merge is Merge.NONE:
        written = other if one.merge is Merge.NONE else one
        return replace(written, argument=one.argument, needs=needs)
    if (one.merge, one.leaves, one.zones) != (other.merge, other.leaves, other.zones):
        raise ExecutionError(
            f"arguments {one.argument} and {other.argument} are one memory, but a part merges them "
            "in different ways"
        )
    return replace(one, needs=needs)


def whole_plan(
    launch: Launch,
    device: int,
    written: Sequence[bool],
    source: str,
    options: tuple[str, ...],
) -> Plan:
    """The plan that runs the whole launch on one device.

    `written[i]` tells whether the kernel may write argument `i`; only such memories are fetched.
    """
    nd_range = launch.nd_range
    buffers = {
        index: argument
        for index, argument in enumerate(launch.arguments)
        if isinstance(argument, BufferArgument)
    }
    needs: dict[int, Region] = {}
    leaves: dict[int, Region] = {}
    for index, argument in buffers.items():
        # Of a memory of which the arguments are parts, the rest may be in use elsewhere.
        given = Region.range(argument.start_bytes, argument.stop_bytes)
        needs[argument.memory] = needs.get(argument.memory, Region()).union(given)
        if written[index]:
            leaves[argument.memory] = leaves.get(argument.memory, Region()).union(given)
    plans = tuple(
        BufferPlan(
            index,
            Merge.RANGE if argument.memory in leaves else Merge.NONE,
            needs[argument.memory],
            leaves.get(argument.memory, Region()),
        )
        for index, argument in buffers.items()
    )
    whole = Slice(0, 0, nd_range.groups[0])
    images = whole_images(launch)
    part = Part(device, whole, nd_range.offset, nd_range.global_size, plans, images)
    return Plan(launch, (part,), source, options)


def whole_images(launch: Launch) -> tuple[ImagePlan, ...]:
    """The plans of a launch's images where one part runs all of it: whatever may be written is fetched."""
    return tuple(
        ImagePlan(index, Merge.RANGE, (0,) * len(argument.shape), argument.shape)
        if argument.is_written
        else ImagePlan(index, Merge.NONE)
        for index, argument in enumerate(launch.arguments)
        if isinstance(argument, ImageArgument)
    )
