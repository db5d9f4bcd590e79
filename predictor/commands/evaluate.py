"""`python -m predictor evaluate`: any system of the thesis, or a classical baseline, by folds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from predictor.commands.shared import load, state_folder, state_options, table, train_runs, write
from predictor.datasets import devmap

if TYPE_CHECKING:
    from predictor.cross_validation import Judged, LaunchSet, Run
    from predictor.systems import Plan

TASKS = ("regression", "classification", "devmap")
GNNS = ("programl", "gcn", "gat", "mlp")
POOLINGS = ("default", "mean", "diff", "topk", "skips")
FOLDS = ("random", "kernel", "program", "suite")
BASELINES = ("tree", "linear", "boosted")


@click.command()
@click.option("--task", type=click.Choice(TASKS), default="regression", show_default=True)
@click.option("--gnn", type=click.Choice(GNNS), default="programl", show_default=True)
@click.option("--pooling", type=click.Choice(POOLINGS), default="skips", show_default=True)
@click.option("--extended-readout", is_flag=True, help="One more linear layer in the readout.")
@click.option(
    "--baseline",
    type=click.Choice(BASELINES),
    help="A classical model on hand-made features, instead of a network.",
)
@click.option("--dataset", type=click.Choice(devmap.NAMES), default="nvidia", show_default=True)
@click.option("--folds", "kind", type=click.Choice(FOLDS), default="random", show_default=True)
@click.option(
    "--fold-count",
    type=click.IntRange(min=2),
    default=10,
    show_default=True,
    help="Folds of the data; suite folds are as many as there are suites.",
)
@click.option(
    "--first-folds",
    type=click.IntRange(min=1),
    help="Train and judge the first so many folds alone  [default: all]",
)
@click.option("--epochs", type=click.IntRange(min=1), default=300, show_default=True)
@click.option(
    "--patience",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    help="Epochs without a better validation after which a fold ends.",
)
@click.option(
    "--batch", type=click.IntRange(min=2), default=32, show_default=True, help="Launches."
)
@click.option(
    "--seed",
    "given_seeds",
    type=click.IntRange(min=0),
    multiple=True,
    help="Of folds, weights and batches; may be given several times  [default: 1]",
)
@click.option("--seeds", type=click.IntRange(min=1), help="Seeds from 1 to N, instead of --seed.")
@state_options
def evaluate(
    task: str,
    gnn: str,
    pooling: str,
    extended_readout: bool,
    baseline: str | None,
    dataset: str,
    kind: str,
    fold_count: int,
    first_folds: int | None,
    epochs: int,
    patience: int,
    batch: int,
    given_seeds: tuple[int, ...],
    seeds: int | None,
    **where: Any,
) -> None:
    """Judge a system of the thesis by folds: what it says of launches that it was not trained on."""
    if seeds is not None and given_seeds:
        raise click.UsageError("--seed and --seeds are given; give one of them")
    chosen = tuple(range(1, seeds + 1)) if seeds else given_seeds or (1,)
    if not baseline and (gnn, pooling) == ("mlp", "skips"):
        raise click.UsageError(
            "--pooling skips reads the states after each step, and --gnn mlp takes none; "
            "choose another --pooling"
        )
    from predictor.systems import Plan

    plan = Plan(
        task=task,  # type: ignore[arg-type]  # click has checked all three
        gnn=gnn,  # type: ignore[arg-type]
        pooling=pooling,  # type: ignore[arg-type]
        extended_readout=extended_readout,
        epochs=epochs,
        patience=patience,
        batch_rows=batch,
    )
    facts, text = _evaluated(
        plan, baseline, dataset, kind, fold_count, first_folds, chosen, **where
    )
    click.echo(text)
    write(where["output"], facts)


def _evaluated(
    plan: Plan,
    baseline: str | None,
    dataset: str,
    kind: str,
    fold_count: int,
    first_folds: int | None,
    seeds: tuple[int, ...],
    *,
    data: Path | None,
    state: Path | None,
    resume: bool,
    jobs: int,
    output: Path | None,
) -> tuple[dict[str, Any], str]:
    from predictor.cross_validation import runs, summarise

    launches = load(dataset, data)
    name = baseline or system_name(plan)
    todo = runs(
        launches,
        plan,
        kind,  # type: ignore[arg-type]  # click has checked it
        seeds=seeds,
        folds=fold_count,
        first_folds=first_folds,
        folder=state_folder(state, run_name(plan, dataset, kind, fold_count)),
    )
    if baseline:
        judged = _baseline(launches, dataset, data, baseline, todo)
    else:
        judged = train_runs(launches, todo, jobs=jobs, resume=resume, title=name)
    summary = summarise(launches, todo, judged)
    facts = {
        "system": name,
        "task": plan.task,
        "data": {"name": dataset, "sha256": launches.data.sha256, "launches": len(launches.rows)},
        "folds": kind,
        "folds_run": len(todo) // len(seeds),
        "seeds": list(seeds),
        "epochs": None if baseline else plan.epochs,
        "patience": None if baseline else plan.patience,
        "batch": None if baseline else plan.batch_rows,
        "epochs_run": [one.epochs for one in judged],
        "best_epochs": [one.best_epoch for one in judged],
        **summary.facts(),
    }
    return facts, table([(name, summary)])


def system_name(plan: Plan) -> str:
    """A plan's system in a few words."""
    extended = " + extended readout" if plan.extended_readout else ""
    return f"{plan.gnn}, {plan.pooling} pooling{extended}"


def run_name(plan: Plan, dataset: str, kind: str, folds: int) -> str:
    """The folder of a plan's states."""
    readout = "extended" if plan.extended_readout else "plain"
    return (
        f"{dataset}-{plan.task}-{plan.gnn}-{plan.pooling}-{readout}-{kind}-{folds}"
        f"-{plan.epochs}-{plan.patience}-{plan.batch_rows}"
    )


def _baseline(
    launches: LaunchSet, dataset: str, data: Path | None, baseline: str, todo: tuple[Run, ...]
) -> tuple[Judged, ...]:
    from predictor.baselines import judge_baseline
    from predictor.commands.shared import bars
    from predictor.datasets.grewe import counts

    counted = counts(dataset, data)
    with bars() as shown:
        bar = shown.add_task(baseline, total=len(todo), state="")
        return judge_baseline(
            launches,
            counted,
            baseline,  # type: ignore[arg-type]  # click has checked it
            todo,
            lambda: shown.advance(bar),
        )
