"""Kernels that Hypothesis writes: whatever the gate says of them, splitting changes no byte.

Each kernel is free of races by construction: `i` numbers the work-items from 0, and each item writes
places that no other item touches. `LB_GENERATED_KERNELS` sets how many are tried.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slice_oracle import SliceOracle

from lb_runtime.contexts import OpenPair
from lb_runtime.launch import LocalArgument

EXAMPLES = int(os.environ.get("LB_GENERATED_KERNELS", "60"))

INDEX_TYPES = ("int", "uint", "long", "ulong", "size_t", "short", "ushort")
ELEMENTS = {"uchar": np.uint8, "short": np.int16, "int": np.int32, "ulong": np.uint64}

NUMBERINGS = {
    1: (
        "get_global_id(0) - {offset0}",
        "get_global_id(0) - get_global_offset(0)",
        "get_group_id(0) * get_local_size(0) + get_local_id(0)",
        "get_global_size(0) - 1 - (get_global_id(0) - {offset0})",
        "numbered({offset0})",
    ),
    2: (
        "(get_global_id(1) - {offset1}) * get_global_size(0) + get_global_id(0) - {offset0}",
        "(get_global_id(0) - {offset0}) * get_global_size(1) + get_global_id(1) - {offset1}",
        "(get_group_id(1) * get_num_groups(0) + get_group_id(0)) * get_local_size(0) * "
        "get_local_size(1) + get_local_id(1) * get_local_size(0) + get_local_id(0)",
    ),
}
PLACES = (
    "i",
    "n - 1 - i",
    "i * 3 + 2",
    "(i / 4) * 4 + (3 - i % 4)",
    "i ^ 1",
    "(i + 5) % n",
    "p[i]",
    "(i >> 1) * 2 + (i & 1)",
    "i * 2 + (x[i] & 1)",
    "(i & ~3) + ((i + 1) & 3)",
    "(i < 7 ? i : i + 9)",
)
GUARDS = (
    "",
    "if (i < {c}) ",
    "if (i >= {c} && i < {d}) ",
    "if ((uint)(i - {c}) < {d}u) ",
    "if (x[i] & 1) ",
    "if (i % 3 != 1) ",
    "if (!(i > {c} || i == {d})) ",
    "if (i != 0 && (long)i - {c} < {d}) ",
    "if (n - i > {c}) ",
    "if (get_local_id(0) == 0 || i < {c}) ",
)
TERMS = (
    "x[i]",
    "x[n - 1 - i]",
    "x[min((int)i + {c}, (int)n - 1)]",
    "x[max((int)i - {c}, 0)]",
    "x[clamp((int)i * 2 - {c}, 0, (int)n - 1)]",
    "x[(i * 7 + {c}) % n]",
    "x[((uint)i * 2654435761u) % (uint)n]",
    "x[i / 2]",
    "x[i & ~3]",
    "x[x[i]]",
    "x[(uchar)i % (uchar)min((int)n, 200)]",
    "(i > {c} ? x[i - {c}] : x[0])",
    "fetch(x, i)",
    "x[get_group_id(0)]",
    "(int)(get_global_size(0) * 3 + get_num_groups(0) + get_global_offset(0))",
    "(int)get_local_id(0)",
)
LOOPS = (
    "for (int j = i; j < (int)n; j += 3) s += x[j];",
    "for (int j = (int)i; j >= 0; j -= 2) s += 3 * x[j];",
    "for (uint j = 0; j <= 4u; j++) s += x[(i + j) % n];",
    "{{ int j = i; do {{ s += x[j]; j /= 2; }} while (j > 0); }}",
    "for (int j = 0; j < (int)n; j++) {{ if (x[j] > {c}) break; s += x[j]; }}",
    "for (int a = 0; a < 4; a++) {{ if (a == {c} % 4) continue; "
    "for (int b = a; b < 4; b++) s += x[(i + a * b) % n]; }}",
    "{{ global const int *q = x + i; for (int j = 0; j < (int)(n - i) && j < 4; j++) s += *q++; }}",
    "for (uint j = i; j > 2u; j -= 5u) {{ if (j >= (uint)n) break; s += x[j]; }}",
    "{{ int m = 0; for (uchar c = 0; c < {d}; c += 100) {{ if (m >= (int)n) break; s += x[m++]; }} }}",
    "{{ int m = 0; for (char c = 0; c < {c}; c += 50) {{ if (m >= (int)n) break; s += x[m++]; }} }}",
    "switch (x[i] & 3) {{ case 0: s += x[0]; break; case 1: s += x[i]; default: s += x[n - 1]; }}",
    "{{ int t[4]; for (int j = 0; j < 4; j++) t[j] = x[(i + j) % n]; s += t[x[i] & 3]; }}",
)
LOCAL = "t[l] = x[i]; barrier(CLK_LOCAL_MEM_FENCE); s += t[items - 1 - l];"
STORES = (
    "out[{place}] = (E)(s);",
    "out[{place}] += (E)(s);",
    "for (int k = 0; k < 3; k++) out[i * 3 + k] = (E)(s + k);",
    "for (int k = 2; k >= 0; --k) out[k * n + i] = (E)(s ^ k);",
    "{{ global E *q = out + i * 3; for (int k = 0; k < 3; k++) *q++ = (E)(s - k); }}",
    "{{ global E *q = out + i * 3 + 2; for (int k = 0; k < 2; k++) *q-- = (E)(s - k); }}",
    "vstore2((E##2)((E)s, (E)1), i, out);",
    "{{ E##3 v = vload3(i, out); v.y += (E)s; vstore3(v, i, out); }}",
    "store(out + ({place}), (E)s);",
    "((global S *)out)[i].b = (E)s;",
)

TEMPLATE = """
typedef struct {{ {element} a, b, c; }} S;
#define E {element}
int __attribute__((noinline)) fetch(global const int *x, size_t i) {{ return x[i] + 1; }}
void __attribute__((noinline)) store(global E *place, E value) {{ *place = value; }}
size_t __attribute__((noinline)) numbered(size_t start) {{ return get_global_id(0) - start; }}
kernel void generated(global const int *x, global E *out, global const int *p, {scalar} n,
                      local int *t)
{{
    const {index} i = {number};
    const int l = get_local_id(1) * get_local_size(0) + get_local_id(0);
    const int items = get_local_size(0) * get_local_size(1);
    int s = {terms};
    {body}
    {guard}{{ {store} }}
}}
"""


@dataclass(frozen=True)
class Generated:
    """A kernel and its launch. The share is that of the first part."""

    source: str
    element: str
    global_size: tuple[int, ...]
    local_size: tuple[int, ...]
    offset: tuple[int, ...]
    share: float

    @property
    def items(self) -> int:
        return int(np.prod(self.global_size))


@st.composite
def kernels(draw: st.DrawFn) -> Generated:
    dimensions = draw(st.sampled_from((1, 1, 2)))
    locals_ = draw(
        st.tuples(
            *[st.sampled_from((1, 3, 4, 7, 8) if dimensions == 1 else (1, 2, 3, 4))] * dimensions
        )
    )
    groups = draw(st.tuples(*[st.integers(*((3, 12) if dimensions == 1 else (2, 4)))] * dimensions))
    global_size = tuple(count * size for count, size in zip(groups, locals_))
    offset = tuple(draw(st.sampled_from((0, 0, 5))) for _ in locals_)
    items = int(np.prod(global_size))
    constants = {
        "c": draw(st.integers(0, min(items, 120))),
        "d": draw(st.integers(0, min(2 * items, 250))),
    }

    def text(choices: tuple[str, ...]) -> str:
        return draw(st.sampled_from(choices)).format(**constants)

    body = [text(LOOPS) for _ in range(draw(st.integers(0, 2)))]
    if draw(st.booleans()):
        body.append(LOCAL)
    element = draw(st.sampled_from(tuple(ELEMENTS)))
    number = draw(st.sampled_from(NUMBERINGS[dimensions]))
    store = draw(st.sampled_from(STORES)).format(place=text(PLACES)).replace("E##", element)
    source = TEMPLATE.format(
        element=element,
        scalar=draw(st.sampled_from(("int", "uint", "long"))),
        index=draw(st.sampled_from(INDEX_TYPES)),
        number=number.format(offset0=offset[0], offset1=offset[-1]),
        terms=" + ".join(text(TERMS) for _ in range(draw(st.integers(1, 3)))),
        body="\n    ".join(body),
        guard=text(GUARDS),
        store=store,
    )
    # So that neither part is empty, in whichever dimension the cut is.
    share = draw(st.floats(0.3, 0.7))
    return Generated(source, element, global_size, locals_, offset, share)


@pytest.fixture(scope="module")
def oracle(pair: OpenPair) -> SliceOracle:
    return SliceOracle(pair.devices[0])


@settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES == 60,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(kernels())
def test_splitting_a_generated_kernel_changes_no_byte(
    oracle: SliceOracle, kernel: Generated
) -> None:
    items = kernel.items
    random = np.random.default_rng(items)
    values = [
        random.integers(0, items, items).astype(np.int32),
        random.integers(0, 100, 4 * items + 16).astype(ELEMENTS[kernel.element]),
        random.permutation(items).astype(np.int32),
        items,
        local_of(kernel),
    ]
    shares = ((kernel.share, 1 - kernel.share),)
    _, fault = oracle.check(
        kernel.source,
        values,
        kernel.global_size,
        kernel.local_size,
        offset=kernel.offset,
        shares=shares,
    )
    assert not fault, f"{fault}\n{kernel}\n{kernel.source}"


def local_of(kernel: Generated) -> LocalArgument:
    """Local memory for one int per work-item of a group."""
    return LocalArgument(4 * int(np.prod(kernel.local_size)))
