"""A launch right behind another one of ours waits for that alone; behind anything else, for the queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyopencl as cl
import pytest
from drop_in_programs import ITEMS, Bench

import lb_runtime
from lb_runtime import intercept
from lb_runtime.contexts import OpenPair
from lb_runtime.dropin import raw
from lb_runtime.dropin.calls import FOREIGN
from lb_runtime.dropin.conductor import PullTask, Task
from lb_runtime.dropin.split import LaunchTask
from lb_runtime.dropin.world import World
from lb_runtime.errors import BytesLostError
from lb_runtime.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore::pyopencl.CompilerWarning")

LONG_ENOUGH_SECONDS = 0.3
LONGEST_SECONDS = 20.0


@pytest.fixture
def bench(halves: OpenPair) -> Iterator[Bench]:
    # A queue may have the number of one of an earlier test's whose handle was given out.
    FOREIGN.clear()
    made = Bench.on(halves.devices[0].handle)
    one = str(halves.devices[0].info.index)
    with lb_runtime.install(Settings(force=True, share=0.5, cpu=one, gpu=one)):
        yield made


class Launches:
    """Launches of one kernel, of which the first cannot begin before `gate` is complete."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.content = np.arange(ITEMS, dtype=np.int32)
        self.buffer = bench.buffer(self.content)
        self.kernel = bench.kernel("in_place")
        self.gate = cl.UserEvent(bench.context)
        self.launch(wait_for=[self.gate])

    def launch(self, **named: Any) -> None:
        self.kernel(self.bench.queue, (ITEMS,), (64,), self.buffer, **named)
        self.content = self.content * 3 + 1

    def check(self) -> None:
        self.bench.check(self.buffer, self.content, "in place")


def complete(gate: cl.UserEvent) -> None:
    gate.set_status(cl.command_execution_status.COMPLETE)


@pytest.fixture
def markers(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The markers that launches of ours put into the program's queue."""
    found: list[object] = []

    def enqueue(queue: cl.CommandQueue, wait_for: object) -> cl.Event:
        found.append(wait_for)
        return original(queue, wait_for)

    original = raw.enqueue_marker
    monkeypatch.setattr(raw, "enqueue_marker", enqueue)
    return found


def split_after(seconds: float, count: int) -> int:
    """How many launches were split once there are `count`, or the time is up."""
    stop = time.monotonic() + seconds
    while lb_runtime.report().split < count and time.monotonic() < stop:
        time.sleep(0.01)
    return lb_runtime.report().split


def test_launches_in_a_row_need_one_marker(bench: Bench, markers: list[object]) -> None:
    launches = Launches(bench)
    for _ in range(5):
        launches.launch()
    assert len(markers) == 1
    complete(launches.gate)
    launches.check()
    assert lb_runtime.report().split == 6


def test_a_launch_with_events_to_wait_for_waits_for_them(
    bench: Bench, markers: list[object]
) -> None:
    launches = Launches(bench)
    second = cl.UserEvent(bench.context)
    launches.launch(wait_for=[second])
    assert len(markers) == 2
    complete(launches.gate)
    assert split_after(LONG_ENOUGH_SECONDS, 2) == 1
    complete(second)
    launches.check()


def between_marker(launches: Launches, gate: cl.UserEvent) -> None:
    cl.enqueue_marker(launches.bench.queue, wait_for=[gate])


def between_barrier(launches: Launches, gate: cl.UserEvent) -> None:
    cl.enqueue_barrier(launches.bench.queue, wait_for=[gate])


def between_fill(launches: Launches, gate: cl.UserEvent) -> None:
    other = launches.bench.buffer(np.zeros(ITEMS, np.int32))
    cl.enqueue_fill_buffer(launches.bench.queue, other, np.int32(1), 0, 4 * ITEMS, wait_for=[gate])


def between_passed_launch(launches: Launches, gate: cl.UserEvent) -> None:
    other = launches.bench.buffer(np.zeros(ITEMS, np.int32))
    # One work-group cannot be split.
    launches.bench.kernel("in_place")(launches.bench.queue, (64,), (64,), other, wait_for=[gate])


def between_same_queue_elsewhere(launches: Launches, gate: cl.UserEvent) -> None:
    again = cl.CommandQueue.from_int_ptr(launches.bench.queue.int_ptr)
    raw.enqueue_barrier(again, [gate])


BETWEEN = (
    between_marker,
    between_barrier,
    between_fill,
    between_passed_launch,
    between_same_queue_elsewhere,
)


@pytest.mark.parametrize("between", BETWEEN)
def test_a_launch_waits_for_what_is_between(
    bench: Bench, between: Callable[[Launches, cl.UserEvent], None]
) -> None:
    launches = Launches(bench)
    second = cl.UserEvent(bench.context)
    between(launches, second)
    launches.launch()
    complete(launches.gate)
    assert split_after(LONG_ENOUGH_SECONDS, 2) == 1
    complete(second)
    launches.check()
    assert lb_runtime.report().split == 2


def test_without_a_note_of_what_is_between_the_order_is_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant: what is enqueued between two launches is not noted."""
    monkeypatch.setattr("lb_runtime.dropin.runtime.is_last", lambda token: True)
    launches = Launches(bench)
    second = cl.UserEvent(bench.context)
    between_marker(launches, second)
    launches.launch()
    complete(launches.gate)
    assert split_after(LONGEST_SECONDS, 2) == 2
    complete(second)
    launches.check()


def test_a_queue_with_mappings_is_always_asked(bench: Bench, markers: list[object]) -> None:
    """A mapping that is dropped is ended by a command that nobody sees."""
    launches = Launches(bench)
    other = bench.buffer(np.zeros(ITEMS, np.int32))
    read = cl.map_flags.READ
    cl.enqueue_map_buffer(bench.queue, other, read, 0, (ITEMS,), np.int32, is_blocking=False)
    launches.launch()
    launches.launch()
    assert len(markers) == 3
    complete(launches.gate)
    launches.check()


def test_a_read_is_told_of_a_loss_that_comes_after_its_call(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launch that passes in between writes the whole buffer, from what is lost."""

    def broken(*_: object) -> None:
        raise RuntimeError("injected")

    monkeypatch.setattr(LaunchTask, "_run_at_home", broken)
    launches = Launches(bench)
    launches.kernel(bench.queue, (64,), (64,), launches.buffer)
    later = threading.Timer(LONG_ENOUGH_SECONDS, complete, (launches.gate,))
    later.start()
    with pytest.raises(BytesLostError):
        launches.check()
    later.join()


def test_a_launch_behind_one_that_could_not_run_does_not_run() -> None:
    before = Task(None)
    launch = LaunchTask(None, None, None, None, {}, before)  # type: ignore[arg-type]
    assert launch._is_due(None)  # type: ignore[arg-type]
    before.status = -14
    assert not launch._is_due(None)  # type: ignore[arg-type]


def test_every_enqueue_of_pyopencls_is_noted_or_ours(bench: Bench) -> None:
    from pyopencl import _cl

    for name in dir(_cl):
        if "enqueue" in name and not isinstance(getattr(_cl, name), type):
            assert getattr(_cl, name).__module__ == intercept.__name__ or hasattr(
                getattr(_cl, name), "__wrapped__"
            ), name


def uninstalled_in_between(halves: OpenPair) -> tuple[Launches, float]:
    """Launches of which one waits for its gate when the runtime goes, and one comes after that."""
    bench = Bench.on(halves.devices[0].handle)
    one = str(halves.devices[0].info.index)
    with lb_runtime.install(Settings(force=True, share=0.5, cpu=one, gpu=one)):
        launches = Launches(bench)
        began = time.monotonic()
    took = time.monotonic() - began
    launches.launch()
    complete(launches.gate)
    return launches, took


def test_uninstall_does_not_wait_for_what_the_program_has_not_done(halves: OpenPair) -> None:
    """The program's queue does: what is enqueued next finds all bytes at home."""
    launches, took = uninstalled_in_between(halves)
    assert took < LONGEST_SECONDS
    launches.check()


def test_if_the_queue_did_not_wait_bytes_would_be_wrong(
    halves: OpenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant: uninstall goes without a barrier for the bytes that are still to come."""
    monkeypatch.setattr(World, "_let_queues_wait", lambda world: None)
    # The last task of a conductor would bring them home, some time.
    monkeypatch.setattr(PullTask, "run", lambda task, conductor: None)
    launches, _ = uninstalled_in_between(halves)
    with pytest.raises(AssertionError, match="differ"):
        launches.check()
