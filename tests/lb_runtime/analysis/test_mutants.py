"""Each claim of the analysis has a mutant: break the rule, and a check that passes for us fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from slice_oracle import SliceOracle, bound_launch, codes, verdict_of

from lb_runtime.analysis import accesses, facts, forms, frame, judge, loops
from lb_runtime.analysis.forms import Bounds, Form, Span
from lb_runtime.analysis.regions import Region
from lb_runtime.analysis.verdict import Splittable
from lb_runtime.arguments import HostValue
from lb_runtime.contexts import OpenPair
from lb_runtime.errors import ExecutionError
from lb_runtime.execute import execute
from lb_runtime.kernel import look_at
from lb_runtime.plan import split_plan

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


def test_a_global_atomic_that_is_taken_for_nothing_is_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "atomic_inc(y + (x[i] & 7));"
    assert codes(verdict_of(kernel(body), values(), (N,), (8,))) == ["global-atomic"]
    monkeypatch.setattr(facts, "_forbids", lambda instruction, bodies: None)
    assert fault(oracle, body)


def test_parts_that_read_what_others_write_are_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "if (i > 0 && i < n - 1) x[i] = x[i - 1] + x[i + 1] + y[i];"
    assert codes(verdict_of(kernel(body), values(), (N,), (8,))) == ["crosses-parts"]
    monkeypatch.setattr(judge, "_shown", lambda write, met, name: None)
    assert fault(oracle, body)


def test_bytes_that_are_read_but_not_needed_are_caught(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "y[i] = x[i];"
    assert not fault(oracle, body)
    hull = judge._hull

    def writes_alone(found: Sequence[accesses.Access], size: int, *, writes: bool) -> Region:
        return hull(found, size, writes=writes) if writes else Region.range(0, 0)

    monkeypatch.setattr(judge, "_hull", writes_alone)
    assert fault(oracle, body)


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
    source = kernel("y[2 * i] = 1; x[2 * (127 - i) + 1] = n;")
    memory = np.zeros(2 * N, np.int32)
    given: list[HostValue] = [memory, memory, 7]
    assert codes(verdict_of(source, given, (N,), (8,))) == ["aliased"]
    monkeypatch.setattr(judge, "_shared_memory", lambda *anything: None)
    whole = look_at(source)
    launch, bound = bound_launch(whole, given, (N,), (8,))
    verdict = judge.judge(whole.facts, launch, (0.37, 0.63))
    assert isinstance(verdict, Splittable)
    with pytest.raises(ExecutionError, match="overlap"):
        execute(split_plan(launch, verdict, source, ()), pair.devices, bound)


def test_ids_that_are_not_bound_together_cost_the_exact_ranges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = kernel("y[i - (int)get_local_id(0)] = x[i];")

    def span() -> Any:
        verdict = verdict_of(source, values(), (N,), (8,), shares=(0.5, 0.5))
        return (
            verdict.arguments[1].footprints[1].leaves if isinstance(verdict, Splittable) else None
        )

    assert span() == Region.range(4 * 64, 4 * 120 + 4)
    ways = Bounds._ways
    monkeypatch.setattr(forms.Bounds, "_ways", lambda self, *which: ways(self, *which)[:1])
    assert span() != Region.range(4 * 64, 4 * 120 + 4)
