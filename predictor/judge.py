"""What a prediction's errors are, and how they compare with always saying the mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictor.datasets.examples import Examples


@dataclass(frozen=True, slots=True)
class Split:
    """Which rows train, which choose the epoch and which judge. Shapes: int64 [rows of each]."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FoldResult:
    """What one fold's model says of its test rows. `rows` and `percentages` are as long."""

    fold: int
    best_epoch: int
    validation_mae: float
    rows: tuple[int, ...]
    percentages: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Errors of a prediction of the CPU percentage.

    `mae` and `rmse` are in points. `slow_down` is the mean of T(predicted split)/T(best split) for
    launches that can be cut anywhere and cost nothing to cut: both devices work side by side, each
    for its share of its measured time.
    """

    rows: int
    mae: float
    rmse: float
    slow_down: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """A cross-validation's metrics.

    `pooled` is over the test rows of all folds; `folds` is of each fold; `members` is of each member
    alone, pooled; `known` and `unknown` are over the rows whose kernel has, or has not, another row
    outside of its test fold.
    """

    pooled: Metrics
    folds: tuple[Metrics, ...]
    members: tuple[Metrics, ...]
    known: Metrics | None
    unknown: Metrics | None
    mean_predictor: Metrics
    best_epochs: tuple[tuple[int, ...], ...]

    def facts(self) -> dict[str, Any]:
        """As JSON writes it, rounded to what means something."""
        facts: dict[str, Any] = _rounded(asdict(self))
        return facts

    def table(self) -> str:
        """A line for each fold and each summary."""
        lines = ["              rows    MAE   RMSE  T/T(best)"]
        named: list[tuple[str, Metrics | None]] = [
            *((f"fold {number}", metrics) for number, metrics in enumerate(self.folds)),
            *((f"member {number}", metrics) for number, metrics in enumerate(self.members)),
            ("all folds", self.pooled),
            ("known kernels", self.known),
            ("new kernels", self.unknown),
            ("always mean", self.mean_predictor),
        ]
        lines += [
            f"{name:13} {m.rows:4}  {m.mae:5.2f}  {m.rmse:5.2f}  {m.slow_down:9.3f}"
            for name, m in named
            if m is not None
        ]
        return "\n".join(lines)


def measure(examples: Examples, rows: NDArray[np.int64], said: NDArray[Any]) -> Metrics:
    """The errors of percentages `said` of rows. Shapes: both [rows]."""
    percentages = np.asarray(said, dtype=np.float64)
    error = percentages - examples.percentage[rows]
    cpu, gpu = examples.cpu_seconds[rows], examples.gpu_seconds[rows]
    share = percentages / 100.0
    slow_down = np.maximum(share * cpu, (1.0 - share) * gpu) / (cpu * gpu / (cpu + gpu))
    return Metrics(
        rows=int(rows.size),
        mae=float(np.abs(error).mean()),
        rmse=float(np.sqrt((error**2).mean())),
        slow_down=float(slow_down.mean()),
    )


def judge(
    examples: Examples, splits: Sequence[Split], members: Sequence[Sequence[FoldResult]]
) -> Judgement:
    """Judges the mean of the members' predictions, each made by the fold that left the row out."""
    said = [_by_row(len(examples), results) for results in members]
    mean = np.mean(said, axis=0)
    rows = np.sort(np.concatenate([split.test for split in splits]))
    average = np.zeros(len(examples))
    seen = np.zeros(len(examples), dtype=bool)
    for split in splits:
        average[split.test] = examples.percentage[split.train].mean()
        others = np.setdiff1d(rows, split.test)
        seen[split.test] = np.isin(examples.kernel[split.test], examples.kernel[others])
    known, unknown = rows[seen[rows]], rows[~seen[rows]]
    return Judgement(
        pooled=measure(examples, rows, mean[rows]),
        folds=tuple(measure(examples, split.test, mean[split.test]) for split in splits),
        members=tuple(measure(examples, rows, one[rows]) for one in said),
        known=measure(examples, known, mean[known]) if known.size else None,
        unknown=measure(examples, unknown, mean[unknown]) if unknown.size else None,
        mean_predictor=measure(examples, rows, average[rows]),
        best_epochs=tuple(tuple(result.best_epoch for result in one) for one in members),
    )


def _by_row(count: int, results: Sequence[FoldResult]) -> NDArray[np.float64]:
    said = np.full(count, np.nan)
    for result in results:
        said[list(result.rows)] = result.percentages
    return said


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value
