"""What a model is asked for: a percentage, one of five shares, or a device; and its scores.

Source: the thesis behind igabirondo16/pyg_programl, chapter 5 (load balancing) and section 4.4
(device mapping): labels, and the measures that its tables give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from predictor.datasets.examples import Examples
from predictor.felt import Felt, felt

Task = Literal["regression", "classification", "devmap"]
TASKS: tuple[Task, ...] = get_args(Task)
SHARES = (0.0, 25.0, 50.0, 75.0, 100.0)
"""The CPU percentages that the classification task chooses from."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How good predictions of launches are.

    `measures` are the thesis' for the task: MAE, RMSE and MSE in points, or accuracy and F1, precision and
    recall (weighted by class). `felt` is what the user feels of the shares that the predictions are.
    """

    rows: int
    measures: dict[str, float]
    felt: Felt


def outputs(task: Task) -> int:
    """How many numbers a model gives for a launch: a percentage, or one for each class."""
    return {"regression": 1, "classification": len(SHARES), "devmap": 2}[task]


def labels(task: Task, examples: Examples) -> NDArray[Any]:
    """What the task asks for: percentages, or class numbers; device 1 is the CPU.

    Shapes: float32 [rows], or int64 [rows].
    """
    if task == "regression":
        return examples.percentage
    if task == "devmap":
        return (examples.cpu_seconds < examples.gpu_seconds).astype(np.int64)
    distance = np.abs(examples.percentage[:, None] - np.array(SHARES, np.float32))
    nearest: NDArray[np.int64] = distance.argmin(axis=1).astype(np.int64)
    return nearest


def shares(task: Task, said: NDArray[Any]) -> NDArray[np.float64]:
    """The CPU share, 0 to 1, that a prediction is. Shapes: [rows]."""
    if task == "regression":
        return np.clip(said.astype(np.float64) / 100.0, 0.0, 1.0)
    if task == "devmap":
        return said.astype(np.float64)
    return np.array(SHARES)[said.astype(np.int64)] / 100.0


def score(task: Task, examples: Examples, rows: NDArray[np.int64], said: NDArray[Any]) -> Scores:
    """The scores of predictions (percentages, or class numbers) of rows. Shapes: both [rows]."""
    return Scores(
        rows=int(rows.size),
        measures=measures(task, labels(task, examples)[rows], said),
        felt=felt(shares(task, said), examples.cpu_seconds[rows], examples.gpu_seconds[rows]),
    )


def measures(task: Task, true: NDArray[Any], said: NDArray[Any]) -> dict[str, float]:
    """The thesis' measures of a task. Shapes: both [rows]."""
    if task == "regression":
        error = said.astype(np.float64) - true
        mse = float((error**2).mean())
        return {"mae": float(np.abs(error).mean()), "rmse": mse**0.5, "mse": mse}
    accuracy = float((said == true).mean())
    precision = recall = f1 = 0.0
    for label in np.unique(true):
        weight = float((true == label).mean())
        hits = float(((said == label) & (true == label)).sum())
        right = hits / max(1.0, float((said == label).sum()))
        found = hits / float((true == label).sum())
        precision, recall = precision + weight * right, recall + weight * found
        f1 += weight * (2.0 * right * found / (right + found) if hits else 0.0)
    return {"f1": f1, "accuracy": accuracy, "precision": precision, "recall": recall}


def mean_of(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each measure over folds, as the thesis' tables give it."""
    return {name: float(np.mean([one[name] for one in measured])) for name in measured[0]}
