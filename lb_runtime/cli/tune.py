"""`lb tune`: measure this machine's pair of devices, and fit the model to it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lb_runtime.cli.devices import role_options
from lb_runtime.cli.kernel_file import read_default_launch, read_source
from lb_runtime.cli.tune_report import report, show
from lb_runtime.devices import discover
from lb_runtime.errors import KernelFileError
from lb_runtime.roles import DevicePair, choose_pair, requested
from lb_runtime.tuned.apply import model_name
from lb_runtime.tuned.machine import Machine, machine_of
from lb_runtime.tuned.store import Store, store_path
from lb_runtime.tuning.campaign import measure_all, scale_for
from lb_runtime.tuning.fitting import OWN_FAMILY, Table, table_of
from lb_runtime.tuning.kernels import DEFAULT_COUNT, generated
from lb_runtime.tuning.worker import Worker
from lb_runtime.tuning.workload import Workload
from predictor.errors import PredictorError
from predictor.predict import Predictor
from predictor.tuned.head import FEWEST_ROWS, fit_head

KERNELS_FOLDER = Path(__file__).resolve().parents[2] / "kernels"
"""The kernels of a source checkout; an installed package comes without."""


@click.command("tune")
@role_options
@click.option(
    "--count",
    type=click.IntRange(min=FEWEST_ROWS),
    default=DEFAULT_COUNT,
    show_default=True,
    help="How many generated kernels to measure.",
)
@click.option(
    "--kernels",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of kernels with default launches to measure as well; else kernels/ of a checkout.",
)
@click.option("--report", "wants_report", is_flag=True, help="Measure nothing; show the errors.")
@click.option(
    "--again", is_flag=True, help="Forget what was measured on this pair, and start anew."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    cpu: str | None,
    gpu: str | None,
    count: int,
    folder: Path | None,
    wants_report: bool,
    again: bool,
    as_json: bool,
) -> int:
    """Measure kernels on both devices, and fit the predicted shares to this machine.

    A few minutes; let nothing else run. Ctrl-C stops it, and the next `lb tune` goes on from there.
    """
    pair = choose_pair(discover().devices, *requested(cpu, gpu, os.environ))
    machine = machine_of(pair)
    if wants_report and not store_path().is_file():
        raise click.UsageError("nothing was measured yet: run `lb tune` first")
    store = Store.open(store_path())
    try:
        if store.note:
            click.echo(f"lb tune: {store.note}", err=True)
        if wants_report:
            return _report(store, machine, as_json)
        if not as_json:
            click.echo(f"CPU: {pair.cpu.label}\nGPU: {pair.gpu.label}\n{pair.why}")
        if again:
            store.forget(machine)
        _measure(store, machine, pair, count, _own_kernels(folder))
        told = _fit(store, machine)
    finally:
        store.close()
    click.echo(json.dumps(told) if as_json else _told_in_words(told))
    return 0


def _measure(
    store: Store, machine: Machine, pair: DevicePair, count: int, own: list[Workload]
) -> None:
    """Measure what is not measured yet. Ctrl-C goes through, when what was measured is kept."""
    with _progress() as progress, Worker(str(pair.cpu.index), str(pair.gpu.index)) as worker:
        task = progress.add_task("starting", total=None)
        scale = scale_for(machine, store, worker)
        workloads = [*generated(count, scale), *own]
        progress.update(task, total=len(workloads))
        done = -1

        def advance(workload: Workload) -> None:
            nonlocal done
            done += 1
            progress.update(task, completed=done, description=workload.name)

        try:
            measure_all(store, machine, workloads, worker, advance)
        except KeyboardInterrupt:
            progress.stop()
            click.echo(
                f"{done} of {len(workloads)} done and kept: run `lb tune` to go on", err=True
            )
            raise
        progress.update(task, completed=len(workloads), description="measured")


def _own_kernels(folder: Path | None) -> list[Workload]:
    """The kernels of a folder that have a default launch; their values are those of `lb run`.

    Raises KernelFileError for one that cannot be read.
    """
    place = folder or KERNELS_FOLDER
    found: list[Workload] = []
    for path in sorted(place.glob("*.cl")):
        default = read_default_launch(path)
        if default is None:
            continue
        found.append(
            Workload(
                OWN_FAMILY,
                path.name,
                read_source(path),
                default.kernel,
                default.global_size,
                default.local_size,
                tuple(spec for _, spec in default.arguments),
                default.options,
            )
        )
    if folder is not None and not found:
        raise KernelFileError(
            f"{folder} holds no kernel with a launch file (.cl and .toml) beside it"
        )
    return found


def _fit(store: Store, machine: Machine) -> dict[str, object]:
    """Fit a head to all that was measured, and keep it; what there is to tell."""
    predictor = Predictor.load()
    table = _table(store, machine, predictor)
    head = fit_head(table.measured)
    store.keep_head(machine, model_name(predictor), head.to_bytes())
    return {
        "measured": len(table.rows),
        "unfit": len(store.known(machine)) - len(table.rows),
        "store": str(store_path()),
    }


def _told_in_words(told: dict[str, object]) -> str:
    return (
        f"fitted to {told['measured']} kernels ({told['unfit']} could not be measured), kept in "
        f"{told['store']}; `lb tune --report` shows what that gains"
    )


def _report(store: Store, machine: Machine, as_json: bool) -> int:
    predictor = Predictor.load()
    table = _table(store, machine, predictor)
    with _progress() as progress:
        task = progress.add_task("fitting without each part", total=None)
        facts = report(table, store.splits(machine), lambda: progress.advance(task))
    if as_json:
        click.echo(json.dumps({"pair": json.loads(machine.facts), **facts}))
    else:
        show(facts)
    return 0


def _table(store: Store, machine: Machine, predictor: Predictor) -> Table:
    rows = store.rows(machine)
    if len(rows) < FEWEST_ROWS:
        raise PredictorError(
            f"{len(rows)} kernels were measured on this pair of devices, expected at least "
            f"{FEWEST_ROWS}: run `lb tune`"
        )
    with _progress() as progress:
        task = progress.add_task("looking at kernels", total=len(rows))
        return table_of(rows, predictor, lambda: progress.advance(task))


def _progress() -> Progress:
    """A bar on standard error, for a reader at a terminal only."""
    return Progress(
        TextColumn("{task.description:20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
