"""Each claim of the analysis has a mutant: break the rule, and a check that passes for us fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from slice_oracle import SliceOracle, codes, verdict_of

from lb_runtime.analysis import accesses, facts, footprints, forms, frame, judge, loops, meets
from lb_runtime.analysis.forms import Bounds, Form, Span
from lb_runtime.analysis.regions import Region, Rows
from lb_runtime.analysis.values import NDRangeFacts
from lb_runtime.analysis.verdict import Splittable
from lb_runtime.arguments import HostValue
from lb_runtime.contexts import OpenPair
from lb_runtime.launch import BufferArgument, Launch

N = 128


@pytest.fixture(scope="module")
def oracle(pair: OpenPair) -> SliceOracle:
    return SliceOracle(pair.devices[0])


def kernel(body: str, parameters: str = "global int *x, global int *y, int n") -> str:
    return f"kernel void k({parameters}) {{ int i = get_global_id(0); {body} }}"


def values(n: int = N) -> list[HostValue]:
    random = np.random.default_rng(3)
    return [random.integers(0, N, N).astype(np.int32), np.full(2 * N, -1, np.int32), n]


def fault(oracle: SliceOracle, body: str, given: Sequence[HostValue] | None = None) -> str:
    """What is wrong with the split of a kernel; empty where nothing is, or where it is declined."""
    return oracle.check(kernel(body), given or values(), (N,), (8,))[1]


GUARDED = "if (i < 70) y[i] = x[i]; else y[2 * i - 70] = x[i];"


def test_guards_that_are_turned_round_are_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not fault(oracle, GUARDED)
    comparisons = frame.comparisons
    monkeypatch.setattr(frame, "comparisons", lambda d, o, holds: comparisons(d, o, not holds))
    assert fault(oracle, GUARDED)


def test_guards_that_are_dropped_cost_the_exact_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaves() -> list[Region]:
        verdict = verdict_of(kernel("if (i >= 10 && i < 90) y[i] = x[i];"), values(), (N,), (8,))
        assert isinstance(verdict, Splittable)
        return [footprint.leaves for footprint in verdict.arguments[1].footprints]

    assert (leaves()[0].start, leaves()[1].stop) == (4 * 10, 4 * 90)
    monkeypatch.setattr(frame.Frame, "_edges", lambda self, edges: [])
    assert leaves()[0].start == 0
    assert leaves()[1].stop == 4 * N


def test_guards_that_are_dropped_are_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "if (i >= 10 && i < 90) y[i] = x[i];"
    given = values()
    given[1] = np.arange(2 * N, dtype=np.int32)
    assert not fault(oracle, body, given)
    monkeypatch.setattr(frame.Frame, "_edges", lambda self, edges: [])
    assert fault(oracle, body, given)


@pytest.mark.parametrize("end", ["low", "high"])
def test_an_interval_that_is_short_by_one_is_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    body = "y[i] = x[n - 1 - i];"
    assert not fault(oracle, body)
    interval = Bounds.interval

    def shorter(self: Bounds, form: Form) -> Span:
        span = interval(self, form)
        if span.low == span.high:
            return span
        return Span(span.low + (end == "low"), span.high - (end == "high"))

    monkeypatch.setattr(Bounds, "interval", shorter)
    assert fault(oracle, body)


def test_a_used_atomic_result_that_is_taken_for_unused_is_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "x[i] = atomic_add(y, 1);"
    assert codes(verdict_of(kernel(body), values(), (N,), (8,))) == ["global-atomic"]
    monkeypatch.setattr(facts, "_forbids_atomic", lambda instruction, used: None)
    assert fault(oracle, body)


def test_an_atomic_that_is_taken_for_a_plain_write_is_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "atomic_inc(y + (x[i] & 7));"
    assert not fault(oracle, body)
    monkeypatch.setattr(accesses, "combinable", lambda instruction: None)
    assert fault(oracle, body)


def test_plain_reads_beside_atomics_that_are_not_seen_are_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "atomic_add(y + 64 + x[i] % 8, 1); if (i == n - 1) x[i] = y[64];"
    assert codes(verdict_of(kernel(body), values(), (N,), (8,))) == ["global-atomic"]
    merge = judge._merge_atomics

    def blind(memory: judge._Memory) -> Any:
        atomics = tuple(tuple(t for t in part if t.access.atomic) for part in memory.parts)
        return merge(replace(memory, parts=atomics))

    monkeypatch.setattr(judge, "_merge_atomics", blind)
    assert fault(oracle, body)


def test_parts_that_read_what_others_write_are_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "if (i > 0 && i < n - 1) x[i] = x[i - 1] + x[i + 1] + y[i];"
    assert codes(verdict_of(kernel(body), values(), (N,), (8,))) == ["crosses-parts"]
    monkeypatch.setattr(meets.Meetings, "are_shown", lambda self, write, other, shared: False)
    assert fault(oracle, body)


def test_different_values_in_one_place_are_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "y[i % 8] = i;"
    assert codes(verdict_of(kernel(body), values(), (N,), (8,))) == ["same-location"]
    monkeypatch.setattr(judge, "_is_same_value", lambda one, other, untouched: True)
    given = values()
    given[1][:] = 120  # type: ignore[index]  # an array
    assert fault(oracle, body, given)


def test_bytes_that_are_read_but_not_needed_are_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "y[i] = x[i];"
    assert not fault(oracle, body)
    union = judge._union

    def writes_alone(part: Sequence[judge._Touch], *, writes: bool) -> Region:
        return union(part, writes=writes) if writes else Region()

    monkeypatch.setattr(judge, "_union", writes_alone)
    assert fault(oracle, body)


def test_writes_that_are_not_certain_but_taken_for_it_are_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "if (x[i] & 1) y[i] = x[i];"
    given = values()
    given[1] = np.arange(2 * N, dtype=np.int32)
    assert not fault(oracle, body, given)
    touch = judge._Touch
    monkeypatch.setattr(
        judge, "_Touch", lambda access, region, is_full: touch(access, region, True)
    )
    assert fault(oracle, body, given)


def test_dimensions_that_are_exchanged_are_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "kernel void k(global int *x, global int *y, int n)"
        "{ int i = get_global_id(0), j = get_global_id(1); y[j * n + i] = x[i * n + j]; }"
    )
    given = values(16)
    assert not oracle.check(source, given, (16, 8), (4, 2))[1]
    answer = NDRangeFacts.answer
    monkeypatch.setattr(
        NDRangeFacts, "answer", lambda self, name, dimension: answer(self, name, 1 - dimension)
    )
    assert oracle.check(source, given, (16, 8), (4, 2))[1]


def test_addresses_that_are_thought_gapless_are_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "y[2 * i] = x[i];"
    given = values()
    given[1] = np.arange(2 * N, dtype=np.int32)
    assert not fault(oracle, body, given)
    nested = footprints.nest

    def filled(*what: Any) -> footprints.Nest:
        found = nested(*what)
        rows = [Rows(r.start, r.stop - r.start) for r in found.rows]
        return footprints.Nest(tuple(rows), True)

    monkeypatch.setattr(judge, "nest", filled)
    assert fault(oracle, body, given)


def test_old_content_that_is_not_needed_is_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "if (x[i] & 1) y[i] = x[i];"
    given = values()
    given[1] = np.arange(2 * N, dtype=np.int32)
    assert not fault(oracle, body, given)
    footprint = judge.Footprint
    monkeypatch.setattr(
        judge, "Footprint", lambda needs, leaves: footprint(Region.range(0, 0), leaves)
    )
    assert fault(oracle, body, given)


def test_counters_that_wrap_around_unnoticed_are_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = (
        "int s = 0, m = 0; for (char c = 0; c < n; c += 100)"
        " { if (m >= 50) break; s += x[m * 2]; m++; } y[i] = s;"
    )
    assert not fault(oracle, body, values(120))
    monkeypatch.setattr(loops, "_stops", lambda *anything: True)
    assert fault(oracle, body, values(120))


def test_integers_that_are_thought_never_to_wrap_are_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "uchar c = i * 5; y[i] = x[c % 128];"
    assert not fault(oracle, body)
    monkeypatch.setattr(frame.arithmetic, "resized", lambda opcode, form, *rest, **more: form)
    monkeypatch.setattr(frame.arithmetic, "_by_constant", lambda opcode, left, *rest: left)
    assert fault(oracle, body)


def test_one_memory_taken_for_two_is_caught(
    pair: OpenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = kernel("y[i] = x[n - 1 - i];")
    memory = np.arange(N, dtype=np.int32)
    given: list[HostValue] = [memory, memory, N]
    assert codes(verdict_of(source, given, (N,), (8,))) == ["crosses-parts"]
    memories = judge._memories

    def apart(facts: Any, launch: Launch, parts: Any) -> Any:
        own = [
            replace(a, memory=i) if isinstance(a, BufferArgument) else a
            for i, a in enumerate(launch.arguments)
        ]
        found = memories(facts, replace(launch, arguments=tuple(own)), parts)
        return {0: found[0], 1: found[1]}

    monkeypatch.setattr(judge, "_memories", apart)
    assert isinstance(verdict_of(source, given, (N,), (8,)), Splittable)


def test_ids_that_are_not_bound_together_cost_the_exact_ranges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = kernel("y[i - (int)get_local_id(0)] = x[i];")

    def span() -> Any:
        verdict = verdict_of(source, values(), (N,), (8,), shares=(0.5, 0.5))
        return (
            verdict.arguments[1].footprints[1].leaves if isinstance(verdict, Splittable) else None
        )

    own = Region((Rows(4 * 64, 4, 4 * 8, 8),))
    assert span() == own
    ways, id_ways = Bounds._ways, footprints._id_ways
    monkeypatch.setattr(Bounds, "_ways", lambda self, *which: ways(self, *which)[:1])
    monkeypatch.setattr(footprints, "_id_ways", lambda *which: list(id_ways(*which))[:1])
    assert span() != own


def test_an_analysis_that_gives_up_is_still_right(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = values()
    given[1] = np.arange(2 * N, dtype=np.int32)
    monkeypatch.setattr(forms, "MAX_INTERVALS", 0)
    for body in ("if (i < 70) y[i] = x[i];", "if (i * 3 > 70) y[2 * i] = x[n - 1 - i / 3];"):
        assert not fault(oracle, body, given)
    monkeypatch.setattr(forms.Bounds, "is_tired", False)
    monkeypatch.setattr(forms.Bounds, "_propagate", lambda self, constraint: None)
    assert fault(oracle, "if (i < 70) y[i] = x[i];", given)


@pytest.mark.parametrize("element", ["int3", "char3", "float3"])
def test_padding_that_is_thought_to_be_written_is_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch, element: str
) -> None:
    source = (
        f"kernel void k(global {element} *y) "
        "{ int i = get_global_id(0); y[i].x = i; y[i].y = 2; y[i].z = 1; }"
    )
    given: list[HostValue] = [np.arange(16 * N, dtype=np.uint8)]
    assert not oracle.check(source, given, (N,), (8,))[1]
    monkeypatch.setattr(accesses.layout, "store_bytes", accesses.layout.size_bytes)
    assert oracle.check(source, given, (N,), (8,))[1]


COPIES = {
    "empty": "async_work_group_copy(to, t, n, 0)",
    "strided": "async_work_group_strided_copy(to, t, 3, 2, 0)",
    "by data": "async_work_group_copy(to, t, x[get_global_id(1)], 0)",
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_not_thought_to_write_more_than_they_do(oracle: SliceOracle, name: str) -> None:
    """Each row of work-items is a group, so that only the copy's count tells what is surely written."""
    source = (
        "kernel void k(global int *y, global const int *x, int n) { local int t[8];"
        " t[get_local_id(0)] = 7; barrier(CLK_LOCAL_MEM_FENCE); global int *to = y + get_global_id(1) * 8;"
        f" event_t e = {COPIES[name]}; wait_group_events(1, &e); }}"
    )
    x = np.random.default_rng(2).integers(0, 8, 16).astype(np.int32)
    given: list[HostValue] = [np.arange(N, dtype=np.int32), x, 0]
    verdict, wrong = oracle.check(source, given, (8, 16), (8, 1))
    assert isinstance(verdict, Splittable)
    assert not wrong
