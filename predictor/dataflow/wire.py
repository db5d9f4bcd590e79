"""Protocol buffers without their package: the fields of a message in binary wire format.

Only what reading needs: a message is fields of a number and a value, which is an integer or a run of
bytes (a string, a message within, or packed integers).
Source: the encoding chapter of the Protocol Buffers documentation.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10


class WireError(ValueError):
    """Bytes that are no message."""


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The number and value of each field in turn. Raises WireError where the bytes are no message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise WireError(f"field {number} is of unknown kind {kind}")
        if at + length > len(message):
            raise WireError(f"field {number} has {length} bytes, but {len(message) - at} are left")
        yield number, message[at : at + length]
        at += length


def messages(message: bytes, number: int) -> Iterator[bytes]:
    """The values of all fields of a number that holds bytes, in order."""
    for found, value in fields(message):
        if found == number:
            yield as_bytes(value)


def as_bytes(value: int | bytes) -> bytes:
    """The value of a field that should hold bytes. Raises WireError where it holds an integer."""
    if isinstance(value, int):
        raise WireError(f"the integer {value} found where a message was expected")
    return value


def as_integer(value: int | bytes) -> int:
    """The value of a field that should hold an integer. Raises WireError where it holds bytes."""
    if isinstance(value, bytes):
        raise WireError(f"{len(value)} bytes found where an integer was expected")
    return value


def integers(message: bytes, number: int) -> list[int]:
    """A repeated integer field, packed or not."""
    found: list[int] = []
    for field, value in fields(message):
        if field == number:
            found.extend([value] if isinstance(value, int) else _packed(value))
    return found


def _packed(values: bytes) -> Iterator[int]:
    at = 0
    while at < len(values):
        value, at = _varint(values, at)
        yield value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """An integer, seven bits to a byte, low bits first; and where it ends."""
    value = 0
    for index in range(_LONGEST_VARINT):
        if at + index >= len(message):
            raise WireError("an integer is cut off at the end")
        byte = message[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise WireError("an integer has more than 64 bits")
