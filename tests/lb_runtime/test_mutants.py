"""Each safety claim has a mutant that must fail: the checks that pass for us catch what would go wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from splitting import Adapt, Written, naive, plan_of, run_and_verify, with_prelude

import lb_runtime.execute as execute_module
from lb_runtime.analysis.regions import Region
from lb_runtime.analysis.verdict import Merge
from lb_runtime.contexts import OpenPair
from lb_runtime.errors import RaceError
from lb_runtime.launch import NDRange
from lb_runtime.memory.merge import Bytes, Mask, write_range
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

    def copy_whole(target: Bytes, where: Region, content: Bytes, changed: Mask) -> None:
        write_range(target, where, content)

    monkeypatch.setattr(execute_module, "write_changed", copy_whole)
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

    def one_group_late(target: Bytes, where: Region, content: Bytes) -> None:
        start = min(where.start + 64, target.size - content.size)
        target[start : start + content.size] = content

    monkeypatch.setattr(execute_module, "write_range", one_group_late)
    assert not check().ok
