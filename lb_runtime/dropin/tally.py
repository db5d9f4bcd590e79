"""Counts and times of launches since they were last noted in the history."""

from __future__ import annotations

from collections import deque
from time import time
from typing import TYPE_CHECKING

from lb_runtime.history.known import TIMES_KEPT, Code, Key, Known

if TYPE_CHECKING:
    from lb_runtime.dropin.recall import Recall


class Tally:
    """Launches alone and split that are not noted yet."""

    def __init__(self) -> None:
        self.alone_launches = 0
        self.split_launches = 0
        self._alone_seconds: deque[float] = deque(maxlen=TIMES_KEPT)
        self._split_seconds: deque[float] = deque(maxlen=TIMES_KEPT)
        self._to_mirror_bytes = self._home_bytes = 0

    def alone(self, seconds: float) -> None:
        """A whole launch on the program's own device took so long."""
        self.alone_launches += 1
        self._alone_seconds.append(seconds)

    def split(self, seconds: float, to_mirror_bytes: int, home_bytes: int) -> None:
        """A launch in which the other device had a part took so long, and moved so many bytes."""
        self.split_launches += 1
        self._split_seconds.append(seconds)
        self._to_mirror_bytes, self._home_bytes = to_mirror_bytes, home_bytes

    def moved(self) -> None:
        """The cut is another one: times of the one before tell nothing of it."""
        self._split_seconds.clear()

    def take(self, recall: Recall, key: Key, code: Code, cpu_share: float | None) -> Known:
        """All of it, as it is noted; the tally begins anew."""
        known = Known(
            key,
            recall.name,
            code,
            cpu_share,
            tuple(self._alone_seconds),
            tuple(self._split_seconds),
            self.alone_launches,
            self.split_launches,
            self._to_mirror_bytes,
            self._home_bytes,
            time(),
        )
        self.alone_launches = self.split_launches = 0
        self._alone_seconds.clear()
        self._split_seconds.clear()
        return known
