"""The thesis' systems in cross-validation: resumable, seeded, refusing what is not theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("torch_geometric", reason="training needs the extra `train`")
pytest.importorskip("sklearn", reason="training needs the extra `train`")

import torch

from predictor.baselines import BASELINES, judge_baseline
from predictor.cross_validation import (
    LaunchSet,
    Run,
    forget,
    launch_set,
    run_all,
    runs,
    splits,
    summarise,
)
from predictor.datasets.devmap import Devmap, Kernel, Launch
from predictor.errors import DatasetError, ModelError
from predictor.program_graph import ProgramGraph
from predictor.systems import Plan, SystemTraining, graph_set, train_system
from predictor.tasks import TASKS

torch.set_num_threads(1)
SIZES = (4, 8, 12, 16)


@pytest.fixture(scope="module")
def launches(graphs: list[ProgramGraph]) -> LaunchSet:
    rows = tuple(
        Launch(
            f"suite-{1 + kernel % 2}.0-program{kernel}-kernel",
            str(size),
            kernel,
            1 << size,
            64,
            1e-3,
            1e-3 * (1 + kernel) / size,
        )
        for kernel in range(len(graphs))
        for size in SIZES
    )
    data = Devmap("small", "", tuple(map(str, range(len(graphs)))), rows)
    return launch_set(data, [Kernel(graph, ()) for graph in graphs])


def planned(launches: LaunchSet, folder: Path, **given: Any) -> tuple[Run, ...]:
    plan = Plan(**{"task": "regression", "epochs": 3, "batch_rows": 8, **given})
    return runs(launches, plan, "random", seeds=(1,), folds=3, first_folds=None, folder=folder)


@pytest.mark.parametrize("kind", ["random", "kernel", "program", "suite"])
def test_a_launch_is_judged_once_and_never_trained_on_where_it_is(
    launches: LaunchSet, kind: Any
) -> None:
    made = splits(launches, kind, seed=1, folds=3)
    every = np.arange(len(launches.rows))
    assert sorted(np.concatenate([one.test for one in made])) == list(every)
    for one in made:
        assert sorted(np.concatenate((one.train, one.validation, one.test))) == list(every)
        assert one.validation.size


@pytest.mark.parametrize("kind", ["kernel", "program", "suite"])
def test_validation_kernels_do_not_train(launches: LaunchSet, kind: Any) -> None:
    kernel = launches.examples.kernel
    for one in splits(launches, kind, seed=2, folds=3):
        assert not set(kernel[one.train]) & set(kernel[one.validation])


def test_more_folds_than_units_are_refused_in_one_line(launches: LaunchSet) -> None:
    with pytest.raises(DatasetError, match="--fold-count"):
        splits(launches, "kernel", seed=1, folds=50)


@pytest.mark.parametrize("task", TASKS)
def test_a_cross_validation_judges_every_launch(
    launches: LaunchSet, tmp_path: Path, task: Any
) -> None:
    todo = planned(launches, tmp_path, task=task, gnn="mlp", pooling="mean")
    summary = summarise(launches, todo, run_all(launches, todo))
    assert summary.pooled.rows == len(launches.rows)
    assert summary.folds.keys() == summary.pooled.measures.keys()
    assert summary.pooled.felt.to_best.mean >= 1.0


def test_a_stopped_run_goes_on_to_what_an_unbroken_one_gives(
    launches: LaunchSet, tmp_path: Path
) -> None:
    whole = run_all(launches, planned(launches, tmp_path / "whole"))

    class StoppedError(Exception):
        pass

    todo = planned(launches, tmp_path / "stopped")
    split, plan = todo[1].split, todo[1].plan
    training = SystemTraining(launches.examples, split, plan, graph_set(launches.examples, plan))

    def stop(progress: Any) -> None:
        if progress.epoch == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        train_system(training, state=todo[1].state, save_every=2, advance=stop)
    assert run_all(launches, todo) == whole
    assert not todo[1].state.exists()


def test_what_is_done_is_not_trained_again(launches: LaunchSet, tmp_path: Path) -> None:
    todo = planned(launches, tmp_path, gnn="mlp", pooling="mean")
    first = run_all(launches, todo)
    epochs: list[Any] = []
    again = run_all(launches, todo, advance=lambda run, count, news: epochs.append(news))
    assert again == first
    assert epochs == [None] * len(todo)
    forget(todo)
    assert not any(run.kept.exists() for run in todo)


@pytest.mark.slow
def test_processes_side_by_side_give_the_same(launches: LaunchSet, tmp_path: Path) -> None:
    given = {"gnn": "mlp", "pooling": "mean", "epochs": 1}
    one = run_all(launches, planned(launches, tmp_path / "one", **given))
    assert run_all(launches, planned(launches, tmp_path / "two", **given), jobs=2) == one


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"run": 1, "judged": {}}'])
def test_a_damaged_result_is_refused_in_one_line(
    launches: LaunchSet, tmp_path: Path, content: str
) -> None:
    todo = planned(launches, tmp_path, gnn="mlp", pooling="mean", epochs=1)
    todo[0].kept.parent.mkdir(parents=True)
    todo[0].kept.write_text(content)
    with pytest.raises(ModelError, match="--fresh") as caught:
        run_all(launches, todo)
    assert "\n" not in str(caught.value)


def test_the_result_of_another_run_is_refused(launches: LaunchSet, tmp_path: Path) -> None:
    run_all(launches, planned(launches, tmp_path, gnn="mlp", pooling="mean", epochs=1))
    with pytest.raises(ModelError, match="another run"):
        run_all(launches, planned(launches, tmp_path, gnn="mlp", pooling="mean", epochs=2))


def test_the_state_of_another_run_is_refused(launches: LaunchSet, tmp_path: Path) -> None:
    todo = planned(launches, tmp_path, gnn="mlp", pooling="mean")
    other = Plan("regression", "mlp", "mean", epochs=4, batch_rows=8)
    graphs = graph_set(launches.examples, other)
    SystemTraining(launches.examples, todo[0].split, other, graphs).save(todo[0].state)
    with pytest.raises(ModelError, match="another run"):
        run_all(launches, todo)


def test_patience_ends_a_run_that_gets_no_better(launches: LaunchSet) -> None:
    plan = Plan("regression", "mlp", "mean", epochs=60, patience=1, learning_rate=1e-9)
    split = splits(launches, "random", 1, 3)[0]
    training = SystemTraining(launches.examples, split, plan, graph_set(launches.examples, plan))
    train_system(training)
    assert training.epoch < 60
    assert training.epoch == training.best_epoch + 1


def test_every_launch_trains_once_an_epoch_and_no_batch_is_a_single_one(
    launches: LaunchSet,
) -> None:
    split = splits(launches, "random", 1, 3)[0]
    for size in range(2, 17):
        plan = Plan("regression", "mlp", "mean", batch_rows=size)
        graphs = graph_set(launches.examples, plan)
        training = SystemTraining(launches.examples, split, plan, graphs)
        batches = list(training.batches(np.random.default_rng(0)))
        assert sorted(np.concatenate(batches)) == list(split.train)
        assert min(batch.size for batch in batches) > 1


@pytest.mark.parametrize(
    "given", [{"epochs": 0}, {"patience": 0}, {"batch_rows": 1}], ids=lambda given: str(*given)
)
def test_a_plan_cannot_be_made_wrong(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        Plan(**{"task": "devmap", **given})


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("baseline", BASELINES)
def test_every_baseline_judges_every_launch(
    launches: LaunchSet, tmp_path: Path, task: Any, baseline: Any
) -> None:
    todo = planned(launches, tmp_path, task=task)
    counted = np.random.default_rng(0).integers(0, 50, (len(launches.rows), 8)).astype(float)
    summary = summarise(launches, todo, judge_baseline(launches, counted, baseline, todo))
    assert summary.pooled.rows == len(launches.rows)


def test_a_run_keeps_what_it_said_as_json(launches: LaunchSet, tmp_path: Path) -> None:
    todo = planned(launches, tmp_path, gnn="mlp", pooling="mean", epochs=1)
    judged = run_all(launches, todo)
    kept = json.loads(todo[2].kept.read_text())["judged"]
    assert kept["said"] == list(judged[2].said)
