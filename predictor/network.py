"""A graph neural network from its ONNX file, as `python -m predictor train` writes it.

Needs numpy and ONNX Runtime. The latter is imported when a model is loaded, not before.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from predictor.card import card_text, read_card
from predictor.errors import ModelError
from predictor.features import FEATURE_VERSION, Vocabulary, encode, launch_features
from predictor.program_graph import ProgramGraph

if TYPE_CHECKING:
    import onnxruntime

VERSIONS = {"feature_version": FEATURE_VERSION}
_ERRORS_ONLY = 3


class Network:
    """A loaded network. `facts` is its card."""

    def __init__(
        self, session: onnxruntime.InferenceSession, tokens: dict[str, int], facts: dict[str, Any]
    ) -> None:
        self._session = session
        self._tokens = tokens
        self.facts = facts

    @classmethod
    def load(cls, path: Path) -> Network:
        """The network of a file.

        Raises ModelError where the file or its card is missing, damaged or of another version.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"cannot read the model {path}: {error.strerror}") from error
        facts = read_card(
            path, content, VERSIONS, "train the model again with `python -m predictor train`"
        )
        try:
            tokens = Vocabulary(tuple(facts["vocabulary"])).tokens()
        except (KeyError, TypeError) as error:
            raise ModelError(f"the card of {path} has no vocabulary; train it again") from error
        return cls(_session(path, content), tokens, facts)

    def cpu_fraction(
        self, graph: ProgramGraph, *, transfer_bytes: int, work_group_size: int
    ) -> float:
        """The share of the work that the CPU should take, from 0 to 1."""
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


def network_card(content: bytes, vocabulary: Vocabulary, facts: Mapping[str, Any]) -> str:
    """The card of an ONNX file of this content, whose inputs are read by this vocabulary."""
    return card_text(content, VERSIONS, {**facts, "vocabulary": list(vocabulary.texts)})


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
