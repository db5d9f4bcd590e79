"""A timeline opens in Perfetto and chrome://tracing: valid events, one named row for each queue."""

from __future__ import annotations

import json
import math
import stat
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_runtime import timeline
from lb_runtime.errors import LoadBalancerError
from lb_runtime.story import Story
from lb_runtime.timeline import KINDS, Span, trace_events, write_timeline

USER, MIRROR = "PoCL cpu, queue", "Intel(R) OpenCL, mirror"

JACOBI = [
    Span(USER, "jacobi", 10.000, 10.004, {"groups": "0 to 31"}),
    Span(MIRROR, "to-mirror", 9.999, 10.000, {"bytes": 8192}),
    Span(MIRROR, "jacobi", 10.000, 10.005),
    Span("conductor", "wait", 9.998, 9.999),
    Span("conductor", "merge", 10.005, 10.006, {"bytes": 4096}),
    Span("host", "capture", 9.9970, 9.9975),
]
"""One split launch, told in the order in which its threads came to tell it."""

COLORS = {
    "thread_state_uninterruptible",
    "thread_state_iowait",
    "thread_state_running",
    "thread_state_runnable",
    "thread_state_sleeping",
    "thread_state_unknown",
    "background_memory_dump",
    "light_memory_dump",
    "detailed_memory_dump",
    "vsync_highlight_color",
    "generic_work",
    "good",
    "bad",
    "terrible",
    "black",
    "grey",
    "white",
    "yellow",
    "olive",
    "rail_response",
    "rail_animation",
    "rail_idle",
    "rail_load",
    "startup",
}
"""The colour names of chrome://tracing (catapult, `color_scheme.html`); it stops at any other."""


def check(trace: dict[str, Any]) -> None:
    """Raise `AssertionError` unless both viewers can read the trace ("Trace Event Format")."""
    read = json.loads(json.dumps(trace, allow_nan=False))
    events = read["traceEvents"]
    names: dict[str, set[tuple[int, int]]] = defaultdict(set)
    before = 0.0
    open_until: dict[tuple[int, int], list[float]] = defaultdict(list)
    for event in events:
        assert event["ph"] in ("X", "M")
        assert type(event["pid"]) is int
        assert type(event["tid"]) is int
        assert isinstance(event["ts"], (int, float))
        assert isinstance(event["name"], str)
        assert isinstance(event["args"], dict)
        place = (event["pid"], event["tid"])
        if event["ph"] == "M":
            names[event["name"]].add(place)
            assert set(event["args"]) == (
                {"sort_index"} if event["name"] == "thread_sort_index" else {"name"}
            )
            continue
        assert event["dur"] >= 0
        assert event["ts"] >= before
        before = event["ts"]
        assert event.get("cname", "grey") in COLORS
        assert isinstance(event["cat"], str)
        # Nanoseconds are whole: microseconds add up only nearly.
        begin, end = round(event["ts"] * 1000), round((event["ts"] + event["dur"]) * 1000)
        around = open_until[place]
        while around and around[-1] <= begin:
            around.pop()
        assert not around or end <= around[-1], f"{event} leaves the event around it"
        around.append(end)
    assert names["process_name"] == {(timeline._PROCESS, 0)}
    assert set(open_until) <= names["thread_name"] == names["thread_sort_index"]


def rows(trace: dict[str, Any]) -> dict[int, str]:
    return {
        event["tid"]: event["args"]["name"]
        for event in trace["traceEvents"]
        if event["name"] == "thread_name"
    }


def complete(trace: dict[str, Any]) -> list[dict[str, Any]]:
    return [event for event in trace["traceEvents"] if event["ph"] == "X"]


def spans() -> st.SearchStrategy[list[Span]]:
    """Spans as two clocks and several threads tell them: overlapping, nested, empty, ending early."""
    seconds = st.one_of(
        st.integers(0, 12).map(float),
        st.floats(0, 1e6),
        st.floats(-1e-6, 1e-6),
    )
    facts = st.dictionaries(
        st.sampled_from(["bytes", "share", "groups"]),
        st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.binary(), st.booleans()),
    )
    row = st.sampled_from(["host", "conductor", "conductor 2", USER, MIRROR])
    name = st.one_of(st.sampled_from(list(KINDS)), st.text(max_size=12))
    return st.lists(st.builds(Span, row, name, seconds, seconds, facts), max_size=25)


@given(spans(), st.integers(0, 3))
def test_any_spans_make_a_trace_that_viewers_read(given_spans: list[Span], dropped: int) -> None:
    trace = trace_events(given_spans, dropped)
    check(trace)
    assert len(complete(trace)) == len(given_spans)


def test_a_row_that_mixes_overlapping_spans_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: one lane for each row, whatever overlaps."""
    overlapping = [Span(USER, "one", 0.0, 2.0), Span(USER, "two", 1.0, 3.0)]
    check(trace_events(overlapping))
    monkeypatch.setattr(timeline._Lane, "takes", lambda *_: True)
    with pytest.raises(AssertionError, match="leaves the event around it"):
        check(trace_events(overlapping))


def test_events_in_the_order_they_were_told_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: nothing is sorted."""
    check(trace_events(JACOBI))
    monkeypatch.setattr(timeline, "sorted", lambda values, **_: list(values), raising=False)
    with pytest.raises(AssertionError):
        check(trace_events(JACOBI))


def test_each_device_and_thread_has_a_row_of_its_name_the_host_first() -> None:
    assert list(rows(trace_events(JACOBI)).values()) == ["host", "conductor", USER, MIRROR]


def test_spans_that_overlap_share_a_name_and_not_a_row() -> None:
    trace = trace_events(
        [
            Span("conductor", "wait", 0.0, 10.0),
            Span("conductor", "merge", 5.0, 15.0),
            Span("conductor", "signal", 10.0, 11.0),
            Span("conductor", "inside", 1.0, 2.0),
        ]
    )
    assert list(rows(trace).values()) == ["conductor", "conductor (2)"]
    place = {event["name"]: event["tid"] for event in complete(trace)}
    assert place["wait"] == place["inside"] == place["signal"] != place["merge"]


def test_times_are_microseconds_from_the_first_begin() -> None:
    found = {(event["name"], event["cat"]): event for event in complete(trace_events(JACOBI))}
    assert found["capture", "host"]["ts"] == 0
    assert found["capture", "host"]["dur"] == 500
    assert found["to-mirror", "transfer"]["ts"] == 2000
    assert found["merge", "merge"]["ts"] == 8000
    assert found["merge", "merge"]["dur"] == 1000
    assert found["merge", "merge"]["args"] == {"bytes": 4096}


def test_transfers_merges_and_kernels_have_categories_of_their_own() -> None:
    found = {event["name"]: event for event in complete(trace_events(JACOBI))}
    assert {name: event["cat"] for name, event in found.items()} == {
        "capture": "host",
        "wait": "wait",
        "to-mirror": "transfer",
        "jacobi": "kernel",
        "merge": "merge",
    }
    assert found["to-mirror"]["cname"] != found["merge"]["cname"]
    assert "cname" not in found["jacobi"]


def test_the_first_word_of_a_name_gives_the_category() -> None:
    (event,) = complete(trace_events([Span("host", "to-mirror: argument 2", 0, 1)]))
    assert (event["name"], event["cat"]) == ("to-mirror: argument 2", "transfer")


def test_a_kernel_may_have_the_name_of_a_transfer() -> None:
    (event,) = complete(trace_events([Span(MIRROR, "merge", 0, 1)]))
    assert (event["name"], event["cat"]) == ("merge", "kernel")
    (event,) = complete(trace_events([Span(MIRROR, "merge", 0, 1, {"bytes": 4})]))
    assert (event["name"], event["cat"]) == ("merge", "merge")


def test_colors_are_such_that_the_viewer_knows() -> None:
    assert {color for _, color in KINDS.values()} <= COLORS


def test_a_span_that_ends_before_it_begins_has_no_length() -> None:
    (event,) = complete(trace_events([Span(USER, "k", 2.0, 1.0)]))
    assert event["dur"] == 0


def test_facts_that_json_does_not_have_are_text() -> None:
    facts = {"a": math.nan, "b": math.inf, "c": b"x", "d": None, "e": 1.5, "f": True}
    (event,) = complete(trace_events([Span(USER, "k", 0.0, 1.0, facts)]))
    assert event["args"] == {"a": "nan", "b": "inf", "c": "b'x'", "d": None, "e": 1.5, "f": True}


def test_spans_that_are_missing_are_noted() -> None:
    full, cut = trace_events(JACOBI), trace_events(JACOBI, dropped=1234)
    assert full["traceEvents"][0]["args"]["name"] == "lb-runtime"
    assert cut["traceEvents"][0]["args"]["name"] == "lb-runtime (the last 1,234 spans are missing)"
    assert cut["otherData"]["dropped_spans"] == 1234


def test_a_trace_without_spans_can_be_read() -> None:
    check(trace_events([]))


def test_a_story_becomes_a_file(tmp_path: Path) -> None:
    story = Story(tracing=True)
    for span in JACOBI:
        story.span(span.row, span.name, span.begin_seconds, span.end_seconds, **span.facts)
    path = tmp_path / "out.json"
    write_timeline(path, *story.spans())
    trace = json.loads(path.read_text("utf-8"))
    check(trace)
    assert trace == trace_events(JACOBI)
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_may_be_read_by_whom_any_file_may(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch()
    write_timeline(tmp_path / "out.json", JACOBI)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {stat.S_IMODE(other.stat().st_mode)}


def test_a_file_that_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.json"
    path.write_text("before")

    def full(_: Path, __: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(LoadBalancerError, match=r"out\.json: No space left on device; name a file"):
        write_timeline(path, JACOBI)
    assert [each.name for each in tmp_path.iterdir()] == ["out.json"]
    assert path.read_text() == "before"


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadBalancerError, match="No such file or directory; name a file"):
        write_timeline(tmp_path / "missing" / "out.json", JACOBI)
