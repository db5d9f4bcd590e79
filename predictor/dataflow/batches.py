"""Graphs as tensors: several graphs side by side, each with as many roots as the others.

Roots of a graph share its nodes and edges, so a state has one row for each node and, within it, one
for each root: rows stay long, and looking up a neighbour costs the same for one root as for ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from predictor.features import UNKNOWN_TOKEN
from predictor.program_graph import DATA, FLOW_NAMES, ProgramGraph

DIRECTED_FLOWS = 2 * len(FLOW_NAMES)
"""Each flow forwards, then each backwards (ICML 2021, section 4, propagation)."""
POSITIONS = 32
"""Edge positions from the last one on are read as the last one."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A graph as the model reads it; edges stand in both directions, ordered by receiver.

    Shapes:
        tokens, kinds: int64 [nodes], of text and node type.
        shapes: int64 [nodes], equal for nodes of one text, whether or not the vocabulary knows it, that
            have equally many operands.
        senders: int64 [edges], node times DIRECTED_FLOWS plus the edge's directed flow.
        receivers, positions: int64 [edges].
    """

    tokens: NDArray[np.int64]
    kinds: NDArray[np.int64]
    shapes: NDArray[np.int64]
    senders: NDArray[np.int64]
    receivers: NDArray[np.int64]
    positions: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Several graphs as one.

    Shapes:
        tokens, kinds: int64 [nodes]; senders, receivers, positions: int64 [edges].
        selector: float32 [nodes, roots], 1 where a node is the root.
        alike: float32 [nodes, roots], 1 where a node has the text of its graph's root, and as many operands.
    """

    tokens: Tensor
    kinds: Tensor
    senders: Tensor
    receivers: Tensor
    positions: Tensor
    selector: Tensor
    alike: Tensor


def encode(graph: ProgramGraph, tokens: dict[str, int]) -> Encoded:
    """The arrays of a graph; `tokens` is `Vocabulary.tokens()`, of ProGraML's texts."""
    source, target = graph.edge_index.astype(np.int64)
    flows = graph.edge_flows.astype(np.int64)
    positions = np.minimum(graph.edge_positions, POSITIONS - 1).astype(np.int64)
    senders = np.concatenate(
        (source * DIRECTED_FLOWS + flows, target * DIRECTED_FLOWS + flows + len(FLOW_NAMES))
    )
    receivers = np.concatenate((target, source))
    order = np.argsort(receivers, kind="stable")
    texts = np.unique(np.array(graph.node_texts, np.str_), return_inverse=True)[1]
    operands = np.bincount(target[flows == DATA], minlength=texts.size)
    return Encoded(
        np.array([tokens.get(text, UNKNOWN_TOKEN) for text in graph.node_texts], np.int64),
        graph.node_types.astype(np.int64),
        texts * (operands.max(initial=0) + 1) + operands,
        senders[order],
        receivers[order],
        np.tile(positions, 2)[order],
    )


def batch(items: Sequence[tuple[Encoded, NDArray[np.int64]]]) -> Batch:
    """Graphs with their roots, equally many for each, as one graph of parts that do not touch."""
    sizes = [graph.tokens.size for graph, _ in items]
    starts = np.concatenate(([0], np.cumsum(sizes)))
    graphs = [graph for graph, _ in items]
    selector = np.zeros((starts[-1], items[0][1].size), np.float32)
    alike = np.zeros_like(selector)
    for (graph, roots), start in zip(items, starts):
        selector[roots + start, np.arange(roots.size)] = 1.0
        same = graph.shapes[:, None] == graph.shapes[roots]
        alike[start : start + graph.tokens.size] = same
    return Batch(
        _joined([graph.tokens for graph in graphs]),
        _joined([graph.kinds for graph in graphs]),
        _joined([g.senders + start * DIRECTED_FLOWS for g, start in zip(graphs, starts)]),
        _joined([g.receivers + start for g, start in zip(graphs, starts)]),
        _joined([graph.positions for graph in graphs]),
        torch.from_numpy(selector),
        torch.from_numpy(alike),
    )


def _joined(arrays: Sequence[NDArray[np.int64]]) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays))
