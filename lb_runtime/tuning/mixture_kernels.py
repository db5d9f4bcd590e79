"""Kernels put together at random from pieces: they fill the space between the other patterns.

A mixture loads a value, takes it through loops whose bodies are drawn from arithmetic, built-in functions,
divisions, branches, tables, walks along memory, private arrays and exchanges in local memory, and stores it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lb_runtime.tuning.draft import BYTES, NUMPY, Draft
from lb_runtime.tuning.workload import Made, Number, Random, Workload, Zeros

TABLE = 1 << 12
OWN = 8
MOST_TRIPS = 24


@dataclass
class _Text:
    """A mixture under construction: what it declares, and what one pass of its body costs."""

    kind: str
    width: int
    uses: set[str] = field(default_factory=set)
    cost: float = 0.0

    @property
    def vector(self) -> str:
        return self.kind if self.width == 1 else f"{self.kind}{self.width}"

    @property
    def is_float(self) -> bool:
        return self.kind in ("float", "double")


def mixture(draft: Draft) -> Workload:
    """One kernel of random pieces."""
    kind = draft.one_of(("float", "float", "float", "double", "int", "int", "uint", "short"))
    width = draft.one_of((1, 1, 1, 1, 2, 4, 8))
    text = _Text(kind, width)
    local = draft.one_of((32, 64, 128, 256))
    spread = draft.one_of((1, 1, 1, 2, 4, 16))
    place = {1: "i"}.get(spread, f"i * {spread}" if draft.chance(0.6) else f"i + n * {spread - 1}")
    depth = draft.one_of((0, 0, 1, 1, 1, 2))
    trips = [draft.about(2, MOST_TRIPS if depth == 2 else 120) for _ in range(depth)]
    body = _body(draft, text, draft.one_of((1, 1, 2, 3, 4)), depth)
    cost = text.cost * width**0.5
    for level, count in reversed(list(enumerate(trips))):
        bound = draft.one_of((str(count), f"trips{level}", f"trips{level}"))
        if not text.is_float and width == 1 and level == 0 and draft.chance(0.3):
            bound = f"(int)(in[{place}] & 7) + {count}"
        after = _body(draft, text, draft.one_of((0, 0, 1)), level) if depth == 2 else ""
        indented = "\n".join("    " + line for line in body.splitlines())
        body = f"    for (int k{level} = 0; k{level} < {bound}; k{level}++) {{\n{indented}\n    }}\n{after}"
        cost *= count
    if draft.chance(0.2):
        body += _exchange(draft, text, local)
    has_shared = "shared" in text.uses
    arguments: list[Made] = []
    parameters = [f"__global const {text.vector} *in", f"__global {text.vector} *out"]
    sizes = draft.line(draft.items(cost + 6, BYTES[kind] * width * spread), local)
    items = sizes[0][0]
    arguments += [
        Random(NUMPY[kind], items * spread * width, 0, 9),
        Zeros(NUMPY[kind], items * width),
        Number(items),
    ]
    parameters.append("int n")
    for level, count in enumerate(trips):
        parameters.append(f"int trips{level}")
        arguments.append(Number(count))
    if "table" in text.uses:
        parameters.append(f"{draft.one_of(('__global const', '__constant'))} {text.vector} *table")
        arguments.append(Random(NUMPY[kind], TABLE * width, 0, 9))
    declared = f"    __local {text.vector} shared[{local}];\n" if has_shared else ""
    if "own" in text.uses:
        declared += f"    {text.vector} own[{OWN}];\n"
        declared += f"    for (int a = 0; a < {OWN}; a++) own[a] = ({text.vector})(a);\n"
    source = f"""
__kernel void tuned({", ".join(parameters)}) {{
{declared}    int i = get_global_id(0);
    {text.vector} x = in[{place}], y = x;
{body}
    out[i] = y;
}}"""
    return draft.workload(source, sizes, *arguments)


def _body(draft: Draft, text: _Text, statements: int, depth: int) -> str:
    return "".join(f"    {_statement(draft, text, depth)}\n" for _ in range(statements))


def _statement(draft: Draft, text: _Text, depth: int) -> str:
    """One statement that changes y; inside of a loop it may use the loop's counter."""
    counter = f"k{depth - 1}" if depth else "3"
    v = f"({text.vector})"
    pieces = ["sum", "sum", "product", "divide", "choose", "table", "gather", "own", "bits"]
    pieces += ["special", "special"] if text.is_float else ["shift", "shift"]
    if text.width == 1:
        pieces += ["branch", "walk"]
    piece = draft.one_of(pieces)
    text.cost += {"divide": 12.0, "special": 25.0, "gather": 6.0, "own": 5.0}.get(piece, 3.0)
    if piece in ("table", "gather", "walk"):
        text.uses.add("table")
    if piece == "own":
        text.uses.add("own")
    index = f"(int)y & {TABLE - 1}" if text.width == 1 else f"(int)y.s0 & {TABLE - 1}"
    name = draft.one_of(("exp", "sin", "sqrt", "log", "rsqrt", "tanh", "cos", "exp2"))
    number = draft.one_of((2, 3, 5, 7))
    return {
        "sum": f"y = y * {v}({number}) + x;",
        "product": f"y = y * x - {v}({counter});",
        "divide": f"y = x / (y * y + {v}({number}));",
        "choose": f"y = max(min(y, x), {v}({number}));",
        "table": f"y += table[({counter} * {number}) & {TABLE - 1}];",
        "gather": f"y += table[{index}];",
        "walk": f"y += table[(i * {draft.one_of((1, 1, 8))} + {counter}) & {TABLE - 1}];",
        "own": f"own[({counter} + {number}) & {OWN - 1}] += y; y -= own[{counter} & {OWN - 1}];",
        "bits": f"y = y + x * {v}({number}) - {v}({counter}) * x;",
        "special": f"y = {name}(fabs(y) + {v}(0.5f));",
        "shift": f"y = (y >> {v}({number})) ^ (x << {v}(2));",
        "branch": f"if (y > x) y -= x + ({text.kind}){number}; else y = y * 2 + ({text.kind})1;",
    }[piece]


def _exchange(draft: Draft, text: _Text, local: int) -> str:
    """Values handed on to other items of the work-group."""
    text.uses.add("shared")
    step = draft.one_of((1, 1, 7, local // 2))
    passes = draft.one_of((1, 1, 4))
    text.cost += 8.0 * passes
    return f"""    int l = get_local_id(0);
    for (int p = 0; p < {passes}; p++) {{
        shared[l] = y;
        barrier(CLK_LOCAL_MEM_FENCE);
        y += shared[(l + {step}) % {local}];
        barrier(CLK_LOCAL_MEM_FENCE);
    }}
"""
