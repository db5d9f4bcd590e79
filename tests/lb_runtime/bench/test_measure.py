"""Rounds of every way: what is launched, in which order, and what an interruption leaves."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path

import pytest
from benched import SHORT, Quiet, Simulated, measured

from lb_runtime.bench.measure import (
    ADAPTIVE,
    CPU_ONLY,
    CUT,
    DYNAMIC,
    GPU_ONLY,
    WAYS,
    measure,
    sweep_medians,
)
from lb_runtime.bench.record import Bench, BenchFileError, KernelRecord
from lb_runtime.bench.summary import summary_of


def test_every_way_launches_once_in_each_round() -> None:
    record = measured()
    assert {way: len(samples) for way, samples in record.rounds.items()} == dict.fromkeys(
        WAYS, SHORT.rounds
    )
    assert record.is_done


@pytest.mark.parametrize("warm_ups", [0, 2])
def test_a_launch_that_counts_comes_after_the_same_that_do_not(warm_ups: int) -> None:
    subject, record = Simulated(), KernelRecord("k", "key")
    measure(subject, record, replace(SHORT, warm_ups=warm_ups), Quiet(), lambda _: None)
    counted = [
        each for rows in (record.sweep, record.rounds) for row in rows.values() for each in row
    ]
    # Three launches come before all, and of each way's bytes one is compared at the end.
    launches = subject.chosen[3 : -len(record.rounds)]
    in_a_row = [list(group) for _, group in groupby(launches, key=lambda each: each.shares)]
    assert len(launches) == (1 + warm_ups) * len(counted)
    assert all(len(group) % (1 + warm_ups) == 0 for group in in_a_row)


def test_rounds_are_shuffled_by_the_seed() -> None:
    orders = []
    for seed in (1, 1, 2):
        subject = Simulated()
        measure(subject, KernelRecord("k", "key"), SHORT.with_seed(seed), Quiet(), lambda _: None)
        orders.append([choice.why for choice in subject.chosen])
    assert orders[0] == orders[1] != orders[2]


def test_the_sweep_reaches_both_devices_and_is_finest_around_the_best() -> None:
    record = measured()
    shares = list(sweep_medians(record))
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    gaps = {round(b - a, 6): (a, b) for a, b in pairwise(shares)}
    low, high = gaps[min(gaps)]
    assert record.best_share is not None
    assert low - 0.1 <= record.best_share <= high + 0.1
    assert abs(record.best_share - 0.25) < 0.05  # the devices take 0.3 s and 0.1 s


def test_an_interrupted_measurement_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = measured()
    for launches in (2, 20, 60):
        record = KernelRecord("k", "key")
        with pytest.raises(KeyboardInterrupt):
            measure(Simulated(stop_after=launches), record, SHORT, Quiet(), lambda _: None)
        assert not record.is_done
        Bench({}, {"k": record}).write(tmp_path / "bench.json")
        record = Bench.read(tmp_path / "bench.json").kernels["k"]
        measure(Simulated(), record, SHORT, Quiet(), lambda _: None)
        assert [each.shares for each in record.rounds[ADAPTIVE]] == [
            each.shares for each in whole.rounds[ADAPTIVE]
        ]


def test_what_is_measured_is_not_measured_again() -> None:
    record = measured()
    subject = Simulated()
    measure(subject, record, SHORT, Quiet(), lambda _: None)
    warm_up, checks = 3, len(WAYS)
    assert len(subject.chosen) == warm_up + checks


def test_a_disturbed_round_is_repeated_but_not_for_ever() -> None:
    record, others = KernelRecord("k", "key"), Quiet([0.9, 0.9] + [0.0] * 99)
    measure(Simulated(), record, SHORT, others, lambda _: None)
    assert record.dropped_rounds == 2
    record = KernelRecord("k", "key")
    measure(Simulated(), record, SHORT, Quiet([0.9] * 999), lambda _: None)
    assert record.dropped_rounds == SHORT.patience
    assert len(record.rounds[CPU_ONLY]) == SHORT.rounds


def test_a_launch_that_cannot_be_cut_runs_whole_alone() -> None:
    record = KernelRecord("k", "key")
    measure(Simulated(groups=1), record, SHORT, Quiet(), lambda _: None)
    assert set(record.rounds) == {CPU_ONLY, GPU_ONLY}
    assert not record.sweep
    assert summary_of(record) is None


def test_wrong_bytes_are_kept_by_way() -> None:
    record = KernelRecord("k", "key")
    measure(Simulated(wrong=DYNAMIC), record, SHORT, Quiet(), lambda _: None)
    assert record.wrong == (DYNAMIC,)
    assert Counter(record.checks.values()) == {"identical": len(WAYS) - 1, "wrong": 1}


def test_timelines_are_of_one_cut_and_of_chunks() -> None:
    assert set(measured().timelines) == {CUT, DYNAMIC}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is no JSON"),
        ("[]", "no benchmark"),
        ('{"schema": "lb-bench", "version": 99}', "version 99"),
        ('{"schema": "lb-bench", "version": 1, "setup": {}, "kernels": [{"name": 1}]}', "damaged"),
    ],
)
def test_a_file_that_is_none_is_told_in_a_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(text, "utf-8")
    with pytest.raises(BenchFileError, match=told):
        Bench.read(path)
