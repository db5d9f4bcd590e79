"""Launches overlap: a launch is chosen before those just ahead of it have ended and were learned from."""

from __future__ import annotations

from collections import deque
from statistics import median

import numpy as np
import pytest
from share_games import belief_of, even

from lb_runtime.shares.adaptive import Adaptive
from lb_runtime.shares.makespan import SplitCost
from lb_runtime.shares.observation import Choice, Observation
from lb_runtime.shares.simulated import Noise, Truth

DISTURBED = Noise(0.05, 0.1)
"""A tenth of the launches is disturbed."""


def play_ahead(
    policy: Adaptive, truth: Truth, launches: int, ahead: int, seed: int
) -> list[Choice]:
    """What a policy chooses that is told of each launch when `ahead` more have been chosen."""
    stream = np.random.default_rng(seed)
    choices: list[Choice] = []
    under_way: deque[Choice] = deque()
    for _ in range(launches):
        choices.append(policy.choose())
        under_way.append(choices[-1])
        if len(under_way) > ahead:
            policy.learn(truth.run(under_way.popleft(), DISTURBED, stream))
    return choices


def loses_for_ever(ahead: int, seed: int) -> bool:
    """Whether most launches still take far longer than the better device's after many."""
    truth = even(1.0, 12.0, split=SplitCost(fixed_seconds=2.0))
    policy = Adaptive(belief_of(1.0, 3.0, seed=seed))
    late = play_ahead(policy, truth, 150, ahead, seed)[100:]
    return median(truth.seconds(choice) for choice in late) > 1.5 * truth.best_seconds


def test_a_doubt_about_a_device_that_was_given_nothing_since_is_resolved() -> None:
    policy = Adaptive(belief_of(1e-4, 1e-7, spread=0.1))
    for seconds in (4.75e-4, 0.89e-4):
        policy.learn(Observation((1.0, 0.0), (seconds, 0.0), seconds))
    assert policy.choose().whole == 1
    # The first device took longer than was expected beside the other, of which whole launches come in.
    policy.learn(Observation((0.9, 0.1), (8.4e-4, 0.9e-4), 9e-4))
    for _ in range(4):
        policy.learn(Observation((0.0, 1.0), (0.0, 2e-3), 2e-3))
    assert policy.choose().shares[0] > 0.0
    for _ in range(40):
        shares = policy.choose().shares
        seconds = tuple(
            whole * share + 8e-4 * (0.0 < share < 1.0) for whole, share in zip((9e-5, 2e-3), shares)
        )
        policy.learn(Observation(shares, seconds, max(seconds)))
    assert policy.choose().whole == 0


@pytest.mark.parametrize("ahead", [1, 2, 4, 8])
def test_no_overlap_makes_it_lose_for_ever(ahead: int) -> None:
    assert not any(loses_for_ever(ahead, seed) for seed in range(40))


def test_with_the_last_choice_once_more_a_doubt_is_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = Adaptive._decide

    def mutant(policy: Adaptive) -> Choice:
        found = original(policy)
        return policy._choice if found.why == "doubt" else found

    monkeypatch.setattr(Adaptive, "_decide", mutant)
    with pytest.raises(AssertionError):
        test_a_doubt_about_a_device_that_was_given_nothing_since_is_resolved()
