"""Measurements that were made up: devices whose times follow some features, with noise of a known size."""

from __future__ import annotations

import numpy as np

from predictor.tuned.features import TUNED_FEATURES
from predictor.tuned.measured import Measurements

FAMILIES = 12


def made_up(rows: int = 96, noise: float = 0.4, seed: int = 0) -> Measurements:
    """Launches of some families. `noise` is the deviation of log T_cpu and of log T_gpu, each by itself."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, len(TUNED_FEATURES)))
    features[:, 10:] = 0.0
    work = 1.0 * features[:, 0]
    ratio = 1.5 * np.tanh(features[:, 1]) + 0.5 * features[:, 2]
    logs = np.stack([work + ratio / 2, work - ratio / 2], 1) - 5.0
    seconds = np.exp(logs + noise * random.normal(size=logs.shape))
    moved = np.exp(random.uniform(8.0, 17.0, rows))
    extra = np.stack([1e-3 + 2e-10 * moved, 5e-4 + 4e-10 * moved], 1)
    return Measurements(
        features,
        seconds,
        seconds + extra,
        moved,
        tuple(f"family {row % FAMILIES}" for row in range(rows)),
    )
