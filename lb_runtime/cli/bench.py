"""`lb bench`: kernels in all ways of sharing them out, beside each other, and a report."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lb_runtime.bench.files import MissingPlotsError, write_report
from lb_runtime.bench.measure import QUICK, Effort, measure, planned
from lb_runtime.bench.quiet import ONE_CORE, OtherProcesses, hold_threads
from lb_runtime.bench.record import Bench, KernelRecord
from lb_runtime.bench.sizes import LARGE, Size
from lb_runtime.bench.summary import as_json as summary_json
from lb_runtime.cli.bench_table import show
from lb_runtime.cli.console import bar
from lb_runtime.cli.devices import role_options
from lb_runtime.cli.launches import ChosenLaunch, choose_kernel, choose_launch, launch_options
from lb_runtime.errors import KernelFileError
from lb_runtime.runtime import Runtime

KERNELS_FOLDER = Path(__file__).resolve().parents[2] / "kernels"
"""The kernels of a source checkout; an installed package comes without."""
SAVED_EVERY_SECONDS = 5.0
FILE = "bench.json"
WHEN_DISTURBED = ("quiet", "patience")
"""What does not change what is measured: a benchmark goes on whatever they are."""


@click.command("bench")
@click.option(
    "--kernel",
    "kernels",
    metavar="K.cl",
    multiple=True,
    help="A kernel file of yours, or the name of one of ours; repeat for several. Else all of ours.",
)
@click.option("--name", metavar="NAME", help="Which kernel of the one file given.")
@click.option("--options", "-O", "build_options", metavar="'-D N=4 ...'", help="Build options.")
@launch_options
@role_options
@click.option(
    "--rounds",
    type=click.IntRange(min=5),
    help=f"Launches of each way; {Effort().rounds} unless --quick.",
)
@click.option("--quick", is_flag=True, help="A minute's look: small launches, few of them.")
@click.option(
    "--one-core",
    is_flag=True,
    help="Hold PoCL and Intel's CPU driver to a core each: two devices on a machine without a GPU.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of arguments and order.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of bench.json, bench.html and PNGs; what bench.json holds is not measured again.  "
    "[default: lb-bench, or the folder of --from]",
)
@click.option("--again", is_flag=True, help="Measure these kernels anew.")
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Measure nothing; make the report of this JSON.",
)
@click.option("--json", "wants_json", is_flag=True, help="Print the summary as JSON.")
def command(
    kernels: tuple[str, ...],
    name: str | None,
    build_options: str | None,
    global_size: tuple[int, ...] | None,
    local_size: tuple[int, ...] | None,
    offset: tuple[int, ...] | None,
    specs: tuple[str, ...],
    cpu: str | None,
    gpu: str | None,
    rounds: int | None,
    quick: bool,
    one_core: bool,
    seed: int,
    output: Path | None,
    again: bool,
    source: Path | None,
    wants_json: bool,
) -> int:
    """Measure kernels in all ways of sharing them out, beside each other, and report it.

    CPU only, GPU only, 50/50, predicted, adaptive, dynamic, and the best cut of a sweep take turns.
    Ctrl-C keeps what was measured; the same command goes on from there.
    """
    if source is not None:
        bench = Bench.read(source)
        folder = output or source.parent
    else:
        details = (name, build_options, global_size, local_size, offset)
        if len(kernels) != 1 and (specs or any(each is not None for each in details)):
            raise click.UsageError(
                f"{len(kernels)} kernels given with options for the launch of one: give one --kernel"
            )
        paths = [_path(each) for each in kernels] or _ours()
        if one_core:
            os.environ.update(ONE_CORE)
        effort = _effort(quick, rounds, seed)
        folder = output or Path("lb-bench")

        def choose(path: Path) -> ChosenLaunch:
            size = _size(path, quick)
            return choose_launch(
                choose_kernel(path, name, build_options),
                global_size or (size.global_size if size else None),
                local_size or (size.local_size if size and not global_size else None),
                offset,
                (*(size.arguments if size and not global_size else ()), *specs),
                seed,
            )

        with Runtime(cpu, gpu) as runtime:
            if one_core:
                hold_threads(runtime)
            setup = _setup(runtime, effort, one_core)
            bench = _opened(folder / FILE, setup, again)
            _measure_all(runtime, bench, folder / FILE, effort, paths, choose, again)
    if wants_json:
        click.echo(json.dumps(summary_json(bench)))
    else:
        show(bench)
    try:
        with bar("drawing", 3 * len(bench.kernels) + 1) as tell:
            page = write_report(bench, folder, tell)
    except MissingPlotsError as error:
        raise click.UsageError(str(error)) from error
    if not wants_json:
        click.echo(f"report: {page}")
    return 1 if any(each.wrong for each in bench.kernels.values()) else 0


def _effort(quick: bool, rounds: int | None, seed: int) -> Effort:
    facts = asdict(QUICK if quick else Effort())
    facts["seed"] = seed
    if rounds is not None:
        facts["rounds"] = rounds
    return Effort(**facts)


def _path(given: str) -> Path:
    """A file that is there, or the kernel of ours of that name."""
    path, ours = Path(given), KERNELS_FOLDER / f"{given}.cl"
    return ours if not path.exists() and ours.is_file() else path


def _ours() -> list[Path]:
    found = sorted(
        path for path in KERNELS_FOLDER.glob("*.cl") if path.with_suffix(".toml").exists()
    )
    if not found:
        raise KernelFileError(
            f"no kernels of ours in {KERNELS_FOLDER}, which a source checkout has: give --kernel K.cl"
        )
    return found


def _size(path: Path, quick: bool) -> Size | None:
    """The large launch of a kernel of ours."""
    return LARGE.get(path.stem) if not quick and path.parent == KERNELS_FOLDER else None


def _setup(runtime: Runtime, effort: Effort, one_core: bool) -> dict[str, Any]:
    pair = runtime.devices.pair
    return {
        "cpu": pair.cpu.label,
        "gpu": pair.gpu.label,
        "why_devices": pair.why,
        "one_core": one_core,
        **{name: value for name, value in asdict(effort).items() if name not in WHEN_DISTURBED},
    }


def _opened(path: Path, setup: dict[str, Any], again: bool) -> Bench:
    """What was measured before, to go on with; a new benchmark where there is nothing."""
    if not path.exists():
        return Bench(setup)
    bench = Bench.read(path)
    if again and any(bench.setup.get(name) != value for name, value in setup.items()):
        return Bench(setup)
    for name, value in setup.items():
        if bench.setup.get(name) != value:
            raise click.UsageError(
                f"{path} was measured with {name} {bench.setup.get(name)!r}, not {value!r}: give the "
                "same options, another --output, or --again"
            )
    return bench


def _measure_all(
    runtime: Runtime,
    bench: Bench,
    path: Path,
    effort: Effort,
    kernels: list[Path],
    choose: Callable[[Path], ChosenLaunch],
    again: bool,
) -> None:
    """Measure what is missing; whatever ends it, what was measured is in the file."""
    from lb_runtime.bench.subject import LaunchSubject, key_of

    others, done = OtherProcesses(), 0
    try:
        for number, file in enumerate(kernels, start=1):
            chosen = choose(file)
            chosen.refuse_danger()
            values = chosen.values(effort.seed)
            kernel, nd_range = chosen.choice.kernel, chosen.assumed.launch.nd_range
            key = key_of(kernel, nd_range, values)
            record = bench.kernels.get(kernel.name)
            if record is None or record.key != key or again:
                record = bench.kernels[kernel.name] = KernelRecord(kernel.name, key)
            if not record.is_done:
                subject = LaunchSubject(runtime, kernel, nd_range, values)
                record.launch = _launch_text(nd_range.global_size, nd_range.local_size)
                record.data_dependent_loops = subject.has_data_dependent_loops
                record.reasons = subject.reasons
                saved = time.monotonic()
                total = planned(subject.groups > 1, effort)
                with bar(f"{kernel.name} ({number} of {len(kernels)})", total) as advance:

                    def tell(launches: int, advance: Callable[[], None] = advance) -> None:
                        nonlocal saved
                        for _ in range(launches):
                            advance()
                        if time.monotonic() - saved > SAVED_EVERY_SECONDS:
                            bench.write(path)
                            saved = time.monotonic()

                    measure(subject, record, effort, others, tell)
                bench.write(path)
            done = number
    except KeyboardInterrupt:
        click.echo(
            f"{done} of {len(kernels)} kernels measured, all launches kept in {path}: the same command "
            "goes on",
            err=True,
        )
        raise
    finally:
        bench.write(path)


def _launch_text(global_size: tuple[int, ...], local_size: tuple[int, ...]) -> str:
    sizes = ("x".join(str(each) for each in sizes) for sizes in (global_size, local_size))
    return "{} work-items in groups of {}".format(*sizes)
