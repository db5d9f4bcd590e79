"""Trains a joint model on measured launches. Offline only: scikit-learn is imported here."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor

from predictor.datasets.devmap import Devmap, Kernel
from predictor.datasets.folds import suites
from predictor.errors import DatasetError
from predictor.facts import kernel_facts, launch_facts
from predictor.joint.calibration import PROBABILITY, Calibration, LeftOut, calibrate, spread
from predictor.joint.forest import LEAF, Forest
from predictor.joint.model import JointModel, Standard
from predictor.joint.process import condition
from predictor.prediction import quantiles

TREES = 300
INNER_TREES = 16
"""Of models that only calibrate."""
FEATURES_TRIED = 0.5
INNER_FOLDS = 8
INNER_FOLDS_USED = 4
"""A model that calibrates leaves out little, as little as it takes to learn from; half of it is enough."""
_MOST_ROWS = 32767


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Measured launches with their facts.

    Shapes:
        kernel: int64 [rows], the kernel of each row.
        kernels: float32 [rows, kernel facts].
        launches: float32 [rows, launch facts].
        transfer_bytes, work_group_size: int64 [rows].
        log_seconds: float64 [rows, 2], CPU and GPU.
        suite: int64 [rows].
    """

    kernel: NDArray[np.int64]
    kernels: NDArray[np.float32]
    launches: NDArray[np.float32]
    transfer_bytes: NDArray[np.int64]
    work_group_size: NDArray[np.int64]
    log_seconds: NDArray[np.float64]
    suite: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.kernel)

    def rows(self, chosen: NDArray[np.int64]) -> Table:
        """Some rows of it."""
        return Table(
            self.kernel[chosen],
            self.kernels[chosen],
            self.launches[chosen],
            self.transfer_bytes[chosen],
            self.work_group_size[chosen],
            self.log_seconds[chosen],
            self.suite[chosen],
        )


def table_of(data: Devmap, kernels: list[Kernel | None]) -> Table:
    """The launches of a data set with their facts. Raises DatasetError where a kernel is missing."""
    facts = []
    for number, kernel in enumerate(kernels):
        if kernel is None:
            raise DatasetError(f"kernel {number} of the {data.name} data set does not compile")
        facts.append(kernel_facts(kernel.graph))
    launches = data.launches
    return Table(
        kernel=np.array([each.kernel for each in launches], np.int64),
        kernels=np.stack([facts[each.kernel] for each in launches]),
        launches=np.stack(
            [
                launch_facts(facts[each.kernel], each.transfer_bytes, each.work_group_size)
                for each in launches
            ]
        ),
        transfer_bytes=np.array([each.transfer_bytes for each in launches], np.int64),
        work_group_size=np.array([each.work_group_size for each in launches], np.int64),
        log_seconds=np.log([[each.cpu_seconds, each.gpu_seconds] for each in launches]),
        suite=np.unique(suites(data), return_inverse=True)[1].astype(np.int64),
    )


def fit(
    table: Table, seed: int, trees: int = TREES, advance: Callable[[], object] = lambda: None
) -> JointModel:
    """A calibrated model of all rows of a table. `advance` is called `steps(table)` times."""
    left_out: list[LeftOut] = []
    for train, test in _inner_splits(table, seed):
        model = fit_uncalibrated(table.rows(train), seed, INNER_TREES)
        left_out += _left_out(model, table.rows(test))
        advance()
    model = fit_uncalibrated(table, seed, trees)
    advance()
    return replace(model, calibration=calibrate(left_out, general_spread(table)))


def steps(table: Table) -> int:
    """How many models `fit` trains."""
    return INNER_FOLDS_USED + 1


def fit_uncalibrated(table: Table, seed: int, trees: int = TREES) -> JointModel:
    """A model of all rows whose spread is as it comes.

    Raises ValueError where there are more rows than a model file can number.
    """
    if len(table) > _MOST_ROWS:
        raise ValueError(f"{len(table)} rows given, a model holds at most {_MOST_ROWS}")
    of_kernel, of_launch = Standard.of(table.kernels), Standard.of(table.launches[:, :2])
    return JointModel(
        of_kernel,
        of_launch,
        _forest(table, seed, trees),
        condition(of_kernel(table.kernels), of_launch(table.launches[:, :2]), table.log_seconds),
        Calibration(),
        table.log_seconds,
    )


def general_spread(table: Table) -> float:
    """The width of the interval of log T_gpu - log T_cpu about what other suites have, for a new suite.

    Each suite is left out in turn, and looked at from the median of the others; all count alike.
    """
    difference = table.log_seconds[:, 1] - table.log_seconds[:, 0]
    away = np.empty(len(table))
    for suite in np.unique(table.suite):
        mine = table.suite == suite
        if mine.all():
            weights = np.full(len(table), 1.0 / len(table))
            return spread(difference, weights)
        weights = suite_weights(table.suite[~mine])
        away[mine] = difference[mine] - quantiles(difference[~mine], weights, (0.5,))[0]
    weights = suite_weights(table.suite)
    return 2.0 * float(quantiles(np.abs(away), weights, (PROBABILITY,))[0])


def suite_weights(suite: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights by which each suite counts alike; their mean is 1. Shapes: [rows] to [rows]."""
    _, place, counts = np.unique(suite, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[place]
    level: NDArray[np.float64] = weights / weights.mean()
    return level


def _inner_splits(table: Table, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Training and test rows of models that calibrate.

    Each leaves out a part of the kernels whole, and half as large a part of the rows of the other
    kernels: of the ones the model sees no launch, of the others some.
    """
    stream = np.random.RandomState(seed)
    kernels = np.unique(table.kernel)
    fold_of_kernel = stream.permutation(len(kernels)) % INNER_FOLDS
    fold = fold_of_kernel[np.searchsorted(kernels, table.kernel)]
    fold_of_row = stream.permutation(len(table)) % (2 * INNER_FOLDS)
    for number in range(INNER_FOLDS_USED):
        is_test = (fold == number) | (fold_of_row == number)
        yield np.flatnonzero(~is_test), np.flatnonzero(is_test)


def _left_out(model: JointModel, test: Table) -> list[LeftOut]:
    found = []
    for row in range(len(test)):
        said = model.predict(
            test.kernels[row], int(test.transfer_bytes[row]), int(test.work_group_size[row])
        )
        cpu, gpu = test.log_seconds[row]
        found.append(
            LeftOut(
                model.novelty(test.kernels[row], test.launches[row]),
                float(gpu - cpu),
                said.log_seconds[:, 1] - said.log_seconds[:, 0],
                said.weights,
            )
        )
    return found


def _forest(table: Table, seed: int, trees: int) -> Forest:
    """Extremely randomised trees that part launches by their best share, each suite counting alike.

    Source: Geurts, Ernst and Wehenkel, "Extremely randomized trees", Machine Learning 2006.
    """
    features = np.concatenate([table.kernels, table.launches], 1)
    weights = suite_weights(table.suite)
    cpu, gpu = table.log_seconds.T
    grown = ExtraTreesRegressor(
        trees, max_features=FEATURES_TRIED, random_state=seed, n_jobs=1
    ).fit(features, 1.0 / (1.0 + np.exp(cpu - gpu)), sample_weight=weights)
    leaves = grown.apply(features).T
    return _laid_out([(tree.tree_, mine) for tree, mine in zip(grown, leaves)], weights)


def _laid_out(grown: list[tuple[Any, NDArray[np.int64]]], votes: NDArray[np.float64]) -> Forest:
    """scikit-learn's trees, each with the leaf of every training row, as one forest."""
    roots, feature, threshold, left, right, rows = [], [], [], [], [], []
    nodes = 0
    for number, (tree, leaves) in enumerate(grown):
        is_leaf = tree.children_left < 0
        order = np.argsort(leaves, kind="stable")
        starts = np.searchsorted(leaves[order], np.arange(tree.node_count))
        ends = np.searchsorted(leaves[order], np.arange(tree.node_count), side="right")
        before = number * len(leaves)
        roots.append(nodes)
        feature.append(np.where(is_leaf, LEAF, tree.feature))
        threshold.append(_rounded_down(np.where(is_leaf, 0.0, tree.threshold)))
        left.append(np.where(is_leaf, starts + before, tree.children_left + nodes))
        right.append(np.where(is_leaf, ends + before, tree.children_right + nodes))
        rows.append(order)
        nodes += tree.node_count
    return Forest(
        np.array(roots, np.int32),
        np.concatenate(feature).astype(np.int16),
        np.concatenate(threshold).astype(np.float32),
        np.concatenate(left).astype(np.int32),
        np.concatenate(right).astype(np.int32),
        np.concatenate(rows).astype(np.int16),
        votes.astype(np.float32),
    )


def _rounded_down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The greatest float32 that is not above: what is at most the one is at most the other."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)


def software() -> dict[str, str]:
    """The versions of what a model was made with."""
    names = ("numpy", "scikit-learn", "ziglang")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
