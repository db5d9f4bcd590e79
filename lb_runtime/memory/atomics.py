"""Combining what the parts' integer atomics did to one buffer, each part having begun with the original.

The atomics of a zone are all of one kind and commute, and no work-item looks at their results, so the
unsplit launch leaves the original with every part's change applied to it, in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from lb_runtime.analysis.verdict import AtomicZone
from lb_runtime.memory.merge import Bytes

Words = npt.NDArray[Any]

OPERATIONS = ("add", "min", "max", "and", "or", "xor")
"""What an `AtomicZone` may say."""


def combined(operation: str, original: Words, parts: Sequence[Words]) -> Words:
    """The integers after the atomics of all parts; all arrays have one shape and one integer type.

    Sums wrap around, as OpenCL's atomics do. Raises ValueError for an operation that is not known.
    """
    if operation == "add":
        return reduce(lambda total, part: total + (part - original), parts, original)
    if operation == "xor":
        return reduce(lambda total, part: total ^ (part ^ original), parts, original)
    if operation not in OPERATIONS:
        raise ValueError(f"atomic operation {operation!r} given, expected one of {OPERATIONS}")
    # Each part's result holds the original already: taking it in as often does not change these.
    function = {
        "min": np.minimum,
        "max": np.maximum,
        "and": np.bitwise_and,
        "or": np.bitwise_or,
    }[operation]
    return reduce(function, parts, original)


def words_of(content: Bytes, zone: AtomicZone, start: int = 0) -> Words:
    """A zone's integers as a view of bytes that begin at byte `start` of the buffer.

    Unsigned, but for a signed minimum or maximum. Shape: ((stop - start) / width_bytes,).
    """
    is_signed = zone.is_signed and zone.operation in ("min", "max")
    kind = np.dtype(f"{'i' if is_signed else 'u'}{zone.width_bytes}")
    return content[zone.start - start : zone.stop - start].view(kind)


def write_combined(
    target: Bytes, zones: Sequence[AtomicZone], starts: Sequence[int], copies: Sequence[Bytes]
) -> None:
    """Combine the zones of the original `target` with the parts' copies of it, in place.

    `copies[i]` are bytes of a part's buffer from byte `starts[i]` on, and hold every zone; shape of
    each: (bytes,).
    """
    for zone in zones:
        words = words_of(target, zone)
        parts = [words_of(copy, zone, start) for start, copy in zip(starts, copies, strict=True)]
        words[:] = combined(zone.operation, words, parts)
