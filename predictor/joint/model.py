"""The joint model: a forest and a Gaussian process, each half of the answer, and an honest spread.

The forest knows which measured launches are alike, the process how times go on between and beyond them;
half of the samples come from each. How wide the samples are stretched depends on how new the kernel is,
by factors that were found on kernels that were left out (see `calibration`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.facts import launch_facts
from predictor.joint.calibration import Calibration, Novelty, stretched
from predictor.joint.forest import Forest
from predictor.joint.process import (
    Process,
    both_times,
    distances,
    mean_and_difference,
    mean_and_difference_of,
)
from predictor.prediction import Prediction

FOREST_PART = 0.5
"""What part of the answer the forest gives; the process gives the rest."""
NODES = 64
LARGEST_STANDARD = 4.0
"""A standardised fact beyond this many deviations is read as this."""
LEAST_WEIGHT = 1e-5
_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Standard:
    """How facts are standardised. Shapes: float32 [facts] each; `scale` is 0 for what never varies."""

    centre: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def of(cls, facts: NDArray[np.float32]) -> Standard:
        """From training rows. Shapes: facts [rows, facts]."""
        deviation = facts.std(0)
        scale = np.where(deviation > 1e-3, 1.0 / np.maximum(deviation, 1e-3), 0.0)
        return cls(facts.mean(0).astype(np.float32), scale.astype(np.float32))

    def __call__(self, facts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardised facts, bounded. Shapes: [..., facts] to the same."""
        plain = (facts - self.centre) * self.scale
        bounded: NDArray[np.float32] = np.clip(plain, -LARGEST_STANDARD, LARGEST_STANDARD)
        return bounded


@dataclass(frozen=True, slots=True, eq=False)
class JointModel:
    """A trained model. Shapes: log_seconds float64 [training rows, 2], CPU and GPU."""

    of_kernel: Standard
    of_launch: Standard
    forest: Forest
    process: Process
    calibration: Calibration
    log_seconds: NDArray[np.float64]

    def __post_init__(self) -> None:
        rows = len(self.log_seconds)
        if len(self.forest.votes) != rows or len(self.process.kernels) != rows:
            raise ValueError(f"the forest and the process are not of the {rows} rows of the times")

    def predict(
        self, kernel: NDArray[np.float32], transfer_bytes: int, work_group_size: int
    ) -> Prediction:
        """What is known of the times of a launch of a kernel with these facts.

        Shapes: kernel float32 [kernel facts], see `kernel_facts`.
        """
        launch = launch_facts(kernel, transfer_bytes, work_group_size)
        votes = self.forest.weights(np.concatenate([kernel, launch]))
        known = self.of_kernel(kernel)
        mean, variance = self.process.predict(known, self.of_launch(launch[:2]))
        voters = np.flatnonzero(votes > LEAST_WEIGHT)
        outputs = np.concatenate(
            [
                mean_and_difference(self.log_seconds[voters]),
                mean_and_difference_of(mean + np.sqrt(variance) * NORMAL),
            ]
        )
        weights = np.concatenate(
            [
                FOREST_PART * votes[voters] / votes[voters].sum(),
                np.full(NODES, (1.0 - FOREST_PART) / NODES),
            ]
        )
        factor = self.calibration.factor(self.novelty(kernel, launch), outputs[:, 1], weights)
        return Prediction(both_times(stretched(outputs, weights, factor)), weights)

    def novelty(self, kernel: NDArray[np.float32], launch: NDArray[np.float32]) -> Novelty:
        """How new a launch is. Shapes: kernel [kernel facts], launch [launch facts]."""
        sizes = np.abs(self.process.launches - self.of_launch(launch[:2])).max(1)
        facts = distances(self.of_kernel(kernel)[None], self.process.kernels)
        return Novelty(float(facts.min()), float(sizes.min()))

    def prior(self) -> Prediction:
        """What is known of a launch of which nothing is known: how launches in training were."""
        votes = self.forest.votes.astype(np.float64)
        return Prediction(self.log_seconds.copy(), votes / votes.sum(), is_prior=True)


def _normal_nodes(count: int) -> NDArray[np.float64]:
    """Points that lie as a standard normal distribution in the plane. Shapes: float64 [count, 2].

    A golden spiral: radii at equal steps of probability, and angles that never repeat.
    """
    step = np.arange(count) + 0.5
    radius = np.sqrt(-2.0 * np.log(1.0 - step / count))
    angle = 2.0 * np.pi * _GOLDEN * step
    nodes = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    nodes -= nodes.mean(0)
    spiral: NDArray[np.float64] = nodes / nodes.std(0)
    return spiral


NORMAL = _normal_nodes(NODES)
