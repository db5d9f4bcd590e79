"""Loop bounds that are arguments are read from a launch."""

from __future__ import annotations

import math

import pytest

from predictor.frontend import compile_source
from predictor.loops import UNKNOWN_TRIPS
from predictor.program_graph import build
from predictor.tuned.trips import log_trips


def trips(body: str, *integers: int | None) -> float:
    source = f"__kernel void f(__global float *a, int n, float x, int m) {{ {body} }}"
    return log_trips(build(compile_source(source)), integers)


ONE = "float s = 0; for (int k = 0; k < n; k++) s += a[k]; a[0] = s;"
TWO = (
    "float s = 0; for (int j = 0; j < m; j++) for (int k = 0; k < n; k++) s += a[j * k]; a[0] = s;"
)


@pytest.mark.parametrize("n", [1, 8, 5000])
def test_a_loop_runs_as_often_as_its_argument_says(n: int) -> None:
    assert trips(ONE, None, n, None, 77) == pytest.approx(math.log(n / UNKNOWN_TRIPS))


def test_nested_loops_multiply() -> None:
    expected = math.log(100 / UNKNOWN_TRIPS) + math.log(30 / UNKNOWN_TRIPS)
    assert trips(TWO, None, 100, None, 30) == pytest.approx(expected)


def test_a_bound_that_is_computed_from_an_argument_counts() -> None:
    body = "float s = 0; for (int k = 0; k < n + 1; k++) s += a[k]; a[0] = s;"
    assert trips(body, None, 800, None, 7) == pytest.approx(math.log(800 / UNKNOWN_TRIPS), abs=0.01)


def test_a_loop_with_a_constant_bound_is_left_as_it_is() -> None:
    body = "for (int k = 0; k < 1000; k++) a[k] = sin(a[k]);"
    assert trips(body, None, 5, None, 7) == 0


def test_without_loops_or_without_values_nothing_is_known() -> None:
    assert trips("a[0] = n;", None, 5, None, 7) == 0
    assert trips(ONE, None, None, None, None) == 0
    assert trips(ONE) == 0


def test_a_negative_bound_is_no_bound() -> None:
    assert trips(ONE, None, -5, None, 7) == 0
