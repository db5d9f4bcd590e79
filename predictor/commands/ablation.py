"""`python -m predictor ablation`: every model of the thesis' tables, beside the thesis' numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from predictor.commands.evaluate import run_name
from predictor.commands.shared import load, state_folder, state_options, train_runs, write

if TYPE_CHECKING:
    from predictor.ablation import Result, Row
    from predictor.cross_validation import LaunchSet


@click.command()
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option(
    "--fold-count", type=click.IntRange(min=2), default=10, show_default=True, help="Random folds."
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
    "--short-epochs",
    type=click.IntRange(min=1),
    help="Epochs of all networks but the thesis' final one  [default: the same]",
)
@click.option(
    "--short-folds",
    type=click.IntRange(min=1),
    help="Judge those networks by the first so many folds  [default: all]",
)
@click.option("--only", default="", help="Only models with this in their task or name.")
@click.option(
    "--finished",
    is_flag=True,
    help="Train no network: the folds that are done already, and no model that has none.",
)
@state_options
def ablation(
    seed: int,
    fold_count: int,
    epochs: int,
    patience: int,
    batch: int,
    short_epochs: int | None,
    short_folds: int | None,
    only: str,
    finished: bool,
    data: Path | None,
    state: Path | None,
    resume: bool,
    jobs: int,
    output: Path | None,
) -> None:
    """Run the whole ablation of the thesis, and print each model beside the thesis' own numbers.

    It can be stopped and called again: folds that are done are not trained anew.
    """
    from predictor.ablation import in_markdown, rows

    wanted = [row for row in rows() if only.lower() in f"{row.task} {row.name}".lower()]
    if not wanted:
        names = ", ".join(dict.fromkeys(row.name for row in rows()))
        raise click.UsageError(f"no model has {only!r} in its name; there are {names}")
    sets: dict[str, LaunchSet] = {}
    results = []
    for row in wanted:
        if row.dataset not in sets:
            sets[row.dataset] = load(row.dataset, data)
        whole = row.final or row.baseline is not None
        result = _result(
            row,
            sets[row.dataset],
            data,
            seed=seed,
            fold_count=fold_count,
            first_folds=None if whole else short_folds,
            epochs=epochs if whole else short_epochs or epochs,
            patience=patience,
            batch=batch,
            finished=finished,
            state=state,
            resume=resume or finished,
            jobs=jobs,
        )
        results += [result] if result else []
    click.echo(in_markdown(results))
    facts = {
        "seed": seed,
        "batch": batch,
        "patience": patience,
        "data": {name: launches.data.sha256 for name, launches in sets.items()},
        "models": [_facts(result) for result in results],
    }
    write(output, facts)


def _result(
    row: Row,
    launches: LaunchSet,
    data: Path | None,
    *,
    seed: int,
    fold_count: int,
    first_folds: int | None,
    epochs: int,
    patience: int,
    batch: int,
    finished: bool,
    state: Path | None,
    resume: bool,
    jobs: int,
) -> Result | None:
    from predictor.ablation import Result
    from predictor.baselines import judge_baseline
    from predictor.cross_validation import runs, summarise
    from predictor.datasets.grewe import counts
    from predictor.systems import Plan

    plan = Plan(
        row.task,
        row.gnn,
        row.pooling,
        row.extended_readout,
        epochs=epochs,
        patience=patience,
        batch_rows=batch,
    )
    todo = runs(
        launches,
        plan,
        "random",
        seeds=(seed,),
        folds=fold_count,
        first_folds=first_folds,
        folder=state_folder(state, run_name(plan, row.dataset, "random", fold_count)),
    )
    if finished and not row.baseline:
        todo = tuple(run for run in todo if run.kept.exists())
    if not todo:
        return None
    if row.baseline:
        judged = judge_baseline(launches, counts(row.dataset, data), row.baseline, todo)
    else:
        title = f"{row.task}, {row.name}"
        judged = train_runs(launches, todo, jobs=jobs, resume=resume, title=title)
    epochs_run = 0 if row.baseline else epochs
    return Result(row, summarise(launches, todo, judged), len(todo), epochs_run)


def _facts(result: Result) -> dict[str, Any]:
    row = result.row
    return {
        "task": row.task,
        "model": row.name,
        "dataset": row.dataset,
        "folds_run": result.folds,
        "epochs_at_most": result.epochs,
        "thesis": row.thesis,
        **result.summary.facts(),
    }
