from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from share_games import belief_of

from lb_runtime.errors import LaunchError
from lb_runtime.shares.belief import MOST_SAMPLES, Belief
from lb_runtime.shares.makespan import SplitCost


def test_a_sure_belief_takes_the_shares_at_which_both_end_together() -> None:
    assert Belief.of(np.log([[1.0, 3.0]])).best() == pytest.approx((0.75, 0.25))


def test_three_devices_are_shared_by_their_speeds() -> None:
    shares = Belief.of(np.log([[1.0, 2.0, 4.0]])).best()
    assert shares == pytest.approx((4 / 7, 2 / 7, 1 / 7))


def test_not_knowing_which_device_is_slow_keeps_from_splitting_evenly() -> None:
    # The second device takes as long, or ten thousand times as long.
    shares = Belief.of(np.log([[1.0, 1.0], [1.0, 1e4]])).best()
    assert shares == (1.0, 0.0)


def test_a_price_above_the_gain_keeps_one_device() -> None:
    sure = np.log([[1.0, 1.0]])
    assert Belief.of(sure, split=SplitCost(0.6)).best() in ((1.0, 0.0), (0.0, 1.0))
    assert Belief.of(sure, split=SplitCost(0.1)).best() == pytest.approx((0.5, 0.5))


@given(st.lists(st.floats(0.01, 100.0), min_size=2, max_size=4), st.integers(0, 50))
def test_the_decision_loses_no_more_than_any_candidate(seconds: list[float], seed: int) -> None:
    belief = belief_of(*seconds, seed=seed)
    losses = belief.losses(belief.candidates())
    assert losses.min() >= -1e-9
    mine = belief.losses(np.array([belief.best()]))[0]
    assert mine <= losses.min() + 0.01 + 1e-9


def test_a_launch_twice_as_long_as_thought_is_longer_elsewhere_too() -> None:
    stream = np.random.default_rng(1)
    size = stream.standard_normal(64)
    samples = np.stack([size, size + 1.0], 1) + 0.1 * stream.standard_normal((64, 2))
    given_one = Belief.of(samples).given({0: float(np.exp(2.0))})
    assert np.allclose(given_one.log_seconds[:, 0], 2.0)
    assert given_one.log_seconds[:, 1].mean() == pytest.approx(3.0, abs=0.1)
    assert given_one.log_seconds[:, 1].std() < 0.2


def test_many_samples_are_stood_for_by_few() -> None:
    samples = np.log([[1.0, 3.0]]) + 0.5 * np.random.default_rng(1).standard_normal((5000, 2))
    belief = Belief.of(samples)
    assert len(belief.weights) == MOST_SAMPLES
    ratio = belief.log_seconds[:, 0] - belief.log_seconds[:, 1]
    assert ratio.mean() == pytest.approx((samples[:, 0] - samples[:, 1]).mean(), abs=0.05)


def test_samples_that_are_no_distribution_are_refused() -> None:
    with pytest.raises(LaunchError, match="positive and sum to 1"):
        Belief(np.zeros((2, 2)), np.array([0.5, 0.6]), np.zeros(2))
    with pytest.raises(LaunchError, match="finite"):
        Belief.of(np.array([[np.nan, 1.0]]))
