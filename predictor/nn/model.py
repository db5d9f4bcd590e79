"""The model: a program graph and a launch to the CPU's share of the work in percent.

The architecture is the best of the thesis behind igabirondo16/pyg_programl: typed message passing,
six steps over two alternating layers, skips pooling, extended readout. Launch facts enter at the
readout, so rows that share a kernel share its graph's computation.
"""

# mypy: allow-subclassing-any
# A checker without torch sees no type for its base class.

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from predictor.features import UNKNOWN_TOKEN
from predictor.nn.message_passing import MessagePassing
from predictor.nn.pooling import mean_pool, skips
from predictor.nn.readout import Readout
from predictor.nn.unrolled import Unrolled, plain

LAUNCH_FEATURES = 2
SIZE_FEATURES = 1


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """All that fixes the shape of the weights."""

    vocabulary: int
    positions: int
    edge_types: int = 3
    bidirectional: bool = False
    hidden: int = 64
    steps: int = 6
    wide: int = 192
    heads: int = 3


class ShareModel(nn.Module):
    """CPU percentage of each launch."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        types = config.edge_types * (2 if config.bidirectional else 1)
        # An unknown token is the mean of what a token may be, nothing: zeros, never trained.
        self.embedding = nn.Embedding(config.vocabulary, config.hidden, padding_idx=UNKNOWN_TOKEN)
        shape = (config.hidden, types, config.positions)
        self.first = MessagePassing(*shape)
        self.second = MessagePassing(*shape)
        self.readout = Readout(
            config.steps * config.hidden + SIZE_FEATURES,
            LAUNCH_FEATURES,
            config.wide,
            config.hidden,
            config.heads,
        )

    def forward(
        self,
        tokens: Tensor,
        edge_index: Tensor,
        edge_types: Tensor,
        edge_positions: Tensor,
        launch: Tensor,
        graph_index: Tensor | None = None,
        row_graph: Tensor | None = None,
    ) -> Tensor:
        """Percentages of launches of one graph, or of several when both indices are given.

        Shapes:
            tokens: [nodes]; edge_index: [2, edges]; edge_types, edge_positions: [edges]
            launch: [rows, 2]; graph_index: [nodes]; row_graph: [rows]
            returns [rows]
        """
        if graph_index is None or row_graph is None:
            graph_index = torch.zeros_like(tokens)
            row_graph = torch.zeros_like(launch[:, 0], dtype=torch.int64)
            graphs = 1
        else:
            graphs = int(graph_index.max()) + 1
        if self.config.bidirectional:
            edge_index, edge_types, edge_positions = both_ways(
                edge_index, edge_types, edge_positions, self.config.edge_types
            )
        unrolled = plain(
            tokens,
            edge_index,
            edge_types,
            edge_positions,
            graph_index,
            graphs=graphs,
            step_count=self.config.steps,
        )
        return self.run(unrolled, row_graph, launch).mean(dim=0)

    def run(self, unrolled: Unrolled, row_graph: Tensor, launch: Tensor) -> Tensor:
        """What each readout says, over prepared tables.

        Shapes: row_graph [rows], launch [rows, 2], returns [heads, rows].
        """
        states = self.embedding(unrolled.tokens)
        layers = [self.first, self.second]
        gates = [layer.gates() for layer in layers]
        pooled: list[Tensor] = []
        for number, (step, pool) in enumerate(zip(unrolled.steps, unrolled.pools, strict=True)):
            states = layers[number % 2](states, step, gates[number % 2])
            pooled.append(mean_pool(states, pool, unrolled.sizes))
        graphs = skips([*pooled, unrolled.sizes.log()])
        percentages: Tensor = self.readout(graphs.index_select(0, row_graph), launch)
        return percentages


def both_ways(
    edge_index: Tensor, edge_types: Tensor, edge_positions: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Adds each edge's reverse, with a type of its own (the type plus `count`)."""
    return (
        torch.cat((edge_index, edge_index.flip(0)), dim=1),
        torch.cat((edge_types, edge_types + count)),
        torch.cat((edge_positions, edge_positions)),
    )
