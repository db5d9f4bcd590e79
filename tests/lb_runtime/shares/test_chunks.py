from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from share_games import even

from lb_runtime.errors import LaunchError
from lb_runtime.shares.chunks import LAST_PART, Chunk, Chunks, Prepared
from lb_runtime.shares.comparison import uneven
from lb_runtime.shares.observation import Choice

rates = st.lists(st.floats(0.01, 100.0), min_size=1, max_size=4)
places = st.none() | st.builds(
    Prepared, st.lists(st.integers(-10, 5010), max_size=9), st.floats(0.0, 1e6)
)


def handed_out(
    groups: int, speeds: list[float], seconds: list[float], prepared: Prepared | None = None
) -> list[Chunk]:
    """All chunks in the order in which idle devices take them, `seconds` of each device for a group.

    With `prepared`, where two devices meet is fixed before the end.
    """
    total = sum(speeds)
    chunks = Chunks(groups, [speed / total for speed in speeds])
    idle_at = dict.fromkeys(range(len(speeds)), 0.0)
    begun_at = [0.0] * len(speeds)
    running: dict[int, tuple[Chunk, float]] = {}
    taken = []
    while idle_at:
        device = min(idle_at, key=lambda each: idle_at[each])
        now = idle_at[device]
        if device in running:
            chunks.done(*running.pop(device))
        if prepared is not None:
            chunks.agree([now - each for each in begun_at], prepared)
        chunk = chunks.next(device)
        if chunk is None:
            del idle_at[device]
            continue
        taken.append(chunk)
        time = seconds[device] * chunk.groups
        running[device] = chunk, time
        begun_at[device], idle_at[device] = now, now + time
    return taken


@given(st.integers(1, 5000), rates, places, st.data())
def test_every_group_is_handed_out_once(
    groups: int, speeds: list[float], prepared: Prepared | None, data: st.DataObject
) -> None:
    seconds = [data.draw(st.floats(0.001, 10.0)) for _ in speeds]
    taken = handed_out(groups, speeds, seconds, prepared)
    edges = sorted((chunk.start, chunk.stop) for chunk in taken)
    assert edges[0][0] == 0
    assert edges[-1][1] == groups
    assert all(one[1] == other[0] for one, other in itertools.pairwise(edges))


@given(st.integers(1, 5000), st.floats(0.01, 100.0), st.floats(0.01, 100.0), places)
def test_with_two_devices_the_chunks_of_each_are_one_slice(
    groups: int, speed: float, seconds: float, prepared: Prepared | None
) -> None:
    taken = handed_out(groups, [1.0, speed], [1.0, seconds], prepared)
    front = [chunk.stop for chunk in taken if chunk.device == 0]
    back = [chunk.start for chunk in taken if chunk.device == 1]
    assert max(front, default=0) == min(back, default=groups)


def test_chunks_become_smaller_to_the_end() -> None:
    sizes = [chunk.groups for chunk in handed_out(1000, [1.0, 1.0], [1.0, 1.0])]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 8 * sizes[-1]


def test_no_chunk_is_smaller_than_asked_but_for_the_last() -> None:
    chunks = Chunks(1000, [1.0], least=[0.1])
    sizes = []
    while chunk := chunks.next(0):
        sizes.append(chunk.groups)
        chunks.done(chunk, 1.0)
    assert min(sizes[:-1]) >= 100


def test_both_devices_are_busy_to_the_end_though_speeds_were_said_wrong() -> None:
    taken = handed_out(1000, [1.0, 1.0], [1.0, 9.0])
    ends = [
        sum(chunk.groups for chunk in taken if chunk.device == device) * seconds
        for device, seconds in ((0, 1.0), (1, 9.0))
    ]
    # The slow device's first chunk, an eighth, is more than its part: no schedule could do better after.
    assert max(ends) <= max(1125.0, 1.05 * min(ends))


def test_a_slow_device_takes_no_chunk_that_would_end_last() -> None:
    chunks = Chunks(100, [0.999, 0.001], least=[0.01, 0.5])
    assert chunks.next(0) is not None
    assert chunks.next(1) is None


def test_chunks_even_out_work_that_one_cut_by_speed_does_not() -> None:
    truth = uneven([even(1.0, 1.0)], seed=3)[0]
    cut = truth.seconds(Choice((0.5, 0.5)))
    chunked = truth.seconds(Choice((0.5, 0.5), is_chunked=True))
    assert cut > 1.2 * truth.best_seconds
    assert chunked < 1.05 * truth.best_seconds


def nearly_done(groups: int = 1000, slower: float = 1.0) -> Chunks:
    """Chunks of which so few are left that the place to meet can be fixed; both devices are idle."""
    chunks = Chunks(groups, [slower / (1.0 + slower), 1.0 / (1.0 + slower)])
    while chunks.left > LAST_PART * groups:
        for device, seconds in ((0, slower), (1, 1.0)):
            if (chunk := chunks.next(device)) is not None:
                chunks.done(chunk, seconds * chunk.groups)
    return chunks


def test_once_little_is_left_each_device_is_given_its_part_of_it_at_once() -> None:
    chunks = nearly_done()
    assert not chunks.is_cut_known
    start, left = chunks.cut, chunks.left
    chunks.agree([0.0, 0.0])
    assert chunks.is_cut_known
    assert chunks.cut == start + round(left / 2)
    given = [chunks.next(device) for device in (0, 1)]
    assert [chunk and chunk.groups for chunk in given] == [round(left / 2), left - round(left / 2)]
    assert not chunks.left


def test_a_device_whose_chunk_goes_on_is_given_less_of_what_is_left() -> None:
    ways = []
    for under_way in (0.0, 100.0, 1e6):
        chunks = nearly_done(20_000)
        chunk = chunks.next(1)
        assert chunk is not None
        start, left = chunks.cut, chunks.left
        chunks.agree([0.0, under_way])
        ways.append(chunks.cut - start - left / 2)
    still, half, ended = ways
    assert still > half > ended
    assert abs(ended) <= 0.5
    # Of the chunk's groups each device does half.
    assert abs(still - chunk.groups / 2) <= 0.5


def test_what_is_too_little_for_a_chunk_is_not_divided() -> None:
    chunks = Chunks(1000, [0.5, 0.5], least=[0.04, 0.04])
    while chunks.left > LAST_PART * 1000:
        for device in (0, 1):
            if (chunk := chunks.next(device)) is not None:
                chunks.done(chunk, 1.0 * chunk.groups)
    start, left = chunks.cut, chunks.left
    assert 0 < left < 80
    chunks.agree([0.0, 0.0])
    assert chunks.cut in (start, start + left)


def test_what_nobody_has_shown_a_speed_for_is_not_fixed() -> None:
    chunks = Chunks(1000, [0.5, 0.5])
    while chunks.left > LAST_PART * 1000:
        chunk = chunks.next(0)
        assert chunk is not None
        chunks.done(chunk, 1.0)
        chunks.agree([0.0, 0.0])
    assert not chunks.is_cut_known


@pytest.mark.parametrize(
    ("away", "seconds", "is_taken"),
    [(2, 0.0, True), (4, 0.0, False), (12, 1e9, True), (18, 1e9, False), (12, 0.0, False)],
)
def test_a_prepared_place_is_taken_if_that_costs_little_beside_preparing_another(
    away: int, seconds: float, is_taken: bool
) -> None:
    chunks = nearly_done()
    expected = chunks.cut + round(chunks.left / 2)
    chunks.agree([0.0, 0.0], Prepared((expected + away, expected - 3 * away), seconds))
    assert chunks.cut == expected + away * is_taken


def test_a_prepared_place_that_has_been_handed_out_is_not_taken() -> None:
    chunks = nearly_done()
    start = chunks.cut
    assert chunks.next(1) is not None
    chunks.agree([0.0, 1e9], Prepared((start - 1,), 1e9))
    assert chunks.cut >= start


def test_nothing_to_hand_out_is_refused() -> None:
    with pytest.raises(LaunchError, match="0 work-groups"):
        Chunks(0, [1.0])
    with pytest.raises(LaunchError, match="1 smallest chunks"):
        Chunks(10, [0.5, 0.5], least=[0.1])
