"""How near splits come to what two devices could do together: PoCL and Intel's driver, a core each.

    python benchmarks/efficiency.py --output benchmarks/results
    python benchmarks/efficiency.py --kernel mandelbrot --rounds 20

For every kernel: each device alone, the best of a sweep of cuts, chunks, and the adaptive policy from a
prediction on, interleaved; medians. In a round each way runs some times in a row, as a program launches: the
first of them is not counted, since a launch right after another way's is up to a fourth slower (the core that
rested, and the bytes that the other core had). Efficiency is S / S_max as in the EngineCL papers: S is the
speed-up over the faster device alone, S_max what the sum of both devices' own speeds would give. All ratios
are medians of the rounds' own ratios: where a machine has two speeds, medians of times may compare one with
the other. `interference` is the sum over the devices of their kernels' time in a split, as parts of their
kernels' time alone: above 1 where two busy cores are slower than one, which no way of splitting can help.

Rounds do not count, as long as there is time for others, in which other processes took more than a few
percent of the machine, or in which its two cores were not two: a host may run both on one core of its own,
which a few milliseconds of arithmetic between the ways show (`two_cores`: what both do at once beside one
alone). What all rounds would give is in the results as well. What is in the output folder already is not
measured again, unless it was disturbed, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import exp, log
from pathlib import Path
from typing import Any

import cores
from machine import describe_machine
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from lb_runtime.arguments import bind
from lb_runtime.cli.launches import choose_kernel, choose_launch
from lb_runtime.launch import Launch
from lb_runtime.repeated import RepeatedLaunch
from lb_runtime.runtime import Runtime
from lb_runtime.shares.observation import Choice, Observation, whole_on
from lb_runtime.shares.policy import Fixed, Policy

ROOT = Path(__file__).parents[1]
FILE = "efficiency.json"
IN_A_ROW = 3
"""So many launches of each way in a round; the first is not counted."""
AFTER = 1
"""Rounds count from this one on, the first being number 0: the policy's launches after its fourth."""
SWEEP = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4)
"""The cuts that are tried, as parts of the share at which both devices would end together."""
SWEPT_TIMES = 4
"""So often each cut; the least time tells, since others disturb some of them."""
QUIET = 0.06
"""A round is kept where other processes took no more than this part of all cores' time."""
TWO_CORES = 1.7
"""And where two cores did at least so many times what one does."""
LONGEST_SECONDS = 60.0
"""So long quiet rounds of one kernel are waited for."""

Sizes = tuple[tuple[int, ...], dict[str, str]]
ROWS, OPTIONS, TREES, VECTOR = 1 << 20, 3 << 21, 24576, 1 << 26
LAUNCHES: dict[str, Sizes] = {
    "n_body": (
        (8192,),
        {
            "n": "8192",
            "positions": "rand:float4:8192",
            "velocities": "rand:float4:8192:-0.1:0.1",
            "new_positions": "zeros:float4:8192",
        },
    ),
    "gaussian_blur": (
        (1536, 1536),
        {
            "width": "1536",
            "height": "1536",
            "radius": "4",
            "image": "rand:uchar4:1536x1536",
            "weights": "rand:float32:81:0:0.0247",
            "result": "zeros:uchar4:1536x1536",
        },
    ),
    "mandelbrot": (
        (4096, 3072),
        {
            "width": "4096",
            "height": "3072",
            "pixel_size": "0.000732421875",
            "iterations": "zeros:int32:3072x4096",
        },
    ),
    "binomial_options": (
        (TREES * 64,),
        {
            "price": f"rand:float32:{TREES}:5:30",
            "strike": f"rand:float32:{TREES}:1:100",
            "years": f"rand:float32:{TREES}:0.25:10",
            "call": f"zeros:float32:{TREES}",
        },
    ),
    "matmul": (
        (896, 896),
        {
            "rows": "896",
            "columns": "896",
            "inner": "640",
            "a": "rand:float32:896x640",
            "b": "rand:float32:640x896",
            "c": "zeros:float32:896x896",
        },
    ),
    "black_scholes": (
        (OPTIONS,),
        {
            "n": str(OPTIONS),
            "price": f"rand:float32:{OPTIONS}:5:30",
            "strike": f"rand:float32:{OPTIONS}:1:100",
            "years": f"rand:float32:{OPTIONS}:0.25:10",
            "call": f"zeros:float32:{OPTIONS}",
            "put": f"zeros:float32:{OPTIONS}",
        },
    ),
    "spmv_csr": (
        (ROWS,),
        {
            "rows": str(ROWS),
            "row_start": f"arange:int32:{ROWS + 1}:0:32",
            "columns": f"rand:int32:{ROWS * 32}:0:{ROWS}",
            "values": f"rand:float32:{ROWS * 32}:-1:1",
            "x": f"rand:float32:{ROWS}",
            "y": f"zeros:float32:{ROWS}",
        },
    ),
    "saxpy": (
        (VECTOR,),
        {"n": str(VECTOR), "x": f"rand:float32:{VECTOR}", "y": f"rand:float32:{VECTOR}"},
    ),
}
"""Sizes at which the faster device alone takes 0.06 to 0.3 s; those of the EngineCL papers took seconds."""


def main() -> None:
    """Measure what is missing, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kernel", action="append", choices=[*LAUNCHES], help="these alone")
    parser.add_argument("--rounds", type=int, default=11, help="in which all ways are interleaved")
    parser.add_argument("--output", type=Path, help="folder of the results; what is there is kept")
    parser.add_argument("--again", action="store_true", help="measure what is there anew, too")
    arguments = parser.parse_args()
    path = arguments.output / FILE if arguments.output else None
    results = json.loads(path.read_text("utf-8")) if path and path.exists() else {"kernels": {}}
    found: dict[str, Any] = results["kernels"]
    wanted = [
        name
        for name in arguments.kernel or LAUNCHES
        if arguments.again or found.get(name, {}).get("is_disturbed", True)
    ]
    if wanted:
        runtime = cores.open_on_two_cores()
        with Progress(console=Console(stderr=True)) as progress:
            for name in wanted:
                task = progress.add_task(name, total=None)
                found[name] = measured(
                    runtime, name, arguments.rounds, lambda task=task: progress.advance(task)
                )
                progress.remove_task(task)
                results["machine"] = describe_machine()
                results["environment"] = cores.PINNED
                results["kernels"] = {each: found[each] for each in LAUNCHES if each in found}
                results["summary"] = summary(results["kernels"].values())
                results["summary_of_all_rounds"] = summary(
                    each["all_rounds"] for each in results["kernels"].values()
                )
                if path:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    show(results["kernels"])


def open_launch(runtime: Runtime, name: str, sizes: Sizes) -> RepeatedLaunch:
    """A kernel of ours at a size."""
    global_size, given = sizes
    choice = choose_kernel(ROOT / "kernels" / f"{name}.cl", None, None)
    specs = tuple(f"{argument}={spec}" for argument, spec in given.items())
    # Rows of mandelbrot differ in their work: lower groups can be shared out more evenly.
    local_size = (64, 4) if name == "mandelbrot" else None
    chosen = choose_launch(choice, global_size, local_size, None, specs)
    bound, values = bind(choice.kernel.facts, tuple(chosen.values(0)))
    launch = Launch(choice.kernel.name, chosen.assumed.launch.nd_range, bound)
    return RepeatedLaunch(runtime, choice.kernel, launch, values)


class Runs:
    """The launches of one way: what was measured, round by round.

    `seconds[round]` is the median of a round's launches but the first; `kernels[round]` has the same of the
    kernels on each device.
    """

    def __init__(self, launch: RepeatedLaunch, policy: Policy) -> None:
        self._launch = launch
        self._policy = policy
        self.seconds: list[float] = []
        self.kernels: list[tuple[float, ...]] = []
        self.seen: list[Observation] = []
        self.why: list[str] = []

    def run(self) -> None:
        """Run a round's launches and keep what was measured."""
        launches = []
        kernels = []
        for _ in range(IN_A_ROW):
            choice = self._policy.choose()
            launches.append(self._launch.run(choice))
            self._policy.learn(launches[-1])
            kernels.append([0.0, 0.0])
            if self._launch.last is not None:
                for part in self._launch.last.execution.parts:
                    kernels[-1][part.device] += part.kernel_seconds
            self.why.append(choice.why)
        self.seen += launches
        self.seconds.append(statistics.median(each.total_seconds for each in launches[1:]))
        self.kernels.append(tuple(map(statistics.median, zip(*kernels[1:]))))

    def median(self, rounds: Sequence[int]) -> float:
        """The median seconds over some rounds."""
        return statistics.median(self.seconds[each] for each in rounds)

    def as_json(self, rounds: Sequence[int]) -> dict[str, Any]:
        """All of it, for the results; the median and the quartiles are those of some rounds."""
        counted = [self.seconds[each] for each in rounds]
        return {
            "median_seconds": statistics.median(counted),
            "quartiles_seconds": statistics.quantiles(counted, n=4, method="inclusive")[::2],
            "seconds": [round(each.total_seconds, 6) for each in self.seen],
            "cpu_shares": [round(each.shares[0], 4) for each in self.seen],
            "why": self.why if len(set(self.why)) > 1 else self.why[:1],
        }


def measured(runtime: Runtime, name: str, rounds: int, tell: Callable[[], None]) -> dict[str, Any]:
    """Everything that is measured of one kernel."""
    launch = open_launch(runtime, name, LAUNCHES[name])
    # Drivers compile in the first launches; pages are touched.
    for choice in (whole_on(0, 2), whole_on(1, 2), (0.5, 0.5)):
        launch.run(Choice(choice))
    times = [launch.run(Choice(whole_on(device, 2))).total_seconds for device in (0, 1)]
    balanced = times[1] / sum(times)
    swept = sweep(launch, balanced, tell)
    best_share = min(swept, key=lambda share: swept[share])
    dynamic = launch.policy("dynamic")
    for device in (0, 1):
        dynamic.learn(launch.run(Choice(whole_on(device, 2))))
    alone = [Runs(launch, Fixed(whole_on(device, 2))) for device in (0, 1)]
    cut = Runs(launch, Fixed((best_share, 1.0 - best_share)))
    chunks, policy_runs = Runs(launch, dynamic), Runs(launch, launch.policy("adaptive"))
    ways = {"cpu": alone[0], "gpu": alone[1], "cut": cut, "adaptive": policy_runs}
    if launch.may_chunk:
        ways["chunks"] = chunks
    others, began = cores.Others(), time.perf_counter()
    disturbances: list[float] = []
    two_cores: list[float] = []
    counted: list[int] = []
    with cores.TwoCores() as scaling:
        while len(counted) < rounds:
            tell()
            others.begin()
            seen = [scaling.measure()]
            for runs in ways.values():
                runs.run()
                seen.append(scaling.measure())
            disturbances.append(others.part())
            two_cores.append(statistics.median(seen))
            is_quiet = disturbances[-1] <= QUIET and two_cores[-1] >= TWO_CORES
            is_late = time.perf_counter() - began > LONGEST_SECONDS
            if len(two_cores) > AFTER and (is_quiet or is_late):
                counted.append(len(two_cores) - 1)
    result: dict[str, Any] = {
        "groups": launch.groups,
        "rounds": len(two_cores),
        "counted_rounds": counted,
        "others_part_of_the_cores": [round(part, 3) for part in disturbances],
        "two_cores": [round(each, 2) for each in two_cores],
        "is_disturbed": statistics.median(disturbances[each] for each in counted) > QUIET
        or statistics.median(two_cores[each] for each in counted) < TWO_CORES,
        "data_dependent_loops": launch.has_data_dependent_loops,
        "best_cut_cpu_share": best_share,
        "sweep_seconds": {f"{share:.4f}": seconds for share, seconds in swept.items()},
        **ratios(ways, counted),
        "all_rounds": ratios(ways, range(AFTER, len(two_cores))),
    }
    return result | {way: runs.as_json(counted) for way, runs in ways.items()}


def ratios(ways: Mapping[str, Runs], rounds: Sequence[int]) -> dict[str, Any]:
    """What ways come to beside each other over some rounds."""
    seconds = {way: [runs.seconds[each] for each in rounds] for way, runs in ways.items()}
    together = [1.0 / (1.0 / cpu + 1.0 / gpu) for cpu, gpu in zip(seconds["cpu"], seconds["gpu"])]

    def best(among: Iterable[str]) -> str:
        return min(among, key=lambda way: ways[way].median(rounds))

    def interference(way: str) -> float:
        return statistics.median(
            sum(
                ways[way].kernels[each][device] / ways[alone].kernels[each][device]
                for device, alone in enumerate(("cpu", "gpu"))
            )
            for each in rounds
        )

    single = best(("cpu", "gpu"))
    oracle = best(way for way in ways if way != "adaptive")
    split = [way for way in ways if way not in ("cpu", "gpu")]
    over_single = ratio(seconds[single], seconds["adaptive"])
    efficiency = {way: ratio(together, seconds[way]) for way in split}
    return {
        "largest_speed_up": ratio(seconds[single], together)[1],
        "efficiency": {way: each[1] for way, each in efficiency.items()},
        "efficiency_quartiles": {way: each[::2] for way, each in efficiency.items()},
        "interference": {way: interference(way) for way in split if way != "adaptive"},
        "oracle": oracle,
        "oracle_over_adaptive": ratio(seconds[oracle], seconds["adaptive"])[1],
        "single_over_adaptive": over_single[1],
        "single_over_adaptive_quartiles": over_single[::2],
    }


def ratio(one: list[float], other: list[float]) -> tuple[float, float, float]:
    """The quartiles of the rounds' ratios, the median in the middle."""
    below, median, above = statistics.quantiles(
        [mine / theirs for mine, theirs in zip(one, other)], n=4, method="inclusive"
    )
    return below, median, above


def sweep(launch: RepeatedLaunch, balanced: float, tell: Callable[[], None]) -> dict[float, float]:
    """The least seconds of cuts around a share; once more around the best where that lies at an end."""
    times: dict[float, list[float]] = {}
    centre = balanced
    for _ in range(3):
        shares = {min(0.99, max(1.0 / launch.groups, centre * each)) for each in SWEEP}
        for _ in range(SWEPT_TIMES):
            for share in sorted(shares - {s for s, t in times.items() if len(t) >= SWEPT_TIMES}):
                tell()
                seen = launch.run(Choice((share, 1.0 - share)))
                times.setdefault(share, []).append(seen.total_seconds)
        best = min(times, key=lambda share: min(times[share]))
        if min(times) < best < max(times):
            break
        centre = best
    return {share: min(each) for share, each in sorted(times.items())}


def summary(found: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Geometric means over the kernels."""
    kernels = list(found)

    def mean(value: Callable[[dict[str, Any]], float]) -> float:
        return exp(statistics.fmean(log(value(each)) for each in kernels))

    return {
        "efficiency_of_the_best_way": mean(lambda each: max(each["efficiency"].values())),
        "efficiency_of_adaptive": mean(lambda each: each["efficiency"]["adaptive"]),
        "oracle_over_adaptive": mean(lambda each: each["oracle_over_adaptive"]),
        "least_single_over_adaptive": min(each["single_over_adaptive"] for each in kernels),
        "interference_of_the_cut": mean(lambda each: each["interference"]["cut"]),
    }


def show(found: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(title="medians in ms; efficiency = S / S_max")
    table.add_column("kernel")
    for column in (
        "CPU alone",
        "GPU alone",
        "best cut",
        "chunks",
        "adaptive",
        "share",
        "eff. cut",
        "eff. chunks",
        "eff. adaptive",
        "interference",
        "oracle / adaptive",
        "single / adaptive",
    ):
        table.add_column(column, justify="right")
    for name, each in found.items():
        efficiency = each["efficiency"]
        table.add_row(
            name,
            *(
                f"{each[way]['median_seconds'] * 1e3:.1f}" if way in each else "-"
                for way in ("cpu", "gpu", "cut", "chunks", "adaptive")
            ),
            f"{each['adaptive']['cpu_shares'][-1]:.3f}",
            *(
                f"{efficiency[way]:.3f}" if way in efficiency else "-"
                for way in ("cut", "chunks", "adaptive")
            ),
            f"{each['interference']['cut']:.3f}",
            f"{each['oracle_over_adaptive']:.3f}",
            f"{each['single_over_adaptive']:.3f}",
        )
    console = Console(width=max(150, Console().width)) if not sys.stdout.isatty() else Console()
    console.print(table)
    if found:
        for what, value in summary(found.values()).items():
            console.print(f"{what.replace('_', ' ')}: {value:.3f}")
        everything = summary(each["all_rounds"] for each in found.values())
        console.print("of all rounds: " + ", ".join(f"{each:.3f}" for each in everything.values()))


if __name__ == "__main__":
    main()
