"""What becomes of the launches of one kernel with one range and one set of argument sizes.

At first they pass, while the kernel is looked at. Then the user's device is timed alone, a few times; a
launch too short to gain passes for good. Others are split where the model says, and the cut follows the
times that both devices take. A split that turns out no faster passes for a while and is tried again. What an
earlier process found out stands in for the first times and the model; it is corrected as ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from statistics import median
from threading import Lock
from time import time
from typing import TYPE_CHECKING

from lb_runtime.dropin.ready import Ready
from lb_runtime.history.known import TIMES_KEPT, Code, Known
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

RECALLED_TIMES = 3
"""So few times alone of an earlier process are taken over that new ones soon outnumber them."""
CHECKED_AFTER = 32
"""After so many splits at a share of an earlier process the user's device is timed again."""
RECALLED_MOVES = 2
"""A share that an earlier process found waits for as many launches as after so many moves."""
NOTED_AFTER = 64
"""After so many launches more a share that has settled is noted again."""


class Decision:
    """The state of such launches. `code` is why they pass, empty where they do not.

    `known` is what an earlier process found out about them.
    """

    def __init__(self, entry: Entry, question: Question, known: Known | None = None) -> None:
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
        self.recalled_share: float | None = None
        """The CPU's share that an earlier process came to; None where it is to be predicted."""
        self._skipped, self._varying = entry.skipped, entry.varying
        """What such launches may differ in, also where later ones may differ in more."""
        self._found: Code | None = None
        self._counted = [0, 0]
        """Launches alone and split that are not noted yet; and the last times of these."""
        self._new_alone: deque[float] = deque(maxlen=TIMES_KEPT)
        self._new_split: deque[float] = deque(maxlen=TIMES_KEPT)
        self._moved_bytes = 0, 0
        if known is not None:
            self._recall(known)

    def _recall(self, known: Known) -> None:
        """Begin where an earlier process has ended."""
        self.recalled_share = known.cpu_share
        self._alone_seconds.extend(known.alone_seconds[-RECALLED_TIMES:])
        if self._is_short:
            self._found = "too-small"
            self.passes("too-small", f"{self._alone_text} alone, in an earlier process")
        elif known.code != "too-small":
            self._found = known.code
            self._moves = RECALLED_MOVES
            self._splits = ALONE_AGAIN - CHECKED_AFTER
            if known.code == "no-gain":
                self._pass_next = FIRST_REST
                self._rest = 2 * FIRST_REST

    @property
    def _is_short(self) -> bool:
        """Whether the launches take too little time to be split, as far as is known."""
        return (
            len(self._alone_seconds) >= ALONE_FIRST
            and median(self._alone_seconds) < self.entry.world.settings.min_seconds
        )

    @property
    def _alone_text(self) -> str:
        return f"{median(self._alone_seconds) * 1e3:.3g} ms"

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
            self._counted[0] += 1
            self._new_alone.append(seconds)
            is_short = self._is_short
        if is_short and not self.is_fixed and not self.code:
            self._found = "too-small"
            self.passes("too-small", f"{self._alone_text} alone")
            self.note()

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
        self._moved_bytes = to_mirror_bytes, home_bytes
        if not self.is_fixed:
            self._follow(ready, total_seconds, seconds)

    def moved(self, ready: Ready | None) -> None:
        """A new cut is there; None where it could not be made."""
        with self._lock:
            self._is_moving = False
            if ready is not None:
                self.ready = ready
                self._split_seconds.clear()
                self._new_split.clear()

    def _follow(self, ready: Ready, total_seconds: float, seconds: Mapping[Place, float]) -> None:
        if ready is not self.ready:
            return
        with self._lock:
            self._split_seconds.append(total_seconds)
            self._counted[1] += 1
            self._new_split.append(total_seconds)
            for work in ready.works:
                rate = work.items / max(seconds.get(work.place, 0.0), 1e-7)
                self._rates.setdefault(work.place, deque(maxlen=RATES_KEPT)).append(rate)
            self._since_move += 1
            wanted = self._wanted_user_share(ready)
            has_settled = wanted is None and self._rest_if_no_gain()
            if wanted is not None:
                self._is_moving = True
                self._moves += 1
                self._since_move = 0
        if wanted is not None:
            self.entry.move_cut(self, wanted)
        elif has_settled:
            self.note()

    def note(self) -> None:
        """Have the history keep what is known by now, where that is worth keeping."""
        recall, ready = self.entry.recall, self.ready
        if recall is None or self.is_fixed:
            return
        with self._lock:
            # While a split is tried again, what was found before stands.
            code = self._found or ("split" if self._split_seconds or self._counted[1] else None)
            if code is None or not self._alone_seconds or self.code not in ("", code):
                return
            share = self.recalled_share if ready is None else ready.cpu_share
            if share is None and code != "too-small":
                return
            known = Known(
                recall.key(self.question, self._skipped, self._varying),
                recall.name,
                code,
                share,
                tuple(self._new_alone),
                tuple(self._new_split),
                self._counted[0],
                self._counted[1],
                self._moved_bytes[0],
                self._moved_bytes[1],
                time(),
            )
            self._counted = [0, 0]
            self._new_alone.clear()
            self._new_split.clear()
        recall.note(known)

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

    def _rest_if_no_gain(self) -> bool:
        """Let the next launches pass if splits did not gain; whether there is something to note."""
        if len(self._split_seconds) < JUDGED_BY or self._is_moving:
            return False
        if median(self._split_seconds) > GAIN * median(self._alone_seconds):
            self._found = "no-gain"
            self._pass_next = self._rest
            self._rest = min(LONGEST_REST, 2 * self._rest)
            self._split_seconds.clear()
            self._rates.clear()
            self._moves = self._since_move = 0
            self.entry.story.declined(
                "no-gain", f"a split was no faster; tried again after {self._pass_next} launches"
            )
            return True
        is_new, self._found = self._found != "split", "split"
        return is_new or self._counted[1] >= NOTED_AFTER
