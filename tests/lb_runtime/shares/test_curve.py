from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_runtime.shares import curve as curves
from lb_runtime.shares.curve import DRIFT_RUN, Curve

seen = st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(1e-5, 1e3)), min_size=1, max_size=30)


def learned(*launches: tuple[float, float], fixed: float = 0.0) -> Curve:
    curve = Curve(fixed)
    for share, seconds in launches:
        curve.learn(share, seconds)
    return curve


def test_one_launch_tells_a_proportional_time() -> None:
    assert learned((0.5, 2.0)).seconds(0.25) == pytest.approx(1.0)
    assert learned((0.5, 2.0)).seconds(1.0) == pytest.approx(4.0)


def test_a_fixed_cost_that_is_given_is_no_part_of_the_rate() -> None:
    assert learned((0.5, 2.0), fixed=1.0).seconds(1.0) == pytest.approx(3.0)


def test_two_shares_tell_the_fixed_cost() -> None:
    curve = learned(*[(0.2, 1.2)] * 2, *[(0.6, 1.6)] * 2)
    assert curve.fixed_seconds == pytest.approx(1.0)
    assert curve.seconds(0.1) == pytest.approx(1.1)


@given(seen)
def test_time_grows_with_the_share(launches: list[tuple[float, float]]) -> None:
    curve = learned(*launches)
    times = [curve.seconds(share / 20) for share in range(20)]
    assert all(one <= other * (1.0 + 1e-9) for one, other in itertools.pairwise(times))


@given(seen, st.floats(0.01, 0.99))
def test_the_share_in_a_time_is_the_share_of_that_time(
    launches: list[tuple[float, float]], share: float
) -> None:
    curve = learned(*launches)
    assert curve.seconds(curve.share_in(curve.seconds(share))) == pytest.approx(
        curve.seconds(share), rel=1e-5
    )


@pytest.mark.parametrize("place", [1, 2, 3, 4])
def test_one_slow_launch_changes_nothing(place: int) -> None:
    times = [1.0, 1.01, 0.99, 1.0, 1.0]
    times[place] *= 5.0
    assert learned(*[(0.5, time) for time in times]).seconds(0.5) == pytest.approx(1.0, rel=0.02)


def test_a_slow_first_launch_is_corrected_by_the_second() -> None:
    assert learned((0.5, 5.0), (0.5, 1.0)).seconds(0.5) == pytest.approx(1.0)
    assert learned((0.5, 5.0), (0.2, 0.4)).seconds(0.5) == pytest.approx(1.0)


def test_a_long_time_at_a_new_share_is_believed_when_confirmed() -> None:
    curve = learned((0.2, 1.0), (0.2, 1.0), (0.6, 9.0))
    assert curve.is_in_doubt
    assert curve.seconds(0.6) == pytest.approx(3.0)
    curve.learn(0.6, 9.0)
    assert not curve.is_in_doubt
    assert curve.seconds(0.6) == pytest.approx(9.0)
    assert curve.seconds(0.2) == pytest.approx(1.0)


def test_a_device_that_stays_slower_scales_all_that_is_known_of_it() -> None:
    curve = learned(*[(1.0, 2.0)] * 3, *[(0.5, 1.0)] * 6)
    for _ in range(DRIFT_RUN):
        assert curve.seconds(0.5) == pytest.approx(1.0)
        curve.learn(0.5, 2.0)
    assert curve.drifts == 1
    assert curve.seconds(0.5) == pytest.approx(2.0)
    assert curve.seconds(1.0) == pytest.approx(4.0)


def test_scatter_within_what_was_seen_is_no_drift() -> None:
    times = [1.0, 1.3, 0.8, 1.25, 0.75, 1.2, 1.3, 0.8, 1.25, 1.2, 0.8, 1.3, 0.75, 1.25]
    assert learned(*[(0.5, time) for time in times]).drifts == 0


def test_a_device_that_is_faster_alone_keeps_that_time() -> None:
    curve = learned((1.0, 10.0), *[(0.5, 12.0)] * 3)
    assert curve.seconds(1.0) == pytest.approx(10.0)
    assert curve.seconds(0.5) == pytest.approx(12.0)


def test_a_slice_with_less_than_its_part_of_the_work_shows_uneven_work() -> None:
    assert learned((0.09, 0.1), *[(0.9, 9.9)] * 2).is_uneven
    assert not learned((0.09, 0.9), *[(0.9, 9.0)] * 2).is_uneven


def test_a_fixed_cost_does_not_look_like_uneven_work() -> None:
    assert not learned(*[(0.1, 2.0)] * 2, *[(0.9, 3.0)] * 2).is_uneven


def test_whole_launches_are_never_forgotten_for_new_shares() -> None:
    curve = learned((1.0, 10.0), *[(share / 20, share / 2) for share in range(1, 20)])
    assert curve.whole_launches == 1


def test_without_medians_one_slow_launch_moves_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "lower_median", lambda values: sum(values) / len(values))
    assert learned(*[(0.5, time) for time in (1.0, 1.0, 5.0, 1.0)]).seconds(0.5) > 1.5
