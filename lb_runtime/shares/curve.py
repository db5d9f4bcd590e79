"""One device's time as a function of its share, from what launches have shown.

Where nothing was measured the time is fixed_d + rate_d * w; through what was measured the curve
passes. So it is right for kernels of which a slice of the range is no like slice of the work, and
"the whole launch on this device" is just the share of 1.

Launches are disturbed now and then, and always to take longer. A share's time is therefore the lower
median of its last launches; a time that is much longer than expected, at a share never run before, is
believed when the next launch confirms it, be it at another such share. A device that becomes slower or
faster for good shows in several launches running: then all that is known of it is scaled.
"""

from __future__ import annotations

import math
from collections import deque

from lb_runtime.shares.observation import lower_median

SAME_SHARE = 0.05
"""Shares that differ by less than this part of themselves count as one, scaled."""
KEPT = 9
"""A share's time is the lower median of its last so many launches."""
MOST_SHARES = 8
DOUBT = math.log(1.3)
"""A log time beyond what was expected by more than this is doubted at first."""
DRIFT = math.log(1.1)
"""Launches that all miss what was expected by more than this, to one side, show a device that changed."""
DRIFT_RUN = 3
DRIFT_NOISES = 2.5
"""And by more than so many times what launches scatter."""
LARGEST_FIXED = 0.9
"""No more than this part of the shortest time is taken for a fixed cost."""
UNEVEN = 1.3
"""A rate this many times that of a smaller share shows uneven work."""
UNEVEN_SHARES = 1.25


class _Knot:
    """The last times of one share."""

    def __init__(self, share: float, seconds: float, number: int) -> None:
        self.share = share
        self.times: deque[float] = deque([seconds], maxlen=KEPT)
        self.number = number

    @property
    def seconds(self) -> float:
        return lower_median(list(self.times))


class Curve:
    """The time of a device by its share. `fixed_seconds` is what any part costs, until measured."""

    def __init__(self, fixed_seconds: float = 0.0) -> None:
        self._prior_fixed = fixed_seconds
        self._knots: list[_Knot] = []
        self._shares: list[float] = []
        self._seconds: list[float] = []
        self._fixed = 0.0
        self._pending: tuple[float, float] | None = None
        self._held: list[tuple[_Knot, float, float]] = []
        self._scatter: deque[float] = deque(maxlen=16)
        self.number = 0
        """How many launches it has learned from."""
        self.drifts = 0
        """How often the device was found to have changed."""

    @property
    def is_known(self) -> bool:
        """Whether anything was measured."""
        return bool(self._knots)

    @property
    def is_in_doubt(self) -> bool:
        """Whether the last time was so long that it needs another launch at its share."""
        return self._pending is not None

    @property
    def is_shifting(self) -> bool:
        """Whether the last launches missed what was expected, and it is not known yet what that means."""
        return bool(self._held)

    @property
    def whole_launches(self) -> int:
        """How many whole launches on this device tell what it takes alone; 0 where none was."""
        return len(self._whole.times) if self._whole else 0

    @property
    def whole_age(self) -> int:
        """How many launches ago one was whole on this device; all of them where none was."""
        return self.number - (self._whole.number if self._whole else 0)

    @property
    def whole_guess(self) -> float:
        """What the device may take alone: of one launch that may have been disturbed, or as its parts say."""
        if self._whole is None or len(self._whole.times) > 1 or len(self._knots) == 1:
            return self.seconds(1.0)
        part = max((each for each in self._knots if each.share < 1.0), key=lambda each: each.share)
        slope = max(part.seconds - self._fixed, 0.0) / part.share
        return min(self._whole.seconds, self._fixed + slope)

    @property
    def fixed_seconds(self) -> float:
        """What any part costs."""
        return self._fixed

    @property
    def is_uneven(self) -> bool:
        """Whether a smaller slice was seen to hold less than its part of the work.

        A fixed cost makes small slices dearer, never cheaper. Of the dearer slice more than one launch
        must tell, since one may have been disturbed.
        """
        firm = [each for each in self._knots if len(each.times) > 1]
        return any(
            large.share > UNEVEN_SHARES * small.share
            and large.seconds / large.share > UNEVEN * small.seconds / small.share
            for small in self._knots
            for large in firm
        )

    def seconds(self, share: float) -> float:
        """The time for a share; 0 for none. Asked only where something is known."""
        if share <= 0.0:
            return 0.0
        if share == 1.0 and self._whole is not None:
            return self._whole.seconds
        if share >= self._shares[-1]:
            slope = (self._seconds[-1] - self._fixed) / self._shares[-1]
            return self._fixed + slope * share
        left_share, left = 0.0, self._fixed
        for right_share, right in zip(self._shares, self._seconds):
            if share <= right_share:
                part = (share - left_share) / (right_share - left_share)
                return left + part * (right - left)
            left_share, left = right_share, right
        raise AssertionError("a share beyond the last is answered above")

    def share_in(self, seconds: float) -> float:
        """The greatest share that is done in this time; may be above 1."""
        if seconds <= self._fixed:
            return 0.0
        left_share, left = 0.0, self._fixed
        for right_share, right in zip(self._shares, self._seconds):
            if seconds <= right:
                return left_share + (seconds - left) / (right - left) * (right_share - left_share)
            left_share, left = right_share, right
        slope = (self._seconds[-1] - self._fixed) / self._shares[-1]
        return (seconds - self._fixed) / slope if slope > 0.0 else 1.0

    def learn(self, share: float, seconds: float) -> None:
        """Learn that a part of this share, above 0, took so long."""
        self.number += 1
        if not self._knots:
            self._add(share, seconds)
            self._rebuild()
            return
        miss = math.log(seconds / self.seconds(share))
        knot = self._knot(share)
        if knot is None:
            self._learn_new(share, seconds, miss)
        else:
            self._pending = None
            knot.number = self.number
            self._learn_again(knot, seconds * knot.share / share, miss)
        self._rebuild()

    def _learn_again(self, knot: _Knot, seconds: float, miss: float) -> None:
        """Learn from another launch at a known share; what misses it is held until more is known."""
        side = _side(miss, max(DRIFT, DRIFT_NOISES * self._noise))
        if side < 0 and len(knot.times) == 1:
            # Of two launches the slower one was disturbed.
            knot.times = deque([seconds], maxlen=KEPT)
            return
        if not side or (self._held and side != _side(self._held[-1][2], 0.0)):
            self._release()
        if not side:
            knot.times.append(seconds)
            self._scatter.append(abs(miss))
            return
        self._held.append((knot, seconds, miss))
        if len(self._held) == DRIFT_RUN:
            scale = math.exp(lower_median([each for _, _, each in self._held]))
            for known in self._knots:
                known.times = deque((time * scale for time in known.times), maxlen=KEPT)
            self._held = [(which, time, 0.0) for which, time, _ in self._held]
            self._release()
            self.drifts += 1

    def _release(self) -> None:
        """What was held turned out to be no change of the device: it counts as any launch does."""
        for knot, seconds, miss in self._held:
            knot.times.append(seconds)
            self._scatter.append(abs(miss))
        self._held = []

    def _learn_new(self, share: float, seconds: float, miss: float) -> None:
        pending, self._pending = self._pending, None
        self._release()
        if miss > DOUBT and share < 1.0:
            if pending is None:
                self._pending = share, seconds
                return
            self._add(share, seconds)
            if _is_same(pending[0], share):
                self._knots[-1].times.appendleft(pending[1] * share / pending[0])
            return
        if miss < -DOUBT:
            # What one launch alone has told may have been a disturbed one.
            self._knots = [each for each in self._knots if len(each.times) > 1]
        self._add(share, seconds)

    def _add(self, share: float, seconds: float) -> None:
        if len(self._knots) >= MOST_SHARES:
            parts = (each for each in self._knots if each.share < 1.0)
            self._knots.remove(min(parts, key=lambda each: each.number))
        self._knots.append(_Knot(share, seconds, self.number))

    def _knot(self, share: float) -> _Knot | None:
        near = [each for each in self._knots if _is_same(each.share, share)]
        return min(near, key=lambda each: abs(each.share - share), default=None)

    @property
    def _whole(self) -> _Knot | None:
        return next((each for each in self._knots if each.share == 1.0), None)

    @property
    def _noise(self) -> float:
        """The standard deviation of log times, from the median of what launches missed."""
        return 1.48 * lower_median(list(self._scatter)) if self._scatter else 0.0

    def _rebuild(self) -> None:
        """Lay the curve through what is known, growing."""
        knots = sorted(self._knots, key=lambda each: each.share)
        if len(knots) > 1 and knots[-1].share == 1.0 and knots[-1].seconds <= knots[-2].seconds:
            # Alone the device is faster than beside others: that is no point of this curve.
            knots.pop()
        self._shares = [each.share for each in knots]
        self._seconds = []
        for each in knots:
            least = self._seconds[-1] * (1.0 + 1e-6) if self._seconds else 0.0
            self._seconds.append(max(each.seconds, least))
        fixed = self._prior_fixed
        firm = [each for each in knots if len(each.times) > 1]
        if len(firm) > 1 and firm[-1].share > UNEVEN_SHARES * firm[0].share:
            slope = (firm[-1].seconds - firm[0].seconds) / (firm[-1].share - firm[0].share)
            fixed = firm[0].seconds - slope * firm[0].share
        self._fixed = min(max(fixed, 0.0), LARGEST_FIXED * self._seconds[0])


def _is_same(one: float, other: float) -> bool:
    # A whole launch is one of its own: it has no price of a split in it.
    if (one == 1.0) != (other == 1.0):
        return False
    return abs(one - other) < SAME_SHARE * min(one, other)


def _side(miss: float, limit: float) -> int:
    """1 for a time that is longer than was expected by more than a limit, -1 for a shorter one, else 0."""
    return (miss > limit) - (miss < -limit)
