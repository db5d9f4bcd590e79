"""How the parts' copies of one buffer become one buffer again: pure functions over numpy byte arrays.

Whole buffers are one-dimensional `uint8` views (`as_bytes`); regions count bytes of the whole buffer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lb_runtime.errors import ArgumentError

# Whoever has a region has imported it.
if TYPE_CHECKING:
    from lb_runtime.analysis.regions import Region

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


def write_region(target: Bytes, where: Region, pieces: Sequence[Bytes]) -> None:
    """Put `pieces` into the whole buffer `target` as they are.

    `pieces[i]` are the bytes of `where.rows[i]`; shape: (count, run).
    """
    for rows, piece in zip(where.rows, pieces, strict=True):
        rows.of(target)[:] = piece


def write_changed(target: Bytes, start: int, content: Bytes, changed: Mask) -> None:
    """Put only the `changed` bytes of `content` into the whole buffer `target`, from byte `start` on.

    Shape of `content` and `changed`: (bytes,).
    """
    # In pieces that stay in the cache, and without a branch for each byte, as a masked copy has.
    target = target[start : start + content.size]
    for begin in range(0, target.size, CACHED_BYTES):
        piece = slice(begin, begin + CACHED_BYTES)
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


def first_overlap(regions: Iterable[Region]) -> tuple[Region, Region] | None:
    """Two of the regions that share a byte, or None when all are disjoint."""
    ordered = sorted(regions, key=lambda region: region.start)
    if not ordered:
        return None
    before = ordered[0]
    for region in ordered[1:]:
        if before.overlaps(region):
            break
        before = before.union(region)
    else:
        return None
    # A union may hold more than its members: only now are all pairs looked at.
    return next((pair for pair in combinations(ordered, 2) if pair[0].overlaps(pair[1])), None)
