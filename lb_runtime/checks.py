"""What must hold before a plan is carried out: values fit arguments, and arguments fit kernels.

Drivers check little of this: PoCL, given a number where a kernel takes a buffer, follows it as a pointer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from lb_runtime.errors import ArgumentError
from lb_runtime.images import Image, Sampler, is_same_memory
from lb_runtime.launch import (
    Argument,
    BufferArgument,
    ImageArgument,
    LocalArgument,
    SamplerArgument,
    ScalarArgument,
)
from lb_runtime.memory.merge import Bytes, as_bytes
from lb_runtime.plan import Plan

Value = npt.NDArray[Any] | np.generic | LocalArgument | Image | Sampler | int
"""What a host gives for one argument: a buffer's array, a scalar by value, a local memory's size, an
image, a sampler."""


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
    arrays: dict[int, tuple[BufferArgument, Bytes]] = {}
    for index, (argument, value) in enumerate(zip(arguments, values)):
        if isinstance(argument, LocalArgument):
            _check_local(index, argument, value)
        elif isinstance(argument, ScalarArgument):
            _check_scalar(index, value)
        elif isinstance(argument, SamplerArgument):
            if not isinstance(value, Sampler):
                raise ArgumentError(f"argument {index} is a sampler, but {value!r} was given")
        elif isinstance(argument, ImageArgument):
            _check_image(index, argument, value)
        else:
            arrays[index] = argument, _buffer_content(index, argument, value)
    return {
        memory: _memory_content(
            {index: each for index, each in arrays.items() if each[0].memory == memory}
        )
        for memory in plan.launch.memory_bytes
    }


def _memory_content(arrays: Mapping[int, tuple[BufferArgument, Bytes]]) -> Bytes:
    """The bytes of one memory from the arrays of its arguments (argument index -> argument, bytes).

    Raises `ArgumentError` unless the arrays lie as their arguments say and hold every byte.
    """
    first, *others = sorted(arrays, key=lambda index: (arrays[index][0].start_bytes, index))
    _, lowest = arrays[first]
    reached = 0
    for index in (first, *others):
        argument, content = arrays[index]
        if content.ctypes.data - lowest.ctypes.data != argument.start_bytes:
            raise ArgumentError(
                f"argument {index} begins at byte {argument.start_bytes} of memory "
                f"{argument.memory}, which it shares with argument {first}, but was given another "
                "array: give views of one array"
            )
        if argument.start_bytes > reached:
            raise ArgumentError(
                f"bytes [{reached}, {argument.start_bytes}) of memory {argument.memory} are in no "
                "argument: give arguments that share bytes, or memories of their own"
            )
        reached = max(reached, argument.stop_bytes)
    # All these bytes are some argument's, so the view reaches nothing that was not given.
    return np.lib.stride_tricks.as_strided(lowest, (reached,), (1,))


def host_images(plan: Plan, values: Sequence[Value]) -> dict[int, Image]:
    """The host's image of each memory that is one (memory number -> image), checked by `host_contents`.

    Raises `ArgumentError` where one memory was given as different images.
    """
    images: dict[int, Image] = {}
    for index, (argument, value) in enumerate(zip(plan.launch.arguments, values)):
        if isinstance(argument, ImageArgument) and isinstance(value, Image):
            known = images.setdefault(argument.memory, value)
            if not is_same_memory(known.pixels, value.pixels) or (
                (known.channel_order, known.channel_type)
                != (value.channel_order, value.channel_type)
            ):
                raise ArgumentError(
                    f"argument {index} is one image with another argument, but was given another: "
                    "give both the same pixels, channel order and channel type"
                )
    return images


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
            type_name = kernel.get_arg_info(index, cl.kernel_arg_info.TYPE_NAME)
        except cl.Error:
            # The driver keeps no argument information, and clSetKernelArg has the last word.
            return
        expected = _expected_kinds(place, str(type_name))
        if expected and not isinstance(argument, tuple(expected)):
            raise ArgumentError(
                f"argument {index} of {plan.launch.kernel_name} is "
                f"{_EXPECTED_NAMES[expected[0]]}, but {_KIND_NAMES[type(argument)]} was given"
            )


_KIND_NAMES: dict[type[Argument], str] = {
    BufferArgument: "a buffer",
    ImageArgument: "an image",
    LocalArgument: "local memory",
    SamplerArgument: "a sampler",
    ScalarArgument: "a value",
}
_EXPECTED_NAMES = _KIND_NAMES | {ScalarArgument: "passed by value"}


def _expected_kinds(place: object, type_name: str) -> list[type[Argument]]:
    """What a parameter may take, the likeliest first, by its address space and the name of its type.

    Empty where that is not known.
    """
    if type_name.startswith(("image1d_", "image2d_", "image3d_")):
        return [ImageArgument]
    if type_name == "sampler_t":
        return [SamplerArgument]
    qualifier = cl.kernel_arg_address_qualifier
    if place in (qualifier.GLOBAL, qualifier.CONSTANT):
        # A name without a star may be one that the program gave to a pointer or to an image.
        return [BufferArgument] if "*" in type_name else [BufferArgument, ImageArgument]
    if place == qualifier.LOCAL:
        return [LocalArgument]
    return [ScalarArgument, SamplerArgument] if place == qualifier.PRIVATE else []


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


def _check_image(index: int, argument: ImageArgument, value: Value) -> None:
    if not isinstance(value, Image):
        raise ArgumentError(f"argument {index} is an image, but {value!r} was given: give an Image")
    if (value.shape, value.pixel_bytes) != (argument.shape, argument.pixel_bytes):
        raise ArgumentError(
            f"argument {index} is an image of {value.shape} pixels of {value.pixel_bytes} bytes, "
            f"expected {argument.shape} of {argument.pixel_bytes}"
        )


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
