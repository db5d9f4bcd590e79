"""Sizes and member offsets of LLVM types, as OpenCL's 64-bit devices lay them out.

Source: LLVM Language Reference, "Data Layout"; OpenCL 1.2 specification, section 6.1.5 (a vector is
aligned to its size, a vector of three takes the space of four).
"""

from __future__ import annotations

import re
from functools import lru_cache

from predictor.type_grammar import split_types

POINTER_BYTES = 8
_SCALAR_BYTES = {"half": 2, "bfloat": 2, "float": 4, "double": 8, "fp128": 16}
_ARRAY = re.compile(r"^\[(\d+) x (.*)\]$")
_VECTOR = re.compile(r"^<(\d+) x (.*)>$")
_INTEGER = re.compile(r"^i(\d+)$")


class UnknownLayoutError(Exception):
    """A type whose size is not fixed by the language (opaque, target-specific)."""


@lru_cache(maxsize=1024)
def integer_bits(type_text: str) -> int:
    """The width of an integer type in bits, 0 for every other type."""
    match = _INTEGER.match(type_text)
    return int(match[1]) if match else 0


@lru_cache(maxsize=1024)
def vector(type_text: str) -> tuple[int, str] | None:
    """Lanes and element type of a vector type, None for every other type."""
    match = _VECTOR.match(type_text)
    return (int(match[1]), match[2]) if match else None


@lru_cache(maxsize=1024)
def address_space(type_text: str) -> int:
    """The address space of a pointer type: 0 private, 1 global, 2 constant, 3 local, 4 generic.

    Returns -1 for a type that is no pointer. Source: SPIR 1.2 specification, section 2.2.
    """
    if type_text == "ptr":
        return 0
    match = re.match(r"^ptr addrspace\((\d+)\)$", type_text)
    return int(match[1]) if match else -1


def size_bytes(type_text: str, structs: dict[str, str]) -> int:
    """The distance between two elements of this type in an array, in bytes.

    Raises:
        UnknownLayoutError: the type has no fixed size.
    """
    return _layout(type_text, structs)[0]


def store_bytes(type_text: str, structs: dict[str, str]) -> int:
    """How many bytes a store of this type is sure to write: lanes and numbers, without what pads them.

    0 for structs and arrays, of which that is not told. What a device writes beside lies within
    `size_bytes`.

    Raises:
        UnknownLayoutError: the type has no fixed size.
    """
    if shape := vector(type_text):
        return shape[0] * size_bytes(shape[1], structs)
    if bits := integer_bits(type_text):
        return bits // 8
    if is_struct(type_text) or element(type_text):
        return 0
    return size_bytes(type_text, structs)


def member(type_text: str, index: int, structs: dict[str, str]) -> tuple[str, int]:
    """The type and byte offset of a struct's member.

    Raises:
        UnknownLayoutError: the type is no struct with such a member.
    """
    members, packed = _members(type_text, structs)
    if not 0 <= index < len(members):
        raise UnknownLayoutError(type_text)
    offset = 0
    for number, inner in enumerate(members):
        size, alignment = _layout(inner, structs)
        if not packed:
            offset = -(-offset // alignment) * alignment
        if number == index:
            return inner, offset
        offset += size
    raise UnknownLayoutError(type_text)


def element(type_text: str) -> str | None:
    """The element type of an array or vector type, None for every other type."""
    match = _ARRAY.match(type_text) or _VECTOR.match(type_text)
    return match[2] if match else None


def is_struct(type_text: str) -> bool:
    """Whether the type is a struct, named or literal."""
    return type_text[0] in "{%" or type_text.startswith("<{")


def _layout(type_text: str, structs: dict[str, str]) -> tuple[int, int]:
    """Size and alignment in bytes."""
    if type_text in _SCALAR_BYTES:
        size = _SCALAR_BYTES[type_text]
        return size, size
    if bits := integer_bits(type_text):
        size = 1 << max(0, (bits - 1).bit_length() - 3)
        return size, size
    if type_text.startswith("ptr"):
        return POINTER_BYTES, POINTER_BYTES
    if match := _ARRAY.match(type_text):
        size, alignment = _layout(match[2], structs)
        return int(match[1]) * size, alignment
    if match := _VECTOR.match(type_text):
        lanes = int(match[1])
        size = _layout(match[2], structs)[0] * (4 if lanes == 3 else lanes)
        size = 1 << max(0, (size - 1).bit_length())
        return size, size
    if is_struct(type_text):
        members, packed = _members(type_text, structs)
        offset = widest = 1
        offset = 0
        for inner in members:
            size, alignment = _layout(inner, structs)
            alignment = 1 if packed else alignment
            widest = max(widest, alignment)
            offset = -(-offset // alignment) * alignment + size
        return -(-offset // widest) * widest, widest
    raise UnknownLayoutError(type_text)


def _members(type_text: str, structs: dict[str, str]) -> tuple[list[str], bool]:
    """The member types of a struct, and whether it is packed."""
    body = structs.get(type_text, type_text)
    packed = body.startswith("<{")
    inner = body[2:-2] if packed else body[1:-1]
    if not body or body[0] not in "{<":
        raise UnknownLayoutError(type_text)
    return split_types(inner), packed
