"""Sets of bytes of a buffer: runs of bytes at a constant pitch, as rows of a matrix or columns of a table.

A contiguous range is one run. What a slice touches of a row-major matrix that is cut along its columns is
one `Rows`: as many runs as the matrix has rows, a row apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_ROWS = 64
"""A region of more `Rows` than these is taken for its hull: each costs a command."""
MAX_RUNS = 1 << 16
"""Regions of more runs than these are compared by their hulls."""

Runs = tuple[npt.NDArray[Any], npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, order=True)
class Rows:
    """`count` runs of `run` bytes: the first at byte `start`, each `pitch` bytes after the one before.

    `pitch` is 0 for a single run, and greater than `run` for several.
    """

    start: int
    run: int
    pitch: int = 0
    count: int = 1

    @property
    def stop(self) -> int:
        """The byte after the last run."""
        return self.start + self.pitch * (self.count - 1) + self.run

    @property
    def size_bytes(self) -> int:
        """How many bytes the runs hold."""
        return self.run * self.count

    def of(self, content: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The runs of a buffer's bytes, as a view; shape: (count, run).

        Raises ValueError for a buffer that ends before the runs do.
        """
        if self.stop > content.size:
            raise ValueError(f"{self} given of {content.size} bytes")
        if self.count == 1:
            return content[None, self.start : self.stop]
        return np.lib.stride_tricks.as_strided(
            content[self.start :], (self.count, self.run), (self.pitch, 1)
        )


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes of a buffer: `rows`, sorted by their starts, no two of which share a byte.

    `Region.of` makes one from rows that may overlap, `Region.range` from a single range.
    """

    rows: tuple[Rows, ...] = ()

    def __post_init__(self) -> None:
        for rows in self.rows:
            if rows.start < 0 or rows.run < 1 or rows.count < 1:
                raise ValueError(f"{rows} given, expected a start from 0 on and at least one byte")
            if rows.count > 1 and rows.pitch <= rows.run:
                raise ValueError(f"{rows} given, expected runs that are a gap apart")

    @classmethod
    def range(cls, start: int, stop: int) -> Region:
        """The bytes `[start, stop)`; no bytes where both are equal."""
        if not 0 <= start <= stop:
            raise ValueError(f"bytes [{start}, {stop}) given, expected 0 <= start <= stop")
        return cls((Rows(start, stop - start),)) if stop > start else cls()

    @classmethod
    def of(cls, rows: Iterable[Rows]) -> Region:
        """All bytes of the rows; where they do not fit together well, some between them too."""
        found = _joined(sorted({_plain(each) for each in rows}))
        if len(found) > MAX_ROWS or not _are_disjoint(found):
            return cls.range(min(r.start for r in found), max(r.stop for r in found))
        return cls(tuple(found))

    @property
    def start(self) -> int:
        """The first byte; 0 for no bytes."""
        return self.rows[0].start if self.rows else 0

    @property
    def stop(self) -> int:
        """The byte after the last one; 0 for no bytes."""
        return max((rows.stop for rows in self.rows), default=0)

    @property
    def size_bytes(self) -> int:
        """How many bytes the region holds."""
        return sum(rows.size_bytes for rows in self.rows)

    @property
    def is_range(self) -> bool:
        """Whether the bytes are contiguous (or none)."""
        return self.size_bytes == self.stop - self.start

    @property
    def hull(self) -> Region:
        """The smallest range that holds the region."""
        return Region.range(self.start, self.stop)

    def union(self, other: Region) -> Region:
        """The bytes of both; where they do not fit together well, some between them too."""
        if not self.rows or not other.rows:
            return self if self.rows else other
        return Region.of((*self.rows, *other.rows))

    def overlaps(self, other: Region) -> bool:
        """Whether the regions share a byte; True where they are too large to tell."""
        if not self.rows or not other.rows:
            return False
        if self.stop <= other.start or other.stop <= self.start:
            return False
        if self.is_range and other.is_range:
            return True
        return not _are_disjoint((*self.rows, *other.rows))

    def holds(self, other: Region) -> bool:
        """Whether all bytes of another region are in this one."""
        return not other.rows or (
            sum(_shared(mine, theirs) for mine in self.rows for theirs in other.rows)
            == other.size_bytes
        )

    def mask(self, size_bytes: int) -> npt.NDArray[np.bool_]:
        """Which bytes of a buffer are in the region; shape: (size_bytes,)."""
        mask = np.zeros(size_bytes, bool)
        for rows in self.rows:
            rows.of(mask)[:] = True
        return mask


def _plain(rows: Rows) -> Rows:
    """The same bytes with runs that touch or overlap made one."""
    if rows.count > 1 and rows.pitch <= rows.run:
        return Rows(rows.start, rows.stop - rows.start)
    return rows if rows.count > 1 else Rows(rows.start, rows.run)


def _joined(rows: Sequence[Rows]) -> list[Rows]:
    """Rows, sorted, with neighbours that lie in one another or touch joined."""
    result: list[Rows] = []
    for each in rows:
        for number in range(len(result) - 1, max(-1, len(result) - 5), -1):
            joined = _join(result[number], each)
            if joined is not None:
                result[number] = joined
                break
        else:
            result.append(each)
    if len(result) < len(rows):
        return _joined(sorted(result))
    return result


def _join(one: Rows, other: Rows) -> Rows | None:
    """Both as one, where that adds no bytes or only those between overlapping runs; None otherwise."""
    if one.count == other.count == 1:
        if max(one.start, other.start) <= min(one.stop, other.stop):
            start = min(one.start, other.start)
            return Rows(start, max(one.stop, other.stop) - start)
        return None
    for whole, part in ((one, other), (other, one)):
        if whole.count == 1 and whole.start <= part.start and part.stop <= whole.stop:
            return whole
    if one.count == 1 or other.count == 1:
        return None
    if one.pitch != other.pitch:
        return None
    # The same columns: `shift` columns further, after `rows` whole rows.
    rows, shift = divmod(other.start - one.start, one.pitch)
    if shift > one.pitch // 2:
        rows, shift = rows + 1, shift - one.pitch
    if shift > one.run or -shift > other.run:
        return None
    column = min(0, shift)
    run = max(one.run, shift + other.run) - column
    first, last = min(0, rows), max(one.count, rows + other.count)
    if rows > one.count or -rows > other.count:
        return None
    return _plain(Rows(one.start + column + first * one.pitch, run, one.pitch, last - first))


def _runs(rows: Iterable[Rows]) -> Runs:
    """Starts and stops of all runs; shape of each: (runs,)."""
    found = tuple(rows)
    starts = np.concatenate(
        [each.start + each.pitch * np.arange(each.count, dtype=np.int64) for each in found]
    )
    lengths = np.repeat([each.run for each in found], [each.count for each in found])
    return starts, starts + lengths


def _are_disjoint(rows: Sequence[Rows]) -> bool:
    """Whether no two of the rows share a byte; False where there are too many to tell."""
    ordered = sorted(rows)
    if all(one.stop <= other.start for one, other in pairwise(ordered)):
        return True
    if reduce(lambda total, each: total + each.count, ordered, 0) > MAX_RUNS:
        return False
    starts, stops = _runs(ordered)
    order = np.argsort(starts, kind="stable")
    return bool(np.all(stops[order][:-1] <= starts[order][1:]))


def _shared(one: Rows, other: Rows) -> int:
    """How many bytes two rows share."""
    start, stop = max(one.start, other.start), min(one.stop, other.stop)
    if start >= stop:
        return 0
    if one.count == other.count == 1:
        return stop - start
    if one.count == 1 and one.start <= other.start and other.stop <= one.stop:
        return other.size_bytes
    if other.count == 1 and other.start <= one.start and one.stop <= other.stop:
        return one.size_bytes
    if one.count + other.count > MAX_RUNS:
        return 0
    # Runs of one are sorted and disjoint: count their bytes below each edge of the other's.
    starts, stops = _runs((one,))
    before = np.concatenate(([0], np.cumsum(stops - starts)))

    def below(edges: npt.NDArray[Any]) -> npt.NDArray[Any]:
        index = np.searchsorted(starts, edges, side="right") - 1
        inside = np.minimum(edges - starts[index], stops[index] - starts[index])
        return np.where(index < 0, 0, before[index] + inside)

    first, last = _runs((other,))
    return int(np.sum(below(last) - below(first)))
