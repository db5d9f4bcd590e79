"""Times `examples/jacobi.py` as it is on each device alone, and under `lb exec` with each as its own device.

The programs take turns (one on each device alone, one under `lb exec` with each, and again), so that a
machine that slows down slows all of them. Each solves several times in one process: the first time, launches
pass while the kernel is judged and built for the other device. Each device is held to one core, so that two
CPU platforms do not take each other's. All grids must be the same, byte by byte.

    python benchmarks/jacobi.py --output benchmarks/results
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click
from machine import ONE_CORE, describe_machine
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    from lb_runtime.devices import DeviceInfo

PROGRAM = Path(__file__).parents[1] / "examples" / "jacobi.py"
FLOAT_BYTES = 4
COUNTED_ITERATIONS = (20, 120)
"""The bytes of an iteration are what a run of the second length moves more than one of the first."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run the program: on a device (`PYOPENCL_CTX` is its `choice`), under `lb exec` or not."""

    name: str
    choice: str
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Size:
    """What is solved: cells each way, and iterations of one solution."""

    columns: int
    rows: int
    iterations: int

    def options(self, iterations: int | None = None) -> list[str]:
        """The command line of the program."""
        return [
            f"--columns={self.columns}",
            f"--rows={self.rows}",
            f"--iterations={iterations or self.iterations}",
            "--json",
        ]


@click.command()
@click.option("--columns", type=click.IntRange(min=3), default=2048, show_default=True)
@click.option("--rows", type=click.IntRange(min=8), default=2048, show_default=True)
@click.option("--iterations", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--repeat",
    type=click.IntRange(min=2),
    default=4,
    show_default=True,
    help="Solutions in each process.",
)
@click.option("--cpu", help="The device that plays CPU: an index or a part of its name.")
@click.option("--gpu", help="The device that plays GPU: an index or a part of its name.")
@click.option(
    "--limit", type=float, default=300.0, show_default=True, help="Seconds for a process."
)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path())
def main(
    columns: int,
    rows: int,
    iterations: int,
    rounds: int,
    repeat: int,
    cpu: str | None,
    gpu: str | None,
    limit: float,
    output: Path,
) -> None:
    """Time the program alone on each device and under `lb exec`; status 1 if a byte differs."""
    os.environ.update(ONE_CORE)
    # Every process finds its shares by itself.
    os.environ["LB_HISTORY"] = "off"
    # The warnings are about what compilers say of every program.
    os.environ["PYTHONWARNINGS"] = "ignore"
    size = Size(columns, rows, iterations)
    with tempfile.TemporaryDirectory() as folder:
        show_all_drivers(Path(folder))
        document = {
            "machine": describe_machine(),
            "environment": ONE_CORE,
            **asdict(size),
            "rounds": rounds,
            "repeat": repeat,
            "two_halo_rows_bytes": 2 * columns * FLOAT_BYTES,
            **measure(size, rounds, repeat, (cpu, gpu), limit),
        }
    show(document)
    output.mkdir(parents=True, exist_ok=True)
    path = output / "jacobi.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    click.echo(f"wrote {path}")
    if not document["same_bytes"]:
        raise click.ClickException(f"the grids differ: {', '.join(document['sha256'])}")


def show_all_drivers(folder: Path) -> None:
    """Let this process and its children find every driver as one that the machine's owner has installed.

    Under `lb exec` a program is not shown a driver that only we have found; here it is to run on that, too.
    """
    from lb_runtime.icd import VENDORS_VARIABLE, make_drivers_visible

    found = make_drivers_visible().vendors_folder
    if found is not None:
        shutil.copytree(found, folder, dirs_exist_ok=True)
        os.environ[VENDORS_VARIABLE] = str(folder)


def measure(
    size: Size, rounds: int, repeat: int, roles: tuple[str | None, str | None], limit: float
) -> dict[str, Any]:
    """All runs, a summary of each way to run, and whether all left the same bytes."""
    from lb_runtime.devices import discover
    from lb_runtime.roles import choose_pair

    devices = discover().devices
    pair = choose_pair(devices, *roles)
    os.environ.update({"LB_CPU": str(pair.cpu.index), "LB_GPU": str(pair.gpu.index)})
    homes = list(dict.fromkeys((pair.cpu, pair.gpu)))
    alone, ours = (
        [
            Way(f"{'lb exec on ' * is_ours}{home.platform_name}", choice(devices, home), is_ours)
            for home in homes
        ]
        for is_ours in (False, True)
    )
    runs: dict[str, list[dict[str, Any]]] = {way.name: [] for way in (*alone, *ours)}
    moved: dict[str, dict[str, Any]] = {}
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("solving", total=rounds * len(runs) + len(ours))
        for _ in range(rounds):
            for way in (*alone, *ours):
                progress.update(task, description=way.name)
                options = [*size.options(), f"--repeat={repeat}"]
                runs[way.name].append(run(way, options, limit))
                progress.advance(task)
        for way in ours:
            progress.update(task, description=f"{way.name}, counting bytes")
            moved[way.name] = bytes_moved(way, size, limit)
            progress.advance(task)
    checksums = {each["sha256"] for found in runs.values() for each in found}
    better = [
        min(median(runs[way.name][number]["seconds"][1:]) for way in alone)
        for number in range(rounds)
    ]
    return {
        "pair": pair.why,
        "same_bytes": len(checksums) == 1,
        "sha256": sorted(checksums),
        "ways": [
            {
                "name": way.name,
                **summary(runs[way.name], better),
                **({"bytes_per_iteration": moved[way.name]} if way.is_ours else {}),
            }
            for way in (*alone, *ours)
        ],
        "runs": runs,
    }


def choice(devices: Sequence[DeviceInfo], device: DeviceInfo) -> str:
    """What `PYOPENCL_CTX` calls a device: the place of its platform, and its own place in that."""
    platforms = list(dict.fromkeys(each.platform_name for each in devices))
    beside = [each for each in devices if each.platform_name == device.platform_name]
    return f"{platforms.index(device.platform_name)}:{beside.index(device)}"


def run(way: Way, options: Sequence[str], limit: float, **settings: str) -> dict[str, Any]:
    """Run the program once: the seconds of each solution, the checksum, and the report where it is ours."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        ours = ["-m", "lb_runtime", f"--report-json={report}"] if way.is_ours else []
        try:
            done = subprocess.run(
                [sys.executable, *ours, str(PROGRAM), *options],
                capture_output=True,
                text=True,
                timeout=limit,
                check=False,
                env={**os.environ, **settings, "PYOPENCL_CTX": way.choice},
            )
        except subprocess.TimeoutExpired:
            raise click.ClickException(f"{way.name}: not done after {limit:g} s") from None
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["nothing said"]
            raise click.ClickException(f"{way.name}: exit status {done.returncode}: {last[0]}")
        found: dict[str, Any] = json.loads(done.stdout)
        if way.is_ours:
            found["report"] = json.loads(report.read_text())
    return found


def bytes_moved(way: Way, size: Size, limit: float) -> dict[str, Any]:
    """The bytes that one more iteration moves each way, every launch split."""
    reports = []
    for iterations in COUNTED_ITERATIONS:
        found = run(way, size.options(iterations), limit, LB_FORCE="1", LB_SHARE="0.5")
        reports.append(found["report"])
    few, many = reports
    between = COUNTED_ITERATIONS[1] - COUNTED_ITERATIONS[0]
    return {
        "splits": many["split"] - few["split"],
        "iterations": between,
        **{name: (many[name] - few[name]) / between for name in ("bytes_to_mirror", "bytes_home")},
    }


def summary(found: Sequence[dict[str, Any]], better: Sequence[float]) -> dict[str, Any]:
    """Medians of the runs of one way, and what it gains over the better device alone, round by round.

    `better` has that device's seconds of each round. `first` is the first solution of each process, `later`
    are all others.
    """
    gains = [
        seconds / median(each["seconds"][1:]) for seconds, each in zip(better, found, strict=True)
    ]
    facts: dict[str, Any] = {
        "first_seconds": median(each["seconds"][0] for each in found),
        "later_seconds": median(seconds for each in found for seconds in each["seconds"][1:]),
        "over_better_device": {
            "median": median(gains),
            "least": min(gains),
            "most": max(gains),
        },
    }
    if "report" in found[-1]:
        last = found[-1]["report"]
        facts |= {key: last[key] for key in ("launches", "split", "bytes_to_mirror", "bytes_home")}
        for kernel in last["kernels"]:
            facts["cpu_share"] = kernel["cpu_share"]
            facts["passed"] = {each["code"]: each["launches"] for each in kernel["passed"]}
        facts["faults"] = last["faults"]
    return facts


def show(document: dict[str, Any]) -> None:
    """Print the ways side by side."""
    table = Table(
        title=f"{document['columns']}x{document['rows']}, {document['iterations']} iterations, "
        f"{'same bytes everywhere' if document['same_bytes'] else 'BYTES DIFFER'}",
        title_justify="left",
    )
    for column in (
        "way",
        "first, s",
        "later, s",
        "vs better device",
        "split",
        "bytes an iteration",
    ):
        table.add_column(column, justify="left" if column == "way" else "right")
    for way in document["ways"]:
        gain = way["over_better_device"]
        moved = way.get("bytes_per_iteration")
        table.add_row(
            way["name"],
            f"{way['first_seconds']:.3f}",
            f"{way['later_seconds']:.3f}",
            f"{gain['median']:.2f} ({gain['least']:.2f}-{gain['most']:.2f})",
            f"{way['split']} of {way['launches']}" if moved else "-",
            f"{moved['bytes_to_mirror'] + moved['bytes_home']:,.0f}" if moved else "-",
        )
    Console(width=120).print(table)
    click.echo(f"two halo rows are {document['two_halo_rows_bytes']:,} bytes; {document['pair']}")


if __name__ == "__main__":
    main()
