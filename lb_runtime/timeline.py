"""A timeline of what ran when, for Perfetto and chrome://tracing: spans in, trace events out.

The format is the "Trace Event Format": complete events (`"ph": "X"`) with times in microseconds, and
metadata events (`"ph": "M"`) that name the process and each row. A row is a device and queue, or a thread
of ours. Viewers draw the events of one row as a stack, so that two that overlap without one lying inside
the other must not share it: a row where that happens gets as many lanes as it needs.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lb_runtime.errors import LoadBalancerError

HOST_ROWS = ("host", "conductor")
"""Rows of threads of ours; they stand above the devices'."""

KINDS: dict[str, tuple[str, str]] = {
    "to-mirror": ("transfer", "thread_state_iowait"),
    "to-user": ("transfer", "thread_state_iowait"),
    "to-host": ("transfer", "thread_state_iowait"),
    "transfer": ("transfer", "thread_state_iowait"),
    "move": ("transfer", "thread_state_iowait"),
    "bring": ("transfer", "thread_state_iowait"),
    "merge": ("merge", "rail_animation"),
    "fault": ("fault", "terrible"),
    "wait": ("wait", "grey"),
    "mirror-wait": ("wait", "grey"),
}
"""The first word of a span's name -> its category, and a colour name that chrome://tracing knows.

On a device's row that is so for spans with a fact `bytes` only: all others are named after kernels.
"""

_PROCESS = 1
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took `[begin_seconds, end_seconds)` of the host's clock, on one row.

    One whose end lies before its begin (two clocks, put on one line) is drawn without length.
    """

    row: str
    name: str
    begin_seconds: float
    end_seconds: float
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class _Lane:
    """Events of one row that lie apart or inside one another; `open_until` are the ends around now."""

    row: str
    number: int
    open_until: list[int] = field(default_factory=list)
    spans: list[tuple[int, int, Span]] = field(default_factory=list)

    def takes(self, begin: int, end: int) -> bool:
        """Whether `[begin, end)` fits; spans are offered by begin, longer ones first."""
        while self.open_until and self.open_until[-1] <= begin:
            self.open_until.pop()
        return not self.open_until or end <= self.open_until[-1]

    @property
    def label(self) -> str:
        return self.row if self.number == 1 else f"{self.row} ({self.number})"


def trace_events(spans: Iterable[Span], dropped: int = 0) -> dict[str, Any]:
    """The JSON object of a trace. Times count from the first begin; events are sorted by theirs.

    `dropped` is how many spans were not kept; if any were, the process' name and `otherData` say so.
    """
    lanes = _lanes(list(spans))
    note = f" (the last {dropped:,} spans are missing)" if dropped else ""
    events: list[dict[str, Any]] = [_metadata("process_name", 0, name=f"lb-runtime{note}")]
    for thread, lane in enumerate(lanes, 1):
        events.append(_metadata("thread_name", thread, name=lane.label))
        events.append(_metadata("thread_sort_index", thread, sort_index=thread))
    complete = [
        _complete(thread, begin, end, span)
        for thread, lane in enumerate(lanes, 1)
        for begin, end, span in lane.spans
    ]
    # Stable: of one row's events with one begin, the longer one comes first, as viewers need it.
    events.extend(sorted(complete, key=lambda event: float(event["ts"])))
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"producer": "lb-runtime", "dropped_spans": dropped},
    }


def write_timeline(path: Path, spans: Iterable[Span], dropped: int = 0) -> None:
    """Write a trace to `path`: wholly or not at all.

    Raises:
        LoadBalancerError: the file cannot be written.
    """
    text = json.dumps(trace_events(spans, dropped), separators=(",", ":"), allow_nan=False)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise LoadBalancerError(
            f"the timeline cannot be written to {path}: {error.strerror}; name a file in a folder "
            "that exists and can be written (--trace, LB_TRACE)"
        ) from error


def _lanes(spans: Sequence[Span]) -> list[_Lane]:
    """The spans of each row, cut into lanes; rows of the host first, then in order of appearance."""
    rows = dict.fromkeys(span.row for span in spans)
    timed = sorted(
        ((*_nanoseconds(span), span) for span in spans), key=lambda each: (each[0], -each[1])
    )
    zero = timed[0][0] if timed else 0
    by_row: dict[str, list[_Lane]] = {row: [] for row in sorted(rows, key=_rank)}
    for begin, end, span in timed:
        lanes = by_row[span.row]
        lane = next((each for each in lanes if each.takes(begin, end)), None)
        if lane is None:
            lane = _Lane(span.row, len(lanes) + 1)
            lanes.append(lane)
        lane.open_until.append(end)
        lane.spans.append((begin - zero, end - zero, span))
    return [lane for lanes in by_row.values() for lane in lanes]


def _rank(row: str) -> int:
    word = row.split(" ")[0]
    return HOST_ROWS.index(word) if word in HOST_ROWS else len(HOST_ROWS)


def _nanoseconds(span: Span) -> tuple[int, int]:
    begin = round(span.begin_seconds * _NANOSECONDS)
    return begin, max(begin, round(span.end_seconds * _NANOSECONDS))


def _metadata(kind: str, thread: int, **values: object) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": _PROCESS, "tid": thread, "ts": 0, "args": values}


def _complete(thread: int, begin: int, end: int, span: Span) -> dict[str, Any]:
    category, color = _kind(span)
    event: dict[str, Any] = {
        "ph": "X",
        "name": span.name,
        "cat": category,
        "pid": _PROCESS,
        "tid": thread,
        "ts": begin / 1000,
        "dur": (end - begin) / 1000,
        "args": {name: _plain(value) for name, value in span.facts.items()},
    }
    if color:
        event["cname"] = color
    return event


def _kind(span: Span) -> tuple[str, str]:
    """The category and the colour name of a span; no colour: the viewer's choice."""
    on_device = _rank(span.row) == len(HOST_ROWS)
    if on_device and "bytes" not in span.facts:
        return "kernel", ""
    return KINDS.get(span.name.split(" ")[0].rstrip(":"), ("host", ""))


def _plain(value: object) -> object:
    """A fact as JSON has it; what JSON cannot hold as text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    return str(value)
