"""The whole way of a launch, through the library's own door."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyopencl as cl
import pytest

from lb_runtime import KernelFileError, LaunchError, LocalArgument, Runtime, Svm
from lb_runtime.contexts import OpenPair
from lb_runtime.kernel import launch_range, look_at

ADD = """
__kernel void add(__global const float *a, __global const float *b, __global float *c) {
    size_t i = get_global_id(0);
    c[i] = a[i] + b[i];
}
"""


@pytest.fixture
def runtime(pair: OpenPair) -> Runtime:
    return Runtime(devices=pair)


def add(runtime: Runtime, share: float | None) -> tuple[np.ndarray, object]:
    a = np.arange(1 << 16, dtype=np.float32)
    c = np.zeros_like(a)
    return c, runtime.run(ADD, "add", a.shape, (64,), a, np.ones_like(a), c, cpu_share=share)


def test_arrays_are_updated_in_place(runtime: Runtime) -> None:
    c, outcome = add(runtime, 0.25)
    assert np.array_equal(c, np.arange(1 << 16) + 1)
    assert outcome.decision.is_split  # type: ignore[attr-defined]
    assert outcome.decision.real_cpu_share == 0.25  # type: ignore[attr-defined]


def test_the_model_is_asked_where_no_share_is_given(runtime: Runtime) -> None:
    _, outcome = add(runtime, None)
    prediction = outcome.decision.prediction  # type: ignore[attr-defined]
    assert 0 <= prediction.cpu_fraction <= 1


@pytest.mark.parametrize(("share", "device"), [(0.0, 1), (1.0, 0)])
def test_a_whole_share_runs_on_one_device(runtime: Runtime, share: float, device: int) -> None:
    c, outcome = add(runtime, share)
    assert [part.device for part in outcome.decision.plan.parts] == [device]  # type: ignore[attr-defined]
    assert np.array_equal(c, np.arange(1 << 16) + 1)


def test_a_share_outside_of_zero_to_one_is_refused(runtime: Runtime) -> None:
    with pytest.raises(LaunchError, match=r"1\.5"):
        add(runtime, 1.5)


def test_one_work_group_is_not_split(runtime: Runtime) -> None:
    a = np.ones(64, np.float32)
    outcome = runtime.run(ADD, "add", (64,), (64,), a, a.copy(), a.copy(), cpu_share=0.5)
    assert [reason.code for reason in outcome.decision.reasons] == ["one-group"]


def test_the_same_array_for_several_arguments_is_one_buffer(runtime: Runtime) -> None:
    a = np.ones(1024, np.float32)
    outcome = runtime.run(ADD, "add", (1024,), (64,), a, a, a, cpu_share=0.5)
    assert outcome.decision.is_split
    assert outcome.execution.uploaded_bytes == a.nbytes
    assert np.array_equal(a, np.full(1024, 2, np.float32))


def test_a_kernel_that_redefines_a_built_in_is_not_split(runtime: Runtime) -> None:
    source = (
        "#define get_group_id(d) 0\n__kernel void f(__global int *a)"
        "{ a[get_global_id(0)] = get_group_id(0) + (int)get_num_groups(0); }"
    )
    a = np.zeros(1024, np.int32)
    outcome = runtime.run(source, "f", (1024,), (64,), a, cpu_share=0.5)
    assert not outcome.decision.is_split
    assert np.all(a == 16)


def test_local_memory_is_each_parts_own(runtime: Runtime) -> None:
    source = """
    __kernel void f(__global int *a, __local int *s) {
        s[get_local_id(0)] = get_global_id(0);
        barrier(CLK_LOCAL_MEM_FENCE);
        a[get_global_id(0)] = s[get_local_size(0) - 1 - get_local_id(0)];
    }"""
    a = np.zeros(1024, np.int32)
    runtime.run(source, "f", (1024,), (64,), a, LocalArgument(64 * 4), cpu_share=0.5)
    expected = np.arange(1024).reshape(-1, 64)[:, ::-1].reshape(-1)
    assert np.array_equal(a, expected)


def test_a_kernel_is_looked_at_once(runtime: Runtime) -> None:
    assert runtime.kernel(ADD) is runtime.kernel(ADD)
    assert runtime.kernel(ADD) is not runtime.kernel(ADD, "add")


def test_the_required_local_size_is_used_and_enforced() -> None:
    kernel = look_at(
        "__attribute__((reqd_work_group_size(32, 1, 1))) "
        "__kernel void f(__global int *a) { a[get_global_id(0)] = 1; }"
    )
    assert launch_range(kernel, (64,), None, None).local_size == (32,)
    with pytest.raises(LaunchError, match="requires"):
        launch_range(kernel, (64,), (16,), None)


def test_a_launch_that_is_sure_to_leave_a_buffer_is_refused(runtime: Runtime) -> None:
    a = np.ones(1024, np.float32)
    with pytest.raises(LaunchError, match="touches byte 8191 of argument a, which has 4096 bytes"):
        runtime.run(ADD, "add", (2048,), (64,), a, a.copy(), a.copy(), cpu_share=0.5)


def test_a_guarded_access_is_trusted(runtime: Runtime) -> None:
    source = (
        "__kernel void f(__global int *a, int n) { int i = get_global_id(0); if (i < n) a[i] = 1; }"
    )
    a = np.zeros(1000, np.int32)
    runtime.run(source, "f", (1024,), (64,), a, 1000, cpu_share=0.5)
    assert np.all(a == 1)


def test_an_include_that_replaces_a_built_in_is_not_split(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "own.h").write_text("#undef get_group_id\n#define get_group_id(d) 5\n")
    source = (
        '#include "own.h"\n__kernel void f(__global int *a)'
        "{ a[get_global_id(0)] = get_group_id(0) + (int)get_num_groups(0); }"
    )
    a = np.zeros(1024, np.int32)
    outcome = runtime.run(source, "f", (1024,), (64,), a, options=(f"-I{tmp_path}",), cpu_share=0.5)
    assert [reason.code for reason in outcome.decision.reasons] == ["built-ins"]
    assert np.all(a == 21)


def test_a_guard_on_the_global_id_is_seen_through(runtime: Runtime) -> None:
    source = (
        "__kernel void f(__global int *a, int n) { int i = get_global_id(0); if (i < n) a[i] = 1; }"
    )
    with pytest.raises(LaunchError, match="touches byte 4095 of argument a, which has 4000 bytes"):
        runtime.run(source, "f", (2048,), (64,), np.zeros(1000, np.int32), 1024, cpu_share=0.5)


def test_a_race_that_shows_in_the_merge_runs_whole(runtime: Runtime) -> None:
    source = """
    __kernel void f(__global const int *place, __global int *a) {
        int i = get_global_id(0);
        a[place[i]] = i < 512 ? 0x01010101 : 0x02020202;
    }"""
    a = np.zeros(4, np.int32)
    outcome = runtime.run(source, "f", (1024,), (64,), np.zeros(1024, np.int32), a, cpu_share=0.5)
    assert [reason.code for reason in outcome.decision.reasons] == ["race"]
    assert a[0] > 0


TRAFFIC = """
__kernel void f(__global const int *place, __global int *count) {
    count[place[get_global_id(0)]] += 1;
}"""


def test_a_buffer_whose_traffic_data_decides_is_split_by_the_languages_rule(
    runtime: Runtime,
) -> None:
    place = np.random.default_rng(1).permutation(1024).astype(np.int32)
    count = np.zeros(1024, np.int32)
    outcome = runtime.run(TRAFFIC, "f", (1024,), (64,), place, count, cpu_share=0.5)
    assert outcome.decision.is_split
    assert np.all(count == 1)


def test_a_buffer_whose_traffic_data_decides_is_not_split_where_proof_is_asked_for(
    pair: OpenPair,
) -> None:
    place, count = np.arange(1024, dtype=np.int32), np.zeros(1024, np.int32)
    strict = Runtime(devices=pair, strict=True)
    outcome = strict.run(TRAFFIC, "f", (1024,), (64,), place, count, cpu_share=0.5)
    assert [reason.code for reason in outcome.decision.reasons] == ["data-dependent"]
    assert np.all(count == 1)


def test_more_local_memory_than_a_device_has_is_refused(runtime: Runtime) -> None:
    source = (
        "__kernel void f(__global int *a, __local int *s) { s[0] = 1; a[get_global_id(0)] = s[0]; }"
    )
    with pytest.raises(LaunchError, match="local memory"):
        runtime.run(
            source, "f", (64,), (8,), np.zeros(64, np.int32), LocalArgument(1 << 30), cpu_share=0.5
        )


def test_a_function_that_calls_itself_is_refused(runtime: Runtime) -> None:
    source = (
        "int f(int n, __global int *x) { return n < 2 ? x[n] : f(n - 1, x) + f(n - 2, x); }"
        "__kernel void k(__global int *x) { x[get_global_id(0)] = f(x[get_global_id(0)], x); }"
    )
    with pytest.raises(KernelFileError, match="'f' calls itself"):
        runtime.run(source, "k", (64,), (8,), np.zeros(64, np.int32), cpu_share=0.5)


def test_a_changed_include_is_seen_by_the_same_runtime(runtime: Runtime, tmp_path: Path) -> None:
    source = '#include "what.h"\n__kernel void f(__global int *a) { a[INDEX] = 7; }'
    for index in ("get_global_id(0)", "get_global_size(0) - 1 - get_global_id(0)"):
        (tmp_path / "what.h").write_text(f"#define INDEX ({index})\n")
        a = np.zeros(1024, np.int32)
        runtime.run(source, "f", (1024,), (64,), a, options=(f"-I{tmp_path}",), cpu_share=0.3)
        assert np.all(a == 7)


def test_coarse_grained_memory_is_a_buffer_and_fine_grained_memory_is_not_split(
    runtime: Runtime,
) -> None:
    source = "__kernel void f(__global int *a) { a[get_global_id(0)] += 1; }"
    context = runtime.devices.devices[0].context
    queue = runtime.devices.devices[0].queue
    shared = cl.csvm_empty(context, 1024, np.int32)
    with cl.SVM(shared).map_rw(queue) as array:
        array[:] = 5
        coarse = runtime.run(source, "f", (1024,), (64,), Svm(array, False), cpu_share=0.5)
        assert coarse.decision.is_split
        assert np.all(array == 6)
        fine = runtime.run(source, "f", (1024,), (64,), Svm(array, True), cpu_share=0.5)
        assert [reason.code for reason in fine.decision.reasons] == ["fine-grain"]
        assert np.all(array == 7)
