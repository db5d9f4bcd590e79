"""Which launches are split, along which dimension, how each buffer merges, and why others are declined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from slice_oracle import bound_launch, codes, merges, verdict_of

from lb_runtime.analysis.facts import kernel_facts
from lb_runtime.analysis.judge import judge, written_arguments
from lb_runtime.analysis.reasons import REASONS
from lb_runtime.analysis.regions import Region
from lb_runtime.analysis.verdict import Merge, Splittable, Verdict
from lb_runtime.arguments import HostValue
from lb_runtime.kernel import look_at
from lb_runtime.launch import (
    BufferArgument,
    ImageArgument,
    Launch,
    LocalArgument,
    NDRange,
    ScalarArgument,
)
from predictor.frontend import compile_source

N = 64
X = np.zeros(4 * N, np.int32)
Y = np.zeros(4 * N, np.int32)
CL2 = ("-cl-std=CL2.0",)
RANGE, DIFFERENCE, NONE = Merge.RANGE, Merge.DIFFERENCE, Merge.NONE


def kernel(body: str, parameters: str = "global int *x, global int *y, int n") -> str:
    return f"kernel void k({parameters}) {{ int i = get_global_id(0); {body} }}"


def split(source: str, values: Sequence[HostValue], **how: object) -> Splittable:
    verdict = verdict_of(source, values, (N,), (8,), **how)  # type: ignore[arg-type]  # passed on
    assert isinstance(verdict, Splittable), verdict
    return verdict


def declined(
    source: str, *values: HostValue, options: tuple[str, ...] = (), local: int = 8
) -> list[str]:
    return codes(verdict_of(source, values, (N,), (local,), options=options))


SPLIT = {
    "an element for each item": ("y[i] = x[i];", RANGE),
    "elements in reverse": ("y[n - 1 - i] = x[i];", RANGE),
    "every third element": ("y[i * 3 + 1] = x[i];", RANGE),
    "elements behind a guard": ("if (i > 3 && i < n - 5) y[i] = x[i - 1];", RANGE),
    "its own element in place": ("y[i] = y[i] * 2 + x[i];", RANGE),
    "a block of elements in a loop": ("for (int j = 0; j < 4; j++) y[i * 4 + j] = x[j];", RANGE),
    "a block by a moving pointer": (
        "global int *p = y + i * 4; for (int j = 0; j < 4; j++) *p++ = j;",
        RANGE,
    ),
    "vectors": ("vstore4(vload4(i, x), i, y);", RANGE),
    "one element for each group": ("if (get_local_id(0) == 0) y[get_group_id(0)] = x[i];", RANGE),
    "rows by division and remainder": ("y[i / 8 * 8 + 7 - i % 8] = x[i];", RANGE),
    "data where data says": ("y[x[i]] = i;", DIFFERENCE),
    "rows with the range's stride": ("for (int j = i; j < n; j += 8) y[j] = x[j];", DIFFERENCE),
    "one value by many items": ("if (x[i] > 5) y[0] = 1;", DIFFERENCE),
    "digits put together again": ("y[(i & 56) + 7 - i % 8] = x[i / 8 % 8];", RANGE),
    "columns": ("y[i % 8 * 8 + i / 8] = x[i];", RANGE),
}


@pytest.mark.parametrize("what", SPLIT)
def test_a_kernel_that_writes_this_is_split(what: str) -> None:
    body, merge = SPLIT[what]
    assert merges(split(kernel(body), (X, Y, N)))["y"] is merge


def test_a_part_needs_what_it_reads_and_the_bytes_that_it_may_leave_unwritten() -> None:
    verdict = split(kernel("if (x[i]) y[i] = x[i + 2];"), (X, Y, N), shares=(0.5, 0.5))
    x, y = verdict.arguments[:2]
    assert [f.needs for f in x.footprints] == [Region.range(0, 136), Region.range(128, 264)]
    assert [f.leaves for f in x.footprints] == [Region.range(0, 0)] * 2
    assert [f.needs for f in y.footprints] == [Region.range(0, 128), Region.range(128, 256)]
    assert [f.leaves for f in y.footprints] == [Region.range(0, 128), Region.range(128, 256)]


def test_a_buffer_merged_by_difference_is_needed_whole() -> None:
    verdict = split(kernel("y[x[i]] = i;"), (X, Y, N))
    assert [f.needs for f in verdict.arguments[1].footprints] == [Region.range(0, Y.nbytes)] * 2


@pytest.mark.parametrize(
    ("index", "dimension"),
    [("r * w + c", 1), ("c * h + r", 0), ("(h - 1 - r) * w + c", 1)],
)
def test_the_dimension_is_the_one_whose_parts_lie_apart(index: str, dimension: int) -> None:
    source = (
        "kernel void k(global int *y, int w, int h) "
        f"{{ int c = get_global_id(0), r = get_global_id(1); y[{index}] = r; }}"
    )
    verdict = verdict_of(source, (Y, 16, 16), (16, 16), (4, 4))
    assert isinstance(verdict, Splittable)
    assert verdict.dimension == dimension
    assert merges(verdict)["y"] is RANGE


def test_three_dimensions_are_cut_along_the_slowest() -> None:
    source = (
        "kernel void k(global int *y, int w, int h) { int a = get_global_id(0),"
        " b = get_global_id(1), c = get_global_id(2); y[(c * h + b) * w + a] = a; }"
    )
    verdict = verdict_of(source, (Y, 4, 8), (4, 8, 8), (2, 2, 2))
    assert isinstance(verdict, Splittable)
    assert (verdict.dimension, merges(verdict)["y"]) == (2, RANGE)


def test_a_share_of_nothing_leaves_one_part() -> None:
    verdict = split(kernel("y[i] = x[i];"), (X, Y, N), shares=(0.0, 1.0))
    assert verdict.devices == (1,)
    assert len(verdict.slices) == 1


def test_more_than_two_parts_are_judged_as_two_are() -> None:
    verdict = split(kernel("y[i] = x[i];"), (X, Y, N), shares=(0.25, 0.5, 0.25))
    leaves = [footprint.leaves for footprint in verdict.arguments[1].footprints]
    assert leaves == [Region.range(0, 64), Region.range(64, 192), Region.range(192, 256)]


def test_a_user_offset_moves_the_ranges() -> None:
    verdict = verdict_of(
        kernel("y[i] = x[i - 3];"), (X, Y, N), (N,), (8,), offset=(3,), shares=(0.5, 0.5)
    )
    assert isinstance(verdict, Splittable)
    assert verdict.arguments[1].footprints[0].leaves == Region.range(12, 140)


def test_local_memory_and_barriers_do_not_stand_in_the_way() -> None:
    source = (
        "kernel void k(global int *x, global int *y, local int *t) { int l = get_local_id(0);"
        " t[l] = x[get_global_id(0)]; barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);"
        " local int sum; if (l == 0) sum = 0; barrier(CLK_LOCAL_MEM_FENCE); atomic_add(&sum, t[7 - l]);"
        " barrier(CLK_LOCAL_MEM_FENCE); y[get_global_id(0)] = sum; }"
    )
    assert merges(split(source, (X, Y, LocalArgument(32)))) == {"x": NONE, "y": RANGE, "t": None}


def test_helpers_that_are_not_inlined_are_followed() -> None:
    source = (
        "global int *__attribute__((noinline)) at(global int *p, int i) { return p + i; }"
        "int __attribute__((noinline)) item(void) { return get_global_id(0); }"
        "void __attribute__((noinline)) put(global int *p, int v) { *p = v; }"
        "kernel void k(global int *x, global int *y) { put(at(y, item()), *at(x, item() * 2)); }"
    )
    assert merges(split(source, (X, Y))) == {"x": NONE, "y": RANGE}


def test_a_pointer_that_is_one_of_two_buffers_counts_for_both() -> None:
    source = kernel("global int *p = n & 1 ? x : y; p[i] = n;")
    assert merges(split(source, (X, Y, N))) == {"x": RANGE, "y": RANGE, "n": None}


PING_PONG = {
    "two buffers in turn": (
        "global int *q = x, *r = y; for (int k = 0; k < n; k++)"
        " { q[i] = k; global int *o = q; q = r; r = o; }",
        {"x": RANGE, "y": RANGE, "n": None},
    ),
    "two buffers that move": (
        "global int *q = x + i * 2, *r = y; for (int k = 0; k < 2; k++)"
        " { *q = k; global int *o = q + 1; q = r + i; r = o; }",
        {"x": DIFFERENCE, "y": DIFFERENCE, "n": None},
    ),
}


@pytest.mark.parametrize("name", PING_PONG)
def test_pointers_that_change_places_are_followed(name: str) -> None:
    body, merged = PING_PONG[name]
    assert merges(split(kernel(body), (X, Y, N))) == merged


def test_one_memory_given_twice_is_split_where_it_is_only_read() -> None:
    source = kernel("y[i] = a[i] + b[63 - i];", "global int *a, global int *b, global int *y")
    assert merges(split(source, (X, X, Y)))["y"] is RANGE


DECLINED = {
    "crosses-parts": [
        kernel("if (i > 0 && i < n - 1) x[i] = x[i - 1] + x[i + 1]; y[i] = 0;"),
        kernel("y[i] = y[max(i - 1, 0)] + y[min(i + 1, n - 1)];"),
        kernel("y[i] = (i > 0 ? y[i - 1] : 0) + x[i];"),
        kernel("y[0]++;"),
        kernel("y[i] = x[i]; barrier(CLK_GLOBAL_MEM_FENCE); x[i] = y[n - 1 - i];"),
    ],
    "device-text": [
        "#ifdef __POCL__\n#define D 1\n#else\n#define D 2\n#endif\n" + kernel("y[i] = x[i] + D;")
    ],
    "global-atomic": [
        kernel("y[i] = atomic_add(x, i);"),
        kernel("atomic_inc(y); y[i + 1] = y[0];"),
        kernel("atomic_inc(y); if (x[i]) y[x[i]] = 1;"),
        kernel("atomic_inc(y + (x[i] & 7)); atomic_max(y + 3, i);"),
        kernel("atomic_max(y, i); atomic_max((global uint *)y, i);"),
        kernel("atomic_xchg(y, i);"),
        kernel("while (atomic_cmpxchg(y, 0, 1)) {} x[0] += i; atomic_xchg(y, 0);"),
        kernel("if (atomic_dec(y) == n) x[0] = 1;"),
        kernel("atomic_inc(y); while (y[0] < n) {} x[i] = i;"),
        kernel(
            "union { float f; int i; } a, b; do { a.f = *(global float *)y; b.f = a.f + x[i]; }"
            " while (atomic_cmpxchg(y, a.i, b.i) != a.i);"
        ),
    ],
    "global-fence": [kernel("y[i] = 1; mem_fence(CLK_GLOBAL_MEM_FENCE); y[i] = x[i];")],
    "printf": [kernel('y[i] = x[i]; if (i == 3) printf("%d", n);')],
    "same-location": [
        kernel("y[0] = i;"),
        kernel("y[get_local_id(0)] = x[i];"),
        kernel("if (x[i]) y[3] = 1; else y[3] = 2;"),
    ],
    "unknown-call": [
        "void other(global int *p);\n" + kernel("other(y + i);"),
    ],
    "unknown-pointer": [
        kernel("*(global int *)((ulong)y + 4 * i) = 1;"),
        "typedef union { global int *g; private int *p; } U;" + kernel("U u; u.g = y; u.p[i] = n;"),
        kernel("*(private int *)((ulong)y + 4 * i) = 1;"),
        "kernel void k(global int *x, global int *y, int n) { int i = get_global_id(0);"
        " global int *t[2] = {x, y}; t[x[i] & 1][i] = 1; }",
    ],
    "volatile": [
        kernel("x[i] = y[i];", "global int *x, volatile global int *y, int n"),
        "typedef struct { int a[8]; } S;"
        "kernel void k(global S *x, volatile global S *y, int n) { x[get_global_id(0)] = y[n]; }",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "source"), [(code, source) for code, sources in DECLINED.items() for source in sources]
)
def test_a_kernel_that_needs_one_device_is_declined(code: str, source: str) -> None:
    assert code in declined(source, X, Y, N)


@pytest.mark.parametrize(
    ("code", "source"),
    [
        (
            "global-atomic",
            "kernel void k(global atomic_int *y) { if (atomic_fetch_add(y, 1)) atomic_store(y, 0); }",
        ),
        ("global-atomic", "kernel void k(global atomic_int *y) { atomic_store(y, 1); }"),
        ("program-variable", "global int c; kernel void k(global int *y) { y[get_global_id(0)] = c; }"),
        (
            "program-variable",
            "global int c; void __attribute__((noinline)) f(void) { c = 1; }"
            "kernel void k(global int *y) { y[get_global_id(0)] = 1; f(); }",
        ),
        (
            "unknown-pointer",
            "struct S { struct S *next; int v; };"
            "kernel void k(global struct S *y) { y[get_global_id(0)].v = y->next->v; }",
        ),
        (
            "unknown-pointer",
            "kernel void k(global int *y) { int *g = y; ((private int *)g)[get_global_id(0)] = 3; }",
        ),
        ("pipe", "kernel void k(read_only pipe int y) { int v; read_pipe(y, &v); }"),
    ],
)  # fmt: skip
def test_what_opencl_2_adds_is_declined_where_it_needs_one_device(code: str, source: str) -> None:
    module = compile_source(source, CL2)
    facts = kernel_facts(module, source, CL2)
    launch = Launch("k", NDRange.of((N,), (8,)), (BufferArgument(1024, 0),))
    assert code in codes(judge(facts, launch, (0.5, 0.5)))


def test_generic_pointers_are_followed() -> None:
    source = (
        "int __attribute__((noinline)) f(int *p) { return *p; }"
        "kernel void k(global int *x, global int *y) { int i = get_global_id(0), t = i;"
        " y[i] = f(x + i) + f(&t); }"
    )
    assert merges(split(source, (X, Y), options=CL2)) == {"x": NONE, "y": RANGE}


WRITE = "write_imagei(m, (int2)({x}, {y}), (int4)(x[i], 0, 0, 0));"


def image_verdict(
    body: str, qualifier: str = "write_only", local: tuple[int, int] = (8, 4)
) -> Verdict:
    source = (
        f"kernel void k({qualifier} image2d_t m, global int *x) {{"
        f" int i = get_global_id(0), j = get_global_id(1); {body} }}"
    )
    facts = kernel_facts(compile_source(source), source)
    image = ImageArgument((40, 16), 16, 0, qualifier == "write_only")
    launch = Launch("k", NDRange.of((32, 16), local), (image, BufferArgument(X.nbytes, 1)))
    return judge(facts, launch, (0.5, 0.5))


def test_an_image_that_is_read_is_every_parts() -> None:
    read = "x[j * 32 + i] = read_imagei(m, (int2)(i, x[i])).x;"
    verdict = image_verdict(read.replace("x[i]", "j"), "read_only")
    assert merges(verdict) == {"m": NONE, "x": RANGE}


def test_an_image_that_is_written_falls_into_boxes() -> None:
    verdict = image_verdict(WRITE.format(x="i + 3", y="15 - j"))
    assert isinstance(verdict, Splittable)
    assert verdict.arguments[0].merge is RANGE
    assert verdict.arguments[0].boxes == (((3, 8), (32, 8)), ((3, 0), (32, 8)))
    flat = image_verdict(WRITE.format(x="i", y="j / 16"))
    assert isinstance(flat, Splittable)
    assert (flat.dimension, flat.arguments[0].boxes[1]) == (0, ((16, 0), (16, 1)))


@pytest.mark.parametrize("place", [("i", "x[j]"), ("i % 4", "3"), ("i", "get_local_id(1)")])
def test_pixels_that_parts_may_share_are_declined(place: tuple[str, str]) -> None:
    local = (32, 4)
    assert codes(image_verdict(WRITE.format(x=place[0], y=place[1]), local=local)) == ["image"]


def test_pixels_outside_of_an_image_are_nobodys() -> None:
    verdict = image_verdict(WRITE.format(x="i + 100", y="j"))
    assert isinstance(verdict, Splittable)
    assert verdict.arguments[0].boxes == (((0, 0), (0, 0)),) * 2


def test_arguments_that_share_a_memory_are_one_buffer() -> None:
    own = split(kernel("y[i] = x[i] + 1;"), (X, X, N), shares=(0.5, 0.5))
    assert merges(own) == {"x": RANGE, "y": RANGE, "n": None}
    assert own.arguments[0].footprints == own.arguments[1].footprints
    assert declined(kernel("y[i] = x[n - 1 - i];"), X, X, N) == ["crosses-parts"]
    cast = "((global int *)x)[i] = y[i + 1] + 1;"
    parameters = "global const int *x, global const int *y, int n"
    assert declined(kernel(cast, parameters), X, X, N) == ["crosses-parts"]


def test_sub_buffers_are_parts_of_one_memory() -> None:
    facts = kernel_facts(compile_source(kernel("y[i] = x[i];")), "")

    def parts(start_bytes: int) -> Verdict:
        x = BufferArgument(4 * N, 0)
        y = BufferArgument(4 * N, 0, start_bytes)
        arguments = (x, y, ScalarArgument(np.int32(N)))
        return judge(facts, Launch("k", NDRange.of((N,), (8,)), arguments), (0.5, 0.5))

    apart = parts(4 * N)
    assert isinstance(apart, Splittable)
    footprint = apart.arguments[1].footprints[1]
    assert footprint.leaves == Region.range(4 * N * 3 // 2, 4 * N * 2)
    assert footprint.needs == Region.range(4 * N // 2, 4 * N)
    assert codes(parts(4)) == ["crosses-parts"]


ATOMICS = {
    "a histogram": ("atomic_inc(y + (x[i] & 7));", [("add", 0, 4 * 8, 4)]),
    "sums at places that are known": (
        "atomic_add(y, x[i]); atomic_sub(y + 1, 2);", [("add", 0, 4, 4), ("add", 4, 8, 4)]
    ),
    "several kinds apart": (
        "atomic_min(y, i); atomic_max(y + 1, i); atomic_or((global uint *)y + 2, i);",
        [("min", 0, 4, 4), ("max", 4, 8, 4), ("or", 8, 12, 4)],
    ),
    "64 bits": (
        "atom_add((global long *)y + 1, (long)i);", [("add", 8, 16, 8)]
    ),
    "in a loop": (
        "for (int j = 0; j < 3; j++) atomic_xor(y + j, i);", [("xor", 0, 12, 4)]
    ),
    "in a function": (
        "add(y + 2);", [("add", 8, 12, 4)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ATOMICS)
def test_integer_atomics_whose_results_are_unused_are_combined(name: str) -> None:
    body, zones = ATOMICS[name]
    source = (
        "#pragma OPENCL EXTENSION cl_khr_int64_base_atomics : enable\n"
        "void __attribute__((noinline)) add(global int *p) { atomic_add(p, 1); }\n"
    ) + kernel(body)
    y = split(source, (X, Y, N)).arguments[1]
    assert y.merge is Merge.ATOMIC
    assert [(z.operation, z.start, z.stop, z.width_bytes) for z in y.zones] == zones


def test_unsigned_minima_are_told_from_signed_ones() -> None:
    source = kernel("atomic_min(y, i); atomic_min((global uint *)y + 1, i);")
    zones = split(source, (X, Y, N)).arguments[1].zones
    assert [zone.is_signed for zone in zones] == [True, False]


UNSHOWN = {
    "data guards the write": "if (x[i] > 3) y[i] = y[n - 1 - i];",
    "data chooses the place": "y[x[i]] = y[x[i + 1]];",
    "data chooses what is read": "y[i] = y[x[i]];",
}


@pytest.mark.parametrize("name", UNSHOWN)
def test_what_may_be_a_race_is_split_unless_proof_is_asked_for(name: str) -> None:
    source = kernel(UNSHOWN[name])
    split(source, (X, Y, N))
    whole = look_at(source)
    launch, _ = bound_launch(whole, (X, Y, N), (N,), (8,))
    assert codes(judge(whole.facts, launch, (0.5, 0.5), strict=True)) == ["data-dependent"]


RACE_FREE = {
    "colours": "if ((i + n) % 2) y[i] = y[max(i - 1, 0)] + y[min(i + 1, n - 1)];",
    "butterflies": "int a = i / 4 * 8 + i % 4; int t = y[a]; y[a] = y[a + 4]; y[a + 4] = t;",
    "butterflies across the cut": "int t = y[i]; y[i] = y[i + n]; y[i + n] = t;",
    "even from odd": "y[2 * i] = y[2 * i + 1];",
    "one value by all": "y[0] = n * 3;",
    "one float by all": "*(global float *)y = n * 0.5f + *(global float *)x;",
    "a copy by many": "for (int j = i; j < n; j += 8) y[j] = x[j] * 2;",
}


@pytest.mark.parametrize("name", RACE_FREE)
def test_what_looks_like_a_race_to_intervals_is_split(name: str) -> None:
    split(kernel(RACE_FREE[name]), (X, Y, N))


def test_the_same_value_is_not_taken_from_what_is_written() -> None:
    assert declined(kernel("y[0] = y[1]; y[1] = i;"), X, Y, N) != []
    assert declined(kernel("int j = i % 8; y[j] = x[i];"), X, Y, N) == ["same-location"]


def test_equal_values_that_overlap_in_part_are_different() -> None:
    unaligned = "typedef struct __attribute__((packed)) { int v; } P;" + kernel(
        "((global P *)((global char *)y + 2 * (i % 2)))->v = n;"
    )
    assert declined(unaligned, X, Y, N) == ["same-location"]
    aligned = "typedef struct __attribute__((packed)) { int v; } P;" + kernel(
        "((global P *)((global char *)y + 4 * (i % 2)))->v = n;"
    )
    split(aligned, (X, Y, N))


def test_a_single_group_is_declined() -> None:
    assert declined(kernel("y[i] = x[i];"), X, Y, N, local=N) == ["one-group"]


def test_every_code_of_a_declined_launch_has_a_text() -> None:
    assert set(DECLINED) <= set(REASONS)


def test_sizes_beyond_any_device_are_judged_by_value() -> None:
    source = "kernel void k(global char *y) { y[get_global_id(0)] = 1; }"
    facts = kernel_facts(compile_source(source), source)
    items = 1 << 36
    launch = Launch("k", NDRange.of((items,), (256,)), (BufferArgument(items, 0),))
    verdict = judge(facts, launch, (0.5, 0.5))
    assert merges(verdict)["y"] is RANGE
    narrow = source.replace("get_global_id(0)", "(int)get_global_id(0)")
    facts = kernel_facts(compile_source(narrow), narrow)
    assert merges(judge(facts, launch, (0.5, 0.5)))["y"] is DIFFERENCE


def test_the_arguments_that_a_kernel_writes_are_told() -> None:
    def written(source: str) -> tuple[bool, ...]:
        facts = kernel_facts(compile_source(source), source)
        arguments = (BufferArgument(1024, 0), BufferArgument(1024, 1), ScalarArgument(np.int32(N)))
        return written_arguments(facts, Launch("k", NDRange.of((N,), (8,)), arguments))

    assert written(kernel("y[i] = x[i];")) == (False, True, False)
    assert written(kernel("atomic_inc(y); y[i] = x[i];")) == (False, True, False)
    parameters = "global const int *x, global const int *y, int n"
    cast = kernel("((volatile global int *)y)[i] = x[i];", parameters)
    assert written(cast) == (False, True, True)
    hidden = "#ifdef __POCL__\n#define D x[0] = 1;\n#else\n#define D\n#endif\n" + kernel(
        "D y[i] = x[i];"
    )
    assert written(hidden) == (True, True, True)


def test_a_dimension_that_cannot_be_cut_at_the_shares_gives_way_to_one_that_can() -> None:
    source = (
        "kernel void k(global int *x, global int *y, int n)"
        "{ y[get_global_id(0) * 5 + get_global_id(1)] = n; }"
    )
    facts = kernel_facts(compile_source(source), source)
    buffers = BufferArgument(1024, 0), BufferArgument(1024, 1), ScalarArgument(np.int32(N))
    for shape in ((2, 5), (5, 2)):
        launch = Launch("k", NDRange.of(shape, (1, 1)), buffers)
        verdict = judge(facts, launch, (0.78, 0.22))
        assert isinstance(verdict, Splittable)
        assert (verdict.dimension, len(verdict.slices)) == (shape.index(5), 2)


def test_functions_are_what_they_do_whatever_their_names() -> None:
    for name in ("atom_charge", "atomic_store_it", "enqueue_item", "pipeline", "my_sub_group"):
        source = (
            f"void __attribute__((noinline)) {name}(global int *p, global const int *q, int i)"
            "{ p[i] = q[i]; }" + kernel(f"{name}(y, x, i);")
        )
        assert merges(split(source, (X, Y, N))) == {"x": NONE, "y": RANGE, "n": None}
        constants = (
            f"int __attribute__((noinline)) {name}(constant int *q, int i) {{ return q[i]; }}"
            + kernel(f"y[i] = {name}(q, i);", "constant int *q, global int *y")
        )
        needs = split(constants, (X, Y), shares=(0.5, 0.5)).arguments[0].footprints[0].needs
        assert needs == Region.range(0, 4 * N // 2)


def test_atomics_at_the_end_of_a_buffer_that_is_no_whole_number_of_integers() -> None:
    source = kernel("atomic_inc(y + x[i]);")
    odd = np.zeros(1001, np.uint8)
    (zone,) = split(source, (X, odd, N)).arguments[1].zones
    assert (zone.start, zone.stop) == (0, 1000)


OVERLAPS = {
    "vectors": "vstore2((int2)(i, 2 * i), 0, y + i);",
    "wide integers": "*(global long *)(y + i) = i;",
    "after a loop": "int s = 0; for (int j = 0; j < n; j++) s += x[j]; x[i] = s;",
    "a sum by all groups": (
        "local int t[8]; int l = get_local_id(0); t[l] = x[i]; for (int s = 4; s > 0; s >>= 1)"
        "{ barrier(CLK_LOCAL_MEM_FENCE); if (l < s) t[l] += t[l + s]; } if (l == 0) y[0] = t[0];"
    ),
}


@pytest.mark.parametrize("name", OVERLAPS)
def test_meetings_are_found_where_first_bytes_differ_and_past_loops(name: str) -> None:
    assert declined(kernel(OVERLAPS[name]), X, Y, N) in (["same-location"], ["crosses-parts"])


NOT_SURELY_TOUCHED = {
    "a count from data": (
        "local int t[8]; event_t e = async_work_group_copy(y + get_group_id(0) * 4, t, x[i] & 1, 0);"
        " wait_group_events(1, &e); y[get_group_id(0) * 4 + 2] = 5;"
    ),
    "a memset by data": (
        "int m = x[i] & 3; for (int k = 0; k < m; k++) ((global char *)y)[i * 4 + k] = 0;"
    ),
}


@pytest.mark.parametrize("name", NOT_SURELY_TOUCHED)
def test_what_may_be_touched_shows_no_race(name: str) -> None:
    split(kernel(NOT_SURELY_TOUCHED[name]), (X, Y, N))


def test_values_by_address_count_within_one_argument() -> None:
    source = kernel("x[i] = i; y[i] = i;")
    memory = np.zeros(2 * N, np.int32)
    assert declined(source, memory[:N], memory[N // 2 : N // 2 + N], N) == ["same-location"]
