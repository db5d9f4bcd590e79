"""A head predicts the machine that was measured, and knows how far it may be off."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from made_up_measurements import made_up

from predictor.errors import ModelError
from predictor.prediction import Prediction
from predictor.tuned.evaluation import by_chance, judge_held_out
from predictor.tuned.head import FEWEST_ROWS, Head, fit_head
from predictor.tuned.measured import Measurements

KNOWN, NEW = made_up(), made_up(200, seed=1)


@pytest.fixture(scope="module")
def head() -> Head:
    return fit_head(KNOWN)


def said(head: Head, measured: Measurements, *, transfers: bool) -> list[Prediction]:
    given = measured.transfer_bytes if transfers else [None] * len(measured)
    return [head.predict(row, moved) for row, moved in zip(measured.features, given)]


def coverage(head: Head, *, transfers: bool = False) -> float:
    true = NEW.shares(transfers=transfers)
    inside = [
        low <= share <= high
        for share, (low, high) in zip(
            true, (p.interval() for p in said(head, NEW, transfers=transfers))
        )
    ]
    return float(np.mean(inside))


@pytest.mark.parametrize("transfers", [False, True])
def test_new_launches_are_predicted_better_than_by_a_constant(head: Head, transfers: bool) -> None:
    true = NEW.shares(transfers=transfers)
    shares = np.array([p.median_share for p in said(head, NEW, transfers=transfers)])
    assert np.abs(shares - true).mean() < 0.65 * np.abs(true - true.mean()).mean()


@pytest.mark.parametrize("transfers", [False, True])
def test_intervals_hold_as_many_new_launches_as_they_promise(head: Head, transfers: bool) -> None:
    assert 0.7 <= coverage(head, transfers=transfers) <= 0.9


def test_a_head_that_forgets_what_it_does_not_know_is_too_sure(head: Head) -> None:
    # The mutant: the residual spread taken away.
    assert coverage(replace(head, deviations=1e-3 * head.deviations)) < 0.3


def test_a_head_that_is_twice_as_unsure_holds_too_many(head: Head) -> None:
    assert coverage(replace(head, stretches=2.0 * head.stretches)) > 0.93


def test_both_devices_times_are_predicted(head: Head) -> None:
    logs = np.array([p.log_seconds.T @ p.weights for p in said(head, NEW, transfers=False)])
    off = logs - np.log(NEW.kernel_seconds)
    assert np.abs(off).mean() < 0.75


def test_bytes_that_are_moved_take_time(head: Head) -> None:
    without, little, much = (head.predict(NEW.features[0], moved) for moved in (None, 1e4, 1e10))
    medians = [np.median(p.log_seconds, axis=0) for p in (without, little, much)]
    assert (medians[0] < medians[1]).all()
    assert (medians[1] < medians[2]).all()
    # The GPU of these measurements moves a byte in twice the time of the CPU.
    assert much.median_share == pytest.approx(2 / 3, abs=0.02)


def test_the_same_measurements_give_the_same_head(head: Head) -> None:
    assert fit_head(KNOWN).to_bytes() == head.to_bytes()


def test_a_head_that_is_written_and_read_says_the_same(head: Head) -> None:
    again = Head.from_bytes(head.to_bytes())
    one, other = (h.predict(NEW.features[3], 1e6) for h in (head, again))
    assert np.array_equal(one.log_seconds, other.log_seconds)


@pytest.mark.parametrize("cut", [0, 10, 5000])
def test_a_damaged_head_is_one_clear_error(head: Head, cut: int) -> None:
    with pytest.raises(ModelError, match="damaged"):
        Head.from_bytes(head.to_bytes()[:cut])


def test_a_head_of_pickled_objects_is_refused(head: Head) -> None:
    file = io.BytesIO()
    np.savez(file, version=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ModelError, match="damaged"):
        Head.from_bytes(file.getvalue())


def test_a_head_of_another_version_is_refused() -> None:
    file = io.BytesIO()
    np.savez(file, version=np.frombuffer(b"0/0", np.uint8))
    with pytest.raises(ModelError, match=r"version '0/0'.*lb tune"):
        Head.from_bytes(file.getvalue())


def test_a_head_with_numbers_that_are_none_is_refused(head: Head) -> None:
    with pytest.raises(ValueError, match="finite"):
        replace(head, transfers=np.full((2, 2), np.nan))


def test_too_few_measurements_are_refused() -> None:
    with pytest.raises(ModelError, match="too few"):
        fit_head(made_up(FEWEST_ROWS - 1))


def test_held_out_rows_are_judged_by_heads_that_did_not_know_them() -> None:
    guess = Prediction(np.zeros((1, 2)), np.ones(1))
    folds = np.where(np.arange(len(KNOWN)) < 30, by_chance(len(KNOWN), 3), -1)
    steps: list[int] = []
    judged = judge_held_out(KNOWN, [guess] * len(KNOWN), folds, lambda: steps.append(1))
    assert len(steps) == 3
    assert judged["kernel"].rows == 30
    true = KNOWN.shares(transfers=False)[:30]
    assert judged["kernel"].untuned == pytest.approx(100 * np.abs(true - 0.5).mean())
    assert judged["kernel"].tuned < judged["kernel"].untuned


def test_noise_alone_cannot_be_learned() -> None:
    # Would rows that are judged leak into the fit, the head would beat a constant here.
    random = np.random.default_rng(3)
    noise = replace(KNOWN, features=random.normal(size=KNOWN.features.shape))
    guess = Prediction(np.zeros((1, 2)), np.ones(1))
    judged = judge_held_out(noise, [guess] * len(noise), by_chance(len(noise), 4))["kernel"]
    assert judged.tuned > 0.9 * judged.constant
