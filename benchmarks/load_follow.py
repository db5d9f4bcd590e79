"""How soon the adaptive share follows a load that takes half of one device's core, and how soon it is back.

    python benchmarks/load_follow.py --output benchmarks/results
    python benchmarks/load_follow.py --device gpu --runs 1

PoCL and Intel's driver have a core each. After some launches of the n-body kernel a process begins to compute
on the core of one of them, and ends again some launches later. Counted are the launches from the change on
until the share stays within a tenth of where it settles: where the median of the phase's last launches is.
Runs in which other processes take part of the machine are made again, as long as there is time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import cores
from efficiency import open_launch
from machine import describe_machine
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from lb_runtime.repeated import RepeatedLaunch
from lb_runtime.shares.observation import Choice, whole_on

FILE = "load_follow.json"
BODIES = 6144
BEFORE, DURING, AFTERWARDS = 20, 20, 20
"""The launches of each phase."""
SETTLED_BY = 8
"""The last launches of a phase tell where the share has settled."""
WITHIN = 0.1
QUIET = 0.05
"""A run counts where others took no more of the cores than this, beside our own load."""
LONGEST_SECONDS = 60.0


def main() -> None:
    """Run what was asked for, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", action="append", choices=("cpu", "gpu"), help="whose core")
    parser.add_argument("--runs", type=int, default=5, help="of each, with a policy of its own")
    parser.add_argument("--output", type=Path, help="folder of the results; what is there is kept")
    arguments = parser.parse_args()
    path = arguments.output / FILE if arguments.output else None
    results = json.loads(path.read_text("utf-8")) if path and path.exists() else {"loads": {}}
    runtime = cores.open_on_two_cores()
    text = str(BODIES)
    sizes = {
        "n": text,
        "positions": f"rand:float4:{text}",
        "velocities": f"rand:float4:{text}:-0.1:0.1",
        "new_positions": f"zeros:float4:{text}",
    }
    launch = open_launch(runtime, "n_body", ((BODIES,), sizes))
    for choice in (whole_on(0, 2), whole_on(1, 2), (0.5, 0.5)):
        launch.run(Choice(choice))
    ends = sorted(os.sched_getaffinity(0))
    with Progress(console=Console(stderr=True)) as progress:
        for device in arguments.device or ("cpu", "gpu"):
            core = ends[0] if device == "cpu" else ends[-1]
            task = progress.add_task(f"load on the {device.upper()}'s core", total=arguments.runs)
            kept: list[dict[str, Any]] = []
            began = time.perf_counter()
            while len(kept) < arguments.runs:
                run = one_run(launch, core)
                is_late = time.perf_counter() - began > LONGEST_SECONDS
                if run["others_part_of_the_cores"] <= QUIET or is_late:
                    kept.append(run)
                    progress.advance(task)
            results["loads"][device] = summarised(kept)
    results["machine"], results["environment"] = describe_machine(), cores.PINNED
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    show(results["loads"])


def one_run(launch: RepeatedLaunch, core: int) -> dict[str, Any]:
    """Three phases under one policy: without a load, with it, without it again."""
    policy = launch.policy("adaptive")
    shares: list[float] = []
    seconds: list[float] = []
    why: list[str] = []

    def launches(count: int) -> None:
        for _ in range(count):
            choice = policy.choose()
            seen = launch.run(choice)
            policy.learn(seen)
            shares.append(seen.shares[0])
            seconds.append(seen.total_seconds)
            why.append(choice.why)

    others = cores.Others()
    launches(BEFORE)
    with load_on(core) as taken:
        launches(DURING)
    launches(AFTERWARDS)
    # Our own load is none of the others'.
    part = others.part() - taken[0] / others.capacity()
    edges = (0, BEFORE, BEFORE + DURING, BEFORE + DURING + AFTERWARDS)
    phases = [range(start, stop) for start, stop in pairwise(edges)]
    settled = [statistics.median(shares[each] for each in phase[-SETTLED_BY:]) for phase in phases]
    return {
        "cpu_shares": [round(each, 4) for each in shares],
        "seconds": [round(each, 6) for each in seconds],
        "why": why,
        "settled_cpu_shares": settled,
        "settled_seconds": [
            statistics.median(seconds[each] for each in phase[-SETTLED_BY:]) for phase in phases
        ],
        "launches_to_follow": launches_until(shares, phases[1], settled[1]),
        "launches_to_return": launches_until(shares, phases[2], settled[2]),
        "others_part_of_the_cores": max(0.0, part),
    }


def launches_until(shares: list[float], phase: range, settled: float) -> int:
    """So many launches of a phase ran before two in a row were near to where the share settles."""
    near = [abs(shares[each] - settled) <= WITHIN * max(settled, 1e-9) for each in phase]
    for number in range(len(near) - 1):
        if near[number] and near[number + 1]:
            return number
    return len(near)


@contextmanager
def load_on(core: int) -> Iterator[list[float]]:
    """A process that computes on a core meanwhile; gives the seconds that it took, once it has ended."""
    ended = multiprocessing.get_context("spawn").Event()
    taken = multiprocessing.get_context("spawn").Value("d", -1.0)
    process = multiprocessing.get_context("spawn").Process(
        target=_compute, args=(core, ended, taken), daemon=True
    )
    process.start()
    while taken.value < 0.0:
        time.sleep(0.01)
    result = [0.0]
    try:
        yield result
    finally:
        ended.set()
        process.join()
        result[0] = taken.value


def _compute(core: int, ended: Any, taken: Any) -> None:
    os.sched_setaffinity(0, {core})
    taken.value = 0.0
    while not ended.is_set():
        sum(range(20000))
    taken.value = time.process_time()


def summarised(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs, with what is told of them."""
    return {
        "median_launches_to_follow": statistics.median(r["launches_to_follow"] for r in runs),
        "most_launches_to_follow": max(r["launches_to_follow"] for r in runs),
        "median_launches_to_return": statistics.median(r["launches_to_return"] for r in runs),
        "most_launches_to_return": max(r["launches_to_return"] for r in runs),
        "median_settled_cpu_shares": [
            statistics.median(r["settled_cpu_shares"][phase] for r in runs) for phase in range(3)
        ],
        "median_settled_seconds": [
            statistics.median(r["settled_seconds"][phase] for r in runs) for phase in range(3)
        ],
        "runs": runs,
    }


def show(loads: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(title="CPU share before, during and after a load; launches until it follows")
    for column in (
        "load on",
        "before",
        "during",
        "after",
        "follows after",
        "returns after",
        "runs",
    ):
        table.add_column(column, justify="right")
    for device, each in loads.items():
        table.add_row(
            f"{device.upper()}'s core",
            *(f"{share:.3f}" for share in each["median_settled_cpu_shares"]),
            f"{each['median_launches_to_follow']:g} (most {each['most_launches_to_follow']})",
            f"{each['median_launches_to_return']:g} (most {each['most_launches_to_return']})",
            str(len(each["runs"])),
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
