"""Patterns of kernels whose time goes into computing: a work-item does much with the little it reads."""

from __future__ import annotations

from lb_runtime.tuning.draft import BYTES, NUMPY, Draft
from lb_runtime.tuning.workload import Number, Random, Workload, Zeros


def polynomial(draft: Draft) -> Workload:
    """Horner's scheme, again and again, in floats of any width."""
    kind = draft.one_of(("float", "float", "double"))
    width = draft.one_of((1, 1, 2, 4, 8))
    vector = kind if width == 1 else f"{kind}{width}"
    degree, rounds = draft.about(2, 24), draft.about(1, 128)
    # PoCL 3.0's compiler ends the process over `mad` of eight doubles.
    forms = ("mad(y, x, ", "(y * x + ") if kind == "float" else ("(y * x + ",)
    steps = "\n".join(
        f"        y = {draft.one_of(forms)}({kind}){1 / (k + 2):.4f});" for k in range(degree)
    )
    bound = "rounds" if draft.chance(0.5) else str(rounds)
    source = f"""
__kernel void tuned(__global const {vector} *in, __global {vector} *out, int rounds) {{
    size_t i = get_global_id(0);
    {vector} x = in[i];
    {vector} y = x;
    for (int k = 0; k < {bound}; k++) {{
{steps}
    }}
    out[i] = y;
}}"""
    sizes = draft.line(draft.items(2 * degree * rounds * width / 2 + 4, BYTES[kind] * width))
    count = sizes[0][0] * width
    return draft.workload(
        source, sizes, Random(NUMPY[kind], count), Zeros(NUMPY[kind], count), Number(rounds)
    )


def transcendental(draft: Draft) -> Workload:
    """Built-in functions of mathematics, in a loop over a value that they keep small."""
    kind = draft.one_of(("float", "float", "float", "double"))
    vector = draft.one_of(("", "", "2", "4"))
    names = ["exp", "sin", "cos", "sqrt", "log", "tanh", "atan", "exp2", "rsqrt", "cbrt"]
    if kind == "float":
        names += ["native_exp", "native_sin", "native_sqrt", "native_log"]
    chosen = [draft.one_of(names) for _ in range(draft.one_of((1, 1, 2, 3)))]
    rounds = draft.about(1, 24)
    body = "\n".join(
        f"        x = {name}(fabs(x) * ({kind})0.5 + ({kind})0.25);" for name in chosen
    )
    if draft.chance(0.3):
        body += f"\n        x = pow(fabs(x) + ({kind})0.5, ({kind}{vector})(({kind})1.5));"
    source = f"""
__kernel void tuned(__global const {kind}{vector} *in, __global {kind}{vector} *out, int rounds) {{
    size_t i = get_global_id(0);
    {kind}{vector} x = in[i];
    for (int k = 0; k < rounds; k++) {{
{body}
    }}
    out[i] = x;
}}"""
    width = int(vector or 1)
    sizes = draft.line(draft.items(20 * len(chosen) * rounds * width, BYTES[kind] * width))
    count = sizes[0][0] * width
    return draft.workload(
        source, sizes, Random(NUMPY[kind], count), Zeros(NUMPY[kind], count), Number(rounds)
    )


def integer_hash(draft: Draft) -> Workload:
    """Shifts, multiplications and exclusive ors, as hash functions and random generators mix bits."""
    kind = draft.one_of(("uint", "uint", "ulong", "ushort"))
    width = draft.one_of((1, 1, 2, 4))
    vector = kind if width == 1 else f"{kind}{width}"
    rounds = draft.about(1, 200)
    mixes = (
        "x ^= x << 7; x ^= x >> 9; x ^= x << 5;",
        "x *= ({kind})0x9e3779b1u; x ^= x >> 13;",
        "x += (x << 3); x ^= x >> 5;",
        "x = (x >> 11) | (x << 3);",
        "x = x * ({kind})1664525u + ({kind})1013904223u;",
        "x ^= x >> 4; x = x * ({kind})31u + ({kind})7u;",
        "x += x % ({kind})127u;",
        "x ^= x / ({kind})61u;",
    )
    chosen = [draft.one_of(mixes) for _ in range(draft.one_of((1, 2, 3, 4)))]
    body = "\n".join("        " + mix.replace("{kind}", kind) for mix in chosen)
    source = f"""
__kernel void tuned(__global {vector} *data, uint rounds) {{
    size_t i = get_global_id(0);
    {vector} x = data[i];
    for (uint k = 0; k < rounds; k++) {{
{body}
    }}
    data[i] = x;
}}"""
    sizes = draft.line(draft.items(5 * len(chosen) * rounds * width / 2, BYTES[kind] * width))
    return draft.workload(
        source, sizes, Random(NUMPY[kind], sizes[0][0] * width, 0, 60000), Number(rounds)
    )


def data_loop(draft: Draft) -> Workload:
    """Loops that end when the data say so: neighbours run for different times."""
    pattern = draft.one_of(("collatz", "escape", "search", "divisor", "newton"))
    if pattern == "collatz":
        most = draft.about(30, 300)
        kind, high, cost = "uint", draft.about(50, 50000), 4 * most / 3
        body = f"""uint x = in[i] + 1, steps = 0;
    while (x != 1 && steps < {most}) {{ x = (x & 1) ? 3 * x + 1 : x / 2; steps++; }}
    out[i] = steps;"""
    elif pattern == "escape":
        most = draft.about(16, 400)
        kind, high, cost = "float", 2, 4.0 * most
        body = f"""float a = in[i] - 1.5f, b = in[i] * 0.5f, x = 0, y = 0;
    int steps = 0;
    while (x * x + y * y < 4.0f && steps < {most}) {{
        float t = x * x - y * y + a; y = 2 * x * y + b; x = t; steps++;
    }}
    out[i] = steps;"""
    elif pattern == "search":
        kind, high, cost = "int", 1 << 20, 60.0
        factor, mask = draft.about(2, 30), draft.one_of((1, 3, 7, 15))
        body = f"""int low = 0, high = n - 1, wanted = in[i];
    while (low < high) {{ int middle = (low + high) / 2;
        if ((middle * {factor}) - (middle & {mask}) < wanted) low = middle + 1; else high = middle; }}
    out[i] = low;"""
    elif pattern == "divisor":
        most = draft.about(20, 300)
        kind, high, cost = "uint", 1 << 20, 4.0 * most
        body = f"""uint x = in[i] | 1, d = 3;
    while (d < {most} && x % d != 0) d += 2;
    out[i] = d;"""
    else:
        kind, high, cost = draft.one_of(("float", "double")), 100, 120.0
        body = f"""{kind} x = in[i] + 1, y = x;
    for (int k = 0; k < 40 && fabs(y * y - x) > ({kind})1e-3 * x; k++) y = ({kind})0.5 * (y + x / y);
    out[i] = y;"""
    source = f"""
__kernel void tuned(__global const {kind} *in, __global {kind} *out, int n) {{
    int i = get_global_id(0);
    if (i >= n) return;
    {body}
}}"""
    sizes = draft.line(draft.items(cost, BYTES[kind]))
    count = sizes[0][0]
    return draft.workload(
        source,
        sizes,
        Random(NUMPY[kind], count, 0, high),
        Zeros(NUMPY[kind], count),
        Number(count),
    )


def pairs(draft: Draft) -> Workload:
    """Every item meets every element of a list that all share: bodies, distances, kernel sums."""
    kind = draft.one_of(("float", "float", "double"))
    listed = draft.about(16, 1024)
    space = draft.one_of(("__global const", "__constant"))
    term = draft.one_of(
        (
            "{kind} d = x - at[k]; sum += d * rsqrt(d * d + ({kind})0.01);",
            "{kind} d = x - at[k]; sum += exp(-d * d);",
            "{kind} d = x - at[k]; sum = fmin(sum, d * d);",
            "{kind} d = fabs(x - at[k]); if (d < best) { best = d; sum = k; }",
            "sum += x * at[k] > ({kind})0.3 ? at[k] : x;",
            "{kind} d = x - at[k]; sum += d / (d * d + ({kind})0.1);",
        )
    ).replace("{kind}", kind)
    cost = 40 if "exp" in term else 8
    source = f"""
__kernel void tuned(__global const {kind} *in, {space} {kind} *at, __global {kind} *out, int n) {{
    size_t i = get_global_id(0);
    {kind} x = in[i], sum = 0, best = 1000;
    for (int k = 0; k < n; k++) {{
        {term}
    }}
    out[i] = sum + best * 0;
}}"""
    sizes = draft.line(draft.items(cost * listed, BYTES[kind]))
    element = NUMPY[kind]
    return draft.workload(
        source,
        sizes,
        Random(element, sizes[0][0]),
        Random(element, listed),
        Zeros(element, sizes[0][0]),
        Number(listed),
    )


def branches(draft: Draft) -> Workload:
    """Ways that differ from item to item: a choice by data among several computations."""
    ways, rounds = draft.one_of((2, 3, 4, 6)), draft.about(1, 40)
    forms = (
        "y = y * 1.01f + x;",
        "y = sqrt(fabs(y) + x);",
        "y = fmax(y - x, x * 0.5f);",
        "y += (float)((int)(y * 8) & 3);",
        "y = y > 1.0f ? y * 0.5f : y + x;",
        "y = y / (x + 1.5f);",
        "y = fma(y, -0.5f, x);",
    )
    cases = "\n".join(
        f"        case {way}: {draft.one_of(forms)} {draft.one_of(forms)} break;"
        for way in range(ways)
    )
    spread = draft.one_of(("kind[i]", "kind[i / 64]", "(int)(i % " + str(ways) + ")"))
    source = f"""
__kernel void tuned(__global const float *in, __global const int *kind, __global float *out) {{
    size_t i = get_global_id(0);
    float x = in[i], y = x;
    int which = {spread};
    for (int k = 0; k < {rounds}; k++) {{
        switch (which) {{
{cases}
        default: y = x; break;
        }}
        {"which = (which + 1) % " + str(ways) + ";" if draft.chance(0.4) else ""}
    }}
    out[i] = y;
}}"""
    sizes = draft.line(draft.items(12 * rounds, 4))
    count = sizes[0][0]
    return draft.workload(
        source,
        sizes,
        Random("float32", count),
        Random("int32", count, 0, ways),
        Zeros("float32", count),
    )


def private_array(draft: Draft) -> Workload:
    """A small array of its own for each item: sorting, tables of dynamic programming, windows."""
    size = draft.one_of((4, 8, 12, 16, 24))
    kind = draft.one_of(("int", "float", "short"))
    pattern = draft.one_of(("sort", "table", "window"))
    if pattern == "sort":
        cost = size * size * 2.0
        body = f"""for (int a = 1; a < {size}; a++) {{
        {kind} v = own[a]; int b = a - 1;
        while (b >= 0 && own[b] > v) {{ own[b + 1] = own[b]; b--; }}
        own[b + 1] = v;
    }}
    out[i] = own[{size // 2}];"""
    elif pattern == "table":
        cost = size * size * 3.0
        body = f"""for (int a = 0; a < {size}; a++) {{
        {kind} left = a;
        for (int b = 1; b < {size}; b++) {{
            {kind} v = min(min(own[b], own[b - 1]), left) + ({kind})(in[i * {size} + a] > own[b]);
            own[b - 1] = left; left = v;
        }}
    }}
    out[i] = own[0] + own[{size - 2}];"""
        body = body.replace("min(", "fmin(") if kind == "float" else body
    else:
        rounds = draft.about(1, 16)
        cost = size * rounds * 3.0
        body = f"""{kind} sum = 0;
    for (int r = 0; r < {rounds}; r++)
        for (int a = 0; a < {size}; a++) {{
            sum += own[(a + r) % {size}]; own[a] = sum - own[a];
        }}
    out[i] = sum;"""
    source = f"""
__kernel void tuned(__global const {kind} *in, __global {kind} *out) {{
    size_t i = get_global_id(0);
    {kind} own[{size}];
    for (int a = 0; a < {size}; a++) own[a] = in[i * {size} + a];
    {body}
}}"""
    sizes = draft.line(draft.items(cost + 2 * size, BYTES[kind] * size))
    count = sizes[0][0]
    element = NUMPY[kind]
    return draft.workload(
        source,
        sizes,
        Random(element, count * size, 0, 100),
        Zeros(element, count),
    )
