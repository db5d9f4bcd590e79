"""Launches of a policy on a simulated machine, for tests: what was chosen and how long it took."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from lb_runtime.shares.belief import Belief
from lb_runtime.shares.makespan import FREE, Cost, SplitCost
from lb_runtime.shares.observation import Choice
from lb_runtime.shares.policy import Policy
from lb_runtime.shares.simulated import Noise, Truth

QUIET = Noise(0.0, 0.0)
USUAL = Noise(0.03, 0.0)


def even(*seconds: float, split: SplitCost = FREE, fixed: float = 0.0) -> Truth:
    """A launch that takes so many seconds on each device, `fixed` of them for any part."""
    return Truth(tuple(Cost(fixed, whole - fixed) for whole in seconds), split)


def belief_of(
    *seconds: float, spread: float = 0.7, split: SplitCost = FREE, seed: int = 5
) -> Belief:
    """A belief that whole launches take about so many seconds."""
    stream = np.random.default_rng(seed)
    samples = np.log(seconds) + spread * stream.standard_normal((64, len(seconds)))
    return Belief.of(samples, split=split)


def play(
    policy: Policy, truth: Truth, launches: int, noise: Noise = QUIET, seed: int = 1
) -> list[Choice]:
    """What a policy chooses for launches that it learns from."""
    stream = np.random.default_rng(seed)
    choices = []
    for _ in range(launches):
        choices.append(policy.choose())
        policy.learn(truth.run(choices[-1], noise, stream))
    return choices


def slow_downs(truth: Truth, choices: Sequence[Choice]) -> list[float]:
    """How many times the best time each choice takes."""
    return [truth.seconds(choice) / truth.best_seconds for choice in choices]


def moves(choices: Sequence[Choice]) -> int:
    """How often the shares change from one launch to the next."""
    return sum(one.shares != other.shares for one, other in itertools.pairwise(choices))
