"""Host values -> a kernel's arguments: arrays become buffers, numbers take their parameter's type."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lb_runtime.analysis import layout
from lb_runtime.analysis.facts import KernelFacts, ParameterFacts
from lb_runtime.errors import ArgumentError
from lb_runtime.launch import Argument, BufferArgument, LocalArgument, ScalarArgument

HostValue = npt.NDArray[Any] | np.generic | LocalArgument | int | float
"""An array for a buffer (updated in place), a number or numpy scalar by value, a local memory's size."""

_FLOATS: dict[str, type[np.floating[Any]]] = {
    "half": np.float16,
    "float": np.float32,
    "double": np.float64,
}


def bind(
    kernel: KernelFacts, given: Sequence[HostValue]
) -> tuple[tuple[Argument, ...], list[npt.NDArray[Any] | np.generic | LocalArgument]]:
    """The arguments of a launch, and the values to hand to `execute`, one per parameter.

    Arrays that are the same memory get the same memory number.

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
    values: list[npt.NDArray[Any] | np.generic | LocalArgument] = []
    buffers: list[tuple[int, int, int]] = []
    for index, (parameter, value) in enumerate(zip(parameters, given)):
        bound = checked(parameter, value)
        if isinstance(bound, LocalArgument):
            arguments.append(bound)
        elif isinstance(bound, np.ndarray):
            memory = _memory(buffers, bound, index, parameter)
            arguments.append(BufferArgument(bound.nbytes, memory))
        else:
            arguments.append(ScalarArgument(bound))
        values.append(bound)
    return tuple(arguments), values


def checked(
    parameter: ParameterFacts, value: HostValue
) -> npt.NDArray[Any] | np.generic | LocalArgument:
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
    raise ArgumentError(
        f"argument {parameter.name} is an {parameter.type_text}, expected a buffer, a number or local "
        "memory: images, samplers and pipes cannot be given here"
    )


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


def _memory(
    buffers: list[tuple[int, int, int]],
    array: npt.NDArray[Any],
    index: int,
    parameter: ParameterFacts,
) -> int:
    """The memory number of an array: that of an earlier argument with the same bytes, or its own."""
    start = array.ctypes.data
    stop = start + array.nbytes
    for other_start, other_stop, number in buffers:
        if (start, stop) == (other_start, other_stop):
            return number
        if max(start, other_start) < min(stop, other_stop):
            raise ArgumentError(
                f"argument {parameter.name} overlaps another array in part: give arrays that are "
                "the same memory, or share none"
            )
    buffers.append((start, stop, index))
    return index


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
