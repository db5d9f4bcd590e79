"""A device takes part in a launch only if it could run the whole of it, and run it right."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyopencl as cl
import pytest

from lb_runtime import LaunchError, Runtime, devices
from lb_runtime.contexts import OpenPair
from lb_runtime.devices import DeviceInfo, DeviceKind, discover
from lb_runtime.judged import judged
from lb_runtime.kernel import look_at
from lb_runtime.launch import BufferArgument, Launch, NDRange

SCALE = "kernel void scale(global int* x) { x[get_global_id(0)] *= 3; }"
BY_ROW = "kernel void scale(global int* x) { x[get_global_id(1) * 8 + get_global_id(0)] *= 3; }"


def device(
    platform: str = "A platform",
    kind: DeviceKind = DeviceKind.CPU,
    *,
    max_group_items: int = 1024,
    address_bits: int = 64,
    non_uniform_groups: bool = False,
) -> DeviceInfo:
    return DeviceInfo(
        index=0,
        platform_name=platform,
        platform_version="OpenCL 3.0",
        name="a device",
        kind=kind,
        compute_units=8,
        clock_mhz=1000,
        global_memory_bytes=1 << 33,
        local_memory_bytes=1 << 16,
        max_group_items=max_group_items,
        address_bits=address_bits,
        unified_memory=False,
        driver_version="1",
        opencl_c_version="OpenCL C 1.2",
        extensions=(),
        non_uniform_groups=non_uniform_groups,
    )


INTEL = device("Intel(R) OpenCL")
LAST_31_BITS = NDRange.of((64,), (8,), (2**31 - 64,))
BEYOND_31_BITS = NDRange.of((8, 64), (8, 8), (0, 2**31 - 56))
SHORT_LAST_GROUP = NDRange.of((60,), (8,), allow_non_uniform=True)


@pytest.mark.parametrize(
    ("info", "nd_range", "why"),
    [
        (INTEL, LAST_31_BITS, ""),
        (INTEL, BEYOND_31_BITS, "dimension 1 reach 2147483655"),
        (device("Intel(R) OpenCL Graphics", DeviceKind.GPU), BEYOND_31_BITS, ""),
        (device(), BEYOND_31_BITS, ""),
        (device(), NDRange.of((2**33,), (64,)), ""),
        (device(address_bits=32), NDRange.of((2**33,), (64,)), "right only below 4294967296"),
        (device(), SHORT_LAST_GROUP, "runs only work-groups of one size"),
        (device(non_uniform_groups=True), SHORT_LAST_GROUP, ""),
        (device(max_group_items=32), NDRange.of((64, 64), (8, 8)), "runs at most 32"),
        (device(max_group_items=64), NDRange.of((64, 64), (8, 8)), ""),
    ],
)
def test_a_device_says_what_it_cannot_run(info: DeviceInfo, nd_range: NDRange, why: str) -> None:
    said = info.cannot_run(nd_range)
    assert why in said
    assert bool(said) == bool(why)


@pytest.mark.parametrize(("limited", "index"), [((True, False), 0), ((False, True), 1)])
def test_one_device_that_cannot_run_the_launch_declines_the_split(
    limited: tuple[bool, bool], index: int
) -> None:
    launch = Launch("scale", BEYOND_31_BITS, (BufferArgument(1 << 37, 0),))
    infos = [INTEL if each else device() for each in limited]
    kernel = look_at(BY_ROW)
    verdict, adapted = judged(kernel, launch, 0.5, infos)
    assert adapted is None
    assert [reason.code for reason in verdict.reasons] == ["device-limit"]  # type: ignore[union-attr]
    # A device that gets no part does not matter.
    alone, _ = judged(kernel, launch, 1.0 if index else 0.0, infos)
    assert not hasattr(alone, "reasons")


def test_without_devices_nothing_is_asked_of_them() -> None:
    launch = Launch("scale", BEYOND_31_BITS, (BufferArgument(1 << 37, 0),))
    verdict, adapted = judged(look_at(BY_ROW), launch, 0.5)
    assert adapted is not None
    assert not hasattr(verdict, "reasons")


def test_a_large_group_runs_whole_where_it_fits(intel_pair: OpenPair) -> None:
    pocl, intel = (each.info for each in intel_pair.devices)
    assert pocl.max_group_items < intel.max_group_items
    x = np.arange(4 * intel.max_group_items, dtype=np.int32)
    with Runtime(devices=intel_pair) as runtime:
        local = (intel.max_group_items,)
        outcome = runtime.run(SCALE, None, x.shape, local, x, cpu_share=1.0)
        assert [part.device for part in outcome.decision.plan.parts] == [1]
        assert np.array_equal(x, np.arange(x.size) * 3)
        y = np.zeros(2 * x.size, np.int32)
        with pytest.raises(LaunchError, match="choose a smaller one"):
            runtime.run(SCALE, None, y.shape, (2 * local[0],), y, cpu_share=0.5)


def fake(version: str, answer: object) -> cl.Device:
    """A device of an OpenCL version that answers one query, or fails it."""

    def get_info(_: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return cast(Any, SimpleNamespace(version=version, get_info=get_info))


@pytest.mark.parametrize(
    ("version", "answer", "expected"),
    [
        ("OpenCL 1.2 A driver", 1, False),
        ("OpenCL 2.1 A driver", 0, True),
        ("OpenCL 3.0 A driver", 1, True),
        ("OpenCL 3.0 A driver", 0, False),
        ("OpenCL 3.1 A driver", cl.Error("no such query"), False),
        ("A version of its own", 1, False),
    ],
)
def test_smaller_last_groups_go_with_the_version_or_are_asked_for(
    version: str, answer: object, expected: bool
) -> None:
    assert devices._has_non_uniform_groups(fake(version, answer)) is expected


def test_what_a_device_says_of_smaller_last_groups_is_true(non_uniform_halves: OpenPair) -> None:
    """Asked of the drivers themselves: each launches them, or refuses to."""
    handles = devices.device_handles()
    for info in discover().devices:
        if not info.usable:
            continue
        context = cl.Context([handles[info.index]])
        queue = cl.CommandQueue(context)
        program = cl._cl._Program(context, SCALE)
        program._build(b"-cl-std=CL3.0", [handles[info.index]])
        kernel = cl.Kernel(program, "scale")
        buffer = cl.Buffer(context, cl.mem_flags.READ_WRITE, 4 * 60)
        kernel.set_arg(0, buffer)
        try:
            cl.enqueue_nd_range_kernel(queue, kernel, (60,), (8,)).wait()
            launches = True
            said = ""
        except cl.LogicError as error:
            launches, said = False, str(error)
        assert launches == info.non_uniform_groups
        assert launches or "INVALID_WORK_GROUP_SIZE" in said
