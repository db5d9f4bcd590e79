"""What must hold before a plan is carried out: values fit arguments, parts fit devices and each other.

Drivers check little of this: PoCL, given a number where a kernel takes a buffer, follows it as a pointer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from lb_runtime.analysis.regions import Region
from lb_runtime.analysis.verdict import Merge
from lb_runtime.contexts import OpenDevice
from lb_runtime.errors import ArgumentError, ExecutionError, LaunchError
from lb_runtime.launch import Argument, BufferArgument, LocalArgument, ScalarArgument
from lb_runtime.memory.merge import Bytes, as_bytes, coalesced, first_overlap
from lb_runtime.plan import BufferPlan, Part, Plan

Value = npt.NDArray[Any] | np.generic | LocalArgument | int
"""What a host gives for one argument: a buffer's array, a scalar by value, a local memory's size."""


def memories_of(plan: Plan) -> dict[int, int]:
    """Which memory each buffer argument is: argument index -> memory number."""
    return {
        index: argument.memory
        for index, argument in enumerate(plan.launch.arguments)
        if isinstance(argument, BufferArgument)
    }


def host_contents(plan: Plan, values: Sequence[Value]) -> dict[int, Bytes]:
    """The host bytes of each memory (memory number -> view), every value checked on the way.

    Raises `ArgumentError` for a value that does not fit its argument.
    """
    arguments = plan.launch.arguments
    if len(values) != len(arguments):
        raise ArgumentError(
            f"{len(values)} values given for the {len(arguments)} arguments of "
            f"{plan.launch.kernel_name}"
        )
    contents: dict[int, Bytes] = {}
    for index, (argument, value) in enumerate(zip(arguments, values)):
        if isinstance(argument, LocalArgument):
            _check_local(index, argument, value)
        elif isinstance(argument, ScalarArgument):
            _check_scalar(index, value)
        else:
            content = _buffer_content(index, argument, value)
            known = contents.setdefault(argument.memory, content)
            if known.ctypes.data != content.ctypes.data or known.size != content.size:
                raise ArgumentError(
                    f"argument {index} shares memory {argument.memory} with another argument, but "
                    "was given another array: give both the same one"
                )
    return contents


def check_parts(plan: Plan, devices: Sequence[OpenDevice]) -> None:
    """Raise unless each part fits its device, and no two parts leave the same bytes of a range.

    Raises `LaunchError` for a device or local size that does not exist there, and `ExecutionError` for
    a plan that would leave wrong bytes.
    """
    for part in plan.parts:
        _check_device(plan, part, devices)
        if {buffer_plan.argument for buffer_plan in part.buffers} != set(memories_of(plan)):
            raise ExecutionError("a part does not say what it needs and leaves of every buffer")
        for buffer_plan in part.buffers:
            _check_buffer_plan(plan, buffer_plan)
    for memory in set(memories_of(plan).values()):
        left = [interval for part in plan.parts for interval in _ranges_left(plan, part, memory)]
        overlap = first_overlap(left)
        if overlap is not None:
            first, second = overlap
            raise ExecutionError(
                f"two parts leave bytes [{first.start}, {first.stop}) and [{second.start}, "
                f"{second.stop}) of one buffer, which overlap"
            )


def check_kinds(kernel: cl.Kernel, plan: Plan) -> None:
    """Raise `ArgumentError` unless the kernel takes this number and these kinds of arguments."""
    if kernel.num_args != len(plan.launch.arguments):
        raise ArgumentError(
            f"kernel {plan.launch.kernel_name} takes {kernel.num_args} arguments, but "
            f"{len(plan.launch.arguments)} were given"
        )
    for index, argument in enumerate(plan.launch.arguments):
        try:
            place = kernel.get_arg_info(index, cl.kernel_arg_info.ADDRESS_QUALIFIER)
        except cl.Error:
            # The driver keeps no argument information, and clSetKernelArg has the last word.
            return
        expected = _EXPECTED_KINDS.get(place)
        if expected is not None and not isinstance(argument, expected[0]):
            raise ArgumentError(
                f"argument {index} of {plan.launch.kernel_name} is {expected[1]}, but "
                f"{_kind_name(argument)} was given"
            )


_EXPECTED_KINDS: dict[object, tuple[type[Any], str]] = {
    cl.kernel_arg_address_qualifier.GLOBAL: (BufferArgument, "a buffer"),
    cl.kernel_arg_address_qualifier.CONSTANT: (BufferArgument, "a buffer"),
    cl.kernel_arg_address_qualifier.LOCAL: (LocalArgument, "local memory"),
    cl.kernel_arg_address_qualifier.PRIVATE: (ScalarArgument, "passed by value"),
}


def _kind_name(argument: Argument) -> str:
    if isinstance(argument, BufferArgument):
        return "a buffer"
    return "local memory" if isinstance(argument, LocalArgument) else "a value"


def _buffer_content(index: int, argument: BufferArgument, value: Value) -> Bytes:
    if not isinstance(value, np.ndarray):
        raise ArgumentError(
            f"argument {index} is a buffer, but {value!r} was given: give a numpy array"
        )
    if value.nbytes != argument.size_bytes:
        raise ArgumentError(
            f"argument {index} has {value.nbytes} bytes, expected {argument.size_bytes}"
        )
    if not value.flags.writeable:
        raise ArgumentError(f"argument {index} is a read-only array: give a writable one")
    return as_bytes(value)


def _check_local(index: int, argument: LocalArgument, value: Value) -> None:
    given = value.size_bytes if isinstance(value, LocalArgument) else value
    if not isinstance(given, int | np.integer) or given != argument.size_bytes or given < 1:
        raise ArgumentError(
            f"argument {index} is local memory of {argument.size_bytes} bytes, but {given!r} was "
            "given: give that size in bytes, at least 1"
        )


def _check_scalar(index: int, value: Value) -> None:
    if not isinstance(value, np.generic) and not (
        isinstance(value, np.ndarray) and value.ndim == 0
    ):
        raise ArgumentError(
            f"argument {index} is passed by value, but {type(value).__name__} was given: give a "
            "numpy scalar of the parameter's type, such as numpy.float32(0.5)"
        )
    if value.dtype == np.bool_:
        raise ArgumentError(
            f"argument {index} is a bool, which kernels cannot take: declare it int and give "
            "numpy.int32"
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


def _check_buffer_plan(plan: Plan, buffer_plan: BufferPlan) -> None:
    argument = plan.launch.arguments[buffer_plan.argument]
    size_bytes = argument.size_bytes if isinstance(argument, BufferArgument) else 0
    needs, leaves = buffer_plan.needs, buffer_plan.leaves
    if max(needs.stop, leaves.stop) > size_bytes:
        raise ExecutionError(
            f"argument {buffer_plan.argument} has {size_bytes} bytes, but a part's plan reaches "
            f"byte {max(needs.stop, leaves.stop)}"
        )
    held = not leaves.size_bytes or (needs.start <= leaves.start and leaves.stop <= needs.stop)
    if buffer_plan.merge is Merge.DIFFERENCE and not held:
        raise ExecutionError(
            f"argument {buffer_plan.argument} merges by difference, so a part must need all bytes "
            "that it may leave"
        )


def _ranges_left(plan: Plan, part: Part, memory: int) -> list[Region]:
    """What the part copies back of one memory as it is; two arguments may leave the same bytes."""
    memories = memories_of(plan)
    return coalesced(
        buffer_plan.leaves
        for buffer_plan in part.buffers
        if buffer_plan.merge is Merge.RANGE and memories[buffer_plan.argument] == memory
    )
