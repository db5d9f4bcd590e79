"""Judges the joint model by folds: what it says of launches that it was not trained on.

Every fold trains and calibrates a model from nothing on the rows of the other folds; settings are the
same everywhere. What was said is pooled over all folds and seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictor.datasets.devmap import Devmap
from predictor.datasets.folds import Kind, fold_numbers, suites
from predictor.errors import ModelError
from predictor.felt import Felt, felt
from predictor.joint.fit import TREES, Table, fit
from predictor.prediction import Prediction

LABELS = np.array([0.0, 25.0, 50.0, 75.0, 100.0])
"""The thesis' classes: a percentage is of the class of the nearest label."""
COLUMNS = ("median", "decision", "low", "high", "label", "gpu", "expected")


@dataclass(frozen=True, slots=True)
class Scores:
    """How a model did on the launches of some folds.

    `mae` is that of the median share in points against the thesis' rounded label, `macro_mae` its mean
    over suites, `mean_mae` and `mean_macro_mae` those of always saying the mean share of the training
    rows; `accuracy` is that of the most probable of the thesis' five classes, `mapping_error` the
    fraction of launches sent to the slower device. `coverage` is how many shares lie in their interval
    of 80 %, `width` how wide it is on average, `prior_width` how wide that of all launches is.
    """

    rows: int
    mae: float
    macro_mae: float
    mean_mae: float
    mean_macro_mae: float
    accuracy: float
    mapping_error: float
    coverage: float
    width: float
    prior_width: float
    felt: Felt
    suite_mae: dict[str, float]
    suite_coverage: dict[str, float]

    def facts(self) -> dict[str, Any]:
        """As JSON writes it, rounded to what means something."""
        facts: dict[str, Any] = _rounded(asdict(self))
        return facts


def said_of(prediction: Prediction) -> tuple[float, ...]:
    """What is kept of a prediction, in the order of `COLUMNS`."""
    low, high = prediction.interval(0.8)
    classes = classes_of(100.0 * prediction.shares)
    votes = np.bincount(classes, weights=prediction.weights, minlength=len(LABELS))
    return (
        prediction.median_share,
        prediction.cpu_fraction,
        low,
        high,
        float(votes.argmax()),
        prediction.gpu_probability,
        prediction.expected_slow_down,
    )


def classes_of(percentages: NDArray[np.float64]) -> NDArray[np.int64]:
    """The thesis' class of CPU percentages; between two the lower. Shapes: [rows] to [rows]."""
    classes: NDArray[np.int64] = np.abs(LABELS - percentages[:, None]).argmin(1)
    return classes


def judge_folds(
    data: Devmap,
    table: Table,
    kind: Kind,
    seed: int,
    state: Path,
    *,
    trees: int = TREES,
    folds: int = 10,
    advance: Callable[[], object] = lambda: None,
) -> NDArray[np.float64]:
    """What models of the other folds say of every launch. Shapes: float64 [rows, COLUMNS].

    Each fold's answers are kept in a file of the folder `state`, and found there by a later run.
    `advance` is called after each fold. Raises ModelError where such a file cannot be read.
    """
    numbers = fold_numbers(data, kind, seed, folds)
    said = np.empty((len(table), len(COLUMNS)))
    for number in range(int(numbers.max()) + 1):
        test = np.flatnonzero(numbers == number)
        path = state / f"{data.name}-{data.sha256[:8]}-{kind}-{folds}-{trees}-{seed}-{number}.npy"
        if path.exists():
            said[test] = _kept(path, len(test))
        else:
            said[test] = _fold(table, np.flatnonzero(numbers != number), test, seed, trees)
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = path.with_suffix(".part.npy")
            np.save(whole, said[test], allow_pickle=False)
            whole.replace(path)
        advance()
    return said


def fold_count(data: Devmap, kind: Kind, folds: int = 10) -> int:
    """How many models `judge_folds` trains."""
    return int(fold_numbers(data, kind, 1, folds).max()) + 1


def scores(
    data: Devmap, table: Table, kind: Kind, said: dict[int, NDArray[np.float64]], folds: int = 10
) -> Scores:
    """How models did, pooled over seeds. Shapes: each of `said` as `judge_folds` returns it."""
    cpu, gpu = np.exp(table.log_seconds).T
    share = gpu / (cpu + gpu)
    label = np.array([launch.cpu_percentage for launch in data.launches])
    suite = np.array(suites(data))
    errors, mean_errors, covered, widths, right, mapped = [], [], [], [], [], []
    for seed, one in said.items():
        median, _, low, high, said_class, faster, _ = one.T
        errors.append(np.abs(100.0 * median - label))
        mean_errors.append(np.abs(_mean_of_others(data, kind, seed, folds, label) - label))
        covered.append((share >= low) & (share <= high))
        widths.append(high - low)
        right.append(said_class == classes_of(label))
        mapped.append((faster > 0.5) == (gpu < cpu))
    error, mean_error, inside = (np.mean(each, 0) for each in (errors, mean_errors, covered))
    by_suite = {name: suite == name for name in sorted(set(suite.tolist()))}
    low, high = np.quantile(share, (0.1, 0.9))
    times = len(said)
    return Scores(
        rows=times * len(table),
        mae=float(error.mean()),
        macro_mae=float(np.mean([error[mine].mean() for mine in by_suite.values()])),
        mean_mae=float(mean_error.mean()),
        mean_macro_mae=float(np.mean([mean_error[mine].mean() for mine in by_suite.values()])),
        accuracy=float(np.mean(right)),
        mapping_error=1.0 - float(np.mean(mapped)),
        coverage=float(inside.mean()),
        width=float(np.mean(widths)),
        prior_width=float(high - low),
        felt=felt(
            np.concatenate([one[:, 1] for one in said.values()]),
            np.tile(cpu, times),
            np.tile(gpu, times),
        ),
        suite_mae={name: float(error[mine].mean()) for name, mine in by_suite.items()},
        suite_coverage={name: float(inside[mine].mean()) for name, mine in by_suite.items()},
    )


def _fold(
    table: Table,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    seed: int,
    trees: int,
) -> NDArray[np.float64]:
    model = fit(table.rows(train), seed, trees)
    return np.array(
        [
            said_of(
                model.predict(
                    table.kernels[row],
                    int(table.transfer_bytes[row]),
                    int(table.work_group_size[row]),
                )
            )
            for row in test
        ]
    )


def _kept(path: Path, rows: int) -> NDArray[np.float64]:
    try:
        kept: NDArray[np.float64] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"cannot read {path} ({error}); start with --fresh") from error
    if kept.shape != (rows, len(COLUMNS)):
        raise ModelError(f"{path} is of another run; start with --fresh")
    return kept


def _mean_of_others(
    data: Devmap, kind: Kind, seed: int, folds: int, label: NDArray[np.float64]
) -> NDArray[np.float64]:
    numbers = fold_numbers(data, kind, seed, folds)
    mean = np.array([label[numbers != fold].mean() for fold in range(int(numbers.max()) + 1)])
    others: NDArray[np.float64] = mean[numbers]
    return others


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
