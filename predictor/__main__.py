"""`python -m predictor`: trains and judges models; the one that is served is of `joint`. Offline only."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import platformdirs

from predictor.commands.ablation import ablation
from predictor.commands.dataflow import dataflow
from predictor.commands.evaluate import evaluate
from predictor.commands.joint import joint
from predictor.commands.shared import CONSOLE, bars
from predictor.datasets import devmap
from predictor.datasets.examples import Examples, examples_of
from predictor.errors import ModelError, PredictorError

if TYPE_CHECKING:
    from predictor.evaluate import Task
    from predictor.judge import FoldResult
    from predictor.train import Progress as TrainingProgress

BAD_INPUT = 2
LINE_EVERY = 10
"""Epochs between two lines of progress where standard error is no terminal."""


class _Commands(click.Group):
    """Errors of this package end the command with one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PredictorError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(BAD_INPUT)
        except ModuleNotFoundError as error:
            click.echo(
                f"error: training needs {error.name}: pip install 'lb-runtime[train]'", err=True
            )
            ctx.exit(BAD_INPUT)


def _data_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--dataset", type=click.Choice(devmap.NAMES), default="nvidia"),
        click.option("--data", type=click.Path(path_type=Path), help="The CSV file or its folder."),
        click.option(
            "--epochs",
            type=click.IntRange(min=1),
            default=300,
            show_default=True,
            help="Of all members together.",
        ),
        click.option(
            "--members",
            type=click.IntRange(min=1),
            default=3,
            show_default=True,
            help="Models whose predictions are averaged; their seeds are consecutive.",
        ),
        click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True),
        click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True),
        click.option(
            "--state",
            type=click.Path(file_okay=False, path_type=Path),
            help="Folder of the resumable state  [default: in the user's cache]",
        ),
        click.option("--resume/--fresh", default=True, help="Go on from the state, or forget it."),
    ):
        command = option(command)
    return command


@click.group(cls=_Commands)
def main() -> None:
    """Train the predictor, and measure how far it is off."""


main.add_command(evaluate)
main.add_command(ablation)
main.add_command(dataflow)
main.add_command(joint)


@main.command("cross-validate")
@_data_options
@click.option("--folds", type=click.IntRange(min=3), default=10, show_default=True)
@click.option("--protocol", type=click.Choice(["random", "kernel"]), default="random")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the metrics as JSON.",
)
@click.option("--note", default="", help="What a reader of the metrics should know.")
def cross_validate(
    dataset: str,
    data: Path | None,
    epochs: int,
    seed: int,
    state: Path | None,
    resume: bool,
    folds: int,
    members: int,
    jobs: int,
    protocol: str,
    output: Path | None,
    note: str,
) -> None:
    """Judge the model by folds: what it says of rows that it was not trained on."""
    from predictor import evaluate
    from predictor.judge import judge
    from predictor.nn.checkpoint import replace_text
    from predictor.train import TrainingConfig

    examples, facts = _load(dataset, data)
    folder = _state_folder(state, f"{dataset}-{protocol}-{folds}-{members}-{epochs}")
    parts = [
        evaluate.splits(examples.kernel, protocol, folds, seed, member) for member in range(members)
    ]
    tasks = evaluate.tasks_of(
        parts, TrainingConfig(epochs=max(1, epochs // members), seed=seed), folder
    )
    results = _run(examples, tasks, jobs, resume)
    judgement = judge(
        examples, parts[0], [results[at : at + folds] for at in range(0, len(tasks), folds)]
    )
    click.echo(judgement.table())
    if output is not None:
        about = {
            "data": facts,
            "protocol": protocol,
            "protocol_in_words": evaluate.in_words(
                protocol, folds, members, tasks[0].config.epochs
            ),
            "note": note,
            "folds": folds,
            "members": members,
            "seed": seed,
            "epochs": epochs,
        }
        text = json.dumps({**about, "metrics": judgement.facts()}, indent=1)
        replace_text(output, text + "\n")


@main.command()
@_data_options
@click.option(
    "--evaluation",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="What cross-validate wrote, for the card.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The ONNX file to write; its card lies beside it.",
)
def train(
    dataset: str,
    data: Path | None,
    epochs: int,
    seed: int,
    state: Path | None,
    resume: bool,
    members: int,
    jobs: int,
    evaluation: tuple[Path, ...],
    output: Path,
) -> None:
    """Train a model on all rows but a tenth, which chooses the epoch, and write it as ONNX."""
    from predictor import evaluate
    from predictor.card import card_path
    from predictor.export import onnx_bytes, software
    from predictor.network import network_card
    from predictor.nn.checkpoint import replace_file, replace_text
    from predictor.train import TrainingConfig, best_model

    evaluations = [_read_evaluation(path) for path in evaluation]
    examples, facts = _load(dataset, data)
    folder = _state_folder(state, f"{dataset}-all-{members}-{epochs}")
    tasks = evaluate.tasks_of(
        [[evaluate.everything(len(examples), seed + member)] for member in range(members)],
        TrainingConfig(epochs=max(1, epochs // members), seed=seed),
        folder,
    )
    results = _run(examples, tasks, jobs, resume)
    models = [best_model(task.state) for task in tasks]
    content = onnx_bytes(models)
    about = {
        "predicts": "the CPU's share of the work in percent, at which both devices finish together",
        "data": facts,
        "training": {
            **{key: v for key, v in asdict(tasks[0].config).items() if key != "fold"},
            "members": members,
            "rows_train": int(tasks[0].split.train.size),
            "rows_validation": int(tasks[0].split.validation.size),
            "best_epochs": [result.best_epoch for result in results],
            "validation_mae": [round(result.validation_mae, 4) for result in results],
        },
        "model": asdict(models[0].config),
        "evaluation": evaluations,
        "software": software(),
    }
    replace_file(output, content)
    replace_text(card_path(output), network_card(content, examples.vocabulary, about))
    click.echo(
        f"{output}: {len(content)} bytes, {members} members of {max(1, epochs // members)} epochs"
    )


def _read_evaluation(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not what cross-validate wrote: {error}") from error


def _load(dataset: str, data: Path | None) -> tuple[Examples, dict[str, Any]]:
    """The examples, and what is to be said of where they come from."""
    read = devmap.read(dataset, data)
    with bars() as shown:
        bar = shown.add_task("graphs", total=len(read.sources), state="")
        kernels = devmap.compile_kernels(read.sources, lambda: shown.advance(bar))
    examples = examples_of(read, kernels)
    facts = {
        "name": f"devmap {dataset}",
        "sha256": read.sha256,
        "rows": len(read.launches),
        "rows_used": len(examples),
        "rows_repaired": int(examples.repaired.sum()),
        "kernels": len(read.sources),
        "kernels_used": len(examples.graphs),
    }
    return examples, facts


def _run(
    examples: Examples, tasks: Sequence[Task], jobs: int, resume: bool
) -> tuple[FoldResult, ...]:
    """Runs tasks under a bar that counts epochs; those of an earlier run count at once."""
    from predictor import evaluate

    if not resume:
        for task in tasks:
            task.state.unlink(missing_ok=True)
    epochs = {task.state: 0 for task in tasks}
    with bars() as shown:
        total = sum(task.config.epochs for task in tasks)
        bar = shown.add_task("epochs", total=total, state="")

        def advance(task: Task, progress: TrainingProgress) -> None:
            epochs[task.state] = progress.epoch
            words = f"seed {task.config.seed}, fold {task.config.fold}: {progress.best_mae:.2f}"
            shown.update(bar, completed=sum(epochs.values()), state=words)
            if not CONSOLE.is_terminal and progress.epoch % LINE_EVERY == 0:
                click.echo(f"epoch {progress.epoch}, {words}", err=True)

        return evaluate.run(examples, tasks, jobs=jobs, advance=advance)


def _state_folder(state: Path | None, name: str) -> Path:
    return state or platformdirs.user_cache_path("lb-runtime", appauthor=False) / "train" / name


if __name__ == "__main__":
    sys.exit(main())
