"""How well a head does on kernels that it has not seen, beside the shipped model and a constant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictor.felt import felt
from predictor.prediction import Prediction
from predictor.tuned.head import INTERVAL, fit_head
from predictor.tuned.measured import Measurements

PARTS = 10
SEED = 5


@dataclass(frozen=True, slots=True)
class Judged:
    """Mean absolute errors of the CPU share in points, over rows that the head had not seen.

    `untuned` is of the shipped model, `constant` of the mean share of the rows that were trained on,
    `tuned` of the head (the median of its shares). `coverage` is the part of rows whose share lies in
    the head's 80 % interval. `folds` holds untuned and tuned error of each fold. `untuned_felt` and
    `tuned_felt` are what their decisions cost (see `felt.py`).
    """

    rows: int
    untuned: float
    constant: float
    tuned: float
    coverage: float
    folds: dict[int, tuple[float, float]]
    untuned_felt: dict[str, Any]
    tuned_felt: dict[str, Any]


def by_group(names: Sequence[str]) -> NDArray[np.int64]:
    """A fold for each name. Shapes: int64 [rows]."""
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def by_chance(rows: int, parts: int = PARTS, seed: int = SEED) -> NDArray[np.int64]:
    """Folds of rows at random, the same ones for the same seed. Shapes: int64 [rows]."""
    folds: NDArray[np.int64] = np.random.default_rng(seed).permutation(rows) % parts
    return folds


def judge_held_out(
    measured: Measurements,
    untuned: Sequence[Prediction],
    folds: NDArray[np.int64],
    advance: Callable[[], object] = lambda: None,
) -> dict[str, Judged]:
    """Fit a head without each fold, and judge what it says of it; without and with transfers.

    `untuned` is what the shipped model says of each row; rows of fold -1 are trained on only.
    Shapes: folds int64 [rows].
    """
    said: dict[bool, dict[int, Prediction]] = {False: {}, True: {}}
    constant: dict[bool, dict[int, float]] = {False: {}, True: {}}
    for fold in sorted(set(folds.tolist()) - {-1}):
        test = np.flatnonzero(folds == fold)
        train = np.flatnonzero(folds != fold)
        head = fit_head(measured.at(train))
        for transfers in (False, True):
            mean = float(measured.shares(transfers=transfers)[train].mean())
            for row in test.tolist():
                given = float(measured.transfer_bytes[row]) if transfers else None
                said[transfers][row] = head.predict(measured.features[row], given)
                constant[transfers][row] = mean
        advance()
    return {
        name: _judged(measured, untuned, said[transfers], constant[transfers], folds, transfers)
        for name, transfers in (("kernel", False), ("whole launch", True))
    }


def _judged(
    measured: Measurements,
    untuned: Sequence[Prediction],
    said: dict[int, Prediction],
    constant: dict[int, float],
    folds: NDArray[np.int64],
    transfers: bool,
) -> Judged:
    rows = np.array(sorted(said), np.int64)
    true = measured.shares(transfers=transfers)[rows]
    seconds = (measured.total_seconds if transfers else measured.kernel_seconds)[rows]
    tuned = [said[row] for row in rows.tolist()]
    plain = [untuned[row] for row in rows.tolist()]
    intervals = np.array([prediction.interval(INTERVAL) for prediction in tuned])
    inside = (intervals[:, 0] <= true) & (true <= intervals[:, 1])

    def errors(shares: list[float]) -> NDArray[np.float64]:
        points: NDArray[np.float64] = 100.0 * np.abs(np.array(shares) - true)
        return points

    before = errors([prediction.median_share for prediction in plain])
    after = errors([prediction.median_share for prediction in tuned])
    by_fold = {
        int(fold): (
            float(before[folds[rows] == fold].mean()),
            float(after[folds[rows] == fold].mean()),
        )
        for fold in np.unique(folds[rows])
    }

    def costs(predictions: list[Prediction]) -> dict[str, Any]:
        decided = np.array([prediction.cpu_fraction for prediction in predictions])
        return felt(decided, seconds[:, 0], seconds[:, 1]).facts()

    return Judged(
        len(rows),
        float(before.mean()),
        float(errors([constant[row] for row in rows.tolist()]).mean()),
        float(after.mean()),
        float(inside.mean()),
        by_fold,
        costs(plain),
        costs(tuned),
    )
