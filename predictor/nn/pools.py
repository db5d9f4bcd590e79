"""The five ways of the thesis to make a graph's vector of its nodes' states.

Each is a module over `States` and `Tables` that says how `wide` its vectors are.

Differentiable pooling (Ying et al., NeurIPS 2018) is written as what the thesis' form of it comes to.
There the pooled clusters are averaged, which is the same whatever the assignment: a softmax over
clusters sums to one, so the mean over K clusters is the sum over all nodes divided by K. The thesis'
assignment network has no influence and no gradient, and is left out here.
"""

# mypy: allow-subclassing-any
# A checker without torch sees no type for its base class.

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv, TopKPooling, global_mean_pool

from predictor.nn.dropout import dropout
from predictor.nn.networks import GraphConvolution, States
from predictor.nn.pooling import mean_pool
from predictor.nn.tables import Gnn, Tables

Pooling = Literal["default", "mean", "diff", "topk", "skips"]
GATE_DROPOUT = 0.2
CLUSTERS = 512
"""Clusters of the thesis' differentiable pooling."""
KEPT = 0.8
"""The part of a graph's nodes that each of three rounds of top-k pooling keeps."""


def pooling_of(kind: Pooling, gnn: Gnn, hidden: int, steps: int, outputs: int) -> GraphPooling:
    """The module of a pooling. Raises ValueError for one that needs steps where there are none."""
    if kind == "default":
        return GatedSum(hidden, outputs)
    if kind == "mean":
        return Means(hidden, with_first=gnn != "mlp")
    if kind == "diff":
        return Sums(hidden)
    if kind == "topk":
        return Best(hidden)
    if not steps:
        raise ValueError(
            f"skips pooling reads the states after each step, and --gnn {gnn} takes none; "
            "choose another --pooling"
        )
    return Skips(hidden, steps)


class GraphPooling(nn.Module):
    """Base: graphs' vectors of `wide` numbers."""

    wide: int


class GatedSum(GraphPooling):
    """ProGraML's own readout: a gated vector of each node, summed (Cummins et al., 2021, eq. 5)."""

    def __init__(self, hidden: int, outputs: int) -> None:
        super().__init__()
        self.wide = outputs
        self.gate = nn.Linear(2 * hidden, outputs)
        self.map = nn.Linear(hidden, outputs)

    def forward(self, states: States, tables: Tables) -> Tensor:
        """Shapes: to [graphs, wide]."""
        last = states.each[-1]
        both = dropout(torch.cat((states.first, last), dim=1), GATE_DROPOUT, self.training)
        mapped = self.map(dropout(last, GATE_DROPOUT, self.training))
        summed: Tensor = mean_pool(
            torch.sigmoid(self.gate(both)) * mapped, tables.pools[-1], tables.sizes
        )
        return summed * tables.sizes


class Means(GraphPooling):
    """The mean of the last states beside that of the embeddings."""

    def __init__(self, hidden: int, *, with_first: bool) -> None:
        super().__init__()
        self.with_first = with_first
        self.wide = 2 * hidden if with_first else hidden

    def forward(self, states: States, tables: Tables) -> Tensor:
        """Shapes: to [graphs, wide]."""
        last = states.each[-1]
        read = torch.cat((states.first, last), dim=1) if self.with_first else last
        return mean_pool(read, tables.pools[-1], tables.sizes)


class Skips(GraphPooling):
    """The mean state after every step, side by side (the thesis, section 5.2.1)."""

    def __init__(self, hidden: int, steps: int) -> None:
        super().__init__()
        self.wide = steps * hidden

    def forward(self, states: States, tables: Tables) -> Tensor:
        """Shapes: to [graphs, wide]."""
        means = [
            mean_pool(one, pool, tables.sizes)
            for one, pool in zip(states.each, tables.pools, strict=True)
        ]
        return torch.cat(means, dim=1)


class Sums(GraphPooling):
    """Differentiable pooling: two sums over incoming edges, then the sum of all nodes."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.wide = hidden
        self.layers = nn.ModuleList([GraphConvolution(hidden, hidden) for _ in range(2)])

    def forward(self, states: States, tables: Tables) -> Tensor:
        """Shapes: to [graphs, wide]."""
        last = states.each[-1]
        for layer, step in zip(self.layers, tables.sums, strict=True):
            last = torch.relu(layer(last, step))
        return mean_pool(last, tables.summed, tables.sizes) * (tables.sizes / CLUSTERS)


class Best(GraphPooling):
    """Top-k pooling (Gao and Ji, ICML 2019): three rounds that keep the best nodes of each graph."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.wide = hidden
        self.choose = TopKPooling(hidden, ratio=KEPT)
        self.convolution = GCNConv(hidden, hidden)

    def forward(self, states: States, tables: Tables) -> Tensor:
        """Shapes: to [graphs, wide]. Raises ValueError for tables without nodes."""
        if tables.nodes is None:
            raise ValueError("top-k pooling needs tables with nodes: GraphSet(..., nodes=True)")
        nodes = states.each[-1].index_select(0, tables.nodes.state)
        edges, graph = tables.nodes.edge_index, tables.nodes.graph
        for _ in range(3):
            nodes, edges, _, graph, _, _ = self.choose(nodes, edges, None, graph)
            nodes = torch.relu(self.convolution(nodes, edges))
        pooled: Tensor = global_mean_pool(nodes, graph, tables.sizes.size(0))
        return pooled
