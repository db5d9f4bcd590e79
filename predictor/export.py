"""Torch models to one ONNX file."""

from __future__ import annotations

import platform
import tempfile
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.onnx.utils import register_custom_op_symbolic, unregister_custom_op_symbolic

from predictor.nn.ensemble import Ensemble
from predictor.nn.model import LAUNCH_FEATURES, ShareModel

OPSET = 17
INPUTS = ("tokens", "edge_index", "edge_types", "edge_positions", "launch")
OUTPUT = "percentage"
_SOFTWARE = ("torch", "torch-geometric", "onnx", "numpy", "scikit-learn", "ziglang")


def onnx_bytes(members: Sequence[ShareModel]) -> bytes:
    """The mean of the members as an ONNX model of one graph and any number of its launches.

    Its inputs are `INPUTS`, with the shapes of `ShareModel.forward`; its output is `OUTPUT`, [rows].
    """
    register_custom_op_symbolic("aten::index_add", _index_add, OPSET)
    try:
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            # The exporter that torch prefers needs packages beyond `onnx`, and gives the same file.
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                Ensemble(members).eval(),
                _example(),
                str(path),
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                dynamic_axes={
                    "tokens": {0: "nodes"},
                    "edge_index": {1: "edges"},
                    "edge_types": {0: "edges"},
                    "edge_positions": {0: "edges"},
                    "launch": {0: "rows"},
                    OUTPUT: {0: "rows"},
                },
                opset_version=OPSET,
                dynamo=False,
            )
            return path.read_bytes()
    finally:
        unregister_custom_op_symbolic("aten::index_add", OPSET)


def software() -> dict[str, str]:
    """The versions of what the model was made with."""
    return {"python": platform.python_version(), **{name: version(name) for name in _SOFTWARE}}


def _example() -> tuple[Tensor, ...]:
    """A graph of three nodes and two edges, for the exporter to follow."""
    return (
        torch.tensor([1, 2, 1]),
        torch.tensor([[0, 1], [1, 2]]),
        torch.tensor([0, 1]),
        torch.tensor([0, 1]),
        torch.zeros(2, LAUNCH_FEATURES),
    )


def _index_add(g: Any, base: Any, dim: int, index: Any, source: Any, alpha: Any = None) -> Any:
    """Adds rows by ScatterND: the exporter's own rule drops all but one row of equal index."""
    if int(torch.onnx.symbolic_helper._maybe_get_const(dim, "i")) != 0:
        raise NotImplementedError("index_add is exported along dimension 0 only")
    axis = g.op("Constant", value_t=torch.tensor([1]))
    return g.op("ScatterND", base, g.op("Unsqueeze", index, axis), source, reduction_s="add")
