"""Handing out one launch's work-groups in chunks, for kernels whose work-items differ in their work.

Chunks are large at first and small at the end: a device is given a part of what is left that is
proportional to its speed, so that few chunks do and the last ones even out (the schedule HGuided of
Nozal, Bosque and Beivide, "EngineCL: Usability and Performance in Heterogeneous Computing", Future
Generation Computer Systems 2020). Unlike there, speeds follow from the chunks that have ended, and the
last device takes its chunks from the end of the range: with two devices each one's chunks are one slice,
and one merge does. Where these two meet can be fixed before the end, so that what follows from it is
worked out while both compute.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lb_runtime.errors import LaunchError
from lb_runtime.shares.observation import checked_shares

DIVISOR = 2.0
"""HGuided's k: a device is given this part of its share, over the number of devices, of what is left."""
FEWEST_CHUNKS = 64
"""A chunk holds at least this part of the range, times the device's share."""
GROWTH = 1.5
"""A chunk has at most so many times the groups of the one before: that may have held next to no work."""
LATEST_PART = 0.5
"""How much the last chunk's speed counts beside those before."""
LAST_PART = 0.05
"""Where two devices meet is fixed once no more than this part of the range is left."""
MEETING_LOSS = 0.005, 0.03
"""A place that is prepared may make the launch longer by the first part at least, at most by the second."""
PREPARING_LOSS = 0.25
"""And in between by this part of what preparing another one takes: it serves later launches, too."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The work-groups from `start` up to `stop`, for one device."""

    device: int
    start: int
    stop: int

    @property
    def groups(self) -> int:
        """How many there are."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Prepared:
    """Places where two devices can meet without further ado, and the seconds that preparing another takes."""

    places: Collection[int] = ()
    seconds: float = 0.0


NOTHING = Prepared()


class Chunks:
    """The work-groups of one launch, to be handed out.

    Args:
        groups: how many there are along the dimension that is cut.
        shares: the devices' speeds in proportion, summing to 1.
        least: the part of the range that each device's chunks have at least, but for the last one.

    Raises:
        LaunchError: there is nothing to hand out, or the shares are none.
    """

    def __init__(self, groups: int, shares: Sequence[float], least: Sequence[float] = ()) -> None:
        if groups < 1:
            raise LaunchError(f"{groups} work-groups given, expected one or more")
        if least and len(least) != len(shares):
            raise LaunchError(f"{len(least)} smallest chunks given for {len(shares)} devices")
        self._speeds = list(checked_shares(tuple(shares)))
        self._measured: list[float | None] = [None] * len(self._speeds)
        self._least = [int(groups * each) for each in least or [0.0] * len(self._speeds)]
        self._running = [0] * len(self._speeds)
        self._largest = [groups] * len(self._speeds)
        self._resting: set[int] = set()
        self._groups = groups
        self._start, self._stop = 0, groups
        self._meeting: int | None = None

    @property
    def left(self) -> int:
        """How many work-groups nobody was given."""
        return self._stop - self._start

    @property
    def cut(self) -> int:
        """Where chunks from the front end; with two devices, the one cut once that is known."""
        return self._start if self._meeting is None else self._meeting

    @property
    def is_cut_known(self) -> bool:
        """Whether `cut` is where two devices will have met."""
        return self._meeting is not None or not self.left

    def is_done(self, device: int) -> bool:
        """Whether a device will be given no more, however the others fare."""
        return not self.left or (self._meeting is not None and not self._to_meeting(device))

    def agree(self, running_seconds: Sequence[float], prepared: Prepared = NOTHING) -> None:
        """Fix where two devices meet so as to end together, if it is time: each is given all up to there.

        That is the nearest of the prepared places if it makes the launch hardly longer.
        `running_seconds[i]` is for how long device i's chunk has been under way, if there is one. While a
        device rests nothing is fixed: it may be gone.
        """
        speeds = [each for each in self._measured if each is not None]
        if len(self._speeds) != 2 or len(speeds) != 2 or self.is_cut_known or self._resting:
            return
        if self.left > LAST_PART * self._groups:
            return
        front, back = (
            max(0.0, running / speed - seconds)
            for running, speed, seconds in zip(self._running, speeds, running_seconds)
        )
        expected = self._start + self._part_of_front(speeds, front, back)
        least, most = MEETING_LOSS
        loss = PREPARING_LOSS * prepared.seconds * sum(speeds) / self._groups
        reach = min(most, max(least, loss)) * self._groups * min(speeds) / sum(speeds)
        near = [
            place
            for place in prepared.places
            if abs(place - expected) <= reach and self._start <= place <= self._stop
        ]
        self._meeting = min(near, key=lambda place: abs(place - expected), default=expected)

    def _part_of_front(self, speeds: Sequence[float], front: float, back: float) -> int:
        """The groups of what is left for the front, where both have so many seconds to end their chunks.

        One is given all of it if the other would get less than a chunk should have.
        """

        def end(groups: float) -> float:
            return max(front + groups / speeds[0], back + (self.left - groups) / speeds[1])

        even = (self.left / speeds[1] + back - front) * speeds[0] * speeds[1] / sum(speeds)
        near = math.floor(min(max(even, 0.0), self.left))
        both = [
            groups
            for groups in (near, near + 1)
            if groups >= self._least[0] and self.left - groups >= self._least[1]
        ]
        return min((0, self.left, *both), key=end)

    def next(self, device: int) -> Chunk | None:
        """The next chunk for a device that is idle; None where others will be done sooner without it."""
        if not self.left or self._speeds[device] <= 0.0:
            return None
        if self._meeting is not None:
            size = self._to_meeting(device)
            return self._given(device, size) if size else None
        size = min(self._size(device), self._largest[device])
        if self._comes_too_late(device, size):
            self._resting.add(device)
            return None
        return self._given(device, size)

    def _to_meeting(self, device: int) -> int:
        """The groups that a device has before it, up to where it meets the other one."""
        meeting = self.cut
        return meeting - self._start if device == 0 else self._stop - meeting

    def _given(self, device: int, size: int) -> Chunk:
        self._resting.discard(device)
        self._running[device] = size
        self._largest[device] = max(int(GROWTH * size), 1)
        if device == len(self._speeds) - 1 and device > 0:
            self._stop -= size
            return Chunk(device, self._stop, self._stop + size)
        self._start += size
        return Chunk(device, self._start - size, self._start)

    def rest(self, device: int) -> None:
        """A device asks for no more chunks until it does: whoever is left takes the rest."""
        self._resting.add(device)

    def done(self, chunk: Chunk, seconds: float) -> None:
        """A chunk took so long: the speeds follow, once each device has shown one."""
        self._running[chunk.device] = 0
        speed = chunk.groups / max(seconds, 1e-9)
        before = self._measured[chunk.device]
        self._measured[chunk.device] = (
            speed if before is None else before + LATEST_PART * (speed - before)
        )
        known = [
            (measured, said)
            for measured, said in zip(self._measured, self._speeds)
            if measured is not None and said > 0.0
        ]
        if len(known) == sum(said > 0.0 for said in self._speeds):
            total = sum(measured for measured, _ in known)
            self._speeds = [(measured or 0.0) / total for measured in self._measured]

    def _size(self, device: int) -> int:
        """How many groups: the device's part of what is left, over k and the number of devices."""
        taking = sum(speed > 0.0 for speed in self._speeds)
        wanted = int(self.left * self._speeds[device] / (DIVISOR * taking))
        least = int(self._groups * self._speeds[device] / FEWEST_CHUNKS)
        return min(self.left, max(wanted, least, self._least[device], 1))

    def _comes_too_late(self, device: int, size: int) -> bool:
        """Whether the fastest other device would end all that is left before this one ends its chunk.

        A device that rests may be gone for good; whoever is alone takes what is left.
        """
        others = [
            other
            for other, speed in enumerate(self._speeds)
            if speed > 0.0 and other != device and other not in self._resting
        ]
        if not others:
            return False
        fastest = max(others, key=lambda each: self._speeds[each])
        rest = self.left + self._running[fastest]
        return size / self._speeds[device] > rest / self._speeds[fastest]
