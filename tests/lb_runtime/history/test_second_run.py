"""A second process begins where the first has ended: its share, its passes, and no model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyopencl as cl
import pytest

import lb_runtime
from lb_runtime.contexts import OpenPair
from lb_runtime.dropin import recall
from lb_runtime.dropin.decisions import Decision
from lb_runtime.dropin.judging import Judge
from lb_runtime.dropin.ready import Ready
from lb_runtime.dropin.scout import Scout
from lb_runtime.history.known import Known
from lb_runtime.history.place import history_path
from lb_runtime.history.store import Store
from lb_runtime.settings import Settings
from lb_runtime.shares import adaptive, guard
from lb_runtime.story_report import Report

pytestmark = pytest.mark.filterwarnings("ignore::pyopencl.CompilerWarning")

SOURCE = """
kernel void churn(global uint *a, uint step, uint rounds) {
    uint x = a[get_global_id(0)];
    for (uint i = 0; i < rounds; i++) x = x * 1664525u + 1013904223u;
    a[get_global_id(0)] = x + step;
}
"""
ITEMS = 1 << 14
LONGEST_SECONDS = 60


@pytest.fixture(autouse=True)
def _uninstalled() -> Iterator[None]:
    yield
    lb_runtime.uninstall()


@pytest.fixture
def settings(intel_pair: OpenPair) -> Settings:
    cpu, gpu = (str(device.info.index) for device in intel_pair.devices)
    return Settings(cpu=cpu, gpu=gpu, min_seconds=0.0)


@pytest.fixture
def queue(intel_pair: OpenPair) -> cl.CommandQueue:
    return cl.CommandQueue(cl.Context([intel_pair.devices[0].handle]))


def run(queue: cl.CommandQueue, settings: Settings, until: str, *, counts: bool = False) -> Report:
    """Launch until some launch was split, or was passed for a reason's code; as one process would."""
    with lb_runtime.install(settings) as runtime:
        kernel = cl.Kernel(cl.Program(queue.context, SOURCE).build(cache_dir=False), "churn")
        kernel.set_scalar_arg_dtypes([None, np.uint32, np.uint32])
        buffer = cl.Buffer(queue.context, cl.mem_flags.READ_WRITE, 4 * ITEMS)
        stop = time.monotonic() + LONGEST_SECONDS
        step = 0
        while until not in codes(runtime.report()):
            assert time.monotonic() < stop, runtime.report()
            step += counts
            kernel(queue, (ITEMS,), (64,), buffer, step, 100).wait()
    found = lb_runtime.report()
    assert not found.faults
    assert not found.notes
    return found


def codes(report: Report) -> set[str]:
    passed = {each.code for kernel in report.kernels for each in kernel.passed}
    return passed | ({"split"} if report.split >= 3 else set())


def everything() -> list[Known]:
    return Store(history_path()).everything()


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From the call of the fixture's list's `clear` on, whoever asks the model is noted."""
    asked: list[str] = []
    for name in ("load_model", "predict"):
        original = getattr(Scout, name)

        def noted(self: Scout, *given: object, _name: str = name, _as_ever=original) -> object:  # type: ignore[no-untyped-def]
            asked.append(_name)
            return _as_ever(self, *given)

        monkeypatch.setattr(Scout, name, noted)
    return asked


@pytest.fixture
def planned_shares(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The CPU's shares of all cuts that are made, in order."""
    found: list[float] = []
    original = Judge.ready

    def planning(judge: Judge, *given: object) -> object:
        ready = original(judge, *given)  # type: ignore[arg-type]
        if isinstance(ready, Ready):
            found.append(ready.cpu_share)
        return ready

    monkeypatch.setattr(Judge, "ready", planning)
    return found


@pytest.mark.parametrize("counts", [False, True])
def test_a_second_run_splits_without_the_model_or_timing(
    queue: cl.CommandQueue,
    settings: Settings,
    no_model: list[str],
    planned_shares: list[float],
    counts: bool,
) -> None:
    """Also where a number changes with each launch."""
    first = run(queue, settings, "split", counts=counts)
    assert "timing" in codes(first)
    assert "predict" in no_model
    shares = [each.cpu_share for each in everything() if each.code == "split"]
    no_model.clear()
    planned_shares.clear()
    second = run(queue, settings, "split", counts=counts)
    assert no_model == []
    assert "timing" not in codes(second)
    assert len(shares) == 1
    # The first cut is the first process's own, to a work-group.
    assert planned_shares[0] == pytest.approx(shares[0], abs=128 / ITEMS)


def test_without_the_history_a_second_run_begins_anew(
    queue: cl.CommandQueue, settings: Settings, no_model: list[str]
) -> None:
    off = replace(settings, history=False)
    run(queue, off, "split")
    assert not history_path().exists()
    no_model.clear()
    assert "timing" in codes(run(queue, off, "split"))
    assert "predict" in no_model


def test_launches_that_are_too_small_pass_at_once(
    queue: cl.CommandQueue, settings: Settings
) -> None:
    short = replace(settings, min_seconds=5.0)
    assert "timing" in codes(run(queue, short, "too-small"))
    assert [each.code for each in everything()] == ["too-small"]
    assert "timing" not in codes(run(queue, short, "too-small"))
    # Times are believed, and what is short follows from the setting.
    assert "split" in codes(run(queue, settings, "split"))


def test_what_gained_nothing_rests_first_and_is_tried_again(
    intel_pair: OpenPair, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The program's own device is the one that vectorizes the kernel's loop: the other is no faster alone.
    context = cl.Context([intel_pair.devices[1].handle])
    queue = cl.CommandQueue(context)
    with monkeypatch.context() as lost:
        for margin in ("FIRST_MARGIN", "MARGIN"):
            lost.setattr(guard, margin, 0.0)
        run(queue, settings, "no-gain")
    assert [each.code for each in everything()] == ["no-gain"]
    # However slow the other device was: what an earlier process saw is tried again.
    monkeypatch.setattr(adaptive, "RETRY_LOSS", 1e9)
    order: list[object] = []
    for name in ("choose", "rest"):
        original = getattr(Decision, name)

        def noted(decision: Decision, _as_ever=original) -> object:  # type: ignore[no-untyped-def]
            found = _as_ever(decision)
            if found not in (0, "first-launches"):
                order.append(found)
            return found

        monkeypatch.setattr(Decision, name, noted)
    second = run(queue, settings, "split")
    passed = {each.code: each.launches for kernel in second.kernels for each in kernel.passed}
    assert passed["no-gain"] >= guard.FIRST_REST
    # The rest comes before anything is timed.
    assert order[0] in ("no-gain", guard.FIRST_REST)


def test_another_driver_version_is_another_key(
    queue: cl.CommandQueue, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(queue, settings, "split")
    original = recall._device
    monkeypatch.setattr(
        recall, "_device", lambda info: {**original(info), "driver_version": "another"}
    )
    assert "timing" in codes(run(queue, settings, "split"))
    assert len({each.key.pair for each in everything()}) == 2


def test_another_kernel_is_another_key(
    queue: cl.CommandQueue, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(queue, settings, "split")
    monkeypatch.setitem(globals(), "SOURCE", SOURCE.replace("1664525u", "1664527u"))
    assert "timing" in codes(run(queue, settings, "split"))
    assert len({each.key.kernel for each in everything()}) == 2


@pytest.mark.parametrize("place", ["damaged", "not a folder"])
def test_a_history_that_cannot_be_used_is_told_and_done_without(
    queue: cl.CommandQueue,
    settings: Settings,
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if place == "damaged":
        monkeypatch.setenv("LB_DATA_DIR", str(tmp_path))
        history_path().write_bytes(b"no database" * 1000)
    else:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("LB_DATA_DIR", str(tmp_path / "file"))
    with lb_runtime.install(settings) as runtime:
        kernel = cl.Kernel(cl.Program(queue.context, SOURCE).build(cache_dir=False), "churn")
        kernel.set_scalar_arg_dtypes([None, np.uint32, np.uint32])
        buffer = cl.Buffer(queue.context, cl.mem_flags.READ_WRITE, 4 * ITEMS)
        stop = time.monotonic() + LONGEST_SECONDS
        while runtime.report().split < 3:
            assert time.monotonic() < stop, runtime.report()
            kernel(queue, (ITEMS,), (64,), buffer, 1, 100).wait()
    found = lb_runtime.report()
    assert not found.faults
    assert len(found.notes) == 1
    assert (len(everything()) == 1) == (place == "damaged")
