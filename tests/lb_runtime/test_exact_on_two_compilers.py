"""What the analysis calls the same on every device is computed by two compilers that share no line.

A NaN counts as a NaN, whatever its sign and payload: those do differ between the two.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyopencl as cl
import pytest

from lb_runtime.analysis import exact_builtins
from lb_runtime.contexts import OpenPair
from lb_runtime.kernel import look_at

ITEMS = 1 << 14
DTYPES = {
    "char": np.int8,
    "uchar": np.uint8,
    "short": np.int16,
    "ushort": np.uint16,
    "int": np.int32,
    "uint": np.uint32,
    "long": np.int64,
    "ulong": np.uint64,
    "float": np.float32,
    "double": np.float64,
}
Array = npt.NDArray[np.generic]


def numbers(kind: str, seed: int) -> Array:
    """Any bits, moderate numbers, denormal ones, and the edges: zeros, infinities, NaNs, limits."""
    generator = np.random.default_rng(seed)
    dtype = np.dtype(DTYPES[kind])
    bits = np.frombuffer(generator.bytes(ITEMS * dtype.itemsize), dtype)
    tiny = bits
    if dtype.kind != "f":
        edges = np.array([0, 1, np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
        moderate = generator.integers(0, 100, ITEMS).astype(dtype)
    else:
        limits = np.finfo(dtype)
        small = [limits.smallest_subnormal, limits.tiny, limits.tiny / 2, -limits.tiny / 4]
        plain = [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5, 1.5, 2.5, -2.5, 2**24 + 1, 2**31]
        edges = np.array([*plain, *small, limits.max, -limits.max], dtype)
        moderate = (generator.normal(size=ITEMS) * 10.0 ** generator.uniform(-3, 6, ITEMS)).astype(
            dtype
        )
        words = np.dtype(f"u{dtype.itemsize}")
        tiny = generator.integers(0, 2 << limits.nmant, ITEMS).astype(words).view(dtype)
    chosen = generator.integers(0, 4, ITEMS)
    return np.select(
        [chosen == 0, chosen == 1, chosen == 2],
        [bits, moderate, tiny],
        generator.choice(edges, ITEMS),
    )


def results(
    pair: OpenPair, source: str, inputs: Sequence[Array], kind: str, count: int
) -> list[Array]:
    """What each device leaves in `count` results of each work-item; shape of each: (count, items)."""
    found: list[Array] = []
    flags = cl.mem_flags
    for device in pair.devices:
        kernel = device.kernel(source, (), "f")
        buffers = [
            cl.Buffer(device.context, flags.READ_ONLY | flags.COPY_HOST_PTR, hostbuf=array)
            for array in inputs
        ]
        out: Array = np.zeros((count, ITEMS), DTYPES[kind])
        target = cl.Buffer(device.context, flags.WRITE_ONLY, out.nbytes)
        kernel(device.queue, (ITEMS,), (64,), *buffers, target)
        cl.enqueue_copy(device.queue, out, target)
        found.append(out)
        for buffer in (*buffers, target):
            buffer.release()
    return found


def same(one: Array, other: Array) -> npt.NDArray[np.bool_]:
    """Element by element, whether the bytes are the same, or both are NaNs."""
    bits = f"u{one.dtype.itemsize}"
    equal: npt.NDArray[np.bool_] = one.view(bits) == other.view(bits)
    return equal | (np.isnan(one) & np.isnan(other)) if one.dtype.kind == "f" else equal


def kernel_of(lines: Sequence[str], kind: str, result: str, before: str = "") -> str:
    """A kernel in whose lines `x`, `y`, `z` are inputs of a kind, `n` an int; each line sets `r`."""
    body = "".join(
        f"{{ {result} r; {line} o[{number} * {ITEMS} + i] = r; }}\n"
        for number, line in enumerate(lines)
    )
    return (
        f"{before}__kernel void f(__global const {kind} *a, __global const {kind} *b, "
        f"__global const {kind} *c, __global const int *k, __global {result} *o) {{\n"
        f"size_t i = get_global_id(0); {kind} x = a[i], y = b[i], z = c[i]; int n = k[i];\n{body}}}"
    )


def inputs_of(kind: str) -> list[Array]:
    return [numbers(kind, 1), numbers(kind, 2), numbers(kind, 3), numbers("int", 4) % 64]


def differing(pair: OpenPair, lines: Sequence[str], kind: str, result: str) -> dict[str, int]:
    """The lines in whose results the devices differ, with the number of work-items that do."""
    source = kernel_of(lines, kind, result)
    one, other = results(pair, source, inputs_of(kind), result, len(lines))
    counts = (~same(one, other)).sum(axis=1)
    return {line: int(count) for line, count in zip(lines, counts) if count}


FLOATING = [
    "r = x + y;",
    "r = x - y;",
    "r = x * y;",
    "r = -x;",
    "r = x * y * z;",
    "r = x + y - z;",
    "r = fma(x, y, z);",
    "r = fabs(x);",
    "r = copysign(x, y);",
    "r = fdim(x, y);",
    "r = floor(x);",
    "r = ceil(x);",
    "r = trunc(x);",
    "r = rint(x);",
    "r = round(x);",
    "r = remainder(x, y);",
    "r = nextafter(x, y);",
    "r = ldexp(x, n);",
    "r = logb(x);",
    "r = sign(x);",
    "r = x < y ? x : y;",
    "r = x >= y || isnan(z) ? z : x;",
    "r = modf(x, &r);",
    "int e; r = frexp(x, &e);",
    "int e; frexp(x, &e); r = e;",
    "r = n;",
    "r = x * 0.5f;",
]
OF_FLOATS = [
    "r = bitselect(x, y, z);",
    "r = select(x, y, n);",
    "r = convert_float_rtz(n * 16777259u);",
    "r = convert_float_rtp(as_int(x));",
    "r = convert_float_rtn(as_uint(x));",
    "r = (float)as_ulong((float2)(x, y));",
    "r = convert_float_rtz(as_long((float2)(x, y)));",
    "r = (float)as_double((float2)(x, y));",
    "r = convert_float_rtp(as_double((float2)(x, y)));",
    "uint u = as_uint(x); r = vload_half(0, (__private half *)&u);",
    "uint u[1] = {0}; vstore_half(x, 0, (__private half *)u); r = vload_half(0, (__private half *)u);",
    "uint u[1] = {0}; vstore_half_rtp(x, 0, (__private half *)u);"
    "r = vload_half(0, (__private half *)u);",
]
OF_DOUBLES = ["r = x / y;", "r = sqrt(x);", "r = (float)x;", "r = convert_double_rtz(as_long(x));"]
TESTS_OF_FLOATS = [
    "r = isnan(x) + 2 * isinf(y) + 4 * isfinite(z) + 8 * isnormal(x) + 16 * signbit(y);",
    "r = isless(x, y) + 2 * isgreaterequal(y, z) + 4 * islessgreater(x, z) + 8 * isordered(x, y);",
    "r = isequal(x, y) + 2 * isnotequal(y, z) + 4 * isunordered(x, y) + 8 * islessequal(x, y);",
    "r = as_int(x);",
    "r = (x < y) + 2 * (x != y) + 4 * (y >= z);",
    "r = x > -1e9f && x < 1e9f ? (int)x : -1;",
    "r = any((int2)(as_int(x), n)) + 2 * all((int2)(as_int(y), n));",
    "r = shuffle((uint4)(as_uint(x), n, as_uint(y), 1), (uint4)(2, 0, 1, 3)).y;",
]


def test_float_operations(intel_pair: OpenPair) -> None:
    lines = [*FLOATING, *OF_FLOATS]
    assert look_at(kernel_of(lines, "float", "float")).facts.device_dependence is None
    assert differing(intel_pair, lines, "float", "float") == {}


def test_double_operations(intel_pair: OpenPair) -> None:
    lines = [*FLOATING, *OF_DOUBLES]
    assert look_at(kernel_of(lines, "double", "double")).facts.device_dependence is None
    assert differing(intel_pair, lines, "double", "double") == {}


def test_questions_about_floats(intel_pair: OpenPair) -> None:
    assert look_at(kernel_of(TESTS_OF_FLOATS, "float", "int")).facts.device_dependence is None
    assert differing(intel_pair, TESTS_OF_FLOATS, "float", "int") == {}


@pytest.mark.parametrize(
    "kind", ["char", "uchar", "short", "ushort", "int", "uint", "long", "ulong"]
)
def test_integer_operations(intel_pair: OpenPair, kind: str) -> None:
    signed = kind.removeprefix("u")
    lines = [
        f"r = abs(x) + abs_diff(y, ({kind})z);",
        "r = add_sat(x, y);",
        "r = sub_sat(x, y);",
        "r = hadd(x, y);",
        "r = rhadd(x, y);",
        "r = clz(x);",
        "r = popcount(x);",
        "r = mul_hi(x, y);",
        "r = mad_hi(x, y, z);",
        f"r = rotate(x, ({kind})n);",
        "r = min(x, y);",
        "r = max(x, y);",
        "r = clamp(x, min(y, z), max(y, z));",
        "r = x << (n & 7);",
        "r = x >> (n & 7);",
        f"r = convert_{kind}_sat(n);",
        "r = convert_uchar_sat(x);",
        f"r = x / ({kind})((y & 7) + 1);",
        f"r = x % ({kind})((y & 7) + 1);",
        f"r = bitselect(x, y, z) ^ select(x, y, ({signed})n);",
        "r = mul24(n, 100) + mad24(n & 0xff, (int)(short)x, n);",
    ]
    source = kernel_of(lines, kind, kind)
    reason = look_at(source).facts.device_dependence
    # The bounded division and `mul24` of a loaded n are the test's knowledge, not the analysis'.
    assert reason is None or reason.detail.startswith("mul24")
    assert differing(intel_pair, lines, kind, kind) == {}


DIFFER = [
    ("r = fmin(x, y);", "float", "float"),
    ("r = fmax(x, 0.0f);", "float", "float"),
    ("r = maxmag(x, y);", "float", "float"),
    ("r = step(x, y);", "float", "float"),
    ("r = fract(x, &y);", "float", "float"),
    ("r = fmod(x, x);", "float", "float"),
    ("r = ilogb(x);", "float", "int"),
    ("r = mad(x, y, z);", "float", "float"),
    ("r = mix(x, y, z);", "float", "float"),
    ("r = sin(x);", "float", "float"),
    ("r = exp(x);", "float", "float"),
    ("int q; remquo(x, y, &q); r = q;", "float", "int"),
    ("r = mul24(as_int(x), as_int(y));", "float", "int"),
    ("r = convert_int_sat(x);", "float", "int"),
    ("r = convert_uint(x);", "float", "uint"),
]


@pytest.mark.parametrize(("line", "kind", "result"), DIFFER)
def test_what_two_compilers_do_differ_in_is_known_to(
    intel_pair: OpenPair, line: str, kind: str, result: str
) -> None:
    if not differing(intel_pair, [line], kind, result):
        pytest.skip("these two drivers agree here")
    assert look_at(kernel_of([line], kind, result)).facts.device_dependence is not None


def test_a_table_that_takes_fmin_for_exact_would_be_caught(
    intel_pair: OpenPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = kernel_of(["r = fmin(x, y);"], "float", "float")
    assert look_at(source).facts.device_dependence is not None
    monkeypatch.setattr(exact_builtins, "_MATH", exact_builtins._MATH | {"fmin"})
    assert look_at(source).facts.device_dependence is None
    assert differing(intel_pair, ["r = fmin(x, y);"], "float", "float") != {}


class Writer:
    """Writes random statements on float, double and unsigned variables that no undefined case can meet."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def name(self, kind: str) -> str:
        """One of the three variables of a kind."""
        return f"{kind[0]}{self.random.randrange(3)}"

    def floating(self, kind: str) -> str:
        """An expression of a floating-point kind."""
        x, y, z = (self.name(kind) for _ in range(3))
        other = "double" if kind == "float" else "float"
        return self.random.choice(
            [
                f"{x} + {y}",
                f"{x} - {y}",
                f"{x} * {y}",
                f"{x} * ({kind})0.37",
                f"fma({x}, {y}, {z})",
                f"{x} < {y} ? {z} : {x}",
                f"floor({x}) - trunc({y})",
                f"fabs({x}) + rint({y})",
                f"remainder({x}, {y})",
                f"copysign({x}, k[i])",
                f"nextafter({x}, {z})",
                f"({kind}){self.name(other)}",
                f"({kind}){self.name('uint')}",
                f"ldexp({x}, (int)({self.name('uint')} & 31))",
                f"{x} / {y}" if kind == "double" else f"sign({x})",
                f"{x} * {y} + {z}",
            ]
        )

    def unsigned(self) -> str:
        """An expression of unsigned integers."""
        x, y = self.name("uint"), self.name("uint")
        number = self.name("float")
        return self.random.choice(
            [
                f"{x} + {y} * 77u",
                f"{x} / (({y} & 15) + 1)",
                f"rotate({x}, {y}) ^ mul_hi({x}, {y})",
                f"{number} > -1e6f && {number} < 1e6f ? (uint)(int){number} : {y}",
                f"isless({number}, {self.name('float')}) + clz({x})",
                f"add_sat({x}, {y}) >> 3",
            ]
        )

    def statement(self, depth: int = 0) -> Iterator[str]:
        """A statement, perhaps with others inside."""
        choice = self.random.random()
        if depth < 2 and choice < 0.12:
            yield f"if ({self.name('float')} < {self.name('float')}) {{"
            for _ in range(2):
                yield from self.statement(depth + 1)
            yield "}"
        elif depth < 2 and choice < 0.22:
            yield f"for (int j{depth} = 0; j{depth} < 3; j{depth}++) {{"
            for _ in range(2):
                yield from self.statement(depth + 1)
            yield "}"
        elif choice < 0.55:
            yield f"{self.name('float')} = {self.floating('float')};"
        elif choice < 0.8:
            yield f"{self.name('double')} = {self.floating('double')};"
        else:
            yield f"{self.name('uint')} = {self.unsigned()};"

    def kernel(self) -> str:
        """A kernel that leaves all its variables in two of three buffers as floats or doubles."""
        body = "\n".join(line for _ in range(10) for line in self.statement())
        line = (
            "float f0 = x, f1 = y, f2 = z; double d0 = x, d1 = (double)y * 3.0, d2 = z;\n"
            f"uint u0 = as_uint(x), u1 = n, u2 = as_uint(z);\n{body}\n"
        )
        outs = ["f0", "f1", "f2", "d0", "d1", "d2", "u0", "u1", "u2"]
        lines = [line + f"r = {outs[0]};"]
        source = kernel_of(lines, "float", "double", "#pragma OPENCL FP_CONTRACT OFF\n")
        left = "".join(f"o[{n} * {ITEMS} + i] = {name};" for n, name in enumerate(outs))
        return source.replace(f"o[0 * {ITEMS} + i] = r;", left)


GENERATED = 30


def test_generated_kernels_that_are_called_exact(intel_pair: OpenPair) -> None:
    compared = 0
    for seed in range(GENERATED):
        source = Writer(seed).kernel()
        if look_at(source, cache=False).facts.device_dependence is not None:
            continue
        one, other = results(intel_pair, source, inputs_of("float"), "double", 9)
        assert same(one, other).all(), f"seed {seed}:\n{source}"
        compared += 1
    assert compared >= GENERATED // 2
