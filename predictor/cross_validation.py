"""Cross-validation of the thesis' systems: a model for each fold and seed, each fold kept once judged.

Which launches stand in a fold is said by `datasets/folds.py`. Of the others a tenth chooses the epoch:
launches in random folds, whole kernels in kernel folds, whole programs in program and suite folds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictor.datasets.devmap import Devmap, Kernel
from predictor.datasets.examples import Examples
from predictor.datasets.folds import Kind, fold_numbers, programs
from predictor.errors import DatasetError, ModelError
from predictor.judge import Split
from predictor.nn.checkpoint import replace_text
from predictor.side_by_side import side_by_side
from predictor.systems import (
    Plan,
    Progress,
    SystemTraining,
    graph_set,
    plain_examples,
    train_system,
)
from predictor.tasks import Scores, mean_of, score


@dataclass(frozen=True, slots=True)
class LaunchSet:
    """The launches of a data set whose kernels compile. `rows` are their places in the data set."""

    data: Devmap
    examples: Examples
    rows: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Run:
    """One fold of one seed: `state` is the file that it is resumed from."""

    plan: Plan
    split: Split
    state: Path

    @property
    def kept(self) -> Path:
        """The file of what it gave, once it is done."""
        return self.state.with_suffix(".json")


@dataclass(frozen=True, slots=True)
class Judged:
    """What a fold's model says of its test rows: percentages, or class numbers."""

    seed: int
    fold: int
    best_epoch: int
    epochs: int
    rows: tuple[int, ...]
    said: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """The scores of a cross-validation.

    `folds` is the mean of each measure over folds and seeds, as in the thesis' tables; `spread` the
    standard deviation over seeds of their means, 0 for a single seed; `pooled` is over all test rows.
    """

    folds: dict[str, float]
    spread: dict[str, float]
    pooled: Scores

    def facts(self) -> dict[str, Any]:
        """As JSON writes it."""
        return {
            "mean_of_folds": _rounded(self.folds),
            "standard_deviation_over_seeds": _rounded(self.spread),
            "pooled": _rounded(asdict(self.pooled)),
        }


def launch_set(data: Devmap, kernels: list[Kernel | None]) -> LaunchSet:
    """The launches that can be used. Raises DatasetError where there are none."""
    known = [number for number, row in enumerate(data.launches) if kernels[row.kernel] is not None]
    return LaunchSet(data, plain_examples(data, kernels), np.array(known, np.int64))


def splits(launches: LaunchSet, kind: Kind, seed: int, folds: int) -> tuple[Split, ...]:
    """The splits of each fold. Raises DatasetError where there are fewer units than folds."""
    try:
        number = fold_numbers(launches.data, kind, seed, folds)[launches.rows]
    except ValueError as error:
        raise DatasetError(f"{error}; give another --fold-count") from error
    units = _units(launches, kind)
    made = []
    for fold in np.unique(number):
        others = np.flatnonzero(number != fold)
        inside = np.random.default_rng((seed, int(fold))).permutation(np.unique(units[others]))
        chosen = np.isin(units[others], inside[: max(1, round(inside.size / 10))])
        made.append(Split(others[~chosen], others[chosen], np.flatnonzero(number == fold)))
    return tuple(made)


def runs(
    launches: LaunchSet,
    plan: Plan,
    kind: Kind,
    *,
    seeds: Sequence[int],
    folds: int,
    first_folds: int | None,
    folder: Path,
) -> tuple[Run, ...]:
    """All runs, seed by seed; of each seed's folds the first `first_folds`, or all."""
    return tuple(
        Run(
            replace(plan, seed=seed, fold=fold),
            split,
            folder / f"seed-{seed}" / f"fold-{fold}.npz",
        )
        for seed in seeds
        for fold, split in enumerate(splits(launches, kind, seed, folds)[:first_folds])
    )


def run_all(
    launches: LaunchSet,
    todo: Sequence[Run],
    *,
    jobs: int = 1,
    advance: Callable[[Run, int, Progress | None], object] = lambda run, epochs, progress: None,
) -> tuple[Judged, ...]:
    """Trains a system for each run, `jobs` at a time, each with one thread: its matrices are small.

    `advance` is called after each epoch, and with None after a run's last, with the epochs done.
    Raises ModelError where a state is of another run. Results are in the order of the runs.
    """
    work = partial(_run, launches.examples)
    return side_by_side(
        work, todo, jobs=jobs, advance=lambda run, news: advance(run, news[0], news[1])
    )


def summarise(launches: LaunchSet, todo: Sequence[Run], judged: Sequence[Judged]) -> Summary:
    """The scores of the runs' test rows."""
    task, examples = todo[0].plan.task, launches.examples
    by_seed: dict[int, list[dict[str, float]]] = {}
    for one in judged:
        scored = score(task, examples, np.array(one.rows, np.int64), np.array(one.said))
        by_seed.setdefault(one.seed, []).append(scored.measures)
    means = [mean_of(folds) for folds in by_seed.values()]
    rows = np.concatenate([np.array(one.rows, np.int64) for one in judged])
    said = np.concatenate([np.array(one.said) for one in judged])
    return Summary(
        folds=mean_of([one for folds in by_seed.values() for one in folds]),
        spread={name: float(np.std([mean[name] for mean in means])) for name in means[0]},
        pooled=score(task, examples, rows, said),
    )


def forget(todo: Sequence[Run]) -> None:
    """Removes the states of runs."""
    for run in todo:
        run.state.unlink(missing_ok=True)
        run.kept.unlink(missing_ok=True)


def _run(
    examples: Examples, run: Run, advance: Callable[[tuple[int, Progress | None]], object]
) -> Judged:
    import torch

    torch.set_num_threads(1)
    training = SystemTraining(examples, run.split, run.plan, _graphs(examples, run.plan))
    if run.kept.exists():
        judged = _read(run.kept, training.identity())
    else:
        train_system(training, state=run.state, advance=lambda p: advance((p.epoch, p)))
        test = run.split.test
        judged = Judged(
            run.plan.seed,
            run.plan.fold,
            training.best_epoch,
            training.epoch,
            tuple(test.tolist()),
            tuple(round(float(one), 4) for one in training.predict(test)),
        )
        text = json.dumps({"run": training.identity(), "judged": asdict(judged)})
        replace_text(run.kept, text + "\n")
        run.state.unlink(missing_ok=True)
    advance((judged.epochs, None))
    return judged


_made: list[tuple[Examples, tuple[object, ...], Any]] = []


def _graphs(examples: Examples, plan: Plan) -> Any:
    """The graphs of the last plan's kind: all folds of a cross-validation read the same."""
    key = (plan.gnn, plan.pooling == "diff", plan.pooling == "topk")
    if not (_made and _made[0][0] is examples and _made[0][1] == key):
        _made[:] = [(examples, key, graph_set(examples, plan))]
    return _made[0][2]


def _read(path: Path, identity: dict[str, Any]) -> Judged:
    try:
        kept = json.loads(path.read_text("utf-8"))
        same, judged = kept["run"] == json.loads(json.dumps(identity)), kept["judged"]
        read = Judged(**{**judged, "rows": tuple(judged["rows"]), "said": tuple(judged["said"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"cannot read the result {path} ({error}); start with --fresh") from error
    if not same:
        raise ModelError(f"result {path} is of another run; start with --fresh")
    return read


def _units(launches: LaunchSet, kind: Kind) -> NDArray[np.int64]:
    """What validation never parts. Shapes: int64 [rows]."""
    if kind == "random":
        return np.arange(launches.rows.size)
    if kind == "kernel":
        return launches.examples.kernel
    names = np.array(programs(launches.data))[launches.rows]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
