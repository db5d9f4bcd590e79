"""Values that are made up for a kernel's parameters, as the SPEC that `lb --arg` would take."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lb_runtime.analysis import layout
from lb_runtime.analysis.facts import ParameterFacts
from lb_runtime.errors import ArgumentError

_SCALARS: dict[str, int] = {
    "char": 1,
    "uchar": 1,
    "short": 2,
    "ushort": 2,
    "half": 2,
    "int": 4,
    "uint": 4,
    "float": 4,
    "long": 8,
    "ulong": 8,
    "double": 8,
}
_LLVM_SCALARS = {
    "i8": "uchar",
    "i16": "short",
    "i32": "int",
    "i64": "long",
    "half": "half",
    "float": "float",
    "double": "double",
}
_FLOATS: dict[str, type[np.floating[Any]]] = {
    "half": np.float16,
    "float": np.float32,
    "double": np.float64,
}
_LONG_NAMES = {
    "unsigned char": "uchar",
    "unsigned short": "ushort",
    "unsigned int": "uint",
    "unsigned long": "ulong",
    "unsigned": "uint",
    "signed char": "char",
    "size_t": "ulong",
}


@dataclass(frozen=True, slots=True)
class Element:
    """What a buffer's elements are: an OpenCL scalar type, and how many of them one element holds."""

    scalar: str
    width: int = 1

    @property
    def name(self) -> str:
        """The type as OpenCL C writes it."""
        return self.scalar if self.width == 1 else f"{self.scalar}{self.width}"

    @property
    def lanes(self) -> int:
        """Scalars in memory: a vector of three takes the space of four."""
        return 4 if self.width == 3 else self.width

    @property
    def size_bytes(self) -> int:
        """The bytes of one element."""
        return _SCALARS[self.scalar] * self.lanes


@dataclass(frozen=True, slots=True)
class ArrayMade:
    """A buffer: `elements` of a type, filled as the SPEC of this name does with these parameters."""

    element: Element
    elements: int
    fill: str = "rand"
    parameters: tuple[int, ...] = ()

    @property
    def size_bytes(self) -> int:
        """The bytes of the whole buffer."""
        return self.elements * self.element.size_bytes

    @property
    def spec(self) -> str:
        """The SPEC that makes it."""
        more = "".join(f":{number}" for number in self.parameters)
        return f"{self.fill}:{self.element.name}:{self.elements}{more}"

    @property
    def scalar(self) -> None:
        """A buffer is no value."""


@dataclass(frozen=True, slots=True)
class LocalMade:
    """Local memory of `elements` of a type."""

    element: Element
    elements: int

    @property
    def size_bytes(self) -> int:
        """The bytes of it."""
        return self.elements * self.element.size_bytes

    @property
    def spec(self) -> str:
        """The SPEC that makes it."""
        return f"local:{self.element.name}:{self.elements}"

    @property
    def scalar(self) -> None:
        """Local memory is no value."""


@dataclass(frozen=True, slots=True)
class NumberMade:
    """A number by value; a vector has it in every lane."""

    number: int | float
    scalar: np.generic | None

    @classmethod
    def of(cls, parameter: ParameterFacts, number: int) -> NumberMade:
        """The number as the parameter's type: an integer that fits, or 1.0 for floats."""
        lanes = layout.vector(parameter.llvm_type)
        llvm_type = lanes[1] if lanes else parameter.llvm_type
        bits = layout.integer_bits(llvm_type)
        value: int | float = min(number, (1 << max(1, bits - 1)) - 1) if bits else 1.0
        if not bits and llvm_type not in _FLOATS:
            raise ArgumentError(
                f"argument {parameter.name} is a {parameter.type_text} by value, which cannot be made "
                "up: give it in Python"
            )
        kind = np.dtype(f"i{max(1, bits // 8)}").type if bits else _FLOATS[llvm_type]
        return cls(value, None if lanes else kind(value))

    @property
    def spec(self) -> str:
        """The SPEC that makes it."""
        return str(self.number)


@dataclass(frozen=True, slots=True)
class StructMade:
    """A struct by value, as its bytes; no SPEC makes one."""

    content: bytes

    @classmethod
    def of(cls, parameter: ParameterFacts, number: int, structs: dict[str, str]) -> StructMade:
        """A struct by value with the number in each integer and 1.0 in each float."""
        content = bytearray(parameter.size_bytes)

        def fill(type_text: str, start: int) -> None:
            if layout.is_struct(type_text):
                member = 0
                while True:
                    try:
                        inner, offset = layout.member(type_text, member, structs)
                    except layout.UnknownLayoutError:
                        return
                    fill(inner, start + offset)
                    member += 1
            inner_type = layout.element(type_text)
            if inner_type is not None:
                step = layout.size_bytes(inner_type, structs)
                for place in range(start, start + layout.size_bytes(type_text, structs), step):
                    fill(inner_type, place)
            elif bits := layout.integer_bits(type_text):
                size = max(1, bits // 8)
                content[start : start + size] = min(number, (1 << (bits - 1)) - 1).to_bytes(
                    size, "little"
                )
            elif type_text in ("float", "double"):
                packed = struct.pack("<f" if type_text == "float" else "<d", 1.0)
                content[start : start + len(packed)] = packed

        fill(parameter.llvm_type, 0)
        return cls(bytes(content))

    @property
    def scalar(self) -> np.generic:
        """The value."""
        return np.frombuffer(self.content, np.dtype((np.void, len(self.content))))[0]  # type: ignore[no-any-return]  # numpy types void scalars as Any

    @property
    def spec(self) -> str:
        """What stands in its place: how many bytes there are."""
        return f"({len(self.content)} bytes)"


@dataclass(frozen=True, slots=True)
class ImageMade:
    """An image of four channels a pixel (RGBA), random by seed; no SPEC makes one.

    `shape` is width, height, depth and layers as far as there are; `channel_type` is OpenCL's name.
    """

    shape: tuple[int, ...]
    channel_type: str

    @property
    def scalar(self) -> None:
        """An image is no value."""

    @property
    def spec(self) -> str:
        """What stands in its place."""
        return f"({'x'.join(map(str, self.shape))} pixels of RGBA {self.channel_type})"


@dataclass(frozen=True, slots=True)
class SamplerMade:
    """A sampler: pixel coordinates, clamped to the edge, the nearest pixel."""

    @property
    def scalar(self) -> None:
        """A sampler is no value."""

    @property
    def spec(self) -> str:
        """What stands in its place."""
        return "(a sampler)"


Made = ArrayMade | LocalMade | NumberMade | StructMade | ImageMade | SamplerMade


def element_of(parameter: ParameterFacts, llvm_types: Iterable[str] | None) -> Element:
    """What a buffer parameter points to: by its OpenCL C type, else by the types that are accessed.

    Of a struct with numbers of several types, the smallest integer among them; bytes if nothing is
    known.
    """
    named = _named(parameter)
    if named is not None:
        return named
    found: set[str] = set()
    for text in llvm_types or ():
        lanes = layout.vector(text)
        scalar = _LLVM_SCALARS.get(lanes[1] if lanes else text)
        if scalar is not None:
            found.add(scalar)
    integers = [scalar for scalar in found if scalar not in _FLOATS]
    choice = sorted(integers or found, key=lambda scalar: _SCALARS[scalar])
    return Element(choice[0] if choice else "uchar")


def scalar_bytes(parameter: ParameterFacts) -> int:
    """The size of one number of what a buffer parameter points to; 0 where its type is no number's."""
    named = _named(parameter)
    return _SCALARS[named.scalar] if named is not None else 0


def _named(parameter: ParameterFacts) -> Element | None:
    """The element type that the parameter's text names, None for structs and names of the program."""
    text = re.sub(
        r"\b(?:const|restrict|volatile|__\w+|global|constant|local)\b", "", parameter.type_text
    )
    text = " ".join(text.replace("*", " ").split())
    text = _LONG_NAMES.get(text, text)
    match = re.fullmatch(r"([a-z]+)(2|3|4|8|16)?", text)
    if match is None or match[1] not in _SCALARS:
        return None
    return Element(match[1], int(match[2] or 1))
