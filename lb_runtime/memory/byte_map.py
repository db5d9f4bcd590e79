"""Which of two places hold the newest value of each byte of one buffer: a map over byte ranges.

A buffer of the user's program lives on the user's device; the other device of the pair, the mirror, may
hold parts of it too. The map says who must be asked before a byte is read, and who no longer counts
once it was written. It moves nothing and knows no device.

The bytes are cut into as few intervals as can be: `_starts` holds where each begins and, last, the
buffer's size; `_holders` holds who has its bytes, as plain numbers, since operations on flags take a
microsecond each. A buffer that is swept from one end to the other has a few intervals, so that lists and
bisection are faster here than any tree.

A map has no lock: whoever shares one between threads holds a lock of its own.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from enum import IntFlag
from itertools import pairwise


class Place(IntFlag):
    """Where bytes can be."""

    USER = 1
    """The device of the user's queue."""
    MIRROR = 2
    """The other device of the pair."""


_USER = int(Place.USER)
_MIRROR = int(Place.MIRROR)
_PLACES = tuple(Place(number) for number in range(4))


class ByteMap:
    """Who holds the newest value of each byte; at first the user's device alone holds all of them.

    Ranges are `[start, stop)` in bytes of the buffer. An empty range is allowed and does nothing; one
    that is not within the buffer raises `ValueError`.
    """

    __slots__ = ("_away", "_holders", "_starts", "size_bytes")

    def __init__(self, size_bytes: int) -> None:
        if size_bytes < 1:
            raise ValueError(f"a buffer of {size_bytes} bytes given, expected at least 1")
        self.size_bytes = size_bytes
        self._starts = [0, size_bytes]
        self._holders = [_USER]
        self._away = 0

    @property
    def is_home(self) -> bool:
        """Whether the user's device holds every byte. Takes the same time for any map."""
        return not self._away

    @property
    def is_plain(self) -> bool:
        """Whether the user's device alone holds every byte. Takes the same time for any map."""
        return len(self._holders) == 1 and self._holders[0] == _USER

    def lacking(self, place: Place, start: int, stop: int) -> list[tuple[int, int]]:
        """The ranges within `[start, stop)` that `place` does not hold: sorted, as long as can be."""
        wanted = int(place)
        starts, holders = self._starts, self._holders
        first, last = self._within(start, stop)
        found: list[tuple[int, int]] = []
        for index in range(first, last):
            if holders[index] & wanted != wanted:
                begin, end = starts[index], starts[index + 1]
                found.append((begin if begin > start else start, end if end < stop else stop))
        return found

    def wrote(self, place: Place, start: int, stop: int) -> None:
        """`place` changed these bytes: it alone holds them now."""
        first, last = self._within(start, stop)
        if first < last and not (last - first == 1 and self._holders[first] == place):
            self._replace(first, last, start, stop, ((start, int(place)),))

    def copied(self, place: Place, start: int, stop: int) -> None:
        """These bytes came to `place`: it holds them too now."""
        first, last = self._within(start, stop)
        if first < last:
            added = int(place)
            holders = [holder | added for holder in self._holders[first:last]]
            begins = [start, *self._starts[first + 1 : last]]
            self._replace(first, last, start, stop, zip(begins, holders))

    def intervals(self) -> list[tuple[int, int, Place]]:
        """`(start, stop, who holds it)`: sorted, from 0 to the size, neighbours differ."""
        starts = self._starts
        return [
            (starts[index], starts[index + 1], _PLACES[holder])
            for index, holder in enumerate(self._holders)
        ]

    def _within(self, start: int, stop: int) -> tuple[int, int]:
        """The intervals that the range meets, as a slice of `_holders`; an empty slice for an empty range."""
        if not 0 <= start <= stop <= self.size_bytes:
            raise ValueError(
                f"bytes [{start}, {stop}) given, expected a range within the buffer's {self.size_bytes} bytes"
            )
        if start == stop:
            return 0, 0
        starts = self._starts
        first = bisect_right(starts, start) - 1
        return first, bisect_left(starts, stop, first + 1)

    def _replace(
        self, first: int, last: int, start: int, stop: int, pieces: Iterable[tuple[int, int]]
    ) -> None:
        """Put `pieces`, as `(where it begins, holder)`, in place of `[start, stop)`.

        `first` and `last` are the intervals that the range meets: what they have outside of it stays.
        Neighbours of one holder become one interval.
        """
        starts, holders = self._starts, self._holders
        new_starts: list[int] = []
        new_holders: list[int] = []
        before = holders[first - 1] if first else 0
        if starts[first] < start:
            before = holders[first]
            new_starts.append(starts[first])
            new_holders.append(before)
        for begin, holder in pieces:
            if holder != before:
                before = holder
                new_starts.append(begin)
                new_holders.append(holder)
        if stop < starts[last]:
            if holders[last - 1] != before:
                new_starts.append(stop)
                new_holders.append(holders[last - 1])
        elif last < len(holders) and holders[last] == before:
            last += 1
        # An interval of `_MIRROR` alone is what keeps the buffer from being home.
        self._away += new_holders.count(_MIRROR) - holders[first:last].count(_MIRROR)
        starts[first:last] = new_starts
        holders[first:last] = new_holders

    def _check(self) -> None:
        """Raise `AssertionError` unless the intervals cover the buffer, each held, as few as can be."""
        starts, holders = self._starts, self._holders
        broken = [
            claim
            for claim, holds in (
                ("one interval for each holder", len(starts) == len(holders) + 1),
                ("from 0 to the buffer's size", starts[0] == 0 and starts[-1] == self.size_bytes),
                ("sorted", all(one < two for one, two in pairwise(starts))),
                ("each byte held", all(0 < holder < len(_PLACES) for holder in holders)),
                ("neighbours differ", all(one != two for one, two in pairwise(holders))),
                ("counted what is away", self._away == holders.count(_MIRROR)),
            )
            if not holds
        ]
        if broken:
            raise AssertionError(
                f"a byte map of {self.size_bytes} bytes broke: {'; '.join(broken)} "
                f"(starts {starts}, holders {holders}, away {self._away})"
            )
