"""Generates thousands of race-free kernels, runs each whole and split, and counts what differs: nothing may.

The kernels are those of `tests/generated`; kernel `k` of a seed is always the same. Each is checked in a
process of its own kind, which a crashing driver ends without ending the run.

    python benchmarks/fuzz.py --count 5000 --jobs 2 --output benchmarks/results
    python benchmarks/fuzz.py --only 1234       # one kernel, with its text
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import local
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click
from machine import describe_machine
from rich.console import Console
from rich.progress import track
from rich.table import Table

if TYPE_CHECKING:
    from generated.check import Checked
    from generated.kernels import Generated

ROOT = Path(__file__).parents[1]
AT_ONCE = 200
"""So many kernels wait to be checked at a time."""


@dataclass
class Tally:
    """What became of all kernels; `wrong` holds those that show a fault, with their texts."""

    kernels: int = 0
    split: int = 0
    declined: Counter[str] = field(default_factory=Counter)
    merges: Counter[str] = field(default_factory=Counter)
    dimensions: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)
    devices: Counter[str] = field(default_factory=Counter)
    patterns: Counter[str] = field(default_factory=Counter)
    driver_crashes: list[int] = field(default_factory=list)
    driver_wavers: list[int] = field(default_factory=list)
    drivers_disagree: list[int] = field(default_factory=list)
    wrong: list[dict[str, Any]] = field(default_factory=list)

    def add(self, number: int, generated: Generated, checked: Checked) -> None:
        """Count one kernel."""
        self.kernels += 1
        self.patterns.update(generated.patterns)
        if checked.fault:
            self.wrong.append({"kernel": number, "fault": checked.fault, "text": str(generated)})
        if checked.driver_crashed:
            self.driver_crashes.append(number)
        if checked.driver_wavers:
            self.driver_wavers.append(number)
        if checked.drivers_disagree:
            self.drivers_disagree.append(number)
        if checked.codes:
            self.declined[checked.codes[0]] += 1
        if checked.is_split:
            self.split += 1
            self.merges.update(checked.merges)
            self.dimensions[str(checked.dimension)] += 1
            self.parts[str(checked.parts)] += 1
            self.devices[generated.pair] += 1


@click.command()
@click.option("--count", type=click.IntRange(min=1), default=300, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--jobs", type=click.IntRange(1, 8), default=1, show_default=True)
@click.option("--only", type=int, multiple=True, help="Kernels by number, printed; writes nothing.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path())
def main(count: int, seed: int, jobs: int, only: tuple[int, ...], output: Path) -> None:
    """Check COUNT generated kernels; the exit status is 1 if any comes out wrong."""
    # The root stands first, so that `lb_runtime` is the package and not the folder of its tests.
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    console = Console(stderr=True)
    numbers: Sequence[int] = only or range(count)
    tally = Tally()
    began = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        # Thousands of kernels that nobody builds again stay out of the drivers' caches.
        os.environ["POCL_CACHE_DIR"] = os.environ["LB_CACHE_DIR"] = folder
        found = checked(numbers, seed, jobs)
        for number, generated, result in track(
            found, "checking", total=len(numbers), console=console
        ):
            tally.add(number, generated, result)
            if only:
                click.echo(f"{generated}\n{result}")
            if result.fault:
                console.print(f"kernel {number}: {result.fault}\n{generated}", markup=False)
        machine = describe_machine()
    seconds = perf_counter() - began
    show(tally, seconds)
    if not only:
        write(tally, machine, seed, jobs, seconds, output)
    if tally.wrong:
        raise SystemExit(1)


def checked(
    numbers: Sequence[int], seed: int, jobs: int
) -> Iterator[tuple[int, Generated, Checked]]:
    """Each kernel with what is found of it, in order, from as many processes as there are jobs."""
    from generated.kernels import generate
    from generated.worker import Worker

    mine = local()
    workers: list[Worker] = []

    def check(number: int) -> tuple[int, Generated, Checked]:
        if not hasattr(mine, "worker"):
            mine.worker = Worker()
            workers.append(mine.worker)
        random = Random(f"{seed}/{number}")  # noqa: S311  # it makes kernels, not keys
        generated = generate(random)
        return number, generated, mine.worker.check(generated)

    try:
        with ThreadPoolExecutor(max_workers=jobs) as threads:
            for first in range(0, len(numbers), AT_ONCE):
                yield from threads.map(check, numbers[first : first + AT_ONCE])
    finally:
        for worker in workers:
            worker.close()


def show(tally: Tally, seconds: float) -> None:
    """Print the counts as a table."""
    table = Table(
        title=f"{tally.kernels} kernels in {seconds:.0f} s, {tally.split} split, "
        f"{len(tally.wrong)} wrong",
        title_justify="left",
    )
    table.add_column("what")
    table.add_column("kernels")
    for name, counts in counted(tally).items():
        text = ", ".join(f"{what} {number}" for what, number in counts.items())
        table.add_row(name.replace("_", " "), text or "none")
    table.add_row("driver crashed", str(len(tally.driver_crashes)))
    table.add_row("driver differs from itself", str(len(tally.driver_wavers)))
    table.add_row("drivers disagree", str(len(tally.drivers_disagree)))
    Console().print(table)


def counted(tally: Tally) -> dict[str, dict[str, int]]:
    """All counts by name, the most frequent first."""
    counters = {
        "declined": tally.declined,
        "merges": tally.merges,
        "dimensions": tally.dimensions,
        "parts": tally.parts,
        "devices": tally.devices,
        "patterns": tally.patterns,
    }
    return {name: dict(counter.most_common()) for name, counter in counters.items()}


def write(
    tally: Tally, machine: dict[str, Any], seed: int, jobs: int, seconds: float, output: Path
) -> None:
    """Write the counts, and what was wrong, to `fuzz.json`."""
    document = {
        "machine": machine,
        "seed": seed,
        "jobs": jobs,
        "seconds": round(seconds, 1),
        "kernels": tally.kernels,
        "split": tally.split,
        "differences": len(tally.wrong),
        **counted(tally),
        "driver_crashes": tally.driver_crashes,
        "driver_wavers": tally.driver_wavers,
        "drivers_disagree": tally.drivers_disagree,
        "wrong": tally.wrong,
    }
    output.mkdir(parents=True, exist_ok=True)
    path = output / "fuzz.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    click.echo(f"wrote {path}")


if __name__ == "__main__":
    main()
