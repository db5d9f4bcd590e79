"""Sets of bytes of a buffer: runs of bytes at a constant pitch, as rows of a matrix or columns of a table.

A contiguous range is one run. What a slice touches of a row-major matrix that is cut along its columns is
one `Rows`: as many runs as the matrix has rows, a row apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field
from functools import reduce
from itertools import pairwise
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from lb_runtime.records import dataclass

MAX_ROWS = 64
"""A region of more `Rows` than these is taken for its hull: each costs a command."""
MAX_RUNS = 1 << 16
"""Regions of more runs than these are compared by their hulls."""

Runs = tuple[npt.NDArray[Any], npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
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

    `Region.of` makes one from rows that may overlap, `Region.range` from a single range. `start` is the
    first byte and `stop` the one after the last, both 0 for no bytes; `size_bytes` counts the bytes.
    """

    rows: tuple[Rows, ...] = ()
    start: int = field(init=False, repr=False, compare=False)
    stop: int = field(init=False, repr=False, compare=False)
    size_bytes: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Asked for often: kept.
        object.__setattr__(self, "start", self.rows[0].start if self.rows else 0)
        object.__setattr__(self, "stop", max((rows.stop for rows in self.rows), default=0))
        object.__setattr__(self, "size_bytes", sum(rows.size_bytes for rows in self.rows))
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
        found = list(rows)
        if len(found) == 1:
            return cls((_plain(found[0]),))
        union = _union(found)
        if union is None:
            return cls.range(min(r.start for r in found), max(r.stop for r in found))
        return cls(tuple(union))

    @classmethod
    def exactly(cls, rows: Iterable[Rows]) -> Region:
        """Bytes of the rows and no others; where they do not fit together well, only some of them."""
        found = list(rows)
        union = _union(found)
        return cls(tuple(union) if union else (max(found, key=lambda each: each.size_bytes),))

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

    def shared_bytes(self, other: Region, most: int) -> list[int]:
        """Some bytes that both regions hold, at the two ends of what they share and between; few or none."""
        rows = (*self.rows, *other.rows)
        if not self.overlaps(other) or sum(each.count for each in rows) > MAX_RUNS:
            return []
        starts, stops = _runs(self.rows)
        others, other_stops = _runs(other.rows)
        order = np.argsort(others)
        others, other_stops = others[order], other_stops[order]
        # The first run of the other that ends behind each of our starts.
        index = np.searchsorted(other_stops, starts, side="right")
        index = np.minimum(index, others.size - 1)
        first = np.maximum(starts, others[index])
        found = np.unique(first[first < np.minimum(stops, other_stops[index])])
        chosen = np.linspace(0, found.size - 1, min(most, found.size)).astype(int)
        return [int(byte) for byte in found[chosen]]

    def holds(self, other: Region) -> bool:
        """Whether all bytes of another region are in this one."""
        if self.rows == other.rows or not other.rows:
            return True
        if other.size_bytes > self.size_bytes:
            return False
        return (
            sum(_shared(mine, theirs) for mine in self.rows for theirs in other.rows)
            == other.size_bytes
        )

    def mask(self, size_bytes: int) -> npt.NDArray[np.bool_]:
        """Which bytes of a buffer are in the region; shape: (size_bytes,)."""
        mask = np.zeros(size_bytes, bool)
        for rows in self.rows:
            rows.of(mask)[:] = True
        return mask


_start = attrgetter("start")


def _plain(rows: Rows) -> Rows:
    """The same bytes with runs that touch or overlap made one."""
    if rows.count > 1 and rows.pitch <= rows.run:
        return Rows(rows.start, rows.stop - rows.start)
    return rows if rows.count > 1 else Rows(rows.start, rows.run)


def _union(rows: Iterable[Rows]) -> list[Rows] | None:
    """The same bytes as few rows, none of which overlap; None where too many would be needed."""
    result: list[Rows] = []
    for each in sorted({_plain(each) for each in rows}, key=_start):
        joined = _join(result[-1], each) if result else None
        if joined is None:
            result.append(each)
        else:
            result[-1] = joined
    if len(result) <= MAX_ROWS and _are_disjoint(result):
        return result
    if sum(each.count for each in result) > MAX_RUNS:
        return None
    return _gathered(*_runs(result))


def _join(one: Rows, other: Rows) -> Rows | None:
    """Both as one, where that adds no bytes; None otherwise. `one` starts first."""
    if one.count == 1 and other.stop <= one.stop:
        return one
    if one.count != other.count or one.pitch != other.pitch or other.start > one.start + one.run:
        return None
    run = max(one.run, other.start + other.run - one.start)
    return _plain(Rows(one.start, run, one.pitch, one.count))


def _gathered(starts: npt.NDArray[Any], stops: npt.NDArray[Any]) -> list[Rows] | None:
    """Runs that may overlap as rows; None where they are too many. Shape of each: (runs,)."""
    order = np.argsort(starts, kind="stable")
    starts, reached = starts[order], np.maximum.accumulate(stops[order])
    is_first = np.concatenate(([True], starts[1:] > reached[:-1]))
    starts = starts[is_first]
    stops = np.concatenate((reached[:-1][is_first[1:]], reached[-1:]))
    lengths, gaps = stops - starts, np.diff(starts)
    # A row goes on behind a run while the next one is as long, and as far away as this one was.
    is_longer = lengths[1:] != lengths[:-1]
    is_last = np.concatenate((is_longer | (np.diff(gaps, prepend=-1) != 0), [True]))
    ends = np.flatnonzero(is_last)
    result: list[Rows] = []
    at = 0
    while at < starts.size:
        if len(result) == MAX_ROWS:
            return None
        is_alone = at + 1 == starts.size or is_longer[at]
        last = at if is_alone else int(ends[np.searchsorted(ends, at, "right")])
        pitch = int(gaps[at]) if last > at else 0
        result.append(Rows(int(starts[at]), int(lengths[at]), pitch, last - at + 1))
        at = last + 1
    return result


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
    ordered = sorted(rows, key=_start)
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
