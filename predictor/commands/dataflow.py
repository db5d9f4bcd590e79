"""`python -m predictor dataflow`: trains and tests models of ProGraML's five data-flow analyses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from predictor.commands.shared import CONSOLE, LINE_EVERY, bars, state_folder, write
from predictor.dataflow.analyses import ANALYSES
from predictor.errors import ModelError

if TYPE_CHECKING:
    from predictor.dataflow.corpus import Labelled, Source
    from predictor.dataflow.judging import Score
    from predictor.dataflow.training import Progress

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
"""Kernels of ours; an installed package has none beside it."""
SLICES = {"at most 30 steps": 30, "at most 60 steps": 60, "all": None}
"""DDF-30, DDF-60 and DDF of ProGraML's paper (ICML 2021, section 5.3)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What both subcommands are told."""

    task: str
    seed: int
    data: Path | None
    kernels: Path
    corpus: Path | None
    graphs: int
    state: Path

    def labelled(self, parts: tuple[str, ...]) -> list[list[Labelled]]:
        """The labelled graphs of parts, under a bar. Raises DatasetError, CompileError."""
        if self.corpus is not None:
            return self._published(self.corpus, parts)
        from predictor.dataflow import corpus, variants
        from predictor.datasets import devmap

        with bars() as shown:
            total = len(devmap.read("nvidia", self.data).sources)
            bar = shown.add_task("graphs", total=total, state="")
            sources = corpus.own_sources(
                self.data, sorted(self.kernels.glob("*.cl")), lambda: shown.advance(bar)
            )
            divided: dict[str, list[Source]] = dict(corpus.split(sources, self.seed))
            if self.task == "subexpressions":
                for part in {"train", "validation"}.intersection(parts):
                    varied = variants.variants(divided[part], variants.COUNT, self.seed)
                    divided[part] = [*divided[part], *varied]
            total = sum(len(divided[part]) for part in parts)
            bar = shown.add_task(f"{self.task} labels", total=total, state="")
            return [
                corpus.label(
                    divided[part],
                    self.task,
                    roots=corpus.ROOTS[part],
                    seed=self.seed,
                    advance=lambda: shown.advance(bar),
                )
                for part in parts
            ]

    def _published(self, folder: Path, parts: tuple[str, ...]) -> list[list[Labelled]]:
        from predictor.dataflow import published

        with bars() as shown:
            bar = shown.add_task("graphs", total=self.graphs * len(parts), state="")
            return [
                published.read(
                    folder,
                    self.task,
                    part,
                    limit=self.graphs,
                    seed=self.seed,
                    advance=lambda: shown.advance(bar),
                )
                for part in parts
            ]


@click.group()
@click.option("--task", type=click.Choice(list(ANALYSES)), required=True)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Of the split, the roots and the weights.",
)
@click.option("--data", type=click.Path(path_type=Path), help="The devmap CSV file or its folder.")
@click.option(
    "--kernels",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of more kernels, *.cl  [default: those that come with the source]",
)
@click.option(
    "--corpus",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The unpacked DeepDataFlow corpus, instead of kernels compiled here.",
)
@click.option(
    "--graphs",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Graphs that are drawn from each part of --corpus.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the resumable state  [default: in the user's cache]",
)
@click.pass_context
def dataflow(
    context: click.Context,
    task: str,
    seed: int,
    data: Path | None,
    kernels: Path | None,
    corpus: Path | None,
    graphs: int,
    state: Path | None,
) -> None:
    """Learn a data-flow analysis from program graphs: train a model, then test it."""
    name = f"{task}-seed-{seed}" + ("-published" if corpus else "")
    file = state_folder(state, "dataflow") / f"{name}.npz"
    context.obj = Choice(task, seed, data, kernels or KERNELS, corpus, graphs, file)


@dataflow.command()
@click.option("--epochs", type=click.IntRange(min=1), help="[default: as long as the task needs]")
@click.option("--resume/--fresh", default=True, help="Go on from the state, or forget it.")
@click.pass_obj
def train(choice: Choice, epochs: int | None, resume: bool) -> None:
    """Train on the training part; the validation part chooses the epoch."""
    from predictor.dataflow.recipes import recipe
    from predictor.dataflow.training import LADDER, Training
    from predictor.dataflow.training import train as run

    training_part, validation_part = choice.labelled(("train", "validation"))
    config = recipe(choice.task, choice.seed, epochs)
    training = Training(choice.task, training_part, validation_part, config)
    if not resume:
        choice.state.unlink(missing_ok=True)
    with bars() as shown:
        bar = shown.add_task(choice.task, total=config.epochs, state="")

        def advance(progress: Progress) -> None:
            words = f"{progress.steps} of {LADDER[-1]} steps, F1 {progress.training_f1:.3f}"
            if progress.best_epoch:
                words += f", validation {progress.best_f1:.4f} of epoch {progress.best_epoch}"
            shown.update(bar, completed=progress.epoch, state=words)
            if not CONSOLE.is_terminal and progress.epoch % LINE_EVERY == 0:
                click.echo(f"{choice.task}, epoch {progress.epoch}: {words}", err=True)

        run(training, state=choice.state, advance=advance)
    click.echo(
        f"{choice.state}: {training.epoch} epochs, best validation F1 {training.best_f1:.4f} "
        f"of epoch {training.best_epoch}"
    )


@dataflow.command()
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A JSON file whose entry for this task and seed is written; others in it stay.",
)
@click.pass_obj
def test(choice: Choice, output: Path | None) -> None:
    """Judge the trained model on the test part: kernels of programs that training never saw."""
    from predictor.dataflow.judging import trivial
    from predictor.dataflow.training import evaluate, load

    known = _read(output)
    if not choice.state.is_file():
        raise ModelError(
            f"no trained model at {choice.state}; run `dataflow --task {choice.task} train` first"
        )
    model, vocabulary, facts = load(choice.state, choice.task)
    (labelled,) = choice.labelled(("test",))
    slices: dict[str, Score] = {}
    with bars() as shown:
        bar = shown.add_task(f"{choice.task} test", total=len(labelled), state="")
        found = evaluate(model, vocabulary, labelled, lambda graph: shown.advance(bar))
        for name, limit in SLICES.items():
            slices[name] = found.within(limit)
    rest = trivial(labelled)
    click.echo(_table({**slices, **{f"marking {name}": score for name, score in rest.items()}}))
    click.echo(f"most steps until nothing changed: {found.most_steps}")
    entry = {
        "task": choice.task,
        "seed": choice.seed,
        "graphs": len(labelled),
        "nodes": sum(len(graph.graph.node_types) for graph in labelled),
        **facts,
        "most_steps": found.most_steps,
        "test": {name: score.facts() for name, score in slices.items()},
        "trivial": {name: score.facts() for name, score in rest.items()},
    }
    kept = [e for e in known if (e["task"], e["seed"]) != (choice.task, choice.seed)]
    tasks = list(ANALYSES)
    runs = sorted([*kept, entry], key=lambda e: (tasks.index(e["task"]), e["seed"]))
    write(output, {"runs": runs})


def _read(output: Path | None) -> list[dict[str, Any]]:
    """The runs in a results file; none where there is no file yet."""
    if output is None or not output.exists():
        return []
    try:
        runs = json.loads(output.read_text("utf-8"))["runs"]
        if not all(run["task"] in ANALYSES and isinstance(run["seed"], int) for run in runs):
            raise ValueError("a run without task or seed")
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{output} is not what `dataflow test` wrote ({error}); give another --output"
        ) from error
    return list(runs)


def _table(scores: dict[str, Score]) -> str:
    lines = [f"{'':24}{'examples':>10}{'F1':>9}{'precision':>11}{'recall':>9}{'positive':>10}"]
    for name, score in scores.items():
        lines.append(
            f"{name:24}{score.examples:10}{score.f1:9.4f}{score.precision:11.4f}"
            f"{score.recall:9.4f}{100 * score.positives:9.2f}%"
        )
    return "\n".join(lines)
