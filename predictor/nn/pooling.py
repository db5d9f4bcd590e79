"""Skips pooling: the mean state of each graph after every step, side by side."""

from __future__ import annotations

import torch
from torch import Tensor

from predictor.nn.unrolled import Pool


def mean_pool(states: Tensor, pool: Pool, graphs: Tensor) -> Tensor:
    """Shapes: states [states, hidden], graphs [graphs, any] to [graphs, hidden]."""
    chosen = states if pool.state is None else states.index_select(0, pool.state)
    weighted = chosen * pool.weight
    total = torch.zeros((graphs.size(0), states.size(1)), dtype=weighted.dtype)
    return total.index_add(0, pool.graph, weighted)


def skips(pooled: list[Tensor]) -> Tensor:
    """Shapes: list of [graphs, width] to [graphs, sum of widths]."""
    return torch.cat(pooled, dim=1)
