"""`python -m lb_runtime.shares.simulate`: the policies on recorded launches, where there is no hardware."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lb_runtime.errors import LoadBalancerError
from lb_runtime.shares.comparison import Followed, Line, compare, follow, policies, uneven
from lb_runtime.shares.policy import POLICY_NAMES, checked_policy
from lb_runtime.shares.recorded import PRIORS, Model, Recorded, Samples, beliefs, predictions, read
from lb_runtime.shares.simulated import Noise
from predictor.datasets.folds import Kind
from predictor.errors import PredictorError

AFTER = (0, 1, 2, 4, 8, 16, 32, 64)
UNEVEN_ROWS = 200
"""Uneven kernels are simulated chunk by chunk, which takes longer."""


@click.command()
@click.option(
    "--dataset",
    default="nvidia",
    show_default=True,
    help="nvidia, amd, both (CPU and both GPUs), or a file of that form.",
)
@click.option(
    "--policies",
    "names",
    default=",".join(POLICY_NAMES),
    show_default=True,
    help="Those to compare, with commas between.",
)
@click.option(
    "--folds",
    "kind",
    type=click.Choice(get_args(Kind)),
    default="kernel",
    show_default=True,
    help="What the prior has not seen.",
)
@click.option(
    "--prior",
    type=click.Choice(PRIORS),
    default="joint",
    show_default=True,
    help="What the first launch goes by; joint needs scikit-learn.",
)
@click.option("--launches", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--noise", type=click.FloatRange(min=0.0), default=0.05, show_default=True)
@click.option(
    "--slow", type=click.FloatRange(0.0, 1.0), default=0.02, show_default=True, help="Slow parts."
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON.")
def main(
    dataset: str,
    names: str,
    kind: Kind,
    prior: Any,
    launches: int,
    seed: int,
    noise: float,
    slow: float,
    output: Path | None,
) -> None:
    """Compare share policies on recorded launches: T/T(best) after 0, 1, 2, 4, 8, ... launches.

    Once with modelled costs of launches and splits, once with none. A run of the same options takes
    the place of its former one in the file of --output.
    """
    given = (
        f"--dataset {dataset} --policies {names} --folds {kind} --prior {prior} --launches {launches} "
        f"--seed {seed} --noise {noise:g} --slow {slow:g}"
    )
    try:
        runs = _runs(output)
        chosen = [checked_policy(name.strip()) for name in names.split(",")]
        recorded = read(dataset)
        game = _Game(recorded, chosen, launches, seed, Noise(noise, slow))
        facts = {"command": f"python -m lb_runtime.shares.simulate {given}", "prior": prior}
        facts |= _simulate(game, kind, prior)
    except (LoadBalancerError, PredictorError) as error:
        raise click.UsageError(str(error)) from error
    except ImportError as error:
        raise click.UsageError(
            f"--prior {prior} given, but {error.name} is not installed: install the extra train, or "
            "give --prior neighbours"
        ) from error
    if output is not None:
        runs = [each for each in runs if each["command"] != facts["command"]] + [facts]
        try:
            output.write_text(json.dumps({"runs": runs}, indent=1) + "\n", "utf-8")
        except OSError as error:
            raise click.UsageError(f"cannot write {output}: {error.strerror}") from error


@dataclass(frozen=True, slots=True, eq=False)
class _Game:
    """What is played: the launches, the policies and the noise."""

    recorded: Recorded
    names: Sequence[str]
    launches: int
    seed: int
    noise: Noise

    @property
    def after(self) -> list[int]:
        """The numbers of launches after which policies are looked at."""
        return sorted({each for each in AFTER if each <= self.launches} | {self.launches})


def _runs(output: Path | None) -> list[dict[str, Any]]:
    """The runs that a file holds already."""
    if output is None or not output.is_file():
        return []
    try:
        runs = json.loads(output.read_text("utf-8"))["runs"]
        _ = [each["command"] for each in runs]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadBalancerError(
            f"{output} is no file of simulated runs: name another one, or remove it"
        ) from error
    return list(runs)


def _simulate(game: _Game, kind: Kind, prior: Any) -> dict[str, Any]:
    recorded = game.recorded
    rows = len(recorded.data.launches)
    with _bars() as bars:
        bar = bars.add_task(f"prior ({prior})", total=rows)
        said = predictions(recorded, prior, kind, game.seed, lambda done: bars.advance(bar, done))
        bar = bars.add_task("launches", total=None)
        started = perf_counter()
        tables = {
            name: _tables(game, model, said, lambda done: bars.advance(bar, done))
            for name, model in (("modelled", Model()), ("free", Model.free()))
        }
        simulated = bars.tasks[bar].completed / (perf_counter() - started)
    click.echo(f"{simulated:.0f} launches a second", err=True)
    for name, table in tables.items():
        _print_tables(f"{rows} launches of {recorded.dataset}, {kind} folds, costs {name}", table)
    return {
        "dataset": recorded.dataset,
        "sha256": recorded.data.sha256,
        "devices": list(recorded.names),
        "folds": kind,
        "seed": game.seed,
        "noise": asdict(game.noise),
        "model": asdict(Model()),
        **{name: table.facts() for name, table in tables.items()},
    }


@dataclass(frozen=True, slots=True)
class _Tables:
    """The policies on even work, under a load and on uneven work."""

    even: list[Line]
    load: Followed | None
    uneven: list[Line]

    def facts(self) -> dict[str, Any]:
        """As JSON writes it."""
        return {
            "even": [each.facts() for each in self.even],
            "load": asdict(self.load) if self.load else None,
            "uneven": [each.facts() for each in self.uneven],
        }


def _tables(
    game: _Game, model: Model, said: Sequence[Samples], advance: Callable[[int], object]
) -> _Tables:
    recorded, names = game.recorded, game.names
    rows = range(len(recorded.data.launches))
    believed = beliefs(recorded, said, model)
    truths = [recorded.truth(row, model) for row in rows]
    made = policies(names, recorded.names, may_chunk=False)
    lines = compare(truths, believed, made, game.after, game.noise, game.seed, advance)
    has_load = "adaptive" in names
    followed = follow(truths, believed, game.noise, game.seed) if has_load else None
    humps: list[Line] = []
    if len(recorded.names) == 2:
        some = rows[:: max(1, len(rows) // UNEVEN_ROWS)]
        made = {name: each for name, each in made.items() if not name.endswith("only")}
        if "adaptive" in names:
            chunking = policies(["adaptive"], recorded.names, may_chunk=True)
            made["adaptive, chunks"] = chunking["adaptive"]
        humps = compare(
            uneven([truths[row] for row in some], game.seed),
            [believed[row] for row in some],
            made,
            game.after,
            game.noise,
            game.seed,
            advance,
        )
    return _Tables(lines, followed, humps)


def _print_tables(title: str, tables: _Tables) -> None:
    _print(title, tables.even)
    if tables.load:
        load = tables.load
        click.echo(
            f"a load halves the CPU: of {load.rows} launches, within 5 launches close to the best "
            f"{load.within[0]:.1%}, after its end {load.within[1]:.1%}; "
            f"90 % within {load.percentile_90[0]:.0f} and {load.percentile_90[1]:.0f}\n"
        )
    if tables.uneven:
        _print("uneven work, a hump somewhere along the range", tables.uneven)


def _print(title: str, lines: Sequence[Line]) -> None:
    width = max(len(line.policy) for line in lines)
    click.echo(f"{title}\n{'':{width}} after    mean  median    90 %   worst  slower   split")
    for line in lines:
        click.echo(
            f"{line.policy:{width}} {line.after:5} {line.mean:7.3f} {line.median:7.3f} "
            f"{line.percentile_90:7.3f} {line.worst:7.2f} {line.slower:7.1%} {line.split:7.1%}"
        )
    click.echo()


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


if __name__ == "__main__":
    main()
