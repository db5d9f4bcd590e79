"""How near splits come to what two devices could do together: PoCL and Intel's driver, a core each.

    python benchmarks/efficiency.py --output benchmarks/results
    python benchmarks/efficiency.py --kernel mandelbrot --rounds 20

For every kernel: each device alone, the best of a sweep of cuts, chunks, and the adaptive policy from a
prediction on, interleaved; medians. Efficiency is S / S_max as in the EngineCL papers: S is the speed-up over
the faster device alone, S_max what the sum of both devices' own speeds would give. All ratios are medians of
the rounds' own ratios: where a machine has two speeds, medians of times may compare one with the other.
`interference` is the sum over the devices of their kernels' time in a split, as parts of their kernels' time
alone: above 1 where two busy cores are slower than one, which no way of splitting can help.
Rounds in which other processes took more
than a few percent of the machine are as if they had not been, for the policies too, as long as there is time
for others. What is in the output folder already is not measured again, unless it was disturbed, so that an
interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
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

ROOT = Path(__file__).parents[1]
FILE = "efficiency.json"
AFTER = 4
"""The policy's launches count from this one on, the first being number 0."""
SWEEP = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4)
"""The cuts that are tried, as parts of the share at which both devices would end together."""
SWEPT_TIMES = 4
"""So often each cut; the least time tells, since others disturb some of them."""
QUIET = 0.06
"""A round is kept where other processes took no more than this part of all cores' time."""
LONGEST_SECONDS = 25.0
"""So long quiet rounds of one kernel are waited for."""

Sizes = tuple[tuple[int, ...], dict[str, str]]
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
    "gaussian_blur": ((1024, 1024), {}),
    "mandelbrot": (
        (2048, 1536),
        {
            "width": "2048",
            "height": "1536",
            "pixel_size": "0.00146484375",
            "iterations": "zeros:int32:1536x2048",
        },
    ),
    "binomial_options": (
        (6144 * 64,),
        {
            "price": "rand:float32:6144:5:30",
            "strike": "rand:float32:6144:1:100",
            "years": "rand:float32:6144:0.25:10",
            "call": "zeros:float32:6144",
        },
    ),
    "matmul": (
        (768, 768),
        {
            "rows": "768",
            "columns": "768",
            "inner": "512",
            "a": "rand:float32:768x512",
            "b": "rand:float32:512x768",
            "c": "zeros:float32:768x768",
        },
    ),
    "black_scholes": (
        (3 << 19,),
        {
            "n": str(3 << 19),
            "price": f"rand:float32:{3 << 19}:5:30",
            "strike": f"rand:float32:{3 << 19}:1:100",
            "years": f"rand:float32:{3 << 19}:0.25:10",
            "call": f"zeros:float32:{3 << 19}",
            "put": f"zeros:float32:{3 << 19}",
        },
    ),
    "spmv_csr": (
        (1 << 19,),
        {
            "rows": str(1 << 19),
            "row_start": f"arange:int32:{(1 << 19) + 1}:0:32",
            "columns": f"rand:int32:16M:0:{1 << 19}",
            "values": "rand:float32:16M:-1:1",
            "x": f"rand:float32:{1 << 19}",
            "y": f"zeros:float32:{1 << 19}",
        },
    ),
    "saxpy": ((1 << 25,), {"n": str(1 << 25), "x": "rand:float32:32M", "y": "rand:float32:32M"}),
}


def main() -> None:
    """Measure what is missing, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kernel", action="append", choices=[*LAUNCHES], help="these alone")
    parser.add_argument("--rounds", type=int, default=15, help="of interleaved launches")
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
                results["summary"] = summary(results["kernels"])
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
    """The launches of one kind: their observations, and the kernels' seconds on each device."""

    def __init__(self, launch: RepeatedLaunch) -> None:
        self._launch = launch
        self.seen: list[Observation] = []
        self.kernel_seconds: list[tuple[float, float]] = []
        self.why: list[str] = []

    def run(self, choice: Choice) -> Observation:
        """Run a launch and keep what was measured."""
        observation = self._launch.run(choice)
        kernels = [0.0, 0.0]
        if self._launch.last is not None:
            for part in self._launch.last.execution.parts:
                kernels[part.device] += part.kernel_seconds
        self.seen.append(observation)
        self.kernel_seconds.append((kernels[0], kernels[1]))
        self.why.append(choice.why)
        return observation

    def drop(self) -> None:
        """Forget the last launch."""
        for kept in (self.seen, self.kernel_seconds, self.why):
            kept.pop()

    def seconds(self) -> float:
        """The median of the totals, without the first launches."""
        return statistics.median(self.totals)

    @property
    def totals(self) -> list[float]:
        """The seconds of each round, without the first launches."""
        return [each.total_seconds for each in self.seen[AFTER:]]

    def kernels(self, device: int) -> float:
        """The median of a device's kernels' seconds in them."""
        return statistics.median(each[device] for each in self.kernel_seconds[AFTER:])

    def as_json(self) -> dict[str, Any]:
        """All of it, for the results."""
        totals = sorted(self.totals)
        return {
            "median_seconds": self.seconds(),
            "quartiles_seconds": [totals[len(totals) // 4], totals[-1 - len(totals) // 4]],
            "seconds": [round(each.total_seconds, 6) for each in self.seen],
            "cpu_shares": [round(each.shares[0], 4) for each in self.seen],
            "why": self.why if len(set(self.why)) > 1 else self.why[:1],
        }


def measured(runtime: Runtime, name: str, rounds: int, tell: Callable[[], None]) -> dict[str, Any]:
    """Everything that is measured of one kernel."""
    launch = open_launch(runtime, name, LAUNCHES[name])
    alone = [Runs(launch), Runs(launch)]
    cut, chunks, policy_runs = Runs(launch), Runs(launch), Runs(launch)
    # Drivers compile in the first launches; pages are touched.
    for choice in (whole_on(0, 2), whole_on(1, 2), (0.5, 0.5)):
        launch.run(Choice(choice))
    times = [launch.run(Choice(whole_on(device, 2))).total_seconds for device in (0, 1)]
    balanced = times[1] / sum(times)
    swept = sweep(launch, balanced, tell)
    best_share = min(swept, key=lambda share: swept[share])
    adaptive, dynamic = launch.policy("adaptive"), launch.policy("dynamic")
    for device in (0, 1):
        dynamic.learn(launch.run(Choice(whole_on(device, 2))))
    others, began = cores.Others(), time.perf_counter()
    kinds = (*alone, cut, policy_runs, *([chunks] if launch.may_chunk else []))
    disturbed: list[float] = []
    dropped = 0
    while len(disturbed) < AFTER + rounds:
        tell()
        others.begin()
        for device in (0, 1):
            alone[device].run(Choice(whole_on(device, 2)))
        cut.run(Choice((best_share, 1.0 - best_share)))
        if launch.may_chunk:
            chunks.run(dynamic.choose())
        policy_runs.run(adaptive.choose())
        part = others.part()
        if part > QUIET and time.perf_counter() - began < LONGEST_SECONDS:
            dropped += 1
            for runs in kinds:
                runs.drop()
            continue
        disturbed.append(part)
        adaptive.learn(policy_runs.seen[-1])
        if chunks.seen:
            dynamic.learn(chunks.seen[-1])
    single = min(alone, key=Runs.seconds)
    together = [1.0 / (1.0 / cpu + 1.0 / gpu) for cpu, gpu in zip(alone[0].totals, alone[1].totals)]
    ways = {"cut": cut, "adaptive": policy_runs}
    if chunks.seen:
        ways["chunks"] = chunks
    oracle = min(
        single, *(runs for way, runs in ways.items() if way != "adaptive"), key=Runs.seconds
    )
    result: dict[str, Any] = {
        "groups": launch.groups,
        "rounds": len(disturbed),
        "dropped_rounds": dropped,
        "is_disturbed": statistics.median(disturbed) > QUIET,
        "others_part_of_the_cores": [round(part, 3) for part in disturbed],
        "data_dependent_loops": launch.has_data_dependent_loops,
        "largest_speed_up": ratio(single.totals, together)[1],
        "best_cut_cpu_share": best_share,
        "sweep_seconds": {f"{share:.4f}": seconds for share, seconds in swept.items()},
        "efficiency": {way: ratio(together, runs.totals)[1] for way, runs in ways.items()},
        "efficiency_quartiles": {
            way: ratio(together, runs.totals)[::2] for way, runs in ways.items()
        },
        "interference": {
            way: sum(runs.kernels(device) / alone[device].kernels(device) for device in (0, 1))
            for way, runs in (("cut", cut), ("chunks", chunks))
            if runs.seen
        },
        "oracle_seconds": oracle.seconds(),
        "oracle_over_adaptive": ratio(oracle.totals, policy_runs.totals)[1],
        "single_over_adaptive": ratio(single.totals, policy_runs.totals)[1],
        "single_over_adaptive_quartiles": ratio(single.totals, policy_runs.totals)[::2],
        "cpu": alone[0].as_json(),
        "gpu": alone[1].as_json(),
        "cut": cut.as_json(),
        "adaptive": policy_runs.as_json(),
    }
    if chunks.seen:
        result["chunks"] = chunks.as_json()
    return result


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


def summary(found: dict[str, Any]) -> dict[str, float]:
    """Geometric means over the kernels."""

    def mean(value: Callable[[dict[str, Any]], float]) -> float:
        return exp(statistics.fmean(log(value(each)) for each in found.values()))

    return {
        "efficiency_of_the_best_way": mean(lambda each: max(each["efficiency"].values())),
        "efficiency_of_adaptive": mean(lambda each: each["efficiency"]["adaptive"]),
        "oracle_over_adaptive": mean(lambda each: each["oracle_over_adaptive"]),
        "least_single_over_adaptive": min(each["single_over_adaptive"] for each in found.values()),
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
        f"adaptive after {AFTER}",
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
        for what, value in summary(found).items():
            console.print(f"{what.replace('_', ' ')}: {value:.3f}")


if __name__ == "__main__":
    main()
