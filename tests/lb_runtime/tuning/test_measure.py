"""Measuring on devices: each alone, split, and in a process that a driver may end."""

from __future__ import annotations

import pytest

from lb_runtime.contexts import OpenPair
from lb_runtime.errors import DeviceError
from lb_runtime.runtime import Runtime
from lb_runtime.tuning.kernels import generated
from lb_runtime.tuning.measure import Bench, UnfitError
from lb_runtime.tuning.worker import Worker
from lb_runtime.tuning.workload import Number, Workload, Zeros

TINY = generated(1, 1 / 512)[0]
ONE_GROUP = Workload(
    "own", "one group", "__kernel void f(__global int *a) { a[get_global_id(0)] = 1; }", "f",
    (64,), (64,), (Zeros("int32", 64),),
)  # fmt: skip
IN_PLACE = Workload(
    "own",
    "in place",
    "__kernel void f(__global int *a, int n) { int i = get_global_id(0);"
    " if (a[i]++ > 0) for (int k = 0; k < n; k++) a[i] ^= a[i] * 3 + k; }",
    "f",
    (256,),
    (64,),
    (Zeros("int32", 256), Number(1 << 26)),
)
"""Would take for minutes, did a run begin with what the one before it left."""


@pytest.fixture(scope="module")
def bench(pair: OpenPair) -> Bench:
    return Bench(Runtime(devices=pair))


def test_both_devices_are_timed_with_and_without_transfers(bench: Bench) -> None:
    measured = bench.measure(TINY)
    for seconds in (measured.cpu, measured.gpu):
        assert 0 < seconds.kernel <= seconds.total
    assert measured.launch.items == TINY.global_size[0]


def test_a_launch_is_timed_split(bench: Bench) -> None:
    split = bench.measure_split(TINY, 0.5)
    assert split.cpu_share == 0.5
    assert split.seconds > 0


def test_what_cannot_be_split_is_not_measured(bench: Bench) -> None:
    with pytest.raises(UnfitError, match="cannot be split"):
        bench.measure(ONE_GROUP)


def test_every_run_begins_with_the_same_data(bench: Bench) -> None:
    assert bench.measure(IN_PLACE).cpu.total < 10


def test_a_process_that_ends_makes_one_workload_unfit_and_is_replaced(pair: OpenPair) -> None:
    with Worker(str(pair.pair.cpu.index), str(pair.pair.gpu.index)) as worker:
        assert worker.measure(TINY).cpu.kernel > 0
        assert worker._process is not None
        worker._process.kill()
        worker._process.join()
        with pytest.raises(UnfitError, match="ended the process"):
            worker.measure(TINY)
        with pytest.raises(UnfitError, match="cannot be split"):
            worker.measure(ONE_GROUP)
        assert worker.measure_split(TINY, 0.5).seconds > 0
    assert worker._process is None


def test_devices_that_cannot_be_opened_are_one_clear_error() -> None:
    with (
        Worker("no such device", None) as worker,
        pytest.raises(DeviceError, match="no such device"),
    ):
        worker.measure(TINY)
