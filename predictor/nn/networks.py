"""The four networks of the thesis' ablation, from tokens to a state for each node (class).

Two layers take turns over six steps, whichever they are: ProGraML's (typed message passing), graph
convolutions (Kipf and Welling, ICLR 2017) or graph attention (Velickovic et al., ICLR 2018), the last
two without a non-linearity between the steps, as in the thesis. `mlp` passes no messages at all.
"""

# mypy: allow-subclassing-any
# A checker without torch sees no type for its base class.

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv

from predictor.nn.tables import EDGE_TYPES, Arrivals, Gnn, Tables
from predictor.nn.typed import TypedMessagePassing, TypedStep


@dataclass(frozen=True, slots=True)
class States:
    """What a network gives.

    Shapes:
        first: [last states, hidden], the embedding that each last state began as
        each: the states after each step, of [states of the step, hidden]; the embeddings alone
            where there are no steps
    """

    first: Tensor
    each: tuple[Tensor, ...]


class Network(nn.Module):
    """Embeds tokens and passes messages; `dropout` is that of ProGraML's layers."""

    def __init__(
        self, gnn: Gnn, vocabulary: int, hidden: int, positions: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden)
        layers: list[nn.Module] = []
        for _ in range(0 if gnn == "mlp" else 2):
            if gnn == "programl":
                layers.append(TypedMessagePassing(hidden, EDGE_TYPES, positions, dropout))
            elif gnn == "gcn":
                layers.append(GraphConvolution(hidden, hidden))
            else:
                layers.append(GraphAttention(hidden, hidden))
        self.layers = nn.ModuleList(layers)

    def forward(self, tables: Tables) -> States:
        """The states after each step of the tables."""
        states = self.embedding(tables.tokens)
        first = states.index_select(0, tables.origin)
        typed = [layer for layer in self.layers if isinstance(layer, TypedMessagePassing)]
        gates = [layer.gates() for layer in typed]
        each = []
        for number, step in enumerate(tables.steps):
            if isinstance(step, TypedStep):
                states = typed[number % 2].advance(states, step, gates[number % 2])
            else:
                states = self.layers[number % 2](states, step)
            each.append(states)
        return States(first, tuple(each) or (states,))


class GraphConvolution(GCNConv):
    """PyTorch Geometric's layer over `Arrivals`: loops and weights stand in its table."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, normalize=False)

    def forward(self, states: Tensor, step: Arrivals) -> Tensor:
        """Shapes: [in, inputs] to [out, outputs]."""
        arrived: Tensor = self.propagate(
            step.edge_index,
            x=(self.lin(states), None),
            edge_weight=step.weight,
            size=(states.size(0), step.own.size(0)),
        )
        arrived += self.bias
        return arrived


class GraphAttention(GATConv):
    """PyTorch Geometric's layer over `Arrivals`: the loops stand in its table."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, add_self_loops=False)

    def forward(self, states: Tensor, step: Arrivals) -> Tensor:
        """Shapes: [in, inputs] to [out, outputs]."""
        receiving = states.index_select(0, step.own)
        size = (states.size(0), step.own.size(0))
        continued: Tensor = super().forward((states, receiving), step.edge_index, size=size)
        return continued
