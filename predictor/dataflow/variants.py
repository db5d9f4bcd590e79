"""Made-up variants of training graphs: instructions repeated, exactly and almost.

What a compiler leaves has few common subexpressions, and hardly two instructions that differ in one
operand or in the order of two; a model that sees only those never learns to compare. So for this task
training graphs are varied: some instructions get a copy somewhere in their function, exact or with
another opcode, another operand or two operands exchanged. What is a common subexpression then, the
analysis itself says, which labels the variant like any other graph. Only training graphs are varied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from predictor.dataflow.analyses import Flows
from predictor.dataflow.corpus import Source
from predictor.program_graph import CALL, CONTROL, DATA, VARIABLE, ProgramGraph

COUNT = 2
"""Variants of each training graph."""
COPIED = 0.25
"""The part of a graph's instructions that is copied."""
_NOT_COPIED = frozenset(("ret", "switch", "unreachable"))
_LAST_IN_BLOCK = frozenset(("br", *_NOT_COPIED))


@dataclass(slots=True)
class _Growing:
    """A graph's nodes and edges as lists that grow."""

    types: list[int]
    texts: list[str]
    functions: list[int]
    edges: list[tuple[int, int, int, int]]

    def node(self, kind: int, text: str, function: int) -> int:
        self.types.append(kind)
        self.texts.append(text)
        self.functions.append(function)
        return len(self.types) - 1


def variants(sources: Sequence[Source], count: int, seed: int) -> list[Source]:
    """`count` variants of each graph, of the same program; random choices follow from `seed`."""
    return [
        Source(
            f"{source.name}~{number}",
            source.program,
            vary(source.graph, np.random.default_rng((seed, index, number))),
        )
        for index, source in enumerate(sources)
        for number in range(count)
    ]


def vary(graph: ProgramGraph, random: np.random.Generator) -> ProgramGraph:
    """The graph with COPIED of its instructions copied, exactly or with one difference.

    A copy follows on some other instruction: its place must not tell what it is a copy of.
    """
    flows = Flows(graph)
    operands: list[list[tuple[int, int]]] = [[] for _ in range(flows.nodes)]
    for edge in np.flatnonzero(graph.edge_flows == DATA).tolist():
        source, target = graph.edge_index[:, edge].tolist()
        operands[target].append((int(graph.edge_positions[edge]), source))
    candidates = [
        n for n in flows.instructions if operands[n] and graph.node_texts[n] not in _NOT_COPIED
    ]
    copied = [n for n in candidates if random.random() < COPIED]
    values = [source for node in candidates for _, source in operands[node]]
    texts = [graph.node_texts[node] for node in candidates]
    places: dict[int, list[int]] = {}
    for node in random.permutation(flows.instructions).tolist():
        if graph.node_texts[node] not in _LAST_IN_BLOCK and flows.successors[node]:
            places.setdefault(int(graph.node_functions[node]), []).append(node)
    after: dict[int, int] = {}
    copies: dict[int, int] = {}
    grown = _Growing(
        graph.node_types.tolist(), list(graph.node_texts), graph.node_functions.tolist(), []
    )
    for node in copied:
        free = places.get(int(graph.node_functions[node]))
        if not free:
            continue
        taken, text = sorted(operands[node]), graph.node_texts[node]
        change = int(random.integers(0, 6))
        if change == 0:
            text = texts[int(random.integers(0, len(texts)))]
        elif change == 1:
            place = int(random.integers(0, len(taken)))
            taken[place] = (taken[place][0], values[int(random.integers(0, len(values)))])
        elif change == 2 and len(taken) > 1:
            (one, first), (other, second) = taken[:2]
            taken[:2] = [(one, second), (other, first)]
        copy = grown.node(int(graph.node_types[node]), text, int(graph.node_functions[node]))
        after[free.pop()] = copies[node] = copy
        for position, value in taken:
            definitions = flows.data_in[value]
            if graph.node_types[value] == VARIABLE and definitions:
                # Each use of a result has a variable of its own.
                use = grown.node(VARIABLE, graph.node_texts[value], grown.functions[value])
                grown.edges.append((DATA, definitions[0], use, 0))
                value = use
            grown.edges.append((DATA, value, copy, position))
    for flow, (source, target), position in zip(
        graph.edge_flows.tolist(), graph.edge_index.T.tolist(), graph.edge_positions.tolist()
    ):
        if flow == CONTROL and source in after:
            grown.edges.append((CONTROL, source, after[source], 0))
            source = after[source]
        elif flow == CALL and (source in copies or target in copies):
            ends = (copies.get(source, source), copies.get(target, target))
            grown.edges.append((CALL, *ends, position))
        grown.edges.append((flow, source, target, position))
    table = np.array(grown.edges, np.int32).T
    return ProgramGraph(
        np.array(grown.types, np.int8),
        tuple(grown.texts),
        (*graph.node_full_texts, *("",) * (len(grown.types) - flows.nodes)),
        np.array(grown.functions, np.int32),
        table[1:3].copy(),
        table[0].astype(np.int8),
        table[3].copy(),
        graph.function_names,
    )
