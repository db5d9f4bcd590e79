"""Ranges and cuts: whatever the shares, slices are whole work-groups that cover the range once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_runtime.errors import LaunchError
from lb_runtime.launch import NDRange, Slice, allows_non_uniform, default_local_size

SIZES = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 9)), min_size=1, max_size=3)


def range_of(sizes: list[tuple[int, int]]) -> NDRange:
    local = tuple(size for _, size in sizes)
    return NDRange.of(tuple(groups * size for groups, size in sizes), local)


def non_uniform_range(sizes: list[tuple[int, int]]) -> NDRange:
    """Global and local sizes as they come; the last groups are smaller where that leaves a rest."""
    local = tuple(size for _, size in sizes)
    return NDRange.of(tuple(total for total, _ in sizes), local, allow_non_uniform=True)


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


@given(SIZES, st.floats(0, 1))
def test_only_the_part_with_the_last_groups_has_smaller_ones(
    sizes: list[tuple[int, int]], share: float
) -> None:
    nd_range = non_uniform_range(sizes)
    for dimension in range(nd_range.dimensions):
        total, local = nd_range.global_size[dimension], nd_range.local_size[dimension]
        reached = 0
        for piece in nd_range.cut(dimension, (share, 1 - share)):
            offset, size = nd_range.part(piece)
            assert offset[dimension] == reached
            assert -(-size[dimension] // local) == piece.groups
            if piece.group_stop < nd_range.groups[dimension]:
                assert size[dimension] == piece.groups * local
            reached += size[dimension]
        assert reached == total


@given(SIZES)
def test_the_last_group_holds_what_the_others_leave(sizes: list[tuple[int, int]]) -> None:
    nd_range = non_uniform_range(sizes)
    for total, local, groups, last in zip(
        nd_range.global_size, nd_range.local_size, nd_range.groups, nd_range.last_local_size
    ):
        assert 1 <= last <= local
        assert (groups - 1) * local + last == total
    assert nd_range.non_uniform == (nd_range.last_local_size != nd_range.local_size)


def test_leave_for_smaller_groups_changes_nothing_where_sizes_divide() -> None:
    assert NDRange.of((64,), (8,), allow_non_uniform=True) == NDRange.of((64,), (8,))
    assert NDRange.of((61,), None, allow_non_uniform=True) == NDRange.of((61,))


def test_smaller_groups_are_not_claimed_where_sizes_divide() -> None:
    with pytest.raises(LaunchError, match="a dimension in which it does not"):
        NDRange((64, 9), (8, 3), (0, 0), non_uniform=True)


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ((), False),
        (("-cl-std=CL1.2",), False),
        (("-cl-std=cl1.1", "-DX"), False),
        (("-cl-std=CL",), False),
        (("-cl-std=CL2.0",), True),
        (("-DX", "-cl-std=CL3.0"), True),
        (("-cl-std=CLC++2021",), True),
        (("-cl-std=clc++",), True),
        (("-cl-std=CL2.0", "-cl-std=CL1.2"), False),
        (("-cl-std=CL3.0", "-cl-uniform-work-group-size"), False),
    ],
)
def test_the_language_version_decides_on_smaller_groups(
    options: tuple[str, ...], allowed: bool
) -> None:
    assert allows_non_uniform(options) == allowed


def test_eight_billion_items_are_cut_exactly() -> None:
    nd_range = NDRange.of((2**33 + 1,), (4096,), (2**33 - 5,), allow_non_uniform=True)
    assert nd_range.groups == (2**21 + 1,)
    first, second = nd_range.cut(0, (0.37, 0.63))
    start, size = nd_range.part(first)
    assert (start, size) == ((2**33 - 5,), (round(0.37 * (2**21 + 1)) * 4096,))
    assert nd_range.part(second) == ((2**33 - 5 + size[0],), (2**33 + 1 - size[0],))
    assert nd_range.part(Slice(0, 2**21, 2**21 + 1)) == ((2**34 - 5,), (1,))


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
        ((1000,), (256,), None, "-cl-std=CL2.0 or later"),
        ((2**63,), (1,), (1,), r"ids below 2\^63"),
        ((2**32, 2**32), (1, 1), None, r"at most 2\^63 work-items"),
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
