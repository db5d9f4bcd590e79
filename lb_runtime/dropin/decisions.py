"""What becomes of the launches of one kernel with one range and one set of argument sizes.

At first they pass, while the kernel is looked at. Then the user's device is timed alone, a few times; a
launch too short to gain passes for good. Others are split where the model says, and the cut follows the
times that both devices take. A split that turns out no faster passes for a while and is tried again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from statistics import median
from threading import Lock
from typing import TYPE_CHECKING

from lb_runtime.dropin.ready import Ready
from lb_runtime.memory.byte_map import Place

if TYPE_CHECKING:
    from lb_runtime.dropin.scout import Entry, Question

ALONE_FIRST = 2
"""So many launches are timed on the user's device before the first split."""
ALONE_AGAIN = 1024
"""After so many splits the user's device is timed again."""
JUDGED_BY = 9
"""So many splits tell whether splitting gains."""
GAIN = 0.97
"""A split must take less than this part of the time that the user's device takes alone."""
FIRST_REST = 32
"""For so many launches a split that did not gain is not tried again; twice as many each time."""
LONGEST_REST = 4096
SETTLED = 0.03
"""A cut that is off by less than this part of the range stays."""
RATES_KEPT = 7
"""A device's rate is the median of its last so many launches: one that was disturbed moves no cut."""
PATIENCE = 2
"""The n-th move of a cut waits for n times as many launches since the one before."""


class Decision:
    """The state of such launches. `code` is why they pass, empty where they do not."""

    def __init__(self, entry: Entry, question: Question) -> None:
        self.entry = entry
        self.question = question
        self.code = "first-launches"
        self.detail = ""
        self.ready: Ready | None = None
        self.is_fixed = False
        self._alone_seconds: deque[float] = deque(maxlen=9)
        self._split_seconds: deque[float] = deque(maxlen=JUDGED_BY)
        self._rates: dict[Place, deque[float]] = {}
        self._pass_next = 0
        self._rest = FIRST_REST
        self._splits = 0
        self._moves = 0
        self._since_move = 0
        self._is_moving = False
        self._lock = Lock()

    def choose(self) -> Ready | str:
        """What to do with the next launch: how to run it, or why it passes."""
        if self.code:
            return self.code
        if self.is_fixed:
            return self.ready or "first-launches"
        with self._lock:
            if len(self._alone_seconds) < ALONE_FIRST:
                return "timing"
            if self._pass_next:
                self._pass_next -= 1
                return "no-gain"
            self._splits += 1
            if self._splits % ALONE_AGAIN == 0:
                return "timing"
        return self.ready or "first-launches"

    @property
    def rests(self) -> bool:
        """Whether the next launch passes because splits did not gain; counts it as passed if so."""
        with self._lock:
            if not self._pass_next or self.code or self.is_fixed:
                return False
            self._pass_next -= 1
            return True

    def passes(self, code: str, detail: str) -> None:
        """Let all launches from now on pass."""
        self.detail = detail
        self.code = code
        self.entry.story.declined(code, detail)

    def ran_alone(self, seconds: float) -> None:
        """Learn from a whole launch whose kernel took so long on the user's device."""
        self.entry.story.alone(seconds, self.question.size)
        with self._lock:
            self._alone_seconds.append(seconds)
            is_short = (
                len(self._alone_seconds) >= ALONE_FIRST
                and median(self._alone_seconds) < self.entry.world.settings.min_seconds
            )
        if is_short and not self.is_fixed and not self.code:
            self.passes("too-small", f"{median(self._alone_seconds) * 1e3:.3g} ms alone")

    def ran(
        self,
        ready: Ready,
        total_seconds: float,
        seconds: Mapping[Place, float],
        to_mirror_bytes: int,
        home_bytes: int,
    ) -> None:
        """Learn from a split launch that has ended."""
        world = self.entry.world
        self.entry.story.split(
            cpu_share=ready.cpu_share,
            total_seconds=total_seconds,
            device_seconds={world.row(place): value for place, value in seconds.items()},
            bytes_to_mirror=to_mirror_bytes,
            bytes_home=home_bytes,
            size=self.question.size,
        )
        if not self.is_fixed:
            self._follow(ready, total_seconds, seconds)

    def moved(self, ready: Ready | None) -> None:
        """A new cut is there; None where it could not be made."""
        with self._lock:
            self._is_moving = False
            if ready is not None:
                self.ready = ready
                self._split_seconds.clear()

    def _follow(self, ready: Ready, total_seconds: float, seconds: Mapping[Place, float]) -> None:
        if ready is not self.ready:
            return
        with self._lock:
            self._split_seconds.append(total_seconds)
            for work in ready.works:
                rate = work.items / max(seconds.get(work.place, 0.0), 1e-7)
                self._rates.setdefault(work.place, deque(maxlen=RATES_KEPT)).append(rate)
            self._since_move += 1
            wanted = self._wanted_user_share(ready)
            if wanted is None:
                self._rest_if_no_gain()
                return
            self._is_moving = True
            self._moves += 1
            self._since_move = 0
        self.entry.move_cut(self, wanted)

    def _wanted_user_share(self, ready: Ready) -> float | None:
        """Where the cut should be; None where it stays."""
        if self._is_moving or len(ready.works) < 2 or len(self._rates) < 2:
            return None
        if self._since_move < PATIENCE * self._moves:
            return None
        mine, theirs = (median(self._rates[place]) for place in (Place.USER, Place.MIRROR))
        wanted = mine / (mine + theirs)
        items = {work.place: work.items for work in ready.works}
        now = items[Place.USER] / sum(items.values())
        return wanted if abs(wanted - now) > SETTLED else None

    def _rest_if_no_gain(self) -> None:
        if len(self._split_seconds) < JUDGED_BY or self._is_moving:
            return
        if median(self._split_seconds) > GAIN * median(self._alone_seconds):
            self._pass_next = self._rest
            self._rest = min(LONGEST_REST, 2 * self._rest)
            self._split_seconds.clear()
            self._rates.clear()
            self._moves = self._since_move = 0
            self.entry.story.declined(
                "no-gain", f"a split was no faster; tried again after {self._pass_next} launches"
            )
