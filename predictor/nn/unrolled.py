"""The shape of one computation: which states each message-passing step reads and writes.

A graph network may write `n` node states at every step, or fewer where nodes cannot differ yet
(see `quotient.py`). Both are the same computation over the tables of this file, so the layers do
not know which it is. `plain` builds the tables for ordinary graphs, one state per node at every step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.utils import degree


@dataclass(frozen=True, slots=True)
class Step:
    """One message-passing step from `in` states to `out` states.

    Shapes:
        own: [out], the state that each output state continues; None where state i continues i
        source: [edges], the state that sends, in 0..in-1
        types: [edges], edge types
        target: [edges], the state that receives, in 0..out-1
        positions: [edges], edge positions
        scale: [out, 1], one over the number of edges that arrive (mean aggregation)
    """

    own: Tensor | None
    source: Tensor
    types: Tensor
    target: Tensor
    positions: Tensor
    scale: Tensor


@dataclass(frozen=True, slots=True)
class Pool:
    """The weights by which states are averaged into graphs.

    Shapes:
        state: [pairs], or None where pair i is state i
        graph: [pairs]
        weight: [pairs, 1], summing to 1 in every graph
    """

    state: Tensor | None
    graph: Tensor
    weight: Tensor


@dataclass(frozen=True, slots=True)
class Unrolled:
    """Tokens of the first states, then a step and a pool for each time step.

    Shapes:
        tokens: [states of step 0]
        sizes: [graphs, 1], the number of nodes of each graph
    """

    tokens: Tensor
    steps: tuple[Step, ...]
    pools: tuple[Pool, ...]
    sizes: Tensor


def plain(
    tokens: Tensor,
    edge_index: Tensor,
    edge_types: Tensor,
    edge_positions: Tensor,
    graph_index: Tensor,
    *,
    graphs: int,
    step_count: int,
) -> Unrolled:
    """Tables with one state per node at every step.

    Shapes:
        tokens: [nodes]; edge_index: [2, edges]; edge_types: [edges]; edge_positions: [edges]
        graph_index: [nodes], the graph of each node, in 0..graphs-1
    """
    nodes = tokens.size(0)
    arriving = degree(edge_index[1], nodes, dtype=torch.float32)
    step = Step(
        own=None,
        source=edge_index[0],
        types=edge_types,
        target=edge_index[1],
        positions=edge_positions,
        scale=(1.0 / arriving.clamp(min=1.0)).unsqueeze(1),
    )
    sizes = degree(graph_index, graphs, dtype=torch.float32).clamp(min=1.0).unsqueeze(1)
    weight = (1.0 / sizes).index_select(0, graph_index)
    pool = Pool(state=None, graph=graph_index, weight=weight)
    return Unrolled(tokens, (step,) * step_count, (pool,) * step_count, sizes)
