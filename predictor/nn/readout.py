"""The extended readout: a graph's pooled states and a launch's features to a CPU percentage.

Several readouts, of separate weights, judge the same pooled states; the prediction is their mean.
That is an ensemble of the part of the network that over-fits most, at next to no cost.
"""

# mypy: allow-subclassing-any
# A checker without torch sees no type for its base class.

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Readout(nn.Module):
    """Batch norm over both inputs, then two hidden layers in each of `heads` copies.

    The norm starts with a scale at which the few launch features weigh as much as all pooled states
    together; at equal scales they drown. The output goes through a sigmoid: a share cannot leave
    0..100. There is no dropout: here it raised the validation error.
    """

    def __init__(
        self,
        pooled: int,
        launch: int,
        wide: int,
        narrow: int,
        heads: int,
    ) -> None:
        super().__init__()
        self.heads = heads
        inputs = pooled + launch
        self.norm = nn.BatchNorm1d(inputs)
        with torch.no_grad():
            self.norm.weight[pooled:] = math.sqrt(pooled / launch)
        self.layers = nn.Sequential(
            Stacked(heads, inputs, wide),
            nn.ReLU(),
            Stacked(heads, wide, narrow),
            nn.ReLU(),
            Stacked(heads, narrow, 1),
            nn.Sigmoid(),
        )

    def forward(self, pooled: Tensor, launch: Tensor) -> Tensor:
        """Shapes: pooled [rows, a], launch [rows, b], with a + b inputs, to [heads, rows]."""
        entering = self.norm(torch.cat((pooled, launch), dim=1))
        percentages: Tensor = 100.0 * self.layers(entering.expand(self.heads, -1, -1))
        return percentages.squeeze(2)


class Stacked(nn.Module):
    """`heads` linear layers side by side, initialised like `torch.nn.Linear`."""

    def __init__(self, heads: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(heads, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(heads, 1, outputs).uniform_(-bound, bound))

    def forward(self, values: Tensor) -> Tensor:
        """Shapes: [heads, rows, inputs] to [heads, rows, outputs]."""
        return torch.matmul(values, self.weight) + self.bias
