"""Which kernels' values are the same on every device, and which instruction of the others is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lb_runtime.analysis import exact_builtins, exactness, value_flow
from lb_runtime.analysis.reasons import Reason
from lb_runtime.analysis.value_flow import ValueFlow
from lb_runtime.kernel import look_at
from predictor import ir

PARAMETERS = (
    "__global float *a, __global float *b, __global float *c, __global int *k, __global double *d, "
    "__local float *s, int n"
)
ROUNDED_DIVISION = ("-cl-fp32-correctly-rounded-divide-sqrt",)
CONTRACT_OFF = "#pragma OPENCL FP_CONTRACT OFF\n"


def kernel_of(body: str, before: str = "") -> str:
    """A kernel whose body starts in the line after `before`."""
    return f"{before}__kernel void f({PARAMETERS}) {{ size_t i = get_global_id(0);\n{body}\n}}"


def dependence(source: str, options: tuple[str, ...] = ()) -> Reason | None:
    return look_at(source, options, "f").facts.device_dependence


SAME_EVERYWHERE = [
    # Moves, comparisons and selections.
    "c[i] = a[n - 1 - i];",
    "c[i] = a[i] < b[i] ? b[i] : a[i];",
    "k[i] = isnan(a[i]) + isless(a[i], b[i]) + signbit(a[i]) + any((int2)(n, k[i]));",
    "c[i] = select(a[i], b[i], k[i]) + bitselect(a[n], a[i], b[i]);",
    "k[i] = as_int(a[i]);",
    "c[i] = fabs(copysign(a[i], b[i]));",
    "vstore4(shuffle(vload4(i, a), (uint4)(3, 2, 1, 0)), i, c);",
    "s[get_local_id(0)] = a[i]; barrier(CLK_LOCAL_MEM_FENCE); c[i] = s[0];",
    "event_t e = async_work_group_copy(s, a, 16, 0); wait_group_events(1, &e); c[i] = s[n & 15];",
    # Single operations, correctly rounded.
    "c[i] = a[i] + b[i] - 1.5f;",
    "c[i] = a[i] * b[i] * 3.0f;",
    "c[i] = -a[i];",
    "c[i] = fma(a[i], b[i], c[i]);",
    "c[i] = floor(a[i]) + ceil(b[i]) + trunc(a[i]) + rint(b[i]) + round(a[i]);",
    "c[i] = remainder(a[i], b[i]) + nextafter(a[i], b[i]) + fdim(a[i], b[i]);",
    "c[i] = ldexp(a[i], 3); a[i] = logb(b[i]); b[i] = sign(a[i]);",
    "float whole; int e; c[i] = modf(a[i], &whole); b[i] = whole; a[i] = frexp(b[i], &e); k[i] = e;",
    "d[i] = d[i] / 3.0; d[i] = sqrt(d[i]);",
    "float2 t = vload2(i, a) + vload2(i, b); vstore2(t, i, c);",
    # Conversions.
    "c[i] = n; d[i] = a[i]; c[i] = (float)d[i]; c[i] = convert_float_rtz(n);",
    "k[i] = (int)a[i];",
    "k[i] = convert_int_sat(k[i] + 1L) + convert_uchar(n);",
    "c[i] = vload_half(i, (__global half *)a); vstore_half_rtz(a[i], i, (__global half *)b);",
    # Integers.
    "k[i] = n / (k[i] | 1) + mul_hi(n, k[i]) + rotate(n, 3) + clz(n) + min(n, 4) + clamp(n, 1, 5);",
    "k[i] = mul24((int)get_local_id(0), 100) + mad24(n & 0xff, (int)(short)k[i], n);",
    "__local int sum; if (!get_local_id(0)) sum = 0; barrier(CLK_LOCAL_MEM_FENCE);\n"
    "atomic_add(&sum, n); atomic_max(&sum, n); barrier(CLK_LOCAL_MEM_FENCE); k[i] = sum;",
    # Products and sums that never meet.
    "c[i] = a[i] * 2.5f; d[i] = d[i] + 1.0;",
    "float p[4]; for (int j = 0; j < 4; j++) p[j] = a[i + j] + 1.0f; c[i] = p[n & 3] * a[i];",
    "s[n] = a[i] + 1.0f; c[i] = s[n] * 2.5f;",
    "for (int j = 0; j < n; j++) { c[j] = c[j] * a[i]; b[j] = b[j] + a[i]; }",
]


@pytest.mark.parametrize("body", SAME_EVERYWHERE)
def test_what_is_the_same_on_every_device(body: str) -> None:
    assert dependence(kernel_of(body)) is None


DEPENDENT = [
    ("c[i] = a[i] * b[i] + c[i];", "fmuladd", 2),
    ("c[i] = a[i];\nc[i] += a[i] * b[i];", "fmuladd", 3),
    ("c[i] = a[i] / b[i];", "fdiv", 2),
    ("c[i] = a[i];\nc[i] = sqrt(b[i]);", "sqrt", 3),
    ("c[i] = native_sin(a[i]);", "native_sin", 2),
    ("c[i] = half_exp(a[i]);", "half_exp", 2),
    ("c[i] = mad(a[i], b[i], 1.0f);", "mad", 2),
    ("d[i] = log(d[i]);", "log", 2),
    ("c[i] = dot(vload4(0, a), vload4(0, b));", "dot", 2),
    ("vstore3(cross(vload3(0, a), vload3(0, b)), 0, c);", "cross", 2),
    ("c[i] = length(vload2(0, a)) + distance(a[i], b[i]);", "length", 2),
    ("vstore2(normalize(vload2(0, a)), 0, c);", "normalize", 2),
    ("c[i] = mix(a[i], b[i], 0.5f);", "mix", 2),
    ("c[i] = smoothstep(0.0f, 1.0f, a[i]);", "smoothstep", 2),
    ("c[i] = step(a[i], b[i]);", "step", 2),
    ("c[i] = radians(a[i]);", "radians", 2),
    ("c[i] = fmin(a[i], b[i]);", "fmin", 2),
    ("c[i] = fmax(a[i], 0.0f);", "fmax", 2),
    ("c[i] = max(a[i], b[i]);", "max", 2),
    ("c[i] = clamp(a[i], 0.0f, 1.0f);", "clamp", 2),
    ("float whole; c[i] = fract(a[i], &whole);", "fract", 2),
    ("c[i] = fmod(a[i], b[i]);", "fmod", 2),
    ("k[i] = ilogb(a[i]);", "ilogb", 2),
    ("int q; c[i] = remquo(a[i], b[i], &q);", "remquo", 2),
    ("k[i] = mul24(n, k[i]);", "mul24", 2),
    ("k[i] = mad_sat(n, n, k[i]);", "mad_sat", 2),
    ("k[i] = convert_int(a[i]);", "convert_int", 2),
    ("k[i] = convert_uchar_sat(a[i]);", "convert_uchar_sat", 2),
    ("k[i] = (int)(size_t)&a[i];", "ptrtoint", 2),
    ("k[i] = as_int(a[i] + b[i]) & n;", "a cast of its bits", 2),
    ("k[i] = as_int(a[i] + b[i]);", "a store to a buffer of integers", 2),
    ("k[i] = signbit(a[i] * b[i]);", "signbit", 2),
    ("c[i] = copysign(1.0f, a[i] - b[i]);", "copysign", 2),
    ("s[n] = a[i] + 1.0f;\nk[i] = ((__local int *)s)[n];", "a load as another type", 3),
    ("__local int first;\nk[i] = atomic_inc(&first);", "atomic_inc", 3),
    ("__local int last;\natomic_xchg(&last, n); k[i] = last;", "atomic_xchg", 3),
    ("k[i] = atomic_cmpxchg(&((__local int *)s)[0], 0, n);", "atomic_cmpxchg", 2),
]


@pytest.mark.parametrize(("body", "name", "line"), DEPENDENT)
def test_what_depends_on_the_device_is_named_with_its_line(body: str, name: str, line: int) -> None:
    reason = dependence(kernel_of(body))
    assert reason is not None
    assert (reason.code, reason.line) == ("device-dependent", line)
    assert reason.detail.split(":")[0] == name


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("write_imagei(to, (int2)(i, 0), read_imagei(from, nearest, (int2)(i, 0)));", ""),
        ("write_imageui(to, (int2)(i, 0), (uint4)(get_image_width(from)));", ""),
        (
            "write_imagei(to, (int2)(i, 0), read_imagei(from, nearest, (float2)(i, 0)));",
            "read_imagei",
        ),
        (
            "write_imagei(to, (int2)(i, 0), (int4)(read_imagef(from, (int2)(i, 0)).x > 0));",
            "read_imagef",
        ),
        ("write_imagef(to, (int2)(i, 0), (float4)(1));", "write_imagef"),
    ],
)
def test_images_of_integers_are_exact_at_integer_coordinates(body: str, name: str) -> None:
    source = (
        "__constant sampler_t nearest = CLK_NORMALIZED_COORDS_FALSE | CLK_FILTER_NEAREST;\n"
        "__kernel void f(__read_only image2d_t from, __write_only image2d_t to) "
        f"{{ int i = get_global_id(0); {body} }}"
    )
    reason = dependence(source)
    assert (reason.detail.split(":")[0] if reason else "") == name


def test_the_first_line_is_named() -> None:
    reason = dependence(kernel_of("c[i] = a[i] + 1.0f;\nc[i] /= b[i];\nc[i] = sin(c[i]);"))
    assert reason is not None
    assert (reason.line, reason.detail[:4]) == (3, "fdiv")


def test_a_function_that_is_never_called_does_not_count() -> None:
    assert dependence(kernel_of("c[i] = a[i];", "float g(float x) { return sin(x); }\n")) is None


def test_another_kernel_does_not_count() -> None:
    other = "__kernel void g(__global float *x) { x[0] = sin(x[0]); }\n"
    assert dependence(kernel_of("c[i] = a[i];", other)) is None


def test_a_function_without_a_body_is_not_known() -> None:
    reason = dependence(kernel_of("c[i] = mine(a[i]);", "float mine(float x);\n"))
    assert reason is not None
    assert reason.detail == "mine: nothing is known of a function without a body"


@pytest.mark.parametrize("body", ["c[i] = a[i] / b[i];", "c[i] = sqrt(a[i]);"])
def test_an_option_makes_division_and_roots_of_floats_exact(body: str) -> None:
    assert dependence(kernel_of(body)) is not None
    assert dependence(kernel_of(body), ROUNDED_DIVISION) is None


@pytest.mark.parametrize(
    "option",
    [
        "-cl-fast-relaxed-math",
        "-cl-unsafe-math-optimizations",
        "-cl-finite-math-only",
        "-cl-no-signed-zeros",
        "-cl-denorms-are-zero",
        "-cl-nv-maxrregcount=32",
    ],
)
def test_under_options_that_relax_arithmetic_nothing_of_floats_is_exact(option: str) -> None:
    reason = dependence(kernel_of("c[i] = a[i] + b[i];"), (option,))
    assert reason is not None
    assert dependence(kernel_of("c[i] = a[i] < b[i];"), (option,)) is not None
    assert dependence(kernel_of("k[i] = n + 1;"), (option,)) is None


@pytest.mark.parametrize(
    "option", ["-w", "-cl-std=CL1.1", "-DN=4", "-cl-single-precision-constant"]
)
def test_other_options_change_nothing(option: str) -> None:
    assert dependence(kernel_of("c[i] = a[i] + b[i];"), (option,)) is None


def test_without_contraction_products_may_be_added() -> None:
    body = "float t = a[i] * b[i];\nc[i] = t + a[i] * 3.0f;"
    assert dependence(kernel_of(body)) is not None
    assert dependence(kernel_of(body, CONTRACT_OFF)) is None
    reason = dependence(kernel_of(body, CONTRACT_OFF), ("-cl-mad-enable",))
    assert reason is not None


@pytest.mark.parametrize(
    ("before", "body"),
    [
        ("", "{\n#pragma OPENCL FP_CONTRACT OFF\nfloat t = a[i] * b[i]; c[i] = t + 1; }"),
        (CONTRACT_OFF + "#pragma OPENCL FP_CONTRACT ON\n", "float t = a[i] * b[i]; c[i] = t + 1;"),
        ("#if 1\n" + CONTRACT_OFF + "#endif\n", "float t = a[i] * b[i]; c[i] = t + 1;"),
        ("void g() { }\n" + CONTRACT_OFF, "float t = a[i] * b[i]; c[i] = t + 1;"),
        ("/*\n" + CONTRACT_OFF + "*/\n", "float t = a[i] * b[i]; c[i] = t + 1;"),
    ],
)
def test_a_pragma_that_may_not_hold_everywhere_counts_for_nothing(before: str, body: str) -> None:
    assert dependence(kernel_of(body, before)) is not None


NOINLINE = "__attribute__((noinline)) "
PRODUCT = NOINLINE + "float product(float x, float y) { return x * y; }\n"
SUM = NOINLINE + "float sum(float x, float y) { return x + y; }\n"
LEAVES = NOINLINE + "void leave(float x, __global float *p) { *p = x * 3.0f; }\n"
ROUTES = {
    "a statement": ("", "float t = a[i] * b[i];\nc[i] = t + 1.0f;"),
    "a phi": (
        "",
        "float t = c[n]; if (n > k[i]) t = a[i] * b[i];\nelse b[n] = t; c[i] = t + b[0];",
    ),
    "a loop": (
        "",
        "float t = 1; for (int j = 0; j < n; j++)\n{ t = t + b[j]; t = t * a[j]; } c[i] = t;",
    ),
    "a select": ("", "float x = b[i], t = a[i] * x; a[i] = t;\nx = n ? t : x; c[i] = x - 1.0f;"),
    "a vector": (
        "",
        "float4 t = vload4(i, a) * vload4(i, b);\nvstore4(t, i, c); c[0] = t.y + a[n];",
    ),
    "a negation": ("", "float t = -(a[i] * b[i]);\nc[i] = t + 1.0f;"),
    "a wider type": ("", "double t = a[i] * b[i];\nd[i] = t + 1.0;"),
    "an absolute value": ("", "float t = fabs(a[i] * b[i]);\nc[i] = t + 1.0f;"),
    "private memory": (
        "",
        "float p[8]; for (int j = 0; j < 8; j++) p[j] = a[j] * b[j];\nc[i] = p[n] + 1.0f;",
    ),
    "local memory": (
        "",
        "s[get_local_id(0)] = a[i] * b[i]; barrier(CLK_LOCAL_MEM_FENCE);\nc[i] = s[n] + 1.0f;",
    ),
    "global memory": (
        "",
        "c[i] = a[i] * b[i]; barrier(CLK_GLOBAL_MEM_FENCE);\nb[i] = c[n] + 1.0f;",
    ),
    "a vector in memory": (
        "",
        "vstore2(vload2(i, a) * 2.5f, 0, s); barrier(CLK_LOCAL_MEM_FENCE);\nc[i] = s[n] + 1.0f;",
    ),
    "another pointer to it": (
        "",
        "__local float *p = n ? s : s + 4; p[0] = a[i] * b[i]; barrier(CLK_LOCAL_MEM_FENCE);\n"
        "c[i] = s[n] + 1.0f;",
    ),
    "a return": (PRODUCT, "c[i] = product(a[i], b[i]) + 1.0f;"),
    "an argument": (SUM, "c[i] = sum(a[i] * b[i], 1.0f);"),
    "a call's memory": (
        LEAVES,
        "leave(a[i], c); barrier(CLK_GLOBAL_MEM_FENCE);\na[i] = c[n] + 1.0f;",
    ),
    "a scaling": ("", "float t = ldexp(a[i], 3);\nc[i] = t + 1.0f;"),
}


@pytest.mark.parametrize("route", ROUTES)
def test_a_product_is_followed_to_a_sum(route: str) -> None:
    before, body = ROUTES[route]
    reason = dependence(kernel_of(body, before))
    assert reason is not None
    assert "may be fused with the product of line" in reason.detail


def without(
    is_left_out: Callable[[ir.Instruction], bool], method: str
) -> Callable[[ValueFlow, ir.Function, ir.Instruction], None]:
    """A step of the analysis that passes over some instructions."""
    original = getattr(ValueFlow, method)

    def step(self: ValueFlow, function: ir.Function, instruction: ir.Instruction) -> None:
        if not is_left_out(instruction):
            original(self, function, instruction)

    return step


MUTANTS = {
    "a phi": ("_add_moves", lambda i: i.opcode == "phi"),
    "a select": ("_add_moves", lambda i: i.opcode == "select"),
    "a vector": ("_add_moves", lambda i: i.opcode in ("shufflevector", "extractelement")),
    "a wider type": ("_add_moves", lambda i: i.opcode == "fpext"),
    "an absolute value": ("_add_memory", lambda i: i.opcode == "call"),
    "private memory": ("_add_memory", lambda i: i.opcode == "load"),
    "local memory": ("_add_memory", lambda i: i.opcode == "store"),
    "a vector in memory": ("_add_memory", lambda i: i.opcode == "call"),
    "another pointer to it": ("_add_moves", lambda i: "ptr" in i.type),
    "a return": ("_add_moves", lambda i: i.opcode == "ret"),
    "an argument": ("_add_moves", lambda i: i.opcode == "call"),
    "a call's memory": ("_add_memory", lambda i: i.opcode == "store"),
}


def own_finding(body: str, before: str) -> Reason | None:
    """What is found in the module of a source, the look itself not being kept anywhere."""
    reason = dependence(kernel_of(body, before))
    return reason if reason and "fused with" in reason.detail else None


@pytest.mark.parametrize("route", MUTANTS)
def test_a_route_that_is_not_followed_hides_the_product(
    route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, body = ROUTES[route]
    assert own_finding(body, before) is not None
    method, is_left_out = MUTANTS[route]
    monkeypatch.setattr(ValueFlow, method, without(is_left_out, method))
    if route == "another pointer to it":
        # A pointer that is not followed may point anywhere: only guessing where it points is wrong.
        monkeypatch.setattr(
            ValueFlow, "memory", lambda self, function, pointer, writes: {("memory", pointer.text)}
        )
    assert own_finding(body, before) is None


def test_a_pointer_out_of_nowhere_may_point_into_every_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = "s[n] = a[i] * b[i]; __local float *p = (__local float *)(uintptr_t)k[i];\nc[i] = *p + 1.0f;"
    assert own_finding(body, "") is not None
    monkeypatch.setattr(value_flow, "_READ_ANYWHERE", ("memory", "nowhere"))
    known = ValueFlow.memory

    def elsewhere(
        self: ValueFlow, function: ir.Function, pointer: ir.Operand, *, writes: bool
    ) -> set[value_flow.Node]:
        found = known(self, function, pointer, writes=writes)
        return {("memory", "elsewhere")} if ("memory", "nowhere") in found else found

    monkeypatch.setattr(ValueFlow, "memory", elsewhere)
    assert own_finding(body, "") is None


def test_buffers_do_not_leak_into_each_other() -> None:
    # Through one node for all unknown pointers, `b` would seem to hold what `c` does.
    body = (
        "c[i] = a[i] * 2.5f; __global float *p = (__global float *)(uintptr_t)k[i];\n"
        "k[i] = *p > 0; b[i] = a[i] + 1.0f;"
    )
    assert dependence(kernel_of(body)) is None


def test_denormal_floats_are_told_apart() -> None:
    def denormals(body: str) -> str:
        reason = look_at(kernel_of(body)).facts.denormals
        return reason.detail.split(":")[0] if reason else ""

    assert denormals("c[i] = a[i] + b[i];") == "fadd"
    assert denormals("k[i] = a[i] < b[i];") == "fcmp"
    assert denormals("d[i] = a[i];") == "fpext"
    assert denormals("c[i] = floor(a[i]);") == "floor"
    assert denormals("vstore_half_rtp(a[i], i, (__global half *)b);") == "vstore_half_rtp"
    assert denormals("c[i] = a[i]; d[i] = d[i] * 0.5; k[i] = n; c[n] = n; a[i] = fabs(b[i]);") == ""
    assert denormals("vstore4(vload4(0, a), 0, b); c[i] = select(a[i], b[i], n);") == ""


def test_no_function_is_in_two_tables() -> None:
    exact = [
        exact_builtins._WORK_ITEM,
        exact_builtins._MATH,
        exact_builtins._RELATIONAL,
        exact_builtins._ORDER,
        exact_builtins._VECTOR,
    ]
    everything = [name for table in exact for name in table]
    assert len(everything) == len(set(everything))
    assert not set(everything) & set(exact_builtins._WHY)


def test_what_is_not_known_counts_as_dependent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exactness, "_EXACT", exactness._EXACT - {"add"})
    reason = dependence(kernel_of("k[i] = n + k[i];"))
    assert reason is not None
    assert reason.detail == "add: nothing is known of it"


@pytest.mark.parametrize(
    "body",
    [
        "((__global float3 *)c)[i] = vload3(i, a);",
        "((__global int3 *)k)[i] = (int3)(n);",
        "int4 t; t.x = k[n]; t.y = 2; ((__global int4 *)k)[i] = t;",
    ],
)
def test_lanes_without_a_value_are_the_devices_own(body: str) -> None:
    reason = dependence(kernel_of(body))
    assert reason is not None
    assert "lanes without a value" in reason.detail
    assert dependence(kernel_of("vstore3(vload3(i, a), i, c);")) is None
