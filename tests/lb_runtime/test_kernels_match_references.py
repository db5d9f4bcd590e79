"""Every shipped kernel, launched whole on one device, computes what its numpy reference says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyopencl as cl
import pytest
from kernel_references import (
    KERNELS,
    REFERENCES,
    SMALL,
    TOLERANCES,
    Tolerance,
    default_launch,
    materialise,
    small_launch,
)

from lb_runtime.cli.kernel_file import DefaultLaunch, read_source
from lb_runtime.cli.specs import parse_spec
from lb_runtime.launch import LocalArgument

STEMS = sorted(path.stem for path in KERNELS.glob("*.cl"))
SCALARS: dict[Any, Any] = {"int": np.int32, "uint": np.uint32, "float": np.float32}
LAUNCHES = {
    "1-D": ((96,), (8,), (13,)),
    "2-D": ((24, 12), (4, 3), (5, 7)),
    "3-D": ((12, 6, 10), (4, 3, 2), (5, 7, 11)),
}


@pytest.fixture(scope="module")
def context() -> cl.Context:
    platforms = sorted(cl.get_platforms(), key=lambda platform: "Portable" not in platform.name)
    for platform in platforms:
        devices = [device for device in platform.get_devices() if device.type & cl.device_type.CPU]
        if devices:
            return cl.Context(devices[:1])
    pytest.fail("no OpenCL CPU device; pyopencl[pocl] brings one")


def build(context: cl.Context, stem: str, launch: DefaultLaunch) -> cl.Kernel:
    program = cl.Program(context, read_source(KERNELS / f"{stem}.cl"))
    options = [*launch.options, "-cl-std=CL1.2", "-cl-kernel-arg-info"]
    # From its cache pyopencl takes a binary, and a binary need not know the names of arguments.
    program.build(options, cache_dir=False)  # type: ignore[arg-type]  # False means no cache
    return cl.Kernel(program, launch.kernel)


def run(context: cl.Context, stem: str, launch: DefaultLaunch) -> dict[str, np.ndarray[Any, Any]]:
    """Launch once; the content of every buffer afterwards, by argument name."""
    kernel = build(context, stem, launch)
    queue = cl.CommandQueue(context)
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    given = materialise(launch)
    buffers: dict[str, cl.Buffer] = {}
    for position, (name, _) in enumerate(launch.arguments):
        value = given[name]
        if isinstance(value, np.ndarray):
            value = buffers[name] = cl.Buffer(context, flags, hostbuf=value)
        elif isinstance(value, LocalArgument):
            value = cl.LocalMemory(value.size_bytes)
        else:
            type_name = kernel.get_arg_info(position, cl.kernel_arg_info.TYPE_NAME)
            value = SCALARS[type_name](value)
        kernel.set_arg(position, value)
    cl.enqueue_nd_range_kernel(queue, kernel, launch.global_size, launch.local_size, launch.offset)
    results = {name: np.empty_like(given[name]) for name in buffers}
    for name, buffer in buffers.items():
        cl.enqueue_copy(queue, results[name], buffer)
    return results


def assert_matches(stem: str, launch: DefaultLaunch, found: dict[str, Any]) -> None:
    given = materialise(launch)
    expected = REFERENCES[stem](given)
    tolerance = TOLERANCES.get(stem, Tolerance())
    for name, buffer in found.items():
        np.testing.assert_allclose(
            buffer,
            expected[name] if name in expected else given[name],
            rtol=tolerance.relative,
            atol=tolerance.absolute,
            err_msg=f"{stem}: {name}",
        )


@pytest.mark.parametrize("stem", STEMS)
def test_kernel_computes_what_its_reference_says(context: cl.Context, stem: str) -> None:
    launch = small_launch(stem)
    assert_matches(stem, launch, run(context, stem, launch))


@pytest.mark.parametrize("dimensions", LAUNCHES)
def test_work_item_built_ins_are_recorded_in_every_number_of_dimensions(
    context: cl.Context, dimensions: str
) -> None:
    global_size, local_size, offset = LAUNCHES[dimensions]
    record = parse_spec(f"full:int32:{np.prod(global_size)}x22:-1")
    launch = default_launch("work_item_builtins")
    launch = replace(
        launch,
        global_size=global_size,
        local_size=local_size,
        offset=offset,
        arguments=(launch.arguments[0], ("record", record)),
    )
    assert_matches("work_item_builtins", launch, run(context, "work_item_builtins", launch))


def test_bitonic_steps_in_sequence_sort(context: cl.Context) -> None:
    keys = np.random.default_rng(1).integers(0, 500, 1024, dtype=np.uint32)
    launch = default_launch("bitonic_step")
    kernel = build(context, "bitonic_step", launch)
    queue = cl.CommandQueue(context)
    buffer = cl.Buffer(context, cl.mem_flags.COPY_HOST_PTR, hostbuf=keys)
    for stage in range(10):
        for exchange in range(stage, -1, -1):
            kernel.set_args(np.uint32(stage), np.uint32(exchange), buffer)
            cl.enqueue_nd_range_kernel(queue, kernel, (512,), (64,))
    found = np.empty_like(keys)
    cl.enqueue_copy(queue, found, buffer)
    np.testing.assert_array_equal(found, np.sort(keys))


def test_monte_carlo_counts_estimate_pi() -> None:
    launch = small_launch("monte_carlo_pi")
    given = materialise(launch)
    counts = REFERENCES["monte_carlo_pi"](given)["counts"]
    assert 4 * counts.sum() / (counts.size * given["samples"]) == pytest.approx(np.pi, abs=0.02)


@pytest.mark.parametrize("stem", STEMS)
def test_default_launch_names_the_parameters_of_the_kernel_in_order(
    context: cl.Context, stem: str
) -> None:
    launch = default_launch(stem)
    kernel = build(context, stem, launch)
    names = [
        kernel.get_arg_info(position, cl.kernel_arg_info.NAME)
        for position in range(kernel.num_args)
    ]
    assert launch.kernel == stem
    assert [name for name, _ in launch.arguments] == names


@pytest.mark.parametrize("stem", STEMS)
def test_kernel_file_starts_with_what_it_computes(stem: str) -> None:
    assert read_source(KERNELS / f"{stem}.cl").startswith("// ")


def test_every_reference_has_a_kernel() -> None:
    assert sorted(REFERENCES) == STEMS
    assert {*SMALL, *TOLERANCES} <= set(STEMS)
