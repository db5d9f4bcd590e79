"""Work-item built-ins answer inside a part as they do in the whole launch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitting import Adapt, Written, naive, plan_of, with_prelude

from lb_runtime import Runtime, prelude
from lb_runtime.analysis.verdict import Merge
from lb_runtime.contexts import OpenDevice, OpenPair
from lb_runtime.errors import BuildError, LaunchError
from lb_runtime.execute import execute
from lb_runtime.launch import LocalArgument, NDRange
from lb_runtime.prelude import (
    CHANGED_BY_A_SPLIT,
    WORK_ITEM_BUILT_INS,
    Adapted,
    NotAdaptable,
    adapt,
    built_ins_in,
)
from lb_runtime.runtime import Outcome

RANGE = NDRange.of((64,), (8,))
NEWER = ("-cl-std=CL3.0",)
DIMENSIONS = np.array([0, 1, 2, 3, 7, 2**32 - 1], np.uint32)
"""Dimensions that are asked for; the kernel reads them from a buffer."""

# Each work-item writes everything that it is told about itself. The local size of a dimension that there
# is not is left out: PoCL itself says 0, where 1 is specified.
REPORT = """
size_t told(uint what, uint d) {
    switch (what) {
        case 0: return get_global_id(d);
        case 1: return get_global_size (d);
        case 2: return get_group_id( (d) );
        case 3: return get_num_groups(d);
        case 4: return get_global_offset(d);
        case 5: return get_local_id(d);
        case 6: return d > 2 ? 1 : get_local_size(d);
        case 7: return get_work_dim();
#ifdef NEWER
        case 8: return d > 2 ? 1 : get_enqueued_local_size(d);
        case 9: return get_global_linear_id();
        case 10: return get_local_linear_id();
#endif
        default: return 0;
    }
}
kernel void report(global ulong* out, global const uint* dimensions, ulong ox, ulong oy, ulong oz,
                   ulong sx, ulong sy) {
    size_t item = ((get_global_id(2) - oz) * sy + (get_global_id(1) - oy)) * sx
                + get_global_id(0) - ox;
    for (uint what = 0; what < 11; what++)
        for (uint d = 0; d < 6; d++)
            out[(item * 11 + what) * 6 + d] = told(what, dimensions[d]);
}
"""


@pytest.fixture(params=["in order", "swapped"])
def devices(pair: OpenPair, request: pytest.FixtureRequest) -> tuple[OpenDevice, ...]:
    """Both orders of the pair, so that each device has its turn at a part that begins at an offset."""
    return pair.devices if request.param == "in order" else pair.devices[::-1]


def know(devices: Sequence[OpenDevice], options: tuple[str, ...]) -> bool:
    """Whether all devices' compilers take these options."""
    try:
        for device in devices:
            device.program("kernel void nothing() {}", options)
    except BuildError:
        return False
    return True


def expected_report(nd_range: NDRange, *, newer: bool) -> np.ndarray:
    """Shape: (items in linear order, 11 built-ins, 6 dimensions); OpenCL C 3.0, section 6.15.1."""
    sizes, local = padded(nd_range.global_size, 1), padded(nd_range.local_size, 1)
    offset = np.array(padded(nd_range.offset, 0), np.uint64)
    counted = np.indices(sizes[2::-1]).reshape(3, -1)[::-1].T
    counted = np.pad(counted, ((0, 0), (0, 3))).astype(np.uint64)
    constant = np.ones_like(counted)
    enqueued = constant * np.array(local, np.uint64)
    group, inside = counted // enqueued, counted % enqueued
    own = np.minimum(enqueued, np.array(sizes, np.uint64) - group * enqueued)
    linear = (inside[:, 2] * own[:, 1] + inside[:, 1]) * own[:, 0] + inside[:, 0]
    since_2_0 = [
        enqueued,
        np.arange(nd_range.items, dtype=np.uint64)[:, None] * constant,
        linear[:, None] * constant,
    ]
    return np.stack(
        [
            counted + offset,
            constant * np.array(sizes, np.uint64),
            group,
            constant * np.array(padded(nd_range.groups, 1), np.uint64),
            constant * offset,
            inside,
            own,
            constant * np.uint64(nd_range.dimensions),
            *(each * np.uint64(newer) for each in since_2_0),
        ],
        axis=1,
    )


def padded(sizes: tuple[int, ...], filler: int) -> list[int]:
    return [*sizes, *(filler for _ in range(6))][:6]


def report(
    devices: Sequence[OpenDevice],
    nd_range: NDRange,
    dimension: int,
    share: float,
    *,
    newer: bool = False,
    adapt_source: Adapt = with_prelude,
) -> np.ndarray:
    out = np.full((nd_range.items, 11, 6), 2**64 - 1, np.uint64)
    offset, sizes = padded(nd_range.offset, 0), padded(nd_range.global_size, 1)
    values = [out, DIMENSIONS.copy(), *map(np.uint64, offset[:3]), *map(np.uint64, sizes[:2])]
    plan = plan_of(
        "#define NEWER\n" + REPORT if newer else REPORT,
        "report",
        nd_range,
        values,
        (share, 1 - share),
        dimension,
        {0: Written(Merge.DIFFERENCE)},
        adapt_source,
    )
    execute(replace(plan, options=NEWER) if newer else plan, devices, values)
    return out


def test_the_report_asks_for_every_built_in() -> None:
    assert built_ins_in(REPORT) == WORK_ITEM_BUILT_INS


RANGES = [
    ((64,), (8,), (0,)),
    ((66,), (3,), (1000,)),
    ((24, 10), (4, 5), (0, 0)),
    ((24, 10), (4, 5), (7, 70001)),
    ((6, 9, 8), (3, 3, 2), (0, 0, 0)),
    ((6, 9, 8), (3, 3, 2), (130560, 3, 2**20)),
    ((64,), (8,), (2**31 - 64,)),
]


@pytest.mark.parametrize("newer", [False, True], ids=["1.2", "3.0"])
@pytest.mark.parametrize(("global_size", "local_size", "offset"), RANGES)
def test_every_built_in_is_true_inside_each_part(
    devices: tuple[OpenDevice, ...],
    global_size: tuple[int, ...],
    local_size: tuple[int, ...],
    offset: tuple[int, ...],
    newer: bool,
) -> None:
    if newer and not know(devices, NEWER):
        pytest.skip("OpenCL C 3.0 is not known to a compiler here")
    nd_range = NDRange(global_size, local_size, offset)
    expected = expected_report(nd_range, newer=newer)
    for dimension in range(nd_range.dimensions):
        for share in (0.1, 0.4, 0.9):
            got = report(devices, nd_range, dimension, share, newer=newer)
            assert np.array_equal(got, expected)


def test_the_users_own_text_is_told_otherwise_inside_a_part(pair: OpenPair) -> None:
    """The mutant: without the prelude, what `CHANGED_BY_A_SPLIT` names is wrong, and nothing else."""
    if not know(pair.devices, NEWER):
        pytest.skip("OpenCL C 3.0 is not known to a compiler here")
    nd_range = NDRange((24, 10), (4, 5), (7, 70001))
    got = report(pair.devices, nd_range, 0, 0.4, newer=True, adapt_source=naive)
    wrong = (got != expected_report(nd_range, newer=True)).any(axis=(0, 2))
    assert {number for number in range(11) if wrong[number]} == {1, 2, 3, 4, 9}


@settings(max_examples=8, deadline=None)
@given(
    groups=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    local=st.lists(st.integers(1, 6), min_size=3, max_size=3),
    offset=st.lists(st.integers(0, 2**31 - 30), min_size=3, max_size=3),
    share=st.floats(0, 1),
    data=st.data(),
)
def test_every_built_in_is_true_for_any_range(
    pair: OpenPair,
    groups: list[int],
    local: list[int],
    offset: list[int],
    share: float,
    data: st.DataObject,
) -> None:
    count = len(groups)
    sizes = tuple(group * size for group, size in zip(groups, local))
    nd_range = NDRange(sizes, tuple(local[:count]), tuple(offset[:count]))
    dimension = data.draw(st.integers(0, count - 1))
    expected = expected_report(nd_range, newer=False)
    assert np.array_equal(report(pair.devices, nd_range, dimension, share), expected)


@pytest.mark.parametrize(
    ("global_size", "local_size", "offset"),
    [
        ((67,), (8,), (5,)),
        ((7,), (5,), (2**20,)),
        ((26, 11), (4, 5), (7, 70001)),
        ((3, 7), (4, 3), (0, 0)),
        ((7, 8, 5), (3, 4, 2), (9, 3, 1)),
    ],
)
def test_smaller_last_groups_are_told_of_as_in_the_whole_launch(
    non_uniform_halves: OpenPair,
    global_size: tuple[int, ...],
    local_size: tuple[int, ...],
    offset: tuple[int, ...],
) -> None:
    nd_range = NDRange(global_size, local_size, offset, non_uniform=True)
    expected = expected_report(nd_range, newer=True)
    for dimension in range(nd_range.dimensions):
        for share in (0.0, 0.5, 0.9):
            got = report(non_uniform_halves.devices, nd_range, dimension, share, newer=True)
            assert np.array_equal(got, expected)


REVERSED_GROUPS = """
kernel void reversed(global const int* x, global int* y, local int* kept) {
    size_t i = get_local_id(0), n = get_local_size(0);
    kept[i] = x[get_global_id(0)];
    barrier(CLK_LOCAL_MEM_FENCE);
    y[get_global_id(0)] = kept[n - 1 - i] + 1000 * (int)get_num_groups(0);
}
"""


def test_barriers_and_local_memory_work_in_smaller_last_groups(
    non_uniform_halves: OpenPair,
) -> None:
    x, y = np.arange(1003, dtype=np.int32), np.zeros(1003, np.int32)
    with Runtime(devices=non_uniform_halves) as runtime:
        local = LocalArgument(256)
        outcome = runtime.run(
            REVERSED_GROUPS, None, (1003,), (64,), x, y, local, options=NEWER, cpu_share=0.4
        )
    assert outcome.decision.is_split
    groups = [x[start : start + 64][::-1] for start in range(0, 1003, 64)]
    assert np.array_equal(y, np.concatenate(groups) + 16_000)


def test_a_device_without_smaller_groups_takes_no_part(intel_pair: OpenPair) -> None:
    """PoCL 3.0 has them not, Intel's driver has."""
    pocl, intel = (device.info for device in intel_pair.devices)
    if pocl.non_uniform_groups or not intel.non_uniform_groups:
        pytest.skip("needs a device with and one without non-uniform work-groups")
    x, y = np.arange(1003, dtype=np.int32), np.zeros(1003, np.int32)
    with Runtime(devices=intel_pair) as runtime:
        values = (x, y, LocalArgument(256))
        for share in (0.0, 0.5, 1.0):
            outcome = runtime.run(
                REVERSED_GROUPS, None, (1003,), (64,), *values, options=NEWER, cpu_share=share
            )
            assert [part.device for part in outcome.decision.plan.parts] == [1]
            assert y[-1] == 960 + 16_000
        assert {reason.code for reason in outcome.decision.reasons} == {"device-limit"}
        kernel = runtime.kernel(REVERSED_GROUPS, options=NEWER)
        on_pocl = runtime.alone(kernel, outcome.decision.launch, 0)
        with pytest.raises(LaunchError, match="only work-groups of one size"):
            execute(on_pocl, intel_pair.devices, values)


GROUPS = """
kernel void groups(global ulong* out, ulong ox, ulong oy, ulong oz, ulong sx, ulong sy) {
    size_t item = ((get_global_id(2) - oz) * sy + (get_global_id(1) - oy)) * sx
                + get_global_id(0) - ox;
    out[item * 4] = get_group_id(0) + 1000 * (get_group_id(1) + 1000 * get_group_id(2));
    out[item * 4 + 1] = get_num_groups(DIMENSION) + 1000 * get_global_size(DIMENSION);
    out[item * 4 + 2] = get_global_offset(DIMENSION);
    out[item * 4 + 3] = get_global_linear_id();
}
"""

GROUP_ALONE = """
kernel void groups(global ulong* out, ulong ox, ulong oy, ulong oz, ulong sx, ulong sy) {
    size_t item = ((get_global_id(2) - oz) * sy + (get_global_id(1) - oy)) * sx
                + get_global_id(0) - ox;
    out[item * 4] = get_group_id(DIMENSION);
}
"""


class Short(NamedTuple):
    """A launch whose second part is short and begins far from 0 along one dimension.

    `expected` is what each work-item of `groups` is told; `is_second` tells those of the second part.
    """

    nd_range: NDRange
    dimension: int
    expected: np.ndarray
    is_second: np.ndarray


def short(dimension: int, dimensions: int, user_offset: int) -> Short:
    """514 groups of 255 items along a dimension, 2 groups along others; parts of 512 and of 2 groups."""
    local, groups, offset = [1] * dimensions, [2] * dimensions, [3] * dimensions
    local[dimension], groups[dimension], offset[dimension] = 255, 514, user_offset
    sizes = tuple(size * count for size, count in zip(local, groups))
    nd_range = NDRange(sizes, tuple(local), tuple(offset))
    counted = np.indices(padded(sizes, 1)[2::-1]).reshape(3, -1)[::-1]
    places = counted // np.array(padded(tuple(local), 1)[:3])[:, None]
    x, y, z = places
    ones = np.ones_like(x)
    totals = (514 + 1000 * sizes[dimension]) * ones
    told = [x + 1000 * (y + 1000 * z), totals, user_offset * ones, np.arange(nd_range.items)]
    expected = np.stack(told, axis=1).astype(np.uint64)
    return Short(nd_range, dimension, expected, places[dimension] >= 512)


def groups_told(
    devices: Sequence[OpenDevice], case: Short, source: str = GROUPS, *, whole: bool = False
) -> np.ndarray:
    """What the work-items of the second part write, which runs alone, or of both parts.

    A driver that has made machine code for a long part may take it for a short one too, and hide what
    it does wrong in code for short ones.
    """
    out = np.zeros((case.nd_range.items, 4), np.uint64)
    offset, sizes = padded(case.nd_range.offset, 0), padded(case.nd_range.global_size, 1)
    values = [out, *map(np.uint64, offset[:3]), *map(np.uint64, sizes[:2])]
    plan = plan_of(
        source.replace("DIMENSION", str(case.dimension)),
        "groups",
        case.nd_range,
        values,
        (512 / 514, 2 / 514),
        case.dimension,
        {0: Written(Merge.DIFFERENCE)},
    )
    start = case.nd_range.offset[case.dimension] + 512 * 255
    assert plan.parts[1].global_offset[case.dimension] == start
    parts = plan.parts if whole else plan.parts[1:]
    execute(replace(plan, parts=parts, options=NEWER), devices, values)
    return out if whole else out[case.is_second]


DIMENSION_OF = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize("user_offset", [0, 130560, 2**30 + 5])
@pytest.mark.parametrize(("dimension", "dimensions"), DIMENSION_OF)
def test_a_short_part_at_a_large_offset_knows_its_groups(
    devices: tuple[OpenDevice, ...], dimension: int, dimensions: int, user_offset: int
) -> None:
    """PoCL compiles launches under 65,535 items as if offsets fitted 16 bits."""
    if not know(devices, NEWER):
        pytest.skip("OpenCL C 3.0 is not known to a compiler here")
    case = short(dimension, dimensions, user_offset)
    assert np.array_equal(groups_told(devices, case), case.expected[case.is_second])
    assert np.array_equal(groups_told(devices, case, whole=True), case.expected)


@pytest.mark.parametrize("user_offset", [2**31, 2**32 - 255, 2**33 + 7])
@pytest.mark.parametrize(("dimension", "dimensions"), DIMENSION_OF)
def test_a_short_part_beyond_32_bits_knows_its_groups(
    halves: OpenPair, dimension: int, dimensions: int, user_offset: int
) -> None:
    case = short(dimension, dimensions, user_offset)
    assert np.array_equal(groups_told(halves.devices, case), case.expected[case.is_second])
    assert np.array_equal(groups_told(halves.devices, case, whole=True), case.expected)


@pytest.mark.parametrize(("dimension", "dimensions"), DIMENSION_OF)
def test_a_group_counted_from_the_parts_offset_alone_is_wrong_on_pocl(
    halves: OpenPair, monkeypatch: pytest.MonkeyPatch, dimension: int, dimensions: int
) -> None:
    """The mutant: equal on paper, wrong where the compiler takes an offset for a short number."""

    def from_the_offset(nd_range: NDRange, dimension: int) -> str:
        local, start = nd_range.local_size[dimension], nd_range.offset[dimension]
        return (
            f"get_group_id({dimension}) + (get_global_offset({dimension}) - (size_t){start}ul)"
            f" / (size_t){local}ul"
        )

    if not halves.devices[0].info.driver_version.startswith("3."):
        pytest.skip("seen with PoCL 3.0 and 3.1")
    case = short(dimension, dimensions, 0)
    expected = case.expected[case.is_second, 0] // np.uint64(1000**dimension) % np.uint64(1000)
    assert np.array_equal(groups_told(halves.devices, case, GROUP_ALONE)[:, 0], expected)
    monkeypatch.setattr(prelude, "_group_id", from_the_offset)
    assert not np.array_equal(groups_told(halves.devices, case, GROUP_ALONE)[:, 0], expected)


WIDE = """
kernel void wide(global ulong* out) {
    size_t i = (get_global_id(1) << 17) + get_global_id(0);
    if (!(i & 0xfffffff)) {
        out += 8 * (i >> 28);
        out[0] = get_global_linear_id();
        out[1] = get_group_id(0);
        out[2] = get_group_id(1);
        out[3] = get_num_groups(0);
        out[4] = get_num_groups(1);
        out[5] = get_global_size(0) * get_global_size(1);
    }
}
"""


def wide_expected(nd_range: NDRange) -> np.ndarray:
    places = np.arange(nd_range.items >> 28, dtype=np.uint64) << np.uint64(28)
    x, y = (places, 0 * places) if nd_range.dimensions == 1 else divmod(places, 1 << 17)[::-1]
    local, groups = (*nd_range.local_size, 1)[:2], (*nd_range.groups, 1)[:2]
    ones = np.ones_like(places)
    told = [places, x // local[0], y // local[1], groups[0] * ones, groups[1] * ones]
    return np.stack([*told, nd_range.items * ones, 0 * ones, 0 * ones], axis=1)


def run_wide(pair: OpenPair, nd_range: NDRange, cpu_share: float) -> tuple[Outcome, np.ndarray]:
    out = np.zeros((nd_range.items >> 28, 8), np.uint64)
    with Runtime(devices=pair) as runtime:
        outcome = runtime.run(
            WIDE,
            None,
            nd_range.global_size,
            nd_range.local_size,
            out,
            options=NEWER,
            cpu_share=cpu_share,
        )
    return outcome, out


@pytest.mark.slow
def test_eight_billion_work_items_in_a_row_are_split(halves: OpenPair) -> None:
    nd_range = NDRange.of((1 << 33,), (4096,))
    outcome, out = run_wide(halves, nd_range, 0.3)
    assert outcome.decision.is_split
    assert np.array_equal(out, wide_expected(nd_range))


@pytest.mark.slow
def test_eight_billion_work_items_in_a_square_are_split(intel_pair: OpenPair) -> None:
    """Intel's driver gets a small part: it runs each of them."""
    nd_range = NDRange.of((1 << 17, 1 << 16), (1 << 10, 4))
    outcome, out = run_wide(intel_pair, nd_range, 0.99)
    assert outcome.decision.is_split
    assert np.array_equal(out, wide_expected(nd_range))


@pytest.mark.slow
@pytest.mark.parametrize("cpu_share", [0.0, 0.5])
def test_ids_that_a_device_computes_wrongly_are_left_to_the_other(
    intel_pair: OpenPair, cpu_share: float
) -> None:
    nd_range = NDRange.of((1 << 33,), (4096,))
    outcome, out = run_wide(intel_pair, nd_range, cpu_share)
    assert [part.device for part in outcome.decision.plan.parts] == [0]
    assert [reason.code for reason in outcome.decision.reasons] == ["device-limit"]
    assert "reach 8589934591" in outcome.decision.reasons[0].detail
    assert np.array_equal(out, wide_expected(nd_range))


def test_intels_compiler_loses_ids_beyond_31_bits(intel_pair: OpenPair) -> None:
    """What `DeviceInfo.max_id_items` stands for is seen in a launch that is not split."""
    source = """
    kernel void k(global ulong* out, global const uint* d) {
        out[get_global_id(0) - 0x80000000ul] = get_global_id(*d);
    }"""
    out, dimension = np.zeros(64, np.uint64), np.zeros(1, np.uint32)
    right = np.arange(64, dtype=np.uint64) + np.uint64(2**31)
    nd_range = NDRange((64,), (64,), (2**31,))
    seen = []
    for device in intel_pair.devices:
        out[:] = 0
        written = {0: Written(Merge.DIFFERENCE)}
        plan = plan_of(source, "k", nd_range, [out, dimension], (1.0,), written=written)
        execute(plan, [device], [out, dimension])
        seen.append(np.array_equal(out, right))
    assert seen == [device.info.max_id_items > 2**31 for device in intel_pair.devices]
    assert seen == [True, False]


@pytest.mark.parametrize(
    "expression",
    [
        "get_group_id(0)",
        "get_group_id (0)",
        "get_group_id\n  ( 0 )",
        "GROUP(0)",
        "GROUP_NOW",
        "CALL(get_group_id)",
        "PASTE(group)(0)",
        "(int)get_group_id((a, 0)) + helper(0) - (int)helper(0)",
        "convert_int(get_group_id(next(&a) * 0)) + (a - 1)",
    ],
)
def test_the_group_is_right_however_it_is_written(pair: OpenPair, expression: str) -> None:
    source = f"""#define GROUP get_group_id
#define GROUP_NOW get_group_id(0)
#define CALL(f) f(0)
#define PASTE(what) get_##what##_id
uint next(int* a) {{ *a += 1; return *a; }}
size_t helper(uint d) {{ return get_group_id(d); }}
kernel void k(global int* out) {{
    int a = 0;
    int group = {expression};
    out[get_global_id(0)] = group;
}}"""
    values = [np.full(64, -1, np.int32)]
    plan = plan_of(source, "k", RANGE, values, written={0: Written(Merge.RANGE, 32)})
    execute(plan, pair.devices, values)
    assert np.array_equal(values[0], np.arange(64) // 8)


ACROSS_A_BARRIER = """
kernel void k(global ulong* out) {
    size_t item = (get_global_id(2) * 12 + get_global_id(1)) * 24 + get_global_id(0);
    local ulong group;
    if (get_local_id(0) == 0 && get_local_id(1) == 0 && get_local_id(2) == 0)
        group = get_group_id(0) + 10 * get_group_id(1) + 100 * get_group_id(2);
    barrier(CLK_LOCAL_MEM_FENCE);
    out[item] = 1000 * group;
    for (uint d = 0; d < get_work_dim(); d++) {
        out[item] += get_group_id(d);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}
"""


def groups_across_a_barrier(pair: OpenPair, dimension: int) -> bool:
    """Whether all work-items are told the groups that they are in."""
    nd_range = NDRange.of((24, 12, 6), (6, 4, 3))
    values = [np.zeros(nd_range.items, np.uint64)]
    written = {0: Written(Merge.DIFFERENCE)}
    plan = plan_of(ACROSS_A_BARRIER, "k", nd_range, values, (0.5, 0.5), dimension, written)
    execute(plan, pair.devices, values)
    z, y, x = np.indices((6, 12, 24)).reshape(3, -1) // np.array([[3], [4], [6]])
    return np.array_equal(values[0], 1000 * (x + 10 * y + 100 * z) + x + y + z)


@pytest.mark.parametrize("dimension", [0, 1, 2])
def test_the_group_is_one_value_across_barriers(pair: OpenPair, dimension: int) -> None:
    assert groups_across_a_barrier(pair, dimension)


@pytest.mark.parametrize("dimension", [0, 1, 2])
def test_a_group_made_of_each_items_own_id_is_miscompiled_by_pocl(
    halves: OpenPair, monkeypatch: pytest.MonkeyPatch, dimension: int
) -> None:
    """The mutant: equal on paper, and a value of each work-item, not of the group."""

    def from_the_id(nd_range: NDRange, dimension: int) -> str:
        local, start = nd_range.local_size[dimension], nd_range.offset[dimension]
        return f"(get_global_id({dimension}) - (size_t){start}ul) / (size_t){local}ul"

    if not halves.devices[0].info.driver_version.startswith("3."):
        pytest.skip("seen with PoCL 3.0")
    assert groups_across_a_barrier(halves, dimension)
    monkeypatch.setattr(prelude, "_group_id", from_the_id)
    assert not groups_across_a_barrier(halves, dimension)


def test_a_kernel_without_such_built_ins_keeps_its_text() -> None:
    source = (
        "kernel void k(global int* x) { x[get_global_id(0)] = get_local_id(0); } // get_group_id"
    )
    assert adapt(source, ("-DA=1",), RANGE, {"get_global_id"}) == Adapted(source, ("-DA=1",))


def test_what_the_analysis_found_is_handled_though_the_text_does_not_name_it() -> None:
    adapted = adapt("kernel void k() {}", (), RANGE, {"get_num_groups"})
    assert isinstance(adapted, Adapted)
    assert "#define get_num_groups(" in adapted.source


def test_an_option_that_names_a_built_in_counts_as_its_use() -> None:
    adapted = adapt("kernel void k() { GROUP; }", ("-DGROUP=get_group_id(0)",), RANGE, ())
    assert isinstance(adapted, Adapted)
    assert "#define get_group_id(" in adapted.source


@pytest.mark.parametrize(
    ("source", "options", "reason"),
    [
        ("#define get_group_id(x) 0\nget_group_id(0)", (), "own #define of get_group_id"),
        ("#  undef get_num_groups", (), "own #undef of get_num_groups"),
        ("size_t get_group_id(uint d);", (), "declares get_group_id itself"),
        ("size_t\nget_global_size(uint d) { return 1; }", (), "declares get_global_size itself"),
        ("get_group_id(0)", ("-D", "get_group_id(x)=0"), "options define get_group_id"),
        ("get_group_id(0)", ("-Dget_global_id(x)=0",), "options define get_global_id"),
        ('__asm__("mov %0, %ctaid.x;")', (), "inline assembly"),
        ("__spirv_BuiltInWorkgroupId(0)", (), "SPIR-V"),
        ("__builtin_amdgcn_workgroup_id_x()", (), "GPU built-ins"),
    ],
)
def test_a_program_that_no_macro_can_keep_true_is_declined(
    source: str, options: tuple[str, ...], reason: str
) -> None:
    adapted = adapt(source, options, RANGE, ())
    assert isinstance(adapted, NotAdaptable)
    assert reason in adapted.reason


@pytest.mark.parametrize(
    "header",
    [
        "#undef get_group_id\n#define get_group_id(d) 7\n",
        "#define get_group_id(d) 7\n",
        "#undef get_group_id\n",
        "#undef get_group_id\n#define get_group_id other\nsize_t other(uint d) { return d; }\n",
    ],
)
def test_a_header_that_replaces_a_macro_fails_the_build(
    pair: OpenPair, header: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("include")
    (folder / "mine.h").write_text(header)
    source = '#include "mine.h"\nkernel void k(global int* x) { x[0] = get_group_id(0); }'
    text = with_prelude(source, RANGE)
    for device in pair.devices:
        with pytest.raises(BuildError, match=r"get_group_id|function-like|other"):
            device.program(text, ("-w", f"-I{folder}"))


def test_built_ins_are_found_outside_comments_and_strings_only() -> None:
    source = r"""
    // get_num_groups(0) \
       get_global_size(0)
    /* get_global_offset(0) */
    constant char* s = "get_local_size(0)";
    kernel void k() { get_group_\
id(0); get_work_dim(); get_image_width(i); my_get_local_id(0); }"""
    assert built_ins_in(source) == {"get_group_id", "get_work_dim"}


@given(st.text(alphabet="\"'/*\\\n get_group_id(0)#define", max_size=60))
def test_any_text_is_answered(source: str) -> None:
    """Finding uses never fails, and a text without the name needs no prelude."""
    if not built_ins_in(source) & CHANGED_BY_A_SPLIT:
        assert adapt(source, (), RANGE, ()) == Adapted(source, ())


def test_build_errors_keep_the_users_lines(pair: OpenPair) -> None:
    source = "kernel void k(global int* x) {\n  x[0] = get_group_id(0);\n  x[1] = nothing;\n}"
    for device in pair.devices:
        with pytest.raises(BuildError, match=r"mine\.cl:3:10: error: "):
            device.program(with_prelude(source, RANGE), file_name="mine.cl")


def test_a_bound_on_an_id_less_the_offset_holds_on_every_device(intel_pair: OpenPair) -> None:
    """Intel's compiler gets it wrong where the offset comes from a function that returns a number."""
    source = (
        "kernel void k(global int *o, global const int *f) {"
        " int i = get_global_id(0) - get_global_offset(0);"
        " if (i >= 1 && i < 257) { int s = 0; for (int k = -1; k <= 1; k++) s += f[i + k]; o[i] = s; } }"
    )
    f = np.random.default_rng(5).integers(0, 99, 258).astype(np.int32)
    o = np.full(258, -1, np.int32)
    runtime = Runtime(devices=intel_pair)
    outcome = runtime.run(source, "k", (258,), (129,), o, f, offset=(5,), cpu_share=0.5)
    assert outcome.decision.is_split
    expected = np.full(258, -1, np.int32)
    expected[1:257] = f[:-2] + f[1:-1] + f[2:]
    np.testing.assert_array_equal(o, expected)
