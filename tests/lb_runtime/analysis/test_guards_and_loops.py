"""What guards and counted loops say of the elements that a kernel touches, against Python's own loops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from lb_runtime.analysis.accesses import slice_accesses
from lb_runtime.analysis.facts import kernel_facts
from lb_runtime.launch import Argument, BufferArgument, Launch, NDRange, ScalarArgument, Slice
from predictor.frontend import compile_source

N = 40
ITEMS = 48
OFFSET = 3
Touched = Callable[[int], Iterable[int]]


def read_elements(
    body: str, piece: Slice, parameters: str = "int n", n: object = np.int32(N)
) -> tuple[int, int]:
    """The lowest and highest element of `x` that the gate says a slice may read."""
    source = (
        f"kernel void k(global const int *x, global int *out, {parameters}) "
        f"{{ const int i = get_global_id(0); int s = 0; {body} out[i] = s; }}"
    )  # fmt: skip
    module = compile_source(source)
    facts = kernel_facts(module, source)
    arguments: tuple[Argument, ...] = (
        BufferArgument(1 << 20, 0),
        BufferArgument(1 << 20, 1),
        ScalarArgument(n),  # type: ignore[arg-type]  # numpy scalars of several types
    )
    launch = Launch("k", NDRange.of((ITEMS,), (8,), (OFFSET,)), arguments)
    accesses = slice_accesses(facts, launch, piece).accesses
    reads = [access.span for access in accesses if access.argument == 0]
    return min(span.low for span in reads) // 4, max(span.high for span in reads) // 4


def wrapped(value: int, bits: int) -> int:
    return (value + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))


def counting(
    start: int, step: int, goes_on: Callable[[int], bool], bits: int = 32
) -> Iterator[int]:
    value = start
    for _ in range(10_000):
        if not goes_on(value):
            return
        yield value
        value = wrapped(value + step, bits)


SAME: list[tuple[str, Touched]] = [
    ("if (i < n) s = x[i];", lambda i: [i] if i < N else []),
    ("if (i >= 9 && i <= 20) s = x[i];", lambda i: [i] if 9 <= i <= 20 else []),
    ("if (!(i < 9 || i > 20)) s = x[i];", lambda i: [i] if 9 <= i <= 20 else []),
    ("if ((uint)(i - 9) < 12u) s = x[i];", lambda i: [i] if 9 <= i < 21 else []),
    ("if (n - i > 4) s = x[n - i];", lambda i: [N - i] if N - i > 4 else []),
    ("if (i != 3) s = x[i - 4];", lambda i: [i - 4] if i != 3 else []),
    ("if (i == 7) s = x[i * 2];", lambda i: [14] if i == 7 else []),
    ("if (i > n) return; if (i > 5) { s = x[i]; }", lambda i: [i] if 5 < i <= N else []),
    ("s = x[min(i, n - 1)];", lambda i: [min(i, N - 1)]),
    ("s = x[max(i - 9, 0)];", lambda i: [max(i - 9, 0)]),
    ("s = x[clamp(i * 2, 4, n)];", lambda i: [min(max(i * 2, 4), N)]),
    ("s = x[i < n ? i : 0];", lambda i: [i if i < N else 0]),
    ("s = x[i / 4 * 4];", lambda i: [i // 4 * 4]),
    ("s = x[(i >> 2) * 4 + (i & 3)];", lambda i: [i]),
    ("s = x[i & ~7];", lambda i: [i & ~7]),
    ("s = x[n + ~i + 20];", lambda i: [N - i - 1 + 20]),
    ("for (int j = 0; j < n; j++) s += x[j];", lambda i: range(N)),
    ("for (int j = i; j < i + 5; j++) s += x[j];", lambda i: range(i, i + 5)),
    ("for (int j = n; j > 0; j--) s += x[j];", lambda i: range(N, 0, -1)),
    ("for (int j = n - 1; j >= 0; j--) s += x[j];", lambda i: range(N - 1, -1, -1)),
    ("for (uint j = 0; j <= 9u; j++) s += x[i + j];", lambda i: range(i, i + 10)),
    ("int j = 0; while (j < n) { s += x[j]; ++j; }", lambda i: range(N)),
    ("int j = 0; do { s += x[j]; j++; } while (j < n);", lambda i: range(N)),
    ("for (int j = 0; j < n; j += 5) s += x[j];", lambda i: range(0, N, 5)),
    (
        "for (int a = 0; a < 3; a++) for (int b = a; b < 4; b++) s += x[a * 10 + b];",
        lambda i: [a * 10 + b for a in range(3) for b in range(a, 4)],
    ),
    (
        "for (int a = 0; a < 4; a++) { if (a == 2) continue; s += x[i * 4 + a]; }",
        lambda i: [i * 4 + a for a in range(4) if a != 2],
    ),
    (
        "global const int *p = x + i * 3; for (int a = 0; a < 3; a++) s += *p++;",
        lambda i: range(3 * i, 3 * i + 3),
    ),
    ("for (int j = 0; j < 2; j++) s += x[i * 2 + 1 - j];", lambda i: [2 * i, 2 * i + 1]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "touched"), SAME, ids=[body for body, _ in SAME])
@pytest.mark.parametrize("groups", [(0, 6), (0, 3), (3, 6)])
def test_the_elements_are_those_that_are_touched(
    body: str, touched: Touched, groups: tuple[int, int]
) -> None:
    items = range(OFFSET + groups[0] * 8, OFFSET + groups[1] * 8)
    found = [element for item in items for element in touched(item)]
    if not found:
        return
    low, high = read_elements(body, Slice(0, *groups))
    assert low <= min(found)
    assert high >= max(found)
    if groups == (0, 6):
        assert (low, high) == (min(found), max(found))


@dataclass(frozen=True)
class Covered:
    """A kernel's body, what item `i` reads, and the last argument."""

    body: str
    touched: Touched
    parameters: str = "int n"
    n: object = np.int32(0)  # numpy scalars do not change


COVERED: list[Covered] = [
    Covered(
        "int m = 0; for (char c = 0; c < n; c += 100) { if (m >= 50) break; s += x[m++]; }",
        lambda i: range(min(50, sum(1 for _ in counting(0, 100, lambda c: c < 120, 8)))),
        "int n",
        np.int32(120),
    ),
    Covered(
        "int m = 0; for (uchar c = 0; c < n; c++) { if (m >= 1000) break; s += x[m++]; }",
        lambda i: range(1000),
        "int n",
        np.int32(300),
    ),
    Covered(
        "int m = 0; for (uint j = i; j > 2u; j -= 5u) { if (m >= 20) break; s += x[m++]; }",
        lambda i: range(20),
        "int n",
        np.int32(0),
    ),
    Covered(
        "for (uint c = 0; c != n; c++) { s += x[c]; if (x[c] == 3) break; }",
        lambda i: range(1000),
        "uint n",
        np.uint32(0xFFFFFFF0),
    ),
    Covered(
        "for (uint c = 0; c < n; c++) { s += x[c]; if (x[c] == 3) break; }",
        lambda i: range(1000),
        "uint n",
        np.uint32(0xFFFFFFF0),
    ),
    Covered("uchar c = i * 9; s = x[c];", lambda i: [i * 9 % 256]),
    Covered("char c = i * 9; s = x[c + 128];", lambda i: [wrapped(i * 9, 8) + 128]),
    Covered("s = x[((uint)i * 2654435761u) % 97u];", lambda i: [i * 2654435761 % 2**32 % 97]),
    Covered("s = x[((uint)i * 2654435761u) >> 20];", lambda i: [i * 2654435761 % 2**32 >> 20]),
    Covered("s = x[(i - 20) / 3 + 7];", lambda i: [int((i - 20) / 3) + 7]),
    Covered("s = x[(i - 20) % 6 + 6];", lambda i: [int(np.fmod(i - 20, 6)) + 6]),
    Covered("s = x[((i - 20) >> 2) + 8];", lambda i: [((i - 20) >> 2) + 8]),
    Covered("s = x[(i - 20) & 15];", lambda i: [(i - 20) & 15]),
    Covered(
        "uint j = i - 9; s = j < 30u ? x[j] : x[50];", lambda i: [i - 9 if 0 <= i - 9 < 30 else 50]
    ),
    Covered(
        "ulong j = i - n; if (j < 7) s = x[j];",
        lambda i: [i - N] if 0 <= i - N < 7 else [],
        "ulong n",
        np.uint64(N),
    ),
    Covered(
        "int j = i; while (j > 0) { s += x[j]; j /= 2; }",
        lambda i: [i >> k for k in range(6) if i >> k],
    ),
    Covered(
        "int j = i; if (x[i] & 1) goto mid; top: j += 3; mid: s += x[j]; j += 2;"
        " if (j < 60) goto top;",
        lambda i: range(i, 60),
    ),
]


@pytest.mark.parametrize("case", COVERED, ids=[case.body for case in COVERED])
def test_wrap_around_and_rounding_are_covered(case: Covered) -> None:
    low, high = read_elements(case.body, Slice(0, 0, 6), case.parameters, case.n)
    found = [element for i in range(OFFSET, OFFSET + ITEMS) for element in case.touched(i)]
    assert low <= min(found)
    assert high >= max(found)


@pytest.mark.parametrize(
    ("body", "highest"),
    [
        ("s = x[((uint)i * 2654435761u) % 97u];", 96),
        ("s = x[((uint)i * 2654435761u) >> 20];", 4095),
        ("s = x[(i - 20) & 15];", 15),
        ("int j = i; while (j > 0) { s += x[j & 63]; j = j * 5 % 77; }", 63),
        ("uchar c = x[i]; s = x[c];", 255),
        ("s = x[x[i] & 31] + x[n];", 50),
    ],
)
def test_indices_from_data_keep_the_range_of_what_computes_them(body: str, highest: int) -> None:
    assert read_elements(body, Slice(0, 0, 6))[1] <= max(highest, OFFSET + ITEMS - 1)


def test_a_guard_that_no_item_passes_leaves_nothing_to_read() -> None:
    with pytest.raises(ValueError, match="empty"):
        read_elements("if (i > 1000) s = x[i];", Slice(0, 0, 6))
