"""What a launch takes beside its kernel, by device: a fixed time, and a time for each byte moved."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 25
_LEAST_RESIDUAL = 0.2
_LEAST_SECONDS = 1e-7


def fit_transfers(
    extra_seconds: NDArray[np.float64], transfer_bytes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The fixed seconds and the seconds per byte that are least wrong, as parts of what was measured.

    Absolute rather than squared errors count (by weights that are renewed), so that a few launches that
    a driver held up do not matter. Shapes: [rows] and [rows] to float64 [2], not negative.
    """
    extra = np.maximum(extra_seconds, _LEAST_SECONDS)
    table = np.stack([np.ones_like(transfer_bytes), transfer_bytes], 1)
    weights = 1.0 / extra
    found: NDArray[np.float64] = np.zeros(2)
    for _ in range(_ROUNDS):
        solution = np.linalg.lstsq(table * weights[:, None], extra * weights, rcond=None)[0]
        found = solution.astype(np.float64)
        wrong = np.abs(extra - table @ found) / extra
        weights = 1.0 / (extra * np.maximum(np.sqrt(wrong), _LEAST_RESIDUAL))
    if found[0] < 0.0:
        found = np.array([0.0, float(np.median(extra / np.maximum(transfer_bytes, 1.0)))])
    elif found[1] < 0.0:
        found = np.array([float(np.median(extra)), 0.0])
    return found
