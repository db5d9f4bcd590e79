"""`python -m predictor joint`: judges and trains the model that the runtime asks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from predictor.commands.shared import bars, state_folder, write
from predictor.datasets import devmap
from predictor.datasets.folds import KINDS, Kind
from predictor.errors import ModelError

if TYPE_CHECKING:
    from predictor.joint.evaluation import Scores
    from predictor.joint.fit import Table


@click.group()
def joint() -> None:
    """The joint model of both devices' times: judge it by folds, or train it for the runtime."""


@joint.command()
@click.option(
    "--dataset", "datasets", type=click.Choice(devmap.NAMES), multiple=True, default=("nvidia",)
)
@click.option("--data", type=click.Path(path_type=Path), help="The CSV files' folder, or one file.")
@click.option(
    "--folds",
    "kinds",
    type=click.Choice(KINDS),
    multiple=True,
    default=KINDS,
    help="What is left out together; several can be given  [default: all]",
)
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--trees", type=click.IntRange(min=1), help="In the forest  [default: as shipped]")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the resumable state  [default: in the user's cache]",
)
@click.option("--resume/--fresh", default=True, help="Go on from the state, or forget it.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the results as JSON.",
)
def evaluate(
    datasets: tuple[str, ...],
    data: Path | None,
    kinds: tuple[str, ...],
    seeds: int,
    trees: int | None,
    state: Path | None,
    resume: bool,
    output: Path | None,
) -> None:
    """What the model says of launches that it was not trained on."""
    from predictor.joint import evaluation
    from predictor.joint.fit import TREES

    chosen = cast("tuple[Kind, ...]", kinds)
    folder = state_folder(state, "joint")
    if not resume:
        for kept in folder.glob("*.npy"):
            kept.unlink()
    found: list[tuple[str, Kind, Scores]] = []
    about: dict[str, Any] = {"seeds": seeds, "trees": trees or TREES, "results": {}}
    for name in datasets:
        read, table = _table(name, data)
        with bars() as shown:
            total = seeds * sum(evaluation.fold_count(read, kind) for kind in chosen)
            advance = partial(shown.advance, shown.add_task(f"{name} folds", total=total, state=""))
            for kind in chosen:
                said = {
                    seed: evaluation.judge_folds(
                        read, table, kind, seed, folder, trees=trees or TREES, advance=advance
                    )
                    for seed in range(1, seeds + 1)
                }
                found.append((name, kind, evaluation.scores(read, table, kind, said)))
                click.echo(f"{name}, {kind}: done", err=True)
    click.echo(_shown(found))
    for name, kind, scores in found:
        about["results"].setdefault(name, {})[kind] = scores.facts()
    write(output, about)


@joint.command()
@click.option("--dataset", type=click.Choice(devmap.NAMES), default="nvidia", show_default=True)
@click.option("--data", type=click.Path(path_type=Path), help="The CSV files' folder, or one file.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--trees", type=click.IntRange(min=1), help="In the forest  [default: as shipped]")
@click.option(
    "--evaluation",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What evaluate wrote, for the card.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write (.npz); its card lies beside it.",
)
def train(
    dataset: str,
    data: Path | None,
    seed: int,
    trees: int | None,
    evaluation: Path | None,
    output: Path,
) -> None:
    """Train the model on all launches of a data set and write it, with its card."""
    from predictor.card import card_path, card_text
    from predictor.joint.fit import TREES, fit, software, steps
    from predictor.joint.store import to_bytes
    from predictor.nn.checkpoint import replace_file, replace_text
    from predictor.predict import VERSIONS

    judged = _read(evaluation)
    read, table = _table(dataset, data)
    with bars() as shown:
        bar = shown.add_task("models", total=steps(table), state="")
        model = fit(table, seed, trees or TREES, lambda: shown.advance(bar))
    content = to_bytes(model)
    about = {
        "predicts": "a joint distribution of the log seconds of a launch on the CPU and on the GPU",
        "data": {
            "name": f"devmap {dataset}",
            "sha256": read.sha256,
            "rows": len(table),
            "kernels": len(read.sources),
        },
        "training": {
            "seed": seed,
            "trees": trees or TREES,
            "factors": [round(each, 4) for each in model.calibration.factors],
            "general_spread": round(model.calibration.general_spread, 4),
        },
        "evaluation": judged,
        "software": software(),
    }
    replace_file(output, content)
    replace_text(card_path(output), card_text(content, VERSIONS, about))
    click.echo(f"{output}: {len(content)} bytes, trained on {len(table)} launches")


def _table(name: str, data: Path | None) -> tuple[devmap.Devmap, Table]:
    from predictor.joint.fit import table_of

    read = devmap.read(name, data)
    with bars() as shown:
        bar = shown.add_task(f"{name} graphs", total=len(read.sources), state="")
        kernels = devmap.compile_kernels(read.sources, lambda: shown.advance(bar))
    return read, table_of(read, kernels)


def _read(path: Path | None) -> Any:
    if path is None:
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not what `joint evaluate` wrote: {error}") from error


def _shown(found: Sequence[tuple[str, Kind, Scores]]) -> str:
    """A line for each data set and kind of folds."""
    lines = [
        "data    folds      MAE  macro   mean  macro  accuracy  mapping  T/T(best)  median   90 %"
        "  T/min  slower  covered  width  prior"
    ]
    for name, kind, s in found:
        best = s.felt.to_best
        lines.append(
            f"{name:7} {kind:8} {s.mae:5.2f}  {s.macro_mae:5.2f}  {s.mean_mae:5.2f}  "
            f"{s.mean_macro_mae:5.2f}  {s.accuracy:8.3f}  {100 * s.mapping_error:5.1f} %  "
            f"{best.mean:9.3f}  {best.median:6.3f}  {best.percentile_90:5.2f}  "
            f"{s.felt.to_single.mean:5.3f}  {100 * s.felt.slower_than_single:4.1f} %  "
            f"{100 * s.coverage:5.1f} %  {s.width:5.3f}  {s.prior_width:5.3f}"
        )
    return "\n".join(lines)
