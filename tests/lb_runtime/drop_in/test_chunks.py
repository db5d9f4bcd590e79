"""Launches that are handed out in chunks leave the bytes of one launch, whatever fails on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from threading import Event, Thread
from typing import Any

import numpy as np
import pyopencl as cl
import pytest

import lb_runtime
from lb_runtime.contexts import OpenPair
from lb_runtime.dropin.decisions import Decision
from lb_runtime.dropin.handout import AWAY, HOME, Handout
from lb_runtime.dropin.ready import Ready
from lb_runtime.dropin.split import LaunchTask
from lb_runtime.settings import Settings
from lb_runtime.shares.chunks import LAST_PART, Chunk, Chunks, Prepared
from lb_runtime.shares.observation import Choice

pytestmark = pytest.mark.filterwarnings("ignore::pyopencl.CompilerWarning")

SOURCE = """
kernel void climb(global uint *a, global uint *steps) {
    size_t i = get_global_id(0);
    uint x = a[i], n = 0;
    while (x != 1 && n < 400) { x = x & 1 ? 3 * x + 1 : x / 2; n++; }
    a[i] = a[i] + n;
    if (i % 3) steps[i] = n;
}
kernel void columns(global uint *a, global const uint *rounds) {
    size_t x = get_global_id(0), width = get_global_size(0);
    for (size_t y = 0; y < 64; y++) {
        uint v = a[y * width + x];
        for (uint i = 0; i < rounds[x]; i++) v = v * 5 + 1;
        a[y * width + x] = v;
    }
}
"""
ITEMS, GROUP = 1 << 14, 64
LONGEST_SECONDS = 60
OTHER_WAITS_SECONDS = 0.2


@pytest.fixture(autouse=True)
def _uninstalled() -> Iterator[None]:
    yield
    lb_runtime.uninstall()


@pytest.fixture
def settings(intel_pair: OpenPair) -> Settings:
    cpu, gpu = (str(device.info.index) for device in intel_pair.devices)
    return Settings(cpu=cpu, gpu=gpu, min_seconds=0.0, policy="dynamic", history=False)


@pytest.fixture
def handouts(monkeypatch: pytest.MonkeyPatch) -> list[Handout]:
    """Of every launch that was run in chunks, what was handed out."""
    found: list[Handout] = []
    original = LaunchTask._join

    def joining(task: LaunchTask, conductor: Any, chunked: Any, handout: Handout) -> None:
        found.append(handout)
        original(task, conductor, chunked, handout)

    monkeypatch.setattr(LaunchTask, "_join", joining)
    return found


@pytest.fixture
def _nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both devices take chunks to the end, however slow one of them is."""
    monkeypatch.setattr(Chunks, "_comes_too_late", lambda *_: False)


@pytest.fixture
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are as small as their schedule makes them, whatever a launch costs."""
    original = Chunks.__init__

    def without_least(chunks: Chunks, groups: int, shares: Sequence[float], *_: object) -> None:
        original(chunks, groups, shares)

    monkeypatch.setattr(Chunks, "__init__", without_least)


def shared(handouts: list[Handout]) -> int:
    """Of how many launches both devices did a part."""
    return sum(each.home[0] < each.home[1] and each.away[0] < each.away[1] for each in handouts)


def climbed(values: np.ndarray) -> np.ndarray:
    """How many steps each value takes to 1, at most 400."""
    x, steps = values.astype(np.uint32), np.zeros(len(values), np.uint32)
    for _ in range(400):
        goes_on = x != 1
        x = np.where(goes_on, np.where(x & 1, 3 * x + 1, x // 2), x).astype(np.uint32)
        steps += goes_on
    return steps


def climb(pair: OpenPair, settings: Settings, until: Callable[[], bool], home: int = 0) -> Any:
    """Launch until `until()`, or for a minute; holds the bytes against numpy's. What was reported."""
    context = cl.Context([pair.devices[home].handle])
    queue = cl.CommandQueue(context)
    with lb_runtime.install(settings) as runtime:
        kernel = cl.Kernel(cl.Program(queue.context, SOURCE).build(cache_dir=False), "climb")
        values = np.arange(1, ITEMS + 1, dtype=np.uint32)
        steps = np.full(ITEMS, 7, np.uint32)
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        a, b = (cl.Buffer(queue.context, flags, hostbuf=each) for each in (values, steps))
        stop = time.monotonic() + LONGEST_SECONDS
        while not until():
            assert time.monotonic() < stop, runtime.report()
            kernel(queue, (ITEMS,), (GROUP,), a, b)
            found = climbed(values)
            values = values + found
            steps = np.where(np.arange(ITEMS) % 3, found, steps)
        for buffer, expected in ((a, values), (b, steps)):
            result = np.empty(ITEMS, np.uint32)
            cl.enqueue_copy(queue, result, buffer)
            assert (result == expected).all()
        runtime._check()
        return runtime.report()


@pytest.mark.usefixtures("_nobody_waits")
@pytest.mark.parametrize("home", [0, 1])
def test_chunks_leave_the_bytes_of_one_launch(
    intel_pair: OpenPair, settings: Settings, handouts: list[Handout], home: int
) -> None:
    """Whichever role the program's device plays."""
    report = climb(intel_pair, settings, lambda: shared(handouts) >= 3, home)
    assert not report.faults
    assert {each.is_home_first for each in handouts} == {home == 0}


@pytest.mark.usefixtures("_nobody_waits")
@pytest.mark.parametrize("home", [0, 1])
def test_a_cut_that_is_not_where_devices_met_is_seen(
    intel_pair: OpenPair,
    settings: Settings,
    handouts: list[Handout],
    home: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mutant: a cut of as many work-groups is taken for it, wherever these are."""
    monkeypatch.setattr(Ready, "is_home_first", property(lambda _: home == 1))
    climb(intel_pair, settings, lambda: shared(handouts) >= 1, home)
    handouts.clear()
    lb_runtime.uninstall()
    monkeypatch.setattr("lb_runtime.dropin.decisions._is_of", lambda *_: True)
    with pytest.raises(AssertionError):
        climb(intel_pair, settings, lambda: shared(handouts) >= 3, home)


def test_rows_that_come_home_leave_the_bytes_of_one_launch(
    intel_pair: OpenPair, settings: Settings, handouts: list[Handout]
) -> None:
    """Each column of a picture is written: what a part leaves is no range of bytes."""
    width = 4096
    queue = cl.CommandQueue(cl.Context([intel_pair.devices[0].handle]))
    with lb_runtime.install(settings) as runtime:
        kernel = cl.Kernel(cl.Program(queue.context, SOURCE).build(cache_dir=False), "columns")
        content = np.arange(64 * width, dtype=np.uint32).reshape(64, width)
        rounds = np.arange(width, dtype=np.uint32) % 97
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        a, b = (cl.Buffer(queue.context, flags, hostbuf=each) for each in (content, rounds))
        stop = time.monotonic() + LONGEST_SECONDS
        while len(handouts) < 3:
            assert time.monotonic() < stop, runtime.report()
            kernel(queue, (width,), (GROUP,), a, b).wait()
            for number in range(96):
                goes_on = rounds > number
                content = np.where(goes_on, content * np.uint32(5) + np.uint32(1), content)
        result = np.empty_like(content)
        cl.enqueue_copy(queue, result, a)
        assert (result == content).all()
        assert not runtime.report().faults


class InjectedError(Exception):
    """What is injected."""


@pytest.mark.usefixtures("_nobody_waits", "_small_chunks")
@pytest.mark.parametrize("device", [HOME, AWAY])
@pytest.mark.parametrize(("after", "home"), [(0, 0), (1, 0), (3, 0), (1, 1)])
def test_a_device_that_fails_between_chunks_leaves_right_bytes(
    intel_pair: OpenPair,
    settings: Settings,
    handouts: list[Handout],
    device: int,
    after: int,
    home: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed: list[int] = []
    original = Handout.next
    counts: dict[int, int] = {}

    has_failed = Event()

    def failing(handout: Handout, asking: int, *limit: float) -> Chunk | None:
        if asking == device and not failed:
            counts[id(handout)] = counts.get(id(handout), 0) + 1
            if counts[id(handout)] > after:
                failed.append(device)
                has_failed.set()
                raise InjectedError("injected")
        elif not failed and counts.get(id(handout), 0):
            # However slow a device is here, it comes to ask for so many.
            has_failed.wait(OTHER_WAITS_SECONDS)
        return original(handout, asking, *limit)

    monkeypatch.setattr(Handout, "next", failing)
    report = climb(intel_pair, settings, lambda: bool(failed and handouts), home)
    assert any("injected" in str(each) for each in report.faults)


@pytest.mark.parametrize("is_cut", [True, False])
def test_where_devices_met_may_be_no_cut(
    intel_pair: OpenPair,
    settings: Settings,
    handouts: list[Handout],
    is_cut: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not is_cut:
        monkeypatch.setattr(Decision, "cut_at", lambda *_: None)
    report = climb(intel_pair, settings, lambda: len(handouts) >= 2)
    assert not report.faults


@pytest.mark.usefixtures("_nobody_waits")
def test_a_chunk_that_is_forgotten_is_seen(
    intel_pair: OpenPair,
    settings: Settings,
    handouts: list[Handout],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mutant: the mirror's last chunk counts as done at home."""
    original = LaunchTask._join

    def forgetting(task: LaunchTask, conductor: Any, chunked: Any, handout: Handout) -> None:
        handout._front = handout._back = min(handout._back + 8, handout.groups)
        original(task, conductor, chunked, handout)

    monkeypatch.setattr(LaunchTask, "_join", forgetting)
    with pytest.raises(AssertionError):
        climb(intel_pair, settings, lambda: shared(handouts) >= 3)


@pytest.mark.parametrize("is_home_first", [True, False])
def test_what_is_handed_out_is_told_by_two_numbers(is_home_first: bool) -> None:
    handout = Handout(64, Choice((0.5, 0.5), True), is_home_first=is_home_first)
    order = (HOME, AWAY) if is_home_first else (AWAY, HOME)
    front, back = (handout.next(device) for device in order)
    assert front is not None
    assert back is not None
    assert (front.start, back.stop) == (0, 64)
    for chunk in (front, back):
        handout.done(chunk, 0.1)
    assert handout.missing == (front.stop, back.start)
    slices = ((0, front.stop), (back.start, 64))
    assert (handout.home, handout.away) == (slices if is_home_first else slices[::-1])
    handout.stop(away_failed=True)
    assert handout.next(HOME) is None
    assert handout.away[0] == handout.away[1]
    # What ends after that is done by somebody else.
    handout.done(Chunk(0, 0, 60), 0.1)
    handout.went_on()
    assert handout.home == (0, 64)
    assert handout.missing[0] == handout.missing[1]


def nearly_met(handout: Handout) -> None:
    """Hand out chunks in turns, until it is time to fix where the devices meet."""
    for device in cycle((HOME, AWAY)):
        if handout._chunks.left <= LAST_PART * handout.groups:
            return
        chunk = handout.next(device)
        assert chunk is not None
        handout.done(chunk, 1.0 * chunk.groups)


def finished(handout: Handout, *devices: int) -> None:
    """Hand out the rest to these devices."""
    for device in devices:
        while (chunk := handout.next(device)) is not None:
            handout.done(chunk, 1.0 * chunk.groups)


@pytest.mark.parametrize("is_home_first", [True, False])
def test_devices_meet_at_a_cut_that_is_there(is_home_first: bool) -> None:
    """It is told in work-groups of the program's device, whichever end that begins at."""
    usual = Handout(4000, Choice((0.5, 0.5), True), is_home_first=is_home_first)
    nearly_met(usual)
    finished(usual, HOME, AWAY)
    start, stop = usual.home
    place = stop - start + 20
    handout = Handout(
        4000,
        Choice((0.5, 0.5), True),
        is_home_first=is_home_first,
        prepared=Prepared((place,), 1e9),
    )
    nearly_met(handout)
    assert handout.expected is None
    finished(handout, HOME, AWAY)
    met = (
        ((0, place), (place, 4000)) if is_home_first else ((4000 - place, 4000), (0, 4000 - place))
    )
    assert (handout.home, handout.away) == met
    assert handout.expected == met


def test_what_a_device_leaves_undone_before_the_place_to_meet_is_missing() -> None:
    handout = Handout(4000, Choice((0.5, 0.5), True))
    nearly_met(handout)
    finished(handout, HOME)
    assert handout._chunks.is_cut_known
    handout.leave(AWAY)
    assert handout.expected is None
    start, stop = handout.missing
    assert handout.home == (0, start)
    assert handout.away == (stop, 4000)
    assert start < stop


def test_a_device_that_seemed_too_slow_is_given_work_once_the_other_turns_out_slower() -> None:
    handout = Handout(1000, Choice((0.999, 0.001), True, least=(0.4, 0.4)))
    first = handout.next(HOME)
    assert first is not None
    found: list[Chunk | None] = []
    asking = Thread(target=lambda: found.append(handout.next(AWAY)), daemon=True)
    asking.start()
    asking.join(0.1)
    assert not found
    # Speeds follow once both have shown one: the mirror's by a chunk of before.
    handout._chunks._measured[AWAY] = 1e6
    handout.done(first, 100.0)
    asking.join(LONGEST_SECONDS)
    assert len(found) == 1
    assert found[0] is not None


@pytest.mark.parametrize("ends", ["stop", "all"])
def test_a_device_that_waits_is_let_go_when_nothing_is_left(ends: str) -> None:
    handout = Handout(1000, Choice((0.999, 0.001), True, least=(0.4, 0.4)))
    assert handout.next(HOME) is not None
    found: list[Chunk | None] = []
    asking = Thread(target=lambda: found.append(handout.next(AWAY)), daemon=True)
    asking.start()
    if ends == "stop":
        handout.stop(away_failed=False)
    else:
        while handout.next(HOME) is not None:
            pass
    asking.join(LONGEST_SECONDS)
    assert found == [None]
