"""Regions hold all bytes of their rows, tell overlaps, and view them in place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_runtime.analysis import regions
from lb_runtime.analysis.regions import Region, Rows


def rows_of(start: int, run: int, gap: int, count: int) -> Rows:
    return Rows(start, run, run + gap if count > 1 else 0, count)


ROWS = st.builds(
    rows_of, st.integers(0, 60), st.integers(1, 9), st.integers(1, 12), st.integers(1, 6)
)
SOME = st.lists(ROWS, min_size=1, max_size=8)


def bytes_of(rows: list[Rows] | tuple[Rows, ...]) -> set[int]:
    return {
        each.start + number * each.pitch + byte
        for each in rows
        for number in range(each.count)
        for byte in range(each.run)
    }


@given(SOME)
def test_the_union_of_rows_holds_their_bytes_and_no_others(some: list[Rows]) -> None:
    region = Region.of(some)
    assert bytes_of(region.rows) == bytes_of(some)
    assert region.size_bytes == len(bytes_of(some))
    assert (region.start, region.stop) == (min(bytes_of(some)), max(bytes_of(some)) + 1)


@given(SOME, SOME)
def test_overlaps_and_what_is_held_are_told(one: list[Rows], other: list[Rows]) -> None:
    mine, theirs = bytes_of(one), bytes_of(other)
    assert Region.of(one).overlaps(Region.of(other)) == bool(mine & theirs)
    assert Region.of(one).holds(Region.of(other)) == (theirs <= mine)
    assert bytes_of(Region.of(one).union(Region.of(other)).rows) == mine | theirs


@given(SOME)
def test_the_mask_and_the_views_are_the_bytes(some: list[Rows]) -> None:
    region = Region.of(some)
    content = np.arange(200, dtype=np.uint8)
    assert set(np.flatnonzero(region.mask(200))) == bytes_of(some)
    assert {int(b) for rows in region.rows for b in rows.of(content).ravel()} == bytes_of(some)


def test_rows_that_touch_become_a_range() -> None:
    assert Region.of([Rows(0, 4, 12, 5), Rows(4, 4, 12, 5), Rows(8, 4, 12, 5)]) == Region.range(
        0, 60
    )
    assert Region.of([Rows(8, 8), Rows(0, 8)]).is_range


def test_a_stencil_on_columns_stays_a_few_rows() -> None:
    pitch, column = 4096, 400
    shifted = [
        Rows(row * pitch + column + 4 * shift, 800, pitch, 100)
        for row in (0, 1, 2)
        for shift in (-1, 0, 1)
    ]
    region = Region.of(shifted)
    assert region.rows == (Rows(column - 4, 808, pitch, 102),)


def test_too_many_rows_are_taken_for_the_range_around_them() -> None:
    many = [Rows(number**3, 1) for number in range(2 * regions.MAX_ROWS + 5)]
    assert Region.of(many).is_range
    assert Region.of(many).holds(Region.range(many[-1].start, many[-1].stop))
    assert bytes_of(Region.exactly(many).rows) <= bytes_of(many)
    huge = [Rows(0, 1, 3, 1 << 40), Rows(1, 1, 7, 1 << 40)]
    assert Region.of(huge).is_range


@pytest.mark.parametrize("rows", [Rows(-1, 4), Rows(0, 0), Rows(0, 4, 4, 2), Rows(0, 4, 0, 2)])
def test_rows_that_are_none_are_refused(rows: Rows) -> None:
    with pytest.raises(ValueError, match="given, expected"):
        Region((rows,))


def test_a_view_of_a_buffer_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="of 8 bytes"):
        Rows(4, 8).of(np.zeros(8, np.uint8))
