"""An oracle for verdicts: each slice of a launch runs alone, on one device, on data that it must not read.

A part of a split launch is shown right in two runs of its work-groups. On the original data, bytes
outside `leaves` must not change. Where all bytes outside `needs` are replaced by others, the bytes in
`leaves` must come out the same. Then merging the parts must give what the unsplit launch leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from lb_runtime.analysis.judge import judge
from lb_runtime.analysis.regions import Region, Rows
from lb_runtime.analysis.verdict import Declined, Merge, Splittable, Verdict
from lb_runtime.arguments import HostValue, bind
from lb_runtime.contexts import OpenDevice
from lb_runtime.images import Box, Sampler, box_view
from lb_runtime.kernel import Kernel, look_at
from lb_runtime.launch import BufferArgument, ImageArgument, Launch, LocalArgument, NDRange
from lb_runtime.memory.atomics import write_combined
from lb_runtime.memory.images import download_box, make_image, make_sampler, upload_box
from lb_runtime.memory.merge import as_bytes
from lb_runtime.plan import ImagePlan, Part, Plan, memory_plans, split_plan
from lb_runtime.prelude import Adapted, adapt
from lb_runtime.runtime import launch_range
from lb_runtime.verify import memory_content

Bytes = npt.NDArray[np.uint8]
SHARES = (0.1, 0.37, 0.5, 0.9)


def bound_launch(
    kernel: Kernel,
    values: Sequence[HostValue],
    global_size: tuple[int, ...],
    local_size: tuple[int, ...] | None = None,
    offset: tuple[int, ...] | None = None,
) -> tuple[Launch, list[Any]]:
    """The launch of a kernel on host values, and the values as their parameters' types."""
    arguments, bound = bind(kernel.facts, values)
    nd_range = launch_range(kernel, global_size, local_size, offset)
    return Launch(kernel.name, nd_range, arguments), bound


def verdict_of(
    source: str,
    values: Sequence[HostValue],
    global_size: tuple[int, ...],
    local_size: tuple[int, ...] | None = None,
    *,
    offset: tuple[int, ...] | None = None,
    options: tuple[str, ...] = (),
    shares: tuple[float, ...] = (0.37, 0.63),
    name: str | None = None,
) -> Verdict:
    """What the gate says of a launch."""
    kernel = look_at(source, options, name)
    launch, _ = bound_launch(kernel, values, global_size, local_size, offset)
    return judge(kernel.facts, launch, shares)


def contents_of(launch: Launch, values: Sequence[Any]) -> dict[int, Bytes]:
    """Copies of the bytes of each buffer and image of a launch, by memory number."""
    snapshot = dict(enumerate(values))
    images = {
        argument.memory: as_bytes(value.pixels).copy()
        for argument, value in zip(launch.arguments, values, strict=True)
        if isinstance(argument, ImageArgument)
    }
    return images | {
        memory: memory_content(launch, memory, snapshot) for memory in launch.memory_bytes
    }


def image_argument(launch: Launch, image: ImagePlan) -> ImageArgument:
    """The argument that an image's plan is for."""
    argument = launch.arguments[image.argument]
    assert isinstance(argument, ImageArgument)
    return argument


def whole_box(argument: ImageArgument) -> Box:
    """All pixels of an image."""
    return (0,) * len(argument.shape), argument.shape


class SliceOracle:
    """Runs parts of launches on one device and compares."""

    def __init__(self, device: OpenDevice) -> None:
        self.device = device
        self._random = np.random.default_rng(7)

    def faults(
        self, kernel: Kernel, launch: Launch, values: Sequence[Any], verdict: Splittable
    ) -> str:
        """What is wrong with a verdict that a launch can be split; empty if nothing is."""
        adapted = adapt(kernel.source, kernel.options, launch.nd_range, kernel.facts.builtins)
        if not isinstance(adapted, Adapted):
            return ""
        plan = split_plan(launch, verdict, adapted.source, adapted.options)
        nd_range = launch.nd_range
        originals = contents_of(launch, values)
        whole = self._run(
            kernel.source, kernel.options, launch, values, originals, nd_range.offset,
            nd_range.global_size,
        )  # fmt: skip
        merged = {memory: content.copy() for memory, content in originals.items()}
        left: dict[int, list[Bytes]] = {}
        for number, part in enumerate(plan.parts):
            if fault := self._part_faults(plan, part, values, originals, merged, left):
                return f"part {number} of {len(plan.parts)}: {fault}"
        for each in memory_plans(launch, plan.parts[0]):
            if each.merge is Merge.ATOMIC:
                copies = left[each.memory]
                write_combined(merged[each.memory], each.zones, [0] * len(copies), copies)
        for memory, content in merged.items():
            wrong = np.flatnonzero(content != whole[memory])
            if wrong.size:
                return f"memory {memory}: {wrong.size} merged bytes differ, first at {wrong[0]}"
        return ""

    def _part_faults(
        self,
        plan: Plan,
        part: Part,
        values: Sequence[Any],
        originals: dict[int, Bytes],
        merged: dict[int, Bytes],
        left: dict[int, list[Bytes]],
    ) -> str:
        """What is wrong with one part; what it leaves goes into `merged`, for atomics into `left`."""
        memories = memory_plans(plan.launch, part)
        poisoned = {}
        for each in memories:
            content = originals[each.memory]
            others = self._others(content, np.asarray(values[each.argument]).dtype.itemsize)
            needed = each.needs.mask(content.size)
            poisoned[each.memory] = np.where(needed, content, others)
        for image in part.images:
            # Images are sent whole, or at least in the box that may be written.
            memory = image_argument(plan.launch, image).memory
            poisoned[memory] = originals[memory]
        where = (part.global_offset, part.global_size)
        full = self._run(plan.source, plan.options, plan.launch, values, originals, *where)
        starved = self._run(plan.source, plan.options, plan.launch, values, poisoned, *where)
        for each in memories:
            memory, name = each.memory, f"argument {each.argument}"
            owned = each.leaves.mask(originals[memory].size)
            if each.merge is Merge.ATOMIC:
                owned = Region.of(Rows(z.start, z.stop - z.start) for z in each.zones).mask(
                    owned.size
                )
            for which, before, after in (
                ("on the original data", originals[memory], full[memory]),
                ("on other data", poisoned[memory], starved[memory]),
            ):
                changed = (before != after) & ~owned
                if changed.any():
                    first = int(np.argmax(changed))
                    return f"{name} is written at byte {first} {which}, leaves {each.leaves}"
            if not np.array_equal(full[memory][owned], starved[memory][owned]):
                return f"{name} depends on bytes that are not needed: {part.buffers}"
            if each.merge is Merge.RANGE:
                merged[memory][owned] = full[memory][owned]
            elif each.merge is Merge.DIFFERENCE:
                differs = full[memory] != originals[memory]
                merged[memory][differs] = full[memory][differs]
            elif each.merge is Merge.ATOMIC:
                left.setdefault(memory, []).append(full[memory])
        return self._image_faults(plan, part, originals, full, merged)

    def _image_faults(
        self,
        plan: Plan,
        part: Part,
        originals: dict[int, Bytes],
        full: dict[int, Bytes],
        merged: dict[int, Bytes],
    ) -> str:
        """What is wrong with the images of one part; the box that it leaves goes into `merged`."""
        memories = {image_argument(plan.launch, image).memory for image in part.images}
        owned = {memory: np.zeros(originals[memory].size, bool) for memory in memories}
        for image in part.images:
            argument = image_argument(plan.launch, image)
            if image.merge is Merge.RANGE:
                box_view(owned[argument.memory], argument, image.box)[...] = True
        for memory, mine in owned.items():
            if ((originals[memory] != full[memory]) & ~mine).any():
                return f"image {memory} is written outside of its box: {part.images}"
            merged[memory][mine] = full[memory][mine]
        return ""

    def _others(self, content: Bytes, item_bytes: int) -> Bytes:
        """The same elements at other places, so that indices among them stay inside their buffers."""
        others = content.copy()
        elements = others[: content.size // item_bytes * item_bytes].reshape(-1, item_bytes)
        elements[:] = self._random.permutation(elements)
        return others

    def _run(
        self,
        source: str,
        options: tuple[str, ...],
        launch: Launch,
        values: Sequence[Any],
        contents: dict[int, Bytes],
        offset: tuple[int, ...],
        global_size: tuple[int, ...],
    ) -> dict[int, Bytes]:
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        kernel = self.device.kernel(source, options, launch.kernel_name)
        # Memory after the buffer's end belongs to nobody, so that a wild access is not fatal.
        spare = np.zeros(4096, np.uint8)
        images = {
            argument.memory: (argument, value)
            for argument, value in zip(launch.arguments, values, strict=True)
            if isinstance(argument, ImageArgument)
        }
        buffers = {
            memory: cl.Buffer(self.device.context, flags, hostbuf=np.append(content, spare))
            for memory, content in contents.items()
            if memory not in images
        }
        objects = {
            memory: make_image(self.device.context, argument, value, is_written=True)
            for memory, (argument, value) in images.items()
        }
        queue = self.device.queue
        for memory, (argument, _) in images.items():
            upload_box(queue, objects[memory], contents[memory], argument, whole_box(argument))[
                0
            ].wait()
        given: list[object] = []
        for index, (argument, value) in enumerate(zip(launch.arguments, values, strict=True)):
            if isinstance(argument, BufferArgument):
                buffer = buffers[argument.memory]
                if argument.start_bytes:
                    buffer = buffer.get_sub_region(
                        argument.start_bytes, buffer.size - argument.start_bytes
                    )
                given.append(buffer)
                kernel.set_arg(index, buffer)
            elif isinstance(argument, ImageArgument):
                kernel.set_arg(index, objects[argument.memory])
            elif isinstance(value, Sampler):
                given.append(make_sampler(self.device.context, value))
                kernel.set_arg(index, given[-1])
            elif isinstance(argument, LocalArgument):
                kernel.set_arg(index, cl.LocalMemory(argument.size_bytes))  # type: ignore[arg-type]
            else:
                kernel.set_arg(index, np.asarray(value)[()])
        cl.enqueue_nd_range_kernel(
            self.device.queue, kernel, global_size, launch.nd_range.local_size, offset
        )
        results = {}
        for memory, buffer in buffers.items():
            results[memory] = np.empty_like(contents[memory])
            cl.enqueue_copy(self.device.queue, results[memory], buffer)
        for memory, (argument, _) in images.items():
            event, pixels = download_box(queue, objects[memory], argument, whole_box(argument))
            event.wait()
            results[memory] = as_bytes(pixels)
        return results

    def check(
        self,
        source: str,
        values: Sequence[HostValue],
        global_size: tuple[int, ...],
        local_size: tuple[int, ...] | None = None,
        *,
        offset: tuple[int, ...] | None = None,
        options: tuple[str, ...] = (),
        shares: Sequence[tuple[float, ...]] = tuple((share, 1 - share) for share in SHARES),
        name: str | None = None,
    ) -> tuple[Verdict, str]:
        """The last verdict on a launch, and the first fault that some share shows; empty if none does."""
        kernel = look_at(source, options, name)
        launch, bound = bound_launch(kernel, values, global_size, local_size, offset)
        verdict: Verdict = Declined(())
        for each in shares:
            verdict = judge(kernel.facts, launch, each)
            if isinstance(verdict, Splittable) and len(verdict.slices) > 1:
                fault = self.faults(kernel, launch, bound, verdict)
                if fault:
                    return verdict, f"shares {each}: {fault}"
        return verdict, ""


def merges(verdict: Verdict) -> dict[str, Merge | None]:
    """How each argument merges, by name; empty for a launch that was declined."""
    if isinstance(verdict, Declined):
        return {}
    return {argument.name: argument.merge for argument in verdict.arguments}


def codes(verdict: Verdict) -> list[str]:
    """The codes of the reasons of a launch that was declined; empty for one that was not."""
    return [reason.code for reason in verdict.reasons] if isinstance(verdict, Declined) else []


def range_1d(items: int, local: int) -> NDRange:
    """A one-dimensional range."""
    return NDRange.of((items,), (local,))
