"""The network: message passing that repeats one step until it has found its fixed point.

As in ProGraML's model (ICML 2021, section 4) a node starts from the embedding of its text, the root is
marked, messages pass along each flow in both directions, mapped by the flow's own matrix and scaled by
a gate for the edge's position, a GRU cell takes them up, and a gated readout looks at the first and the
last state. Different is what makes the step an operator that can be iterated hundreds of times: one step
serves for all times; a node takes the largest of its messages, not their mean, so that one neighbour is
heard among many; and the first state enters again at every step. For a task that compares instructions,
the nodes with the root's text and number of operands are marked at the start, too.
"""

# mypy: allow-subclassing-any
# A checker without torch sees no type for its base class.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from predictor.dataflow.batches import DIRECTED_FLOWS, POSITIONS, Batch
from predictor.nn.message_passing import sinusoids
from predictor.program_graph import NODE_TYPE_NAMES

OUTPUTS = 2
STILL = 1e-2
"""A state that changes by no more than this is taken to have settled."""


@dataclass(frozen=True, slots=True)
class DataflowConfig:
    """All that fixes the shape of the weights.

    With `marks_alike` nodes of the root's own text and number of operands are marked at the start, too.
    `read_bias` is added to what is read: well below 0 for rare answers. Without it a readout may learn first
    that nearly nothing is marked, close its gate, and learn no more.
    """

    vocabulary: int
    hidden: int = 32
    message: int = 16
    marks_alike: bool = False
    read_bias: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """What stays the same over the steps of one batch.

    Shapes:
        first: [nodes, roots, hidden], the embedded nodes, the root marked.
        entering: [nodes, roots, 3 * hidden], what they add at each step.
        gates: [edges, 1, message].
    """

    batch: Batch
    first: Tensor
    entering: Tensor
    gates: Tensor


class DataflowModel(nn.Module):
    """For each node and root, the logits of being marked, and of being in the analysis' hint."""

    def __init__(self, config: DataflowConfig) -> None:
        super().__init__()
        self.config = config
        hidden, message = config.hidden, config.message
        self.texts = nn.Embedding(config.vocabulary, hidden)
        self.kinds = nn.Embedding(len(NODE_TYPE_NAMES), hidden)
        self.root = nn.Parameter(torch.randn(hidden))
        if config.marks_alike:
            self.alike = nn.Parameter(0.2 * torch.randn(hidden))
        self.messages = nn.Linear(hidden, DIRECTED_FLOWS * message)
        self.gate = nn.Linear(hidden, message)
        self.cell_first = nn.Linear(hidden, 3 * hidden)
        self.cell_input = nn.Linear(message, 3 * hidden, bias=False)
        self.cell_state = nn.Linear(hidden, 3 * hidden)
        self.read_gate = nn.Linear(2 * hidden, OUTPUTS)
        self.read_value = nn.Linear(hidden, OUTPUTS)
        self._begin_near_the_answer()
        self.register_buffer("sinusoids", sinusoids(POSITIONS, hidden), persistent=False)
        self.sinusoids: Tensor

    def _begin_near_the_answer(self) -> None:
        """Weights from which the tasks are learned sooner.

        What kind a node is, and that it is the root, stands out from what its text is; marks are few.
        """
        with torch.no_grad():
            self.texts.weight.mul_(0.2)
            self.read_gate.bias.fill_(2.0)
            self.read_value.bias.fill_(0.0 if self.config.read_bias else -3.0)

    def begin(self, batch: Batch) -> tuple[Run, Tensor]:
        """What a batch's steps share, and the states before the first."""
        nodes = self.texts(batch.tokens) + self.kinds(batch.kinds)
        first = nodes.unsqueeze(1) + batch.selector.unsqueeze(2) * self.root
        if self.config.marks_alike:
            first = first + batch.alike.unsqueeze(2) * self.alike
        gates = (2.0 * torch.sigmoid(self.gate(self.sinusoids))).index_select(0, batch.positions)
        return Run(batch, first, self.cell_first(first), gates.unsqueeze(1)), torch.tanh(first)

    def step(self, run: Run, states: Tensor) -> Tensor:
        """One round of message passing. Shapes: [nodes, roots, hidden] to the same."""
        arrived = self._arrived(
            self._sent(states), run.batch.senders, run.batch.receivers, run.gates, len(states)
        )
        return self._continued(run.entering, arrived, states)

    def read(self, run: Run, states: Tensor) -> Tensor:
        """The logits of answer and hint. Shapes: [nodes, roots, hidden] to [nodes, roots, OUTPUTS]."""
        gate = torch.sigmoid(self.read_gate(torch.cat((states, run.first), dim=2)))
        logits: Tensor = gate * self.read_value(states) + self.config.read_bias
        return logits

    def settle(self, batch: Batch, limit: int) -> tuple[Tensor, int]:
        """The answer's logits after steps until nothing changes, at most `limit`, and how many.

        A node is computed anew only while it, or a node that sends to it, still changes.
        """
        with torch.inference_mode():
            run, states = self.begin(batch)
            nodes = len(states)
            sending_nodes = batch.senders // DIRECTED_FLOWS
            sent = self._sent(states).view(nodes, DIRECTED_FLOWS, -1)
            changed = torch.ones(nodes, dtype=torch.bool)
            for count in range(limit):
                heard = changed.clone()
                heard[batch.receivers[changed[sending_nodes]]] = True
                active = heard.nonzero().squeeze(1)
                place = torch.cumsum(heard, 0) - 1
                edges = heard[batch.receivers].nonzero().squeeze(1)
                arrived = self._arrived(
                    sent.view(nodes * DIRECTED_FLOWS, -1),
                    batch.senders[edges],
                    place[batch.receivers[edges]],
                    run.gates[edges],
                    active.numel(),
                )
                before = states[active]
                after = self._continued(run.entering[active], arrived, before)
                moved = (after - before).abs().amax(dim=(1, 2)) > STILL
                states[active] = after
                changed = torch.zeros_like(changed)
                changed[active[moved]] = True
                if not bool(moved.any()):
                    return self.read(run, states)[:, :, 0], count + 1
                fresh = active[moved]
                sent[fresh] = self._sent(states[fresh]).view(fresh.numel(), DIRECTED_FLOWS, -1)
            return self.read(run, states)[:, :, 0], limit

    def _sent(self, states: Tensor) -> Tensor:
        """What each node sends along each directed flow.

        Shapes: [nodes, roots, hidden] to [nodes * DIRECTED_FLOWS, roots * message].
        """
        nodes, roots, _ = states.shape
        sent: Tensor = self.messages(states).view(nodes, roots, DIRECTED_FLOWS, -1)
        return sent.transpose(1, 2).reshape(nodes * DIRECTED_FLOWS, -1)

    def _arrived(
        self, sent: Tensor, senders: Tensor, receivers: Tensor, gates: Tensor, nodes: int
    ) -> Tensor:
        """The largest message that arrives at each node, at least nothing, bounded.

        Shapes: to [nodes, roots, message].
        """
        message = self.config.message
        scaled = sent.index_select(0, senders).view(len(senders), -1, message) * gates
        largest: Tensor = _Largest.apply(  # type: ignore[no-untyped-call]  # torch has no type for it
            scaled.view(len(senders), -1), receivers, nodes
        )
        return torch.tanh(largest).view(nodes, -1, message)

    def _continued(self, entering: Tensor, arrived: Tensor, states: Tensor) -> Tensor:
        """The GRU cell (Cho et al., 2014) over what arrived and the first state."""
        reset_in, update_in, new_in = (self.cell_input(arrived) + entering).chunk(3, dim=2)
        reset_own, update_own, new_own = self.cell_state(states).chunk(3, dim=2)
        update = torch.sigmoid(update_in + update_own)
        new = torch.tanh(new_in + torch.sigmoid(reset_in + reset_own) * new_own)
        return new + update * (states - new)


class _Largest(torch.autograd.Function):
    """The largest row entry of each group, at least zero; its gradient goes to all that equal it.

    The gradient of `scatter_reduce` shares among equals, which takes most of a training step.
    """

    @staticmethod
    def forward(context: Any, rows: Tensor, group: Tensor, groups: int) -> Tensor:
        """Shapes: rows [n, width], group [n], to [groups, width]."""
        index = group.unsqueeze(1).expand_as(rows)
        largest = rows.new_zeros(groups, rows.size(1)).scatter_reduce(0, index, rows, "amax")
        if context.needs_input_grad[0]:
            context.save_for_backward(group, (rows > 0.0) & (rows == largest[group]))
        return largest

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Shapes: gradient [groups, width], to [n, width]."""
        group, equal = context.saved_tensors
        return gradient.index_select(0, group) * equal, None, None
