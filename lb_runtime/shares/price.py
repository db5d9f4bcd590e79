"""What a split costs beyond its longest part, from what launches have shown: fixed and by the byte."""

from __future__ import annotations

from collections import deque
from itertools import combinations

from lb_runtime.shares.makespan import SplitCost
from lb_runtime.shares.observation import Observation, lower_median

KEPT = 9
OTHER_BYTES = 1.1
"""Launches must differ by this factor in what they moved to tell what a byte costs."""


class SplitPrice:
    """Learns a `SplitCost`. `first` is what is taken for it before a split was measured."""

    def __init__(self, first: SplitCost) -> None:
        self._first = first
        self._seen: deque[tuple[float, int, float]] = deque(maxlen=KEPT)

    def learn(self, observation: Observation) -> None:
        """Learn from a launch; those that ran whole tell nothing."""
        if observation.whole is not None or observation.is_chunked:
            return
        home = self._first.home
        away = 1.0 if home is None else 1.0 - observation.shares[home]
        self._seen.append((observation.split_seconds, observation.moved_bytes, away))

    @property
    def cost(self) -> SplitCost:
        """The price as it is known now."""
        if not self._seen:
            return self._first
        first = self._first
        per_share = lower_median([moved / away for _, moved, away in self._seen])
        slopes = [
            (one[0] - other[0]) / (one[1] - other[1])
            for one, other in combinations(self._seen, 2)
            if max(one[1], other[1]) > OTHER_BYTES * min(one[1], other[1])
        ]
        if slopes:
            per_byte = max(0.0, lower_median(slopes))
        else:
            per_byte = first.rate_seconds / per_share if per_share else 0.0
        left = lower_median([price - per_byte * moved for price, moved, _ in self._seen])
        if left < 0.0:
            # All that was measured is less than the bytes were said to cost.
            per_byte = lower_median([price / moved for price, moved, _ in self._seen if moved])
            left = 0.0
        return SplitCost(left, per_byte * per_share, first.home)
