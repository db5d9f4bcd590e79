"""How often a kernel's loops run in one launch, as far as its arguments tell.

A loop that is left by a comparison with a whole-number argument (or with what casts, sums and shifts make of
it) is taken to run that often, where `find_loops` has to assume a number. Parameters stand in the program
graph as variables that no instruction gives; clang numbers them in order, from `%0`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from predictor.loops import UNKNOWN_TRIPS, find_loops
from predictor.program_graph import CONTROL, DATA, INSTRUCTION, VARIABLE, ProgramGraph

MOST_TRIPS = 1 << 22
_PARAMETER = re.compile(r"%(\d+)$")
_PASSED = frozenset(
    "zext sext trunc add sub shl lshr ashr mul sdiv udiv and or freeze select phi".split()
)
_PASSED_CALLS = ("llvm.smax", "llvm.smin", "llvm.umax", "llvm.umin")
_MOST_STEPS = 24


def log_trips(graph: ProgramGraph, integers: Sequence[int | None]) -> float:
    """By how much a launch's work differs from what was assumed of its loops, as a logarithm.

    `integers` holds a value for each parameter of the kernel, None for those that are no whole number. The
    graph is that of one kernel.
    """
    loops = find_loops(graph)
    if not loops.count:
        return 0.0
    hottest = max(
        (n for n in range(len(graph.node_types)) if graph.node_types[n] == INSTRUCTION),
        key=lambda node: (loops.runs[node], loops.depth[node]),
    )
    unknown = int(loops.depth[hottest] - loops.constant[hottest])
    makers: dict[int, list[int]] = {}
    for source, target in graph.edge_index[:, graph.edge_flows == DATA].T.tolist():
        makers.setdefault(target, []).append(source)
    found: dict[int, int] = {}
    for source, target in graph.edge_index[:, graph.edge_flows == CONTROL].T.tolist():
        depth = int(loops.depth[source])
        if depth > loops.depth[target] and depth <= loops.depth[hottest]:
            trips = _bound(graph, source, makers, integers)
            if trips is not None:
                found[depth] = max(found.get(depth, 1), trips)
    counted = sorted(found.values(), reverse=True)[: max(unknown, 0)]
    return sum(math.log(trips / UNKNOWN_TRIPS) for trips in counted)


def _bound(
    graph: ProgramGraph,
    branch: int,
    makers: dict[int, list[int]],
    integers: Sequence[int | None],
) -> int | None:
    """The greatest argument that a branch's condition is computed from."""
    bounds: list[int] = []
    seen = {branch}
    pending = [branch]
    while pending and len(seen) < _MOST_STEPS:
        node = pending.pop(0)
        for source in makers.get(node, ()):
            if source in seen:
                continue
            seen.add(source)
            if graph.node_types[source] == INSTRUCTION:
                if _passes(graph, source):
                    pending.append(source)
            elif graph.node_types[source] == VARIABLE:
                if source in makers:
                    pending.append(source)
                    continue
                number = _PARAMETER.search(graph.node_full_texts[source])
                place = int(number[1]) if number else -1
                value = integers[place] if 0 <= place < len(integers) else None
                if value is not None and value > 0:
                    bounds.append(min(value, MOST_TRIPS))
    return max(bounds, default=None)


def _passes(graph: ProgramGraph, node: int) -> bool:
    """Whether a bound is still one behind this instruction."""
    text = graph.node_texts[node]
    if text == "call":
        return any(name in graph.node_full_texts[node] for name in _PASSED_CALLS)
    return text in _PASSED or text == "icmp"
