from __future__ import annotations

from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from share_games import QUIET, USUAL, belief_of, even, moves, play, slow_downs

from lb_runtime.shares import adaptive, curve
from lb_runtime.shares.adaptive import Adaptive, _in_groups
from lb_runtime.shares.comparison import uneven
from lb_runtime.shares.guard import FIRST_REST, Guard
from lb_runtime.shares.makespan import SplitCost
from lb_runtime.shares.observation import Choice, Observation, whole_on
from lb_runtime.shares.simulated import Noise, Truth

SEEDS = range(20)
SETTLED = 12
"""After so many launches all tries of a beginning are over."""


class SharedBus:
    """A machine on which two devices at once only get in each other's way.

    However small its part, a device of a split takes longer than the whole launch takes it alone.
    """

    best_seconds = 1.0

    def seconds(self, choice: Choice) -> float:
        return 1.0 if choice.whole == 0 else 3.0 if choice.whole == 1 else 1.3

    def run(self, choice: Choice, noise: Noise, stream: np.random.Generator) -> Observation:
        seconds = self.seconds(choice) * float(np.exp(noise.sigma * stream.standard_normal()))
        parts = tuple(seconds if share else 0.0 for share in choice.shares)
        return Observation(choice.shares, parts, seconds)


def under_load(seed: int, noise: Noise = USUAL) -> tuple[list[float], list[float], list[float]]:
    """CPU shares before, while and after something takes half of the CPU away; its best are 1/2 and 1/3."""
    policy, truth = Adaptive(belief_of(1.0, 1.0)), even(1.0, 1.0)
    spans = [(truth, SETTLED), (truth.loaded(0, 2.0), 14), (truth, 14)]
    before, during, after = (
        [each.shares[0] for each in play(policy, now, launches, noise, seed + number)]
        for number, (now, launches) in enumerate(spans)
    )
    return before, during, after


def test_the_first_launch_takes_the_shares_of_the_smallest_expected_loss() -> None:
    belief = belief_of(1.0, 3.0)
    assert Adaptive(belief).choose().shares == belief.best()


def test_asking_twice_changes_nothing() -> None:
    policy = Adaptive(belief_of(1.0, 3.0))
    assert policy.choose() == policy.choose()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.1, 10.0), min_size=2, max_size=4),
    st.lists(st.floats(0.3, 3.0), min_size=4, max_size=4),
    st.floats(0.0, 0.2),
)
def test_four_launches_are_enough_to_be_near_the_best(
    seconds: list[float], errors: list[float], price: float
) -> None:
    split = SplitCost(price * min(seconds))
    believed = [time * error for time, error in zip(seconds, errors)]
    policy = Adaptive(belief_of(*believed, split=split))
    truth = even(*seconds, split=split)
    play(policy, truth, 4)
    choice = policy.choose()
    # A device that could be as fast alone may be measured just now, or one be unknown that by the
    # prediction has little to give.
    is_near = truth.seconds(choice) <= 1.06 * truth.best_seconds
    assert is_near or choice.why in ("compare", "explore")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.1, 10.0), min_size=2, max_size=3),
    st.floats(0.0, 2.0),
    st.floats(0.0, 0.5),
    st.integers(0, 100),
)
def test_it_never_settles_on_what_is_slower_than_the_best_single_device(
    seconds: list[float], price: float, fixed: float, seed: int
) -> None:
    split = SplitCost(price * min(seconds))
    truth = even(*seconds, split=split, fixed=fixed * min(seconds))
    policy = Adaptive(belief_of(*seconds, split=split, seed=seed))
    play(policy, truth, SETTLED, seed=seed)
    choice = policy.choose()
    assert truth.seconds(choice) <= 1.02 * min(seconds) or choice.why in ("compare", "explore")


def test_a_device_far_too_slow_is_left_out() -> None:
    policy = Adaptive(belief_of(1.0, 1.0, 1.0))
    choices = play(policy, even(1.0, 2.0, 1000.0), SETTLED)
    assert choices[-1].shares[2] == 0.0
    assert slow_downs(even(1.0, 2.0, 1000.0), choices)[-1] <= 1.03


def test_an_unknown_device_is_tried_though_the_model_keeps_to_one() -> None:
    # The model is nearly sure of a CPU that is 30 times slower; it is 2 times faster.
    belief = belief_of(30.0, 1.0, spread=0.5)
    truth = even(0.5, 1.0)
    assert belief.best()[1] > 0.9
    assert max(slow_downs(truth, play(Adaptive(belief), truth, 40))[-3:]) < 1.05


def test_a_device_is_tried_though_the_model_is_sure_that_it_is_useless() -> None:
    truth = even(1.0, 1.0)
    policy = Adaptive(belief_of(120.0, 1.0, spread=0.01))
    assert policy.choose().whole == 1
    choices = play(policy, truth, 40)
    assert slow_downs(truth, choices)[-1] < 1.05


@pytest.mark.parametrize("seed", SEEDS)
def test_shares_settle_without_oscillation(seed: int) -> None:
    policy = Adaptive(belief_of(1.0, 2.0))
    play(policy, even(1.0, 2.0), SETTLED, USUAL, seed)
    assert moves(play(policy, even(1.0, 2.0), 30, USUAL, seed)) <= 2


def test_without_the_dead_band_shares_oscillate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive, "DEAD_BAND", -1.0)
    policy = Adaptive(belief_of(1.0, 2.0))
    play(policy, even(1.0, 2.0), SETTLED, USUAL)
    assert moves(play(policy, even(1.0, 2.0), 30, USUAL)) > 5


@pytest.mark.parametrize("seed", SEEDS)
def test_one_slow_launch_does_not_move_the_shares(seed: int) -> None:
    policy, truth = Adaptive(belief_of(1.0, 2.0)), even(1.0, 2.0)
    play(policy, truth, SETTLED, USUAL, seed)
    before = policy.choose()
    disturbed = truth.loaded(seed % 2, 6.0)
    play(policy, disturbed, 1, USUAL, seed)
    assert policy.choose().shares == pytest.approx(before.shares, abs=0.02)


def test_without_medians_one_slow_launch_moves_the_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "lower_median", lambda values: sum(values) / len(values))
    monkeypatch.setattr(curve, "DRIFT", 100.0)
    policy, truth = Adaptive(belief_of(1.0, 2.0)), even(1.0, 2.0)
    play(policy, truth, SETTLED)
    before = policy.choose()
    play(policy, truth.loaded(0, 6.0), 1)
    assert policy.choose().shares != pytest.approx(before.shares, abs=0.02)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_share_follows_a_load_within_five_launches_and_is_back_within_five(seed: int) -> None:
    before, during, after = under_load(seed)
    assert before[-1] == pytest.approx(1 / 2, abs=0.04)
    assert during[5] == pytest.approx(1 / 3, abs=0.04)
    assert after[5] == pytest.approx(1 / 2, abs=0.04)


def test_without_drift_detection_the_share_does_not_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve, "DRIFT_RUN", 1000)
    _, during, _ = under_load(1)
    assert during[5] > 0.45


def test_a_split_that_only_gets_in_its_own_way_is_given_up() -> None:
    choices = play(Adaptive(belief_of(1.0, 1.0)), SharedBus(), 40, USUAL)  # type: ignore[arg-type]
    assert sum(each.whole is None for each in choices) <= 14
    assert all(each.whole == 0 for each in choices[20:28])


def scattered_splits(seed: int) -> int:
    """How many of the last 60 launches are split where the latest of four parts is late nearly always.

    Each part's median promises a gain of an eighth, but all end together only by chance.
    """
    policy = Adaptive(belief_of(1.0, 20.0, 20.0, 20.0))
    choices = play(policy, even(1.0, 20.0, 20.0, 20.0), 100, Noise(0.3, 0.0), seed)
    return sum(each.whole is None for each in choices[-60:])


def test_a_split_that_promises_but_does_not_gain_is_given_up() -> None:
    assert median(scattered_splits(seed) for seed in SEEDS) < 25


def test_without_the_guard_it_loses_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guard, "loses", lambda *_: False)
    monkeypatch.setattr(Guard, "loses_moving", lambda *_: False)
    assert median(scattered_splits(seed) for seed in SEEDS) > 50


def test_a_split_that_lost_is_tried_again_ever_more_rarely() -> None:
    guard = Guard()
    rests = []
    for _ in range(4):
        while not guard.loses(1.0):
            guard.split(1.2)
        launches = 0
        while guard.rests:
            guard.whole()
            launches += 1
        rests.append(launches)
    assert rests == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST, 8 * FIRST_REST]


def test_a_split_that_won_begins_with_a_short_rest_again() -> None:
    guard = Guard()
    for total in (1.2, 1.2, 1.2):
        guard.split(total)
    assert guard.loses(1.0)
    for _ in range(5):
        guard.split(0.8)
    assert not guard.loses(1.0)
    for _ in range(5):
        guard.split(1.2)
    assert guard.loses(1.0)
    for _ in range(FIRST_REST):
        guard.whole()
    assert not guard.rests


def test_a_load_that_ends_brings_a_split_back_that_was_given_up() -> None:
    policy, truth = Adaptive(belief_of(1.0, 1.0)), even(1.0, 1.0)
    play(policy, truth.loaded(0, 500.0), SETTLED)
    assert policy.choose().whole == 1
    assert min(slow_downs(truth, play(policy, truth, 80))) < 1.05


def test_a_split_that_once_cost_much_is_tried_again_when_that_costs_little_beside_what_has_rested() -> (
    None
):
    policy = Adaptive(belief_of(1.0, 1.0))
    play(policy, even(1.0, 1.0, split=SplitCost(fixed_seconds=1.5)), 30)
    choices = play(policy, even(1.0, 1.0), 1200)
    assert all(each.whole is not None for each in choices[:100])
    assert any(each.whole is None for each in choices)


@pytest.mark.parametrize("seed", SEEDS)
def test_uneven_work_converges_by_one_cut(seed: int) -> None:
    truth = uneven([even(1.0, 1.0)], seed)[0]
    found = slow_downs(truth, play(Adaptive(belief_of(1.0, 1.0)), truth, 30, USUAL, seed))
    assert median(found[-8:]) < 1.1


def test_chunks_are_taken_from_the_first_split_on_where_loops_depend_on_data() -> None:
    policy = Adaptive(
        belief_of(1.0, 1.0, spread=0.1), may_chunk=True, has_data_dependent_loops=True
    )
    assert policy.choose().is_chunked


def test_chunks_are_tried_where_parts_do_not_take_what_their_shares_say() -> None:
    truth = uneven([even(1.0, 1.0)], 3)[0]
    policy = Adaptive(belief_of(1.0, 1.0, spread=0.1), may_chunk=True)
    assert not policy.choose().is_chunked
    assert any(each.is_chunked for each in play(policy, truth, SETTLED))


def test_even_work_is_never_chunked() -> None:
    policy = Adaptive(belief_of(1.0, 2.0), may_chunk=True)
    assert not any(each.is_chunked for each in play(policy, even(1.0, 2.0), 30, USUAL))


@pytest.mark.parametrize("seed", SEEDS)
def test_where_speeds_vary_from_launch_to_launch_chunks_are_found_to_be_faster(seed: int) -> None:
    policy = Adaptive(belief_of(1.0, 1.0), may_chunk=True)
    choices = play(policy, even(1.0, 1.0), 60, Noise(0.25, 0.0), seed)
    assert sum(each.is_chunked for each in choices) > 10


class Wandering(Truth):
    """A kernel whose work lies elsewhere in each launch: no cut is right twice."""

    def run(self, choice: Choice, noise: Noise, stream: np.random.Generator) -> Observation:
        now = uneven([even(1.0, 1.0)], int(stream.integers(1000)))[0]
        return now.run(choice, noise, stream)


def test_chunks_stay_where_the_work_lies_elsewhere_each_time() -> None:
    policy = Adaptive(belief_of(1.0, 1.0), may_chunk=True, has_data_dependent_loops=True)
    choices = play(policy, Wandering(even(1.0, 1.0).costs), 40)
    assert sum(each.is_chunked for each in choices[-20:]) >= 15


def test_launches_that_others_chose_are_learned_from() -> None:
    policy, truth = Adaptive(belief_of(1.0, 9.0)), even(1.0, 2.0)
    stream = np.random.default_rng(1)
    for shares in [(0.5, 0.5), (0.6, 0.4), whole_on(0, 2), (0.6, 0.4)]:
        policy.learn(truth.run(Choice(shares), QUIET, stream))
    assert policy.choose().shares == pytest.approx((2 / 3, 1 / 3), abs=0.02)


def test_a_second_process_starts_where_the_first_ended() -> None:
    # A history keeps the share and total times; parts that ended together took as long as the launch.
    policy = Adaptive(belief_of(9.0, 1.0))
    for _ in range(5):
        policy.learn(Observation((0.0, 1.0), (0.0, 2.0), 2.0))
    for _ in range(5):
        policy.learn(Observation((0.6, 0.4), (0.8, 0.8), 0.8))
    assert policy.choose().shares == pytest.approx((0.6, 0.4))


class InGroups:
    """A launch that can be cut at whole work-groups only: a share of less than half a group is none."""

    def __init__(self, truth: Truth, groups: int) -> None:
        self._truth, self._groups = truth, groups

    def run(self, choice: Choice, noise: Noise, stream: np.random.Generator) -> Observation:
        first = round(choice.shares[0] * self._groups) / self._groups
        return self._truth.run(Choice((first, 1.0 - first)), noise, stream)


@pytest.mark.parametrize("groups", [12, 30, 48])
def test_an_unknown_device_is_tried_with_a_whole_group(groups: int) -> None:
    """A slow CPU was believed in; a hundredth of the work would be no work-group at all."""
    policy = Adaptive(belief_of(8.0, 1.0), groups=groups)
    machine, stream = InGroups(even(3.0, 1.0), groups), np.random.default_rng(3)
    taken = []
    for _ in range(SETTLED):
        taken.append(machine.run(policy.choose(), QUIET, stream))
        policy.learn(taken[-1])
    assert any(0.0 < each.shares[0] < 1.0 for each in taken[:3])
    assert taken[-1].shares[0] == pytest.approx(0.25, abs=0.6 / groups)


@pytest.mark.parametrize("groups", [1, 2, 7])
def test_fewer_work_groups_than_devices_are_shared_out_all_the_same(groups: int) -> None:
    shares = np.array([[0.4, 0.3, 0.3], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.01, 0.98, 0.01]])
    whole = _in_groups(shares, groups)
    assert (whole >= 0.0).all()
    assert whole.sum(1) == pytest.approx(np.ones(4))
    assert (whole[shares == 0.0] == 0.0).all()
