"""Patterns of kernels whose work-items work together: matrices, reductions, local memory."""

from __future__ import annotations

from lb_runtime.tuning.draft import BYTES, NUMPY, Draft
from lb_runtime.tuning.workload import Local, Number, Random, Workload, Zeros


def matrix(draft: Draft) -> Workload:
    """Products of matrices: plain, with the second one transposed, by blocks of rows, by tiles."""
    kind = draft.one_of(("float", "float", "float", "double", "int"))
    form = draft.one_of(("plain", "transposed", "rows", "tiled", "tiled", "vector"))
    element = NUMPY[kind]
    if form == "tiled":
        tile = draft.one_of((8, 16))
        side = max(tile * 4, draft.about(4, 24) * tile)
        inner = draft.about(1, 12) * tile
        source = f"""
__kernel void tuned(__global const {kind} *a, __global const {kind} *b, __global {kind} *c, int n, int m) {{
    __local {kind} ta[{tile}][{tile}], tb[{tile}][{tile}];
    int x = get_local_id(0), y = get_local_id(1);
    int column = get_global_id(0), row = get_global_id(1);
    {kind} sum = 0;
    for (int t = 0; t < n; t += {tile}) {{
        ta[y][x] = a[row * n + t + x];
        tb[y][x] = b[(t + y) * m + column];
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int k = 0; k < {tile}; k++) sum += ta[y][k] * tb[k][x];
        barrier(CLK_LOCAL_MEM_FENCE);
    }}
    c[row * m + column] = sum;
}}"""
        sizes = (side, side), (tile, tile)
        columns, rows = side, side
    else:
        inner = draft.about(8, 256)
        per_item = draft.one_of((2, 4)) if form == "rows" else 1
        sizes = draft.plane(draft.items(5.0 * inner * per_item, BYTES[kind] * per_item))
        columns, rows = sizes[0][0], sizes[0][1] * per_item
        second = "b[column * n + k]" if form == "transposed" else "b[k * m + column]"
        if form == "rows":
            sums = ", ".join(f"s{r} = 0" for r in range(per_item))
            steps = " ".join(
                f"s{r} += a[(row * {per_item} + {r}) * n + k] * v;" for r in range(per_item)
            )
            ends = " ".join(
                f"c[(row * {per_item} + {r}) * m + column] = s{r};" for r in range(per_item)
            )
            body = f"""{kind} {sums};
    for (int k = 0; k < n; k++) {{ {kind} v = {second}; {steps} }}
    {ends}"""
        elif form == "vector":
            inner = 4 * max(2, inner // 4)
            body = f"""{kind}4 sum = 0;
    for (int k = 0; k < n; k += 4)
        sum += vload4(0, a + row * n + k) * ({kind}4)(b[k * m + column], b[(k + 1) * m + column],
            b[(k + 2) * m + column], b[(k + 3) * m + column]);
    c[row * m + column] = sum.x + sum.y + sum.z + sum.w;"""
        else:
            body = f"""{kind} sum = 0;
    for (int k = 0; k < n; k++) sum += a[row * n + k] * {second};
    c[row * m + column] = sum;"""
        source = f"""
__kernel void tuned(__global const {kind} *a, __global const {kind} *b, __global {kind} *c, int n, int m) {{
    int column = get_global_id(0), row = get_global_id(1);
    {body}
}}"""
    return draft.workload(
        source,
        sizes,
        Random(element, rows * inner, 0, 9),
        Random(element, inner * columns, 0, 9),
        Zeros(element, rows * columns),
        Number(inner),
        Number(columns),
    )


def reduction(draft: Draft) -> Workload:
    """A value from each work-group: every item adds up some elements, then halves meet in a tree."""
    kind = draft.one_of(("float", "float", "double", "int", "uint"))
    each = draft.about(1, 64)
    combine = draft.one_of(("{a} += {b};", "{a} = {b} > {a} ? {b} : {a};", "{a} = {a} * 1 + {b};"))
    transform = draft.one_of(("v", "v * v", f"v * ({kind})3 + ({kind})1", "v"))
    walk = draft.one_of(("(start * {each} + k * size + i)", "(start * {each} + i * {each} + k)"))
    place = walk.replace("{each}", str(each))
    is_argument = draft.chance(0.5)
    sizes = draft.line(draft.items(4.0 * each + 12, BYTES[kind] * each))
    (items,), (local,) = sizes
    declared = "" if is_argument else f"    __local {kind} shared[{local}];\n"
    parameter = f", __local {kind} *shared" if is_argument else ""
    step = combine.replace("{a}", "shared[i]").replace("{b}", "shared[i + half_]")
    add = combine.replace("{a}", "sum").replace("{b}", transform)
    source = f"""
__kernel void tuned(__global const {kind} *in, __global {kind} *out{parameter}) {{
{declared}    int i = get_local_id(0), size = get_local_size(0);
    int start = get_group_id(0) * size;
    {kind} sum = 0;
    for (int k = 0; k < {each}; k++) {{
        {kind} v = in[{place}];
        {add}
    }}
    shared[i] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int half_ = size / 2; half_ > 0; half_ /= 2) {{
        if (i < half_) {{ {step} }}
        barrier(CLK_LOCAL_MEM_FENCE);
    }}
    if (i == 0) out[get_group_id(0)] = shared[0];
}}"""
    arguments = (
        Random(NUMPY[kind], items * each, 0, 9),
        Zeros(NUMPY[kind], items // local),
    )
    if is_argument:
        return draft.workload(source, sizes, *arguments, Local(local * BYTES[kind]))
    return draft.workload(source, sizes, *arguments)


def local_tile(draft: Draft) -> Workload:
    """Elements that meet in local memory: turned tiles, neighbours, scans, counts, all with barriers."""
    pattern = draft.one_of(("turn", "neighbours", "scan", "count", "rounds"))
    kind = draft.one_of(("float", "int", "double")) if pattern != "count" else "int"
    element = NUMPY[kind]
    if pattern == "turn":
        tile = draft.one_of((8, 16))
        sizes2 = draft.plane(draft.items(8, BYTES[kind]))
        columns = max(tile, sizes2[0][0] // tile * tile)
        rows = max(2 * tile, sizes2[0][1] // tile * tile)
        source = f"""
__kernel void tuned(__global const {kind} *in, __global {kind} *out, int columns, int rows) {{
    __local {kind} tile[{tile}][{tile} + 1];
    int x = get_local_id(0), y = get_local_id(1);
    tile[y][x] = in[get_global_id(1) * columns + get_global_id(0)];
    barrier(CLK_LOCAL_MEM_FENCE);
    int left = get_group_id(1) * {tile}, top = get_group_id(0) * {tile};
    out[(top + y) * rows + left + x] = tile[x][y];
}}"""
        count = columns * rows
        return draft.workload(
            source,
            ((columns, rows), (tile, tile)),
            Random(element, count, 0, 9),
            Zeros(element, count),
            Number(columns),
            Number(rows),
        )
    rounds = draft.about(1, 32)
    body = {
        "neighbours": f"""for (int r = 0; r < {rounds}; r++) {{
        {kind} v = shared[(i + size - 1) % size] + shared[(i + 1) % size] - shared[i];
        barrier(CLK_LOCAL_MEM_FENCE);
        shared[i] = v;
        barrier(CLK_LOCAL_MEM_FENCE);
    }}
    out[g] = shared[i];""",
        "scan": f"""for (int step = 1; step < size; step *= 2) {{
        {kind} v = i >= step ? shared[i - step] : 0;
        barrier(CLK_LOCAL_MEM_FENCE);
        shared[i] += v;
        barrier(CLK_LOCAL_MEM_FENCE);
    }}
    out[g] = shared[i];""",
        "count": f"""int n = 0;
    for (int k = 0; k < size; k++) n += shared[k] < shared[i] + {rounds};
    out[g] = n;""",
        "rounds": f"""{kind} sum = 0;
    for (int r = 0; r < {rounds}; r++)
        for (int k = 0; k < 8; k++) sum += shared[(i + k * (r + 1)) % size] * (r + k);
    out[g] = sum;""",
    }[pattern]
    cost = {"neighbours": 14.0 * rounds, "scan": 60.0, "count": 250.0, "rounds": 40.0 * rounds}
    sizes = draft.line(draft.items(cost[pattern] + 4, BYTES[kind]))
    (items,), (local,) = sizes
    source = f"""
__kernel void tuned(__global const {kind} *in, __global {kind} *out) {{
    __local {kind} shared[{local}];
    int g = get_global_id(0), i = get_local_id(0), size = get_local_size(0);
    shared[i] = in[g];
    barrier(CLK_LOCAL_MEM_FENCE);
    {body}
}}"""
    return draft.workload(source, sizes, Random(element, items, 0, 9), Zeros(element, items))
