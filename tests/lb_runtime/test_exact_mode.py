"""Exact and strict mode: what they decline, and how they are switched on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lb_runtime import LoadBalancerError, Runtime
from lb_runtime.analysis import exact_builtins
from lb_runtime.analysis.reasons import REASONS
from lb_runtime.analysis.verdict import Declined, Splittable
from lb_runtime.contexts import OpenPair
from lb_runtime.judged import dependence, is_on, judged
from lb_runtime.kernel import look_at
from lb_runtime.launch import BufferArgument, Launch, NDRange

ADD = "__kernel void f(__global float *a) { size_t i = get_global_id(0); a[i] = a[i] + 1.5f; }"
FUSED = (
    "__kernel void f(__global float *a) { size_t i = get_global_id(0); a[i] = a[i] * a[i] + 1; }"
)
MINIMUM = (
    "__kernel void f(__global float *a) { size_t i = get_global_id(0); a[i] = fmin(a[i], -a[i]); }"
)
SCATTER = (
    "__kernel void f(__global const int *place, __global int *a) "
    "{ size_t i = get_global_id(0); a[place[i]] = i; }"
)


def launch_of(items: int, *sizes: int) -> Launch:
    buffers = tuple(BufferArgument(size, memory) for memory, size in enumerate(sizes))
    return Launch("f", NDRange.of((items,), (64,)), buffers)


def codes(source: str, share: float = 0.5, **modes: bool) -> list[str]:
    verdict, _ = judged(look_at(source), launch_of(1024, 4096), share, **modes)
    return [reason.code for reason in verdict.reasons] if isinstance(verdict, Declined) else []


def test_exact_mode_declines_what_depends_on_the_device() -> None:
    assert codes(FUSED) == []
    assert codes(FUSED, exact=True) == ["device-dependent"]
    assert "--exact" in REASONS["device-dependent"]


def test_exact_mode_splits_what_does_not() -> None:
    assert codes(ADD, exact=True) == []


def test_exact_mode_says_nothing_of_a_launch_for_one_device() -> None:
    assert codes(FUSED, share=1.0, exact=True) == []


def test_what_cannot_be_split_at_all_keeps_its_own_reason() -> None:
    source = "__kernel void f(__global float *a) { a[0] = get_global_id(0); a[0] += sin(a[0]); }"
    assert codes(source, exact=True) == codes(source) != []


def test_devices_without_denormals_differ_from_those_with(pair: OpenPair) -> None:
    keeping = [replace(device.info, keeps_denormals=True) for device in pair.devices]
    flushing = [keeping[0], replace(keeping[1], keeps_denormals=False)]
    kernel, launch = look_at(ADD), launch_of(1024, 4096)
    assert dependence(kernel, keeping) is None
    assert dependence(kernel, flushing) == kernel.facts.denormals is not None
    assert isinstance(judged(kernel, launch, 0.5, keeping, exact=True)[0], Splittable)
    assert isinstance(judged(kernel, launch, 0.5, flushing, exact=True)[0], Declined)
    assert isinstance(judged(kernel, launch, 0.5, flushing)[0], Splittable)


def test_devices_say_whether_they_keep_denormals(pair: OpenPair) -> None:
    import pyopencl as cl

    for device in pair.devices:
        has = bool(device.handle.single_fp_config & cl.device_fp_config.DENORM)
        assert device.info.keeps_denormals == has


def test_strict_mode_declines_where_data_decides_who_meets() -> None:
    kernel, launch = look_at(SCATTER), launch_of(1024, 4096, 4096)
    assert isinstance(judged(kernel, launch, 0.5)[0], Splittable)
    assert isinstance(judged(kernel, launch, 0.5, strict=True)[0], Declined)


def run_split(runtime: Runtime, source: str, values: np.ndarray) -> tuple[np.ndarray, bool]:
    """The array that a launch at one half leaves, and whether it was split."""
    a = values.copy()
    outcome = runtime.run(source, "f", a.shape, (64,), a, cpu_share=0.5)
    return a, outcome.decision.is_split


def test_a_runtime_in_exact_mode_leaves_such_kernels_whole(pair: OpenPair) -> None:
    values = np.linspace(0, 1, 1024, dtype=np.float32)
    runtime = Runtime(devices=pair, exact=True)
    assert not run_split(runtime, FUSED, values)[1]
    assert run_split(runtime, ADD, values)[1]
    assert run_split(Runtime(devices=pair), FUSED, values)[1]


def test_a_runtime_in_strict_mode_leaves_such_kernels_whole(pair: OpenPair) -> None:
    place, a = np.arange(1024, dtype=np.int32)[::-1].copy(), np.zeros(1024, np.int32)
    for strict in (False, True):
        runtime = Runtime(devices=pair, strict=strict)
        outcome = runtime.run(SCATTER, "f", (1024,), (64,), place, a, cpu_share=0.5)
        assert outcome.decision.is_split is not strict
        assert np.array_equal(a, np.arange(1024)[::-1])


def test_without_the_gate_bytes_would_depend_on_where_the_cut_falls(
    intel_pair: OpenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.tile(np.float32([0.0, -0.0]), 512)
    whole = values.copy()
    Runtime(devices=intel_pair).run(MINIMUM, "f", (1024,), (64,), whole, cpu_share=1.0)
    runtime = Runtime(devices=intel_pair, exact=True)
    assert not run_split(runtime, MINIMUM, values)[1]
    # The mutant takes `fmin` for exact: the split leaves bytes that no single device leaves.
    monkeypatch.setattr(exact_builtins, "_MATH", exact_builtins._MATH | {"fmin"})
    left, was_split = run_split(Runtime(devices=intel_pair, exact=True), MINIMUM, values)
    assert was_split
    assert left.tobytes() != whole.tobytes()


@pytest.mark.parametrize("name", ["LB_EXACT", "LB_STRICT"])
@pytest.mark.parametrize(("value", "on"), [("1", True), ("0", False), ("", False), (" 1 ", True)])
def test_the_environment_switches_a_mode_on(
    name: str, value: str, on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert is_on(name, None) is on
    assert is_on(name, False) is False
    assert is_on(name, True) is True


def test_a_mode_is_off_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LB_EXACT", raising=False)
    assert is_on("LB_EXACT", None) is False


@pytest.mark.parametrize("name", ["LB_EXACT", "LB_STRICT"])
def test_another_value_is_one_clear_error(
    name: str, pair: OpenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "yes")
    with pytest.raises(
        LoadBalancerError, match=f"{name} is 'yes', expected 1 for on, or 0"
    ) as error:
        Runtime(devices=pair)
    assert "\n" not in str(error.value)


def test_a_runtime_reads_the_environment(pair: OpenPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LB_EXACT", "1")
    monkeypatch.setenv("LB_STRICT", "1")
    runtime = Runtime(devices=pair)
    assert runtime.exact
    assert runtime.strict
    assert not Runtime(devices=pair, exact=False).exact
