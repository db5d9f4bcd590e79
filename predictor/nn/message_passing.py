"""One step of typed message passing: linear per edge type, gate per position, mean, GRU.

ProGraML's layer (Cummins et al., ICML 2021, section 4.2): a message is the sender's state, mapped
by the edge type's own matrix and multiplied by a gate that depends on the edge's position; a node
continues its state by a GRU cell over the mean of the messages that arrive.
"""

# mypy: allow-subclassing-any
# A checker without torch sees no type for its base class.

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from predictor.nn.unrolled import Step


class MessagePassing(nn.Module):
    """States of one time step to those of the next."""

    def __init__(self, hidden: int, edge_types: int, positions: int) -> None:
        super().__init__()
        self.edge_types = edge_types
        self.hidden = hidden
        self.messages = nn.Linear(hidden, edge_types * hidden)
        self.gate = nn.Linear(hidden, hidden)
        self.cell_input = nn.Linear(hidden, 3 * hidden)
        self.cell_state = nn.Linear(hidden, 3 * hidden)
        self.register_buffer("sinusoids", sinusoids(positions, hidden), persistent=False)
        self.sinusoids: Tensor

    def gates(self) -> Tensor:
        """The factors of each position, the same at every step. Shapes: [positions, hidden]."""
        return 2.0 * torch.sigmoid(self.gate(self.sinusoids))

    def forward(self, states: Tensor, step: Step, gates: Tensor) -> Tensor:
        """Shapes: states [in, hidden] to [out, hidden]; gates as `gates()` gives them."""
        sent = self.messages(states).view(-1, self.hidden)
        messages = sent.index_select(0, step.source * self.edge_types + step.types)
        messages = messages * gates.index_select(0, step.positions)
        own = states if step.own is None else states.index_select(0, step.own)
        total = torch.zeros_like(own, dtype=messages.dtype)
        mean = total.index_add(0, step.target, messages) * step.scale
        return self._continue(mean, own)

    def _continue(self, arrived: Tensor, own: Tensor) -> Tensor:
        """The GRU cell (Cho et al., 2014), written out so that it exports as plain operators."""
        reset_in, update_in, new_in = self.cell_input(arrived).chunk(3, dim=1)
        reset_own, update_own, new_own = self.cell_state(own).chunk(3, dim=1)
        reset = torch.sigmoid(reset_in + reset_own)
        update = torch.sigmoid(update_in + update_own)
        new = torch.tanh(new_in + reset * new_own)
        return new + update * (own - new)


def sinusoids(positions: int, width: int) -> Tensor:
    """The Transformer's position encoding (Vaswani et al., 2017, section 3.5).

    Shapes: [positions, width].
    """
    frequencies = torch.exp(torch.arange(0.0, width, 2.0) * (-math.log(10000.0) / width))
    angles = torch.outer(torch.arange(float(positions)), frequencies)
    return torch.cat((torch.sin(angles), torch.cos(angles)), dim=1)
