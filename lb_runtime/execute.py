"""Carries out a plan: every device runs its parts at the same time, then the parts' bytes are merged.

Nothing is decided here. First all commands are enqueued: sending what the parts need, their kernels, and
fetching what they leave into memory of its own; then each device's thread waits for its own. Were they
enqueued on these threads, one that holds the interpreter's lock would lose its core to a CPU device that it
has just set to work, and the other device would wait for milliseconds. The host arrays are read by the
devices meanwhile, and written only when every part has succeeded: after an error they hold what they held
before. Then each device's thread writes what its own parts have left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter

import pyopencl as cl

from lb_runtime.checks import Value, check_kinds, host_contents, host_images
from lb_runtime.contexts import OpenDevice
from lb_runtime.errors import ArgumentError, ExecutionError
from lb_runtime.execution import Execution, Ownership, PartTiming
from lb_runtime.merging import Fetched, FetchedBox, Task, merge, merge_boxes
from lb_runtime.parts import Host, OnDevice, Traffic, check_images, device_seconds
from lb_runtime.plan import MemoryPlan, Part, Plan, memory_plans
from lb_runtime.plan_checks import check_parts
from lb_runtime.standby import at_once, standby_of


def execute(
    plan: Plan,
    devices: Sequence[OpenDevice],
    values: Sequence[Value],
    file_name: str = "<kernel>",
) -> Execution:
    """Run all parts of `plan` and merge what they leave into the arrays of `values`.

    `values[i]` belongs to `plan.launch.arguments[i]`: a writable C-contiguous array of exactly the
    buffer's size, updated in place; a numpy scalar (or 0-d array) for an argument by value; the size in
    bytes (or the `LocalArgument`) for local memory. Arguments with one `memory` number must be one array,
    or arrays that share bytes, as far apart as their `start_bytes` say. An `Image` and a `Sampler` belong
    to arguments that are such; an image's pixels are updated in place.

    Raises `ArgumentError` or `LaunchError` when values or parts do not fit, `BuildError` when a device's
    compiler refuses the program, `KernelNotFoundError`, and `ExecutionError` when a device fails.
    """
    began = perf_counter()
    host = Host(plan.launch, values, host_contents(plan, values), host_images(plan, values))
    check_parts(plan, devices)
    check_images(host, [devices[number] for number in {part.device for part in plan.parts}])
    work: dict[int, list[_RunningPart]] = {}
    for number, part in enumerate(plan.parts):
        device = devices[part.device]
        kernel = standby_of(device).kernel(
            device, plan.source, plan.options, plan.launch.kernel_name, file_name
        )
        check_kinds(kernel, plan)
        running = _RunningPart(number, part, kernel, memory_plans(plan.launch, part))
        work.setdefault(part.device, []).append(running)
    ends = {
        number: OnDevice(devices[number], host, has_several_parts=len(parts) > 1)
        for number, parts in work.items()
    }
    stamps = _enqueue_all(ends, work, began)
    runs = at_once(
        devices,
        {
            number: partial(_wait_for_device, ends[number], parts, stamps[number], began)
            for number, parts in work.items()
        },
    )
    finished = sorted((part for run in runs.values() for part in run), key=lambda part: part.number)
    merge_began = perf_counter()
    places = [part.device for part in plan.parts]
    try:
        writing = merge_all(finished, host, devices, places)
    finally:
        for end in ends.values():
            end.close()
    ended = perf_counter()
    return Execution(
        parts=tuple(writing.added(part.timing) for part in finished),
        ownership=writing.ownership,
        merge_seconds=ended - merge_began,
        total_seconds=ended - began,
    )


@dataclass(frozen=True, slots=True, eq=False)
class FinishedPart:
    """A part that ran: what it brought back, and its times."""

    number: int
    fetched: tuple[Fetched, ...]
    boxes: tuple[FetchedBox, ...]
    timing: PartTiming


@dataclass(slots=True)
class Writing:
    """What writing into the host's arrays came to; `seconds` by part."""

    seconds: dict[int, float] = field(default_factory=dict)
    ownership: tuple[Ownership, ...] = ()

    def added(self, timing: PartTiming) -> PartTiming:
        """A part's times with what its own writing took."""
        return replace(timing, write_seconds=self.seconds.get(timing.part, 0.0))


def merge_all(
    finished: Sequence[FinishedPart],
    host: Host,
    devices: Sequence[OpenDevice],
    places: Sequence[int],
) -> Writing:
    """Write what all parts left, on the threads of their devices; `places[i]` is part i's device."""
    writing = Writing()

    def run(tasks: Sequence[Task]) -> None:
        calls: dict[int, list[Task]] = {}
        for task in tasks:
            calls.setdefault(places[task[0]], []).append(task)
        if calls:
            at_once(devices, {place: partial(timed, mine) for place, mine in calls.items()})

    def timed(tasks: Sequence[Task]) -> None:
        for part, call in tasks:
            began = perf_counter()
            call()
            taken = perf_counter() - began
            writing.seconds[part] = writing.seconds.get(part, 0.0) + taken

    writing.ownership = merge(
        [each for part in finished for each in part.fetched], host.contents, run
    )
    merge_boxes([each for part in finished for each in part.boxes], host.pixels)
    return writing


@dataclass(slots=True)
class _RunningPart:
    """A part on its way through one device: its commands' events, and the bytes it brings back."""

    number: int
    part: Part
    kernel: cl.Kernel
    memories: tuple[MemoryPlan, ...]
    begin_seconds: float = 0.0
    sent: Traffic = field(default_factory=Traffic)
    launch: list[cl.Event] = field(default_factory=list)
    got: Traffic = field(default_factory=Traffic)

    @property
    def last(self) -> cl.Event:
        return (self.got.events or self.launch)[-1]


class _Clock:
    """Puts a device's profiling clock on the host's timeline.

    Each event gives an upper bound of the difference (host - device): the host sees a command enqueued
    or ended after the device stamped it so. The least bound seen is nearest to the truth.
    """

    def __init__(self) -> None:
        self._difference = float("inf")

    def saw(self, stamp_nanoseconds: int, host_seconds: float) -> None:
        self._difference = min(self._difference, host_seconds - stamp_nanoseconds * 1e-9)

    def host_seconds(self, stamp_nanoseconds: int) -> float:
        return stamp_nanoseconds * 1e-9 + self._difference


_Stamps = list[tuple[cl.Event, float]]
"""Commands, and the host's time at which each had been enqueued."""


def _enqueue_all(
    ends: dict[int, OnDevice], work: dict[int, list[_RunningPart]], began: float
) -> dict[int, _Stamps]:
    """Enqueue every part, the first device's last: it plays CPU, and takes the core from who works here.

    A device's parts run in order on its in-order queue; they share the device's buffers.
    """
    stamps: dict[int, _Stamps] = {}
    for number in sorted(work, reverse=True):
        end, parts = ends[number], work[number]
        stamps[number] = []
        try:
            end.open(memory for running in parts for memory in running.memories)
            for running in parts:
                running.begin_seconds = perf_counter() - began
                _enqueue(end, running)
                first = (running.sent.events or running.launch)[0]
                stamps[number].append((first, perf_counter()))
            end.device.queue.flush()
        except cl.Error as error:
            for each in ends.values():
                each.settle()
            raise ExecutionError(f"{end.device.label} failed: {error}") from error
        except ArgumentError:
            for each in ends.values():
                each.settle()
            raise
    return stamps


def _wait_for_device(
    end: OnDevice, parts: list[_RunningPart], stamps: _Stamps, began: float
) -> list[FinishedPart]:
    """Wait for one device's parts."""
    try:
        return _wait(parts, stamps, began)
    except cl.Error as error:
        end.settle()
        raise ExecutionError(f"{end.device.label} failed: {error}") from error


def _enqueue(end: OnDevice, running: _RunningPart) -> None:
    """Enqueue a part's uploads, its kernel and its downloads, waiting for none of them."""
    part = running.part
    running.sent = end.send(running.memories, part.images)
    end.set_arguments(running.kernel)
    running.launch.append(end.launch(running.kernel, part.global_offset, part.global_size))
    running.got = end.fetch(running.number, running.memories, part.images)


def _wait(parts: list[_RunningPart], stamps: _Stamps, began: float) -> list[FinishedPart]:
    """Wait for the parts one after the other, and put their times on the host's timeline."""
    clock = _Clock()
    ends = []
    for running in parts:
        kernel = running.launch[0]
        kernel.wait()
        kernel_seen = perf_counter()
        running.last.wait()
        ends.append(perf_counter() - began)
        clock.saw(kernel.profile.end, kernel_seen)
    for event, host_seconds in stamps:
        clock.saw(event.profile.queued, host_seconds)
    # A waiting thread may be told late, where a CPU device has all cores.
    stamped = [clock.host_seconds(running.last.profile.end) - began for running in parts]
    ends = [min(seen, stamp) for seen, stamp in zip(ends, stamped)]
    return [
        FinishedPart(
            running.number,
            tuple(running.got.buffers),
            tuple(running.got.boxes),
            PartTiming(
                part=running.number,
                device=running.part.device,
                begin_seconds=running.begin_seconds,
                end_seconds=end,
                kernel_begin_seconds=clock.host_seconds(running.launch[0].profile.start) - began,
                kernel_end_seconds=clock.host_seconds(running.launch[0].profile.end) - began,
                upload_seconds=device_seconds(running.sent.events),
                kernel_seconds=device_seconds(running.launch),
                download_seconds=device_seconds(running.got.events),
                uploaded_bytes=running.sent.size_bytes,
                downloaded_bytes=running.got.size_bytes,
            ),
        )
        for running, end in zip(parts, ends)
    ]
