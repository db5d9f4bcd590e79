"""Carries out a launch in chunks: a device that is idle is given the next work-groups, to the end.

Each device holds what the whole launch needs before its first chunk, and its chunks lie next to each
other. So what it has left in the end is what a part of that slice leaves, and follows from one cut: where
the two devices met. That cut is judged like any other, and what comes back and how it is merged is its plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Condition, Lock
from time import perf_counter

import pyopencl as cl

from lb_runtime.analysis.regions import Region
from lb_runtime.analysis.verdict import Merge
from lb_runtime.checks import Value, check_kinds, host_contents, host_images
from lb_runtime.contexts import OpenDevice
from lb_runtime.errors import ExecutionError
from lb_runtime.execute import FinishedPart, merge_all
from lb_runtime.execution import ChunkTiming, Execution, PartTiming
from lb_runtime.launch import Slice
from lb_runtime.parts import Host, OnDevice, Traffic, check_images, device_seconds
from lb_runtime.plan import ImagePlan, MemoryPlan, Plan, memory_plans
from lb_runtime.plan_checks import check_parts
from lb_runtime.shares.chunks import NOTHING, Chunk, Chunks, Prepared
from lb_runtime.standby import at_once, standby_of


class CutError(ExecutionError):
    """The chunks came to a cut that cannot be merged; the host's arrays hold what they held before."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What every device must hold before its first chunk, whichever chunks it will be given."""

    memories: tuple[MemoryPlan, ...]
    images: tuple[ImagePlan, ...]

    @classmethod
    def of(cls, plan: Plan) -> Needs:
        """All of every memory of which some part of a plan needs some bytes, and of every image.

        What parts need of a memory differs from cut to cut in more than where it begins and ends, as
        where every third element is read. That a memory of which nothing is needed here is needed
        nowhere follows from nothing: `holds` tells.
        """
        sizes = plan.launch.memory_bytes
        merged: dict[int, MemoryPlan] = {}
        for part in plan.parts:
            for each in memory_plans(plan.launch, part):
                if each.needs.rows:
                    needs = Region.range(0, sizes[each.memory])
                    merged[each.memory] = replace(each, needs=needs)
                else:
                    merged.setdefault(each.memory, each)
        images = tuple(replace(each, merge=Merge.NONE) for each in plan.parts[0].images)
        return cls(tuple(merged.values()), images)

    def holds(self, plan: Plan) -> bool:
        """Whether devices that hold this can run the parts of a plan."""
        held = {each.memory: each.needs for each in self.memories}
        return all(
            held[each.memory].holds(each.needs)
            for part in plan.parts
            for each in memory_plans(plan.launch, part)
        )


@dataclass(slots=True)
class _Handout:
    """The chunks of a launch, handed out under a lock; `failed` makes everybody stop.

    `prepared` are the cuts whose plan need not be worked out any more.
    """

    chunks: Chunks
    prepared: Prepared
    failed: bool = False
    lock: Condition = field(default_factory=Condition)
    begun: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def next(self, device: int, *, waits: bool = True) -> Chunk | None:
        """The next chunk for a device that is idle, None where none is left for it.

        A device for which there is none since the other should be done sooner waits for what that comes
        to, if it is to wait.
        """
        with self.lock:
            while not self.failed:
                now = perf_counter()
                self.chunks.agree([now - each for each in self.begun], self.prepared)
                chunk = self.chunks.next(device)
                if chunk is not None:
                    self.begun[device] = now
                if self.chunks.is_cut_known:
                    self.lock.notify_all()
                if chunk is not None or not waits or self.chunks.is_done(device):
                    return chunk
                self.lock.wait()
            return None

    def done(self, chunk: Chunk, seconds: float) -> None:
        """A chunk took so long."""
        with self.lock:
            self.chunks.done(chunk, seconds)
            self.lock.notify_all()

    def fail(self) -> None:
        """No more chunks for anybody."""
        with self.lock:
            self.failed = True
            self.lock.notify_all()

    @property
    def is_over(self) -> bool:
        """Whether all work is handed out."""
        with self.lock:
            return not self.chunks.left and not self.failed

    @property
    def is_cut_known(self) -> bool:
        """Whether it is known what each device will have done in the end."""
        with self.lock:
            return self.chunks.is_cut_known and not self.failed


@dataclass(frozen=True, slots=True)
class _Running:
    """A chunk that a device was set to, at `began` of the host's clock."""

    chunk: Chunk
    event: cl.Event
    began: float


@dataclass(slots=True)
class _Side:
    """One device's way through a launch in chunks; `running` is its first chunk, until it has a thread."""

    device: int
    end: OnDevice
    kernel: cl.Kernel
    running: _Running | None = None
    sent: Traffic = field(default_factory=Traffic)
    chunks: list[ChunkTiming] = field(default_factory=list)
    launches: list[cl.Event] = field(default_factory=list)
    begin_seconds: float = 0.0
    end_seconds: float = 0.0
    finished: FinishedPart | None = None


def execute_chunks(
    reference: Plan,
    chunks: Chunks,
    plan_at: Callable[[int], Plan],
    devices: Sequence[OpenDevice],
    values: Sequence[Value],
    file_name: str = "<kernel>",
    prepared: Prepared = NOTHING,
) -> tuple[Execution, Plan]:
    """Run a launch in chunks on two devices, and merge what they leave into the arrays of `values`.

    `reference` is a plan of the launch that cuts it in two somewhere: along its dimension, `chunks` hands
    out the work-groups. `plan_at` gives the plan for a cut there, by the number of work-groups of the first
    device, 0 and all of them included; it may be called on any thread, once. Of `prepared` cuts it has the
    plan at hand: devices meet there where that costs next to nothing. Returns that plan too; the rest is
    as for `execute`.

    Raises what `execute` does, what `plan_at` does, and `CutError` where that plan does not follow from
    the reference. Whatever is raised, the arrays hold what they held before.
    """
    began = perf_counter()
    launch, dimension = reference.launch, reference.parts[0].piece.dimension
    host = Host(launch, values, host_contents(reference, values), host_images(reference, values))
    check_parts(reference, devices)
    check_images(host, devices)
    needs, handout = Needs.of(reference), _Handout(chunks, prepared)
    sides = []
    for number, device in enumerate(devices):
        kernel = standby_of(device).kernel(
            device, reference.source, reference.options, launch.kernel_name, file_name
        )
        check_kinds(kernel, reference)
        sides.append(_Side(number, OnDevice(device, host), kernel))
    # Here, the CPU's last: a thread that a CPU device takes the core from may hold the interpreter's lock.
    for side in reversed(sides):
        try:
            _open(side, needs, began)
            side.running = _launch_next(side, dimension, host, handout, waits=False)
        except BaseException:
            for each in sides:
                each.end.settle()
            raise
    met: list[Plan] = []
    judging = Lock()

    def plan_where_they_met() -> Plan:
        with judging:
            if not met:
                plan = plan_at(chunks.cut)
                check_parts(plan, devices)
                _check_cut(plan, reference, chunks.cut, needs)
                met.append(plan)
            return met[0]

    at_once(
        devices,
        {
            side.device: partial(_work, side, dimension, host, handout, plan_where_they_met, began)
            for side in reversed(sides)
        },
    )
    plan = plan_where_they_met()
    late = [side for side in sides if side.finished is None and side.chunks]
    if late:
        at_once(devices, {each.device: partial(_fetch, each, plan, began) for each in late})
    merge_began = perf_counter()
    try:
        for side in sides:
            _check_ran(side, plan)
        finished = sorted(
            (side.finished for side in sides if side.finished is not None),
            key=lambda part: part.number,
        )
        writing = merge_all(finished, host, devices, [part.device for part in plan.parts])
    finally:
        for side in sides:
            side.end.close()
    ended = perf_counter()
    execution = Execution(
        parts=tuple(writing.added(part.timing) for part in finished),
        ownership=writing.ownership,
        merge_seconds=ended - merge_began,
        total_seconds=ended - began,
        chunks=tuple(
            sorted(
                (chunk for side in sides for chunk in side.chunks),
                key=lambda chunk: chunk.end_seconds,
            )
        ),
    )
    return execution, plan


def _check_cut(plan: Plan, reference: Plan, cut: int, needs: Needs) -> None:
    """Raise `CutError` unless a plan is for what the devices ran, from what they were sent."""
    dimension = reference.parts[0].piece.dimension
    groups = reference.launch.nd_range.groups[dimension]
    ran = {0: Slice(dimension, 0, cut), 1: Slice(dimension, cut, groups)}
    expected = {device: piece for device, piece in ran.items() if piece.groups}
    if {part.device: part.piece for part in plan.parts} != expected:
        raise CutError(
            f"chunks that met after {cut} of {groups} work-groups of dimension {dimension} are not the "
            "parts of a plan"
        )
    if (plan.source, plan.options) != (reference.source, reference.options):
        raise CutError("the plan for where chunks met is one for another program")
    if not needs.holds(plan):
        raise CutError(f"chunks that met after {cut} work-groups need what was not sent")


def _check_ran(side: _Side, plan: Plan) -> None:
    """Raise `CutError` unless a device's chunks are its part of a plan: none missing, none twice."""
    pieces = [part.piece for part in plan.parts if part.device == side.device]
    expected = [(piece.group_start, piece.group_stop) for piece in pieces]
    ran: list[tuple[int, int]] = []
    for start, stop in sorted((chunk.group_start, chunk.group_stop) for chunk in side.chunks):
        if ran and ran[-1][1] == start:
            ran[-1] = ran[-1][0], stop
        else:
            ran.append((start, stop))
    if ran != expected:
        raise CutError(
            f"{side.end.device.label} ran the work-groups {ran} in chunks, expected {expected}"
        )


def _open(side: _Side, needs: Needs, began: float) -> None:
    """Take a device's memory, and send what it needs."""
    side.begin_seconds = side.end_seconds = perf_counter() - began
    try:
        side.end.open(needs.memories)
        side.sent = side.end.send(needs.memories, needs.images)
        side.end.set_arguments(side.kernel)
        side.end.device.queue.flush()
    except cl.Error as error:
        raise ExecutionError(f"{side.end.device.label} failed: {error}") from error


def _launch_next(
    side: _Side, dimension: int, host: Host, handout: _Handout, *, waits: bool
) -> _Running | None:
    """Set a device to its next chunk; None where none is left for it. Raises `ExecutionError`."""
    chunk = handout.next(side.device, waits=waits)
    if chunk is None:
        return None
    began, piece = perf_counter(), Slice(dimension, chunk.start, chunk.stop)
    try:
        event = side.end.launch(side.kernel, *host.launch.nd_range.part(piece))
        side.end.device.queue.flush()
    except cl.Error as error:
        raise ExecutionError(f"{side.end.device.label} failed: {error}") from error
    return _Running(chunk, event, began)


def _work(
    side: _Side,
    dimension: int,
    host: Host,
    handout: _Handout,
    plan: Callable[[], Plan],
    began: float,
) -> None:
    """Run chunks as long as there are some for this device, and fetch what it left if all is known."""
    end = side.end
    go_on = partial(_launch_next, side, dimension, host, handout, waits=True)
    try:
        running = side.running or go_on()
        while running is not None:
            chunk, event = running.chunk, running.event
            if handout.is_over:
                # The cut is judged while both devices compute.
                plan()
            event.wait()
            ended = perf_counter()
            taken = ended - running.began
            if not side.launches:
                # What was sent came before it, and says nothing of the chunk's speed.
                taken = device_seconds([event])
            side.launches.append(event)
            side.chunks.append(
                ChunkTiming(
                    side.device, chunk.start, chunk.stop, ended - taken - began, ended - began
                )
            )
            side.end_seconds = ended - began
            handout.done(chunk, taken)
            running = go_on()
        if side.chunks and handout.is_cut_known:
            _fetch(side, plan(), began)
        elif not side.chunks:
            end.device.queue.finish()
    except cl.Error as error:
        handout.fail()
        end.settle()
        raise ExecutionError(f"{end.device.label} failed: {error}") from error
    except BaseException:
        handout.fail()
        end.settle()
        raise


def _fetch(side: _Side, plan: Plan, began: float) -> None:
    """Fetch what a device's chunks have left."""
    fetch_began = perf_counter()
    number, part = next(
        (number, part) for number, part in enumerate(plan.parts) if part.device == side.device
    )
    try:
        got = side.end.fetch(number, memory_plans(plan.launch, part), part.images)
        for event in got.events:
            event.wait()
    except cl.Error as error:
        side.end.settle()
        raise ExecutionError(f"{side.end.device.label} failed: {error}") from error
    fetching = perf_counter() - fetch_began
    side.finished = FinishedPart(
        number,
        tuple(got.buffers),
        tuple(got.boxes),
        PartTiming(
            part=number,
            device=side.device,
            begin_seconds=side.begin_seconds,
            end_seconds=side.end_seconds + fetching,
            kernel_begin_seconds=side.chunks[0].begin_seconds,
            kernel_end_seconds=side.chunks[-1].end_seconds,
            upload_seconds=device_seconds(side.sent.events),
            kernel_seconds=device_seconds(side.launches),
            download_seconds=device_seconds(got.events),
            uploaded_bytes=side.sent.size_bytes,
            downloaded_bytes=got.size_bytes,
        ),
    )
