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
from lb_runtime.analysis.verdict import Declined, Merge, Splittable, Verdict
from lb_runtime.arguments import HostValue, bind
from lb_runtime.contexts import OpenDevice
from lb_runtime.kernel import Kernel, look_at
from lb_runtime.launch import Launch, LocalArgument, NDRange
from lb_runtime.plan import Part, Plan, split_plan
from lb_runtime.prelude import Adapted, adapt
from lb_runtime.runtime import launch_range

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
        originals = {
            index: np.array(value).reshape(-1).view(np.uint8)
            for index, value in enumerate(values)
            if isinstance(value, np.ndarray) and value.ndim
        }
        whole = self._run(
            kernel.source, kernel.options, launch, values, originals, nd_range.offset,
            nd_range.global_size,
        )  # fmt: skip
        merged = {index: content.copy() for index, content in originals.items()}
        for number, part in enumerate(plan.parts):
            if fault := self._part_faults(plan, part, values, originals, merged):
                return f"part {number} of {len(plan.parts)}: {fault}"
        for index, content in merged.items():
            wrong = np.flatnonzero(content != whole[index])
            if wrong.size:
                return f"argument {index}: {wrong.size} merged bytes differ, first at {wrong[0]}"
        return ""

    def _part_faults(
        self,
        plan: Plan,
        part: Part,
        values: Sequence[Any],
        originals: dict[int, Bytes],
        merged: dict[int, Bytes],
    ) -> str:
        poisoned = {
            index: self._others(content, np.asarray(values[index]).dtype.itemsize)
            for index, content in originals.items()
        }
        for buffer in part.buffers:
            needed = slice(buffer.needs.start, buffer.needs.stop)
            poisoned[buffer.argument][needed] = originals[buffer.argument][needed]
        where = (part.global_offset, part.global_size)
        full = self._run(plan.source, plan.options, plan.launch, values, originals, *where)
        starved = self._run(plan.source, plan.options, plan.launch, values, poisoned, *where)
        for buffer in part.buffers:
            index = buffer.argument
            left = slice(buffer.leaves.start, buffer.leaves.stop)
            for name, before, after in (
                ("on the original data", originals[index], full[index]),
                ("on other data", poisoned[index], starved[index]),
            ):
                changed = before != after
                changed[left] = False
                if changed.any():
                    first = int(np.argmax(changed))
                    return f"argument {index} is written at byte {first} {name}, leaves {buffer.leaves}"
            if not np.array_equal(full[index][left], starved[index][left]):
                return f"argument {index} depends on bytes that are not needed: {part.buffers}"
            if buffer.merge is Merge.RANGE:
                merged[index][left] = full[index][left]
            elif buffer.merge is Merge.DIFFERENCE:
                differs = full[index] != originals[index]
                merged[index][differs] = full[index][differs]
        return ""

    def _others(self, content: Bytes, item_bytes: int) -> Bytes:
        """The same elements at other places, so that indices among them stay inside their buffers."""
        elements = content.reshape(-1, item_bytes)
        return self._random.permutation(elements).reshape(-1).copy()

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
        buffers = {
            index: cl.Buffer(self.device.context, flags, hostbuf=np.append(content, np.zeros(4096, np.uint8)))
            for index, content in contents.items()
        }  # fmt: skip
        for index, value in enumerate(values):
            if index in buffers:
                kernel.set_arg(index, buffers[index])
            elif isinstance(value, LocalArgument):
                kernel.set_arg(index, cl.LocalMemory(value.size_bytes))  # type: ignore[arg-type]
            else:
                kernel.set_arg(index, np.asarray(value)[()])
        cl.enqueue_nd_range_kernel(
            self.device.queue, kernel, global_size, launch.nd_range.local_size, offset
        )
        results = {}
        for index, buffer in buffers.items():
            results[index] = np.empty_like(contents[index])
            cl.enqueue_copy(self.device.queue, results[index], buffer)
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
