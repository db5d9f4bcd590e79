"""An ONNX file says what the torch models that it came from say, to 1e-4 of the whole work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("torch_geometric", reason="training needs the extra `train`")
onnx = pytest.importorskip("onnx", reason="training needs the extra `train`")

import onnxruntime  # noqa: E402

from predictor import predict  # noqa: E402
from predictor.datasets.examples import Examples  # noqa: E402
from predictor.export import INPUTS, OUTPUT, onnx_bytes  # noqa: E402
from predictor.features import encode, launch_features  # noqa: E402
from predictor.nn.ensemble import Ensemble  # noqa: E402
from predictor.nn.model import ModelConfig, ShareModel  # noqa: E402
from predictor.predict import Predictor  # noqa: E402
from predictor.program_graph import ProgramGraph  # noqa: E402

TOLERANCE = 1e-4
"""Of a fraction; the models speak in percent."""

torch.set_num_threads(1)


def committed() -> Ensemble:
    """The torch models of the committed file, from the weights that it holds."""
    facts = Predictor.load().facts
    held = onnx.load(predict.MODEL).graph.initializer
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor).copy() for tensor in held}
    members = [
        ShareModel(ModelConfig(**facts["model"])) for _ in range(facts["training"]["members"])
    ]
    ensemble = Ensemble(members)
    state = {
        name: torch.from_numpy(weights[name]) if name in weights else tensor
        for name, tensor in ensemble.state_dict().items()
    }
    missing = [name for name in state if name not in weights]
    assert all(name.endswith("num_batches_tracked") for name in missing)
    ensemble.load_state_dict(state)
    return ensemble.eval()


def test_the_committed_file_equals_torch(graphs: list[ProgramGraph]) -> None:
    predictor = Predictor.load()
    tokens = {text: token for token, text in enumerate(predictor.facts["vocabulary"], 1)}
    ensemble = committed()
    for graph in graphs:
        arrays = encode(graph, tokens)
        for size, group in ((0, 1), (1 << 12, 64), (1 << 24, 256)):
            with torch.inference_mode():
                said = ensemble(
                    torch.from_numpy(arrays.tokens),
                    torch.from_numpy(arrays.edge_index),
                    torch.from_numpy(arrays.edge_types),
                    torch.from_numpy(arrays.edge_positions),
                    torch.from_numpy(launch_features(size, group)[None, :]),
                )
            fraction = predictor.cpu_fraction(graph, transfer_bytes=size, work_group_size=group)
            assert fraction == pytest.approx(said.item() / 100.0, abs=TOLERANCE)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_any_export_equals_torch_on_all_graphs_and_several_launches(
    examples: Examples, bidirectional: bool
) -> None:
    torch.manual_seed(0)
    config = ModelConfig(len(examples.vocabulary), 256, bidirectional=bidirectional)
    members = [ShareModel(config).eval() for _ in range(2)]
    with torch.no_grad():
        for parameter in (p for member in members for p in member.parameters()):
            parameter.mul_(3.0)
    session = onnxruntime.InferenceSession(onnx_bytes(members), providers=["CPUExecutionProvider"])
    launch = np.random.default_rng(0).uniform(0, 20, (4, 2)).astype(np.float32)
    answers = []
    for graph in examples.graphs:
        arrays: tuple[Any, ...] = (
            graph.tokens,
            graph.edge_index,
            graph.edge_types,
            graph.edge_positions,
            launch,
        )
        (said,) = session.run([OUTPUT], dict(zip(INPUTS, arrays, strict=True)))
        with torch.inference_mode():
            wanted = Ensemble(members).eval()(*(torch.from_numpy(array) for array in arrays))
        np.testing.assert_allclose(said, wanted.numpy(), atol=100.0 * TOLERANCE)
        answers.append(said)
    assert np.std(answers) > 100.0 * TOLERANCE
