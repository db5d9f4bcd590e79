"""Cross-validation: a model for each fold, trained side by side, and what it says of unseen rows.

The protocol is the thesis': random folds, of each 80 % of the rows train, 10 % choose the epoch and
10 % judge. The `kernel` protocol puts all rows of a kernel in one fold, and its validation kernels
are kernels that do not train either: it tells how a model does on a kernel that it has never seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import KFold, train_test_split

from predictor.datasets.examples import Examples
from predictor.judge import FoldResult, Split
from predictor.nn.checkpoint import replace_text
from predictor.side_by_side import side_by_side
from predictor.train import Progress, TrainingConfig, train

PROTOCOLS = ("random", "kernel")


@dataclass(frozen=True, slots=True)
class Task:
    """One model to train; `state` is the file that it is resumed from."""

    split: Split
    config: TrainingConfig
    state: Path


def splits(
    kernel: NDArray[np.int64], protocol: str, folds: int, seed: int, member: int = 0
) -> tuple[Split, ...]:
    """The folds of a protocol for a member of an ensemble.

    All members leave out the same test rows; of the others, each validates on a tenth of its own.
    Shapes: kernel [rows], the kernel of each row.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    unit_of_row = np.arange(kernel.size) if protocol == "random" else kernel
    units = np.unique(unit_of_row)
    made = []
    for others, test in KFold(folds, shuffle=True, random_state=seed).split(units):
        chosen, validation = train_test_split(
            others, test_size=1.0 / (folds - 1), random_state=seed + member, shuffle=True
        )
        parts = (chosen, validation, test)
        made.append(Split(*(np.flatnonzero(np.isin(unit_of_row, units[part])) for part in parts)))
    return tuple(made)


def in_words(protocol: str, folds: int, members: int, epochs: int) -> str:
    """What a cross-validation did, for the reader of its metrics."""
    units = "rows" if protocol == "random" else "kernels, with all rows of each"
    share = 100.0 / folds
    return (
        f"{folds} random folds of {units}; in each fold {members} models are trained, each from new "
        f"weights for {epochs} epochs ({members * epochs} in all), on {100.0 - 2.0 * share:.0f} % of "
        f"the {units}, with {share:.0f} % of its own that choose its best epoch by mean absolute "
        f"error; their mean is judged on the {share:.0f} % that none of them has seen"
    )


def everything(rows: int, seed: int) -> Split:
    """All rows for training but a tenth, which chooses the epoch; none is left to judge."""
    chosen, validation = train_test_split(
        np.arange(rows), test_size=0.1, random_state=seed, shuffle=True
    )
    return Split(np.sort(chosen), np.sort(validation), np.empty(0, dtype=np.int64))


def tasks_of(
    members: Sequence[Sequence[Split]], config: TrainingConfig, folder: Path
) -> tuple[Task, ...]:
    """All runs over the members' folds, member by member; the members' seeds are consecutive."""
    return tuple(
        Task(
            split,
            replace(config, seed=config.seed + member, fold=fold),
            folder / f"seed-{config.seed + member}" / f"fold-{fold}.npz",
        )
        for member, folds in enumerate(members)
        for fold, split in enumerate(folds)
    )


def run(
    examples: Examples,
    tasks: Sequence[Task],
    *,
    jobs: int = 1,
    advance: Callable[[Task, Progress], object] = lambda task, progress: None,
) -> tuple[FoldResult, ...]:
    """Trains a model for each task, `jobs` at a time, each with one thread: its matrices are small.

    `advance` is called after each epoch. A task's state is kept in its file: a run that was stopped
    goes on from there. Results are in the order of the tasks.
    """
    work = partial(_run_task, examples)
    return side_by_side(work, tasks, jobs=jobs, advance=advance)


def _run_task(examples: Examples, task: Task, advance: Callable[[Progress], object]) -> FoldResult:
    torch.set_num_threads(1)
    training = train(examples, task.split, task.config, state=task.state, advance=advance)
    test = task.split.test
    result = FoldResult(
        fold=task.config.fold,
        best_epoch=training.best_epoch,
        validation_mae=training.best_mae,
        rows=tuple(test.tolist()),
        percentages=tuple(training.predict(training.best, test).tolist()) if test.size else (),
    )
    kept = {"config": asdict(task.config), "result": asdict(result)}
    replace_text(task.state.with_suffix(".json"), json.dumps(kept, indent=1))
    return result
