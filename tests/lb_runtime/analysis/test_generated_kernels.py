"""Kernels that Hypothesis writes: whatever the gate says of them, splitting changes no byte.

Each kernel is free of races by construction (`tests/generated`), runs whole and split on PoCL cut in two,
or on PoCL and Intel's driver where both should agree, and each part runs alone on data that it must not
read. `pytest --fuzz N` tries N kernels that are not the same each time; `benchmarks/fuzz.py` is for more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle
from random import Random
from typing import Any

import numpy as np
import pytest
import slice_oracle
from generated import check
from generated.check import Checked, Checker
from generated.group_patterns import GROUP_PATTERNS
from generated.kernels import Generated, generate
from generated.patterns import PATTERNS
from generated.shared_patterns import SHARED_PATTERNS
from generated.worker import Worker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lb_runtime.analysis import frame, judge
from lb_runtime.analysis.forms import Bounds, Form, Span
from lb_runtime.analysis.regions import Region
from lb_runtime.analysis.values import NDRangeFacts
from lb_runtime.contexts import OpenPair
from lb_runtime.prelude import Adapted

CI_KERNELS = 200


@dataclass
class Tally:
    """What became of all kernels of a run."""

    kernels: list[Generated] = field(default_factory=list)
    checked: list[Checked] = field(default_factory=list)

    def split(self) -> list[Checked]:
        """Those that really ran in several parts."""
        return [each for each in self.checked if each.is_split]


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Tally:
    """All kernels, checked; the first that is wrong, made as simple as can be, fails here."""
    fuzz = request.config.getoption("--fuzz")
    counts = Tally()

    @settings(
        max_examples=fuzz or CI_KERNELS,
        derandomize=not fuzz,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def each(random: Random) -> None:
        generated = generate(random)
        checked = worker.check(generated)
        assert not checked.fault, f"{checked.fault}\n{generated}"
        counts.kernels.append(generated)
        counts.checked.append(checked)

    with Worker() as worker:
        each()
    return counts


def enough(tally: Tally) -> None:
    """Skip what only holds for runs that are long enough."""
    if len(tally.checked) < CI_KERNELS:
        pytest.skip(f"{len(tally.checked)} kernels were tried, which need not show everything")


def test_splitting_a_generated_kernel_changes_no_byte(tally: Tally) -> None:
    assert len(tally.split()) * 2 >= len(tally.checked)


def test_the_kernels_split_in_every_way_that_there_is(tally: Tally) -> None:
    enough(tally)
    merges = {merge for each in tally.split() for merge in each.merges}
    assert {"NONE", "RANGE", "DIFFERENCE", "ATOMIC"} <= merges
    assert {each.dimension for each in tally.split()} == {0, 1, 2}
    assert {each.parts for each in tally.split()} == {2, 3}
    assert any(each.codes for each in tally.checked)


def test_every_pattern_is_tried(tally: Tally) -> None:
    enough(tally)
    every = {
        pattern.__name__
        for patterns in (PATTERNS, GROUP_PATTERNS, SHARED_PATTERNS)
        for pattern in patterns
    }
    tried = {name for kernel in tally.kernels for name in kernel.patterns}
    # The rarest may be missing from a run of two hundred.
    assert len(every & tried) >= len(every) - 4


def test_a_seed_gives_the_same_kernel_and_the_same_content_again() -> None:
    one, other = (generate(Random("seed 5")) for _ in range(2))
    assert one == other
    for mine, theirs in zip(one.values(), other.values(), strict=True):
        if isinstance(mine, np.ndarray):
            assert np.array_equal(mine, theirs)
        else:
            assert mine == theirs
    assert generate(Random("seed 6")) != one


def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    interval = Bounds.interval

    def shorter(self: Bounds, form: Form) -> Span:
        span = interval(self, form)
        return span if span.low == span.high else Span(span.low, span.high - 1)

    monkeypatch.setattr(Bounds, "interval", shorter)


def _unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame.Frame, "_edges", lambda self, edges: [])


def _exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = NDRangeFacts.answer
    monkeypatch.setattr(
        NDRangeFacts,
        "answer",
        lambda self, name, d: answer(self, name, 1 - d if d < 2 <= self.work_dim else d),
    )


def _unread(monkeypatch: pytest.MonkeyPatch) -> None:
    union = judge._union
    monkeypatch.setattr(
        judge,
        "_union",
        lambda part, *, writes: union(part, writes=writes) if writes else Region(),
    )


def _naive(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (check, slice_oracle):
        monkeypatch.setattr(module, "adapt", lambda source, options, *_: Adapted(source, options))


@pytest.mark.parametrize("mutant", [_short, _unguarded, _exchanged, _unread, _naive])
def test_generated_kernels_find_what_is_broken(
    halves: OpenPair,
    monkeypatch: pytest.MonkeyPatch,
    mutant: Callable[[pytest.MonkeyPatch], None],
) -> None:
    mutant(monkeypatch)
    checker = Checker(halves)
    drawn = (generate(Random(f"mut/{number}")) for number in range(60))
    assert any(checker.check(generated).fault for generated in drawn if not generated.options)


@pytest.mark.parametrize("wavers", [True, False])
def test_a_kernel_is_passed_over_only_where_its_whole_launch_differs_from_itself(
    halves: OpenPair, monkeypatch: pytest.MonkeyPatch, wavers: bool
) -> None:
    _short(monkeypatch)
    whole = Checker._whole
    changes = cycle((0, 1))

    def changing(self: Checker, *given: Any, **named: Any) -> dict[int, Any]:
        change = np.uint8(next(changes))
        left = whole(self, *given, **named)
        return {
            index: (array.view(np.uint8) ^ change).view(array.dtype)
            for index, array in left.items()
        }

    if wavers:
        monkeypatch.setattr(Checker, "_whole", changing)
    drawn = (generate(Random(f"mut/{number}")) for number in range(60))
    checker = Checker(halves)
    found = (checker.check(generated) for generated in drawn if not generated.options)
    first = next(checked for checked in found if checked.fault or checked.driver_wavers)
    assert first.driver_wavers == wavers
