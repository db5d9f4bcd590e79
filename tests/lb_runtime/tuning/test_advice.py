"""What was measured is found by itself, for the devices that it was measured on, and never in the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_measurements import made_up

from lb_runtime import Runtime
from lb_runtime.analysis.verdict import Splittable
from lb_runtime.contexts import OpenPair
from lb_runtime.kernel import Kernel, launch_range, look_at
from lb_runtime.launch import BufferArgument, Launch
from lb_runtime.tuned.apply import Advice, model_name
from lb_runtime.tuned.machine import machine_of
from lb_runtime.tuned.store import Store, store_path
from predictor.predict import Predictor
from predictor.tuned.head import Head, fit_head

ADD = "__kernel void add(__global float *a) { a[get_global_id(0)] += 1; }"


@pytest.fixture(scope="module")
def head() -> Head:
    return fit_head(made_up())


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LB_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def kernel() -> Kernel:
    return look_at(ADD)


@pytest.fixture
def launch(kernel: Kernel) -> Launch:
    nd_range = launch_range(kernel, (1 << 16,), (64,), None)
    return Launch("add", nd_range, (BufferArgument(4 << 16, 0),))


def keep(pair: OpenPair, head: Head) -> None:
    store = Store.open(store_path())
    store.keep_head(machine_of(pair.pair), model_name(Predictor.load()), head.to_bytes())
    store.close()


def test_a_head_changes_what_is_predicted(
    data: Path, pair: OpenPair, head: Head, kernel: Kernel, launch: Launch
) -> None:
    before = Advice(pair.pair).predict(kernel.graph, launch, transfers=True)
    keep(pair, head)
    advice = Advice(pair.pair)
    after = advice.predict(kernel.graph, launch, transfers=True)
    assert advice.head is not None
    assert not np.array_equal(before.log_seconds, after.log_seconds)


def test_what_is_sent_counts_only_where_it_is_sent(
    data: Path, pair: OpenPair, head: Head, kernel: Kernel, launch: Launch
) -> None:
    keep(pair, head)
    advice = Advice(pair.pair)
    inside, whole = (
        advice.predict(kernel.graph, launch, transfers=transfers) for transfers in (False, True)
    )
    assert whole.log_seconds.mean() > inside.log_seconds.mean()


def test_a_runtime_asks_what_was_measured(
    data: Path, pair: OpenPair, head: Head, kernel: Kernel, launch: Launch
) -> None:
    keep(pair, head)
    expected = Advice(pair.pair).predict(kernel.graph, launch, transfers=True).cpu_fraction
    assert Runtime(devices=pair).predict(kernel, launch).cpu_fraction == expected


def test_measurements_with_another_driver_are_not_used(
    data: Path, pair: OpenPair, head: Head
) -> None:
    keep(pair, head)
    newer = replace(pair.pair, cpu=replace(pair.pair.cpu, driver_version="newer"))
    assert Advice(pair.pair).head is not None
    assert Advice(newer).head is None


def test_devices_that_were_not_measured_are_predicted_by_the_model(
    data: Path, pair: OpenPair, head: Head, kernel: Kernel, launch: Launch
) -> None:
    untuned = Advice(pair.pair).predict(kernel.graph, launch, transfers=False)
    keep(pair, head)
    roles = replace(pair.pair.cpu, index=99), pair.pair.gpu
    said = Advice(pair.pair).predict(kernel.graph, launch, transfers=False, roles=roles)
    assert np.array_equal(said.log_seconds, untuned.log_seconds)


def test_a_damaged_file_is_told_in_one_line_and_the_runtime_goes_on(
    data: Path, pair: OpenPair, capsys: pytest.CaptureFixture[str]
) -> None:
    store_path().write_bytes(b"damaged" * 2000)
    array = np.zeros(1 << 16, np.float32)
    outcome = Runtime(devices=pair).run(ADD, "add", array.shape, (64,), array)
    assert (array == 1).all()
    assert isinstance(outcome.decision.verdict, Splittable)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "damaged" in told
    assert not store_path().exists()
    # It is out of the way: the next one has nothing to tell.
    Advice(pair.pair)
    assert capsys.readouterr().err == ""


def test_a_damaged_head_is_told_and_not_used(
    data: Path, pair: OpenPair, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(store_path())
    store.keep_head(machine_of(pair.pair), model_name(Predictor.load()), b"no head")
    store.close()
    assert Advice(pair.pair).head is None
    assert "lb tune" in capsys.readouterr().err


def test_without_a_model_launches_are_like_any_other(
    data: Path,
    pair: OpenPair,
    kernel: Kernel,
    launch: Launch,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("predictor.predict.MODEL", data / "no such model")
    said = Advice(pair.pair).predict(kernel.graph, launch, transfers=True)
    assert said.is_prior
    assert capsys.readouterr().err.count("\n") == 1
