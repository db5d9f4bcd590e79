"""Smaller last work-groups: what a part touches ends where the range ends, whatever the local size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from slice_oracle import SliceOracle, bound_launch, verdict_of

from lb_runtime.analysis.accesses import slice_accesses
from lb_runtime.analysis.reach import overreach
from lb_runtime.analysis.verdict import Merge, Splittable
from lb_runtime.arguments import HostValue
from lb_runtime.contexts import OpenPair
from lb_runtime.kernel import look_at
from lb_runtime.launch import LocalArgument, NDRange, Slice

NEWER = ("-cl-std=CL3.0",)
SCALE = "kernel void k(global int* x) { x[get_global_id(0)] *= 3; }"


@pytest.fixture(scope="module")
def oracle(non_uniform_halves: OpenPair) -> SliceOracle:
    return SliceOracle(non_uniform_halves.devices[0])


def test_the_last_slice_ends_where_the_range_ends() -> None:
    kernel = look_at(SCALE, NEWER)
    launch, _ = bound_launch(kernel, [np.zeros(1003, np.int32)], (1003,), (64,))
    for piece, span in (
        (Slice(0, 0, 15), (0, 4 * 960 - 1)),
        (Slice(0, 15, 16), (4 * 960, 4 * 1003 - 1)),
        (Slice(0, 0, 16), (0, 4 * 1003 - 1)),
    ):
        found = slice_accesses(kernel.facts, launch, piece).accesses
        assert {tuple(access.span) for access in found} == {span}


def test_a_buffer_for_just_the_range_is_large_enough() -> None:
    kernel = look_at(SCALE, NEWER)
    launch, _ = bound_launch(kernel, [np.zeros(1003, np.int32)], (1003,), (64,))
    assert overreach(kernel.facts, launch) is None
    short, _ = bound_launch(kernel, [np.zeros(1002, np.int32)], (1003,), (64,))
    assert "touches byte 4011" in str(overreach(kernel.facts, short))


def test_ranges_stay_exact() -> None:
    verdict = verdict_of(SCALE, [np.zeros(1003, np.int32)], (1003,), (64,), options=NEWER)
    assert isinstance(verdict, Splittable)
    assert verdict.arguments[0].merge is Merge.RANGE
    assert verdict.arguments[0].footprints[-1].leaves.stop == 4 * 1003


GROUP_SUMS = """
kernel void k(global const int* x, global int* sums, local int* kept) {
    int i = get_local_id(0), n = get_local_size(0);
    kept[i] = x[get_global_id(0)];
    barrier(CLK_LOCAL_MEM_FENCE);
    if (i == 0) {
        int sum = 0;
        for (int j = 0; j < n; j++) sum += kept[j];
        sums[get_group_id(0)] = sum;
    }
}"""
BY_LOCAL_SIZE = """
kernel void k(global const int* x, global int* y) {
    size_t i = get_group_id(0) * get_enqueued_local_size(0) + get_local_id(0);
    y[i] = x[i] + get_local_size(0) * get_num_groups(0);
}"""
TURNED_IN_THE_GROUP = """
kernel void k(global const int* x, global int* y) {
    size_t start = get_global_id(0) - get_local_id(0);
    y[start + get_local_size(0) - 1 - get_local_id(0)] = x[get_global_id(0)];
}"""
STRIDE = """
kernel void k(global const int* x, global int* y) {
    int sum = 0;
    for (size_t i = get_global_id(0); i < 5000; i += get_global_size(0)) sum += x[i % 1003];
    y[get_global_linear_id()] = sum;
}"""
PLANE = """
kernel void k(global const int* x, global int* y) {
    size_t row = get_global_id(1), column = get_global_id(0);
    y[row * get_global_size(0) + column] =
        x[get_global_linear_id()] + get_local_linear_id() + get_local_size(0) * get_local_size(1);
}"""


def numbers(count: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 1000, count).astype(np.int32)


@pytest.mark.parametrize(
    ("source", "sizes", "extra"),
    [
        (GROUP_SUMS, (1003, 16), [64 * 4]),
        (BY_LOCAL_SIZE, (1003, 1003), []),
        (TURNED_IN_THE_GROUP, (1003, 1003), []),
        (STRIDE, (1003, 1003), []),
    ],
    ids=["sums", "enqueued", "turned", "stride"],
)
def test_parts_of_a_row_leave_what_the_whole_does(
    oracle: SliceOracle, source: str, sizes: Sequence[int], extra: list[int]
) -> None:
    values: list[HostValue] = [numbers(size) for size in sizes]
    values += [LocalArgument(size) for size in extra]
    verdict, fault = oracle.check(source, values, (1003,), (64,), options=NEWER)
    assert isinstance(verdict, Splittable)
    assert not fault


@pytest.mark.parametrize("global_size", [(37, 23), (36, 23), (37, 20)])
def test_parts_of_a_plane_leave_what_the_whole_does(
    oracle: SliceOracle, global_size: tuple[int, int]
) -> None:
    count = global_size[0] * global_size[1]
    values: list[HostValue] = [numbers(count), numbers(count)]
    verdict, fault = oracle.check(PLANE, values, global_size, (6, 5), options=NEWER)
    assert isinstance(verdict, Splittable)
    assert not fault


def test_groups_counted_down_lose_the_last_one(
    oracle: SliceOracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant: as many groups as fit, as where the local size divides."""
    values: list[HostValue] = [numbers(1003), numbers(1003)]
    assert not oracle.check(BY_LOCAL_SIZE, values, (1003,), (64,), options=NEWER)[1]
    fitting = property(lambda self: tuple(map(int.__floordiv__, self.global_size, self.local_size)))
    monkeypatch.setattr(NDRange, "groups", fitting)
    assert oracle.check(BY_LOCAL_SIZE, values, (1003,), (64,), options=NEWER)[1]
