"""Never lose: the plan's measured time beside that of the best single device.

What a model of the makespan promises counts for nothing here. Only times of launches that ran are
compared; a split that is no faster rests, and is tried again rarely, each time after twice as many
launches.
"""

from __future__ import annotations

from collections import deque

from lb_runtime.shares.observation import lower_median

JUDGED_BY = 3
"""So many split launches at one cut tell whether splitting gains."""
FIRM = 5
FIRST_MARGIN, MARGIN = 1.03, 0.995
"""A split loses when it takes more than so many times the single device's time, of few and of `FIRM`."""
PATIENCE = 8
"""So many split launches may be slower while the cut still moves."""
FIRST_REST, LONGEST_REST = 16, 4096
"""After so many launches a split that lost is tried again; twice as many each time."""


class Guard:
    """Judges splits by measured times, and counts how long they rest."""

    def __init__(self) -> None:
        self._totals: deque[float] = deque(maxlen=FIRM)
        self._tries: deque[float] = deque(maxlen=PATIENCE)
        self._rest = FIRST_REST
        self._left = 0
        self._needed = JUDGED_BY

    @property
    def rests(self) -> bool:
        """Whether no split is to be tried now."""
        return self._left > 0

    def moved(self) -> None:
        """The cut is another one from now on: what its launches take is not known yet."""
        self._totals.clear()

    def split(self, total_seconds: float) -> None:
        """A split at the plan's cut ended."""
        self._totals.append(total_seconds)
        self._tries.append(total_seconds)

    def loses_moving(self, single_seconds: float | None) -> bool:
        """Whether the last splits, wherever their cuts were, are no faster; if so they rest."""
        if single_seconds is None or len(self._tries) < PATIENCE:
            return False
        if lower_median(list(self._tries)) <= FIRST_MARGIN * single_seconds:
            return False
        self.rest()
        return True

    def loses(self, single_seconds: float | None) -> bool:
        """Whether the plan's splits are no faster than the best single device; if so they rest.

        `single_seconds` is what that device takes, None where none was measured.
        """
        if single_seconds is None or len(self._totals) < self._needed:
            return False
        is_firm = len(self._totals) >= FIRM
        if (
            lower_median(list(self._totals))
            > (MARGIN if is_firm else FIRST_MARGIN) * single_seconds
        ):
            self.rest()
            return True
        if is_firm:
            self._rest, self._needed = FIRST_REST, JUDGED_BY
        return False

    @property
    def left(self) -> int:
        """For so many launches no split is to be tried."""
        return self._left

    def whole(self, launches: int = 1) -> None:
        """So many whole launches ended."""
        self._left = max(0, self._left - launches)

    def begin_again(self) -> None:
        """A device has changed: nothing that was measured before says which plan is faster."""
        self._totals.clear()
        self._tries.clear()
        self._rest, self._left, self._needed = FIRST_REST, 0, JUDGED_BY

    def rest(self) -> None:
        """Try no split for a while, longer each time; the next try is judged by one launch."""
        self._left = self._rest
        self._rest = min(LONGEST_REST, 2 * self._rest)
        self._needed = 1
        self._totals.clear()
        self._tries.clear()
