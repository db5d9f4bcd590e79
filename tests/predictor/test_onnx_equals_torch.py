"""An ONNX file says what the torch models that it came from say, to 1e-4 of the whole work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("torch_geometric", reason="training needs the extra `train`")
onnx = pytest.importorskip("onnx", reason="training needs the extra `train`")

import onnxruntime  # noqa: E402

from predictor.card import card_path, card_text  # noqa: E402
from predictor.datasets.examples import Examples  # noqa: E402
from predictor.errors import ModelError  # noqa: E402
from predictor.export import INPUTS, OUTPUT, onnx_bytes  # noqa: E402
from predictor.features import encode, launch_features  # noqa: E402
from predictor.network import VERSIONS, Network, network_card  # noqa: E402
from predictor.nn.ensemble import Ensemble  # noqa: E402
from predictor.nn.model import ModelConfig, ShareModel  # noqa: E402
from predictor.program_graph import ProgramGraph  # noqa: E402

TOLERANCE = 1e-4
"""Of a fraction; the models speak in percent."""

torch.set_num_threads(1)


def test_a_network_from_its_file_says_what_torch_says(
    examples: Examples, graphs: list[ProgramGraph], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    members = [ShareModel(ModelConfig(len(examples.vocabulary), 256)).eval() for _ in range(2)]
    path = tmp_path / "network.onnx"
    content = onnx_bytes(members)
    path.write_bytes(content)
    card_path(path).write_text(network_card(content, examples.vocabulary, {}))
    network, ensemble = Network.load(path), Ensemble(members).eval()
    tokens = examples.vocabulary.tokens()
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
            fraction = network.cpu_fraction(graph, transfer_bytes=size, work_group_size=group)
            expected = np.clip(said.item() / 100.0, 0.0, 1.0)
            assert fraction == pytest.approx(expected, abs=TOLERANCE)


def test_a_network_that_onnx_runtime_cannot_load_is_refused(
    examples: Examples, tmp_path: Path
) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(b"no model")
    card_path(path).write_text(network_card(b"no model", examples.vocabulary, {}))
    with pytest.raises(ModelError, match="ONNX Runtime cannot load"):
        Network.load(path)


@pytest.mark.parametrize("vocabulary", [None, 3])
def test_a_network_without_a_vocabulary_is_refused(tmp_path: Path, vocabulary: object) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(b"")
    card_path(path).write_text(card_text(b"", VERSIONS, {"vocabulary": vocabulary}))
    with pytest.raises(ModelError, match="no vocabulary"):
        Network.load(path)


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
