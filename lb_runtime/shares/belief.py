"""What is believed of a launch before all devices were seen: weighted samples of their log times.

A predictor's answer is such samples. The share to take is that of the smallest expected log slow-down,
not that of the mean: where little is known, it keeps away from what could go badly wrong, and "one
device takes all" is among the answers. Times that were measured move the samples of the devices that
were not: a launch that is twice as long as was thought on one device is longer on the others as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lb_runtime.errors import LaunchError
from lb_runtime.records import dataclass
from lb_runtime.shares.makespan import FREE, SMALLEST_SHARE, SPLIT_GAIN, SplitCost

MOST_SAMPLES = 48
"""So many samples stand for all: what is chosen among grows with them."""
MOST_FIXED = 0.5
"""No more than this part of a sampled time is taken for a fixed cost."""
LEAST_VARIANCE = 1e-6
UNSURE = 0.02
"""So probable is it in any case that a device of which nothing was seen is as fast as the fastest one."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """How likely which times of the whole launch are, on each device alone.

    Shapes:
        log_seconds: float64 [samples, devices].
        weights: float64 [samples], positive; they sum to 1.
        fixed_seconds: float64 [devices], what any part costs on a device.
    Raises LaunchError where they are not that.
    """

    log_seconds: Array
    weights: Array
    fixed_seconds: Array
    split: SplitCost = FREE

    def __post_init__(self) -> None:
        samples, devices = self.log_seconds.shape if self.log_seconds.ndim == 2 else (0, 0)
        if (
            not samples
            or self.weights.shape != (samples,)
            or self.fixed_seconds.shape != (devices,)
        ):
            raise LaunchError(
                f"samples of shape {self.log_seconds.shape}, weights of shape {self.weights.shape} and "
                f"fixed costs of shape {self.fixed_seconds.shape} given, expected [samples, devices], "
                "[samples] and [devices]"
            )
        is_whole = abs(float(self.weights.sum()) - 1.0) < 1e-6 and bool((self.weights > 0.0).all())
        if not is_whole or not bool(np.isfinite(self.log_seconds).all()):
            raise LaunchError("weights must be positive and sum to 1, log times must be finite")

    @classmethod
    def of(
        cls,
        log_seconds: Array,
        weights: Array | None = None,
        fixed_seconds: Sequence[float] | None = None,
        split: SplitCost = FREE,
    ) -> Belief:
        """A belief of at most `MOST_SAMPLES` samples, which stand for all that are given.

        Shapes: as above; weights alike and no fixed costs where none are given.
        """
        samples, devices = log_seconds.shape
        given = np.full(samples, 1.0 / samples) if weights is None else weights / weights.sum()
        fixed = np.zeros(devices) if fixed_seconds is None else np.array(fixed_seconds, np.float64)
        if samples > MOST_SAMPLES:
            # Sorted by what decides, and taken at equal steps of weight.
            order = np.argsort(log_seconds[:, 0] - log_seconds[:, -1], kind="stable")
            steps = (np.arange(MOST_SAMPLES) + 0.5) / MOST_SAMPLES
            taken = np.searchsorted(np.cumsum(given[order]), steps).clip(max=samples - 1)
            log_seconds = log_seconds[order[taken]]
            given = np.full(MOST_SAMPLES, 1.0 / MOST_SAMPLES)
        return cls(np.asarray(log_seconds, np.float64), given, fixed, split)

    @property
    def devices(self) -> int:
        """How many there are."""
        return len(self.fixed_seconds)

    def given(self, measured: Mapping[int, float]) -> Belief:
        """The belief once whole launches on some devices are known to take so many seconds.

        The samples of the measured devices become what was measured; the others move by regression on
        them, which for normal samples is conditioning. Source: Evensen, "The Ensemble Kalman Filter",
        Ocean Dynamics 2003, section 4, for an observation without error.
        """
        if not measured:
            return self
        seen = sorted(measured)
        hidden = [device for device in range(self.devices) if device not in measured]
        moved = np.log([measured[device] for device in seen]) - self.log_seconds[:, seen]
        apart = self.log_seconds - self.weights @ self.log_seconds
        among = (apart[:, seen] * self.weights[:, None]).T @ apart[:, seen]
        among[np.diag_indices(len(seen))] += LEAST_VARIANCE
        between = (apart[:, seen] * self.weights[:, None]).T @ apart[:, hidden]
        samples = self.log_seconds.copy()
        samples[:, seen] += moved
        samples[:, hidden] += moved @ np.linalg.solve(among, between)
        return Belief(samples, self.weights, self.fixed_seconds, self.split)

    def doubted(self, hidden: Sequence[int]) -> Belief:
        """The belief with a small doubt, `UNSURE`: devices that are not known may be as fast as others.

        A model can be sure and wrong; what is never tried is never learned.
        """
        as_fast = self.weights @ self.log_seconds
        known = [device for device in range(self.devices) if device not in hidden]
        as_fast[list(hidden)] = as_fast[known].min() if known else as_fast.min()
        weights = np.append((1.0 - UNSURE) * self.weights, UNSURE)
        samples = np.concatenate([self.log_seconds, as_fast[None]])
        return Belief(samples, weights, self.fixed_seconds, self.split)

    def candidates(self) -> Array:
        """Shares that may be best: of each sample the balanced ones, all alike, and each device alone.

        Shapes: float64 [candidates, devices]; the last ones are the devices alone, in order.
        """
        fixed, rates = self._costs()
        splits = _balanced(fixed, rates)
        alike = np.full((1, self.devices), 1.0 / self.devices)
        return np.concatenate([splits, alike, np.eye(self.devices)])

    def losses(self, candidates: Array) -> Array:
        """The expected log slow-down of each, against the best shares of each sample.

        Shapes: [candidates, devices] to [candidates].
        """
        fixed, rates = self._costs()
        log_seconds = self._log_seconds(candidates, fixed, rates)
        wholes = self.log_seconds.min(1)
        splits = np.log(self._seconds_each(_balanced(fixed, rates), fixed, rates))
        losses: Array = (log_seconds - np.minimum(wholes, splits)) @ self.weights
        return losses

    def best(self) -> tuple[float, ...]:
        """The shares of the smallest expected log slow-down; a split only where that gains."""
        candidates = self.candidates()
        return self.choose(candidates, self.losses(candidates))

    def choose(self, candidates: Array, losses: Array) -> tuple[float, ...]:
        """The candidate of the smallest loss; a split only where that gains `SPLIT_GAIN`."""
        best = int(losses.argmin())
        wholes = len(candidates) - self.devices
        whole = wholes + int(losses[wholes:].argmin())
        chosen = candidates[whole if losses[whole] - losses[best] < SPLIT_GAIN else best]
        return tuple(float(share) for share in chosen)

    def _costs(self) -> tuple[Array, Array]:
        """Fixed costs and rates of each sample. Shapes: [samples, devices] each."""
        seconds = np.exp(self.log_seconds)
        fixed = np.minimum(self.fixed_seconds, MOST_FIXED * seconds)
        return fixed, seconds - fixed

    def _log_seconds(self, candidates: Array, fixed: Array, rates: Array) -> Array:
        """Shapes: [candidates, devices], then [samples, devices]; [candidates, samples]."""
        shares = candidates[:, None, :]
        parts = np.where(shares > 0.0, fixed + rates * shares, 0.0).max(2)
        log_seconds: Array = np.log(parts + self._split_seconds(candidates)[:, None])
        return log_seconds

    def _seconds_each(self, shares: Array, fixed: Array, rates: Array) -> Array:
        """The time of each sample at shares of its own. Shapes: [samples, devices] to [samples]."""
        parts = np.where(shares > 0.0, fixed + rates * shares, 0.0).max(1)
        seconds: Array = parts + self._split_seconds(shares)
        return seconds

    def _split_seconds(self, shares: Array) -> Array:
        home = self.split.home
        away = 1.0 if home is None else 1.0 - shares[:, home]
        price = self.split.fixed_seconds + self.split.rate_seconds * away
        seconds: Array = np.where((shares > 0.0).sum(1) > 1, price, 0.0)
        return seconds


def _balanced(fixed: Array, rates: Array) -> Array:
    """The shares at which all devices that take part end together. Shapes: [samples, devices]."""
    active = np.ones(fixed.shape, bool)
    for _ in range(fixed.shape[1]):
        inverse = np.where(active, 1.0 / rates, 0.0)
        end = (1.0 + (fixed * inverse).sum(1)) / inverse.sum(1)
        shares = np.where(active, (end[:, None] - fixed) * inverse, 0.0)
        late = shares < SMALLEST_SHARE
        late[np.arange(len(shares)), shares.argmax(1)] = False
        if not (late & active).any():
            break
        active &= ~late
    shares = np.where(active, np.maximum(shares, 0.0), 0.0)
    balanced: Array = shares / shares.sum(1, keepdims=True)
    return balanced
