from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_runtime.errors import LaunchError
from lb_runtime.shares.makespan import Cost, Makespan, SplitCost, balanced
from lb_runtime.shares.observation import Choice, Observation
from lb_runtime.shares.price import SplitPrice

costs = st.builds(Cost, st.floats(0.0, 1.0), st.floats(0.01, 100.0))
several = st.lists(costs, min_size=1, max_size=5).map(tuple)
splits = st.builds(SplitCost, st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.just(0))


def test_the_longest_part_and_the_price_of_splitting_make_the_time() -> None:
    makespan = Makespan((Cost(1.0, 10.0), Cost(2.0, 4.0)), SplitCost(0.5, 2.0, home=1))
    assert makespan.seconds((0.25, 0.75)) == pytest.approx(2.0 + 4.0 * 0.75 + 0.5 + 2.0 * 0.25)
    assert makespan.seconds((1.0, 0.0)) == pytest.approx(11.0)


@given(several)
def test_devices_that_take_part_end_together(devices: tuple[Cost, ...]) -> None:
    shares = balanced(devices)
    assert sum(shares) == pytest.approx(1.0)
    ends = [device.seconds(share) for device, share in zip(devices, shares) if share > 0.0]
    # A device that would get next to nothing gets nothing, and the others a little more.
    assert max(ends) <= min(ends) * 1.05 + 1e-9


@given(several, splits, st.data())
def test_no_shares_are_faster_than_the_best(
    devices: tuple[Cost, ...], split: SplitCost, data: st.DataObject
) -> None:
    makespan = Makespan(devices, split)
    parts = [data.draw(st.floats(0.0, 1.0)) for _ in devices]
    total = sum(parts)
    if total < 0.01:
        return
    others = tuple(part / total for part in parts)
    # A split must gain a hundredth, and tiny shares are let go.
    assert makespan.seconds(makespan.best()) <= makespan.seconds(others) * 1.05 + 1e-9


@given(several, splits)
def test_the_best_is_never_slower_than_a_single_device(
    devices: tuple[Cost, ...], split: SplitCost
) -> None:
    makespan = Makespan(devices, split)
    alone = min(device.seconds(1.0) for device in devices)
    assert makespan.seconds(makespan.best()) <= alone * (1.0 + 1e-9)


@given(several, st.integers(1, 200))
def test_shares_in_groups_are_whole_groups(devices: tuple[Cost, ...], groups: int) -> None:
    shares = Makespan(devices, groups=groups).best()
    assert sum(shares) == pytest.approx(1.0)
    assert all(abs(share * groups - round(share * groups)) < 1e-6 for share in shares)


def test_the_odd_group_goes_to_whoever_ends_first_with_it() -> None:
    devices = Cost(0.0, 1.0), Cost(0.0, 1.2)
    assert Makespan(devices, groups=3).best() == pytest.approx((2 / 3, 1 / 3))
    assert Makespan(devices, groups=1).best() == (1.0, 0.0)


def test_a_launch_too_short_for_the_price_is_not_split() -> None:
    assert Makespan((Cost(0.0, 1.0), Cost(0.0, 1.2)), SplitCost(0.6)).best() == (1.0, 0.0)


def test_a_fixed_cost_as_long_as_the_launch_keeps_a_device_out() -> None:
    assert Makespan((Cost(0.0, 1.0), Cost(1.0, 0.1))).best() == (1.0, 0.0)


def test_work_that_costs_more_to_bring_home_than_to_do_stays_home() -> None:
    devices = Cost(0.0, 1.1), Cost(0.0, 1.0)
    assert Makespan(devices, SplitCost(0.0, 1.5, home=1)).best() == (0.0, 1.0)
    cheap = Makespan(devices, SplitCost(0.0, 0.1, home=1)).best()
    assert cheap == pytest.approx((1.0 / 2.1, 1.1 / 2.1))


def observed(share: float, moved: int, price: float) -> Observation:
    return Observation((share, 1.0 - share), (1.0, 1.0), 1.0 + price, moved)


def test_what_a_byte_costs_follows_from_launches_that_moved_more_and_fewer() -> None:
    price = SplitPrice(SplitCost(0.0, 0.0, home=1))
    for moved in (100, 200, 400):
        price.learn(observed(0.5, moved, 0.1 + moved * 1e-3))
    assert price.cost.fixed_seconds == pytest.approx(0.1)
    assert price.cost.seconds((0.5, 0.5)) == pytest.approx(0.1 + 0.2)


def test_one_disturbed_launch_does_not_change_the_price() -> None:
    price = SplitPrice(SplitCost())
    for each in (0.1, 0.1, 5.0, 0.1):
        price.learn(observed(0.5, 0, each))
    assert price.cost.seconds((0.5, 0.5)) == pytest.approx(0.1)


def test_the_price_is_never_negative_and_no_more_than_was_seen() -> None:
    price = SplitPrice(SplitCost(0.0, 10.0, home=1))
    price.learn(observed(0.5, 100, 0.2))
    assert price.cost.seconds((0.5, 0.5)) == pytest.approx(0.2)


@pytest.mark.parametrize("shares", [(0.5, 0.6), (1.5, -0.5), (), (0.5,)])
def test_shares_that_are_no_division_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(LaunchError, match="summing to 1"):
        Choice(shares)


@pytest.mark.parametrize(
    ("seconds", "total"),
    [((0.0, 1.0), 1.0), ((1.0, float("nan")), 1.0), ((1.0, 1.0), 0.0), ((1.0,), 1.0)],
)
def test_times_that_cannot_be_are_refused(seconds: tuple[float, ...], total: float) -> None:
    with pytest.raises(LaunchError, match="expected"):
        Observation((0.5, 0.5), seconds, total)


class Flat:
    """A device that was seen to take nothing but its fixed cost."""

    def __init__(self, fixed: float) -> None:
        self.fixed = fixed

    def seconds(self, share: float) -> float:
        return self.fixed if share > 0.0 else 0.0

    def share_in(self, seconds: float) -> float:
        return 0.0


def test_of_devices_that_take_fixed_costs_alone_the_cheapest_one_takes_all() -> None:
    assert balanced((Flat(2.0), Flat(1.0))) == (0.0, 1.0)
