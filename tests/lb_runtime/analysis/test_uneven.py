"""Loops whose end follows from data or from an id are found; those that all work-items share are not."""

from __future__ import annotations

import pytest

from lb_runtime.analysis.uneven import has_data_dependent_loops
from lb_runtime.kernel import look_at

UNEVEN = {
    "a bound that is loaded": "for (int k = 0; k < x[i]; ++k) s += k * s;",
    "a bound that follows from the id": "for (int k = 0; k < i; ++k) s += x[k] * s;",
    "a value that is computed in the loop": "float f = i; while (f < n) { f = f * f + 1; s++; }",
    "a way out of the loop": "for (int k = 0; k < n; ++k) { if (x[k] > s) break; s += 2; }",
    "the group's id": "for (int k = get_group_id(0); k < n; ++k) s += x[k] * s;",
    "a function's parameter": "s = steps(x, x[i]);",
    "what a function returns": "int m = picked(x, i); for (int k = 0; k < m; ++k) s += x[k] * s;",
}
EVEN = {
    "no loop": "s = x[i];",
    "a bound that is an argument": "for (int k = 0; k < n; ++k) s += x[k + i] * s;",
    "a constant": "for (int k = 0; k < 99; ++k) s += x[i] * s;",
    "a branch on data inside": "for (int k = 0; k < n; ++k) if (x[k] > 3) s += x[k] * s;",
    "strides through the range": "for (int k = i; k < n; k += get_global_size(0)) s += x[k] * s;",
    "a local id": "for (int k = get_local_id(0); k < n; ++k) s += x[k] * s;",
    "a function that loops over an argument": "s = steps(x, n);",
}
KERNEL = """
int steps(global const int* x, int n) { int s = 1; for (int k = 0; k < n; ++k) s += x[k] * s; return s; }
int picked(global const int* x, int i) { return x[i] & 7; }
kernel void f(global const int* x, global int* out, int n) {
    int i = get_global_id(0), s = 1;
    BODY
    out[i] = s;
}"""


@pytest.mark.parametrize("name", UNEVEN)
def test_is_uneven(name: str) -> None:
    assert has_data_dependent_loops(look_at(KERNEL.replace("BODY", UNEVEN[name])).facts)


@pytest.mark.parametrize("name", EVEN)
def test_is_even(name: str) -> None:
    assert not has_data_dependent_loops(look_at(KERNEL.replace("BODY", EVEN[name])).facts)


def test_functions_that_are_not_inlined_are_followed() -> None:
    source = KERNEL.replace("int steps", "__attribute__((noinline)) int steps")
    given = source.replace("BODY", UNEVEN["a function's parameter"])
    assert has_data_dependent_loops(look_at(given).facts)
    shared = source.replace("BODY", EVEN["a function that loops over an argument"])
    assert not has_data_dependent_loops(look_at(shared).facts)
