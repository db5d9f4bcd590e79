"""How the parts' copies of one buffer become one buffer again: pure functions over numpy byte arrays.

All arrays here are one-dimensional `uint8` views (`as_bytes`); intervals count bytes of the whole buffer.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from lb_runtime.analysis.regions import Region
from lb_runtime.errors import ArgumentError

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

CACHED_BYTES = 1 << 18
"""How much of a buffer is merged at a time."""


def as_bytes(array: npt.NDArray[Any]) -> Bytes:
    """The same memory as bytes; shape: `(array.nbytes,)`.

    Raises `ArgumentError` for an array whose memory is not one contiguous block in C order.
    """
    if not array.flags.c_contiguous:
        raise ArgumentError(
            f"an array of shape {array.shape} and strides {array.strides} given, expected C-contiguous "
            "memory: pass numpy.ascontiguousarray(...)"
        )
    return array.reshape(-1).view(np.uint8)


def changed_bytes(original: Bytes, content: Bytes) -> Mask:
    """Which bytes of `content` differ from `original`; all three have one shape.

    A byte that a part wrote with its old value counts as unchanged: taking it or not is the same.
    """
    return np.not_equal(original, content)


def write_range(target: Bytes, where: Region, content: Bytes) -> None:
    """Put `content`, of shape `(where.size_bytes,)`, into the whole buffer `target` as it is."""
    target[where.start : where.stop] = content


def write_changed(target: Bytes, where: Region, content: Bytes, changed: Mask) -> None:
    """Put only the `changed` bytes of `content` into the whole buffer `target`."""
    # In pieces that stay in the cache, and without a branch for each byte, as a masked copy has.
    target = target[where.start : where.stop]
    for start in range(0, target.size, CACHED_BYTES):
        piece = slice(start, start + CACHED_BYTES)
        taken = np.negative(changed[piece].view(np.int8)).view(np.uint8)
        taken &= target[piece] ^ content[piece]
        target[piece] ^= taken


def first_clash(one: Bytes, one_changed: Mask, other: Bytes, other_changed: Mask) -> int | None:
    """The first byte that both changed, to different values; None where there is none.

    All four have one shape.
    """
    clash = one_changed & other_changed
    clash &= one != other
    return int(clash.argmax()) if clash.any() else None


def first_overlap(intervals: Iterable[Region]) -> tuple[Region, Region] | None:
    """Two of the intervals that share a byte, or None when all are disjoint."""
    ordered = sorted(
        (interval for interval in intervals if interval.size_bytes),
        key=lambda interval: interval.start,
    )
    for before, after in pairwise(ordered):
        if before.overlaps(after):
            return before, after
    return None


def coalesced(intervals: Iterable[Region]) -> list[Region]:
    """The same bytes as disjoint intervals, in order; those that overlap become one."""
    result: list[Region] = []
    for interval in sorted(intervals, key=lambda interval: interval.start):
        if not interval.size_bytes:
            continue
        if result and result[-1].overlaps(interval):
            result[-1] = result[-1].union(interval)
        else:
            result.append(interval)
    return result
