"""The SPEC of a kernel argument, as typed after `--arg name=` or in a launch file.

    NUMBER                         2.5   -7   0x1F   1M   1<<20
    rand:TYPE:N[:LO:HI]            random, LO <= value < HI, the same for the same seed;
                                   0 to 1 for floats, 0 to 255 (int8: 127) for integers
    zeros:TYPE:N   ones:TYPE:N
    full:TYPE:N:VALUE
    arange:TYPE:N[:START[:STEP]]   START (0), START + STEP (1), ... through memory
    perm:TYPE:N[:START]            START (0), START + 1, ... in a random order: N different places
    local:TYPE:N                   a __local argument: its size, no values
    FILE.npy                       a numpy array, relative to the given folder

TYPE is a numpy name (float32, uint8), an OpenCL name (float, uchar), an OpenCL vector (float4,
uchar3) or a numpy name and a width (float32x16). Where both languages know a name with digits
(int8, int16, uint8, uint16, float16) it is numpy's. A vector of 3 takes the room of 4 (OpenCL 1.2
specification, section 6.1.5). N counts elements: 4096, 64K, 1M, 1G (powers of 1024), 1<<20, or
several of them, 4096x4096, which is also the array's shape.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from lb_runtime.errors import ArgumentError
from lb_runtime.launch import LocalArgument

MAX_BYTES = 8 << 30

Number = int | float
Fill = Literal["rand", "zeros", "ones", "full", "arange", "perm"]

_NUMPY_NAMES = (
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)
_OPENCL_NAMES = {
    "char": "int8",
    "short": "int16",
    "int": "int32",
    "long": "int64",
    "uchar": "uint8",
    "ushort": "uint16",
    "uint": "uint32",
    "ulong": "uint64",
    "half": "float16",
    "float": "float32",
    "double": "float64",
}
_VECTOR_WIDTHS = ("2", "3", "4", "8", "16")
_PARAMETER_COUNTS: dict[Fill, tuple[int, ...]] = {
    "rand": (0, 2),
    "zeros": (0,),
    "ones": (0,),
    "full": (1,),
    "arange": (0, 1, 2),
    "perm": (0, 1),
}
_FORMS: dict[str, str] = {
    "rand": "rand:TYPE:N or rand:TYPE:N:LO:HI, such as rand:float32:1M:-1:1",
    "zeros": "zeros:TYPE:N, such as zeros:int32:1M",
    "ones": "ones:TYPE:N, such as ones:float32:1M",
    "full": "full:TYPE:N:VALUE, such as full:float32:1M:2.5",
    "arange": "arange:TYPE:N, arange:TYPE:N:START or arange:TYPE:N:START:STEP, such as "
    "arange:int32:1M",
    "perm": "perm:TYPE:N or perm:TYPE:N:START, such as perm:int32:1M",
    "local": "local:TYPE:N, such as local:float32:256",
}
_COUNT = re.compile(r"(\d{1,19})(?:([KMG])|<<(\d{1,2}))?", re.ASCII)
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class ElementType:
    """One element of an array: a scalar type and how many of them it holds, padding included."""

    scalar: np.dtype[Any]
    width: int

    @property
    def size_bytes(self) -> int:
        """The bytes of one element in memory."""
        return self.width * self.scalar.itemsize


@dataclass(frozen=True, slots=True)
class NumberSpec:
    """A number; the kernel's signature decides later which type it gets."""

    value: Number

    def materialise(self, seed: int = 0, position: int = 0) -> Number:
        """The number itself."""
        return self.value


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """An array to be made up: which values, which element type, which shape.

    `parameters` are (LO, HI) or none for rand, (VALUE,) for full, up to (START, STEP) for arange.
    Raises ArgumentError for an empty or absurdly large array and for values its type cannot hold.
    """

    fill: Fill
    element: ElementType
    shape: tuple[int, ...]
    parameters: tuple[Number, ...] = ()

    def __post_init__(self) -> None:
        _check_size(self.element, self.shape)
        if len(self.parameters) not in _PARAMETER_COUNTS[self.fill]:
            raise ArgumentError(
                f"{len(self.parameters)} values after the count, expected {_FORMS[self.fill]}"
            )
        for value in (*self.parameters, *self._extremes()):
            _check_type(value, self.element.scalar)
        for value in self._extremes():
            _check_fits(value, self.element.scalar)
        if self.fill == "rand" and self.parameters and self.parameters[0] >= self.parameters[1]:
            raise ArgumentError(
                f"random values from {self.parameters[0]} up to {self.parameters[1]}, expected "
                "LO < HI, such as rand:int32:8:0:9"
            )

    def materialise(self, seed: int = 0, position: int = 0) -> npt.NDArray[Any]:
        """The array, C-contiguous; its shape is `shape`, followed by the width if that is above 1.

        `position` is the argument's place in the signature, so that the random arguments of one
        launch differ.
        """
        shape = self.shape if self.element.width == 1 else (*self.shape, self.element.width)
        if self.fill == "rand":
            return self._random(np.random.default_rng([seed, position]), shape)
        if self.fill == "arange":
            return self._progression(prod(shape)).reshape(shape)
        if self.fill == "perm":
            order = np.random.default_rng([seed, position]).permutation(prod(shape))
            return (order + self._start_and_step()[0]).astype(self.element.scalar).reshape(shape)
        constants: dict[str, Number] = {"zeros": 0, "ones": 1}
        value = self.parameters[0] if self.fill == "full" else constants[self.fill]
        return np.full(shape, value, dtype=self.element.scalar)

    def _bounds(self) -> tuple[Number, Number]:
        """LO and HI of random values; HI is not itself a value."""
        if self.parameters:
            return self.parameters[0], self.parameters[1]
        if self.element.scalar.kind == "f":
            return 0, 1
        return 0, min(256, int(np.iinfo(self.element.scalar).max) + 1)

    def _start_and_step(self) -> tuple[Number, Number]:
        start = self.parameters[0] if self.parameters else 0
        return start, self.parameters[1] if len(self.parameters) > 1 else 1

    def _extremes(self) -> tuple[Number, ...]:
        """Values that the element type must hold, the smallest and the largest among them."""
        if self.fill == "rand":
            low, high = self._bounds()
            # A float generator scales by the width of the interval.
            return (low, high, high - low) if self.element.scalar.kind == "f" else (low, high - 1)
        if self.fill == "perm":
            start = self._start_and_step()[0]
            return start, start + prod(self.shape) * self.element.width - 1
        if self.fill == "arange":
            start, step = self._start_and_step()
            return start, start + step * (prod(self.shape) * self.element.width - 1)
        return self.parameters

    def _random(self, generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        scalar = self.element.scalar
        low, high = self._bounds()
        if scalar.kind in "iu":
            integers = generator.integers(int(low), int(high), size=shape, dtype=scalar)
            return cast(npt.NDArray[Any], integers)
        wide = np.float64 if scalar == np.float64 else np.float32
        values: npt.NDArray[Any] = generator.random(size=shape, dtype=wide)
        if self.parameters:
            values *= wide(high - low)
            values += wide(low)
        values = values.astype(scalar, copy=False)
        # Rounding may reach HI, which is outside.
        below_high = np.nextafter(scalar.type(high), scalar.type(low))
        return cast(npt.NDArray[Any], np.minimum(values, below_high, out=values))

    def _progression(self, count: int) -> npt.NDArray[Any]:
        start, step = self._start_and_step()
        scalar = self.element.scalar
        if scalar.kind == "f":
            return (start + step * np.arange(count)).astype(scalar)
        # Two's complement: sums and products modulo 2^64 have the right low bits for every type.
        places = np.arange(count, dtype=np.uint64)
        places *= np.uint64(int(step) % 2**64)
        places += np.uint64(int(start) % 2**64)
        return places.astype(scalar)


@dataclass(frozen=True, slots=True)
class LocalSpec:
    """A `__local` argument: element type and count."""

    element: ElementType
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_size(self.element, self.shape)

    def materialise(self, seed: int = 0, position: int = 0) -> LocalArgument:
        """The size in bytes, as the launch has it."""
        return LocalArgument(prod(self.shape) * self.element.size_bytes)


@dataclass(frozen=True, slots=True)
class FileSpec:
    """An array in a numpy file; it is read when it is materialised, not before."""

    path: Path

    def materialise(self, seed: int = 0, position: int = 0) -> npt.NDArray[Any]:
        """The file's array: C-contiguous, this machine's byte order, at least one dimension.

        Raises ArgumentError for a file that cannot be read, holds no numbers, or exceeds MAX_BYTES.
        Pickled objects are refused unread.
        """
        try:
            mapped = np.lib.format.open_memmap(self.path, mode="r")
        except FileNotFoundError:
            raise ArgumentError(
                f"{self.path}: no such file, expected one that numpy.save wrote"
            ) from None
        except (OSError, ValueError) as error:
            raise ArgumentError(
                f"{self.path}: not a usable .npy file ({error}), expected one that "
                "numpy.save wrote from an array of numbers"
            ) from None
        if mapped.dtype.kind not in "biufcV" or mapped.size == 0:
            raise ArgumentError(
                f"{self.path}: holds {mapped.size} elements of {mapped.dtype}, expected numbers, "
                "at least 1"
            )
        if mapped.nbytes > MAX_BYTES:
            raise ArgumentError(
                f"{self.path}: {mapped.nbytes} bytes, expected at most {MAX_BYTES} (8 GiB)"
            )
        native = mapped.dtype.newbyteorder("=")
        return np.array(mapped, dtype=native, order="C", copy=True, subok=False)


Spec = NumberSpec | ArraySpec | LocalSpec | FileSpec


def parse_spec(text: str, folder: Path | None = None) -> Spec:
    """Read one SPEC; a relative FILE.npy is taken from `folder` (the current one if None).

    Raises ArgumentError, one line: what was given, what was expected, an example.
    """
    given = text.strip()
    if given.endswith(".npy"):
        return FileSpec((folder or Path()) / given)
    kind, colon, rest = given.partition(":")
    if not colon:
        number = _number(given)
        if number is None:
            raise ArgumentError(
                f"{_shown(given)}: not a number, expected one (2.5, -7, 0x1F, 1M), a FILE.npy, or "
                f"{_FORMS['rand']}"
            )
        return NumberSpec(number)
    if kind not in _FORMS:
        raise ArgumentError(
            f"{_shown(given)}: unknown kind {_shown(kind)}, expected {', '.join(_FORMS)}, such as "
            "rand:float32:1M"
        )
    fields = rest.split(":")
    if len(fields) < 2 or (kind == "local" and len(fields) > 2):
        raise ArgumentError(f"{_shown(given)}: expected {_FORMS[kind]}")
    try:
        element = _element_type(fields[0])
        shape = tuple(_count(count) for count in fields[1].split("x"))
        if kind == "local":
            return LocalSpec(element, shape)
        parameters = tuple(_parameter(field) for field in fields[2:])
        return ArraySpec(cast(Fill, kind), element, shape, parameters)
    except ArgumentError as error:
        raise ArgumentError(f"{_shown(given)}: {error}") from None


def _number(text: str) -> Number | None:
    if text.isascii() and _COUNT.fullmatch(text):
        return _count(text)
    try:
        return int(text, 0)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None


def _parameter(text: str) -> Number:
    number = _number(text)
    if number is None:
        raise ArgumentError(f"{_shown(text)} is not a number, expected one, such as -1 or 0.5")
    return number


def _count(text: str) -> int:
    match = _COUNT.fullmatch(text)
    if match is None:
        raise ArgumentError(
            f"{_shown(text)} is not a count, expected 4096, 64K, 1M, 1<<20 or 4096x4096"
        )
    digits, unit, shift = match.groups()
    power = int(shift) if shift else {None: 0, "K": 10, "M": 20, "G": 30}[unit]
    return int(digits) << power


def _element_type(name: str) -> ElementType:
    if name in _NUMPY_NAMES:
        return ElementType(np.dtype(name), 1)
    match = re.fullmatch(r"([a-z]+)(\d*)|([a-z]+\d+)x(\d+)", name, re.ASCII)
    if match is not None:
        opencl_name, opencl_width, numpy_name, numpy_width = match.groups()
        scalar = numpy_name if numpy_name in _NUMPY_NAMES else _OPENCL_NAMES.get(opencl_name)
        width = opencl_width or numpy_width
        if scalar is not None and (not width or width in _VECTOR_WIDTHS):
            lanes = int(width or 1)
            return ElementType(np.dtype(scalar), 4 if lanes == 3 else lanes)
    raise ArgumentError(
        f"unknown type {_shown(name)}, expected a numpy or OpenCL type, such as float32, uint8, "
        "float4 or float32x16"
    )


def _check_size(element: ElementType, shape: tuple[int, ...]) -> None:
    if any(count < 1 for count in shape):
        raise ArgumentError("no elements given, expected at least 1, such as zeros:int32:1")
    size_bytes = prod(shape) * element.size_bytes
    if size_bytes > MAX_BYTES:
        raise ArgumentError(
            f"{size_bytes / 2**30:.1f} GiB given, expected at most {MAX_BYTES >> 30} GiB an "
            "argument: choose a smaller count"
        )


def _check_type(value: Number, scalar: np.dtype[Any]) -> None:
    if scalar.kind in "iu" and not isinstance(value, int):
        raise ArgumentError(f"{value} given for {scalar}, expected a whole number, such as 3")


def _check_fits(value: Number, scalar: np.dtype[Any]) -> None:
    if scalar.kind in "iu":
        least, most = int(np.iinfo(scalar).min), int(np.iinfo(scalar).max)
        if not least <= value <= most:
            raise ArgumentError(f"{value} does not fit {scalar}, expected {least} to {most}")
    elif not abs(value) <= float(np.finfo(scalar).max):
        raise ArgumentError(f"{value} does not fit {scalar}, expected a finite, smaller number")


def _shown(text: str) -> str:
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
    return repr(cut)
