"""What stands where a kernel spends its time: the facts on which compilers for processors part ways.

One compiler lays work-items side by side in vector registers, another vectorises the loops inside of a
work-item, a third does neither. Which of them wins follows from what the hottest loop carries from pass to
pass (a sum that may be reordered, or a chain), from the branches and calls in it, from what its addresses
follow, and from vectors in the source. Needs nothing but a program graph.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from predictor.addresses import Access, accesses
from predictor.features import specific_texts
from predictor.loops import find_loops
from predictor.program_graph import DATA, DECLARATION_TEXT, INSTRUCTION, ROOT_TEXT, ProgramGraph

HOT_VERSION = 1
HOT_PART = 0.3
"""An instruction is hot when it runs at least so often, as a part of the one that runs most."""
_LANES = re.compile(r"<(\d+) x ")
_PHI = re.compile(r"phi (?:fast )?(?:<\d+ x )?(\w+)")
_STEP = re.compile(r", -?\d+$")
_REORDERED = frozenset(
    "add fadd mul fmul and or xor select".split()
    + [f"call {name}" for name in "min max fmin fmax llvm.fmuladd".split()]
    + [f"call llvm.{name}" for name in "smax smin umax umin".split()]
)
"""Operations of a sum, a product or an extreme: its terms may be taken in another order (if integer)."""
_INLINE = frozenset(
    f"call {name}"
    for name in "min max fmin fmax sqrt rsqrt native_sqrt fabs fma mad clamp barrier".split()
)
"""Built-in functions that are an instruction or few: no call is left of them."""
_COSTLY = frozenset(
    f"call {name}"
    for name in (
        "exp exp2 exp10 expm1 log log2 log10 log1p sin cos tan sincos sinh cosh tanh asin acos atan atan2 "
        "pow pown powr cbrt hypot fmod erf tgamma lgamma native_exp native_log native_sin native_cos"
    ).split()
)
_FLOAT_WORK = frozenset([*"fadd fmul fsub fdiv fneg".split(), "call llvm.fmuladd"])
_INTEGER_WORK = frozenset("add mul sub shl lshr ashr and or xor".split())
_DIVISIONS = frozenset("sdiv udiv srem urem".split())
_FLOATS = frozenset({"double", "float", "half"})

HOT_FACTS = tuple(
    "loop|float chains|float sums|integer chains|integer sums|carries floats|carries integers|calls|"
    "any call|costly|lanes|any vector|barriers|any barrier|branches|straight|by loop|by loop scaled|by id|"
    "by id scaled|loaded|uniform|local|private|stores|loop fits vectors|loop fits vectors in line|"
    "items fit vectors|items fit vectors in line|in line|float work|integer work|float divisions|"
    "integer divisions|choices|double|long|short|size|chains".split("|")
)
"""Names of the facts. Parts are of the hot instructions; "in line": neighbours touch neighbouring bytes."""


def hot_facts(graph: ProgramGraph) -> NDArray[np.float64]:
    """The facts of a kernel, named by `HOT_FACTS`. Shapes: float64 [facts]."""
    loops = find_loops(graph)
    texts = specific_texts(graph)
    chosen = np.flatnonzero(graph.node_types == INSTRUCTION)
    most = float(loops.runs[chosen].max())
    hot = [
        int(node)
        for node in chosen
        if loops.runs[node] >= HOT_PART * most
        and graph.node_texts[node] not in (ROOT_TEXT, DECLARATION_TEXT)
    ]
    count = max(len(hot), 1)
    full = [graph.node_full_texts[node] for node in hot]
    words = [texts[node] for node in hot]
    is_loop = any(loops.depth[node] > 0 for node in hot)
    carried = _carried(graph, hot, texts) if is_loop else _NOTHING_CARRIED
    float_chains, float_sums, integer_chains, integer_sums = carried

    def part(names: frozenset[str]) -> float:
        return sum(word in names for word in words) / count

    calls = [
        word
        for word in words
        if word.startswith("call") and not word.startswith(("call llvm.", "call get_"))
    ]
    calls = [word for word in calls if word not in _INLINE]
    lanes = max((int(found[1]) for text in full if (found := _LANES.search(text))), default=1)
    branches = sum(word in ("br", "switch") for word in words)
    barriers = words.count("call barrier")
    hot_set = set(hot)
    touched = _touched([a for a in accesses(graph) if a.node in hot_set], count)
    is_straight = branches <= 1 and not calls
    in_line = touched["by id scaled"] == 0 and touched["loaded"] == 0
    loop_fits = is_loop and is_straight and not (float_chains or float_sums or integer_chains)
    items_fit = not is_loop and is_straight and barriers == 0
    values: dict[str, float] = {
        "loop": is_loop,
        "float chains": np.log1p(float_chains),
        "float sums": np.log1p(float_sums),
        "integer chains": np.log1p(integer_chains),
        "integer sums": np.log1p(integer_sums),
        "carries floats": float_chains + float_sums > 0,
        "carries integers": integer_chains + integer_sums > 0,
        "calls": np.log1p(10.0 * len(calls) / count),
        "any call": bool(calls),
        "costly": np.log1p(10.0 * part(_COSTLY)),
        "lanes": np.log2(lanes),
        "any vector": lanes > 1,
        "barriers": barriers / count,
        "any barrier": barriers > 0,
        "branches": np.log1p(branches),
        "straight": branches <= 1,
        **touched,
        "loop fits vectors": loop_fits,
        "loop fits vectors in line": loop_fits
        and touched["by loop scaled"] == 0
        and touched["loaded"] == 0,
        "items fit vectors": items_fit,
        "items fit vectors in line": items_fit and in_line,
        "in line": in_line,
        "float work": part(_FLOAT_WORK),
        "integer work": part(_INTEGER_WORK),
        "float divisions": part(frozenset({"fdiv"})),
        "integer divisions": part(_DIVISIONS),
        "choices": part(frozenset({"icmp", "fcmp", "select"})),
        "double": sum("double" in text for text in full) / count,
        "long": sum(" i64" in text for text in full) / count,
        "short": sum(" i16" in text or " i8" in text for text in full) / count,
        "size": np.log(count),
        "chains": 10.0 * (float_chains + float_sums + integer_chains) / count,
    }
    return np.array([float(values[name]) for name in HOT_FACTS])


_NOTHING_CARRIED = 0, 0, 0, 0


def _carried(graph: ProgramGraph, hot: list[int], texts: list[str]) -> tuple[int, int, int, int]:
    """How many values loops carry: chains of floats, sums of floats, and both of integers; no counters."""
    inside = set(hot)
    before: dict[int, list[int]] = {}
    after: dict[int, list[int]] = {}
    for source, target in graph.edge_index[:, graph.edge_flows == DATA].T.tolist():
        before.setdefault(target, []).append(source)
        after.setdefault(source, []).append(target)
    found = [0, 0, 0, 0]
    for phi in hot:
        if texts[phi] != "phi":
            continue
        kind = _PHI.search(graph.node_full_texts[phi])
        is_float = kind is not None and kind[1] in _FLOATS
        users = {
            user
            for value in after.get(phi, ())
            for user in after.get(value, ())
            if user in inside and user != phi
        }
        feeding = {maker for value in before.get(phi, ()) for maker in before.get(value, ())}
        back = users & feeding
        if not is_float and any(
            texts[user] == "add" and _STEP.search(graph.node_full_texts[user]) for user in back
        ):
            continue
        is_sum = len(users) == 1 and any(texts[user] in _REORDERED for user in back)
        found[2 * (not is_float) + is_sum] += 1
    return found[0], found[1], found[2], found[3]


def _touched(hot: list[Access], count: int) -> dict[str, float]:
    """What accesses follow, as parts of the hot instructions."""
    outer = [access for access in hot if access.space in (1, 2)]
    loaded = sum("loaded" in a.follows for a in outer)
    line = sum("id0" in a.follows and not a.follows & {"id0 scaled", "loaded"} for a in outer)
    numbers = {
        "by loop": sum("loop" in a.follows and "loop scaled" not in a.follows for a in outer),
        "by loop scaled": sum("loop scaled" in a.follows for a in outer),
        "by id": line,
        "by id scaled": sum("id0 scaled" in a.follows for a in outer),
        "loaded": loaded,
        "uniform": sum(not a.follows & {"id0", "id0 scaled", "loaded"} for a in outer),
        "local": sum(a.space == 3 for a in hot),
        "private": sum(a.space == 0 for a in hot),
        "stores": sum(a.is_store for a in hot),
    }
    return {name: number / count for name, number in numbers.items()}
