"""A launch that nobody described: what is chosen fits the kernel, and is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lb_runtime.analysis import attempts, extents, usage
from lb_runtime.analysis.assumptions import AssumedLaunch, assume
from lb_runtime.analysis.guesses import MEMORY_CAP_BYTES, STEP_CAP
from lb_runtime.analysis.judge import judge
from lb_runtime.analysis.made_up import ArrayMade, NumberMade, StructMade
from lb_runtime.analysis.verdict import Merge, Splittable
from lb_runtime.cli.specs import parse_spec
from lb_runtime.errors import ArgumentError
from lb_runtime.kernel import look_at
from lb_runtime.launch import BufferArgument, LocalArgument, NDRange


def assumed(source: str, global_size: tuple[int, ...] | None = None, **known: Any) -> AssumedLaunch:
    given = NDRange.of(global_size) if global_size else None
    return assume(look_at(source).facts, given, known)


def kernel(body: str, parameters: str = "global int *x, global int *y, int n") -> str:
    return (
        f"kernel void k({parameters}) {{ int i = get_global_id(0), j = get_global_id(1); {body} }}"
    )


def specs(found: AssumedLaunch) -> dict[str, str]:
    return {name: made.spec for name, made in found.made.items()}


def array(found: AssumedLaunch, name: str, seed: int = 0) -> np.ndarray:
    values = parse_spec(found.made[name].spec).materialise(seed)
    assert isinstance(values, np.ndarray)
    return values


# Sizes

REACHED = {
    "an element for each item": ("y[i] = x[i];", {"x": 1000, "y": 1000}),
    "what a guard lets through": ("if (i < 500) y[i] = x[i];", {"x": 500, "y": 500}),
    "neighbours": ("y[i] = x[i] + x[i + 3];", {"x": 1003, "y": 1000}),
    "every third element": ("y[i * 3] = x[i / 2];", {"x": 500, "y": 2998}),
    "a table": ("y[i] = x[i & 15];", {"x": 16, "y": 1000}),
    "what is never touched": ("y[i] = 1;", {"x": 1, "y": 1000}),
    "a loop": ("int s = 0; for (int k = 0; k < 7; k++) s += x[k]; y[i] = s;", {"x": 7, "y": 1000}),
}


@pytest.mark.parametrize(("body", "elements"), REACHED.values(), ids=REACHED)
def test_buffers_hold_just_what_is_reached(body: str, elements: dict[str, int]) -> None:
    found = assumed(kernel(body, "global int *x, global int *y"), (1000,))
    made = {name: each.elements for name, each in found.made.items() if isinstance(each, ArrayMade)}
    assert made == elements
    sizes = [a.size_bytes for a in found.launch.arguments if isinstance(a, BufferArgument)]
    assert sizes == [4 * count for count in elements.values()]


def test_sizes_follow_from_numbers_that_are_given() -> None:
    found = assumed(kernel("if (i < n) y[i] = x[i];"), (1024,), n=np.int32(100))
    assert specs(found) == {"x": "rand:int:100", "y": "rand:int:100"}


def test_what_is_given_is_kept() -> None:
    x = np.zeros(2048, np.int32)
    found = assumed(kernel("if (i < n) y[i] = x[i];"), (1024,), x=x)
    assert specs(found) == {"y": "rand:int:1024", "n": "1024"}
    assert found.launch.arguments[0] == BufferArgument(x.nbytes, 0)


def test_a_guard_keeps_to_a_buffer_that_is_given() -> None:
    found = assumed(kernel("if (i < n) y[i] = x[i];"), (1024,), x=np.zeros(1000, np.int32))
    assert specs(found)["n"] == "1000"


def test_a_range_keeps_to_a_buffer_that_is_given() -> None:
    found = assumed(kernel("y[i] = x[i];"), x=np.zeros(1000, np.int32))
    assert found.launch.nd_range.global_size == (1000,)


TYPES = {
    "global float4 *y": ("y[i] = 1;", "rand:float4:64"),
    "global uchar *y": ("y[i] = 1;", "rand:uchar:64"),
    "global double3 *y": ("y[i] = 1;", "rand:double3:64"),
    "global unsigned short *y": ("y[i] = 1;", "rand:ushort:64"),
    "global half *y": ("vstore_half(1.0f, i, y);", "rand:half:64"),
}


@pytest.mark.parametrize(("parameter", "expected"), TYPES.items(), ids=TYPES)
def test_elements_are_the_parameters(parameter: str, expected: tuple[str, str]) -> None:
    body, spec = expected
    assert specs(assumed(kernel(body, parameter), (64,))) == {"y": spec}


def test_a_struct_is_made_of_what_its_members_are() -> None:
    source = """typedef struct { float a, b, c; } three;
        kernel void k(global three *y) { y[get_global_id(0)].b = 1; }"""
    found = assumed(source, (64,))
    assert specs(found) == {"y": f"rand:float:{63 * 3 + 2}"}


def test_a_struct_by_value_has_its_numbers_filled() -> None:
    source = """typedef struct { float a; int n; } pair;
        kernel void k(global float *y, pair p) { y[get_global_id(0)] = p.a * p.n; }"""
    made = assumed(source, (64,)).made["p"]
    assert isinstance(made, StructMade)
    content = np.frombuffer(made.content, np.dtype([("a", "<f4"), ("n", "<i4")]))[0]
    assert content["a"] == 1.0
    assert content["n"] > 0


def test_what_atomics_touch_begins_at_zero_and_is_large_enough() -> None:
    source = kernel("atomic_inc(&x[i & 7]); atomic_xchg(&y[0], i);", "global int *x, global int *y")
    assert specs(assumed(source, (64,))) == {"x": "zeros:int:64", "y": "zeros:int:64"}


def test_local_memory_is_as_large_as_it_is_reached() -> None:
    source = """kernel void k(global int *y, local int *s) {
        int l = get_local_id(0); s[l * 2 + 1] = l; y[get_global_id(0)] = s[l]; }"""
    found = assumed(source, (1024,))
    assert found.launch.nd_range.local_size == (256,)
    assert specs(found)["s"] == "local:int:512"


def test_local_memory_is_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    source = """kernel void k(global int *y) { local int s[64];
        s[get_local_id(0)] = y[get_global_id(0)]; barrier(CLK_LOCAL_MEM_FENCE);
        y[get_global_id(0)] = s[get_local_size(0) - 1 - get_local_id(0)]; }"""
    assert assumed(source).launch.nd_range.local_size[0] <= 64
    monkeypatch.setattr(extents, "_variable_bytes", lambda _: {})
    assert assumed(source).launch.nd_range.local_size[0] > 64


def test_local_memory_of_which_nothing_is_known_is_four_elements_an_item() -> None:
    source = """kernel void k(global int *y, local int *s) {
        s[y[get_local_id(0)]] = 1; y[get_global_id(0)] = s[0]; }"""
    found = assumed(source, (1024,))
    assert found.launch.arguments[1] == LocalArgument(4 * 4 * 256)


# Indices


def test_indices_stay_inside_what_they_index() -> None:
    found = assumed(kernel("y[i] = x[a[i]];", "global int *a, global int *x, global int *y"), (64,))
    assert array(found, "a").min() >= 0
    assert array(found, "a").max() < found.made["x"].elements  # type: ignore[union-attr]  # an array


def test_without_that_care_indices_lead_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts.Maker, "_contents", lambda *_: {})
    found = assumed(kernel("y[i] = x[a[i]];", "global int *a, global int *x, global int *y"), (64,))
    assert array(found, "a").max() >= found.made["x"].elements  # type: ignore[union-attr]  # an array


def test_places_that_are_written_are_all_different() -> None:
    found = assumed(kernel("y[a[i]] = i;", "global int *a, global int *y"), (1000,))
    places = array(found, "a")
    assert sorted(places) == list(range(1000))
    assert found.made["y"].elements == 1000  # type: ignore[union-attr]  # an array


def test_row_pointers_never_fall_and_stay_inside() -> None:
    body = "int s = 0; for (int k = a[i]; k < a[i + 1]; k++) s += x[c[k]]; y[i] = s;"
    found = assumed(
        kernel(body, "global int *a, global int *c, global int *x, global int *y"), (256,)
    )
    rows = array(found, "a")
    assert rows.size == 257
    assert (np.diff(rows) > 0).all()
    columns = array(found, "c")
    assert rows[-1] <= columns.size
    assert columns.max() < found.made["x"].elements  # type: ignore[union-attr]  # an array


def test_indices_that_are_given_decide_how_far_they_lead() -> None:
    source = kernel("y[a[i]] = i;", "global int *a, global int *y")
    found = assumed(source, (4,), a=np.array([3, 90, 1, 7], np.int32))
    assert specs(found) == {"y": "rand:int:91"}


def test_narrow_indices_fit_their_type() -> None:
    found = assumed(kernel("y[i] = x[a[i]];", "global char *a, global int *x, global int *y"))
    assert array(found, "a").dtype == np.int8
    assert found.made["x"].elements <= 128  # type: ignore[union-attr]  # an array


def test_a_reach_that_data_decides_is_told() -> None:
    source = kernel("y[i] = x[(int)(w[i] * 100)];", "global float *w, global int *x, global int *y")
    found = assumed(source, (64,))
    assert any("x is touched follows from data" in note for note in found.notes)


# Ranges and numbers


def test_a_range_has_the_dimensions_that_the_kernel_asks_for() -> None:
    found = assumed(kernel("y[j * n + i] = x[i];"))
    nd_range = found.launch.nd_range
    assert nd_range.dimensions == 2
    assert found.is_range_made
    assert found.made["n"] == NumberMade(256, np.int32(256))
    assert min(nd_range.groups) >= 8


def test_a_required_work_group_is_kept() -> None:
    source = """__attribute__((reqd_work_group_size(48, 1, 1)))
        kernel void k(global int *y) { y[get_global_id(0)] = 1; }"""
    nd_range = assumed(source).launch.nd_range
    assert nd_range.local_size == (48,)
    assert nd_range.items >= 48 * 8


def verdict(source: str) -> Splittable:
    facts = look_at(source).facts
    found = judge(facts, assume(facts, None, {}).launch, (0.5, 0.5))
    assert isinstance(found, Splittable), found
    return found


BAKED = {
    "arrays of 13 rows": kernel(
        "global int (*a)[13] = (global int (*)[13])y; a[j + 1][i + 1] = 1;"
    ),
    "planes of 8 elements": kernel("for (int k = 0; k < 5; k++) y[k * 8 + i] = x[k * 8 + i];"),
    "unrolled planes of 8": kernel("y[i] = 1; y[8 + i] = 2; y[16 + i] = 3;"),
}


@pytest.mark.parametrize("source", BAKED.values(), ids=BAKED)
def test_sizes_written_into_a_kernel_are_found(source: str) -> None:
    assert Merge.DIFFERENCE not in {argument.merge for argument in verdict(source).arguments}


def test_a_work_group_written_into_a_kernel_is_found() -> None:
    source = """kernel void k(global int *y, int n) { local int tile[16][4];
        int i = get_local_id(0), j = get_local_id(1);
        tile[i][j] = 1;
        y[(get_group_id(1) * 4 + j) * n + get_group_id(0) * 16 + i] = tile[i][j]; }"""
    assert assumed(source).launch.nd_range.local_size == (16, 4)


def test_offsets_into_one_buffer_are_set_apart_where_parts_would_meet() -> None:
    source = kernel("y[to + i] = y[from + 65535 - i];", "global int *y, int from, int to")
    found = assumed(source)
    assert int(specs(found)["to"]) >= 65536
    assert not {a.merge for a in verdict(source).arguments} & {Merge.DIFFERENCE}


def test_an_offset_that_reaches_before_a_buffer_is_made_larger() -> None:
    source = kernel("y[i] = x[i] + x[n - 1];")
    found = assumed(source, (64,))
    assert specs(found)["n"] != "0"


def test_longer_rows_are_tried_where_parts_may_meet() -> None:
    source = kernel("y[j * n + i * 4] = 1;", "global int *y, int n")
    found = assumed(source)
    assert int(specs(found)["n"]) >= 4 * found.launch.nd_range.global_size[0]


def test_loops_over_all_items_make_the_range_smaller() -> None:
    source = kernel("int s = 0; if (i < n) for (int k = 0; k < n; k++) s += x[k]; y[i] = s;")
    found = assumed(source)
    assert found.launch.nd_range.items**2 <= STEP_CAP


def test_buffers_within_the_cap_make_the_range_smaller() -> None:
    source = kernel("y[i * 8192] = 1;", "global double *y")
    found = assumed(source)
    assert found.launch.transfer_bytes <= MEMORY_CAP_BYTES


def test_a_range_that_takes_more_than_the_cap_is_refused_in_one_line() -> None:
    with pytest.raises(ArgumentError, match=r"reaches 536,805,384 bytes of argument y") as caught:
        assumed(kernel("y[i * 8192] = 1;", "global double *y"), (8192,))
    assert "\n" not in str(caught.value)
    assert "256 MiB" in str(caught.value)


def test_an_index_that_overflows_makes_the_range_smaller() -> None:
    found = assumed(kernel("if (i < n) y[i * n] = 1;", "global int *y, int n"))
    items = found.launch.nd_range.items
    assert items * items < 1 << 31
    assert found.made["y"].elements == (items - 1) * items + 1  # type: ignore[union-attr]  # an array


# What is told


def test_the_text_says_the_same_launch_again() -> None:
    source = kernel(
        "if (i < n) y[a[i]] = x[i];", "global int *a, global int *x, global int *y, int n"
    )
    facts = look_at(source).facts
    first = assume(facts, None, {})
    words = first.text.split()
    assert words[:4] == ["-g", "65536", "-l", "256"]
    given = dict(word.split("=") for word in words if "=" in word)
    known: dict[str, Any] = {name: parse_spec(spec).materialise() for name, spec in given.items()}
    known["n"] = np.int32(known["n"])
    again = assume(facts, first.launch.nd_range, known)
    assert again.launch == first.launch
    assert not again.made
    assert not again.text


def test_the_same_kernel_gets_the_same_launch() -> None:
    source = kernel("if (i < n) y[i] = x[i];")
    assert assumed(source) == assumed(source)


# Indices stay inside

INSIDE = {
    "a private array": ("int h[16]; for (int t = 0; t < 16; t++) h[t] = t; y[i] = h[x[i]];", 16),
    "local memory of a fixed size": ("local int h[32]; h[x[i]] = i; barrier(1); y[i] = h[5];", 32),
    "a clamp": ("y[clamp(x[i], 0, n - 1)] = 1;", 4096),
}


@pytest.mark.parametrize(("body", "count"), INSIDE.values(), ids=INSIDE)
def test_indices_stay_inside_what_they_lead_to(body: str, count: int) -> None:
    found = assumed(kernel(body), (4096,))
    assert not found.dangers
    values = array(found, "x")
    assert values.min() >= 0
    assert values.max() < count
    assert isinstance(found.made["y"], ArrayMade)
    assert found.made["y"].elements == 4096


def test_a_product_with_data_is_inside() -> None:
    found = assumed(kernel("for (int k = 0; k < x[0]; k++) y[i * x[0] + k] = 1;"), (4096,))
    most = int(array(found, "x").max())
    assert isinstance(found.made["y"], ArrayMade)
    assert found.made["y"].elements >= 4095 * most + most
    assert not found.dangers


def test_indices_of_structs_count_structs() -> None:
    source = """typedef struct { int l, r; float v; } node;
        kernel void k(global float *o, global const node *t, global const float *x) {
            int i = get_global_id(0), n = 0;
            for (int d = 0; d < 10; d++) n = x[i] < t[n].v ? t[n].l : t[n].r;
            o[i] = t[n].v; }"""
    found = assumed(source, (4096,))
    assert isinstance(found.made["t"], ArrayMade)
    assert 3 * (int(array(found, "t").max()) + 1) <= found.made["t"].elements
    assert not found.dangers


def test_without_the_room_of_arrays_indices_lead_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage._Reader, "_inside", lambda *_: None)
    body, count = INSIDE["a private array"]
    assert array(assumed(kernel(body), (4096,)), "x").max() >= count
