"""Executing a plan leaves every buffer as one device would have left it, or as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyopencl as cl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from splitting import Written, plan_of, run_and_verify

from lb_runtime.analysis.regions import Region, Rows
from lb_runtime.analysis.verdict import Merge
from lb_runtime.contexts import OpenPair
from lb_runtime.errors import (
    ArgumentError,
    BuildError,
    ExecutionError,
    KernelNotFoundError,
    LaunchError,
)
from lb_runtime.execute import execute
from lb_runtime.launch import BufferArgument, LocalArgument, NDRange
from lb_runtime.memory.transfer import download, upload
from lb_runtime.plan import BufferPlan, Part, Plan
from lb_runtime.verify import Outcome

DOUBLE = """
kernel void twice(global const int* x, global int* y) {
    int i = get_global_id(0);
    y[i] = 2 * x[i];
}"""
SCATTER = """
kernel void scatter(global const int* where, global int* y, int value) {
    int i = get_global_id(0);
    if (where[i] >= 0) y[where[i]] = value + i;
}"""


def doubling(items: int = 4096, local: int = 64) -> tuple[Plan, list[np.ndarray]]:
    values = [np.arange(items, dtype=np.int32), np.full(items, -1, np.int32)]
    nd_range = NDRange.of((items,), (local,))
    return plan_of(
        DOUBLE, "twice", nd_range, values, written={1: Written(Merge.RANGE, 4 * local)}
    ), values


def test_ranges_of_two_devices_become_one_buffer(pair: OpenPair) -> None:
    plan, values = doubling()
    _, verification = run_and_verify(pair, plan, values, DOUBLE)
    assert verification.outcome is Outcome.IDENTICAL
    assert np.array_equal(values[1], 2 * np.arange(4096))


@pytest.mark.parametrize("shares", [(1.0, 0.0), (0.0, 1.0), (0.1, 0.9), (0.5, 0.5)])
def test_every_share_gives_the_same_bytes(pair: OpenPair, shares: tuple[float, float]) -> None:
    values = [np.arange(1000, dtype=np.int32), np.zeros(1000, np.int32)]
    written = {1: Written(Merge.RANGE, 40)}
    plan = plan_of(DOUBLE, "twice", NDRange.of((1000,), (10,)), values, shares, written=written)
    execution, verification = run_and_verify(pair, plan, values, DOUBLE)
    assert verification.ok
    assert len(execution.parts) == len([share for share in shares if share])


def test_only_the_bytes_that_a_part_needs_and_leaves_are_moved(pair: OpenPair) -> None:
    items, values = 4096, [np.arange(4096, dtype=np.int32), np.zeros(4096, np.int32)]
    plan, _ = doubling(items)
    parts = []
    for part in plan.parts:
        leaves = next(buffer.leaves for buffer in part.buffers if buffer.argument == 1)
        nothing = Region.range(0, 0)
        buffers = (
            BufferPlan(0, Merge.NONE, leaves, nothing),
            BufferPlan(1, Merge.RANGE, nothing, leaves),
        )
        parts.append(Part(part.device, part.piece, part.global_offset, part.global_size, buffers))
    exact = Plan(plan.launch, tuple(parts), plan.source, plan.options)
    execution = execute(exact, pair.devices, values)
    assert np.array_equal(values[1], 2 * values[0])
    assert execution.uploaded_bytes == execution.downloaded_bytes == 4 * items


COLUMNS = """
kernel void columns(global const int* x, global int* y, int width) {
    int at = get_global_id(1) * width + get_global_id(0);
    y[at] = 2 * x[at] + 1;
}"""


@pytest.fixture(params=["pair", "intel_pair"])
def each_pair(request: pytest.FixtureRequest) -> OpenPair:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]  # fixtures are Any


@pytest.mark.parametrize(("width", "height", "first"), [(64, 48, 0), (70, 33, 3), (129, 5, 1)])
def test_columns_of_a_matrix_move_alone(
    each_pair: OpenPair, width: int, height: int, first: int
) -> None:
    """The matrix is cut along its rows' dimension: each part needs and leaves a piece of every row."""
    x = np.arange(width * height, dtype=np.int32).reshape(height, width)
    values = [x, np.full((height, width), -1, np.int32), np.int32(width)]
    items = width - first
    nd_range = NDRange.of((items, height), (1, 1), (first, 0))
    plan = plan_of(COLUMNS, "columns", nd_range, values, written={1: Written(Merge.RANGE)})
    parts = []
    for part in plan.parts:
        start, run = part.global_offset[0], part.global_size[0]
        columns = Region.of([Rows(4 * start, 4 * run, 4 * width, height)])
        buffers = (
            BufferPlan(0, Merge.NONE, columns, Region()),
            BufferPlan(1, Merge.RANGE, Region(), columns),
        )
        parts.append(replace(part, buffers=buffers))
    execution, verification = run_and_verify(
        each_pair, replace(plan, parts=tuple(parts)), values, COLUMNS
    )
    assert verification.outcome is Outcome.IDENTICAL
    assert np.array_equal(values[1][:, first:], 2 * x[:, first:] + 1)
    assert (values[1][:, :first] == -1).all()
    assert execution.uploaded_bytes == execution.downloaded_bytes == 4 * items * height


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_region_travels_and_nothing_beside_it(each_pair: OpenPair, data: st.DataObject) -> None:
    """To each device and back, whatever the rows, in a buffer that ends with the last of them."""
    drawn = data.draw(
        st.lists(
            st.builds(
                lambda start, run, gap, count: Rows(start, run, run + gap, count),
                st.integers(0, 300), st.integers(1, 70), st.integers(1, 90), st.integers(2, 9),
            ),
            min_size=1, max_size=3,
        )
    )  # fmt: skip
    region = Region.of(drawn)
    random = np.random.default_rng(region.size_bytes)
    host, before = random.integers(0, 256, (2, region.stop), dtype=np.uint8)
    for device in each_pair.devices:
        buffer = device.buffers.take(region.stop)
        cl.enqueue_copy(device.queue, buffer, before)
        for event in upload(device.queue, buffer, host, region):
            event.wait()
        arrived = np.empty_like(host)
        cl.enqueue_copy(device.queue, arrived, buffer)
        mask = region.mask(region.stop)
        assert np.array_equal(arrived, np.where(mask, host, before))
        events, pieces = download(device.queue, buffer, region)
        for event in events:
            event.wait()
        for rows, piece in zip(region.rows, pieces, strict=True):
            assert np.array_equal(piece, rows.of(host))
        device.buffers.give_back(buffer)


def test_merging_by_difference_keeps_what_no_part_wrote(pair: OpenPair) -> None:
    items = 2048
    where = np.random.default_rng(5).permutation(4 * items)[:items].astype(np.int32)
    where[::3] = -1
    values = [where, np.full(4 * items, 99, np.int32), np.int32(1000)]
    plan = plan_of(
        SCATTER,
        "scatter",
        NDRange.of((items,), (32,)),
        values,
        written={1: Written(Merge.DIFFERENCE)},
    )
    execution, verification = run_and_verify(pair, plan, values, SCATTER)
    expected = np.full(4 * items, 99, np.int32)
    expected[where[where >= 0]] = 1000 + np.flatnonzero(where >= 0)
    assert np.array_equal(values[1], expected)
    assert verification.outcome is Outcome.IDENTICAL
    assert {change.part for change in execution.ownership} == {0, 1}


def test_many_parts_on_each_device_merge_too(pair: OpenPair) -> None:
    plan, values = doubling()
    pieces = plan.launch.nd_range.cut(0, (0.125,) * 8)
    parts = []
    for number, piece in enumerate(pieces):
        offset, size = plan.launch.nd_range.part(piece)
        leaves = Region.range(piece.group_start * 256, piece.group_stop * 256)
        buffers = (
            BufferPlan(0, Merge.NONE, leaves, Region.range(0, 0)),
            BufferPlan(1, Merge.DIFFERENCE, leaves, leaves),
        )
        parts.append(Part(number % 2, piece, offset, size, buffers))
    execution = execute(Plan(plan.launch, tuple(parts), plan.source, ()), pair.devices, values)
    assert np.array_equal(values[1], 2 * values[0])
    assert [part.part for part in execution.parts] == list(range(8))


def test_one_array_for_two_arguments_is_one_buffer_on_the_device(pair: OpenPair) -> None:
    values = [np.arange(512, dtype=np.int32)] * 2
    plan = plan_of(
        DOUBLE, "twice", NDRange.of((512,), (64,)), values, written={1: Written(Merge.RANGE, 256)}
    )
    assert plan.launch.arguments[0] == plan.launch.arguments[1]
    execution = execute(plan, pair.devices, values)
    assert np.array_equal(values[0], 2 * np.arange(512))
    # Neither sent nor fetched twice, though both arguments have a plan.
    assert execution.uploaded_bytes == 2 * 2048
    assert execution.downloaded_bytes == 2048


def test_written_arguments_that_are_one_memory_must_merge_alike(pair: OpenPair) -> None:
    values = [np.arange(512, dtype=np.int32)] * 2
    written = {0: Written(Merge.DIFFERENCE), 1: Written(Merge.RANGE, 256)}
    plan = plan_of(DOUBLE, "twice", NDRange.of((512,), (64,)), values, written=written)
    with pytest.raises(ExecutionError, match="0 and 1 are one memory"):
        execute(plan, pair.devices, values)


def test_local_memory_scalars_and_vectors_reach_the_kernel(pair: OpenPair) -> None:
    source = """
    kernel void sums(global const int* x, global int* y, local int* shared, int2 add, float scale) {
        int l = get_local_id(0);
        shared[l] = x[get_global_id(0)];
        barrier(CLK_LOCAL_MEM_FENCE);
        if (l == 0) {
            int sum = 0;
            for (int i = 0; i < (int)get_local_size(0); i++) sum += shared[i];
            y[get_group_id(0)] = (sum + add.x + add.y) * scale;
        }
    }"""
    x = np.arange(1024, dtype=np.int32)
    add = cl.cltypes.make_int2(3, 4)
    values = [x, np.zeros(32, np.int32), LocalArgument(128), add, np.float32(2)]
    nd_range = NDRange.of((1024,), (32,))
    plan = plan_of(source, "sums", nd_range, values, written={1: Written(Merge.RANGE, 4)})
    _, verification = run_and_verify(pair, plan, values, source)
    assert verification.ok
    assert np.array_equal(values[1], (x.reshape(32, 32).sum(1) + 7) * 2)


def test_kernel_intervals_lie_on_one_host_timeline(pair: OpenPair) -> None:
    plan, values = doubling(1 << 16)
    execution = execute(plan, pair.devices, values)
    for part in execution.parts:
        assert part.kernel_begin_seconds < part.kernel_end_seconds <= part.end_seconds
        assert part.end_seconds <= execution.total_seconds
        assert part.kernel_seconds > 0
    assert 0 <= execution.overlap_seconds <= execution.total_seconds


def test_a_failing_device_leaves_the_host_arrays_untouched(
    pair: OpenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, values = doubling()
    enqueue = cl.enqueue_nd_range_kernel

    def fail_on_second(queue: cl.CommandQueue, *rest: object) -> cl.Event:
        if queue == pair.devices[1].queue:
            raise cl.RuntimeError("clEnqueueNDRangeKernel failed: OUT_OF_RESOURCES")
        return enqueue(queue, *rest)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(cl, "enqueue_nd_range_kernel", fail_on_second)
    with pytest.raises(ExecutionError) as raised:
        execute(plan, pair.devices, values)
    assert pair.devices[1].label in str(raised.value)
    assert (values[1] == -1).all()
    monkeypatch.undo()
    execute(plan, pair.devices, values)
    assert np.array_equal(values[1], 2 * values[0])


def test_parts_that_leave_the_same_bytes_are_refused(pair: OpenPair) -> None:
    plan, values = doubling()
    everything = Region.range(0, values[1].nbytes)
    parts = tuple(
        Part(
            part.device,
            part.piece,
            part.global_offset,
            part.global_size,
            (part.buffers[0], BufferPlan(1, Merge.RANGE, everything, everything)),
        )
        for part in plan.parts
    )
    with pytest.raises(ExecutionError, match="overlap"):
        execute(Plan(plan.launch, parts, plan.source, ()), pair.devices, values)


def halves_of(whole: np.ndarray, start: int = 1024) -> list[np.ndarray]:
    """Two views of one array of 2048 numbers that share some: up to 1100, and from `start` on."""
    return [whole[:1100], whole[start:]]


def doubling_into_the_second_half(values: list[np.ndarray], start: int = 1024) -> Plan:
    """Number `i` is doubled into number `start + i`, and both arguments are one memory."""
    plan = plan_of(DOUBLE, "twice", NDRange.of((512,), (64,)), values)
    parts = []
    for part in plan.parts:
        first, size = part.global_offset[0], part.global_size[0]
        needs = Region.range(4 * first, 4 * (first + size))
        leaves = Region.range(4 * (start + first), 4 * (start + first + size))
        buffers = tuple(BufferPlan(index, Merge.RANGE, needs, leaves) for index in (0, 1))
        parts.append(replace(part, buffers=buffers))
    return replace(plan, parts=tuple(parts))


def test_arrays_that_share_bytes_are_one_buffer_on_the_device(each_pair: OpenPair) -> None:
    whole = np.arange(2048, dtype=np.int32)
    values = halves_of(whole)
    plan = doubling_into_the_second_half(values)
    assert plan.launch.arguments == (BufferArgument(4400, 0), BufferArgument(4096, 0, 4096))
    execution, verification = run_and_verify(each_pair, plan, values, DOUBLE)
    assert verification.outcome is Outcome.IDENTICAL
    assert np.array_equal(whole[1024:1536], 2 * np.arange(512))
    assert np.array_equal(np.delete(whole, slice(1024, 1536)), np.r_[0:1024, 1536:2048])
    assert execution.uploaded_bytes == execution.downloaded_bytes == 2048


def test_what_one_argument_writes_another_that_shares_it_reads(each_pair: OpenPair) -> None:
    """A group writes through one argument and then reads the same bytes through the other."""
    source = """
    kernel void through(global volatile int* x, global volatile int* y) {
        int i = get_global_id(0);
        y[i] = 2 * x[i];
        barrier(CLK_GLOBAL_MEM_FENCE);
        x[1024 + i] += 1;
    }"""
    whole = np.arange(2048, dtype=np.int32)
    values = [whole[:1600], whole[1024:]]
    plan = replace(doubling_into_the_second_half(values), source=source)
    launch = replace(plan.launch, kernel_name="through")
    execute(replace(plan, launch=launch), each_pair.devices, values)
    assert np.array_equal(whole[1024:1536], 2 * np.arange(512) + 1)


def test_an_argument_that_begins_where_no_buffer_can_is_refused(pair: OpenPair) -> None:
    values = halves_of(np.arange(2048, dtype=np.int32), 1023)
    plan = doubling_into_the_second_half(values, 1023)
    with pytest.raises(LaunchError, match="argument 1 begins 4092 bytes after"):
        execute(plan, pair.devices, values)


def test_arrays_must_lie_as_their_arguments_say(pair: OpenPair) -> None:
    whole = np.arange(2048, dtype=np.int32)
    plan = doubling_into_the_second_half(halves_of(whole))
    apart = [array.copy() for array in halves_of(whole)]
    with pytest.raises(ArgumentError, match="argument 1 begins at byte 4096 of memory 0"):
        execute(plan, pair.devices, apart)
    arguments = (BufferArgument(4096 - 128, 0), plan.launch.arguments[1])
    launch = replace(plan.launch, arguments=arguments)
    with pytest.raises(ArgumentError, match=r"bytes \[3968, 4096\) of memory 0 are in no argument"):
        execute(replace(plan, launch=launch), pair.devices, [whole[:992], whole[1024:]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([np.zeros(4096, np.int32)], "1 values given for the 2 arguments"),
        ([np.zeros(4096, np.int32), np.int32(3)], "argument 1 is a buffer"),
        ([np.zeros(4096, np.int32), np.zeros(0, np.int32)], "argument 1 has 0 bytes"),
        ([np.zeros(4096, np.int32), np.zeros((64, 128), np.int32)[:, ::2]], "C-contiguous"),
    ],
)
def test_values_that_do_not_fit_are_refused(
    pair: OpenPair, values: list[np.ndarray], message: str
) -> None:
    plan, _ = doubling()
    with pytest.raises(ArgumentError, match=message):
        execute(plan, pair.devices, values)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.bool_(True), "bool"),
        (np.zeros(4, np.int32), "kernel scatter|passed by value"),
        (np.float64(1), "does not fit"),
    ],
)
def test_scalars_that_do_not_fit_are_refused(
    pair: OpenPair, value: np.generic, message: str
) -> None:
    values = [np.zeros(64, np.int32), np.zeros(64, np.int32), value]
    plan = plan_of(SCATTER, "scatter", NDRange.of((64,), (8,)), values)
    with pytest.raises(ArgumentError, match=message):
        execute(plan, pair.devices, values)


def test_a_number_in_place_of_a_buffer_never_reaches_the_driver(pair: OpenPair) -> None:
    values = [np.int64(64), np.zeros(64, np.int32)]
    plan = plan_of(DOUBLE, "twice", NDRange.of((64,), (8,)), values)
    with pytest.raises(ArgumentError, match="argument 0 of twice is a buffer, but a value"):
        execute(plan, pair.devices, values)


def test_a_group_larger_than_a_device_runs_is_refused(pair: OpenPair) -> None:
    plan, values = doubling(1 << 20, 1 << 20)
    with pytest.raises(LaunchError, match="items a group"):
        execute(plan, pair.devices, values)


def test_a_build_error_names_the_device_and_the_users_line(pair: OpenPair) -> None:
    source = "kernel void broken(global int* y) {\n  y[get_group_id(0)] = nowhere;\n}"
    values = [np.zeros(64, np.int32)]
    plan = plan_of(source, "broken", NDRange.of((64,), (8,)), values)
    with pytest.raises(BuildError) as raised:
        execute(plan, pair.devices, values, file_name="broken.cl")
    assert "broken.cl:2:24: error: use of undeclared identifier 'nowhere'" in str(raised.value)
    assert raised.value.device_name in [device.label for device in pair.devices]


def test_a_missing_kernel_lists_those_that_there_are(pair: OpenPair) -> None:
    plan, values = doubling()
    launch = type(plan.launch)("thrice", plan.launch.nd_range, plan.launch.arguments)
    with pytest.raises(KernelNotFoundError, match=r"no kernel 'thrice'.*twice"):
        execute(Plan(launch, plan.parts, plan.source, ()), pair.devices, values)
