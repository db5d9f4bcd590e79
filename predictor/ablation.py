"""The ablation of the thesis as data: its models, and the numbers that its tables give for them.

Source: the thesis behind igabirondo16/pyg_programl, tables 4.2 (device mapping), 5.1 (classification)
and 5.2 (regression); the error of device mapping in ProGraML's paper (Cummins et al., ICML 2021, table 4)
is quoted there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from predictor.baselines import Baseline
from predictor.cross_validation import Summary
from predictor.nn.pools import Pooling
from predictor.nn.tables import Gnn
from predictor.tasks import Task


@dataclass(frozen=True, slots=True)
class Row:
    """A model of the ablation: a network with its pooling and readout, or a classical baseline.

    `thesis` holds the thesis' own measures, named as in `tasks.py`; empty where it has none.
    """

    task: Task
    name: str
    thesis: dict[str, float]
    gnn: Gnn = "programl"
    pooling: Pooling = "default"
    extended_readout: bool = False
    baseline: Baseline | None = None
    dataset: str = "nvidia"
    final: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """A row with what was measured, and in how many folds and epochs at most (0 for a baseline)."""

    row: Row
    summary: Summary
    folds: int
    epochs: int


_NETWORKS: tuple[tuple[str, Gnn, Pooling, bool], ...] = (
    ("Base ProGraML", "programl", "default", False),
    ("Mean Pooling + MLP", "mlp", "mean", False),
    ("Mean Pooling + GCN", "gcn", "mean", False),
    ("Mean Pooling + GAT", "gat", "mean", False),
    ("Mean Pooling + ProGraML", "programl", "mean", False),
    ("Diff Pooling + ProGraML", "programl", "diff", False),
    ("TopK Pooling + ProGraML", "programl", "topk", False),
    ("Skips + ProGraML", "programl", "skips", False),
    ("(Diff Pooling + Ext. Readout) + ProGraML", "programl", "diff", True),
    ("(TopK Pooling + Ext. Readout) + ProGraML", "programl", "topk", True),
    ("(Skips + Ext. Readout) + ProGraML", "programl", "skips", True),
)
_CLASSIFICATION = (
    (0.729, 0.733, 0.743, 0.733),
    (0.769, 0.772, 0.781, 0.772),
    (0.765, 0.771, 0.778, 0.712),
    (0.756, 0.755, 0.774, 0.755),
    (0.758, 0.758, 0.733, 0.741),
    (0.767, 0.770, 0.779, 0.770),
    (0.739, 0.739, 0.766, 0.739),
    (0.765, 0.769, 0.781, 0.769),
    (0.772, 0.773, 0.780, 0.773),
    (0.750, 0.754, 0.762, 0.754),
    (0.791, 0.782, 0.792, 0.781),
)
_REGRESSION = (
    (20.862, 13.297, 499.9),
    (13.582, 9.894, 189.5),
    (14.072, 10.43, 201.888),
    (15.315, 10.365, 242.278),
    (13.141, 9.371, 176.972),
    (11.671, 7.689, 144.051),
    (11.186, 7.714, 128.741),
    (12.489, 8.794, 160.882),
    (12.775, 8.638, 175.251),
    (15.608, 12.304, 253.081),
    (11.121, 7.324, 131.06),
)
_OF_CLASSES = ("f1", "accuracy", "precision", "recall")
_OF_PERCENTAGES = ("rmse", "mae", "mse")


def rows() -> tuple[Row, ...]:
    """All models of the thesis' tables, boosted trees beside its baselines, and device mapping."""
    tree = dict(zip(_OF_CLASSES, (0.532, 0.544, 0.555, 0.544)))
    linear = dict(zip(_OF_PERCENTAGES, (23.081, 19.406, 534.086)))
    return (
        Row("regression", "Linear Regression", linear, baseline="linear"),
        Row("regression", "Boosted Trees", {}, baseline="boosted"),
        *_networks("regression", _OF_PERCENTAGES, _REGRESSION),
        Row("classification", "Decision Tree", tree, baseline="tree"),
        Row("classification", "Boosted Trees", {}, baseline="boosted"),
        *_networks("classification", _OF_CLASSES, _CLASSIFICATION),
        Row("devmap", "ProGraML, NVIDIA", {"accuracy": 0.790}),
        Row("devmap", "ProGraML, AMD", {"accuracy": 0.850}, dataset="amd"),
    )


def in_markdown(results: Sequence[Result]) -> str:
    """A table for each task, with the thesis' number in brackets behind each of ours."""
    parts = []
    for task in dict.fromkeys(result.row.task for result in results):
        of_task = [result for result in results if result.row.task == task]
        names = _OF_PERCENTAGES if task == "regression" else _OF_CLASSES
        head = ["model", *names, "T/T(best)", "slower", "folds", "epochs"]
        lines = [f"**{task}**", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        lines += [f"| {' | '.join(_cells(result, names))} |" for result in of_task]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _cells(result: Result, names: Sequence[str]) -> list[str]:
    felt = result.summary.pooled.felt
    digits = 2 if result.row.task == "regression" else 3
    cells = [result.row.name]
    for name in names:
        ours = f"{result.summary.folds[name]:.{digits}f}"
        thesis = result.row.thesis.get(name)
        cells.append(ours if thesis is None else f"{ours} ({thesis:.{digits}f})")
    cells += [f"{felt.to_best.mean:.3f}", f"{100.0 * felt.slower_than_single:.1f} %"]
    return [*cells, str(result.folds), str(result.epochs or "-")]


def _networks(
    task: Task, measures: Sequence[str], numbers: Sequence[Sequence[float]]
) -> tuple[Row, ...]:
    return tuple(
        Row(
            task,
            name,
            dict(zip(measures, values)),
            gnn=gnn,
            pooling=pooling,
            extended_readout=extended,
            final=(pooling, extended) == ("skips", True),
        )
        for (name, gnn, pooling, extended), values in zip(_NETWORKS, numbers, strict=True)
    )
