"""A kernel that is made of numbers, for tests of benchmarks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from share_games import QUIET, belief_of, even

from lb_runtime.bench.measure import DYNAMIC, Effort, measure
from lb_runtime.bench.record import Bench, KernelRecord, Span
from lb_runtime.shares.adaptive import Adaptive
from lb_runtime.shares.observation import Choice, Observation
from lb_runtime.shares.policy import Dynamic, Policy, PolicyName, Predicted

SECONDS = (0.3, 0.1)


@dataclass(frozen=True, slots=True)
class ShortEffort(Effort):
    """Few launches."""

    def with_seed(self, seed: int) -> ShortEffort:
        """The same with another seed."""
        return replace(self, seed=seed)


SHORT = ShortEffort(rounds=6, sweep_times=2, coarse=8, finer=2, patience=3)


class Simulated:
    """A launch of a simulated machine; `stop_after` so many launches Ctrl-C is pressed."""

    def __init__(self, groups: int = 512, stop_after: int = 10**9, wrong: str = "") -> None:
        self.groups = groups
        self.chosen: list[Choice] = []
        self._stop_after = stop_after
        self._wrong = wrong
        self._truth = even(*SECONDS)
        self._stream = np.random.default_rng(1)

    @property
    def may_chunk(self) -> bool:
        return self.groups > 1

    def policy(self, name: PolicyName) -> Policy:
        belief = belief_of(0.2, 0.15)
        if name == "adaptive":
            return Adaptive(belief, may_chunk=self.may_chunk, groups=self.groups)
        return Dynamic(belief) if name == "dynamic" else Predicted(belief)

    def run(self, choice: Choice) -> Observation:
        if len(self.chosen) >= self._stop_after:
            raise KeyboardInterrupt
        self.chosen.append(choice)
        return self._truth.run(choice, QUIET, self._stream)

    def timeline(self) -> list[Span]:
        choice = self.chosen[-1]
        if not choice.is_chunked:
            return [
                Span(d, 256, 0.0, s * w) for d, (s, w) in enumerate(zip(SECONDS, choice.shares))
            ]
        return [Span(d, 64, n * 0.01, n * 0.01 + 0.009) for d in (0, 1) for n in range(4)]

    def check(self, choice: Choice) -> tuple[bool, str]:
        self.run(choice)
        right = not (self._wrong == DYNAMIC and choice.is_chunked)
        return right, "identical" if right else "wrong"


class Quiet:
    """Others that take what is given, one part a round."""

    def __init__(self, parts: list[float] | None = None) -> None:
        self._parts = parts or []

    def begin(self) -> None:
        """Nothing to do."""

    def part(self) -> float:
        return self._parts.pop(0) if self._parts else 0.0


def measured(name: str = "k") -> KernelRecord:
    """A kernel that is measured to the end."""
    record = KernelRecord(name, "key", launch="512 work-items in groups of 1")
    measure(Simulated(), record, SHORT, Quiet(), lambda _: None)
    return record


def bench() -> Bench:
    """A benchmark of two kernels that are split and one that is not."""
    declined = KernelRecord("flags", "key", reasons=("line 3: <fences> & flags",))
    measure(Simulated(groups=1), declined, SHORT, Quiet(), lambda _: None)
    setup = {"cpu": "a CPU", "gpu": "a GPU", "rounds": SHORT.rounds, "seed": 0, "one_core": True}
    return Bench(setup, {each.name: each for each in (measured("one"), measured("two"), declined)})
