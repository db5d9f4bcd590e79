"""What follows from a distribution of both times, on distributions whose answer is known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.felt import seconds_at
from predictor.predict import prior
from predictor.prediction import SHARES, SPLIT_GAIN, Prediction, quantiles


def of(*pairs: tuple[float, float]) -> Prediction:
    """Equally likely pairs of CPU and GPU seconds."""
    return Prediction(np.log(np.array(pairs)), np.full(len(pairs), 1.0 / len(pairs)))


def test_where_both_times_are_known_the_decision_is_the_best_split() -> None:
    known = of((1.0, 3.0))
    assert known.cpu_fraction == pytest.approx(0.75)
    assert known.median_share == pytest.approx(0.75)
    assert known.interval() == pytest.approx((0.75, 0.75))
    assert known.expected_slow_down == pytest.approx(1.0)
    assert known.split_probability == 1.0
    assert known.gpu_probability == 0.0


def test_a_device_that_is_hopeless_gets_nothing() -> None:
    assert of((1.0, 1000.0)).cpu_fraction == 1.0
    assert of((1000.0, 1.0)).cpu_fraction == 0.0
    assert of((1000.0, 1.0)).split_probability == 0.0


def test_a_split_that_gains_next_to_nothing_is_not_made() -> None:
    gpu_share = 1.0 - SPLIT_GAIN / 2.0
    assert of((1.0, gpu_share / (1.0 - gpu_share) * 1.0)).cpu_fraction == 1.0


def test_a_risky_launch_is_cut_elsewhere_than_its_median() -> None:
    risky = of((1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0, 30.0))
    assert risky.median_share == pytest.approx(0.5)
    assert risky.cpu_fraction > 0.9
    assert of((1.0, 1.0)).cpu_fraction == pytest.approx(0.5)


def test_the_interval_holds_its_probability() -> None:
    shares = np.linspace(0.005, 0.995, 100)
    spread = Prediction(
        np.stack([np.zeros(100), np.log(shares / (1.0 - shares))], 1), np.full(100, 0.01)
    )
    low, high = spread.interval(0.8)
    assert (low, high) == pytest.approx((0.1, 0.9), abs=0.011)
    assert np.mean((spread.shares >= low) & (spread.shares <= high)) == pytest.approx(0.8, abs=0.02)


def test_both_devices_times_have_a_median_and_an_interval() -> None:
    times = of(*((float(cpu), 10.0) for cpu in range(1, 101)))
    (low, middle, high), gpu = times.seconds(0.8)
    assert (low, middle, high) == pytest.approx((10.0, 50.0, 90.0), abs=1.01)
    assert gpu == pytest.approx((10.0, 10.0, 10.0))


def test_weights_count() -> None:
    pairs = np.log(np.array([[1.0, 1.0], [1.0, 9.0]]))
    assert Prediction(pairs, np.array([0.9, 0.1])).median_share == pytest.approx(0.5)
    assert Prediction(pairs, np.array([0.1, 0.9])).median_share == pytest.approx(0.9)


times = st.floats(1e-6, 1e3)


@given(st.lists(st.tuples(times, times), min_size=1, max_size=6))
def test_no_share_is_expected_to_be_better_than_the_decision(
    pairs: list[tuple[float, float]],
) -> None:
    said = of(*pairs)
    cpu, gpu = np.array(pairs).T
    best = cpu * gpu / (cpu + gpu)
    losses = [np.log(seconds_at(np.array(s), cpu, gpu) / best).mean() for s in SHARES]
    decided = np.log(seconds_at(np.array(said.cpu_fraction), cpu, gpu) / best).mean()
    assert decided <= min(losses) + SPLIT_GAIN + 1e-9
    assert said.expected_slow_down == pytest.approx(np.exp(decided), rel=1e-6)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20))
def test_a_quantile_has_its_part_of_the_weights_below_it(values: list[float]) -> None:
    array = np.array(values)
    weights = np.full(len(array), 1.0 / len(array))
    (median,) = quantiles(array, weights, (0.5,))
    assert weights[array <= median].sum() >= 0.5 - 1e-9
    assert weights[array < median].sum() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("log_seconds", "weights"),
    [
        (np.zeros((0, 2)), np.zeros(0)),
        (np.zeros((2, 3)), np.full(2, 0.5)),
        (np.zeros((2, 2)), np.array([0.5, 0.4])),
        (np.zeros((2, 2)), np.array([1.5, -0.5])),
        (np.array([[0.0, np.nan]]), np.ones(1)),
    ],
)
def test_what_is_no_distribution_is_refused(log_seconds: object, weights: object) -> None:
    with pytest.raises(ValueError, match=r"expected|must be"):
        Prediction(log_seconds, weights)  # type: ignore[arg-type]


def test_a_probability_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        of((1.0, 1.0)).interval(1.0)


def test_without_a_model_a_launch_is_as_launches_are() -> None:
    general = prior()
    low, high = general.interval(0.8)
    assert general.is_prior
    assert low < 0.15
    assert high > 0.65
    assert 0.3 < general.cpu_fraction < 0.7
