"""Work-item built-ins answer inside a part as they do in the whole launch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitting import Written, plan_of, with_prelude

from lb_runtime.analysis.verdict import Merge
from lb_runtime.contexts import OpenPair
from lb_runtime.errors import BuildError
from lb_runtime.execute import execute
from lb_runtime.launch import NDRange
from lb_runtime.prelude import CHANGED_BY_A_SPLIT, Adapted, NotAdaptable, adapt, built_ins_in

RANGE = NDRange.of((64,), (8,))

# Each work-item writes, for four dimensions, everything that it is told about itself.
TOLD = """
size_t told(uint what, uint d) {
    switch (what) {
        case 0: return get_global_id(d);
        case 1: return get_global_size (d);
        case 2: return get_group_id( (d) );
        case 3: return get_num_groups(d);
        case 4: return get_global_offset(d);
        case 5: return get_local_id(d);
        case 6: return get_local_size(d);
        default: return get_work_dim();
    }
}
kernel void report(global ulong* out, ulong ox, ulong oy, ulong oz, ulong sx, ulong sy) {
    size_t item = ((get_global_id(2) - oz) * sy + (get_global_id(1) - oy)) * sx
                + get_global_id(0) - ox;
    for (uint what = 0; what < 8; what++)
        for (uint d = 0; d < 4; d++)
            // PoCL itself gives a fourth dimension a local size of 0, where 1 is specified.
            out[(item * 8 + what) * 4 + d] = what == 6 && d == 3 ? 1 : told(what, d);
}
"""


def padded(sizes: tuple[int, ...], filler: int) -> list[int]:
    return [*sizes, filler, filler, filler][:4]


def expected_report(nd_range: NDRange) -> np.ndarray:
    """Shape: (items in linear order, 8 built-ins, 4 dimensions); OpenCL 1.2, section 6.12.1."""
    sizes, local = padded(nd_range.global_size, 1), padded(nd_range.local_size, 1)
    offset = np.array(padded(nd_range.offset, 0), np.uint64)
    counted = np.indices(sizes[2::-1]).reshape(3, -1)[::-1].T
    counted = np.pad(counted, ((0, 0), (0, 1))).astype(np.uint64)
    constant = np.ones_like(counted)
    return np.stack(
        [
            counted + offset,
            constant * np.array(sizes, np.uint64),
            counted // np.array(local, np.uint64),
            constant * np.array(padded(nd_range.groups, 1), np.uint64),
            constant * offset,
            counted % np.array(local, np.uint64),
            constant * np.array(local, np.uint64),
            constant * np.uint64(nd_range.dimensions),
        ],
        axis=1,
    )


def report(pair: OpenPair, nd_range: NDRange, dimension: int, share: float) -> np.ndarray:
    out = np.full((nd_range.items, 8, 4), 2**64 - 1, np.uint64)
    offset, sizes = padded(nd_range.offset, 0), padded(nd_range.global_size, 1)
    values = [out, *map(np.uint64, offset[:3]), *map(np.uint64, sizes[:2])]
    plan = plan_of(
        TOLD,
        "report",
        nd_range,
        values,
        (share, 1 - share),
        dimension,
        {0: Written(Merge.DIFFERENCE)},
    )
    execute(plan, pair.devices, values)
    return out


@pytest.mark.parametrize(
    ("global_size", "local_size", "offset"),
    [
        ((64,), (8,), (0,)),
        ((66,), (3,), (1000,)),
        ((24, 10), (4, 5), (0, 0)),
        ((24, 10), (4, 5), (7, 70001)),
        ((6, 9, 8), (3, 3, 2), (0, 0, 0)),
        ((6, 9, 8), (3, 3, 2), (130560, 3, 2**20)),
        ((64,), (8,), (2**31 - 64,)),
    ],
)
def test_every_built_in_is_true_inside_each_part(
    pair: OpenPair,
    global_size: tuple[int, ...],
    local_size: tuple[int, ...],
    offset: tuple[int, ...],
) -> None:
    nd_range = NDRange(global_size, local_size, offset)
    for dimension in range(nd_range.dimensions):
        assert np.array_equal(report(pair, nd_range, dimension, 0.4), expected_report(nd_range))


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
    assert np.array_equal(report(pair, nd_range, dimension, share), expected_report(nd_range))


GROUPS = """
kernel void groups(global ulong* out) {
    size_t i = get_global_id(0) - get_global_offset(0);
    out[i] = get_group_id(0) * 1000000 + get_num_groups(0);
}
"""


@pytest.mark.parametrize("user_offset", [0, 130560, 2**30 + 5])
def test_a_short_part_at_a_large_offset_knows_its_groups(pair: OpenPair, user_offset: int) -> None:
    """PoCL compiles launches under 65,535 items as if offsets fitted 16 bits."""
    items, local = 255 * 1000, 255
    for first, second in ((512 / 1000, 488 / 1000), (0.998, 0.002)):
        values = [np.zeros(items, np.uint64)]
        plan = plan_of(
            GROUPS,
            "groups",
            NDRange((items,), (local,), (user_offset,)),
            values,
            (first, second),
            written={0: Written(Merge.RANGE, 8 * local)},
        )
        assert plan.parts[1].global_offset[0] == user_offset + round(first * 1000) * local
        execute(plan, pair.devices, values)
        assert np.array_equal(values[0], np.arange(items) // local * 1000000 + 1000)


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


@pytest.mark.parametrize("dimension", [0, 1, 2])
def test_the_group_is_one_value_across_barriers(pair: OpenPair, dimension: int) -> None:
    """PoCL 3.0 miscompiles this kernel where the group id is made of each work-item's own ids."""
    nd_range = NDRange.of((24, 12, 6), (6, 4, 3))
    values = [np.zeros(nd_range.items, np.uint64)]
    written = {0: Written(Merge.DIFFERENCE)}
    plan = plan_of(ACROSS_A_BARRIER, "k", nd_range, values, (0.5, 0.5), dimension, written)
    execute(plan, pair.devices, values)
    z, y, x = np.indices((6, 12, 24)).reshape(3, -1) // np.array([[3], [4], [6]])
    assert np.array_equal(values[0], 1000 * (x + 10 * y + 100 * z) + x + y + z)


def test_a_linear_global_id_counts_the_whole_launch(intel_pair: OpenPair) -> None:
    """Only Intel's driver knows OpenCL C 2.0 here; the text of ours asks for nothing newer than 1.0."""
    source = """
    kernel void k(global ulong* out) { size_t i = get_global_linear_id(); out[i] = i; }"""
    nd_range = NDRange((12, 6, 4), (3, 2, 2), (5, 6, 70000))
    values = [np.zeros(nd_range.items, np.uint64)]
    plan = plan_of(
        source, "k", nd_range, values, dimension=2, written={0: Written(Merge.DIFFERENCE)}
    )
    execute(plan, intel_pair.devices, values)
    assert np.array_equal(values[0], np.arange(nd_range.items))


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


def test_ids_beyond_31_bits_are_declined() -> None:
    source = "kernel void k(global int* x) { x[get_global_id(0)] = 1; }"
    assert isinstance(adapt(source, (), NDRange((64,), (8,), (2**31 - 64,)), ()), Adapted)
    declined = adapt(source, (), NDRange((8, 64), (8, 8), (0, 2**31 - 56)), ())
    assert isinstance(declined, NotAdaptable)
    assert "dimension 1 reach 2147483655" in declined.reason


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
