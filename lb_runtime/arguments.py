"""Host values -> a kernel's arguments: arrays become buffers, numbers take their parameter's type."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lb_runtime.analysis import layout
from lb_runtime.analysis.facts import KernelFacts, ParameterFacts
from lb_runtime.errors import ArgumentError
from lb_runtime.images import Image, Sampler, image_memories, image_type
from lb_runtime.launch import (
    Argument,
    BufferArgument,
    ImageArgument,
    LocalArgument,
    SamplerArgument,
    ScalarArgument,
    Svm,
)

HostValue = npt.NDArray[Any] | np.generic | LocalArgument | Image | Sampler | Svm | int | float
"""An array for a buffer (updated in place), a number or numpy scalar by value, a local memory's size, an
image (whose pixels are updated in place), a sampler or shared virtual memory."""
BoundValue = npt.NDArray[Any] | np.generic | LocalArgument | Image | Sampler
"""A host's value as its parameter's type."""

_FLOATS: dict[str, type[np.floating[Any]]] = {
    "half": np.float16,
    "float": np.float32,
    "double": np.float64,
}


def bind(
    kernel: KernelFacts, given: Sequence[HostValue]
) -> tuple[tuple[Argument, ...], list[BoundValue]]:
    """The arguments of a launch, and the values to hand to `execute`, one per parameter.

    Arrays that share bytes are one memory, which begins with the first byte of any of them.

    Raises:
        ArgumentError: too few or too many values, or one that does not fit its parameter; the
            message names the parameter.
    """
    parameters = kernel.parameters
    if len(given) != len(parameters):
        wanted = ", ".join(f"{p.type_text} {p.name}" for p in parameters)
        raise ArgumentError(
            f"{len(given)} arguments given, but kernel {kernel.name} takes {len(parameters)}: "
            f"{wanted or 'none'}"
        )
    arguments: list[Argument] = []
    fine = {i for i, value in enumerate(given) if isinstance(value, Svm) and value.is_fine_grain}
    plain = [value.array if isinstance(value, Svm) else value for value in given]
    values = [checked(parameter, value) for parameter, value in zip(parameters, plain)]
    buffers = buffer_arguments(
        {index: value for index, value in enumerate(values) if isinstance(value, np.ndarray)}
    )
    images = _image_arguments(parameters, values)
    for index, value in enumerate(values):
        if isinstance(value, LocalArgument):
            arguments.append(value)
        elif isinstance(value, np.ndarray):
            arguments.append(replace(buffers[index], is_fine_grain=index in fine))
        elif isinstance(value, Image):
            arguments.append(images[index])
        elif isinstance(value, Sampler):
            arguments.append(SamplerArgument())
        else:
            arguments.append(ScalarArgument(value))
    return tuple(arguments), values


def buffer_arguments(arrays: Mapping[int, npt.NDArray[Any]]) -> dict[int, BufferArgument]:
    """The buffer argument that each array is, by argument index.

    Arrays that share bytes, directly or by way of others, are one memory; its number is the index of
    the first of them. Byte 0 of a memory is the first byte that is in any of its arrays, so that all its
    bytes are in some array.
    """
    spans = {index: (array.ctypes.data, array.nbytes) for index, array in arrays.items()}
    memories: list[list[int]] = []
    reached = 0
    for index in sorted(spans, key=spans.__getitem__):
        start, size = spans[index]
        if start >= reached:
            memories.append([])
        memories[-1].append(index)
        reached = max(reached, start + size)
    return {
        index: BufferArgument(spans[index][1], min(memory), spans[index][0] - spans[memory[0]][0])
        for memory in memories
        for index in memory
    }


def checked(parameter: ParameterFacts, value: HostValue) -> BoundValue:
    """One value as `bind` takes it.

    Raises:
        ArgumentError: the value does not fit the parameter.
    """
    if parameter.kind == "buffer":
        return _array(parameter, value)
    if parameter.kind == "local":
        return _local(parameter, value)
    if parameter.kind == "scalar":
        return scalar(parameter, value)
    if parameter.kind == "image":
        return _image_or_sampler(parameter, value)
    raise ArgumentError(
        f"argument {parameter.name} is a {parameter.type_text}, expected a buffer, a number, local "
        "memory, an image or a sampler: pipes and queues cannot be given here"
    )


def _image_or_sampler(parameter: ParameterFacts, value: HostValue) -> Image | Sampler:
    name = f"argument {parameter.name} ({parameter.type_text})"
    if "Sampler" in parameter.llvm_type:
        if isinstance(value, Sampler):
            return value
        raise ArgumentError(
            f'{name} takes a sampler, but {value!r} was given: give Sampler(False, "CLAMP", "NEAREST")'
        )
    takes = image_type(parameter.llvm_type)
    if takes is None:
        raise ArgumentError(f"{name} cannot be given here: expected an image of 1 to 3 dimensions")
    if not isinstance(value, Image):
        raise ArgumentError(
            f"{name} takes an image, but {value!r} was given: give Image(pixels, channel order, "
            "channel type)"
        )
    wanted = takes.dimensions + takes.is_array
    if len(value.shape) != wanted:
        raise ArgumentError(
            f"{name} takes images of {wanted} sizes, but pixels of shape {value.pixels.shape} were "
            f"given: in channel order {value.channel_order} they have {len(value.shape)}"
        )
    return value


def _image_arguments(
    parameters: Sequence[ParameterFacts], values: Sequence[BoundValue]
) -> dict[int, ImageArgument]:
    """The image argument that each image is, by argument index."""
    images = {index: value for index, value in enumerate(values) if isinstance(value, Image)}
    arrays = {index: value for index, value in enumerate(values) if isinstance(value, np.ndarray)}
    for index, image in images.items():
        for other, array in arrays.items():
            if np.may_share_memory(image.pixels, array):
                raise ArgumentError(
                    f"arguments {parameters[index].name} and {parameters[other].name} share memory, "
                    "but one is an image and one a buffer: give one of them a copy"
                )
    memories = image_memories(images)
    return {
        index: ImageArgument(
            image.shape, image.pixel_bytes, memories[index], takes.is_written, takes.is_array
        )
        for index, image in images.items()
        if (takes := image_type(parameters[index].llvm_type))
    }


def _array(parameter: ParameterFacts, value: HostValue) -> npt.NDArray[Any]:
    if not isinstance(value, np.ndarray) or not value.ndim:
        raise ArgumentError(
            f"argument {parameter.name} is a buffer ({parameter.type_text}), but {value!r} was "
            "given: give a numpy array"
        )
    if not value.nbytes:
        raise ArgumentError(f"argument {parameter.name} is an empty array: give at least one byte")
    if not value.flags.c_contiguous or not value.flags.writeable or value.dtype.hasobject:
        raise ArgumentError(
            f"argument {parameter.name} is an array that is not writable and C-contiguous: give "
            "np.ascontiguousarray(...).copy()"
        )
    return value


def _local(parameter: ParameterFacts, value: HostValue) -> LocalArgument:
    if isinstance(value, LocalArgument) and value.size_bytes > 0:
        return value
    raise ArgumentError(
        f"argument {parameter.name} is local memory ({parameter.type_text}), but {value!r} was "
        "given: give LocalArgument(size_bytes), such as local:float32:256 on the command line"
    )


def scalar(parameter: ParameterFacts, value: HostValue) -> np.generic:
    """A number as the type of its parameter.

    Raises:
        ArgumentError: no number, one out of range, or a fraction for an integer parameter.
    """
    if isinstance(value, LocalArgument) or (isinstance(value, np.ndarray) and not value.size):
        raise ArgumentError(f"{_takes(parameter)}, but {value!r} was given")
    if isinstance(value, np.void):
        if value.nbytes != parameter.size_bytes:
            raise ArgumentError(
                f"argument {parameter.name} ({parameter.type_text}) takes {parameter.size_bytes} "
                f"bytes, but a value of {value.nbytes} was given"
            )
        return value
    lanes = layout.vector(parameter.llvm_type)
    if lanes is not None:
        return _vector(parameter, value, *lanes)
    if isinstance(value, np.ndarray):
        if value.ndim or value.size != 1:
            raise ArgumentError(
                f"{_takes(parameter)}, but an array of shape {value.shape} was given"
            )
        value = value[()]
    return _number(parameter, parameter.llvm_type, value)


def _vector(parameter: ParameterFacts, value: HostValue, lanes: int, element: str) -> np.generic:
    """A vector by value, from as many numbers; a vector of three takes the space of four."""
    numbers = np.atleast_1d(np.asarray(value))
    if numbers.ndim != 1 or numbers.size not in (1, lanes):
        raise ArgumentError(
            f"argument {parameter.name} ({parameter.type_text}) takes {lanes} numbers, but an array "
            f"of shape {numbers.shape} was given"
        )
    each = [_number(parameter, element, number) for number in np.resize(numbers, lanes)]
    content = b"".join(number.tobytes() for number in each).ljust(parameter.size_bytes, b"\0")
    return np.frombuffer(content, np.dtype((np.void, parameter.size_bytes)))[0]  # type: ignore[no-any-return]  # numpy types void scalars as Any


def _number(parameter: ParameterFacts, llvm_type: str, value: Any) -> np.generic:
    bits = layout.integer_bits(llvm_type)
    if not bits and llvm_type not in _FLOATS:
        raise ArgumentError(
            f"argument {parameter.name} is a {parameter.type_text} by value: give it as a numpy "
            f"structured scalar of {parameter.size_bytes} bytes"
        )
    if not isinstance(value, int | float | np.integer | np.floating | np.bool_):
        raise ArgumentError(f"{_takes(parameter)}, but {value!r} was given")
    if not bits:
        return _float(parameter, llvm_type, value)
    if not math.isfinite(value) or value != int(value):
        raise ArgumentError(f"{_takes(parameter)}, but {value!r} was given: give a whole number")
    number = int(value)
    unsigned = re.search(
        r"\b(?:u(?:char|short|int|long)|unsigned|size_t|bool)", parameter.type_text
    )
    low, high = (0, (1 << bits) - 1) if unsigned else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    if not low <= number <= high:
        raise ArgumentError(f"{_takes(parameter)}, but {number} was given: give {low} to {high}")
    kind = np.dtype(f"{'u' if unsigned else 'i'}{max(1, bits // 8)}").type
    return kind(number)  # type: ignore[no-any-return]  # numpy cannot tell the type of a dtype's type


def _float(parameter: ParameterFacts, llvm_type: str, value: Any) -> np.generic:
    try:
        with np.errstate(over="ignore"):
            number = _FLOATS[llvm_type](value)
    except OverflowError:
        number = _FLOATS[llvm_type](np.inf)
    if np.isinf(number) and (isinstance(value, int) or math.isfinite(value)):
        raise ArgumentError(f"{_takes(parameter)}, but {value!r} is out of its range")
    return number


def _takes(parameter: ParameterFacts) -> str:
    return f"argument {parameter.name} is a number by value ({parameter.type_text})"
