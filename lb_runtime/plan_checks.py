"""What must hold of a plan's parts: they fit their devices, and what they leave can be merged.

A plan is made by rules that are tested elsewhere; here a wrong one is stopped before it costs bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from lb_runtime.analysis.regions import Region
from lb_runtime.analysis.verdict import Merge
from lb_runtime.checks import memories_of
from lb_runtime.contexts import OpenDevice
from lb_runtime.errors import ExecutionError, LaunchError
from lb_runtime.images import Box, boxes_overlap
from lb_runtime.launch import BufferArgument, ImageArgument, LocalArgument
from lb_runtime.memory.atomics import OPERATIONS
from lb_runtime.memory.merge import first_overlap
from lb_runtime.plan import MemoryPlan, Part, Plan, memory_plans


def check_parts(plan: Plan, devices: Sequence[OpenDevice]) -> None:
    """Raise unless each part fits its device, and no two parts leave the same bytes of a range.

    Raises `LaunchError` for a device or local size that does not exist there, or an argument that cannot
    begin where it does there, and `ExecutionError` for a plan that would leave wrong bytes.
    """
    sizes = plan.launch.memory_bytes
    plans: dict[int, list[MemoryPlan]] = {memory: [] for memory in sizes}
    for part in plan.parts:
        _check_device(plan, part, devices)
        if {buffer_plan.argument for buffer_plan in part.buffers} != set(memories_of(plan)):
            raise ExecutionError("a part does not say what it needs and leaves of every buffer")
        for each in memory_plans(plan.launch, part):
            _check_memory_plan(each, sizes[each.memory])
            plans[each.memory].append(each)
    for mine in plans.values():
        _check_together(mine)
    _check_boxes(plan)


def _check_boxes(plan: Plan) -> None:
    """Raise `ExecutionError` unless parts say what they write of every image, no two the same pixel."""
    images = {
        index: argument
        for index, argument in enumerate(plan.launch.arguments)
        if isinstance(argument, ImageArgument)
    }
    boxes: dict[int, list[tuple[int, Box]]] = {}
    for number, part in enumerate(plan.parts):
        if {each.argument for each in part.images} != set(images):
            raise ExecutionError("a part does not say what it leaves of every image")
        for each in part.images:
            if each.merge is Merge.NONE:
                continue
            argument = images[each.argument]
            fits = each.merge is Merge.RANGE and len(each.origin) == len(each.size) == len(
                argument.shape
            )
            if not fits or any(
                start < 0 or size < 0 or start + size > total
                for start, size, total in zip(each.origin, each.size, argument.shape)
            ):
                raise ExecutionError(
                    f"argument {each.argument} has {argument.shape} pixels, but a part leaves {each}"
                )
            boxes.setdefault(argument.memory, []).append((number, each.box))
    for mine in boxes.values():
        for (one, box), (other, other_box) in combinations(mine, 2):
            if (box != other_box) if one == other else boxes_overlap(box, other_box):
                raise ExecutionError(
                    f"parts leave boxes {box} and {other_box} of one image, which overlap or are one "
                    "part's: expected one box a part, apart from all others"
                )


def _check_together(plans: Sequence[MemoryPlan]) -> None:
    """Raise `ExecutionError` where what the parts leave of one memory cannot be merged."""
    written = [each for each in plans if each.merge is not Merge.NONE]
    if len({(each.merge, each.zones) for each in written}) > 1:
        raise ExecutionError(
            f"the parts merge argument {written[0].argument} in different ways, expected one way"
        )
    overlap = first_overlap(each.leaves for each in written if each.merge is Merge.RANGE)
    if overlap is not None:
        first, second = overlap
        raise ExecutionError(
            f"two parts leave bytes in [{first.start}, {first.stop}) and [{second.start}, "
            f"{second.stop}) of one buffer, which overlap"
        )


def _check_device(plan: Plan, part: Part, devices: Sequence[OpenDevice]) -> None:
    if not 0 <= part.device < len(devices):
        raise LaunchError(f"device {part.device} given, but there are {len(devices)} devices")
    device = devices[part.device]
    nd_range = plan.launch.nd_range
    if nd_range.group_items > device.info.max_group_items:
        raise LaunchError(
            f"local size {nd_range.local_size} has {nd_range.group_items} items a group, but "
            f"{device.label} runs at most {device.info.max_group_items}: choose a smaller one"
        )
    whole_groups = not any(map(int.__mod__, part.global_size, nd_range.local_size))
    if not whole_groups and not device.info.non_uniform_groups:
        raise LaunchError(
            f"local size {nd_range.local_size} does not divide global size {nd_range.global_size}, "
            f"but {device.label} runs only work-groups of one size: choose sizes that divide"
        )
    local_bytes = sum(
        argument.size_bytes
        for argument in plan.launch.arguments
        if isinstance(argument, LocalArgument)
    )
    if local_bytes > device.info.local_memory_bytes:
        raise LaunchError(
            f"{local_bytes} bytes of local memory given, but {device.label} has "
            f"{device.info.local_memory_bytes} for a work-group: give less"
        )
    _check_sub_buffers(plan, device)


def _check_sub_buffers(plan: Plan, device: OpenDevice) -> None:
    """Raise `LaunchError` for an argument that begins where no buffer of the device can."""
    align_bytes = max(1, device.handle.mem_base_addr_align // 8)
    for index, argument in enumerate(plan.launch.arguments):
        if isinstance(argument, BufferArgument) and argument.start_bytes % align_bytes:
            raise LaunchError(
                f"argument {index} begins {argument.start_bytes} bytes after the array that it "
                f"overlaps, but on {device.label} that must be a multiple of {align_bytes}: give "
                "arrays that share no bytes"
            )


def _check_memory_plan(plan: MemoryPlan, size_bytes: int) -> None:
    needs, leaves = plan.needs, plan.leaves
    if max(needs.stop, leaves.stop) > size_bytes:
        raise ExecutionError(
            f"argument {plan.argument} has {size_bytes} bytes, but a part's plan reaches byte "
            f"{max(needs.stop, leaves.stop)}"
        )
    if plan.merge is Merge.DIFFERENCE and not needs.holds(leaves.hull):
        raise ExecutionError(
            f"argument {plan.argument} merges by difference, so a part must need all bytes that it "
            "may leave"
        )
    if plan.merge is Merge.ATOMIC:
        _check_zones(plan)


def _check_zones(plan: MemoryPlan) -> None:
    """Raise `ExecutionError` for zones that cannot be combined one by one, or not from what is there."""
    for zone in plan.zones:
        length = zone.stop - zone.start
        if zone.operation not in OPERATIONS or zone.width_bytes not in (4, 8):
            raise ExecutionError(f"{zone} given, expected one of {OPERATIONS} on 4 or 8 bytes")
        if zone.start < 0 or length < 1 or length % zone.width_bytes:
            raise ExecutionError(
                f"{zone} given, expected whole numbers of {zone.width_bytes} bytes"
            )
        bytes_ = Region.range(zone.start, zone.stop)
        if not plan.needs.holds(bytes_) or not plan.leaves.holds(bytes_):
            raise ExecutionError(
                f"argument {plan.argument} combines {zone}, so a part must need and leave all of it"
            )
    if first_overlap(Region.range(zone.start, zone.stop) for zone in plan.zones) is not None:
        raise ExecutionError(f"{plan.zones} given, expected zones that share no byte")
