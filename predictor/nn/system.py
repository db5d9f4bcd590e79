"""A system of the thesis: a network, a pooling and a readout, from kernels and launches to outputs.

Launch facts enter at the readout, so launches that share a kernel share its graph's computation.
Source: the thesis behind igabirondo16/pyg_programl, chapters 4 and 5, whose sizes these are.
"""

# mypy: allow-subclassing-any
# A checker without torch sees no type for its base class.

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from predictor.nn.networks import Network
from predictor.nn.pools import Pooling, pooling_of
from predictor.nn.tables import STEPS, Gnn, Tables

LAUNCH_FEATURES = 2
DROPOUT = 0.3
"""Of the readout, and in the thesis of ProGraML's layers too."""


@dataclass(frozen=True, slots=True)
class SystemConfig:
    """All that fixes the shape of a system's weights.

        `outputs` is 1 for a percentage, or the number of classes; `gated` the width of ProGraML's own
        readout, which is the number of classes, and for percentages the number of distinct ones.

    `layer_dropout` is the dropout inside ProGraML's layers, 0.3 in the thesis. There each node has a mask
        of its own, and a graph's mean hardly feels them; here nodes with equal states share one, so that the
        same rate is far more noise: without it half as many epochs reach the same validation error.
    """

    gnn: Gnn
    pooling: Pooling
    extended_readout: bool
    vocabulary: int
    positions: int
    outputs: int
    gated: int
    hidden: int = 64
    wide: int = 192
    layer_dropout: float = 0.0


class System(nn.Module):
    """The outputs of each launch."""

    def __init__(self, config: SystemConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden
        steps = 0 if config.gnn == "mlp" else STEPS
        self.network = Network(
            config.gnn, config.vocabulary, hidden, config.positions, config.layer_dropout
        )
        self.pooling = pooling_of(config.pooling, config.gnn, hidden, steps, config.gated)
        inputs = self.pooling.wide + LAUNCH_FEATURES
        self.norm = nn.BatchNorm1d(inputs)
        layers = [nn.Linear(inputs, config.wide), nn.ReLU(), nn.Dropout(DROPOUT)]
        if config.extended_readout:
            layers += [nn.Linear(config.wide, hidden), nn.ReLU(), nn.Dropout(DROPOUT)]
        self.readout = nn.Sequential(
            *layers, nn.Linear(hidden if config.extended_readout else config.wide, config.outputs)
        )

    def forward(self, tables: Tables, row_graph: Tensor, launch: Tensor) -> Tensor:
        """Shapes: row_graph [rows], launch [rows, 2] to [rows, outputs]."""
        graphs = self.pooling(self.network(tables), tables)
        entering = torch.cat((graphs.index_select(0, row_graph), launch), dim=1)
        outputs: Tensor = self.readout(self.norm(entering))
        return outputs
