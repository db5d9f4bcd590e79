"""Ranges and cuts: whatever the shares, slices are whole work-groups that cover the range once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_runtime.errors import LaunchError
from lb_runtime.launch import NDRange, default_local_size

SIZES = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 9)), min_size=1, max_size=3)


def range_of(sizes: list[tuple[int, int]]) -> NDRange:
    local = tuple(size for _, size in sizes)
    return NDRange.of(tuple(groups * size for groups, size in sizes), local)


@given(SIZES, st.lists(st.integers(0, 100), min_size=1, max_size=4), st.data())
def test_a_cut_covers_every_group_once_in_order(
    sizes: list[tuple[int, int]], weights: list[int], data: st.DataObject
) -> None:
    nd_range = range_of(sizes)
    dimension = data.draw(st.integers(0, nd_range.dimensions - 1))
    total = sum(weights) or 1
    shares = (*(weight / total for weight in weights[:-1]),)
    shares = (*shares, 1 - sum(shares))
    slices = nd_range.cut(dimension, tuple(max(0.0, share) for share in shares))
    edges = [0, *(piece.group_stop for piece in slices)]
    assert [piece.group_start for piece in slices] == edges[:-1]
    assert edges[-1] == nd_range.groups[dimension]


@given(SIZES, st.floats(0, 1))
def test_parts_launch_exactly_the_items_of_the_range(
    sizes: list[tuple[int, int]], share: float
) -> None:
    nd_range = range_of(sizes)
    for dimension in range(nd_range.dimensions):
        reached = nd_range.offset[dimension]
        for piece in nd_range.cut(dimension, (share, 1 - share)):
            offset, size = nd_range.part(piece)
            assert offset[dimension] == reached
            assert size[dimension] % nd_range.local_size[dimension] == 0
            reached += size[dimension]
        assert reached == nd_range.offset[dimension] + nd_range.global_size[dimension]


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=3))
def test_the_default_local_size_divides_and_stays_small(sizes: list[int]) -> None:
    local = default_local_size(tuple(sizes))
    items = 1
    for total, size in zip(sizes, local):
        assert total % size == 0
        items *= size
    assert items <= 256


def test_the_cut_is_at_the_nearest_group() -> None:
    first, second = NDRange.of((1000,), (100,)).cut(0, (0.37, 0.63))
    assert (first.group_stop, second.group_start) == (4, 4)


@pytest.mark.parametrize(
    ("global_size", "local_size", "offset", "said"),
    [
        ((1000,), (256,), None, "up to 1024"),
        ((64, 64), (8,), None, "one entry per dimension"),
        ((64,), (8,), (0, 0), "one entry per dimension"),
        ((0,), None, None, "at least 1"),
        ((64,), (0,), None, "at least 1"),
        ((64,), (8,), (-1,), "no negative"),
        ((2, 2, 2, 2), (1, 1, 1, 1), None, "expected 1 to 3"),
    ],
)
def test_a_range_that_opencl_would_refuse_says_why(
    global_size: tuple[int, ...],
    local_size: tuple[int, ...] | None,
    offset: tuple[int, ...] | None,
    said: str,
) -> None:
    with pytest.raises(LaunchError, match=said):
        NDRange.of(global_size, local_size, offset)


@pytest.mark.parametrize("shares", [(0.5, 0.4), (1.5, -0.5), (2.0,)])
def test_shares_that_do_not_sum_to_one_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(LaunchError, match="sum to 1"):
        NDRange.of((64,), (8,)).cut(0, shares)
