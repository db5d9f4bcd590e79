"""Launches repeated as a policy chooses, cut or in chunks, leave the bytes of unsplit launches."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import kernel_references as references
import numpy as np
import numpy.typing as npt
import pytest

import lb_runtime.chunked as chunked_module
import lb_runtime.repeated as repeated_module
from lb_runtime.analysis.verdict import Declined
from lb_runtime.arguments import HostValue, bind
from lb_runtime.cli.kernel_file import read_source
from lb_runtime.contexts import OpenPair
from lb_runtime.errors import ExecutionError, LaunchError
from lb_runtime.images import host_arrays
from lb_runtime.kernel import launch_range, look_at
from lb_runtime.launch import Launch
from lb_runtime.plan import Plan
from lb_runtime.repeated import RepeatedLaunch
from lb_runtime.runtime import Runtime
from lb_runtime.shares.chunks import NOTHING, Chunk, Chunks, Prepared
from lb_runtime.shares.observation import Choice
from lb_runtime.shares.policy import POLICY_NAMES

STEMS = sorted(path.stem for path in references.KERNELS.glob("*.cl"))
CHUNKED = Choice((0.4, 0.6), is_chunked=True)
HALF = Choice((0.5, 0.5))
ALONE = Choice((1.0, 0.0))

Arrays = dict[int, npt.NDArray[Any]]

TRIANGLE = """
kernel void triangle(global const int* x, global int* out) {
    int i = get_global_id(0), sum = 0;
    for (int k = 0; k < i; ++k) sum += x[k] ^ i;
    if (i % 5 != 3) out[i] = sum + get_group_id(0) + get_num_groups(0);
}"""
PLANE = """
kernel void plane(global const int* x, global int* out, int width, int height) {
    int i = get_global_id(0), j = get_global_id(1);
    int below = j + 1 < height ? x[(j + 1) * width + i] : 7;
    if (i + j > 3) out[j * width + i] = x[j * width + i] * 3 + below + get_group_id(1);
}"""
SPACE = """
kernel void space_(global const int* x, global int* out) {
    size_t i = get_global_id(0), j = get_global_id(1), k = get_global_id(2);
    size_t at = (k * get_global_size(1) + j) * get_global_size(0) + i;
    out[at] = x[at] + get_group_id(2) * 100 + get_num_groups(2);
}"""
COUNTS = """
kernel void counts(global const uchar* x, global uint* bins, global int* most) {
    int i = get_global_id(0);
    atomic_inc(&bins[x[i]]);
    atomic_max(most, (int)x[i]);
}"""
EVERY_THIRD = """
kernel void every_third(global const int* at, global int* out) {
    int i = get_global_id(0);
    if (i % 3 == 0) out[at[i]] = i + out[at[i]];
}"""


def repeated(
    pair: OpenPair, source: str, sizes: tuple[int, ...], local: tuple[int, ...], *values: HostValue
) -> RepeatedLaunch:
    kernel = look_at(source)
    bound, given = bind(kernel.facts, values)
    launch = Launch(kernel.name, launch_range(kernel, sizes, local, None), bound)
    return RepeatedLaunch(Runtime(devices=pair), kernel, launch, given)


def shipped(pair: OpenPair, stem: str) -> RepeatedLaunch:
    launch = references.small_launch(stem)
    kernel = look_at(read_source(references.KERNELS / f"{stem}.cl"), launch.options, launch.kernel)
    values = references.materialise(launch)
    bound, given = bind(kernel.facts, [values[each.name] for each in kernel.facts.parameters])
    nd_range = launch_range(kernel, launch.global_size, launch.local_size, launch.offset)
    return RepeatedLaunch(
        Runtime(devices=pair), kernel, Launch(kernel.name, nd_range, bound), given
    )


def left_by(launch: RepeatedLaunch, choice: Choice) -> Arrays:
    """What a launch leaves in the arrays, which hold afterwards what they held before."""
    arrays = host_arrays(launch.values)
    before = {index: array.copy() for index, array in arrays.items()}
    launch.run(choice)
    after = {index: array.copy() for index, array in arrays.items()}
    for index, array in arrays.items():
        np.copyto(array, before[index])
    return after


def are_same(one: Arrays, other: Arrays) -> bool:
    return all(one[index].tobytes() == other[index].tobytes() for index in one)


class AnySizes(Chunks):
    """Chunks of any sizes: whoever asks is given some of what is left."""

    random = random.Random(0)

    def next(self, device: int) -> Chunk | None:
        if not self.left:
            return None
        size = self.random.randint(1, max(1, self.left // 3))
        if device == 1:
            self._stop -= size
            return Chunk(1, self._stop, self._stop + size)
        self._start += size
        return Chunk(0, self._start - size, self._start)

    def done(self, chunk: Chunk, seconds: float) -> None:
        """Nothing follows from it."""


class HalfEach(Chunks):
    """A chunk for each device, however late it asks: neither takes the other's."""

    def next(self, device: int) -> Chunk | None:
        half = self._groups // 2
        if device == 1 and self._stop > half:
            self._stop = half
            return Chunk(1, half, self._groups)
        if device == 0 and self._start < half:
            self._start = half
            return Chunk(0, 0, half)
        return None


@pytest.fixture
def any_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeated_module, "Chunks", AnySizes)


@pytest.mark.usefixtures("any_sizes")
@pytest.mark.parametrize("stem", STEMS)
def test_a_shipped_kernel_in_chunks_of_any_sizes_leaves_the_bytes_of_an_unsplit_launch(
    halves: OpenPair, stem: str
) -> None:
    launch = shipped(halves, stem)
    expected = left_by(launch, ALONE)
    for _ in range(3):
        assert are_same(left_by(launch, CHUNKED), expected)
        assert launch.last is not None
        assert bool(launch.last.execution.chunks) == launch.may_chunk


def examples(pair: OpenPair) -> dict[str, RepeatedLaunch]:
    numbers = np.arange(5, 5 + 4096, dtype=np.int32)
    some = np.random.default_rng(7).integers(0, 50, 4096, np.uint8)
    places = np.random.default_rng(8).permutation(4096).astype(np.int32)
    return {
        "triangle": repeated(pair, TRIANGLE, (2048,), (16,), numbers, numbers[::-1].copy()),
        "plane": repeated(
            pair, PLANE, (64, 64), (8, 2), numbers, numbers[::-1].copy(), np.int32(64), np.int32(64)
        ),
        "space": repeated(pair, SPACE, (16, 8, 32), (4, 4, 2), numbers, np.zeros_like(numbers)),
        "counts": repeated(
            pair,
            COUNTS,
            (4096,),
            (32,),
            some,
            np.arange(64, dtype=np.uint32),
            np.zeros(1, np.int32),
        ),
        "differences": repeated(pair, EVERY_THIRD, (4096,), (32,), places, numbers.copy()),
    }


NAMES = ["triangle", "plane", "space", "counts", "differences"]


@pytest.mark.usefixtures("any_sizes")
@pytest.mark.parametrize("name", NAMES)
def test_chunks_of_any_sizes_leave_the_bytes_of_an_unsplit_launch(
    halves: OpenPair, name: str
) -> None:
    launch = examples(halves)[name]
    assert launch.may_chunk
    expected = left_by(launch, ALONE)
    for _ in range(8):
        assert are_same(left_by(launch, CHUNKED), expected)
        assert launch.last is not None
        assert launch.last.execution.chunks


@pytest.mark.parametrize("name", NAMES)
def test_chunks_as_they_are_handed_out_leave_the_bytes_of_an_unsplit_launch(
    pair: OpenPair, name: str
) -> None:
    launch = examples(pair)[name]
    assert are_same(left_by(launch, CHUNKED), left_by(launch, ALONE))


@pytest.mark.parametrize("is_checked", [True, False])
def test_a_merge_that_forgets_a_chunk_is_caught(
    halves: OpenPair, monkeypatch: pytest.MonkeyPatch, is_checked: bool
) -> None:
    launch = examples(halves)["triangle"]
    expected = left_by(launch, ALONE)
    monkeypatch.setattr(repeated_module, "Chunks", HalfEach)
    assert are_same(left_by(launch, CHUNKED), expected)
    assert launch.may_chunk
    monkeypatch.setattr(HalfEach, "cut", property(lambda self: self._start - 1))
    if not is_checked:
        monkeypatch.setattr(chunked_module, "_check_ran", lambda *_: None)
    assert are_same(left_by(launch, CHUNKED), expected) == is_checked
    assert launch.may_chunk != is_checked


class Forgetful(Chunks):
    """A meeting place that the first device is never given the way to."""

    def agree(self, running_seconds: Sequence[float], prepared: Prepared = NOTHING) -> None:
        if self._start:
            self._meeting = self._groups // 2

    def _to_meeting(self, device: int) -> int:
        return super()._to_meeting(device) if device else 0


def test_groups_before_a_meeting_place_that_nobody_ran_are_seen(
    halves: OpenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = examples(halves)["triangle"]
    expected = left_by(launch, ALONE)
    monkeypatch.setattr(repeated_module, "Chunks", Forgetful)
    assert are_same(left_by(launch, CHUNKED), expected)
    assert not launch.may_chunk


class AtOnce(Chunks):
    """Both devices meet after so many groups, from the second question on."""

    place = 37

    def agree(self, running_seconds: Sequence[float], prepared: Prepared = NOTHING) -> None:
        assert prepared.places
        assert prepared.seconds > 0.0
        if 0 < self._start <= self.place <= self._stop:
            self._meeting = self.place


@pytest.mark.parametrize("name", NAMES)
def test_where_devices_are_told_to_meet_the_launch_is_cut(
    halves: OpenPair, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    launch = examples(halves)[name]
    expected = left_by(launch, ALONE)
    monkeypatch.setattr(repeated_module, "Chunks", AtOnce)
    monkeypatch.setattr(AtOnce, "place", launch.groups // 2)
    left_by(launch, Choice((0.3, 0.7)))
    assert are_same(left_by(launch, CHUNKED), expected)
    assert launch.last is not None
    assert launch.last.execution.chunks
    assert launch.last.shares[0] == launch.groups // 2 / launch.groups


def without_what_is_read(plan: Plan) -> chunked_module.Needs:
    needs = RIGHT_NEEDS(plan)
    return chunked_module.Needs(needs.memories[1:], needs.images)


RIGHT_NEEDS = chunked_module.Needs.of


def test_needs_that_are_not_sent_are_caught(
    halves: OpenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = examples(halves)["triangle"]
    expected = left_by(launch, ALONE)
    launch.runtime.close()
    monkeypatch.setattr(chunked_module.Needs, "of", without_what_is_read)
    monkeypatch.setattr(chunked_module.Needs, "holds", lambda needs, plan: True)
    assert not are_same(left_by(launch, CHUNKED), expected)


def test_chunks_that_would_need_what_was_not_sent_run_as_one_cut(
    halves: OpenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = examples(halves)["triangle"]
    expected = left_by(launch, ALONE)
    monkeypatch.setattr(chunked_module.Needs, "holds", lambda needs, plan: False)
    assert are_same(left_by(launch, CHUNKED), expected)
    assert launch.last is not None
    assert not launch.last.execution.chunks
    assert not launch.may_chunk


def test_a_device_that_fails_in_a_chunk_leaves_the_arrays_as_they_were(
    halves: OpenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = examples(halves)["triangle"]
    before = {index: array.copy() for index, array in host_arrays(launch.values).items()}

    def fails(*given: object) -> None:
        raise ExecutionError("the device is gone")

    monkeypatch.setattr(chunked_module, "_fetch", fails)
    with pytest.raises(ExecutionError, match="is gone"):
        launch.run(CHUNKED)
    assert are_same(host_arrays(launch.values), before)


def test_an_observation_tells_what_ran(pair: OpenPair) -> None:
    launch = examples(pair)["triangle"]
    seen = launch.run(Choice((0.3, 0.7)))
    assert seen.shares == (38 / 128, 90 / 128)
    assert not seen.is_chunked
    assert min(seen.seconds) > 0
    assert max(seen.seconds) <= seen.total_seconds
    assert seen.moved_bytes > 0
    chunks = launch.run(CHUNKED)
    assert chunks.is_chunked
    assert launch.last is not None
    spans = sorted(launch.last.timeline, key=lambda each: each.group_start)
    assert [each.group_start for each in spans] == [0, *(each.group_stop for each in spans[:-1])]
    assert spans[-1].group_stop == launch.groups == 128
    whole = launch.run(ALONE)
    assert whole.whole == 0
    assert whole.seconds[1] == 0.0


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_every_policy_leaves_the_bytes_of_unsplit_launches(halves: OpenPair, name: str) -> None:
    launch = examples(halves)["differences"]
    expected = left_by(launch, ALONE)
    policy = launch.policy(name, 0.3 if name == "fixed" else None)
    for _ in range(6):
        choice = policy.choose()
        assert are_same(left_by(launch, choice), expected)
        policy.learn(launch.run(choice))
        expected = left_by(launch, ALONE)


def test_a_launch_that_cannot_be_cut_runs_whole_under_every_policy(halves: OpenPair) -> None:
    launch = shipped(halves, "prefix_sum_flags")
    assert isinstance(launch.verdict, Declined)
    assert (launch.groups, launch.may_chunk) == (1, False)
    for name in POLICY_NAMES:
        assert launch.policy(name).choose().whole is not None
    assert launch.run(HALF).whole is not None
    assert launch.run(CHUNKED).whole is not None


def test_parts_that_race_run_whole_and_are_not_cut_again(halves: OpenPair) -> None:
    race = """
    kernel void race(global const int* at, global int* out) {
        int i = get_global_id(0);
        out[at[i]] = i;
    }"""
    places = np.zeros(1024, np.int32)
    for choice in (HALF, CHUNKED):
        launch = repeated(halves, race, (1024,), (8,), places, np.zeros(8, np.int32))
        assert launch.run(choice).whole is not None
        assert isinstance(launch.verdict, Declined)
        assert launch.verdict.reasons[0].code == "race"
        assert not launch.may_chunk


def test_a_share_that_is_none_is_refused(pair: OpenPair) -> None:
    with pytest.raises(LaunchError, match=r"1\.5 given"):
        examples(pair)["plane"].policy("fixed", 1.5)


def test_a_whole_launch_is_sent_what_it_needs_alone(halves: OpenPair) -> None:
    launch = examples(halves)["space"]
    expected = launch.values[0]
    assert isinstance(expected, np.ndarray)
    for choice in (ALONE, Choice((0.0, 1.0))):
        launch.run(choice)
        assert launch.last is not None
        assert launch.last.execution.uploaded_bytes <= expected.nbytes
        assert launch.last.plan.source == launch.kernel.source
