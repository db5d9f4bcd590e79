"""What a user feels of a predicted share: how long the launch takes, beside the best that it could.

A launch that is cut at CPU share s takes T(s) = max(s * T_cpu, (1 - s) * T_gpu): both devices work side
by side, each for its share of the time that it needs alone, and cutting costs nothing. The best
share is T_gpu / (T_cpu + T_gpu). A share of 0 or 1 is the decision not to split.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

SLOWER = 1.001
"""A launch is slower than the best single device when it takes more than this many times as long.

A share that comes of arithmetic on floats may miss 0 or 1 by a rounding; a thousandth is far below what
a measurement tells apart.
"""


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, median and 90th percentile of a ratio over launches."""

    mean: float
    median: float
    percentile_90: float


@dataclass(frozen=True, slots=True)
class Felt:
    """What predicted shares cost and gain.

    `to_best` is T(predicted)/T(best split), `to_single` T(predicted)/min(T_cpu, T_gpu);
    `slower_than_single` is the fraction of launches that take longer than `SLOWER` times the best
    single device; `whole` the fraction that is not split.
    """

    rows: int
    to_best: Spread
    to_single: Spread
    slower_than_single: float
    whole: float

    def facts(self) -> dict[str, object]:
        """As JSON writes it."""
        return asdict(self)


def seconds_at(
    share: NDArray[np.float64], cpu: NDArray[np.float64], gpu: NDArray[np.float64]
) -> NDArray[np.float64]:
    """T(share) of launches that take `cpu` and `gpu` seconds on one device. Shapes: all broadcast."""
    both: NDArray[np.float64] = np.maximum(share * cpu, (1.0 - share) * gpu)
    return both


def felt(share: NDArray[np.float64], cpu: NDArray[np.float64], gpu: NDArray[np.float64]) -> Felt:
    """What the predicted CPU shares of launches cost and gain.

    Shapes: all float64 [rows]; shares from 0 to 1, times in seconds.
    Raises ValueError where there are no rows, or a share is not in [0, 1].
    """
    if share.size == 0 or share.shape != cpu.shape or share.shape != gpu.shape:
        raise ValueError(
            f"shares and times of shapes {share.shape}, {cpu.shape} and {gpu.shape} given, expected "
            "one of each for at least one launch"
        )
    if not bool(np.all((share >= 0.0) & (share <= 1.0))):
        raise ValueError(f"shares from {share.min()} to {share.max()} given, expected 0 to 1")
    taken = seconds_at(share, cpu, gpu)
    to_single = taken / np.minimum(cpu, gpu)
    return Felt(
        rows=int(share.size),
        to_best=_spread(taken * (cpu + gpu) / (cpu * gpu)),
        to_single=_spread(to_single),
        slower_than_single=float(np.mean(to_single > SLOWER)),
        whole=float(np.mean((share <= 0.0) | (share >= 1.0))),
    )


def _spread(ratio: NDArray[np.float64]) -> Spread:
    return Spread(float(ratio.mean()), float(np.median(ratio)), float(np.quantile(ratio, 0.9)))
