"""How long a launch takes at given shares: fixed and proportional costs, of devices and of a split.

The longest part decides, T(w) = max over devices with w_d > 0 of (fixed_d + rate_d * w_d), plus
what a split costs: fixed, and by the share of the work that is away from the device on which the
results come together. "Do not split" and "all on the CPU" are answers like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lb_runtime.errors import LaunchError
from lb_runtime.records import dataclass
from lb_runtime.shares.observation import whole_on

SMALLEST_SHARE = 0.005
"""A device whose share would be less gets nothing."""
SPLIT_GAIN = 0.01
"""A split must be expected to save this part of the time that the best device takes alone."""
_HALVINGS = 40
_ROUNDING = 1e-6


class Times(Protocol):
    """The time that one device takes for a share of a launch: grows with the share."""

    def seconds(self, share: float) -> float:
        """The time for a share above 0; 0 for none."""
        ...

    def share_in(self, seconds: float) -> float:
        """The greatest share that is done in this time; may be above 1."""
        ...


@dataclass(frozen=True, slots=True)
class Cost:
    """A device's time: `fixed_seconds` for any part, `rate_seconds` for the whole work besides."""

    fixed_seconds: float
    rate_seconds: float

    def __post_init__(self) -> None:
        if self.fixed_seconds < 0.0 or not self.rate_seconds > 0.0:
            raise LaunchError(
                f"a device's costs are {self.fixed_seconds} s and {self.rate_seconds} s, expected a "
                "fixed cost of 0 or more and a positive rate"
            )

    def seconds(self, share: float) -> float:
        """See `Times`."""
        return self.fixed_seconds + self.rate_seconds * share if share > 0.0 else 0.0

    def share_in(self, seconds: float) -> float:
        """See `Times`."""
        return max(0.0, (seconds - self.fixed_seconds) / self.rate_seconds)


@dataclass(frozen=True, slots=True)
class SplitCost:
    """The price of splitting: `fixed_seconds`, and `rate_seconds` for all the work being away from `home`.

    `home` is the device on which results come together; None where that costs alike for all.
    """

    fixed_seconds: float = 0.0
    rate_seconds: float = 0.0
    home: int | None = None

    def seconds(self, shares: Sequence[float]) -> float:
        """The price at shares; nothing where one device does all."""
        if sum(share > 0.0 for share in shares) < 2:
            return 0.0
        away = 1.0 if self.home is None else 1.0 - shares[self.home]
        return self.fixed_seconds + self.rate_seconds * away


FREE = SplitCost()
"""The price of a split that costs nothing."""


@dataclass(frozen=True, slots=True)
class Makespan:
    """A launch's time as a function of the shares.

    `groups` is how many work-groups there are along the dimension that is cut, so that only whole ones
    are shared out; 0 where any share will do.
    """

    devices: tuple[Times, ...]
    split: SplitCost = FREE
    groups: int = 0

    def seconds(self, shares: Sequence[float]) -> float:
        """The time from the beginning to the end."""
        parts = (device.seconds(share) for device, share in zip(self.devices, shares))
        return max(parts) + self.split.seconds(shares)

    def best_whole(self) -> int:
        """The device that is fastest alone."""
        return min(range(len(self.devices)), key=lambda each: self.devices[each].seconds(1.0))

    def best_split(self) -> tuple[float, ...] | None:
        """The shares at which all that take part end together; None where one device takes all."""
        shares = self._in_groups(balanced(self.devices))
        return shares if sum(share > 0.0 for share in shares) > 1 else None

    def best(self) -> tuple[float, ...]:
        """The fastest shares; a split only where it gains `SPLIT_GAIN`.

        A split that is not balanced is never better than both the balanced one and one device: moving
        work home saves the price of being away only as long as home is not the last to end.
        """
        whole = whole_on(self.best_whole(), len(self.devices))
        split = self.best_split()
        if split is None or self.seconds(split) > (1.0 - SPLIT_GAIN) * self.seconds(whole):
            return whole
        return split

    def _in_groups(self, shares: tuple[float, ...]) -> tuple[float, ...]:
        """The shares in whole groups: what is left over goes to whoever ends first with one more."""
        if not self.groups:
            return shares
        counts = [int(share * self.groups + _ROUNDING) for share in shares]
        taking = [device for device, share in enumerate(shares) if share > 0.0]
        while sum(counts) < self.groups:
            first = min(
                taking,
                key=lambda each: self.devices[each].seconds((counts[each] + 1) / self.groups),
            )
            counts[first] += 1
        return tuple(count / self.groups for count in counts)


def balanced(devices: Sequence[Times]) -> tuple[float, ...]:
    """The shares at which all devices end together; those that would hardly begin get nothing."""
    low, high = 0.0, min(device.seconds(1.0) for device in devices)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if sum(device.share_in(middle) for device in devices) < 1.0:
            low = middle
        else:
            high = middle
    done = [device.share_in(high) for device in devices]
    total = sum(done)
    if not total:
        # Fixed costs are all that any of them was seen to take.
        return whole_on(
            min(range(len(devices)), key=lambda each: devices[each].seconds(1.0)), len(devices)
        )
    done = [share if share / total >= SMALLEST_SHARE else 0.0 for share in done]
    total = sum(done)
    return tuple(share / total for share in done)
