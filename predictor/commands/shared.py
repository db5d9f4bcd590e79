"""What the commands that judge the thesis' systems have in common: data, runs under a bar, tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import platformdirs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from predictor.datasets import devmap

if TYPE_CHECKING:
    from predictor.cross_validation import Judged, LaunchSet, Run, Summary
    from predictor.systems import Progress as TrainingProgress

CONSOLE = Console(stderr=True)
LINE_EVERY = 20
"""Epochs between two lines of progress where standard error is no terminal."""


def state_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a command whose training can be stopped and resumed."""
    for option in (
        click.option(
            "--data", type=click.Path(path_type=Path), help="The CSV files' folder, or one file."
        ),
        click.option(
            "--state",
            type=click.Path(file_okay=False, path_type=Path),
            help="Folder of the resumable state  [default: in the user's cache]",
        ),
        click.option("--resume/--fresh", default=True, help="Go on from the state, or forget it."),
        click.option(
            "--jobs",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="Folds that are trained side by side.",
        ),
        click.option(
            "--output",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Where to write the results as JSON.",
        ),
    ):
        command = option(command)
    return command


def state_folder(state: Path | None, name: str) -> Path:
    """The folder of a resumable state: a folder of that name in the one given, or in the cache."""
    base = state or platformdirs.user_cache_path("lb-runtime", appauthor=False) / "train"
    return base / name


def load(dataset: str, data: Path | None) -> LaunchSet:
    """The launches of a data set, their kernels compiled under a bar."""
    from predictor.cross_validation import launch_set

    read = devmap.read(dataset, data)
    with bars() as shown:
        bar = shown.add_task(f"{dataset} graphs", total=len(read.sources), state="")
        kernels = devmap.compile_kernels(read.sources, lambda: shown.advance(bar))
    return launch_set(read, kernels)


def train_runs(
    launches: LaunchSet, todo: Sequence[Run], *, jobs: int, resume: bool, title: str
) -> tuple[Judged, ...]:
    """Trains under a bar that counts epochs; those of an earlier call count at once."""
    from predictor.cross_validation import forget, run_all

    if not resume:
        forget(todo)
    done: dict[Path, int] = {}
    with bars() as shown:
        bar = shown.add_task(title, total=sum(run.plan.epochs for run in todo), state="")

        def advance(run: Run, epochs: int, progress: TrainingProgress | None) -> None:
            done[run.state] = epochs if progress else run.plan.epochs
            words = f"seed {run.plan.seed}, fold {run.plan.fold}"
            if progress:
                words += f": validation {progress.best_score:.3f} of epoch {progress.best_epoch}"
            shown.update(bar, completed=sum(done.values()), state=words)
            if not CONSOLE.is_terminal and (not progress or epochs % LINE_EVERY == 0):
                click.echo(f"{title}, {words}, {epochs} epochs", err=True)

        return run_all(launches, todo, jobs=jobs, advance=advance)


def table(named: Sequence[tuple[str, Summary]]) -> str:
    """A line for each summary: the thesis' measures, and what the user feels."""
    measures = list(named[0][1].folds)
    width = max(12, *(len(name) for name, _ in named))
    head = "".join(f"{name:>11}" for name in measures)
    lines = [f"{'':{width}}{head}{'T/T(best)':>11}{'median':>8}{'90 %':>8}{'slower':>8}"]
    for name, summary in named:
        felt = summary.pooled.felt
        numbers = "".join(f"{summary.folds[measure]:11.3f}" for measure in measures)
        best = felt.to_best
        lines.append(
            f"{name:{width}}{numbers}{best.mean:11.3f}{best.median:8.3f}{best.percentile_90:8.3f}"
            f"{100.0 * felt.slower_than_single:7.1f}%"
        )
    return "\n".join(lines)


def write(output: Path | None, facts: dict[str, Any]) -> None:
    """Writes results as JSON, as a whole, where a path was given."""
    from predictor.nn.checkpoint import replace_text

    if output is not None:
        replace_text(output, json.dumps(facts, indent=1) + "\n")


def bars() -> Progress:
    """A progress bar on standard error."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
        console=CONSOLE,
    )
