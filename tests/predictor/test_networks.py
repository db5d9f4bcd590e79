"""The thesis' networks over classes of equal nodes: the same numbers as node by node."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pyg = pytest.importorskip("torch_geometric.nn", reason="training needs the extra `train`")

from torch_geometric.utils import to_dense_adj, to_dense_batch  # noqa: E402

from predictor.datasets.examples import Examples  # noqa: E402
from predictor.nn.dropout import dropout  # noqa: E402
from predictor.nn.gru import gru  # noqa: E402
from predictor.nn.message_passing import MessagePassing  # noqa: E402
from predictor.nn.pools import CLUSTERS, Sums  # noqa: E402
from predictor.nn.spread import lists, spread  # noqa: E402
from predictor.nn.system import System, SystemConfig  # noqa: E402
from predictor.nn.tables import EDGE_TYPES, GraphSet  # noqa: E402
from predictor.nn.typed import TypedMessagePassing, typed  # noqa: E402
from predictor.nn.unrolled import plain  # noqa: E402

torch.set_num_threads(1)
GNNS = ("programl", "gcn", "gat", "mlp")
POOLINGS = ("default", "mean", "diff", "topk", "skips")
SYSTEMS = [pair for pair in itertools.product(GNNS, POOLINGS) if pair != ("mlp", "skips")]


def system(examples: Examples, gnn: str, pooling: str) -> tuple[System, GraphSet]:
    graphs = GraphSet(examples.graphs, gnn, sums=pooling == "diff", nodes=pooling == "topk")
    torch.manual_seed(3)
    config = SystemConfig(gnn, pooling, True, len(examples.vocabulary), graphs.positions, 1, 7)
    return System(config).eval(), graphs


def batch_of(examples: Examples) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All nodes, edges and graph numbers of all graphs, node by node."""
    sizes = [graph.tokens.size for graph in examples.graphs]
    starts = np.cumsum(sizes) - sizes
    edges = [graph.edge_index + start for graph, start in zip(examples.graphs, starts)]
    return (
        torch.from_numpy(np.concatenate([graph.tokens for graph in examples.graphs])),
        torch.from_numpy(np.concatenate(edges, axis=1)),
        torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)),
    )


@pytest.mark.parametrize(("gnn", "pooling"), SYSTEMS)
def test_a_graph_gives_the_same_alone_and_in_a_batch(
    examples: Examples, gnn: str, pooling: str
) -> None:
    model, graphs = system(examples, gnn, pooling)
    count = len(examples.graphs)
    launch = torch.rand(count, 2)
    with torch.no_grad():
        together = model(graphs.batch(range(count)), torch.arange(count), launch)
        for number in range(count):
            alone = model(graphs.batch([number]), torch.tensor([0]), launch[number : number + 1])
            torch.testing.assert_close(together[number : number + 1], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("gnn", "pooling"), SYSTEMS)
def test_every_system_learns_a_tiny_set(examples: Examples, gnn: str, pooling: str) -> None:
    model, graphs = system(examples, gnn, pooling)
    model.train()
    tables = graphs.batch(range(len(examples.graphs)))
    row_graph, launch = torch.from_numpy(examples.kernel), torch.from_numpy(examples.launch)
    wanted = torch.from_numpy(examples.percentage / 50.0 - 1.0)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for _ in range(25):
        loss = ((model(tables, row_graph, launch).squeeze(1) - wanted) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])
    used = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert not used


@pytest.mark.parametrize("gnn", ["gcn", "gat"])
def test_layers_over_classes_are_those_of_pytorch_geometric(examples: Examples, gnn: str) -> None:
    model, graphs = system(examples, gnn, "mean")
    theirs = [(pyg.GCNConv if gnn == "gcn" else pyg.GATConv)(64, 64) for _ in range(2)]
    for own, other in zip(model.network.layers, theirs):
        other.load_state_dict(own.state_dict())
    tokens, edges, graph = batch_of(examples)
    with torch.no_grad():
        states = model.network.embedding(tokens)
        for step in range(6):
            states = theirs[step % 2](states, edges)
        wanted = pyg.global_mean_pool(states, graph)
        tables = graphs.batch(range(len(examples.graphs)))
        said = model.pooling(model.network(tables), tables)[:, 64:]
    torch.testing.assert_close(said, wanted, atol=1e-5, rtol=1e-4)


def test_a_typed_step_is_the_step_of_message_passing(examples: Examples) -> None:
    tokens, edges, graph = batch_of(examples)
    types = torch.from_numpy(np.concatenate([one.edge_types for one in examples.graphs]))
    positions = torch.from_numpy(np.concatenate([one.edge_positions for one in examples.graphs]))
    step = plain(tokens, edges, types, positions, graph, graphs=6, step_count=1).steps[0]
    fast = TypedMessagePassing(8, EDGE_TYPES, 9, dropout=0.0)
    slow = MessagePassing(8, EDGE_TYPES, 9)
    slow.load_state_dict(fast.state_dict())
    results = []
    for layer, table in ((slow, step), (fast, typed(step, tokens.numel(), EDGE_TYPES, 9))):
        states = torch.randn(tokens.numel(), 8, generator=torch.Generator().manual_seed(1))
        states.requires_grad_()
        step_of = layer.advance if layer is fast else layer
        out = step_of(states, table, layer.gates())
        (out**2).sum().backward()
        results.append((out.detach(), states.grad, layer.messages.weight.grad))
    for one, other in zip(*results):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_the_sum_of_nodes_is_differentiable_pooling_averaged_over_clusters(
    examples: Examples,
) -> None:
    torch.manual_seed(0)
    pooling = Sums(16)
    layers = [pyg.GCNConv(16, 16, normalize=False) for _ in range(2)]
    for own, other in zip(pooling.layers, layers):
        other.load_state_dict(own.state_dict())
    embedding = torch.nn.Embedding(len(examples.vocabulary), 16)
    tokens, edges, graph = batch_of(examples)
    with torch.no_grad():
        states = embedding(tokens)
        for layer in layers:
            states = torch.relu(layer(states, edges))
        nodes, mask = to_dense_batch(states, graph)
        assigned, _ = to_dense_batch(torch.randn(tokens.numel(), CLUSTERS), graph)
        wanted = pyg.dense_diff_pool(nodes, to_dense_adj(edges, graph), assigned, mask)[0].mean(1)
        tables = GraphSet(examples.graphs, "mlp", sums=True).batch(range(6))
        states = embedding(tables.tokens)
        from predictor.nn.networks import States

        said = pooling(States(states, (states,)), tables)
    torch.testing.assert_close(said, wanted, atol=1e-4, rtol=1e-4)


def test_top_k_pooling_needs_tables_with_nodes(examples: Examples) -> None:
    model, _ = system(examples, "mlp", "topk")
    tables = GraphSet(examples.graphs, "mlp").batch([0, 1])
    with pytest.raises(ValueError, match="nodes=True"):
        model(tables, torch.tensor([0, 1]), torch.zeros(2, 2))


def test_skips_without_steps_are_refused(examples: Examples) -> None:
    with pytest.raises(ValueError, match="choose another --pooling"):
        system(examples, "mlp", "skips")


def test_spread_has_the_gradient_of_its_sums() -> None:
    source, target = torch.tensor([0, 2, 2, 1]), torch.tensor([3, 0, 3, 1])
    rows = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    edges = lists(source, target, 3, 4)
    wanted = torch.zeros(4, 2, dtype=torch.float64).index_add(0, target, rows[source])
    torch.testing.assert_close(spread(rows, edges), wanted)
    assert torch.autograd.gradcheck(lambda values: spread(values, edges), rows)


def test_spread_over_no_edges_gives_zeros() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert spread(torch.ones(2, 3), lists(none, none, 2, 4)).tolist() == [[0.0] * 3] * 4


def test_the_gates_are_those_of_a_gru_cell() -> None:
    cell = torch.nn.GRUCell(5, 5).double()
    given, states = torch.randn(3, 5).double(), torch.randn(3, 5).double()
    entering = torch.nn.functional.linear(given, cell.weight_ih, cell.bias_ih)
    kept = torch.nn.functional.linear(states, cell.weight_hh, cell.bias_hh)
    torch.testing.assert_close(gru(entering, kept, states), cell(given, states))
    inputs = [one.detach().requires_grad_() for one in (entering, kept, states)]
    assert torch.autograd.gradcheck(gru, inputs)


def test_dropout_keeps_the_mean_and_zeroes_its_part() -> None:
    torch.manual_seed(1)
    values = dropout(torch.ones(999, 101), 0.3, training=True)
    assert float((values == 0.0).float().mean()) == pytest.approx(77 / 256, abs=0.01)
    assert float(values.mean()) == pytest.approx(1.0, abs=0.01)


def test_dropout_leaves_what_is_not_trained_alone() -> None:
    values = torch.randn(4, 4)
    assert dropout(values, 0.3, training=False) is values
