"""Made-up variants of graphs: instructions repeated, exactly and almost.

What a compiler leaves has few common subexpressions, and hardly two instructions that differ in one
operand or in the order of two; a model that sees only those never learns to compare. So for this task
graphs are varied: some instructions get a copy somewhere in their function, exact or with
another opcode, another operand, two operands exchanged, or one operand less (`sext %29` beside
`add %29, %33`: all that it reads is the other's, and yet it is another expression). What is a common
subexpression then, the analysis itself says, which labels the variant like any other graph. Training and
validation graphs are varied, test graphs never.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from predictor.dataflow.analyses import Flows
from predictor.dataflow.corpus import Source
from predictor.program_graph import CALL, CONTROL, DATA, VARIABLE, ProgramGraph

_T = TypeVar("_T")
COUNT = 4
"""Variants of each graph."""
COPIED = 0.25
"""The part of a graph's instructions that is copied."""
CHANGES = 7
"""Kinds of copies, alike often: four changes, the others exact."""
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


class _Pool:
    """What copies are changed to: the opcodes and operands of a graph's instructions."""

    def __init__(self, instructions: Sequence[tuple[str, list[tuple[int, int]]]]) -> None:
        self._texts = [text for text, _ in instructions]
        self._values = [value for _, taken in instructions for _, value in taken]
        self._of_width: dict[int, list[str]] = {}
        for text, taken in instructions:
            self._of_width.setdefault(len(taken), []).append(text)

    def changed(
        self, text: str, taken: list[tuple[int, int]], random: np.random.Generator
    ) -> tuple[str, list[tuple[int, int]]]:
        """An instruction and its operands by position, as they are or with one change."""
        change = int(random.integers(0, CHANGES))
        if change == 0:
            return _one_of(self._texts, random), taken
        if change == 1:
            place = int(random.integers(0, len(taken)))
            other = (taken[place][0], _one_of(self._values, random))
            return text, [*taken[:place], other, *taken[place + 1 :]]
        if change == 2 and len(taken) > 1:
            (one, first), (other_place, second) = taken[:2]
            return text, [(one, second), (other_place, first), *taken[2:]]
        if change == 3 and len(taken) > 1:
            left_out = int(random.integers(0, len(taken)))
            values = [value for place, (_, value) in enumerate(taken) if place != left_out]
            others = self._of_width.get(len(values), [])
            if others and random.random() < 0.5:
                text = _one_of(others, random)
            return text, list(enumerate(values))
        return text, taken


def _one_of(choices: Sequence[_T], random: np.random.Generator) -> _T:
    return choices[int(random.integers(0, len(choices)))]


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
    pool = _Pool([(graph.node_texts[node], operands[node]) for node in candidates])
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
        text, taken = pool.changed(text, taken, random)
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
