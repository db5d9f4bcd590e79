"""Each safety claim has a mutant that must fail: the checks that pass for us catch what would go wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from splitting import Adapt, Written, naive, plan_of, run_and_verify, with_prelude

import lb_runtime.merging as merging_module
from lb_runtime.analysis.regions import Region, Rows
from lb_runtime.analysis.verdict import Merge
from lb_runtime.contexts import OpenPair
from lb_runtime.errors import RaceError
from lb_runtime.execute import execute
from lb_runtime.launch import BufferArgument, NDRange
from lb_runtime.memory.merge import Bytes, Mask, write_region
from lb_runtime.plan import BufferPlan
from lb_runtime.verify import Verification

GRID_STRIDE = """
kernel void sums(global const int* x, global int* sum, int n) {
    int total = 0;
    for (int i = get_global_id(0); i < n; i += get_global_size(0)) total += x[i];
    sum[get_global_id(0)] = total;
}"""
GROUP_ID = """
kernel void stamp(global int* out) {
    if (get_local_id(0) == 0) out[get_group_id(0)] = get_global_id(0) + 1;
}"""
EVERY_THIRD = """
kernel void every_third(global int* out) {
    int i = get_global_id(0);
    if (i % 3 == 0) out[(i * 7) % 3000] = i;
}"""


def grid_stride(pair: OpenPair, adapt_source: Adapt) -> Verification:
    values = [np.arange(100_000, dtype=np.int32), np.zeros(1024, np.int32), np.int32(100_000)]
    plan = plan_of(
        GRID_STRIDE,
        "sums",
        NDRange.of((1024,), (64,)),
        values,
        written={1: Written(Merge.RANGE, 256)},
        adapt_source=adapt_source,
    )
    return run_and_verify(pair, plan, values, GRID_STRIDE)[1]


def group_id(pair: OpenPair, adapt_source: Adapt) -> Verification:
    values = [np.full(64, -1, np.int32)]
    plan = plan_of(
        GROUP_ID,
        "stamp",
        NDRange.of((1024,), (16,)),
        values,
        written={0: Written(Merge.DIFFERENCE)},
        adapt_source=adapt_source,
    )
    return run_and_verify(pair, plan, values, GROUP_ID)[1]


@pytest.mark.parametrize("check", [grid_stride, group_id])
def test_an_offset_launch_of_the_users_text_is_caught(pair: OpenPair, check: object) -> None:
    assert callable(check)
    assert check(pair, with_prelude).ok
    assert is_caught(check, pair)


def is_caught(check: Callable[..., Verification], pair: OpenPair) -> bool:
    """Whether the naive launch is noticed: by its bytes, or as parts that take each other's places."""
    try:
        return not check(pair, naive).ok
    except RaceError:
        return True


def scattered(pair: OpenPair) -> Verification:
    values = [np.arange(3000, dtype=np.int32)]
    plan = plan_of(
        EVERY_THIRD,
        "every_third",
        NDRange.of((3000,), (30,)),
        values,
        written={0: Written(Merge.DIFFERENCE)},
    )
    return run_and_verify(pair, plan, values, EVERY_THIRD)[1]


def test_a_merge_that_copies_whole_buffers_is_caught(
    pair: OpenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scattered(pair).ok

    def copy_whole(target: Bytes, start: int, content: Bytes, changed: Mask) -> None:
        target[start : start + content.size] = content

    monkeypatch.setattr(merging_module, "write_changed", copy_whole)
    verification = scattered(pair)
    assert not verification.ok
    assert verification.mismatch is not None


def test_a_merge_that_ignores_the_ranges_is_caught(
    pair: OpenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "kernel void fill(global int* x) { x[get_global_id(0)] = 5; }"

    def check() -> Verification:
        values = [np.zeros(1024, np.int32)]
        plan = plan_of(
            source,
            "fill",
            NDRange.of((1024,), (16,)),
            values,
            written={0: Written(Merge.RANGE, 64)},
        )
        return run_and_verify(pair, plan, values, source)[1]

    assert check().ok

    def one_group_late(target: Bytes, where: Region, pieces: Sequence[Bytes]) -> None:
        start = min(where.start + 64, target.size - where.size_bytes)
        target[start : start + where.size_bytes] = pieces[0].reshape(-1)

    monkeypatch.setattr(merging_module, "write_region", one_group_late)
    assert not check().ok


COLUMN_OF_GROUPS = """
kernel void mark(global int* x) {
    x[get_global_id(1) * get_global_size(0) + get_global_id(0)] = get_global_id(0);
}"""


def columns(pair: OpenPair) -> Verification:
    """A matrix of 32 rows of 64 numbers, cut along its rows' dimension."""
    values = [np.full((32, 64), -1, np.int32)]
    nd_range = NDRange.of((64, 32), (1, 1))
    plan = plan_of(COLUMN_OF_GROUPS, "mark", nd_range, values, written={0: Written(Merge.RANGE)})
    parts = []
    for part in plan.parts:
        leaves = Region((Rows(4 * part.global_offset[0], 4 * part.global_size[0], 256, 32),))
        buffers = (BufferPlan(0, Merge.RANGE, Region(), leaves),)
        parts.append(replace(part, buffers=buffers))
    return run_and_verify(pair, replace(plan, parts=tuple(parts)), values, COLUMN_OF_GROUPS)[1]


def test_rows_that_are_written_back_without_their_gaps_are_caught(
    pair: OpenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert columns(pair).ok

    def without_gaps(target: Bytes, where: Region, pieces: Sequence[Bytes]) -> None:
        content = np.concatenate([piece.reshape(-1) for piece in pieces])
        target[where.start : where.start + content.size] = content

    monkeypatch.setattr(merging_module, "write_region", without_gaps)
    assert not columns(pair).ok


def test_rows_that_are_fetched_as_one_range_are_caught(
    pair: OpenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes between a part's rows are another part's, and the device holds none of them."""
    assert columns(pair).ok

    def all_of_it(target: Bytes, where: Region, pieces: Sequence[Bytes]) -> None:
        write_region(target, where, pieces)
        target[~where.mask(target.size)] = 0

    monkeypatch.setattr(merging_module, "write_region", all_of_it)
    assert not columns(pair).ok


def test_arguments_that_share_bytes_taken_for_two_buffers_are_caught(pair: OpenPair) -> None:
    """Each memory would be merged from a device buffer that saw half of the writes."""
    source = """
    kernel void both(global volatile int* x, global volatile int* y) {
        int i = get_global_id(0);
        x[i] = i;
        barrier(CLK_GLOBAL_MEM_FENCE);
        y[i] += 1;
    }"""

    def check(one_memory: bool) -> bool:
        values = [np.full(1024, 5, np.int32)] * 2
        nd_range = NDRange.of((1024,), (16,))
        written = {index: Written(Merge.RANGE, 64) for index in (0, 1)}
        plan = plan_of(source, "both", nd_range, values, written=written)
        if not one_memory:
            arguments = (BufferArgument(4096, 0), BufferArgument(4096, 1))
            plan = replace(plan, launch=replace(plan.launch, arguments=arguments))
        execute(plan, pair.devices, values)
        return bool(np.array_equal(values[0], np.arange(1, 1025)))

    assert check(one_memory=True)
    assert not check(one_memory=False)
