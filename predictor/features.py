"""A program graph and the facts of a launch as arrays, the form that a model reads.

The form is versioned: a model file names the version that it was trained on, and is refused with
another. Version 2 reads which function a call calls: ProGraML's text is `call` for all of them, so
that `exp` and `get_global_id` look alike.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.program_graph import DECLARATION_TEXT, ProgramGraph

FEATURE_VERSION = 2
UNKNOWN_TOKEN = 0
MAX_POSITION = 255
"""Edge positions above this one are read as this one."""
KERNELS_PER_CALLEE = 3
"""A function gets a token of its own when at least so many kernels call it."""
_CALLEE = re.compile(r'@"?([\w.$-]+)"?\(')
_MANGLED = re.compile(r"_Z(\d+)")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The node texts that a model knows, in order of their tokens; token 0 stands for every other."""

    texts: tuple[str, ...]

    @classmethod
    def of(cls, graphs: Iterable[ProgramGraph]) -> Vocabulary:
        """All texts of `graphs`, and the texts of the calls that are common; most frequent first."""
        counts: Counter[str] = Counter()
        kernels: Counter[str] = Counter()
        for graph in graphs:
            specific = specific_texts(graph)
            counts.update(graph.node_texts)
            counts.update(t for t, text in zip(specific, graph.node_texts) if t != text)
            kernels.update(set(specific).difference(graph.node_texts))
        for text, number in kernels.items():
            if number < KERNELS_PER_CALLEE:
                del counts[text]
        return cls(tuple(text for text, _ in sorted(counts.items(), key=lambda c: (-c[1], c[0]))))

    def __len__(self) -> int:
        return len(self.texts) + 1

    def tokens(self) -> dict[str, int]:
        """Text -> token, from 1."""
        return {text: token for token, text in enumerate(self.texts, 1)}


@dataclass(frozen=True, slots=True)
class GraphArrays:
    """A graph as a model reads it; edges are sorted by type, stably.

    Shapes:
        tokens: int64 [nodes].
        edge_index: int64 [2, edges].
        edge_types: int64 [edges], 0 control, 1 data, 2 call.
        edge_positions: int64 [edges], 0 to MAX_POSITION.
    """

    tokens: NDArray[np.int64]
    edge_index: NDArray[np.int64]
    edge_types: NDArray[np.int64]
    edge_positions: NDArray[np.int64]


def encode(graph: ProgramGraph, tokens: dict[str, int]) -> GraphArrays:
    """The arrays of a graph; `tokens` is `Vocabulary.tokens()`.

    A node whose specific text has no token is read by its ProGraML text.
    """
    order = np.argsort(graph.edge_flows, kind="stable")
    general = (tokens.get(text, UNKNOWN_TOKEN) for text in graph.node_texts)
    specific = specific_texts(graph)
    return GraphArrays(
        np.array([tokens.get(text, g) for text, g in zip(specific, general)], np.int64),
        graph.edge_index[:, order].astype(np.int64),
        graph.edge_flows[order].astype(np.int64),
        np.minimum(graph.edge_positions[order], MAX_POSITION).astype(np.int64),
    )


def specific_texts(graph: ProgramGraph) -> list[str]:
    """Each node's text; for a call of a built-in function, and its declaration, with its name."""
    texts = list(graph.node_texts)
    for node, text in enumerate(texts):
        if text == "call":
            callee = _CALLEE.search(graph.node_full_texts[node])
            name = _builtin(callee[1]) if callee else ""
            texts[node] = f"call {name}" if name else text
        elif text == DECLARATION_TEXT:
            name = _builtin(graph.node_full_texts[node])
            texts[node] = f"declare {name}" if name else text
    return texts


def _builtin(symbol: str) -> str:
    """`exp` of `_Z3expDv4_f`, `llvm.fmuladd` of `llvm.fmuladd.v4f32`, else nothing.

    OpenCL C mangles only what is overloadable: its own built-in functions.
    """
    mangled = _MANGLED.match(symbol)
    if mangled:
        return symbol[mangled.end() : mangled.end() + int(mangled[1])]
    return ".".join(symbol.split(".")[:2]) if symbol.startswith("llvm.") else ""


def launch_features(transfer_bytes: int, work_group_size: int) -> NDArray[np.float32]:
    """What a model reads of a launch: log1p of the bytes transferred and of the items in a work-group.

    Shapes: float32 [2]. Source: the dynamic features of Cummins et al. 2021, section 6.1.
    """
    return np.log1p(np.array([transfer_bytes, work_group_size], np.float64)).astype(np.float32)
