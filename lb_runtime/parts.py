"""One device's side of a launch: its buffers, what is sent, the kernel's arguments, what is fetched.

Nothing here waits or decides. All commands go to the device's in-order queue; the host arrays are only
read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyopencl as cl

from lb_runtime.analysis.regions import Region
from lb_runtime.analysis.verdict import Merge
from lb_runtime.checks import Value
from lb_runtime.contexts import OpenDevice
from lb_runtime.errors import ArgumentError
from lb_runtime.images import Box, Image, Sampler, box_bytes
from lb_runtime.launch import BufferArgument, ImageArgument, Launch, LocalArgument
from lb_runtime.memory.images import check_image, download_box, make_image, make_sampler, upload_box
from lb_runtime.memory.merge import Bytes, as_bytes
from lb_runtime.memory.pages import reads_in_place, shares_memory
from lb_runtime.memory.transfer import download, upload
from lb_runtime.merging import Fetched, FetchedBox
from lb_runtime.plan import ImagePlan, MemoryPlan
from lb_runtime.standby import standby_of


@dataclass(frozen=True, slots=True, eq=False)
class Host:
    """What the host gave for a launch; `contents` and `images` by memory number."""

    launch: Launch
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
            for index, argument in enumerate(self.launch.arguments)
            if isinstance(argument, ImageArgument)
        }


def check_images(host: Host, devices: Sequence[OpenDevice]) -> None:
    """Raise `LaunchError` for images that one of the devices does not have."""
    for device in devices:
        for argument in host.image_arguments.values():
            image = host.images[argument.memory]
            check_image(device.handle, device.context, device.label, argument, image)


@dataclass(slots=True)
class Traffic:
    """What was sent or fetched by commands that may still be under way."""

    events: list[cl.Event] = field(default_factory=list)
    size_bytes: int = 0
    buffers: list[Fetched] = field(default_factory=list)
    boxes: list[FetchedBox] = field(default_factory=list)


class OnDevice:
    """The buffers and images of one device for one launch, and the commands on them.

    With `has_several_parts`, the device runs one part after the other in the same buffers: what one has
    left is copied before the next one begins.
    """

    def __init__(self, device: OpenDevice, host: Host, *, has_several_parts: bool = False) -> None:
        self.device = device
        self._host = host
        self._buffers: dict[int, cl.Buffer] = {}
        self._shared: dict[int, cl.Buffer] = {}
        """The buffers that are the host's own memory: nothing is sent."""
        self._images: dict[int, cl.Image] = {}
        self._held: list[object] = []
        """What must live until all is done: clSetKernelArg keeps no object alive (OpenCL 1.2, 5.7.2)."""
        self._maps = shares_memory(device.info) and not has_several_parts
        self._blocks: list[Bytes] = []
        self._mapped: list[Any] = []
        self._staging = standby_of(device).staging

    def open(self, memories: Iterable[MemoryPlan]) -> None:
        """Take the device's memory for parts that do this with the buffers. Raises `cl.Error`."""
        written = {each.memory for each in memories if each.merge is not Merge.NONE}
        for number, content in self._host.contents.items():
            if number not in written and reads_in_place(self.device.info, content):
                self._shared[number] = _shared_buffer(self.device, content)
            else:
                self._buffers[number] = self.device.buffers.take(content.size)
        arguments = self._host.image_arguments.values()
        written = {argument.memory for argument in arguments if argument.is_written}
        for argument in arguments:
            number = argument.memory
            if number not in self._images:
                self._images[number] = make_image(
                    self.device.context, argument, self._host.images[number], number in written
                )

    def close(self) -> None:
        """Give all memory back: no command uses it any more, and what was fetched is merged."""
        for content in self._mapped:
            content.base.release(self.device.queue)
        if self._mapped:
            self.device.queue.finish()
            self._mapped.clear()
        self._staging.give_back(self._blocks)
        self._blocks = []
        for buffer in self._buffers.values():
            self.device.buffers.give_back(buffer)
        for buffer in self._shared.values():
            buffer.release()
        for image in self._images.values():
            image.release()
        self._held.clear()

    def send(self, memories: Sequence[MemoryPlan], images: Sequence[ImagePlan]) -> Traffic:
        """Enqueue what is needed of each memory, and of each image, once."""
        sent = Traffic()
        for each in memories:
            if each.memory in self._shared:
                continue
            buffer, content = self._buffers[each.memory], self._host.contents[each.memory]
            sent.events += upload(self.device.queue, buffer, content, each.needs)
            sent.size_bytes += each.needs.size_bytes
        pixels_of = self._host.pixels if images else {}
        for number, (argument, box) in self._boxes(images, everything=True).items():
            event, pixels = upload_box(
                self.device.queue, self._images[number], pixels_of[number], argument, box
            )
            sent.events.append(event)
            self._held.append(pixels)
            sent.size_bytes += box_bytes(argument, box)
        return sent

    def fetch(
        self, part: int, memories: Sequence[MemoryPlan], images: Sequence[ImagePlan]
    ) -> Traffic:
        """Enqueue fetching what the part of that number has left, into memory of its own."""
        got = Traffic()
        for each in memories:
            if each.fetched.rows:
                events, pieces = self._fetch_region(each.memory, each.fetched)
                got.events += events
                got.buffers.append(Fetched(part, each, pieces))
                got.size_bytes += each.fetched.size_bytes
        for number, (argument, box) in self._boxes(images, everything=False).items():
            event, pixels = download_box(self.device.queue, self._images[number], argument, box)
            got.events.append(event)
            got.boxes.append(FetchedBox(argument, box, pixels))
            got.size_bytes += pixels.nbytes
        return got

    def set_arguments(self, kernel: cl.Kernel) -> None:
        """Set all arguments of a kernel. Raises `ArgumentError` for one that does not fit."""
        for index, (argument, value) in enumerate(
            zip(self._host.launch.arguments, self._host.values)
        ):
            try:
                given: object
                if isinstance(argument, BufferArgument):
                    memory = self._shared.get(argument.memory)
                    given = _argument_buffer(argument, memory or self._buffers[argument.memory])
                elif isinstance(argument, ImageArgument):
                    given = self._images[argument.memory]
                elif isinstance(value, Sampler):
                    given = make_sampler(self.device.context, value)
                elif isinstance(argument, LocalArgument):
                    given = cl.LocalMemory(argument.size_bytes)
                else:
                    given = np.asarray(value)[()]
                kernel.set_arg(index, given)  # type: ignore[arg-type]  # its stub lacks some
                self._held.append(given)
            except cl.LogicError as error:
                name = self._host.launch.kernel_name
                raise ArgumentError(
                    f"argument {index} does not fit kernel {name}: {error}"
                ) from error

    def launch(
        self, kernel: cl.Kernel, offset: tuple[int, ...], global_size: tuple[int, ...]
    ) -> cl.Event:
        """Enqueue a slice of the range, in work-items."""
        return cl.enqueue_nd_range_kernel(
            self.device.queue,
            kernel,
            global_size,
            self._host.launch.nd_range.local_size,
            offset,
        )

    def settle(self) -> None:
        """After a failure: let the commands that still use the host's memory end."""
        try:
            self.device.queue.finish()
        except cl.Error:
            # The first failure is the one being reported.
            return

    def _fetch_region(
        self, memory: int, region: Region
    ) -> tuple[list[cl.Event], tuple[Bytes, ...]]:
        """Bytes of a buffer: where they are, if the device's memory is the host's, else a copy."""
        buffer, queue = self._buffers[memory], self.device.queue
        if not self._maps:
            return download(queue, buffer, region, self._block)
        size = region.stop - region.start
        content: Bytes
        content, event = cl.enqueue_map_buffer(  # type: ignore[type-var,misc]  # its stub, of dtypes
            queue, buffer, cl.map_flags.READ, region.start, (size,), np.uint8, is_blocking=False
        )
        self._mapped.append(content)
        pieces = (
            replace(rows, start=rows.start - region.start).of(content) for rows in region.rows
        )
        return [event], tuple(pieces)

    def _block(self, size_bytes: int) -> Bytes:
        block = self._staging.take(size_bytes)
        self._blocks.append(block)
        return block[:size_bytes]

    def _boxes(
        self, images: Sequence[ImagePlan], *, everything: bool
    ) -> dict[int, tuple[ImageArgument, Box]]:
        """The boxes of images that a part writes or, with `everything`, those to send; each image once."""
        arguments = self._host.image_arguments
        found: dict[int, tuple[ImageArgument, Box]] = {}
        for plan in images:
            argument = arguments[plan.argument]
            if plan.merge is Merge.NONE:
                if everything:
                    whole = (0,) * len(argument.shape), argument.shape
                    found[argument.memory] = argument, whole
            elif all(plan.size):
                if everything:
                    found.setdefault(argument.memory, (argument, plan.box))
                else:
                    found[argument.memory] = argument, plan.box
        return found


def device_seconds(events: Sequence[cl.Event]) -> float:
    """The seconds that a device worked on commands that have ended."""
    return sum((event.profile.end - event.profile.start) * 1e-9 for event in events)


def _shared_buffer(device: OpenDevice, content: Bytes) -> cl.Buffer:
    flags = cl.mem_flags.READ_ONLY | cl.mem_flags.USE_HOST_PTR
    return cl.Buffer(device.context, flags, hostbuf=content)


def _argument_buffer(argument: BufferArgument, memory: cl.Buffer) -> cl.Buffer:
    """The bytes of its memory that an argument is."""
    if argument.size_bytes == memory.size:
        return memory
    return memory.get_sub_region(argument.start_bytes, argument.size_bytes)
