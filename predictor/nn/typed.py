"""ProGraML's message passing as the thesis trains it, with one matrix product per edge type.

The layer is that of `message_passing.py` (Cummins et al., ICML 2021, section 4.2) with the thesis'
dropout: on the states that are mapped to messages, on the encodings of positions and on what the GRU
cell gives. A sender's state is mapped only by the types of the edges that leave it, and a message is
computed once for all edges that carry it: the same sender, type and position.
"""

# mypy: allow-subclassing-any
# A checker without torch sees no type for its base class.

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from predictor.nn.dropout import dropout
from predictor.nn.gru import gru
from predictor.nn.message_passing import MessagePassing
from predictor.nn.spread import Lists, lists, spread
from predictor.nn.unrolled import Step


@dataclass(frozen=True, slots=True)
class TypedStep:
    """A step of `unrolled.py` with its edges sorted by type, and its messages told apart.

    Shapes:
        own: [out], the state that each output state continues; None where state i continues i
        senders: for each type the states that an edge of the type leaves
        sender: [messages], the place of each message's sender in all of `senders` in a row
        position: [messages], the position of the edges that carry the message
        edges: from messages to output states
        scale: [out, 1], one over the number of edges that arrive (mean aggregation)
    """

    own: Tensor | None
    senders: tuple[Tensor, ...]
    sender: Tensor
    position: Tensor
    edges: Lists
    scale: Tensor


def typed(step: Step, states: int, types: int, positions: int) -> TypedStep:
    """Sorts a step's edges; `states` is the number of input states."""
    place, used = _numbered(step.types * states + step.source, states * types)
    message, carried = _numbered(place * positions + step.positions, used.numel() * positions)
    bounds = torch.searchsorted(used, torch.arange(types + 1) * states).tolist()
    senders = tuple(used[bounds[n] : bounds[n + 1]] - n * states for n in range(types))
    return TypedStep(
        own=step.own,
        senders=senders,
        sender=torch.div(carried, positions, rounding_mode="floor"),
        position=carried % positions,
        edges=lists(message, step.target, carried.numel(), step.scale.size(0)),
        scale=step.scale,
    )


class TypedMessagePassing(MessagePassing):
    """States of one time step to those of the next, over a `TypedStep`."""

    def __init__(self, hidden: int, edge_types: int, positions: int, dropout: float) -> None:
        super().__init__(hidden, edge_types, positions)
        self.dropout = dropout

    def gates(self) -> Tensor:
        """The factors of each position. Shapes: [positions, hidden]."""
        return 2.0 * torch.sigmoid(self.gate(self._dropped(self.sinusoids)))

    def advance(self, states: Tensor, step: TypedStep, gates: Tensor) -> Tensor:
        """Shapes: states [in, hidden] to [out, hidden]; gates as `gates()` gives them."""
        sending = self._dropped(states)
        maps = zip(
            step.senders,
            self.messages.weight.view(-1, self.hidden, self.hidden),
            self.messages.bias.view(-1, self.hidden),
            strict=True,
        )
        sent = torch.cat(
            [functional.linear(sending.index_select(0, chosen), w, b) for chosen, w, b in maps]
        )
        messages = sent.index_select(0, step.sender) * gates.index_select(0, step.position)
        mean = spread(messages, step.edges) * step.scale
        return self._dropped(self._next(mean, states, step.own))

    def _next(self, arrived: Tensor, states: Tensor, own: Tensor | None) -> Tensor:
        """The GRU cell; what it takes of a state is computed once for all that continue the state."""
        entering, kept = self.cell_input(arrived), self.cell_state(states)
        if own is not None:
            kept, states = kept.index_select(0, own), states.index_select(0, own)
        return gru(entering, kept, states)

    def _dropped(self, values: Tensor) -> Tensor:
        return dropout(values, self.dropout, self.training)


def _numbered(keys: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The number of each key among those in use, and those in use in order; keys are below `limit`."""
    present = torch.zeros(limit, dtype=torch.bool)
    present[keys] = True
    used = present.nonzero().squeeze(1)
    rank = torch.zeros(limit, dtype=torch.int64)
    rank[used] = torch.arange(used.numel())
    return rank[keys], used
