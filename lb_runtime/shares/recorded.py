"""Recorded launches as truths for the simulator, and what a model of the other launches says of each.

The recorded times are of whole launches on one device; what they lack is modelled, by `Model`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lb_runtime.errors import LoadBalancerError
from lb_runtime.shares.belief import MOST_FIXED, Belief
from lb_runtime.shares.makespan import Cost, SplitCost
from lb_runtime.shares.simulated import Truth
from predictor.datasets import devmap
from predictor.datasets.folds import Kind, fold_numbers

Prior = Literal["joint", "neighbours", "nothing"]
PRIORS: tuple[Prior, ...] = get_args(Prior)
BOTH = "both"
"""The CPU and both graphics cards: the same launches were recorded with either card."""
NEIGHBOURS = 48
WIDTH = 0.5
"""Standardised launch facts so far apart are hardly alike."""
GPU = 1
Samples = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Log seconds and weights. Shapes: float64 [samples, devices] and [samples]."""


@dataclass(frozen=True, slots=True)
class Model:
    """What recorded times do not tell. With all of it 0, a split costs nothing.

    `launch_seconds` are a part's fixed cost, in order CPU, GPU and further GPUs (the last one counts for
    those); `split_seconds` is the fixed price of splitting. Of the launch's transfer bytes the part
    `moved` has to come home for each launch, by the share that the GPU did not do, at
    `bytes_per_second`.
    """

    launch_seconds: tuple[float, ...] = (10e-6, 20e-6)
    split_seconds: float = 50e-6
    moved: float = 0.01
    bytes_per_second: float = 10e9

    @classmethod
    def free(cls) -> Model:
        """Splits and launches that cost nothing."""
        return cls((0.0, 0.0), 0.0, 0.0)

    def split(self, transfer_bytes: int) -> SplitCost:
        """The price of splitting a launch of so many transfer bytes."""
        rate = self.moved * transfer_bytes / self.bytes_per_second
        return SplitCost(self.split_seconds, rate, GPU)

    def fixed(self, devices: int) -> tuple[float, ...]:
        """The fixed cost of a part on each device."""
        return tuple(self.launch_seconds[min(each, GPU)] for each in range(devices))


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """Launches with their times on all devices; `dataset` is what it was asked for by.

    Shapes: seconds float64 [launches, devices].
    """

    dataset: str
    names: tuple[str, ...]
    data: devmap.Devmap
    seconds: NDArray[np.float64]

    def truth(self, row: int, model: Model) -> Truth:
        """What a launch takes."""
        launch = self.data.launches[row]
        fixed = model.fixed(len(self.names))
        costs = tuple(
            Cost(min(least, MOST_FIXED * whole), whole - min(least, MOST_FIXED * whole))
            for least, whole in zip(fixed, self.seconds[row].tolist())
        )
        moved = int(model.moved * launch.transfer_bytes)
        return Truth(costs, model.split(launch.transfer_bytes), moved)


def read(dataset: str) -> Recorded:
    """A data set by its name, `both`, or the path of a file. Raises DatasetError where it is none."""
    if dataset == BOTH:
        first, second = (devmap.read(name) for name in devmap.NAMES[::-1])
        third = [launch.gpu_seconds for launch in second.launches]
        seconds = np.column_stack([_seconds(first), third])
        names = ("CPU", *(f"{each.name} GPU" for each in (first, second)))
        return Recorded(BOTH, names, first, seconds)
    is_name = dataset in devmap.NAMES
    data = devmap.read(dataset) if is_name else devmap.read(devmap.NAMES[0], Path(dataset))
    return Recorded(data.name if is_name else "file", ("CPU", "GPU"), data, _seconds(data))


def _seconds(data: devmap.Devmap) -> NDArray[np.float64]:
    return np.array([[each.cpu_seconds, each.gpu_seconds] for each in data.launches])


def predictions(
    recorded: Recorded,
    prior: Prior,
    kind: Kind,
    seed: int,
    advance: Callable[[int], object] = lambda rows: None,
) -> list[Samples]:
    """What a model of the launches in other folds says of each launch.

    `advance` is called with numbers of rows that are done. Raises LoadBalancerError where there are more
    than two devices and the prior knows two.
    """
    devices = len(recorded.names)
    if prior == "joint" and devices != 2:
        raise LoadBalancerError(
            f"prior joint given for {devices} devices, expected neighbours or nothing: it knows a CPU "
            "and a GPU"
        )
    folds = fold_numbers(recorded.data, kind, seed)
    said: list[Samples] = [_NOTHING] * len(folds)
    ask = {"joint": _joint, "neighbours": _neighbours, "nothing": _pooled}[prior](recorded, seed)
    for fold in np.unique(folds):
        test = np.flatnonzero(folds == fold)
        for row, samples in zip(test, ask(np.flatnonzero(folds != fold), test)):
            said[row] = samples
        advance(len(test))
    return said


def beliefs(recorded: Recorded, said: Sequence[Samples], model: Model) -> list[Belief]:
    """What is said of each launch, with the costs of a model."""
    fixed = model.fixed(len(recorded.names))
    return [
        Belief.of(samples, weights, fixed, model.split(launch.transfer_bytes))
        for (samples, weights), launch in zip(said, recorded.data.launches)
    ]


_NOTHING = np.zeros((1, 1)), np.ones(1)
Rows = NDArray[np.int64]
Asked = Callable[[Rows, Rows], Sequence[Samples]]
"""Training and test rows to samples and weights of each test row."""


def _pooled(recorded: Recorded, _: int) -> Asked:
    """All training launches, whatever is asked."""
    log_seconds = np.log(recorded.seconds)

    def ask(train: Rows, test: Rows) -> list[Samples]:
        return [(log_seconds[train], np.full(len(train), 1.0 / len(train)))] * len(test)

    return ask


def _neighbours(recorded: Recorded, _: int) -> Asked:
    """The training launches that are nearest in log transfer bytes and log work-group size."""
    facts = np.log1p(
        [[each.transfer_bytes, each.work_group_size] for each in recorded.data.launches]
    )
    log_seconds = np.log(recorded.seconds)

    def ask(train: Rows, test: Rows) -> list[Samples]:
        scale = np.maximum(facts[train].std(0), 1e-9)
        said = []
        for row in test:
            apart = (((facts[train] - facts[row]) / scale) ** 2).sum(1)
            near = np.argsort(apart, kind="stable")[:NEIGHBOURS]
            weights = np.exp(-apart[near] / (2.0 * WIDTH**2)) + 1e-3
            said.append((log_seconds[train[near]], weights / weights.sum()))
        return said

    return ask


def _joint(recorded: Recorded, seed: int) -> Asked:
    """The joint model, trained on the training launches: it needs scikit-learn."""
    from predictor.joint.fit import fit, table_of

    table = table_of(recorded.data, devmap.compile_kernels(recorded.data.sources))

    def ask(train: Rows, test: Rows) -> list[Samples]:
        model = fit(table.rows(train), seed)
        answers = [
            model.predict(
                table.kernels[row], int(table.transfer_bytes[row]), int(table.work_group_size[row])
            )
            for row in test
        ]
        return [(each.log_seconds, each.weights) for each in answers]

    return ask
