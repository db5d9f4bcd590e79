"""How deep in loops each instruction of a program graph stands, and how often it runs, roughly.

Loops are found as nested strongly connected components of the control flow edges: a component is a
loop, and what is still connected once its entries are taken away is a loop inside of it. Source:
Steensgaard, "Sequentializing Program Dependence Graphs for Irregular Programs", 1993.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.program_graph import CONTROL, INSTRUCTION, ProgramGraph

UNKNOWN_TRIPS = 8.0
"""A loop whose bound is no constant is taken to run so often."""
MOST_TRIPS = 4096.0
MOST_RUNS = 1e9
"""An instruction is taken to run at most so often, however deep it stands."""
_BOUND = re.compile(r"icmp \S+ i\d+ [^,]+, (-?\d+)$")


@dataclass(frozen=True, slots=True)
class Loops:
    """The loops of a program graph.

    Shapes:
        depth: int64 [nodes], how many loops are around an instruction; 0 for other nodes.
        runs: float64 [nodes], the product of those loops' trips; 1 outside of loops.
        constant: int64 [nodes], how many of those loops have a constant bound.
        count: all loops.
    """

    depth: NDArray[np.int64]
    runs: NDArray[np.float64]
    constant: NDArray[np.int64]
    count: int


def find_loops(graph: ProgramGraph) -> Loops:
    """The loops of all functions of a graph."""
    nodes = len(graph.node_types)
    chosen = graph.edge_flows == CONTROL
    successors: dict[int, list[int]] = {}
    for source, target in graph.edge_index[:, chosen].T.tolist():
        successors.setdefault(source, []).append(target)
    depth = np.zeros(nodes, np.int64)
    runs = np.ones(nodes)
    constant = np.zeros(nodes, np.int64)
    count = 0
    flow = [node for node in range(nodes) if graph.node_types[node] == INSTRUCTION]
    pending = [flow]
    while pending:
        inside = set(pending.pop())
        for component in _components(inside, successors):
            count += 1
            members = np.array(component)
            trips = _trips(graph, component, successors)
            depth[members] += 1
            runs[members] *= UNKNOWN_TRIPS if trips is None else trips
            constant[members] += trips is not None
            heads = _heads(component, inside, successors)
            pending.append([node for node in component if node not in heads])
    return Loops(depth, np.minimum(runs, MOST_RUNS), constant, count)


def _heads(component: list[int], inside: set[int], successors: dict[int, list[int]]) -> set[int]:
    """Where a loop is entered from outside; its first instruction where that is nowhere."""
    members = set(component)
    entered = {
        target
        for node in inside - members
        for target in successors.get(node, ())
        if target in members
    }
    return entered or {min(component)}


def _trips(
    graph: ProgramGraph, component: list[int], successors: dict[int, list[int]]
) -> float | None:
    """The greatest constant that a comparison before a way out of the loop compares with, if any."""
    members = set(component)
    bounds = []
    for node in component:
        if all(target in members for target in successors.get(node, ())):
            continue
        # The comparison stands right before its branch, or nearly so.
        for near in range(node - 1, max(node - 4, 0), -1):
            found = _BOUND.search(graph.node_full_texts[near])
            if found is not None and graph.node_types[near] == INSTRUCTION:
                bounds.append(abs(float(found[1])))
                break
    return min(max(*bounds, 1.0), MOST_TRIPS) if bounds else None


def _components(inside: set[int], successors: dict[int, list[int]]) -> Iterable[list[int]]:
    """The strongly connected components that hold a cycle; Tarjan's algorithm without recursion."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: list[list[int]] = []
    for root in sorted(inside):
        if root in index:
            continue
        work = [(root, iter(successors.get(root, ())))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in inside:
                    continue
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    on_stack.add(target)
                    work.append((target, iter(successors.get(target, ()))))
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == index[node]:
                    at = stack.index(node)
                    component = stack[at:]
                    del stack[at:]
                    on_stack.difference_update(component)
                    if len(component) > 1 or node in successors.get(node, ()):
                        found.append(component)
    return found
