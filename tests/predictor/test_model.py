"""The network's layers compute what their papers say, and the shortcut changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("torch_geometric", reason="training needs the extra `train`")

from predictor.datasets.examples import Examples  # noqa: E402
from predictor.nn.message_passing import MessagePassing, sinusoids  # noqa: E402
from predictor.nn.model import ModelConfig, ShareModel  # noqa: E402
from predictor.nn.quotient import Quotient  # noqa: E402
from predictor.nn.unrolled import Step  # noqa: E402

torch.set_num_threads(1)


def model_of(examples: Examples, **shape: Any) -> ShareModel:
    torch.manual_seed(0)
    model = ShareModel(ModelConfig(len(examples.vocabulary), positions=256, **shape)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model


def tensors(examples: Examples, kernel: int) -> tuple[Any, ...]:
    graph = examples.graphs[kernel]
    arrays = (graph.tokens, graph.edge_index, graph.edge_types, graph.edge_positions)
    return tuple(torch.from_numpy(array) for array in arrays)


def test_a_message_is_the_gated_mean_that_a_gru_cell_takes() -> None:
    torch.manual_seed(0)
    layer = MessagePassing(hidden=8, edge_types=3, positions=4)
    states = torch.randn(3, 8)
    step = Step(
        own=None,
        source=torch.tensor([0, 1]),
        types=torch.tensor([1, 2]),
        target=torch.tensor([2, 2]),
        positions=torch.tensor([0, 3]),
        scale=torch.tensor([[1.0], [1.0], [0.5]]),
    )
    weight = layer.messages.weight.view(3, 8, 8)
    bias = layer.messages.bias.view(3, 8)
    gate = 2 * torch.sigmoid(layer.gate(sinusoids(4, 8)))
    first = (weight[1] @ states[0] + bias[1]) * gate[0]
    second = (weight[2] @ states[1] + bias[2]) * gate[3]
    arrived = torch.stack((torch.zeros(8), torch.zeros(8), (first + second) / 2))
    cell = torch.nn.GRUCell(8, 8)
    cell.weight_ih, cell.bias_ih = layer.cell_input.weight, layer.cell_input.bias
    cell.weight_hh, cell.bias_hh = layer.cell_state.weight, layer.cell_state.bias
    torch.testing.assert_close(layer(states, step, layer.gates()), cell(arrived, states))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_computing_equal_states_once_gives_the_same_percentages(
    examples: Examples, bidirectional: bool
) -> None:
    model = model_of(examples, bidirectional=bidirectional)
    quotient = Quotient(examples.graphs, steps=6, edge_types=3, bidirectional=bidirectional)
    chosen = [4, 1, 0, 2]
    launch = torch.tensor([[3.0, 1.0], [9.0, 2.0], [5.0, 4.0], [1.0, 6.0]])
    with torch.inference_mode():
        together = model.run(quotient.batch(chosen), torch.arange(4), launch).mean(dim=0)
        alone = [
            model(*tensors(examples, kernel), launch[row : row + 1])
            for row, kernel in enumerate(chosen)
        ]
    assert together.std() > 1e-3
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0.0)


def test_equal_states_are_fewer_than_nodes(examples: Examples) -> None:
    batch = Quotient(examples.graphs, steps=6, edge_types=3, bidirectional=False).batch([0, 1])
    nodes = sum(examples.graphs[kernel].tokens.size for kernel in (0, 1))
    sizes = [batch.tokens.size(0), *(step.scale.size(0) for step in batch.steps)]
    assert sizes == sorted(sizes)
    assert sizes[-1] < nodes


def test_launches_of_one_graph_are_judged_together_as_alone(examples: Examples) -> None:
    model = model_of(examples)
    launch = torch.rand(5, 2) * 20
    with torch.inference_mode():
        together = model(*tensors(examples, 2), launch)
        alone = [model(*tensors(examples, 2), launch[row : row + 1]) for row in range(5)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0.0)


def test_several_graphs_are_judged_together_as_alone(examples: Examples) -> None:
    model = model_of(examples)
    tokens, edge_index, types, positions = zip(*(tensors(examples, k) for k in (0, 3)), strict=True)
    launch = torch.rand(2, 2) * 20
    nodes = tokens[0].size(0)
    with torch.inference_mode():
        together = model(
            torch.cat(tokens),
            torch.cat((edge_index[0], edge_index[1] + nodes), dim=1),
            torch.cat(types),
            torch.cat(positions),
            launch,
            graph_index=torch.tensor([0] * nodes + [1] * tokens[1].size(0)),
            row_graph=torch.tensor([0, 1]),
        )
        alone = [model(*tensors(examples, k), launch[i : i + 1]) for i, k in enumerate((0, 3))]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0.0)


def test_a_percentage_stays_between_0_and_100(examples: Examples) -> None:
    model = model_of(examples)
    with torch.inference_mode():
        said = model(*tensors(examples, 0), torch.tensor([[1e4, -1e4], [-1e4, 1e4]]))
    assert bool(((said >= 0) & (said <= 100)).all())


def test_sinusoids_tell_positions_apart() -> None:
    table = sinusoids(256, 64).numpy()
    assert len(np.unique(table.round(6), axis=0)) == 256
