"""A byte map tells of each byte what a set of places for each byte tells, with as few intervals as can be."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_runtime.memory.byte_map import ByteMap, Place

PLACES = (USER, MIRROR) = (Place.USER, Place.MIRROR)
SIZE = 24
Step = tuple[str, Place, int, int]


@st.composite
def steps(draw: st.DrawFn) -> Step:
    start = draw(st.integers(0, SIZE))
    stop = draw(st.integers(start, SIZE))
    return draw(st.sampled_from(["wrote", "copied"])), draw(st.sampled_from(PLACES)), start, stop


PROGRAMS = st.lists(steps(), max_size=30)


class Naive:
    """The model: a set of places for each byte."""

    def __init__(self) -> None:
        self.bytes: list[set[Place]] = [{USER} for _ in range(SIZE)]

    def do(self, step: Step) -> None:
        name, place, start, stop = step
        for byte in range(start, stop):
            self.bytes[byte] = {place} if name == "wrote" else self.bytes[byte] | {place}

    def lacking(self, place: Place, start: int, stop: int) -> set[int]:
        return {byte for byte in range(start, stop) if place not in self.bytes[byte]}


def do(byte_map: ByteMap, step: Step) -> None:
    name, place, start, stop = step
    getattr(byte_map, name)(place, start, stop)


def agrees(byte_map: ByteMap, naive: Naive) -> bool:
    """Whether both say the same of each byte, and of each whole."""
    held = [
        {place for place in Place if place & holder}
        for start, stop, holder in byte_map.intervals()
        for _ in range(start, stop)
    ]
    return (
        held == naive.bytes
        and byte_map.is_home == (not naive.lacking(USER, 0, SIZE))
        and byte_map.is_plain == all(places == {USER} for places in naive.bytes)
    )


def run(program: list[Step]) -> bool:
    """Whether map and model agree after each step; the map's own check runs too."""
    byte_map, naive = ByteMap(SIZE), Naive()
    for step in program:
        do(byte_map, step)
        naive.do(step)
        byte_map._check()
        if not agrees(byte_map, naive):
            return False
    return True


@given(PROGRAMS)
def test_the_map_says_what_a_set_for_each_byte_says(program: list[Step]) -> None:
    assert run(program)


@given(PROGRAMS, st.sampled_from(PLACES), st.data())
def test_lacking_names_the_bytes_that_a_place_has_not(
    program: list[Step], place: Place, data: st.DataObject
) -> None:
    byte_map, naive = ByteMap(SIZE), Naive()
    for step in program:
        do(byte_map, step)
        naive.do(step)
    start = data.draw(st.integers(0, SIZE))
    stop = data.draw(st.integers(start, SIZE))
    ranges = byte_map.lacking(place, start, stop)
    assert all(begin < end for begin, end in ranges)
    assert all(one[1] < two[0] for one, two in pairwise(ranges)), "ranges that touch are one range"
    assert {byte for begin, end in ranges for byte in range(begin, end)} == naive.lacking(
        place, start, stop
    )


@given(PROGRAMS)
def test_intervals_cover_the_buffer_and_neighbours_differ(program: list[Step]) -> None:
    byte_map = ByteMap(SIZE)
    for step in program:
        do(byte_map, step)
    intervals = byte_map.intervals()
    assert intervals[0][0] == 0
    assert intervals[-1][1] == SIZE
    for (_, stop, holder), (start, _, other) in pairwise(intervals):
        assert stop == start
        assert holder != other


def test_a_new_buffer_is_at_home() -> None:
    byte_map = ByteMap(SIZE)
    assert byte_map.intervals() == [(0, SIZE, USER)]
    assert byte_map.is_home
    assert byte_map.is_plain


def test_a_copy_on_the_mirror_leaves_the_buffer_home_but_not_plain() -> None:
    byte_map = ByteMap(SIZE)
    byte_map.copied(MIRROR, 4, 8)
    assert byte_map.intervals() == [(0, 4, USER), (4, 8, USER | MIRROR), (8, SIZE, USER)]
    assert byte_map.is_home
    assert not byte_map.is_plain


def test_what_the_mirror_wrote_is_away_until_it_is_copied_home() -> None:
    byte_map = ByteMap(SIZE)
    byte_map.wrote(MIRROR, 4, 8)
    assert not byte_map.is_home
    assert byte_map.lacking(USER, 0, SIZE) == [(4, 8)]
    assert byte_map.lacking(MIRROR, 0, SIZE) == [(0, 4), (8, SIZE)]
    byte_map.copied(USER, 4, 8)
    assert byte_map.is_home
    byte_map.wrote(USER, 0, SIZE)
    assert byte_map.is_plain


@pytest.mark.parametrize(("start", "stop"), [(-1, 4), (0, SIZE + 1), (5, 4), (SIZE + 1, SIZE + 1)])
@pytest.mark.parametrize("name", ["lacking", "wrote", "copied"])
def test_a_range_outside_the_buffer_is_named(name: str, start: int, stop: int) -> None:
    with pytest.raises(ValueError, match=rf"\[{start}, {stop}\) given, .* {SIZE} bytes"):
        getattr(ByteMap(SIZE), name)(MIRROR, start, stop)


@pytest.mark.parametrize("size", [0, -4])
def test_a_buffer_without_bytes_has_no_map(size: int) -> None:
    with pytest.raises(ValueError, match=f"{size} bytes given, expected at least 1"):
        ByteMap(size)


# A program in which each write changes what some byte says, so that none can be forgotten unseen.
WRITES: list[Step] = [
    ("wrote", MIRROR, 0, 12),
    ("copied", USER, 4, 8),
    ("wrote", USER, 6, 10),
    ("copied", MIRROR, 0, SIZE),
    ("wrote", USER, 20, SIZE),
    ("wrote", MIRROR, 2, 22),
]


@pytest.mark.parametrize(
    ("name", "forgotten"), [*(("wrote", nth) for nth in range(4)), ("copied", 0), ("copied", 1)]
)
def test_a_map_that_forgets_one_write_is_caught(
    name: str, forgotten: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(WRITES)
    real: Callable[..., None] = getattr(ByteMap, name)
    calls = iter(range(len(WRITES)))

    def all_but_one(self: ByteMap, place: Place, start: int, stop: int) -> None:
        if next(calls) != forgotten:
            real(self, place, start, stop)

    monkeypatch.setattr(ByteMap, name, all_but_one)
    assert not run(WRITES)


def test_a_write_taken_for_a_copy_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old holder's bytes are stale from then on, and must not be read."""
    monkeypatch.setattr(ByteMap, "wrote", ByteMap.copied)
    assert not run(WRITES)


@pytest.mark.parametrize(
    ("break_it", "claim"),
    [
        (lambda m: m._starts.insert(1, 4), "one interval for each holder"),
        (lambda m: m._starts.__setitem__(-1, SIZE - 1), "from 0 to the buffer's size"),
        (lambda m: m._starts.__setitem__(1, SIZE), "sorted"),
        (lambda m: m._holders.__setitem__(0, 0), "each byte held"),
        (lambda m: m._holders.__setitem__(1, 1), "neighbours differ"),
        (lambda m: setattr(m, "_away", 7), "counted what is away"),
    ],
)
def test_the_check_names_what_broke(break_it: Callable[[ByteMap], None], claim: str) -> None:
    byte_map = ByteMap(SIZE)
    byte_map.wrote(MIRROR, 4, 8)
    byte_map.copied(USER, 6, 8)
    byte_map._check()
    break_it(byte_map)
    with pytest.raises(AssertionError, match=claim):
        byte_map._check()
