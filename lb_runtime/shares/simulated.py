"""A machine that is made of numbers: what launches take on it is known, or scattered by a seed.

The truth of a launch is what each device takes for the whole work, what a split costs, and how the
work lies along the range. Slices of an even kernel are alike; of an uneven one a profile tells how the
work-groups differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lb_runtime.errors import LaunchError
from lb_runtime.shares.chunks import Chunk, Chunks
from lb_runtime.shares.makespan import FREE, Cost, Makespan, SplitCost, Times
from lb_runtime.shares.observation import Choice, Observation

GROUPS = 512
"""The work-groups of a launch that is handed out in chunks."""


@dataclass(frozen=True, slots=True)
class Noise:
    """How launches scatter: log-normally, and some are slow.

    `sigma` is of each part's log time; with `slow_probability` a part takes `slow_factor` times as long.
    """

    sigma: float = 0.05
    slow_probability: float = 0.02
    slow_factor: float = 3.0

    def factors(self, count: int, stream: np.random.Generator) -> NDArray[np.float64]:
        """What times are multiplied by. Shapes: float64 [count]."""
        slow = np.where(stream.random(count) < self.slow_probability, self.slow_factor, 1.0)
        factors: NDArray[np.float64] = np.exp(self.sigma * stream.standard_normal(count)) * slow
        return factors


@dataclass(frozen=True)
class Truth:
    """What a launch takes.

    `split` is the price of cutting it; `moved_bytes` move where all the work is away from home.
    `profile` is the work of equal slices of the range, in any unit; empty for an even kernel. A
    device's slice begins where that of the device before it ends.
    Raises LaunchError where there is no device, or a profile with no work or of more than two devices.
    """

    costs: tuple[Cost, ...]
    split: SplitCost = FREE
    moved_bytes: int = 0
    profile: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.costs:
            raise LaunchError("no devices given, expected at least one")
        if self.profile and (len(self.costs) > 2 or min(self.profile) <= 0.0):
            raise LaunchError("a profile needs some work everywhere, and one or two devices")

    @cached_property
    def makespan(self) -> Makespan:
        """The time of a launch by its shares, undisturbed."""
        if not self.profile:
            return Makespan(self.costs, self.split)
        done = self._done
        front = _Uneven(self.costs[0], done)
        back = tuple(_Uneven(cost, 1.0 - done[::-1]) for cost in self.costs[1:])
        return Makespan((front, *back), self.split)

    @cached_property
    def best_seconds(self) -> float:
        """What the best cut or the best single device takes."""
        makespan = self.makespan
        single = makespan.devices[makespan.best_whole()].seconds(1.0)
        split = makespan.best_split()
        return single if split is None else min(single, makespan.seconds(split))

    def seconds(self, choice: Choice) -> float:
        """What a choice takes, undisturbed."""
        if not choice.is_chunked:
            return self.makespan.seconds(choice.shares)
        return self._chunked(choice, np.ones(len(self.costs))).total_seconds

    def run(self, choice: Choice, noise: Noise, stream: np.random.Generator) -> Observation:
        """A launch as a runtime would observe it."""
        factors = noise.factors(len(self.costs) + 1, stream)
        if choice.is_chunked:
            return self._chunked(choice, factors)
        parts = tuple(
            float(device.seconds(share) * factor)
            for device, share, factor in zip(self.makespan.devices, choice.shares, factors)
        )
        price = self.split.seconds(choice.shares) * factors[-1]
        moved = self._moved(choice.shares) if choice.whole is None else 0
        return Observation(choice.shares, parts, float(max(parts) + price), moved)

    def loaded(self, device: int, factor: float) -> Truth:
        """The same launch while something else makes a device slower by a factor."""
        costs = list(self.costs)
        costs[device] = Cost(costs[device].fixed_seconds, costs[device].rate_seconds * factor)
        return replace(self, costs=tuple(costs))

    @cached_property
    def _done(self) -> NDArray[np.float64]:
        """The part of the work that lies before each edge of equal slices; from 0 to 1."""
        done = np.concatenate([[0.0], np.cumsum(self.profile or (1.0,))])
        whole: NDArray[np.float64] = done / done[-1]
        return whole

    def _moved(self, shares: tuple[float, ...]) -> int:
        away = 1.0 if self.split.home is None else 1.0 - shares[self.split.home]
        return int(self.moved_bytes * away)

    def _chunked(self, choice: Choice, factors: NDArray[np.float64]) -> Observation:
        """Hand out a launch: whoever is idle first asks first."""
        chunks = Chunks(GROUPS, choice.shares, choice.least)
        edges = np.interp(
            np.linspace(0.0, 1.0, GROUPS + 1), np.linspace(0.0, 1.0, len(self._done)), self._done
        )
        devices = len(self.costs)
        idle_at, groups = [0.0] * devices, [0] * devices
        begun_at = [0.0] * devices
        running: dict[int, tuple[Chunk, float]] = {}
        asking = set(range(devices))
        while asking and chunks.left:
            device = min(asking, key=lambda each: idle_at[each])
            now = idle_at[device]
            if device in running:
                chunks.done(*running.pop(device))
            chunks.agree([now - each for each in begun_at])
            chunk = chunks.next(device)
            if chunk is None:
                asking.remove(device)
                continue
            cost = self.costs[device]
            work = float(edges[chunk.stop] - edges[chunk.start])
            taken = (cost.fixed_seconds + cost.rate_seconds * work) * float(factors[device])
            running[device] = chunk, taken
            begun_at[device], idle_at[device] = now, now + taken
            groups[device] += chunk.groups
        shares = tuple(count / GROUPS for count in groups)
        total = max(idle_at) + self.split.seconds(shares)
        moved = self._moved(shares) if sum(share > 0.0 for share in shares) > 1 else 0
        return Observation(shares, tuple(idle_at), total, moved, is_chunked=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Uneven(Times):
    """A device's time where equal slices hold unequal work; `done` as in `Truth`, from its own end."""

    cost: Cost
    done: NDArray[np.float64]

    def seconds(self, share: float) -> float:
        edges = np.linspace(0.0, 1.0, len(self.done))
        work = float(np.interp(share, edges, self.done))
        return self.cost.fixed_seconds + self.cost.rate_seconds * work if share > 0.0 else 0.0

    def share_in(self, seconds: float) -> float:
        work = (seconds - self.cost.fixed_seconds) / self.cost.rate_seconds
        edges = np.linspace(0.0, 1.0, len(self.done))
        return float(np.interp(work, self.done, edges)) if work > 0.0 else 0.0
