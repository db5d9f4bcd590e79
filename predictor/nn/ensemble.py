"""Several models as one: the mean of what they say."""

# mypy: allow-subclassing-any
# A checker without torch sees no type for its base class.

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from predictor.nn.model import ShareModel


class Ensemble(nn.Module):
    """Takes what `ShareModel` takes for launches of one graph."""

    def __init__(self, members: Sequence[ShareModel]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(
        self,
        tokens: Tensor,
        edge_index: Tensor,
        edge_types: Tensor,
        edge_positions: Tensor,
        launch: Tensor,
    ) -> Tensor:
        """Shapes: as in `ShareModel.forward`; returns [rows]."""
        said = [
            member(tokens, edge_index, edge_types, edge_positions, launch)
            for member in self.members
        ]
        return torch.stack(said).mean(dim=0)
