"""The door for a runtime: a program graph and a launch to the share that the CPU should take.

Needs numpy and ONNX Runtime. The latter is imported when a model is loaded, not before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from predictor.card import read_card
from predictor.errors import ModelError
from predictor.features import encode, launch_features
from predictor.program_graph import ProgramGraph

if TYPE_CHECKING:
    import onnxruntime

MODEL = Path(__file__).resolve().parent / "models" / "share_v1.onnx"
_ERRORS_ONLY = 3


class Predictor:
    """A loaded model. `facts` is its card."""

    def __init__(
        self, session: onnxruntime.InferenceSession, tokens: dict[str, int], facts: dict[str, Any]
    ) -> None:
        self._session = session
        self._tokens = tokens
        self.facts = facts

    @classmethod
    def load(cls, path: Path | None = None) -> Predictor:
        """The model at `path`, or the one that comes with this package.

        Raises ModelError where the file or its card is missing, damaged or of another version.
        """
        model = path or MODEL
        try:
            content = model.read_bytes()
        except OSError as error:
            raise ModelError(f"cannot read the model {model}: {error.strerror}") from error
        card = read_card(model, content)
        return cls(_session(model, content), card.vocabulary.tokens(), card.facts)

    def cpu_fraction(
        self, graph: ProgramGraph, *, transfer_bytes: int, work_group_size: int
    ) -> float:
        """The share of the work that the CPU should take, from 0 to 1.

        `transfer_bytes` is what moves between host and device for the launch, `work_group_size` the
        work-items of a group.
        """
        if transfer_bytes < 0 or work_group_size < 0:
            raise ValueError(
                f"transfer_bytes ({transfer_bytes}) and work_group_size ({work_group_size}) "
                "must not be negative"
            )
        arrays = encode(graph, self._tokens)
        (percentages,) = self._session.run(
            ["percentage"],
            {
                "tokens": arrays.tokens,
                "edge_index": arrays.edge_index,
                "edge_types": arrays.edge_types,
                "edge_positions": arrays.edge_positions,
                "launch": launch_features(transfer_bytes, work_group_size)[None, :],
            },
        )
        return float(np.clip(percentages[0] / 100.0, 0.0, 1.0))


def _session(model: Path, content: bytes) -> onnxruntime.InferenceSession:
    """One thread: a prediction is a few milliseconds, and the user's cores are the user's."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    onnxruntime.disable_telemetry_events()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no other base class
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"ONNX Runtime cannot load {model}: {reason}") from error
