"""What a system of the thesis computes on: the distinct graphs of a batch, as tables.

Every network of the thesis reads a node's state from the states that arrive at it, so nodes with equal
trees of incoming edges have equal states (see `quotient.py`), and its tables hold a state for each class
of such nodes. What tells nodes apart differs: ProGraML reads an edge's type and position, an attention
network neither, a graph convolution the in-degrees by which it normalises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from predictor.features import GraphArrays
from predictor.nn.quotient import Quotient
from predictor.nn.typed import TypedStep, typed
from predictor.nn.unrolled import Pool, Step

Gnn = Literal["programl", "gcn", "gat", "mlp"]
STEPS = 6
"""Message-passing steps of every network of the thesis that passes messages."""
EDGE_TYPES = 3
_DEGREES = 1 << 16
"""In-degrees are below this number: a token and a degree fit one integer."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A step over edges without types.

    Shapes:
        own: [out], the state that each output state continues
        edge_index: [2, edges], from input states to output states
        weight: [edges], or None where each edge weighs 1
    """

    own: Tensor
    edge_index: Tensor
    weight: Tensor | None


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes themselves, for what reads the graphs node by node.

    Shapes:
        state: [nodes], the last state of each node
        edge_index: [2, edges]
        graph: [nodes]
    """

    state: Tensor
    edge_index: Tensor
    graph: Tensor


@dataclass(frozen=True, slots=True)
class Tables:
    """A batch of distinct graphs.

    Shapes:
        tokens: [first states]
        steps: one for each step of the network (`TypedStep` for ProGraML's, else `Arrivals`)
        origin: [last states], the first state that each last state began as
        pools: of each step's states, or of the first ones where there is no step
        sums, summed: two more steps for differentiable pooling, and the pool after them; else none,
            and the last pool
        nodes: for top-k pooling, else None
        sizes: [graphs, 1], nodes of each graph
    """

    tokens: Tensor
    steps: tuple[TypedStep | Arrivals, ...]
    origin: Tensor
    pools: tuple[Pool, ...]
    sums: tuple[Arrivals, ...]
    summed: Pool
    nodes: Nodes | None
    sizes: Tensor


class GraphSet:
    """All graphs of a data set, ready to give the tables of any batch of them."""

    def __init__(
        self, graphs: Sequence[GraphArrays], gnn: Gnn, *, sums: bool = False, nodes: bool = False
    ) -> None:
        self._gnn: Gnn = gnn
        self._graphs = graphs
        self._nodes = nodes
        self._steps = 0 if gnn == "mlp" else STEPS
        self._sums = 2 if sums else 0
        self.positions = 1 + max(int(g.edge_positions.max(initial=0)) for g in graphs)
        seen = [_as_read_by(gnn, graph) for graph in graphs]
        self._quotient = Quotient(
            seen, steps=self._steps + self._sums, edge_types=EDGE_TYPES, bidirectional=False
        )

    def batch(self, graphs: Sequence[int]) -> Tables:
        """The tables of these graphs, which are numbered 0, 1, ... in the order given."""
        unrolled = self._quotient.batch(graphs)
        first = self._quotient.pool(0, graphs)
        states, degrees = unrolled.tokens.size(0), torch.zeros(0)
        origin = torch.arange(states)
        if self._gnn == "gcn":
            degrees = unrolled.tokens % _DEGREES
        steps: list[TypedStep | Arrivals] = []
        for step in unrolled.steps[: self._steps]:
            if self._gnn == "programl":
                steps.append(typed(step, states, EDGE_TYPES, self.positions))
            else:
                steps.append(_arrivals(step, degrees))
            if step.own is not None:
                origin = origin[step.own]
                degrees = degrees[step.own] if self._gnn == "gcn" else degrees
            states = step.scale.size(0)
        tokens = unrolled.tokens
        pools = unrolled.pools[: self._steps] or (first,)
        return Tables(
            tokens=tokens // _DEGREES if self._gnn == "gcn" else tokens,
            steps=tuple(steps),
            origin=origin,
            pools=pools,
            sums=tuple(
                _without_loops(step) if self._gnn in ("gcn", "gat") else _plain(step)
                for step in unrolled.steps[self._steps :]
            ),
            summed=unrolled.pools[-1] if self._sums else pools[-1],
            nodes=self._node_tables(graphs) if self._nodes else None,
            sizes=unrolled.sizes,
        )

    def _node_tables(self, graphs: Sequence[int]) -> Nodes:
        sizes = np.array([self._graphs[graph].tokens.size for graph in graphs])
        starts = np.cumsum(sizes) - sizes
        edges = [self._graphs[graph].edge_index + start for graph, start in zip(graphs, starts)]
        return Nodes(
            state=self._quotient.nodes(self._steps, graphs),
            edge_index=torch.from_numpy(np.concatenate(edges, axis=1)),
            graph=torch.from_numpy(np.repeat(np.arange(len(graphs)), sizes)),
        )


_LOOP = 1
"""The type that a loop from a node to itself is given where a network adds one to each node."""


def _as_read_by(gnn: Gnn, graph: GraphArrays) -> GraphArrays:
    """The graph with what the network does not read taken off, and the loops that it adds put on."""
    if gnn == "programl":
        return graph
    nodes = graph.tokens.size
    edges = graph.edge_index
    if gnn == "mlp":
        none = np.zeros(edges.shape[1], np.int64)
        return replace(graph, edge_types=none, edge_positions=none)
    edges = edges[:, edges[0] != edges[1]]
    loops = np.tile(np.arange(nodes), (2, 1))
    types = np.repeat([0, _LOOP], [edges.shape[1], nodes])
    edges = np.concatenate((edges, loops), axis=1)
    tokens = graph.tokens
    if gnn == "gcn":
        tokens = tokens * _DEGREES + np.bincount(edges[1], minlength=nodes)
    return GraphArrays(tokens, edges, types, np.zeros_like(types))


def _arrivals(step: Step, degrees: Tensor) -> Arrivals:
    """A step; with degrees of the input states, weighted as Kipf and Welling (2017) do."""
    own = _own(step)
    edges = torch.stack((step.source, step.target))
    weight = None
    if degrees.numel():
        root = degrees.to(torch.float32).rsqrt()
        weight = root[step.source] * root[own][step.target]
    return Arrivals(own, edges, weight)


def _plain(step: Step) -> Arrivals:
    return Arrivals(_own(step), torch.stack((step.source, step.target)), None)


def _without_loops(step: Step) -> Arrivals:
    kept = step.types != _LOOP
    return Arrivals(_own(step), torch.stack((step.source[kept], step.target[kept])), None)


def _own(step: Step) -> Tensor:
    return torch.arange(step.scale.size(0)) if step.own is None else step.own
