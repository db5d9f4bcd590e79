"""One launch's work-groups, handed out in chunks to the program's device and to the mirror.

One device takes its chunks from the front and the other from the end, so that each one's are one slice: what
has been done is told by two numbers, also when something failed on the way.
"""

from __future__ import annotations

from threading import Condition
from time import perf_counter

from lb_runtime.shares.chunks import NOTHING, Chunk, Chunks, Prepared
from lb_runtime.shares.observation import Choice

HOME, AWAY = 0, 1
"""The places of the program's own device and of the mirror in shares."""

Groups = tuple[int, int]
"""The work-groups from the first number up to the second."""


class Handout:
    """The work-groups of a launch; `choice` says how fast the devices are believed to be.

    The program's device begins at the front where `is_home_first`. `prepared` places, where both had better
    meet, are numbers of work-groups of that device. All methods may be called by any thread.
    """

    def __init__(
        self,
        groups: int,
        choice: Choice,
        *,
        is_home_first: bool = True,
        prepared: Prepared = NOTHING,
    ) -> None:
        self.groups = groups
        self.is_home_first = is_home_first
        self._order = (HOME, AWAY) if is_home_first else (AWAY, HOME)
        least = tuple(choice.least[device] for device in self._order) if choice.least else ()
        self._chunks = Chunks(groups, tuple(choice.shares[device] for device in self._order), least)
        places = prepared.places if is_home_first else [groups - each for each in prepared.places]
        self._prepared = Prepared(tuple(places), prepared.seconds)
        self._begun = [0.0, 0.0]
        self._is_stopped = False
        self._changed = Condition()
        self._front, self._back = 0, groups
        """Who begins at the front has done the groups before the one, the other those from the other on."""

    def next(self, device: int, limit_seconds: float | None = None) -> Chunk | None:
        """The next chunk for a device that is idle; None where none is left.

        A device for which there is none since others should be done sooner waits for what they come to; None
        also where nothing happens for `limit_seconds`.
        """
        position = self._order.index(device)
        with self._changed:
            while not self._is_stopped:
                now = perf_counter()
                self._chunks.agree([now - each for each in self._begun], self._prepared)
                chunk = self._chunks.next(position)
                if self._chunks.is_cut_known:
                    self._changed.notify_all()
                if chunk is not None:
                    self._begun[position] = now
                if chunk is not None or self._chunks.is_done(position):
                    return chunk
                if not self._changed.wait(limit_seconds):
                    break
            return None

    def leave(self, device: int) -> None:
        """The device takes no more chunks, for whatever reason."""
        with self._changed:
            self._chunks.rest(self._order.index(device))
            self._changed.notify_all()

    def done(self, chunk: Chunk, seconds: float) -> None:
        """A chunk took so long."""
        with self._changed:
            self._changed.notify_all()
            if self._is_stopped:
                # It comes too late: somebody else does it.
                return
            self._chunks.done(chunk, seconds)
            if chunk.device == 0:
                self._front = chunk.stop
            else:
                self._back = chunk.start

    def stop(self, *, away_failed: bool) -> None:
        """Hand out no more; what the mirror did counts for nothing where it failed."""
        with self._changed:
            self._changed.notify_all()
            self._is_stopped = True
            if away_failed and self.is_home_first:
                self._back = self.groups
            elif away_failed:
                self._front = 0

    @property
    def expected(self) -> tuple[Groups, Groups] | None:
        """What the program's device and the mirror will have done if both go on; None while that is open."""
        with self._changed:
            if self._chunks.left or self._is_stopped:
                return None
            front, back = (0, self._chunks.cut), (self._chunks.cut, self.groups)
            return (front, back) if self.is_home_first else (back, front)

    @property
    def missing(self) -> Groups:
        """What nobody has done."""
        with self._changed:
            return self._front, self._back

    @property
    def away(self) -> Groups:
        """What the mirror has done."""
        with self._changed:
            return (self._back, self.groups) if self.is_home_first else (0, self._front)

    @property
    def home(self) -> Groups:
        """What the program's device has done."""
        with self._changed:
            return (0, self._front) if self.is_home_first else (self._back, self.groups)

    def went_on(self) -> None:
        """The program's device has done what was missing."""
        with self._changed:
            if self.is_home_first:
                self._front = self._back
            else:
                self._back = self._front
