"""Launches that the history knows are decided on when their program is built, before there is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pyopencl as cl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lb_runtime
from lb_runtime.contexts import OpenPair
from lb_runtime.dropin import entry as entries
from lb_runtime.dropin.arguments import BufferRef, Captured, LocalRef
from lb_runtime.dropin.entry import Question
from lb_runtime.dropin.recall import ANY, Recall, bucket_text
from lb_runtime.history.known import LONGEST_TEXT, Key, Known
from lb_runtime.history.place import history_path
from lb_runtime.history.store import Store
from lb_runtime.intercept import InstalledRuntime
from lb_runtime.settings import Settings
from lb_runtime.shares import guard

pytestmark = pytest.mark.filterwarnings("ignore::pyopencl.CompilerWarning")

SOURCE = """
kernel void churn(global uint *a, uint step, float ignored, uint rounds) {
    uint x = a[get_global_id(0)];
    for (uint i = 0; i < rounds; i++) x = x * 1664525u + 1013904223u;
    a[get_global_id(0)] = x + step;
}
"""
ITEMS, ROUNDS = 1 << 14, 100
LONGEST_SECONDS = 60


@pytest.fixture(autouse=True)
def _uninstalled() -> Iterator[None]:
    yield
    lb_runtime.uninstall()


@pytest.fixture
def settings(intel_pair: OpenPair) -> Settings:
    cpu, gpu = (str(device.info.index) for device in intel_pair.devices)
    return Settings(cpu=cpu, gpu=gpu, min_seconds=0.0)


@pytest.fixture
def queue(intel_pair: OpenPair) -> cl.CommandQueue:
    return cl.CommandQueue(cl.Context([intel_pair.devices[0].handle]))


@pytest.fixture
def known(queue: cl.CommandQueue, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Known:
    """What an earlier process has left: one kind of launches, which it split."""
    with monkeypatch.context() as patched:
        for margin in ("FIRST_MARGIN", "MARGIN"):
            patched.setattr(guard, margin, float("inf"))
        with lb_runtime.install(settings) as runtime:
            launch = launches(queue, 64)
            until(lambda: launch() and runtime.report().split >= 3)
    (found,) = Store(history_path()).everything()
    assert found.code == "split"
    return found


def launches(queue: cl.CommandQueue, local_size: int) -> Callable[..., bool]:
    """Build the kernel; a function that launches it once."""
    kernel = cl.Kernel(cl.Program(queue.context, SOURCE).build(cache_dir=False), "churn")
    buffer = cl.Buffer(queue.context, cl.mem_flags.READ_WRITE, 4 * ITEMS)
    start = np.arange(ITEMS, dtype=np.uint32)
    result = np.empty_like(start)

    def launch(step: int = 1) -> bool:
        cl.enqueue_copy(queue, buffer, start)
        number = np.uint32(step), np.float32(time.monotonic()), np.uint32(ROUNDS)
        kernel(queue, (ITEMS,), (local_size,), buffer, *number)
        cl.enqueue_copy(queue, result, buffer)
        np.testing.assert_array_equal(result, churned(start, step))
        return True

    return launch


def churned(values: np.ndarray, step: int) -> np.ndarray:
    for _ in range(ROUNDS):
        values = values * np.uint32(1664525) + np.uint32(1013904223)
    return values + np.uint32(step)


def until(is_done: Callable[[], object]) -> None:
    stop = time.monotonic() + LONGEST_SECONDS
    while not is_done():
        assert time.monotonic() < stop
        time.sleep(0.001)


def decided(runtime: InstalledRuntime) -> list[str]:
    """Why launches that were decided on pass, or nothing, for each kind."""
    return [
        decision.code
        for world in list(runtime.worlds.values())
        for entry in list(world.entries.values())
        for decision in list(entry.decisions.values())
        if decision.code != "first-launches"
    ]


def test_the_first_launch_is_split(
    queue: cl.CommandQueue, settings: Settings, known: Known
) -> None:
    with lb_runtime.install(settings) as runtime:
        launch = launches(queue, 64)
        until(lambda: decided(runtime))
        assert decided(runtime) == [""]
        launch()
        found = runtime.report()
        assert found.split == 1
        assert not [each for kernel in found.kernels for each in kernel.passed]
        launch()
        assert runtime.report().split == 2
        # It is the decision on these launches that was there before them.
        assert decided(runtime) == [""]
    assert not lb_runtime.report().faults
    (now,) = Store(history_path()).everything()
    assert now.key == known.key
    assert now.split_launches >= known.split_launches


def test_other_launches_of_the_kernel_are_judged_when_they_come(
    queue: cl.CommandQueue, settings: Settings, known: Known
) -> None:
    """What OpenCL has not accepted yet is its own to refuse, and is passed on."""
    with lb_runtime.install(settings) as runtime:
        launch = launches(queue, 64)
        until(lambda: decided(runtime))
        launch(2)
        assert runtime.report().split == 0
        with pytest.raises(cl.LogicError, match="INVALID_WORK_GROUP_SIZE"):
            launches(queue, 1 << 14)()
    assert known.key in {each.key for each in Store(history_path()).everything()}


def test_without_it_the_first_launch_passes(
    queue: cl.CommandQueue,
    settings: Settings,
    known: Known,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(entries, "MOST_AHEAD", 0)
    assert known.code == "split"
    with lb_runtime.install(settings) as runtime:
        launch = launches(queue, 64)
        time.sleep(0.2)
        assert decided(runtime) == []
        launch()
        assert runtime.report().split == 0


# What is kept says which launches there were


def known_of(buckets: list[str], codes: list[str]) -> dict[str, Known]:
    return {
        bucket: Known(
            Key("kernel", "pair", bucket),
            "name",
            code,  # type: ignore[arg-type]
            0.5,
            (1.0, 1.0),
            (1.0,),
            2,
            1,
            0,
            0,
            float(place),
        )
        for place, (bucket, code) in enumerate(zip(buckets, codes))
    }


def recall_of(known: dict[str, Known]) -> Recall:
    found = object.__new__(Recall)
    found._known = known
    return found


SIZES = st.tuples(st.integers(1, 1 << 40)) | st.tuples(st.integers(1, 99), st.integers(1, 99))
ROOTS = st.integers(1, 4)
ARGUMENTS = st.lists(
    st.builds(BufferRef, ROOTS, st.integers(0, 99), st.integers(1, 99), st.just(500), ROOTS, ROOTS)
    | st.builds(LocalRef, st.integers(1, 1 << 16))
    | st.sampled_from([1, 2, 4, 8]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    max_size=8,
)


@given(SIZES, st.none() | SIZES, st.none() | SIZES, ARGUMENTS, st.data())
def test_a_launch_is_told_by_what_is_kept_of_it(
    sizes: tuple[int, ...],
    local: tuple[int, ...] | None,
    offset: tuple[int, ...] | None,
    arguments: list[Captured],
    data: st.DataObject,
) -> None:
    values = [index for index, each in enumerate(arguments) if isinstance(each, bytes)]
    some = st.sets(st.sampled_from(values)) if values else st.just(set())
    skipped, varying = data.draw(some), data.draw(some)
    question = Question(sizes, local, offset, tuple(arguments))
    bucket = bucket_text(question, skipped | varying, varying)
    recall = recall_of(known_of([bucket], ["split"]))
    ((found, known, open_arguments),) = recall.splits(frozenset(skipped), 4)
    assert known.key.bucket == bucket
    assert open_arguments == varying
    assert found.key(skipped | varying) == question.key(skipped | varying)
    assert all(each.root < 0 for each in found.given if isinstance(each, BufferRef))


def test_what_is_not_told_is_left_out_and_what_was_split_last_comes_first() -> None:
    def bucket(size: int, *arguments: Captured) -> str:
        return bucket_text(Question((size,), None, None, arguments), (), ())

    long = bucket(1, *[LocalRef(1 << 20)] * LONGEST_TEXT)
    structure = bucket(2, bytes(24))
    assert "sha256" in long
    assert "sha256" in structure
    nonsense = ["", "[]", "{}", "null", "1", '{"global":[1],"local":null,"offset":null}']
    told = bucket(3, b"\1\0\0\0"), bucket(4), bucket(5), bucket(6)
    strange = [
        told[0].replace("3", "null"),
        told[0].replace('"bits":32', '"bits":1'),
        told[0].replace('"bits":32', '"bits":"32"'),
        told[0].replace('{"integer":1,"bits":32}', '{"memory":"x","bytes":[0,1]}'),
        told[0].replace('{"integer":1,"bits":32}', '{"memory":0,"bytes":[0]}'),
        told[0].replace('{"integer":1,"bits":32}', '"none"'),
        told[0].replace('{"integer":1,"bits":32}', f'"{ANY}", 3'),
    ]
    buckets = [*told, long, structure, *nonsense, *strange]
    codes = ["split", "split", "no-gain", "split"] + ["split"] * (len(buckets) - 4)
    recall = recall_of(known_of([each or " " for each in buckets], codes))
    found = [question.global_size for question, _, _ in recall.splits((), 99)]
    assert found == [(6,), (4,), (3,)]
    assert [question.global_size for question, _, _ in recall.splits((), 1)] == [(6,)]
    # An integer that this process takes to be of consequence is not there.
    skipped = bucket_text(Question((1,), None, None, (b"\1\0\0\0",)), {0}, ())
    assert not list(recall_of(known_of([skipped], ["split"])).splits((), 4))
