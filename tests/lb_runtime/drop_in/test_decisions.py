"""What becomes of launches that nothing forces: they pass, are timed, and are split or left alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pyopencl as cl
import pytest

import lb_runtime
from lb_runtime.contexts import OpenPair
from lb_runtime.dropin.judging import Judge
from lb_runtime.dropin.ready import Ready
from lb_runtime.dropin.scout import Scout
from lb_runtime.settings import Settings
from lb_runtime.story_report import Report
from predictor.prediction import Prediction

pytestmark = pytest.mark.filterwarnings("ignore::pyopencl.CompilerWarning")

SOURCE = """
kernel void churn(global uint *a, uint step, uint rounds) {
    uint x = a[get_global_id(0)];
    for (uint i = 0; i < rounds; i++) x = x * 1664525u + 1013904223u;
    a[get_global_id(0)] = x + step;
}
"""
ITEMS = 1 << 16
LONGEST_SECONDS = 60


@pytest.fixture(autouse=True)
def _uninstalled() -> Iterator[None]:
    yield
    lb_runtime.uninstall()


@pytest.fixture
def settings(intel_pair: OpenPair) -> Settings:
    cpu, gpu = (str(device.info.index) for device in intel_pair.devices)
    return Settings(cpu=cpu, gpu=gpu, min_seconds=0.0001)


@pytest.fixture
def queue(intel_pair: OpenPair) -> cl.CommandQueue:
    return cl.CommandQueue(cl.Context([intel_pair.devices[0].handle]))


def run(queue: cl.CommandQueue, until: object, rounds: int, *, counts: bool = False) -> int:
    """Launch and wait, again and again, until `until(report)`; how many launches it took.

    The bytes are held against numpy's at the end.
    """
    kernel = cl.Kernel(cl.Program(queue.context, SOURCE).build(cache_dir=False), "churn")
    kernel.set_scalar_arg_dtypes([None, np.uint32, np.uint32])
    content = np.arange(ITEMS, dtype=np.uint32)
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    buffer = cl.Buffer(queue.context, flags, hostbuf=content)
    stop = time.monotonic() + LONGEST_SECONDS
    launches = 0
    while not until(lb_runtime.report()):  # type: ignore[operator]  # a function of a report
        assert time.monotonic() < stop, lb_runtime.report()
        step = launches if counts else 1
        kernel(queue, (ITEMS,), (64,), buffer, step, rounds).wait()
        for _ in range(rounds):
            content = content * np.uint32(1664525) + np.uint32(1013904223)
        content = content + np.uint32(step)
        launches += 1
    result = np.empty_like(content)
    cl.enqueue_copy(queue, result, buffer)
    assert (result == content).all()
    return launches


def codes(report: Report) -> set[str]:
    return {each.code for kernel in report.kernels for each in kernel.passed}


@pytest.mark.parametrize("counts", [False, True])
def test_a_long_kernel_is_split_after_some_launches(
    queue: cl.CommandQueue, settings: Settings, counts: bool
) -> None:
    """Also where a number changes with every launch."""
    with lb_runtime.install(settings) as runtime:
        launches = run(queue, lambda report: report.split >= 3, 300, counts=counts)
        report = runtime.report()
        assert report.split < launches
        assert {"first-launches", "timing"} <= codes(report)
        assert not report.faults
        runtime._check()


def test_a_short_kernel_is_recognised_and_passes(
    queue: cl.CommandQueue, settings: Settings
) -> None:
    with lb_runtime.install(replace(settings, min_seconds=5.0)) as runtime:
        run(queue, lambda report: "too-small" in codes(report), 2)
        assert runtime.report().split == 0


def test_a_number_that_changes_all_the_time_takes_no_decision_of_its_own(
    queue: cl.CommandQueue, settings: Settings
) -> None:
    with lb_runtime.install(replace(settings, min_seconds=5.0)) as runtime:
        run(queue, lambda report: report.launches >= 60, 2, counts=True)
        (world,) = runtime.worlds.values()
        (entry,) = world.entries.values()
        assert entry.varying == {1}
        assert len(entry.decisions) <= 5


QUOTIENT = "kernel void quotient(global float *a) { a[get_global_id(0)] /= 3.0f; }"


def saying(cpu_share: float) -> Callable[..., Prediction]:
    """A model that is sure of the best share; the other device could hardly be slower."""
    seconds = [max(1 - cpu_share, 1e-6), max(cpu_share, 1e-6)]
    return lambda *_: Prediction(np.log([seconds]), np.ones(1))


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """All cuts that are made, in order; or why none could be."""
    found: list[object] = []
    original = Judge.ready

    def planning(judge: Judge, *given: object) -> object:
        found.append(original(judge, *given))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(Judge, "ready", planning)
    return found


@pytest.mark.parametrize("exact", [False, True])
def test_a_launch_goes_whole_to_the_other_device_only_where_it_may_be_split(
    queue: cl.CommandQueue,
    settings: Settings,
    exact: bool,
    planned: list[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The model may give the user's device nothing; exact mode holds all the same."""
    monkeypatch.setattr(Scout, "predict", saying(0.0))
    with lb_runtime.install(replace(settings, exact=exact, min_seconds=0.0)) as runtime:
        kernel = cl.Kernel(cl.Program(queue.context, QUOTIENT).build(cache_dir=False), "quotient")
        buffer = cl.Buffer(queue.context, cl.mem_flags.READ_WRITE, 4 * ITEMS)
        stop = time.monotonic() + LONGEST_SECONDS
        while not (wholes(planned) or "device-dependent" in codes(runtime.report())):
            assert time.monotonic() < stop, runtime.report()
            kernel(queue, (ITEMS,), (64,), buffer).wait()
        assert bool(wholes(planned)) != exact
        assert not runtime.report().faults


def wholes(planned: list[object]) -> list[Ready]:
    """Launches that were made for one device."""
    return [each for each in planned if isinstance(each, Ready) and len(each.works) == 1]


def works_of_first_split(queue: cl.CommandQueue, settings: Settings, planned: list[object]) -> int:
    """How many devices have a part in the first plan for a kernel that can be split."""
    with lb_runtime.install(replace(settings, min_seconds=0.0)):
        run(queue, lambda report: report.split, 300)
    first = planned[0]
    assert isinstance(first, Ready)
    return len(first.works)


@pytest.mark.parametrize("said", [0.0, 1.0])
def test_the_first_split_gives_both_devices_something(
    queue: cl.CommandQueue,
    settings: Settings,
    said: float,
    planned: list[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the model says: only times that were measured on both can move the cut."""
    monkeypatch.setattr(Scout, "predict", saying(said))
    assert works_of_first_split(queue, settings, planned) == 2


def test_believed_at_once_a_model_may_leave_the_users_device_idle(
    queue: cl.CommandQueue,
    settings: Settings,
    planned: list[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mutant: nothing holds the first share away from its ends."""
    monkeypatch.setattr(Scout, "predict", saying(0.0))
    monkeypatch.setattr("lb_runtime.dropin.judging.FIRST_SHARE", 0.0)
    assert works_of_first_split(queue, settings, planned) == 1
