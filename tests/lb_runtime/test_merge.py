"""Merging parts' copies of a buffer gives what one device would have left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_runtime.analysis.regions import Region
from lb_runtime.errors import ArgumentError
from lb_runtime.memory.merge import (
    as_bytes,
    changed_bytes,
    coalesced,
    first_overlap,
    write_changed,
    write_range,
)

intervals = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(
    lambda at: Region.range(at[0], sum(at))
)


@given(st.lists(intervals, max_size=6))
def test_coalesced_intervals_are_disjoint_and_hold_the_same_bytes(given_: list[Region]) -> None:
    result = coalesced(given_)
    assert first_overlap(result) is None
    assert covered(result) == covered(given_)


@given(st.lists(intervals, max_size=6))
def test_an_overlap_is_found_exactly_where_a_byte_is_in_two_intervals(
    given_: list[Region],
) -> None:
    shared = sum(interval.size_bytes for interval in given_) > len(covered(given_))
    overlap = first_overlap(given_)
    assert (overlap is not None) == shared
    if overlap is not None:
        assert overlap[0].overlaps(overlap[1])


def covered(given_: list[Region]) -> set[int]:
    return {byte for interval in given_ for byte in range(interval.start, interval.stop)}


@given(st.data(), st.integers(1, 60))
def test_differences_of_any_number_of_parts_add_up(data: st.DataObject, size: int) -> None:
    """Every byte has at most one writer; each part starts from the original."""
    original = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
    result = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
    writer = np.array(data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)))
    merged = original.copy()
    for part in (1, 2, 3):
        copy = np.where(writer == part, result, original)
        write_changed(merged, Region.range(0, size), copy, changed_bytes(original, copy))
    assert np.array_equal(merged, np.where(writer > 0, result, original))


@given(st.data(), st.integers(1, 60), st.integers(1, 5))
def test_ranges_that_tile_a_buffer_add_up(data: st.DataObject, size: int, parts: int) -> None:
    edges = sorted(
        data.draw(st.lists(st.integers(0, size), min_size=parts - 1, max_size=parts - 1))
    )
    result = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
    merged = np.zeros(size, np.uint8)
    for start, stop in zip([0, *edges], [*edges, size]):
        write_range(merged, Region.range(start, stop), result[start:stop])
    assert np.array_equal(merged, result)


def test_bytes_of_an_array_are_its_own_memory() -> None:
    array = np.zeros((3, 4), np.float64)
    as_bytes(array)[:] = 255
    assert np.isnan(array).all()


def test_an_array_that_is_not_one_block_is_refused() -> None:
    with pytest.raises(ArgumentError, match="C-contiguous"):
        as_bytes(np.zeros((4, 4))[:, 1])
