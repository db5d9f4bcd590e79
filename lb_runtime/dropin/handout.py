"""One launch's work-groups, handed out in chunks to the program's device and to the mirror.

The program's device takes its chunks from the front and the mirror from the end, so that each one's are one
slice: what has been done is told by two numbers, also when something failed on the way.
"""

from __future__ import annotations

from threading import Condition

from lb_runtime.dropin.believed import AWAY, HOME
from lb_runtime.shares.chunks import Chunk, Chunks
from lb_runtime.shares.observation import Choice


class Handout:
    """The work-groups of a launch; `choice` says how fast the devices are believed to be.

    All methods may be called by any thread.
    """

    def __init__(self, groups: int, choice: Choice) -> None:
        self.groups = groups
        self._chunks = Chunks(groups, choice.shares, choice.least)
        self._is_stopped = False
        self._changed = Condition()
        self.home_stop = 0
        """The program's device has done the groups before this one."""
        self.away_start = groups
        """The mirror has done the groups from this one on."""

    def next(self, device: int, limit_seconds: float | None = None) -> Chunk | None:
        """The next chunk for a device that is idle; None where none is left.

        A device for which there is none since others should be done sooner waits for what they come to; None
        also where nothing happens for `limit_seconds`.
        """
        with self._changed:
            while not self._is_stopped:
                chunk = self._chunks.next(device)
                if not self._chunks.left:
                    self._changed.notify_all()
                if chunk is not None or not self._chunks.left:
                    return chunk
                if not self._changed.wait(limit_seconds):
                    break
            return None

    def leave(self, device: int) -> None:
        """The device takes no more chunks, for whatever reason."""
        with self._changed:
            self._chunks.rest(device)
            self._changed.notify_all()

    def done(self, chunk: Chunk, seconds: float) -> None:
        """A chunk took so long."""
        with self._changed:
            self._changed.notify_all()
            if self._is_stopped:
                # It comes too late: somebody else does it.
                return
            self._chunks.done(chunk, seconds)
            if chunk.device == HOME:
                self.home_stop = chunk.stop
            else:
                self.away_start = chunk.start

    def stop(self, *, away_failed: bool) -> None:
        """Hand out no more; what the mirror did counts for nothing where it failed."""
        with self._changed:
            self._changed.notify_all()
            self._is_stopped = True
            if away_failed:
                self.away_start = self.groups

    @property
    def devices(self) -> tuple[int, ...]:
        """Who has done something."""
        with self._changed:
            done = {HOME: self.home_stop > 0, AWAY: self.away_start < self.groups}
        return tuple(device for device, has in done.items() if has)
