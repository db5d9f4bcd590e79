"""What a model says of a launch: how likely which times on either device are, and what follows.

A prediction is a joint distribution of both devices' log seconds, as weighted samples. The CPU share at
which both finish together, how far that is from known, which device is faster and what should be done
are all read from those samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHARES = np.linspace(0.0, 1.0, 201)
"""The CPU shares among which a decision chooses; the first and the last do not split."""
SPLIT_GAIN = 0.02
"""A split must be expected to save so much (as a difference of log seconds) to be worth its trouble.

A split costs a second launch, copies and a merge, which times of whole launches do not tell.
"""
_NEVER = -1e9
"""The log of no work at all."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """A joint distribution of log T_cpu and log T_gpu of one launch.

    Times are seconds of the whole launch on one device. `is_prior` says that nothing is known of the
    launch, and that this is how launches in general are.

    Shapes:
        log_seconds: float64 [samples, 2], CPU and GPU.
        weights: float64 [samples], positive; they sum to 1.
    Raises ValueError where they are not that.
    """

    log_seconds: NDArray[np.float64]
    weights: NDArray[np.float64]
    is_prior: bool = False

    def __post_init__(self) -> None:
        samples = len(self.weights)
        if not samples or self.log_seconds.shape != (samples, 2):
            raise ValueError(
                f"log times of shape {self.log_seconds.shape} and weights of shape "
                f"{self.weights.shape} given, expected [samples, 2] and [samples]"
            )
        is_whole = abs(float(self.weights.sum()) - 1.0) < 1e-6 and bool((self.weights > 0).all())
        if not is_whole or not bool(np.isfinite(self.log_seconds).all()):
            raise ValueError("weights must be positive and sum to 1, log times must be finite")
        self.log_seconds.setflags(write=False)
        self.weights.setflags(write=False)

    @property
    def shares(self) -> NDArray[np.float64]:
        """The best CPU share of each sample, T_gpu / (T_cpu + T_gpu). Shapes: float64 [samples]."""
        shares: NDArray[np.float64] = 1.0 / (
            1.0 + np.exp(np.clip(self.log_seconds[:, 0] - self.log_seconds[:, 1], -50.0, 50.0))
        )
        return shares

    @property
    def median_share(self) -> float:
        """The share that is as likely too small as too large."""
        return float(quantiles(self.shares, self.weights, (0.5,))[0])

    def interval(self, probability: float = 0.8) -> tuple[float, float]:
        """The share lies in this interval so probably, and on either side of it equally so.

        Raises ValueError where the probability is not between 0 and 1.
        """
        if not 0.0 < probability < 1.0:
            raise ValueError(f"probability {probability} given, expected one between 0 and 1")
        tail = (1.0 - probability) / 2.0
        low, high = quantiles(self.shares, self.weights, (tail, 1.0 - tail))
        return float(low), float(high)

    def seconds(self, probability: float = 0.8) -> tuple[tuple[float, float, float], ...]:
        """The median and the interval of each device's time: CPU and GPU, each low, median, high."""
        tail = (1.0 - probability) / 2.0
        spreads = (
            np.exp(quantiles(self.log_seconds[:, device], self.weights, (tail, 0.5, 1.0 - tail)))
            for device in (0, 1)
        )
        return tuple((float(low), float(mid), float(high)) for low, mid, high in spreads)

    @property
    def cpu_fraction(self) -> float:
        """The decision: the CPU share of the smallest expected log slow-down; 0 and 1 do not split.

        The slow-down of share s is max(s * T_cpu, (1 - s) * T_gpu) over its smallest value. Splitting
        must beat the better single device by `SPLIT_GAIN` in expectation.
        """
        losses = self._losses(SHARES)
        best = int(losses.argmin())
        whole = 0 if losses[0] <= losses[-1] else len(SHARES) - 1
        return float(SHARES[whole if losses[whole] - losses[best] < SPLIT_GAIN else best])

    @property
    def expected_slow_down(self) -> float:
        """How many times the best split's time the decision takes, as a geometric mean; at least 1."""
        return float(np.exp(self._losses(np.array([self.cpu_fraction]))[0]))

    @property
    def split_probability(self) -> float:
        """How probable it is that the decided share beats the better single device by `SPLIT_GAIN`."""
        share = self.cpu_fraction
        cpu, gpu = self.log_seconds.T
        single = np.minimum(cpu, gpu)
        wins = _log_seconds_at(np.array([share]), cpu, gpu)[0] < single - SPLIT_GAIN
        return float(self.weights[wins].sum())

    @property
    def gpu_probability(self) -> float:
        """How probable it is that the GPU alone is faster than the CPU alone."""
        return float(self.weights[self.log_seconds[:, 1] < self.log_seconds[:, 0]].sum())

    def _losses(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """The expected log slow-down of each share. Shapes: [shares] to [shares]."""
        cpu, gpu = self.log_seconds.T
        best = -np.logaddexp(-cpu, -gpu)
        losses: NDArray[np.float64] = (_log_seconds_at(shares, cpu, gpu) - best) @ self.weights
        return losses


def _log_seconds_at(
    shares: NDArray[np.float64], cpu: NDArray[np.float64], gpu: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Log of max(s * T_cpu, (1 - s) * T_gpu). Shapes: [shares], [samples] twice; [shares, samples]."""
    with np.errstate(divide="ignore"):
        mine = np.maximum(np.log(shares), _NEVER)[:, None]
        theirs = np.maximum(np.log1p(-shares), _NEVER)[:, None]
    taken: NDArray[np.float64] = np.maximum(mine + cpu, theirs + gpu)
    return taken


def quantiles(
    values: NDArray[np.float64], weights: NDArray[np.float64], probabilities: tuple[float, ...]
) -> NDArray[np.float64]:
    """The values below which these parts of the weights lie. Shapes: [samples] twice; [probabilities]."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    at = np.searchsorted(below / below[-1], np.array(probabilities) - 1e-12)
    chosen: NDArray[np.float64] = values[order[np.minimum(at, len(order) - 1)]]
    return chosen
