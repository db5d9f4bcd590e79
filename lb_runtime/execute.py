"""Carries out a plan: every device runs its parts at the same time, then the parts' bytes are merged.

Nothing is decided here. One thread per device sends what its parts need, enqueues their kernels, fetches
what they leave into memory of its own and waits. The host arrays are read by the devices meanwhile, and
written only when every part has succeeded: after an error they hold what they held before.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from time import perf_counter

import numpy as np
import pyopencl as cl

from lb_runtime.analysis.verdict import Merge
from lb_runtime.checks import Value, check_kinds, check_parts, host_contents, memories_of
from lb_runtime.contexts import OpenDevice
from lb_runtime.errors import ArgumentError, ExecutionError, RaceError
from lb_runtime.execution import Execution, Ownership, PartTiming
from lb_runtime.launch import BufferArgument, LocalArgument
from lb_runtime.memory.merge import (
    Bytes,
    Mask,
    changed_bytes,
    first_clash,
    write_changed,
    write_range,
)
from lb_runtime.plan import BufferPlan, Part, Plan


def execute(
    plan: Plan,
    devices: Sequence[OpenDevice],
    values: Sequence[Value],
    file_name: str = "<kernel>",
) -> Execution:
    """Run all parts of `plan` and merge what they leave into the arrays of `values`.

    `values[i]` belongs to `plan.launch.arguments[i]`: a writable C-contiguous array of exactly the
    buffer's size, updated in place; a numpy scalar (or 0-d array) for an argument by value; the size in
    bytes (or the `LocalArgument`) for local memory. Arguments with one `memory` number must be one array.

    Raises `ArgumentError` or `LaunchError` when values or parts do not fit, `BuildError` when a device's
    compiler refuses the program, `KernelNotFoundError`, and `ExecutionError` when a device fails.
    """
    began = perf_counter()
    contents = host_contents(plan, values)
    check_parts(plan, devices)
    kernels = [
        devices[part.device].kernel(plan.source, plan.options, plan.launch.kernel_name, file_name)
        for part in plan.parts
    ]
    for kernel in kernels:
        check_kinds(kernel, plan)
    work: dict[int, list[_RunningPart]] = {}
    for number, (part, kernel) in enumerate(zip(plan.parts, kernels)):
        work.setdefault(part.device, []).append(_RunningPart(number, part, kernel))
    with ThreadPoolExecutor(max_workers=len(work)) as threads:
        runs = [
            threads.submit(_run_on_device, devices[index], parts, plan, contents, values, began)
            for index, parts in work.items()
        ]
    finished = sorted((part for run in runs for part in run.result()), key=lambda part: part.number)
    merge_began = perf_counter()
    ownership = _merge(plan, finished, contents)
    ended = perf_counter()
    return Execution(
        parts=tuple(part.timing for part in finished),
        ownership=ownership,
        merge_seconds=ended - merge_began,
        total_seconds=ended - began,
    )


@dataclass(slots=True)
class _RunningPart:
    """A part on its way through one device: its commands' events, and the bytes it brings back."""

    number: int
    part: Part
    kernel: cl.Kernel
    begin_seconds: float = 0.0
    uploads: list[cl.Event] = field(default_factory=list)
    launch: list[cl.Event] = field(default_factory=list)
    downloads: list[cl.Event] = field(default_factory=list)
    fetched: list[tuple[BufferPlan, Bytes]] = field(default_factory=list)

    @property
    def last(self) -> cl.Event:
        return (self.downloads or self.launch)[-1]


@dataclass(frozen=True, slots=True, eq=False)
class _FinishedPart:
    number: int
    fetched: tuple[tuple[BufferPlan, Bytes], ...]
    timing: PartTiming


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


def _run_on_device(
    device: OpenDevice,
    parts: list[_RunningPart],
    plan: Plan,
    contents: dict[int, Bytes],
    values: Sequence[Value],
    began: float,
) -> list[_FinishedPart]:
    """Run one device's parts, in order, on its in-order queue; they share the device's buffers."""
    buffers: dict[int, cl.Buffer] = {}
    enqueued: list[tuple[cl.Event, float]] = []
    try:
        for memory, content in contents.items():
            buffers[memory] = device.buffers.take(content.size)
        for running in parts:
            running.begin_seconds = perf_counter() - began
            _enqueue(device, running, plan, contents, values, buffers)
            first = (running.uploads or running.launch)[0]
            enqueued.append((first, perf_counter()))
        device.queue.flush()
        finished = _wait(parts, enqueued, began)
    except cl.Error as error:
        _settle(device)
        raise ExecutionError(f"{device.label} failed: {error}") from error
    except ArgumentError:
        _settle(device)
        raise
    for buffer in buffers.values():
        device.buffers.give_back(buffer)
    return finished


def _enqueue(
    device: OpenDevice,
    running: _RunningPart,
    plan: Plan,
    contents: dict[int, Bytes],
    values: Sequence[Value],
    buffers: dict[int, cl.Buffer],
) -> None:
    """Enqueue a part's uploads, its kernel and its downloads, waiting for none of them."""
    memories = memories_of(plan)
    for buffer_plan in running.part.buffers:
        needs = buffer_plan.needs
        memory = memories[buffer_plan.argument]
        if needs.size_bytes:
            running.uploads.append(
                cl.enqueue_copy(
                    device.queue,
                    buffers[memory],
                    contents[memory][needs.start : needs.stop],
                    dst_offset=needs.start,
                    is_blocking=False,
                )
            )
    _set_arguments(running.kernel, plan, values, buffers)
    running.launch.append(
        cl.enqueue_nd_range_kernel(
            device.queue,
            running.kernel,
            running.part.global_size,
            plan.launch.nd_range.local_size,
            running.part.global_offset,
        )
    )
    for buffer_plan in running.part.buffers:
        leaves = buffer_plan.leaves
        if buffer_plan.merge is Merge.NONE or not leaves.size_bytes:
            continue
        fetched = np.empty(leaves.size_bytes, np.uint8)
        running.fetched.append((buffer_plan, fetched))
        running.downloads.append(
            cl.enqueue_copy(
                device.queue,
                fetched,
                buffers[memories[buffer_plan.argument]],
                src_offset=leaves.start,
                is_blocking=False,
            )
        )


def _set_arguments(
    kernel: cl.Kernel, plan: Plan, values: Sequence[Value], buffers: dict[int, cl.Buffer]
) -> None:
    for index, argument in enumerate(plan.launch.arguments):
        try:
            if isinstance(argument, BufferArgument):
                kernel.set_arg(index, buffers[argument.memory])
            elif isinstance(argument, LocalArgument):
                local = cl.LocalMemory(argument.size_bytes)
                kernel.set_arg(index, local)  # type: ignore[arg-type]  # missing in its stub
            else:
                kernel.set_arg(index, np.asarray(values[index])[()])
        except cl.LogicError as error:
            raise ArgumentError(
                f"argument {index} does not fit kernel {plan.launch.kernel_name}: {error}"
            ) from error


def _wait(
    parts: list[_RunningPart], enqueued: list[tuple[cl.Event, float]], began: float
) -> list[_FinishedPart]:
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
    for event, host_seconds in enqueued:
        clock.saw(event.profile.queued, host_seconds)
    return [
        _FinishedPart(
            running.number,
            tuple(running.fetched),
            PartTiming(
                part=running.number,
                device=running.part.device,
                begin_seconds=running.begin_seconds,
                end_seconds=end,
                kernel_begin_seconds=clock.host_seconds(running.launch[0].profile.start) - began,
                kernel_end_seconds=clock.host_seconds(running.launch[0].profile.end) - began,
                upload_seconds=_device_seconds(running.uploads),
                kernel_seconds=_device_seconds(running.launch),
                download_seconds=_device_seconds(running.downloads),
                uploaded_bytes=sum(plan.needs.size_bytes for plan in running.part.buffers),
                downloaded_bytes=sum(content.size for _, content in running.fetched),
            ),
        )
        for running, end in zip(parts, ends)
    ]


def _device_seconds(events: list[cl.Event]) -> float:
    return sum((event.profile.end - event.profile.start) * 1e-9 for event in events)


def _settle(device: OpenDevice) -> None:
    """After a failure: let the commands that still use the host's memory end."""
    try:
        device.queue.finish()
    except cl.Error:
        # The first failure is the one being reported.
        return


def _merge(
    plan: Plan, finished: Sequence[_FinishedPart], contents: dict[int, Bytes]
) -> tuple[Ownership, ...]:
    """Write what the parts brought back into the host arrays.

    All differences are taken before the first write, so that each is one from the original. Raises
    `RaceError`, before any write, where two parts left different values in one place.
    """
    memories = memories_of(plan)
    ownership = []
    differences = []
    for part in finished:
        for buffer_plan, content in part.fetched:
            if buffer_plan.merge is Merge.DIFFERENCE:
                leaves = buffer_plan.leaves
                original = contents[memories[buffer_plan.argument]][leaves.start : leaves.stop]
                changed = changed_bytes(original, content)
                differences.append((buffer_plan, content, changed))
                ownership.append(
                    Ownership(part.number, buffer_plan.argument, leaves.start, changed)
                )
    _check_races(differences, memories)
    for part in finished:
        for buffer_plan, content in part.fetched:
            if buffer_plan.merge is Merge.RANGE:
                target = contents[memories[buffer_plan.argument]]
                write_range(target, buffer_plan.leaves, content)
    for buffer_plan, content, changed in differences:
        target = contents[memories[buffer_plan.argument]]
        write_changed(target, buffer_plan.leaves, content, changed)
    return tuple(ownership)


def _check_races(
    differences: Sequence[tuple[BufferPlan, Bytes, Mask]], memories: dict[int, int]
) -> None:
    """Raise `RaceError` where two parts changed one byte of a memory to different values."""
    for (one, left, left_changed), (other, right, right_changed) in combinations(differences, 2):
        if memories[one.argument] != memories[other.argument]:
            continue
        start = max(one.leaves.start, other.leaves.start)
        stop = min(one.leaves.stop, other.leaves.stop)
        if start >= stop:
            continue
        mine = slice(start - one.leaves.start, stop - one.leaves.start)
        theirs = slice(start - other.leaves.start, stop - other.leaves.start)
        clash = first_clash(left[mine], left_changed[mine], right[theirs], right_changed[theirs])
        if clash is not None:
            raise RaceError(
                f"two parts left different values in byte {start + clash} of argument "
                f"{one.argument}: the kernel has a data race, and cannot be split"
            )
