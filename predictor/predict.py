"""The door for a runtime: a program graph and a launch to what is known of both devices' times.

Needs numpy alone. A runtime that has no model goes on with `prior()`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from predictor.card import read_card
from predictor.errors import ModelError
from predictor.facts import FACTS_VERSION, kernel_facts
from predictor.joint.model import JointModel
from predictor.joint.store import JOINT_VERSION, from_bytes
from predictor.prediction import Prediction
from predictor.program_graph import ProgramGraph

MODEL = Path(__file__).resolve().parent / "models" / "joint_v1.npz"
VERSIONS = {"joint_version": JOINT_VERSION, "facts_version": FACTS_VERSION}
_PRIOR_SECONDS = (5e-4, 0.015, 0.23)
"""CPU times of launches in the training data, each suite counting alike, at equal steps of probability."""
_PRIOR_SHARES = (
    *(0.03, 0.1, 0.13, 0.28, 0.32, 0.38, 0.44, 0.51),
    *(0.57, 0.59, 0.63, 0.66, 0.68, 0.7, 0.8),
)
"""Best CPU shares there, likewise."""
_PRIOR_STEPS = 60


class Predictor:
    """A loaded model. `facts` is its card."""

    def __init__(self, model: JointModel, facts: dict[str, Any]) -> None:
        self._model = model
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
        facts = read_card(
            model, content, VERSIONS, "train it again with `python -m predictor joint train`"
        )
        return cls(from_bytes(content, str(model)), facts)

    def predict(
        self, graph: ProgramGraph, *, transfer_bytes: int, work_group_size: int
    ) -> Prediction:
        """What is known of both devices' times of a launch, and what follows from it.

        `transfer_bytes` is what moves between host and device for the launch, `work_group_size` the
        work-items of a group. Raises ValueError where one is negative.
        """
        if transfer_bytes < 0 or work_group_size < 0:
            raise ValueError(
                f"transfer_bytes ({transfer_bytes}) and work_group_size ({work_group_size}) "
                "must not be negative"
            )
        return self._model.predict(kernel_facts(graph), transfer_bytes, work_group_size)

    def cpu_fraction(
        self, graph: ProgramGraph, *, transfer_bytes: int, work_group_size: int
    ) -> float:
        """The share of the work that the CPU should take, from 0 to 1; 0 and 1 do not split."""
        return self.predict(
            graph, transfer_bytes=transfer_bytes, work_group_size=work_group_size
        ).cpu_fraction


def prior() -> Prediction:
    """What is known of a launch where there is no model: how the launches of the training data were."""
    # Between the shares there are others: many steps, so that no share stands out by chance.
    steps = np.linspace(0.0, len(_PRIOR_SHARES) - 1.0, _PRIOR_STEPS)
    share = np.interp(steps, np.arange(len(_PRIOR_SHARES)), np.array(_PRIOR_SHARES))
    cpu = np.log(np.array(_PRIOR_SECONDS))
    logit = np.log(share / (1.0 - share))
    pairs = np.array([(time, time + gpu) for time in cpu for gpu in logit])
    return Prediction(pairs, np.full(len(pairs), 1.0 / len(pairs)), is_prior=True)
