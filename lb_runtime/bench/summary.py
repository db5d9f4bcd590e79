"""The numbers of a report: times, ratios to the oracle, efficiencies, by kernel and over all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from lb_runtime.bench.measure import (
    ADAPTIVE,
    CPU_ONLY,
    CUT,
    DYNAMIC,
    GPU_ONLY,
    WAYS,
)
from lb_runtime.bench.record import Bench, KernelRecord
from lb_runtime.bench.stats import Interval, efficiency, geometric_mean, interval, largest_speed_up

FROM = 4
"""The adaptive policy's launches count as settled from this one on, the first being number 1."""
SETTLED = 5
"""What it came to is what most of its last launches were."""
STATIC = (CPU_ONLY, GPU_ONLY, CUT, DYNAMIC)
"""The ways of which the best is the oracle."""


@dataclass(frozen=True, slots=True)
class KernelSummary:
    """The numbers of one kernel. Times in seconds; ratios are T(oracle)/T, at most about 1.

    `times` has each way's median, adaptive's from the fourth launch on. Ratios and efficiencies are medians
    of the rounds' own: a machine that is slow for a while is so for all ways of a round. `by_launch` has
    the ratio of adaptive's launches 1 to 4, each of which ran once. `single` is T(best single device)/T for
    adaptive from the fourth on; `efficiencies` are by way. `settled_share` is the CPU's.
    """

    name: str
    times: dict[str, Interval]
    oracle: str
    oracle_seconds: float
    ratios: dict[str, float]
    by_launch: tuple[float, ...]
    single: float
    largest_speed_up: float
    efficiencies: dict[str, float]
    settled_share: float
    is_chunked: bool


def summary_of(record: KernelRecord) -> KernelSummary | None:
    """The numbers of a kernel; None for one that is not split, or not measured to the fourth launch."""
    adaptive = record.rounds.get(ADAPTIVE, [])
    if len(adaptive) < FROM:
        return None
    seconds = {
        way: [each.seconds for each in samples]
        for way in WAYS
        if (samples := record.rounds.get(way))
    }
    times = {way: interval(each[_first(way) :]) for way, each in seconds.items()}
    oracle = min((way for way in STATIC if way in times), key=lambda way: times[way].median)
    best = times[oracle].median
    single = min((CPU_ONLY, GPU_ONLY), key=lambda way: times[way].median)
    last = adaptive[-SETTLED:]
    shares = sorted(each.shares[0] for each in last)
    return KernelSummary(
        name=record.name,
        times=times,
        oracle=oracle,
        oracle_seconds=best,
        ratios={way: _ratio(seconds, oracle, way) for way in times},
        by_launch=tuple(best / each.seconds for each in adaptive[:FROM]),
        single=_ratio(seconds, single, ADAPTIVE),
        largest_speed_up=largest_speed_up(times[CPU_ONLY].median, times[GPU_ONLY].median),
        efficiencies={
            way: median(
                efficiency(*each)
                for each in list(zip(seconds[way], seconds[CPU_ONLY], seconds[GPU_ONLY]))[
                    _first(way) :
                ]
            )
            for way in times
        },
        settled_share=shares[len(shares) // 2],
        is_chunked=2 * sum(each.is_chunked for each in last) > len(last),
    )


def _first(way: str) -> int:
    """The round from which on a way's launches count."""
    return FROM - 1 if way == ADAPTIVE else 0


def _ratio(seconds: dict[str, list[float]], one: str, other: str) -> float:
    """The median over the rounds of what one way took beside another."""
    rounds = list(zip(seconds[one], seconds[other]))
    return median(mine / theirs for mine, theirs in rounds[_first(other) :])


def summaries(bench: Bench) -> list[KernelSummary]:
    """All kernels that are split and measured, in the order of the file."""
    found = (summary_of(each) for each in bench.kernels.values())
    return [each for each in found if each is not None]


@dataclass(frozen=True, slots=True)
class Overall:
    """Geometric means over kernels of what `KernelSummary` has; `worst_single` is the least `single`."""

    kernels: int
    ratios: dict[str, float]
    by_launch: tuple[float, ...]
    efficiencies: dict[str, float]
    worst_single: float
    worst_kernel: str


def overall(found: list[KernelSummary]) -> Overall | None:
    """Over all kernels; None where there are none. A way's mean is over the kernels that have it."""
    if not found:
        return None
    worst = min(found, key=lambda each: each.single)
    ways = [way for way in WAYS if any(way in each.ratios for each in found)]
    return Overall(
        len(found),
        {way: geometric_mean([e.ratios[way] for e in found if way in e.ratios]) for way in ways},
        tuple(geometric_mean([each.by_launch[n] for each in found]) for n in range(FROM)),
        {
            way: geometric_mean([e.efficiencies[way] for e in found if way in e.efficiencies])
            for way in ways
        },
        worst.single,
        worst.name,
    )


def as_json(bench: Bench) -> dict[str, Any]:
    """The summary for a program to read."""
    found = summaries(bench)
    means = overall(found)
    return {
        "setup": bench.setup,
        "kernels": [asdict(each) for each in found],
        "not_split": {
            each.name: list(each.reasons) for each in bench.kernels.values() if each.reasons
        },
        "wrong": {each.name: list(each.wrong) for each in bench.kernels.values() if each.wrong},
        "overall": asdict(means) if means else None,
    }
