"""Collects what happens to a program's launches, while it happens; `report` says what it comes to.

All methods may be called by any thread, from callbacks and from finalizers. What is kept is bounded: counts
and sums are exact however long a program runs, times are the last `SAMPLES` of each size, and kernels,
sizes, causes and spans beyond a fixed number are counted together.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from lb_runtime.passes import advice

# What a report and a timeline are made of is imported when one is asked for.
if TYPE_CHECKING:
    from lb_runtime.story_report import KernelReport, Report, Size
    from lb_runtime.timeline import Span

SAMPLES = 256
"""Times kept of each kernel and size, alone and split: the last ones, which tell how it runs now."""
SIZES = 16
"""Global sizes of one kernel whose times are kept; launches of others are counted."""
KERNELS = 1000
"""Kernel names told apart; all others share one entry."""
CAUSES = 200
"""Different faults told apart; all others share one entry."""
SPANS = 100_000
"""Spans kept for a timeline: the first ones."""
TEXT_CHARACTERS = 500

OTHERS = "(others)"


class _Counts:
    """Counts by name, exact although no lock is taken to count: this is on the way of every launch.

    `next` of an `itertools.count` is one step of the interpreter, which `number += 1` is not. A count can be
    read by counting only, so the readings are counted, too.
    """

    __slots__ = ("_check", "_counters", "_lock", "_readings")

    def __init__(self, check: Callable[[str], object]) -> None:
        self._check = check
        self._counters: dict[str, count[int]] = {}
        self._readings: dict[str, int] = {}
        self._lock = threading.RLock()

    def add(self, name: str) -> None:
        try:
            next(self._counters[name])
        except KeyError:
            self._check(name)
            with self._lock:
                next(self._counters.setdefault(name, count()))

    def read(self) -> dict[str, int]:
        found = {}
        with self._lock:
            for name, counter in list(self._counters.items()):
                readings = self._readings.get(name, 0)
                found[name] = next(counter) - readings
                self._readings[name] = readings + 1
        return found

    def forked(self) -> None:
        self._lock = threading.RLock()


class _Times:
    """The last times of launches of one size, seconds."""

    __slots__ = ("alone", "split", "split_launches")

    def __init__(self) -> None:
        self.alone: deque[float] = deque(maxlen=SAMPLES)
        self.split: deque[float] = deque(maxlen=SAMPLES)
        self.split_launches = 0


class KernelStory:
    """What happens to the launches of the kernels of one name."""

    __slots__ = (
        "_bytes_home",
        "_bytes_to_mirror",
        "_details",
        "_device_seconds",
        "_lock",
        "_passed",
        "_shares",
        "_split",
        "_times",
        "name",
        "passed",
    )

    passed: Callable[[str], None]
    """`passed(code)`: a launch went to the user's device as it was; the code is one of `advice`'s."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.RLock()
        self._passed = _Counts(advice)
        # Bound here: a launch that passes pays for one call less.
        self.passed = self._passed.add
        self._details: dict[str, str] = {}
        self._split = 0
        self._shares: deque[float] = deque(maxlen=SAMPLES)
        self._device_seconds: dict[str, float] = {}
        self._bytes_to_mirror = 0
        self._bytes_home = 0
        self._times: dict[Size | None, _Times] = {}

    def split(
        self,
        *,
        cpu_share: float,
        total_seconds: float,
        device_seconds: dict[str, float],
        bytes_to_mirror: int,
        bytes_home: int,
        size: Size | None = None,
    ) -> None:
        """A launch ran on both devices.

        Args:
            cpu_share: the share of the work-groups that the CPU had, in [0, 1].
            total_seconds: from when the launch could begin until its results were there.
            device_seconds: the time of each part's kernel, by the device's name.
            bytes_to_mirror: bytes sent to the other device.
            bytes_home: bytes brought back to the user's device.
            size: the global size; only launches of one size are compared.
        """
        with self._lock:
            self._split += 1
            self._shares.append(cpu_share)
            self._bytes_to_mirror += bytes_to_mirror
            self._bytes_home += bytes_home
            for device, seconds in device_seconds.items():
                self._device_seconds[device] = self._device_seconds.get(device, 0.0) + seconds
            if times := self._times_of(size):
                times.split_launches += 1
                times.split.append(total_seconds)

    def alone(self, seconds: float, size: Size | None = None) -> None:
        """A whole launch took so long on the user's device. It is counted by `passed`, not here."""
        with self._lock:
            if times := self._times_of(size):
                times.alone.append(seconds)

    def declined(self, code: str, detail: str) -> None:
        """Why, in one line, launches are passed for a reason code; the last detail given is told."""
        advice(code)
        with self._lock:
            self._details[code] = _one_line(detail)

    def _times_of(self, size: Size | None) -> _Times | None:
        times = self._times.get(size)
        if times is None and len(self._times) < SIZES:
            times = self._times[size] = _Times()
        return times

    def report(self) -> KernelReport:
        """What it came to until now."""
        from lb_runtime.story_report import KernelReport, Passed, SizeReport, Spread, difference

        with self._lock:
            passed = self._passed.read()
            times = {
                size: (each.split_launches, tuple(each.alone), tuple(each.split))
                for size, each in self._times.items()
            }
            shares = tuple(self._shares)
            details = dict(self._details)
            unfinished = KernelReport(
                name=self.name,
                split=self._split,
                passed=tuple(
                    Passed(code, launches, details.get(code, ""))
                    for code, launches in sorted(passed.items(), key=lambda item: -item[1])
                ),
                cpu_share=None,
                device_seconds=tuple(self._device_seconds.items()),
                bytes_to_mirror=self._bytes_to_mirror,
                bytes_home=self._bytes_home,
                timed=(),
            )
        return KernelReport(
            name=unfinished.name,
            split=unfinished.split,
            passed=unfinished.passed,
            cpu_share=Spread.of(shares),
            device_seconds=unfinished.device_seconds,
            bytes_to_mirror=unfinished.bytes_to_mirror,
            bytes_home=unfinished.bytes_home,
            timed=tuple(
                SizeReport(
                    size, launches, Spread.of(alone), Spread.of(split), difference(alone, split)
                )
                for size, (launches, alone, split) in times.items()
            ),
        )

    def forked(self) -> None:
        """In the child of a fork: a lock may have been held by a thread that is no more."""
        self._lock = threading.RLock()
        self._passed.forked()


class Story:
    """What happens to a program's launches, copies and faults.

    With `tracing`, spans are kept for a timeline.
    """

    def __init__(self, tracing: bool = False) -> None:
        self.tracing = tracing
        # Re-entrant: the collector may run a finalizer of the same thread that tells us something.
        self._lock = threading.RLock()
        self._kernels: dict[str, KernelStory] = {}
        self._operations: dict[str, tuple[int, int]] = {}
        self._faults: dict[tuple[str, str, str], int] = {}
        self._notes: dict[str, None] = {}
        self._spans: list[Span] = []
        self._dropped_spans = 0
        _stories.add(self)

    def kernel(self, name: str) -> KernelStory:
        """The story of the kernels of one name, made when it is first asked for."""
        found = self._kernels.get(name)
        if found is not None:
            return found
        with self._lock:
            if len(self._kernels) >= KERNELS:
                name = OTHERS
            return self._kernels.setdefault(name, KernelStory(name))

    def fault(self, step: str, error: BaseException) -> None:
        """Something failed in a step, and the work is done on the user's device.

        Told once for each step, type and text, with how often it happened. The error itself is not kept:
        its traceback would keep buffers alive.
        """
        key = (step, type(error).__name__, _one_line(str(error)) or "no message")
        with self._lock:
            if key not in self._faults and len(self._faults) >= CAUSES:
                key = (OTHERS, OTHERS, "more causes than are told apart")
            self._faults[key] = self._faults.get(key, 0) + 1

    def note(self, text: str) -> None:
        """Something that the user should know and that took no work from a device; told once."""
        with self._lock:
            if len(self._notes) < CAUSES:
                self._notes[_one_line(text)] = None

    def operation(self, name: str, bytes_home: int) -> None:
        """A call of pyopencl, no launch, made bytes come home to the user's device."""
        with self._lock:
            calls, before = self._operations.get(name, (0, 0))
            self._operations[name] = (calls + 1, before + bytes_home)

    def span(self, row: str, name: str, begin: float, end: float, **facts: object) -> None:
        """Something took `[begin, end)`, seconds of `time.perf_counter`; kept only when tracing.

        Args:
            row: where: a device's name, "conductor" or "host".
            name: what; its first word gives the category (`lb_runtime.timeline.KINDS`).
            begin: seconds.
            end: seconds.
            facts: what a reader of the timeline may want to know, such as bytes.
        """
        if not self.tracing:
            return
        from lb_runtime.timeline import Span

        with self._lock:
            if len(self._spans) < SPANS:
                self._spans.append(Span(row, name, begin, end, facts))
            else:
                self._dropped_spans += 1

    def spans(self) -> tuple[tuple[Span, ...], int]:
        """The spans kept, in the order they were told, and how many came after those."""
        with self._lock:
            return tuple(self._spans), self._dropped_spans

    def report(self) -> Report:
        """What it came to until now."""
        from lb_runtime.story_report import FaultReport, OperationReport, Report

        with self._lock:
            kernels = list(self._kernels.values())
            operations = list(self._operations.items())
            faults = list(self._faults.items())
            notes = tuple(self._notes)
        reports = [kernel.report() for kernel in kernels]
        return Report(
            kernels=tuple(each for each in reports if each.launches or each.timed),
            operations=tuple(OperationReport(name, *counts) for name, counts in operations),
            faults=tuple(FaultReport(*key, times) for key, times in faults),
            notes=notes,
        )

    def _forked(self) -> None:
        self._lock = threading.RLock()
        for kernel in self._kernels.values():
            kernel.forked()


_stories: weakref.WeakSet[Story] = weakref.WeakSet()


def _after_fork() -> None:
    for story in list(_stories):
        story._forked()


os.register_at_fork(after_in_child=_after_fork)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT_CHARACTERS else line[: TEXT_CHARACTERS - 3] + "..."
