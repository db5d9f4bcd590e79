"""Patterns of kernels whose time goes into reading and writing memory, near and far."""

from __future__ import annotations

from lb_runtime.tuning.draft import BYTES, NUMPY, Draft
from lb_runtime.tuning.workload import Made, Number, Random, Workload, Zeros


def stream(draft: Draft) -> Workload:
    """Element by element from some arrays to another one, with a few operations between."""
    kind = draft.one_of(("float", "float", "double", "int", "uint", "short", "uchar", "long"))
    width = draft.one_of((1, 1, 1, 2, 4, 8, 16))
    vector = kind if width == 1 else f"{kind}{width}"
    inputs = draft.one_of((1, 1, 2, 3, 4))
    names = [f"in{k}" for k in range(inputs)]
    value = f"{names[0]}[i]"
    for name in names[1:]:
        value = f"({value} {draft.one_of('+-*')} {name}[i])"
    for _ in range(draft.one_of((0, 0, 1, 2, 4))):
        value = f"({value} * ({kind})3 + ({kind})1)"
    update = draft.one_of(("=", "=", "+="))
    parameters = ", ".join(f"__global const {vector} *{name}" for name in names)
    source = f"""
__kernel void tuned({parameters}, __global {vector} *out) {{
    size_t i = get_global_id(0);
    out[i] {update} {value};
}}"""
    size = BYTES[kind] * width
    sizes = draft.line(draft.items(4.0 * (inputs + 1) * width**0.5, size))
    count = sizes[0][0] * width
    arrays: list[Made] = [Random(NUMPY[kind], count, 0, 9) for _ in names]
    return draft.workload(source, sizes, *arrays, Zeros(NUMPY[kind], count))


def stencil(draft: Draft) -> Workload:
    """Each element from its neighbours, in one, two or three dimensions."""
    kind = draft.one_of(("float", "float", "double", "int"))
    dimensions, radius = draft.one_of((1, 2, 2, 3)), draft.one_of((1, 1, 2, 3))
    element = NUMPY[kind]
    if dimensions == 1:
        radius *= draft.one_of((1, 2, 4))
        taps = " + ".join(f"({kind}){k + 1} * in[i + {k}]" for k in range(2 * radius + 1))
        source = f"""
__kernel void tuned(__global const {kind} *in, __global {kind} *out) {{
    size_t i = get_global_id(0);
    out[i] = {taps};
}}"""
        sizes = draft.line(draft.items(3.0 * (2 * radius + 1), BYTES[kind]))
        count = sizes[0][0]
        return draft.workload(
            source, sizes, Random(element, count + 2 * radius, 0, 9), Zeros(element, count)
        )
    if dimensions == 2:
        is_cross = draft.chance(0.5)
        span = range(-radius, radius + 1)
        places = [(a, b) for a in span for b in span if not is_cross or a == 0 or b == 0]
        taps = " + ".join(f"in[(y + {a}) * columns + x + {b}]" for a, b in places)
        source = f"""
__kernel void tuned(__global const {kind} *in, __global {kind} *out, int columns, int rows) {{
    int x = get_global_id(0), y = get_global_id(1);
    if (x < {radius} || y < {radius} || x >= columns - {radius} || y >= rows - {radius}) return;
    out[y * columns + x] = ({taps}) / ({kind}){len(places)};
}}"""
        sizes2 = draft.plane(draft.items(3.0 * len(places), BYTES[kind]))
        columns, rows = sizes2[0]
        count = columns * rows
        return draft.workload(
            source.replace("+ -", "- "),
            sizes2,
            Random(element, count, 0, 9),
            Zeros(element, count),
            Number(columns),
            Number(rows),
        )
    depth = draft.about(4, 32)
    source = f"""
__kernel void tuned(__global const {kind} *in, __global {kind} *out, int columns, int rows) {{
    int x = get_global_id(0), y = get_global_id(1), plane = columns * rows;
    if (x < 1 || y < 1 || x >= columns - 1 || y >= rows - 1) return;
    for (int z = 1; z < {depth} - 1; z++) {{
        int i = y * columns + x;
        out[i * {depth} + z] = in[i * {depth} + z] * ({kind})2 - in[i * {depth} + z - 1]
            - in[i * {depth} + z + 1] + in[(i + 1) * {depth} + z] + in[(i - columns) * {depth} + z];
    }}
}}"""
    sizes2 = draft.plane(draft.items(15.0 * depth, BYTES[kind] * depth))
    columns, rows = sizes2[0]
    count = columns * rows * depth
    return draft.workload(
        source.replace(", plane = columns * rows", ""),
        sizes2,
        Random(element, count, 0, 9),
        Zeros(element, count),
        Number(columns),
        Number(rows),
    )


def gather(draft: Draft) -> Workload:
    """Reads at places that other data tell: tables, permutations, sparse rows."""
    kind = draft.one_of(("float", "double", "int", "uchar"))
    per_item = draft.about(1, 32)
    table = draft.about(1 << 8, 1 << 21)
    interleaved = draft.chance(0.5)
    place = "k * n + i" if interleaved else f"i * {per_item} + k"
    with_weights = draft.chance(0.4)
    term = "table[at[p]]" + (" * weights[p]" if with_weights else "")
    total = "float" if kind == "float" else "double" if kind == "double" else "int"
    parameters = (
        f"__global const {kind} *table, __global const int *at, __global {total} *out, int n"
    )
    if with_weights:
        parameters += f", __global const {total} *weights"
    source = f"""
__kernel void tuned({parameters}) {{
    int i = get_global_id(0);
    {total} sum = 0;
    for (int k = 0; k < {per_item}; k++) {{
        int p = {place};
        sum += {term};
    }}
    out[i] = sum;
}}"""
    sizes = draft.line(draft.items(7.0 * per_item + 4, 4 * per_item))
    items = sizes[0][0]
    arguments: list[Made] = [
        Random(NUMPY[kind], table, 0, 9),
        Random("int32", items * per_item, 0, table),
        Zeros(NUMPY[total], items),
        Number(items),
    ]
    if with_weights:
        arguments.append(Random(NUMPY[total], items * per_item, 0, 9))
    return draft.workload(source, sizes, *arguments)


def row_walk(draft: Draft) -> Workload:
    """A work-item walks along a row or a column of its own: sums, products with a vector, scans."""
    kind = draft.one_of(("float", "float", "double", "int"))
    length = draft.about(8, 2048)
    is_column = draft.chance(0.4)
    place = "k * n + i" if is_column else f"i * {length} + k"
    pattern = draft.one_of(("sum", "dot", "scan", "extreme"))
    body = {
        "sum": f"s += a[{place}];",
        "dot": f"s += a[{place}] * x[k];",
        "scan": f"s = s / 2 + a[{place}]; b[{place}] = s;",
        "extreme": f"s = a[{place}] > s ? a[{place}] : s;",
    }[pattern]
    source = f"""
__kernel void tuned(__global const {kind} *a, __global const {kind} *x, __global {kind} *b, int n) {{
    int i = get_global_id(0);
    {kind} s = 0;
    for (int k = 0; k < {length}; k++) {{
        {body}
    }}
    {"" if pattern == "scan" else "b[i] = s;"}
}}"""
    sizes = draft.line(draft.items(4.0 * length, BYTES[kind] * length))
    items, element = sizes[0][0], NUMPY[kind]
    return draft.workload(
        source,
        sizes,
        Random(element, items * length, 0, 9),
        Random(element, length, 0, 9),
        Zeros(element, items * length if pattern == "scan" else items),
        Number(items),
    )


def pixels(draft: Draft) -> Workload:
    """Bytes of pixels to numbers and back: colours, gamma, thresholds, half tones."""
    pattern = draft.one_of(("grey", "gamma", "mix", "threshold", "pack"))
    body = {
        "grey": "float4 f = convert_float4(p); float g = 0.3f * f.x + 0.6f * f.y + 0.1f * f.z;"
        " out[i] = (uchar4)((uchar)g, (uchar)g, (uchar)g, p.w);",
        "gamma": "float4 f = convert_float4(p) / 255.0f; f = pow(f, (float4)(0.45f));"
        " out[i] = convert_uchar4_sat(f * 255.0f);",
        "mix": "uchar4 q = in[n - 1 - i]; out[i] = (uchar4)((p.x + q.x) / 2, (p.y + q.z) / 2,"
        " max(p.z, q.y), p.w);",
        "threshold": "int s = (int)p.x + p.y + p.z; out[i] = s > 384 ? (uchar4)(255) : p / (uchar4)(2);",
        "pack": "uint v = ((uint)p.x << 24) | ((uint)p.y << 16) | ((uint)p.z << 8) | p.w;"
        " v = rotate(v, 5u) ^ 0x5a5a5a5au; out[i] = as_uchar4(v);",
    }[pattern]
    repeats = draft.about(1, 12)
    loop = f"for (int k = 0; k < {repeats}; k++) {{ p += (uchar4)(k); {body} }}"
    source = f"""
__kernel void tuned(__global const uchar4 *in, __global uchar4 *out, int n) {{
    int i = get_global_id(0);
    uchar4 p = in[i];
    {loop if draft.chance(0.6) else body}
}}"""
    cost = 80.0 if pattern == "gamma" else 16.0
    sizes = draft.line(draft.items(cost * (repeats if loop in source else 1), 4))
    count = sizes[0][0]
    return draft.workload(
        source, sizes, Random("uint8", 4 * count, 0, 256), Zeros("uint8", 4 * count), Number(count)
    )
