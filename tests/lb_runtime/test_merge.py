"""Merging parts' copies of a buffer gives what one device would have left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_runtime.analysis.regions import Region, Rows
from lb_runtime.errors import ArgumentError
from lb_runtime.memory.merge import (
    as_bytes,
    changed_bytes,
    first_overlap,
    write_changed,
    write_region,
)

rows = st.builds(
    lambda start, run, gap, count: Rows(start, run, run + gap if count > 1 else 0, count),
    st.integers(0, 40), st.integers(1, 6), st.integers(1, 9), st.integers(1, 5),
)  # fmt: skip
regions = st.lists(rows, max_size=3).map(Region.of)


@given(st.lists(regions, max_size=6))
def test_an_overlap_is_found_exactly_where_a_byte_is_in_two_regions(given_: list[Region]) -> None:
    masks = [region.mask(200) for region in given_]
    shared = bool((np.sum(masks, axis=0) > 1).any()) if masks else False
    overlap = first_overlap(given_)
    assert (overlap is not None) == shared
    if overlap is not None:
        assert (overlap[0].mask(200) & overlap[1].mask(200)).any()


@given(st.data(), st.integers(1, 60))
def test_differences_of_any_number_of_parts_add_up(data: st.DataObject, size: int) -> None:
    """Every byte has at most one writer; each part starts from the original."""
    original = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
    result = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
    writer = np.array(data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)))
    merged = original.copy()
    for part in (1, 2, 3):
        copy = np.where(writer == part, result, original)
        write_changed(merged, 0, copy, changed_bytes(original, copy))
    assert np.array_equal(merged, np.where(writer > 0, result, original))


@given(st.data(), st.integers(1, 60), st.integers(1, 5))
def test_ranges_that_tile_a_buffer_add_up(data: st.DataObject, size: int, parts: int) -> None:
    edges = sorted(
        data.draw(st.lists(st.integers(0, size), min_size=parts - 1, max_size=parts - 1))
    )
    result = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
    merged = np.zeros(size, np.uint8)
    for start, stop in zip([0, *edges], [*edges, size]):
        where = Region.range(start, stop)
        write_region(merged, where, [rows.of(result) for rows in where.rows])
    assert np.array_equal(merged, result)


@given(regions, st.data())
def test_a_region_is_written_and_nothing_beside_it(where: Region, data: st.DataObject) -> None:
    size = where.stop + data.draw(st.integers(0, 5))
    merged, part = np.zeros(size, np.uint8), np.ones(size, np.uint8)
    write_region(merged, where, [rows.of(part).copy() for rows in where.rows])
    assert np.array_equal(merged == 1, where.mask(size))


def test_bytes_of_an_array_are_its_own_memory() -> None:
    array = np.zeros((3, 4), np.float64)
    as_bytes(array)[:] = 255
    assert np.isnan(array).all()


def test_an_array_that_is_not_one_block_is_refused() -> None:
    with pytest.raises(ArgumentError, match="C-contiguous"):
        as_bytes(np.zeros((4, 4))[:, 1])
