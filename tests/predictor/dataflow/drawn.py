"""Graphs drawn by hand, and strategies that draw them at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from predictor.program_graph import (
    CALL,
    CONSTANT,
    CONTROL,
    DATA,
    INSTRUCTION,
    ROOT_TEXT,
    VARIABLE,
    ProgramGraph,
)

Edge = tuple[int, int, int, int]


def draw(
    nodes: Sequence[tuple[int, str]], edges: Sequence[Edge], functions: Sequence[int] | None = None
) -> ProgramGraph:
    """A graph of (type, text) and (flow, source, target, position); the root is put before as node 0."""
    kinds = [INSTRUCTION, *(kind for kind, _ in nodes)]
    texts = (ROOT_TEXT, *(text for _, text in nodes))
    owners = [0] * len(nodes) if functions is None else list(functions)
    table = np.array(edges, np.int32).reshape(-1, 4).T
    return ProgramGraph(
        np.array(kinds, np.int8),
        texts,
        ("",) * len(texts),
        np.array([-1, *owners], np.int32),
        table[1:3].copy(),
        table[0].astype(np.int8),
        table[3].copy(),
        tuple(f"f{number}" for number in range(max(owners, default=0) + 1)),
    )


def flow_graph(edges: Sequence[tuple[int, int]], count: int) -> ProgramGraph:
    """`count` instructions from 1, and control between them."""
    nodes = [(INSTRUCTION, "add")] * count
    return draw(nodes, [(CALL, 0, 1, 0), *((CONTROL, s, t, 0) for s, t in edges)])


@st.composite
def graphs(draw_from: st.DrawFn, largest: int = 7) -> ProgramGraph:
    """Instructions with any control between them, values with at most one definition, constants."""
    count = draw_from(st.integers(1, largest))
    numbers = st.integers(1, count)
    control = draw_from(st.lists(st.tuples(numbers, numbers), max_size=2 * count, unique=True))
    opcodes = draw_from(
        st.lists(st.sampled_from(["add", "sub", "load"]), min_size=count, max_size=count)
    )
    nodes = [(INSTRUCTION, opcode) for opcode in opcodes]
    edges: list[Edge] = [(CONTROL, s, t, 0) for s, t in control]
    for _ in range(draw_from(st.integers(0, largest))):
        nodes.append(draw_from(st.sampled_from([(VARIABLE, "i32"), (CONSTANT, "i32")])))
        value = len(nodes)
        if nodes[-1][0] == VARIABLE and draw_from(st.booleans()):
            edges.append((DATA, draw_from(numbers), value, 0))
        uses = draw_from(st.lists(st.tuples(numbers, st.integers(0, 2)), max_size=3, unique=True))
        edges += [(DATA, value, use, position) for use, position in uses]
    return draw(nodes, edges)
