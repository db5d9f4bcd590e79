from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from share_games import even

from lb_runtime.errors import LaunchError
from lb_runtime.shares.chunks import Chunk, Chunks
from lb_runtime.shares.comparison import uneven
from lb_runtime.shares.observation import Choice

rates = st.lists(st.floats(0.01, 100.0), min_size=1, max_size=4)


def handed_out(groups: int, speeds: list[float], seconds: list[float]) -> list[Chunk]:
    """All chunks in the order in which idle devices take them, `seconds` of each device for a group."""
    total = sum(speeds)
    chunks = Chunks(groups, [speed / total for speed in speeds])
    idle_at = dict.fromkeys(range(len(speeds)), 0.0)
    taken = []
    while idle_at:
        device = min(idle_at, key=lambda each: idle_at[each])
        chunk = chunks.next(device)
        if chunk is None:
            del idle_at[device]
            continue
        taken.append(chunk)
        time = seconds[device] * chunk.groups
        idle_at[device] += time
        chunks.done(chunk, time)
    return taken


@given(st.integers(1, 5000), rates, st.data())
def test_every_group_is_handed_out_once(
    groups: int, speeds: list[float], data: st.DataObject
) -> None:
    seconds = [data.draw(st.floats(0.001, 10.0)) for _ in speeds]
    taken = handed_out(groups, speeds, seconds)
    edges = sorted((chunk.start, chunk.stop) for chunk in taken)
    assert edges[0][0] == 0
    assert edges[-1][1] == groups
    assert all(one[1] == other[0] for one, other in itertools.pairwise(edges))


@given(st.integers(1, 5000), st.floats(0.01, 100.0), st.floats(0.01, 100.0))
def test_with_two_devices_the_chunks_of_each_are_one_slice(
    groups: int, speed: float, seconds: float
) -> None:
    taken = handed_out(groups, [1.0, speed], [1.0, seconds])
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


def test_nothing_to_hand_out_is_refused() -> None:
    with pytest.raises(LaunchError, match="0 work-groups"):
        Chunks(0, [1.0])
    with pytest.raises(LaunchError, match="1 smallest chunks"):
        Chunks(10, [0.5, 0.5], least=[0.1])
