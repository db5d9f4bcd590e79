"""The story of a program: every launch counted once, time saved only where it was measured."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lb_runtime import story as story_module
from lb_runtime.analysis.reasons import REASONS
from lb_runtime.passes import PASSES, advice
from lb_runtime.story import CAUSES, KERNELS, OTHERS, SAMPLES, SIZES, SPANS, KernelStory, Story
from lb_runtime.story_report import (
    PAIRS,
    Report,
    Spread,
    difference,
    duration,
    size_text,
)

SECONDS_TO_WAIT = 20.0


def split(kernel: KernelStory, total_seconds: float = 0.01, **changed: object) -> None:
    facts = {
        "cpu_share": 0.25,
        "total_seconds": total_seconds,
        "device_seconds": {"one": 0.008, "other": 0.009},
        "bytes_to_mirror": 1000,
        "bytes_home": 10,
        **changed,
    }
    kernel.split(**facts)  # type: ignore[arg-type]


def printed(report: Report, width: int = 80) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        report.render(console)
    return capture.get()


def words(text: str) -> str:
    """A table's text without its frame, as one line, so that a wrapped sentence is found."""
    return " ".join("".join(" " if c in "│┃┏┓┗┛━─┡┩├┤└┘┳┴╇┼\n" else c for c in text).split())


def told() -> Story:
    """A story with something of everything."""
    story = Story()
    jacobi = story.kernel("jacobi")
    for _ in range(4):
        jacobi.alone(0.020, (2048, 2048))
        jacobi.passed("first-launches")
    for _ in range(6):
        split(jacobi, size=(2048, 2048))
    axpy = story.kernel("axpy")
    axpy.passed("global-atomic")
    axpy.declined("global-atomic", "line 3: a[b] = [red]atomic_add[/red]")
    story.operation("enqueue_copy", 5 << 20)
    story.fault("merge", ValueError("bad [/red]\n bytes"))
    return story


# Counting


def test_a_launch_is_either_split_or_passed() -> None:
    report = told().report()
    jacobi, axpy = report.kernels
    assert (jacobi.name, jacobi.launches, jacobi.split) == ("jacobi", 10, 6)
    assert (axpy.name, axpy.launches, axpy.split) == ("axpy", 1, 0)
    assert (report.launches, report.split, report.passed) == (11, 6, 5)


def test_reasons_come_with_their_numbers_and_details_the_most_frequent_first() -> None:
    kernel = Story().kernel("k")
    kernel.passed("too-small")
    kernel.declined("no-gain", "1.2 ms split, 1.0 ms alone")
    kernel.declined("no-gain", "1.3 ms\nsplit, 1.0 ms alone")
    for _ in range(3):
        kernel.passed("no-gain")
    found = [(each.code, each.launches, each.detail) for each in kernel.report().passed]
    assert found == [("no-gain", 3, "1.3 ms split, 1.0 ms alone"), ("too-small", 1, "")]


def test_bytes_and_device_times_add_up() -> None:
    story = told()
    split(
        story.kernel("jacobi"),
        device_seconds={"other": 1.0},
        bytes_to_mirror=7,
        bytes_home=1 << 40,
    )
    report = story.report()
    assert report.bytes_to_mirror == 6007
    assert report.bytes_home == 60 + (1 << 40) + (5 << 20)
    assert dict(report.kernels[0].device_seconds) == pytest.approx({"one": 0.048, "other": 1.054})
    assert report.operations[0].name == "enqueue_copy"
    assert (report.operations[0].calls, report.operations[0].bytes_home) == (1, 5 << 20)


def test_asking_for_a_report_changes_nothing() -> None:
    story = told()
    assert story.report() == story.report() == story.report()


def test_a_counter_whose_readings_are_not_counted_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mutant: reading counts on."""

    def read(self: story_module._Counts) -> dict[str, int]:
        return {name: next(counter) for name, counter in self._counters.items()}

    monkeypatch.setattr(story_module._Counts, "read", read)
    story = told()
    assert story.report() != story.report()


def test_a_kernel_has_one_story_however_often_it_is_asked_for() -> None:
    story = Story()
    assert story.kernel("k") is story.kernel("k")
    assert story.kernel("k") is not story.kernel("l")


def test_a_code_that_no_catalogue_has_is_refused() -> None:
    kernel = Story().kernel("k")
    with pytest.raises(ValueError, match=r"code 'because' given, expected one of .*too-small"):
        kernel.passed("because")
    with pytest.raises(ValueError, match="code 'because' given"):
        kernel.declined("because", "")
    assert not kernel.report().passed


@given(st.lists(st.sampled_from([*PASSES, *REASONS]), max_size=60))
def test_counts_are_those_of_the_calls(codes: list[str]) -> None:
    kernel = Story().kernel("k")
    for code in codes:
        kernel.passed(code)
    found = {each.code: each.launches for each in kernel.report().passed}
    assert found == {code: codes.count(code) for code in codes}


# Threads, finalizers, forks


def counted_by_threads(threads: int = 4, each: int = 3000) -> int:
    """How many launches a story has counted after `threads * each` of them."""
    story = Story()
    barrier = threading.Barrier(threads)

    def work() -> None:
        barrier.wait()
        for number in range(each):
            story.kernel("k").passed("busy" if number % 2 else "svm")
            if number % 500 == 0:
                story.report()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return story.report().launches


def test_threads_that_pass_launches_at_once_lose_none() -> None:
    assert counted_by_threads() == 12000


def test_a_count_that_another_thread_may_overtake_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mutant: read, let others run, write."""

    def add(self: story_module._Counts, name: str) -> None:
        before = int(repr(self._counters.get(name, count()))[6:-1])
        time.sleep(0)
        self._counters[name] = count(before + 1)

    monkeypatch.setattr(story_module._Counts, "add", add)
    monkeypatch.setattr(story_module._Counts, "read", lambda _: {})
    story = Story()
    barrier = threading.Barrier(2)
    kernel = story.kernel("k")

    def work() -> None:
        barrier.wait()
        for _ in range(20000):
            kernel.passed("busy")

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert repr(kernel._passed._counters["busy"]) != "count(40000)"


class _Interrupted(dict[str, float]):
    """Times of devices; while they are read, something else is told, as a finalizer would."""

    def __init__(self, story: Story, kernel: KernelStory) -> None:
        super().__init__(one=1.0)
        self._tell: Callable[[], object] = lambda: (
            story.operation("release", 8),
            kernel.passed("busy"),
            kernel.alone(1.0),
            story.report(),
        )

    def items(self):  # type: ignore[no-untyped-def]
        self._tell()
        return super().items()


def is_done_in_time(action: Callable[[], object], seconds: float = SECONDS_TO_WAIT) -> bool:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def test_a_finalizer_may_tell_something_while_something_is_told() -> None:
    story = Story()
    kernel = story.kernel("k")
    assert is_done_in_time(
        lambda: split(kernel, device_seconds=_Interrupted(story, kernel), total_seconds=2.0)
    )
    assert kernel.report().launches == 2


def test_a_lock_that_a_finalizer_hangs_on_is_caught() -> None:
    """Mutant: a lock that its own thread cannot take twice."""
    story = Story()
    kernel = story.kernel("k")
    kernel._lock = threading.Lock()  # type: ignore[assignment]
    assert not is_done_in_time(
        lambda: split(kernel, device_seconds=_Interrupted(story, kernel)), seconds=0.5
    )


def ends_in_a_child(action: Callable[[], object], seconds: float) -> bool:
    """Whether `action` comes to its end in a forked child."""
    child = os.fork()
    if not child:
        try:
            action()
        finally:
            os._exit(0)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def forked_while_locked(seconds: float) -> bool:
    """Whether a child can go on telling, forked while another thread was about to tell something."""
    story = Story()
    kernel = story.kernel("k")
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with story._lock, kernel._lock, kernel._passed._lock:
            held.set()
            over.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()

    def tell() -> None:
        story.fault("merge", ValueError("one"))
        split(kernel)
        kernel.passed("busy")
        story.report()

    try:
        return ends_in_a_child(tell, seconds)
    finally:
        over.set()
        holder.join()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_a_lock_of_its_parents_threads() -> None:
    assert forked_while_locked(SECONDS_TO_WAIT)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_that_keeps_the_locks_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: the child keeps locks that nobody will give back."""
    monkeypatch.setattr(Story, "_forked", lambda _: None)
    assert not forked_while_locked(0.5)


def test_a_fault_keeps_no_traceback_and_with_it_no_buffer() -> None:
    class Buffer:
        pass

    story = Story()
    gone = []

    def fail() -> None:
        buffer = Buffer()
        weakref.finalize(buffer, gone.append, 1)
        raise MemoryError("out of memory")

    try:
        fail()
    except MemoryError as error:
        story.fault("to-mirror", error)
    gc.collect()
    assert gone == [1]


# Bounds


def test_a_cause_is_told_once_with_its_number() -> None:
    story = Story()
    for _ in range(3):
        story.fault("merge", ValueError("bad\n bytes"))
    story.fault("merge", ValueError("worse bytes"))
    story.fault("kernel", ValueError("bad bytes"))
    story.fault("kernel", TypeError("bad bytes"))
    story.fault("kernel", TypeError())
    found = [(each.step, each.cause, each.text, each.times) for each in story.report().faults]
    assert found == [
        ("merge", "ValueError", "bad bytes", 3),
        ("merge", "ValueError", "worse bytes", 1),
        ("kernel", "ValueError", "bad bytes", 1),
        ("kernel", "TypeError", "bad bytes", 1),
        ("kernel", "TypeError", "no message", 1),
    ]


def test_what_is_kept_is_bounded_and_what_is_counted_is_not() -> None:
    story = Story(tracing=True)
    for number in range(CAUSES + 50):
        story.fault("merge", ValueError(str(number)))
    for number in range(KERNELS + 50):
        story.kernel(f"kernel_{number}").passed("busy")
    kernel = story.kernel("kernel_0")
    for number in range(SAMPLES + 50):
        kernel.alone(float(number))
        split(kernel)
    for number in range(SIZES + 50):
        split(kernel, size=(number,))
    for number in range(SPANS + 50):
        story.span("host", "decide", number, number + 1)
    report = story.report()
    assert len(report.faults) == CAUSES + 1
    assert report.faults[-1].times == 50
    assert sum(fault.times for fault in report.faults) == CAUSES + 50
    assert len(report.kernels) == KERNELS + 1
    assert report.kernels[-1].name == OTHERS
    assert report.launches == KERNELS + 50 + SAMPLES + 50 + SIZES + 50
    assert len(report.kernels[0].timed) == SIZES
    alone = report.kernels[0].timed[0].alone
    assert alone is not None
    assert (alone.count, alone.low) == (SAMPLES, pytest.approx(50 + (SAMPLES - 1) / 4))
    spans, dropped = story.spans()
    assert (len(spans), dropped) == (SPANS, 50)
    assert spans[0].begin_seconds == 0


def test_a_long_message_is_cut() -> None:
    story = Story()
    story.fault("merge", ValueError("x" * 100_000))
    assert len(story.report().faults[0].text) == story_module.TEXT_CHARACTERS


def test_spans_are_kept_only_when_tracing() -> None:
    story = Story()
    story.span("host", "decide", 0.0, 1.0, bytes=3)
    assert story.spans() == ((), 0)


# Time saved


def test_time_saved_is_the_difference_of_medians_times_the_launches() -> None:
    saved = told().report().saved
    assert saved is not None
    assert saved.count == 6
    assert saved.median == pytest.approx(6 * 0.010)


def test_time_lost_is_told_too() -> None:
    story = Story()
    kernel = story.kernel("k")
    kernel.alone(1.0)
    split(kernel, total_seconds=3.0)
    saved = story.report().saved
    assert saved is not None
    assert saved.median == -2.0
    assert "2.00 s lost" in printed(story.report())


def test_nothing_is_claimed_without_a_time_alone() -> None:
    story = Story()
    split(story.kernel("k"))
    report = story.report()
    assert report.saved is None
    assert report.kernels[0].saved is None
    assert report.to_json()["saved_seconds"] is None
    assert "time saved not measured" in printed(report)
    assert "not measured" in printed(report).partition("time saved by each launch")[2]


def test_launches_of_another_size_are_not_compared() -> None:
    story = Story()
    kernel = story.kernel("k")
    kernel.alone(100.0, (1 << 20,))
    split(kernel, total_seconds=0.01, size=(16,))
    assert story.report().saved is None


def test_launches_that_cannot_be_compared_are_not_counted_as_saving() -> None:
    story = Story()
    kernel = story.kernel("k")
    kernel.alone(2.0, (64,))
    split(kernel, total_seconds=1.0, size=(64,))
    split(kernel, total_seconds=1.0, size=(32,))
    saved = story.report().saved
    assert saved is not None
    assert (saved.count, saved.median) == (1, 1.0)


@given(
    st.lists(st.floats(0, 1e3), min_size=1, max_size=3 * PAIRS),
    st.lists(st.floats(0, 1e3), min_size=1, max_size=3 * PAIRS),
)
def test_the_spread_of_a_difference_lies_between_its_extremes(
    alone: list[float], split_seconds: list[float]
) -> None:
    found = difference(alone, split_seconds)
    assert found is not None
    least, most = min(alone) - max(split_seconds), max(alone) - min(split_seconds)
    slack = 1e-9
    assert least - slack <= found.low <= found.median + slack
    assert found.median <= found.high + slack <= most + 2 * slack
    assert found.count == min(len(alone), PAIRS) * min(len(split_seconds), PAIRS)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([3.0], Spread(3.0, 3.0, 3.0, 1)),
        ([5.0, 1.0, 2.0, 3.0, 4.0], Spread(2.0, 3.0, 4.0, 5)),
        (deque([1.0, 2.0]), Spread(1.25, 1.5, 1.75, 2)),
    ],
)
def test_a_spread_is_the_median_and_its_quartiles(
    values: list[float], expected: Spread | None
) -> None:
    assert Spread.of(values) == expected


# Telling


def test_json_has_every_number_and_the_advice() -> None:
    found = json.loads(json.dumps(told().report().to_json()))
    assert (found["launches"], found["split"], found["passed"]) == (11, 6, 5)
    assert (found["bytes_to_mirror"], found["bytes_home"]) == (6000, 60 + (5 << 20))
    jacobi, axpy = found["kernels"]
    assert jacobi["launches"] == 10
    assert jacobi["device_seconds"] == {"one": pytest.approx(0.048), "other": pytest.approx(0.054)}
    assert jacobi["saved_seconds"]["median"] == pytest.approx(0.06)
    assert jacobi["timed"][0]["size"] == [2048, 2048]
    assert jacobi["timed"][0]["split_launches"] == 6
    assert axpy["passed"] == [
        {
            "code": "global-atomic",
            "launches": 1,
            "detail": "line 3: a[b] = [red]atomic_add[/red]",
            "advice": REASONS["global-atomic"],
        }
    ]
    assert found["faults"] == [
        {"step": "merge", "cause": "ValueError", "text": "bad [/red] bytes", "times": 1}
    ]
    assert found["operations"] == [{"name": "enqueue_copy", "calls": 1, "bytes_home": 5 << 20}]


def test_tables_tell_all_of_it_within_80_columns() -> None:
    text = printed(told().report())
    assert max(len(line) for line in text.splitlines()) <= 80
    found = words(text)
    for wanted in (
        "lb-runtime: 11 launches, 6 split, 5 on the user's device alone; 60.00 ms saved",
        "jacobi 10 6 0.25 5.9 KiB 60 B",
        "jacobi one 48.00 ms other 54.00 ms",
        "jacobi 2048x2048 20.00 ms 10.00 ms 10.00 ms 10.00 ms to 10.00 ms",
        f"jacobi 4 [first-launches] {PASSES['first-launches']}",
        "axpy 1 line 3: a[b] = [red]atomic_add[/red]",
        f"[global-atomic] {REASONS['global-atomic']}",
        "enqueue_copy 1 5.0 MiB",
        "merge 1 ValueError: bad [/red] bytes",
    ):
        assert wanted in found, f"{wanted!r} is not in:\n{text}"


def test_long_names_and_large_numbers_stay_within_80_columns() -> None:
    story = Story()
    kernel = story.kernel("a_kernel_whose_name_was_made_by_a_program_" * 3)
    for _ in range(3):
        kernel.alone(12345.678, (123456, 123456, 64))
        split(
            kernel,
            total_seconds=2345.67,
            size=(123456, 123456, 64),
            bytes_to_mirror=10**14 * 3,
            bytes_home=10**14 * 3,
            device_seconds={"A device with a very long name, of a platform " * 3: 1e5},
        )
    story.fault("mirror-kernel", ValueError("a long message " * 20))
    text = printed(story.report())
    assert max(len(line) for line in text.splitlines()) <= 80
    for wanted in ("12,345.68 s", "10,000.01 s", "818.5 TiB", "300,000.00 s"):
        assert wanted in text


def test_a_story_without_launches_says_so() -> None:
    assert printed(Story().report()) == "lb-runtime: no kernel was launched\n"


def test_what_else_happened_is_told_without_launches_too() -> None:
    story = Story()
    story.fault("install", OSError("no platform"))
    text = printed(story.report())
    assert text.startswith("lb-runtime: no kernel was launched\n")
    assert "OSError: no platform" in text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1000 << 10, "1.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (5000 << 40, "5,000.0 TiB"),
    ],
)
def test_bytes_have_a_unit(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 us"),
        (2.5e-6, "2.5 us"),
        (-0.0025, "-2.50 ms"),
        (61.0, "61.00 s"),
        (1234.5, "1,234.50 s"),
    ],
)
def test_times_have_a_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# The catalogue


def test_the_catalogue_is_sorted_and_each_code_means_one_thing() -> None:
    assert list(PASSES) == sorted(PASSES)
    assert not set(PASSES) & set(REASONS)


@pytest.mark.parametrize("code", [*PASSES, *REASONS])
def test_advice_is_one_line_for_each_code(code: str) -> None:
    assert advice(code) == {**PASSES, **REASONS}[code]
    assert "\n" not in advice(code)
    assert len(advice(code)) > 20
