"""Policies on simulated launches: how long what they choose takes, beside the best that it could.

Learning is from scattered launches; what is chosen is judged undisturbed, so that a number is of the
policy and not of the noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lb_runtime.shares.adaptive import Adaptive
from lb_runtime.shares.belief import Belief
from lb_runtime.shares.observation import whole_on
from lb_runtime.shares.policy import Dynamic, Fixed, Policy, Predicted
from lb_runtime.shares.simulated import Noise, Truth

Made = Callable[[Belief], Policy]
SLOWER = 1.001
"""As in `predictor.felt`: a launch is slower than the best single device beyond this ratio."""
CLOSE = 1.1
"""A policy has followed a change when what it chooses takes less than this of the best."""
LEAST_OF_INTEREST = 0.1
"""A change of load is tried on launches of which each device's best share is at least this."""
LOAD_BEGINS, LOAD_ENDS, LOAD_FACTOR, LOAD_OVER = 10, 26, 2.0, 42


@dataclass(frozen=True, slots=True)
class Line:
    """A policy after so many launches, over all rows: T/T(best), and T against the best single device.

    `slower` is the fraction of rows whose choice takes longer than the best single device; `split` the
    fraction that is split.
    """

    policy: str
    after: int
    mean: float
    median: float
    percentile_90: float
    worst: float
    slower: float
    split: float

    def facts(self) -> dict[str, object]:
        """As JSON writes it, rounded to what means something."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Followed:
    """How soon a policy follows a load that takes half of a device, and its end.

    `within` are the fractions of rows that are close to the best again after at most 5 launches, and
    `median` and `percentile_90` the launches that it takes; each for the load's begin and its end.
    """

    rows: int
    within: tuple[float, float]
    median: tuple[float, float]
    percentile_90: tuple[float, float]


def policies(names: Sequence[str], devices: Sequence[str], *, may_chunk: bool) -> dict[str, Made]:
    """The policies of these names, where `fixed` stands for each device alone and for equal shares."""
    made: dict[str, Made] = {}
    count = len(devices)
    for name in names:
        if name == "fixed":
            for number, device in enumerate(devices):
                alone = whole_on(number, count)
                made[f"{device} only"] = _fixed(alone)
            made["equal shares"] = _fixed((1.0 / count,) * count)
        elif name == "predicted":
            made[name] = Predicted
        elif name == "dynamic":
            made[name] = Dynamic
        else:
            made[name] = lambda belief: Adaptive(belief, may_chunk=may_chunk)
    return made


def _fixed(shares: tuple[float, ...]) -> Made:
    return lambda _: Fixed(shares)


def compare(
    truths: Sequence[Truth],
    beliefs: Sequence[Belief],
    made: dict[str, Made],
    after: Sequence[int],
    noise: Noise,
    seed: int,
    advance: Callable[[int], object] = lambda launches: None,
) -> list[Line]:
    """A line for each policy and each number of launches that it has learned from.

    Policies that never learn have one line. `advance` is called with numbers of simulated launches.
    """
    lines = []
    for name, make in made.items():
        learns = not isinstance(make(beliefs[0]), Fixed)
        moments = sorted(set(after)) if learns else [0]
        found = np.empty((len(truths), len(moments), 3))
        for row, (truth, belief) in enumerate(zip(truths, beliefs)):
            policy, stream = make(belief), np.random.default_rng((seed, row))
            makespan = truth.makespan
            single = makespan.devices[makespan.best_whole()].seconds(1.0)
            for number in range(moments[-1] + 1):
                choice = policy.choose()
                if number in moments:
                    taken = truth.seconds(choice)
                    to = taken / truth.best_seconds, taken / single, choice.whole is None
                    found[row, moments.index(number)] = to
                if number < moments[-1]:
                    policy.learn(truth.run(choice, noise, stream))
            advance(moments[-1] + 1)
        lines += [_line(name, moment, found[:, at]) for at, moment in enumerate(moments)]
    return lines


def _line(policy: str, after: int, found: NDArray[np.float64]) -> Line:
    to_best, to_single, is_split = found.T
    return Line(
        policy,
        after,
        float(to_best.mean()),
        float(np.median(to_best)),
        float(np.quantile(to_best, 0.9)),
        float(to_best.max()),
        float(np.mean(to_single > SLOWER)),
        float(is_split.mean()),
    )


def follow(
    truths: Sequence[Truth], beliefs: Sequence[Belief], noise: Noise, seed: int
) -> Followed | None:
    """How soon `Adaptive` follows a load on the first device; None where no launch is of interest."""
    took: list[tuple[int, int]] = []
    for row, (truth, belief) in enumerate(zip(truths, beliefs)):
        split = truth.makespan.best()
        if min(split) < LEAST_OF_INTEREST:
            continue
        loaded = truth.loaded(0, LOAD_FACTOR)
        policy, stream = Adaptive(belief), np.random.default_rng((seed, row))
        is_close = []
        for number in range(LOAD_OVER):
            now = loaded if LOAD_BEGINS <= number < LOAD_ENDS else truth
            choice = policy.choose()
            is_close.append(now.seconds(choice) <= CLOSE * now.best_seconds)
            policy.learn(now.run(choice, noise, stream))
        took.append(
            (_launches(is_close[LOAD_BEGINS:LOAD_ENDS]), _launches(is_close[LOAD_ENDS:LOAD_OVER]))
        )
    if not took:
        return None
    launches = np.array(took)
    within = (launches <= 5).mean(0)
    middle, most = np.quantile(launches, [0.5, 0.9], axis=0)
    return Followed(len(took), _pair(within), _pair(middle), _pair(most))


def _pair(values: NDArray[np.float64]) -> tuple[float, float]:
    return round(float(values[0]), 4), round(float(values[1]), 4)


def _launches(is_close: Sequence[bool]) -> int:
    """How many launches it takes until two running are close; one alone may be a chance."""
    for number in range(len(is_close) - 1):
        if is_close[number] and is_close[number + 1]:
            return number
    return len(is_close)


def uneven(truths: Sequence[Truth], seed: int, slices: int = 64) -> list[Truth]:
    """The same launches with the work gathered somewhere along the range, elsewhere in each.

    As in an image of the Mandelbrot set, a hump holds most of it.
    """
    places = np.linspace(0.0, 1.0, slices)
    found = []
    for row, truth in enumerate(truths):
        stream = np.random.default_rng((seed, row))
        centre, width = stream.uniform(0.0, 1.0), stream.uniform(0.08, 0.25)
        work = 0.05 + np.exp(-0.5 * ((places - centre) / width) ** 2)
        found.append(replace(truth, profile=tuple(float(each) for each in work)))
    return found
