"""What a policy answers and what it learns from: a choice before a launch, an observation after it."""

from __future__ import annotations

import math

from lb_runtime.errors import LaunchError
from lb_runtime.records import dataclass

TOLERANCE = 1e-6
"""Shares may miss a sum of 1 by this: they come of divisions of whole numbers of work-items."""


def checked_shares(shares: tuple[float, ...]) -> tuple[float, ...]:
    """The same shares. Raises LaunchError where they are not fractions that sum to 1."""
    is_fraction = all(0.0 <= share <= 1.0 + TOLERANCE for share in shares)
    if not shares or not is_fraction or abs(math.fsum(shares) - 1.0) > TOLERANCE:
        raise LaunchError(
            f"shares {shares} given, expected a fraction for each device, summing to 1"
        )
    return shares


def whole_on(device: int, devices: int) -> tuple[float, ...]:
    """The shares of a launch that one of so many devices runs as a whole."""
    return tuple(float(number == device) for number in range(devices))


@dataclass(frozen=True, slots=True)
class Choice:
    """How to run the next launch.

    `shares` has the part of the work-items of each device, 0 for one that takes no part. Where
    `is_chunked`, the work is handed out in chunks instead: the shares are the devices' speeds in
    proportion, and `least` the share of the work that each device's chunks have at least (see
    `chunks`). `why` is one word for reports.
    """

    shares: tuple[float, ...]
    is_chunked: bool = False
    why: str = "fixed"
    least: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        checked_shares(self.shares)

    @property
    def whole(self) -> int | None:
        """The only device that takes part; None where several do."""
        taking = [device for device, share in enumerate(self.shares) if share > 0.0]
        return taking[0] if len(taking) == 1 else None


@dataclass(frozen=True, slots=True)
class Observation:
    """A launch that has ended.

    `shares` are the parts of the work-items that each device really ran. `seconds` is how long each
    was busy with its part, its own copies included, 0 for a device that had none. `total_seconds` is
    what the launch took from its beginning to its end, merge included; `moved_bytes` were copied to
    and from devices for it. `is_chunked` says that the work was handed out in chunks.
    """

    shares: tuple[float, ...]
    seconds: tuple[float, ...]
    total_seconds: float
    moved_bytes: int = 0
    is_chunked: bool = False

    def __post_init__(self) -> None:
        checked_shares(self.shares)
        if len(self.seconds) != len(self.shares):
            raise LaunchError(
                f"{len(self.seconds)} times given for {len(self.shares)} shares, expected one each"
            )
        for share, seconds in zip(self.shares, self.seconds):
            if not (math.isfinite(seconds) and seconds >= 0.0 and (seconds > 0.0 or share == 0.0)):
                raise LaunchError(
                    f"a part of share {share} took {seconds} s, expected a positive time"
                )
        if not (math.isfinite(self.total_seconds) and self.total_seconds > 0.0):
            raise LaunchError(f"a launch took {self.total_seconds} s, expected a positive time")

    @property
    def whole(self) -> int | None:
        """The only device that took part; None where several did."""
        taking = [device for device, share in enumerate(self.shares) if share > 0.0]
        return taking[0] if len(taking) == 1 else None

    @property
    def split_seconds(self) -> float:
        """What the launch took beyond its longest part: the price of having been split."""
        return max(0.0, self.total_seconds - max(self.seconds))


def lower_median(values: list[float]) -> float:
    """The middle value, the lower one of two: a launch is disturbed to take longer, never shorter."""
    return sorted(values)[(len(values) - 1) // 2]
