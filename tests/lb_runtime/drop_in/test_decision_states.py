"""A decision asks its policy, has cuts made, and tells the policy what launches came to."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lb_runtime.dropin import decisions
from lb_runtime.dropin.believed import belief_of, policy_as_known
from lb_runtime.dropin.decisions import Decision, InChunks
from lb_runtime.dropin.ready import Ready, Work
from lb_runtime.history.known import Key, Known
from lb_runtime.memory.byte_map import Place
from lb_runtime.shares.adaptive import Adaptive
from lb_runtime.shares.belief import Belief
from lb_runtime.shares.observation import Choice, Observation
from lb_runtime.shares.policy import Fixed
from lb_runtime.story import Story
from predictor.prediction import Prediction

GROUPS = 16
PROGRAM = object()


def cut(user_groups: int, program: object = PROGRAM) -> Ready:
    """A launch of `GROUPS` work-groups of one work-item, so many of them for the user's device."""
    works = tuple(
        Work(place, (0,), (groups,), ())
        for place, groups in ((Place.USER, user_groups), (Place.MIRROR, GROUPS - user_groups))
        if groups
    )
    programs = {Place.USER: program, Place.MIRROR: program}
    return Ready("k", (1,), works, (), programs, user_groups / GROUPS, GROUPS, user_groups)


class Chosen:
    """A policy that chooses what it is told to, and keeps what it is told."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.learned: list[Observation] = []
        self.skipped = 5

    def choose(self) -> Choice:
        return self.choice

    def learn(self, observation: Observation) -> None:
        self.learned.append(observation)

    def skip(self) -> int:
        return self.skipped


@pytest.fixture
def asked() -> list[int]:
    """The work-groups of the user's device in the cuts that were asked for."""
    return []


@pytest.fixture
def make(asked: list[int]) -> Callable[[Any], Decision]:
    """Makes a decision of a policy that has timed the user's device."""
    entry: Any = SimpleNamespace(
        world=SimpleNamespace(settings=SimpleNamespace(min_seconds=0.001), row=str),
        story=Story().kernel("k"),
        recall=None,
        skipped=frozenset(),
        varying=frozenset(),
        make_cut=lambda _, share, groups: asked.append(groups),
    )
    question: Any = SimpleNamespace(size=(GROUPS,))

    def made(policy: Any) -> Decision:
        decision = Decision(entry, question)
        decision.code = ""
        decision.begin(cut(8), policy)
        for _ in range(decisions.ALONE_FIRST):
            decision.ran_alone(0.01, 0.011)
        decision.learn()
        return decision

    return made


def run(decision: Decision, ready: Ready, home: float, away: float) -> None:
    """A launch in which the devices were busy for so many seconds."""
    busy = {Place.USER: home, Place.MIRROR: away}
    decision.ran(ready, max(home, away) + 0.001, busy, busy, 10, 20)


def test_a_cut_that_is_not_made_yet_is_asked_for_once_and_the_one_before_serves(
    make: Callable[[Any], Decision], asked: list[int]
) -> None:
    decision = make(Chosen(Choice((0.25, 0.75))))
    first = decision.choose()
    assert isinstance(first, Ready)
    assert first.user_groups == 8
    assert decision.choose() is first
    assert asked == [4]
    decision.moved(4, cut(4))
    moved = decision.choose()
    assert isinstance(moved, Ready)
    assert moved.user_groups == 4
    assert asked == [4]


def test_a_cut_that_could_not_be_made_leaves_the_one_before(
    make: Callable[[Any], Decision], asked: list[int]
) -> None:
    decision = make(Chosen(Choice((0.25, 0.75))))
    first = decision.choose()
    decision.moved(4, None)
    assert decision.choose() is first
    assert asked == [4]


@pytest.mark.parametrize(("share", "groups"), [(0.001, 1), (0.999, 15), (0.0, 0)])
def test_only_a_share_of_nothing_leaves_a_device_without_work(
    make: Callable[[Any], Decision], asked: list[int], share: float, groups: int
) -> None:
    make(Chosen(Choice((share, 1 - share)))).choose()
    assert asked == [groups]


def test_a_launch_that_compares_does_not_become_the_cut(make: Callable[[Any], Decision]) -> None:
    policy = Chosen(Choice((0.0, 1.0), why="compare"))
    decision = make(policy)
    decision.choose()
    decision.moved(0, cut(0))
    compared = decision.choose()
    assert isinstance(compared, Ready)
    assert compared.user_groups == 0
    assert decision.ready is not None
    assert decision.ready.user_groups == 8


@pytest.mark.parametrize(("why", "code"), [("single", "no-gain"), ("compare", "timing")])
def test_a_whole_launch_passes_for_the_reason_that_it_has(
    make: Callable[[Any], Decision], why: str, code: str
) -> None:
    decision = make(Chosen(Choice((1.0, 0.0), why=why)))
    assert decision.choose() == code
    assert decision.rest() == (5 if why == "single" else 0)


def test_chunks_run_as_a_cut_that_gives_both_devices_work(
    make: Callable[[Any], Decision],
) -> None:
    """A whole launch on the mirror runs the program's own text: its built-ins would answer for a chunk."""
    policy = Chosen(Choice((0.0, 1.0)))
    decision = make(policy)
    decision.choose()
    decision.moved(0, cut(0))
    whole = decision.choose()
    assert isinstance(whole, Ready)
    assert len(whole.works) == 1
    policy.choice = Choice((0.5, 0.5), is_chunked=True)
    chunked = decision.choose()
    assert isinstance(chunked, InChunks)
    assert len(chunked.ready.works) == 2


def test_what_both_devices_took_is_learned(make: Callable[[Any], Decision]) -> None:
    policy = Chosen(Choice((0.5, 0.5)))
    decision = make(policy)
    assert [each.whole for each in policy.learned] == [0, 0]
    run(decision, cut(8), 0.004, 0.005)
    run(decision, cut(4), 0.002, 0.008)
    decision.learn()
    last = policy.learned[-1]
    assert last.shares == (0.25, 0.75)
    assert last.seconds == (0.002, 0.008)
    assert last.total_seconds == pytest.approx(0.009)
    assert last.moved_bytes == 30


@pytest.mark.parametrize("is_checked", [True, False])
def test_the_first_launch_of_a_program_may_be_compiled_and_is_not_learned(
    make: Callable[[Any], Decision], is_checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unchecked, it is the mutant: a compiler's seconds would be taken for the device's."""
    if not is_checked:
        monkeypatch.setattr(Decision, "_is_warm", lambda *_: True)
    policy = Chosen(Choice((0.5, 0.5)))
    decision = make(policy)
    for program in (PROGRAM, object()):
        for seconds in (5.0, 0.005):
            run(decision, cut(8, program), 0.005, seconds)
    decision.learn()
    slowest = max(max(each.seconds) for each in policy.learned)
    assert (slowest < 1.0) == is_checked


def test_a_given_share_is_never_left(make: Callable[[Any], Decision], asked: list[int]) -> None:
    decision = make(None)
    run(decision, cut(8), 5.0, 0.001)
    decision.learn()
    chosen = decision.choose()
    assert isinstance(chosen, Ready)
    assert chosen.user_groups == 8
    assert decision.rest() == 0
    assert not asked


def test_shares_that_stay_are_not_measured_for_ever(make: Callable[[Any], Decision]) -> None:
    assert make(Fixed((1.0, 0.0), why="predicted")).rest() > 1000


def test_the_columns_of_a_prediction_follow_the_roles() -> None:
    said = Prediction(np.log([[1.0, 3.0]]), np.ones(1))
    for role, share in ((0, 0.75), (1, 0.25)):
        assert belief_of(said, role).best()[0] == pytest.approx(share, abs=0.01)


def known(code: Any, share: float, alone: float, split: float) -> Known:
    key = Key("k", "p", "b")
    return Known(key, "k", code, share, (alone,) * 3, (split,) * 3, 3, 3, 0, 0, 1.0)


def test_a_policy_goes_on_at_the_share_of_an_earlier_process() -> None:
    policy = policy_as_known(known("split", 0.3, 0.01, 0.003), 0.3, 100)
    assert policy.choose().shares == pytest.approx((0.3, 0.7), abs=0.011)


@pytest.mark.parametrize(("code", "share", "whole"), [("no-gain", 0.3, 0), ("split", 0.0, 1)])
def test_a_policy_keeps_to_the_device_that_an_earlier_process_kept_to(
    code: str, share: float, whole: int
) -> None:
    times = (0.01, 0.012) if whole == 0 else (0.01, 0.004)
    policy = policy_as_known(known(code, share, *times), share, 100)
    assert policy.choose().whole == whole


def test_a_policy_that_rests_is_asked_again_when_its_rest_is_over() -> None:
    policy = Adaptive(Belief.of(np.log([[1.0, 1.0]])))
    policy.learn(Observation((1.0, 0.0), (1.0, 0.0), 1.0))
    policy.learn(Observation((0.5, 0.5), (0.5, 0.5), 0.6))
    assert policy.skip() == 0
    policy.rest()
    assert policy.choose().whole == 0
    assert policy.skip() == 16
    assert policy.choose().why != "single"


@pytest.mark.parametrize("alone", [(), (0.0,)])
def test_a_row_without_times_alone_is_as_good_as_none(
    make: Callable[[Any], Decision], alone: tuple[float, ...]
) -> None:
    entry, question = make(None).entry, make(None).question
    row = Known(Key("k", "p", "b"), "k", "split", 0.3, alone, (0.01,), 0, 1, 0, 0, 1.0)
    assert Decision(entry, question, row).known is None
    row = known("split", 0.3, 0.01, 0.01)
    assert Decision(entry, question, row).known is row
