"""Carries out a plan: every device runs its parts at the same time, then the parts' bytes are merged.

Nothing is decided here. One thread per device sends what its parts need, enqueues their kernels, fetches
what they leave into memory of its own and waits. The host arrays are read by the devices meanwhile, and
written only when every part has succeeded: after an error they hold what they held before.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import pyopencl as cl

from lb_runtime.analysis.verdict import Merge
from lb_runtime.checks import Value, check_kinds, host_contents, host_images
from lb_runtime.contexts import OpenDevice
from lb_runtime.errors import ArgumentError, ExecutionError
from lb_runtime.execution import Execution, PartTiming
from lb_runtime.images import Box, Image, Sampler, box_bytes
from lb_runtime.launch import BufferArgument, ImageArgument, LocalArgument
from lb_runtime.memory.images import (
    check_image,
    download_box,
    make_image,
    make_sampler,
    upload_box,
)
from lb_runtime.memory.merge import Bytes, as_bytes
from lb_runtime.memory.transfer import download, upload
from lb_runtime.merging import Fetched, FetchedBox, merge, merge_boxes
from lb_runtime.plan import MemoryPlan, Part, Plan, memory_plans
from lb_runtime.plan_checks import check_parts


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
    host = _Host(plan, values, host_contents(plan, values), host_images(plan, values))
    check_parts(plan, devices)
    _check_images(host, devices)
    kernels = [
        devices[part.device].kernel(plan.source, plan.options, plan.launch.kernel_name, file_name)
        for part in plan.parts
    ]
    for kernel in kernels:
        check_kinds(kernel, plan)
    work: dict[int, list[_RunningPart]] = {}
    for number, (part, kernel) in enumerate(zip(plan.parts, kernels)):
        running = _RunningPart(number, part, kernel, memory_plans(plan.launch, part))
        work.setdefault(part.device, []).append(running)
    with ThreadPoolExecutor(max_workers=len(work)) as threads:
        runs = [
            threads.submit(_run_on_device, devices[index], parts, host, began)
            for index, parts in work.items()
        ]
    finished = sorted((part for run in runs for part in run.result()), key=lambda part: part.number)
    merge_began = perf_counter()
    ownership = merge([each for part in finished for each in part.fetched], host.contents)
    merge_boxes([each for part in finished for each in part.boxes], host.pixels)
    ended = perf_counter()
    return Execution(
        parts=tuple(part.timing for part in finished),
        ownership=ownership,
        merge_seconds=ended - merge_began,
        total_seconds=ended - began,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Host:
    """What the host gave for a launch; `contents` and `images` by memory number."""

    plan: Plan
    values: Sequence[Value]
    contents: dict[int, Bytes]
    images: dict[int, Image]

    @property
    def pixels(self) -> dict[int, Bytes]:
        """The bytes of each image."""
        return {memory: as_bytes(image.pixels) for memory, image in self.images.items()}

    @property
    def image_arguments(self) -> dict[int, ImageArgument]:
        """The image arguments, by index in the kernel's signature."""
        return {
            index: argument
            for index, argument in enumerate(self.plan.launch.arguments)
            if isinstance(argument, ImageArgument)
        }


def _check_images(host: _Host, devices: Sequence[OpenDevice]) -> None:
    """Raise `LaunchError` for images that a device of the plan does not have."""
    for number in {part.device for part in host.plan.parts}:
        device = devices[number]
        for argument in host.image_arguments.values():
            image = host.images[argument.memory]
            check_image(device.handle, device.context, device.label, argument, image)


@dataclass(frozen=True, slots=True)
class _DeviceMemory:
    """The buffers and images of one device, by memory number."""

    buffers: dict[int, cl.Buffer] = field(default_factory=dict)
    images: dict[int, cl.Image] = field(default_factory=dict)


@dataclass(slots=True)
class _RunningPart:
    """A part on its way through one device: its commands' events, and the bytes it brings back."""

    number: int
    part: Part
    kernel: cl.Kernel
    memories: tuple[MemoryPlan, ...]
    begin_seconds: float = 0.0
    uploads: list[cl.Event] = field(default_factory=list)
    launch: list[cl.Event] = field(default_factory=list)
    downloads: list[cl.Event] = field(default_factory=list)
    fetched: list[Fetched] = field(default_factory=list)
    boxes: list[FetchedBox] = field(default_factory=list)
    uploaded_bytes: int = 0
    held: list[object] = field(default_factory=list)
    """What must live until the part is done: clSetKernelArg keeps no object alive (OpenCL 1.2, 5.7.2)."""

    @property
    def last(self) -> cl.Event:
        return (self.downloads or self.launch)[-1]


@dataclass(frozen=True, slots=True, eq=False)
class _FinishedPart:
    number: int
    fetched: tuple[Fetched, ...]
    boxes: tuple[FetchedBox, ...]
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
    device: OpenDevice, parts: list[_RunningPart], host: _Host, began: float
) -> list[_FinishedPart]:
    """Run one device's parts, in order, on its in-order queue; they share the device's buffers."""
    memory = _DeviceMemory()
    enqueued: list[tuple[cl.Event, float]] = []
    try:
        for number, content in host.contents.items():
            memory.buffers[number] = device.buffers.take(content.size)
        _make_images(device, host, memory)
        for running in parts:
            running.begin_seconds = perf_counter() - began
            _enqueue(device, running, host, memory)
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
    for buffer in memory.buffers.values():
        device.buffers.give_back(buffer)
    for image in memory.images.values():
        image.release()
    return finished


def _make_images(device: OpenDevice, host: _Host, memory: _DeviceMemory) -> None:
    arguments = host.image_arguments.values()
    written = {argument.memory for argument in arguments if argument.is_written}
    for argument in arguments:
        number = argument.memory
        if number not in memory.images:
            memory.images[number] = make_image(
                device.context, argument, host.images[number], number in written
            )


def _enqueue(device: OpenDevice, running: _RunningPart, host: _Host, memory: _DeviceMemory) -> None:
    """Enqueue a part's uploads, its kernel and its downloads, waiting for none of them."""
    for each in running.memories:
        buffer, content = memory.buffers[each.memory], host.contents[each.memory]
        running.uploads.extend(upload(device.queue, buffer, content, each.needs))
        running.uploaded_bytes += each.needs.size_bytes
    written = _send_images(device, running, host, memory)
    _set_arguments(device, running, host, memory)
    running.launch.append(
        cl.enqueue_nd_range_kernel(
            device.queue,
            running.kernel,
            running.part.global_size,
            host.plan.launch.nd_range.local_size,
            running.part.global_offset,
        )
    )
    for each in running.memories:
        if each.fetched.rows:
            events, pieces = download(device.queue, memory.buffers[each.memory], each.fetched)
            running.downloads.extend(events)
            running.fetched.append(Fetched(running.number, each, pieces))
    for argument, box in written:
        event, pixels = download_box(device.queue, memory.images[argument.memory], argument, box)
        running.downloads.append(event)
        running.boxes.append(FetchedBox(argument, box, pixels))


def _send_images(
    device: OpenDevice, running: _RunningPart, host: _Host, memory: _DeviceMemory
) -> list[tuple[ImageArgument, Box]]:
    """Enqueue the uploads of a part's images, each once; the boxes that it leaves, each once."""
    arguments, contents = host.image_arguments, host.pixels
    sent: dict[int, tuple[ImageArgument, Box]] = {}
    written: dict[int, tuple[ImageArgument, Box]] = {}
    for plan in running.part.images:
        argument = arguments[plan.argument]
        if plan.merge is Merge.NONE:
            sent[argument.memory] = argument, ((0,) * len(argument.shape), argument.shape)
        elif all(plan.size):
            sent.setdefault(argument.memory, (argument, plan.box))
            written[argument.memory] = argument, plan.box
    for number, (argument, box) in sent.items():
        event, pixels = upload_box(
            device.queue, memory.images[number], contents[number], argument, box
        )
        running.uploads.append(event)
        running.held.append(pixels)
        running.uploaded_bytes += box_bytes(argument, box)
    return list(written.values())


def _set_arguments(
    device: OpenDevice, running: _RunningPart, host: _Host, memory: _DeviceMemory
) -> None:
    for index, (argument, value) in enumerate(zip(host.plan.launch.arguments, host.values)):
        try:
            given: object
            if isinstance(argument, BufferArgument):
                given = _argument_buffer(argument, memory.buffers[argument.memory])
            elif isinstance(argument, ImageArgument):
                given = memory.images[argument.memory]
            elif isinstance(value, Sampler):
                given = make_sampler(device.context, value)
            elif isinstance(argument, LocalArgument):
                given = cl.LocalMemory(argument.size_bytes)
            else:
                given = np.asarray(value)[()]
            running.kernel.set_arg(index, given)  # type: ignore[arg-type]  # its stub lacks some
            running.held.append(given)
        except cl.LogicError as error:
            raise ArgumentError(
                f"argument {index} does not fit kernel {host.plan.launch.kernel_name}: {error}"
            ) from error


def _argument_buffer(argument: BufferArgument, memory: cl.Buffer) -> cl.Buffer:
    """The bytes of its memory that an argument is."""
    if argument.size_bytes == memory.size:
        return memory
    return memory.get_sub_region(argument.start_bytes, argument.size_bytes)


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
            tuple(running.boxes),
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
                uploaded_bytes=running.uploaded_bytes,
                downloaded_bytes=sum(each.plan.fetched.size_bytes for each in running.fetched)
                + sum(each.pixels.nbytes for each in running.boxes),
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
