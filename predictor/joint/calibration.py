"""How far a spread must be stretched to be honest, by how new the kernel is.

A model is too sure of some launches and too unsure of others. Launches that a model was not trained on
tell by how much: those of known kernels, of kernels like known ones, and of kernels unlike all. For
each class the factor is sought by which samples must be stretched about their median so that the
interval of 80 % holds 80 % of what was measured. Source: Romano, Patterson and Candes, "Conformalized
Quantile Regression", NeurIPS 2019, by groups. What is new altogether, the kernel and the size of its
launch, is given at least the spread that launches have in general.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.prediction import quantiles

PROBABILITY = 0.8
_TAIL = (1.0 - PROBABILITY) / 2.0
NEW, UNLIKE = 0.01, 0.4
"""Root mean square differences of standardised facts from which a kernel is new, and unlike all."""
SAME_RUN = 0.01
"""Launches whose standardised sizes differ less than this are of one run of one program, in training."""
CLASSES = ("known", "like a known one", "unlike all known", "new altogether")
ALTOGETHER = len(CLASSES) - 1
SMALLEST, GREATEST = 0.25, 4.0
FEWEST = 20
"""With fewer launches than this to learn from, a class keeps the spread as it is."""


@dataclass(frozen=True, slots=True)
class Novelty:
    """How far a launch is from the nearest of training: its kernel's facts, and its sizes."""

    kernel: float
    launch: float

    @property
    def number(self) -> int:
        """The index in `CLASSES`."""
        if self.kernel < NEW:
            return 0
        if self.launch >= SAME_RUN:
            return ALTOGETHER
        return 1 if self.kernel < UNLIKE else 2


@dataclass(frozen=True, slots=True)
class Calibration:
    """A factor for each of `CLASSES`, and the spread of log T_gpu - log T_cpu where nothing is known.

    The spread is the width of its interval of `PROBABILITY`.
    """

    factors: tuple[float, ...] = (1.0,) * len(CLASSES)
    general_spread: float = 0.0

    def __post_init__(self) -> None:
        if len(self.factors) != len(CLASSES) or not all(
            0.0 < each < 100.0 for each in self.factors
        ):
            raise ValueError(f"factors {self.factors} given, expected {len(CLASSES)} above 0")

    def factor(
        self, novelty: Novelty, difference: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> float:
        """By how much to stretch samples of log T_gpu - log T_cpu. Shapes: [samples] each."""
        factor = self.factors[novelty.number]
        if novelty.number < ALTOGETHER:
            return factor
        return max(factor, self.general_spread / max(spread(difference, weights), 1e-9))


def spread(difference: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """The width of the interval of `PROBABILITY` of samples. Shapes: [samples] each."""
    low, high = quantiles(difference, weights, (_TAIL, 1.0 - _TAIL))
    return float(high - low)


def stretched(
    outputs: NDArray[np.float64], weights: NDArray[np.float64], factor: float
) -> NDArray[np.float64]:
    """Samples moved away from their weighted median, each output apart. Shapes: [samples, 2]."""
    median = np.concatenate(
        [quantiles(outputs[:, column], weights, (0.5,)) for column in range(outputs.shape[1])]
    )
    moved: NDArray[np.float64] = median + factor * (outputs - median)
    return moved


@dataclass(frozen=True, slots=True, eq=False)
class LeftOut:
    """What was said of a launch that was left out, and what was measured.

    `difference` is the measured log T_gpu - log T_cpu, of which `samples` and `weights` were expected.
    Shapes: float64 [samples] each.
    """

    novelty: Novelty
    difference: float
    samples: NDArray[np.float64]
    weights: NDArray[np.float64]


def needed_factor(
    difference: float, samples: NDArray[np.float64], weights: NDArray[np.float64]
) -> float:
    """The smallest factor at which the interval of `PROBABILITY` of samples holds what was measured.

    Shapes: samples and weights float64 [samples].
    """
    low, middle, high = quantiles(samples, weights, (_TAIL, 0.5, 1.0 - _TAIL))
    away = difference - middle
    side = (high - middle) if away > 0.0 else (middle - low)
    return float(abs(away) / max(side, 1e-9))


def calibrate(left_out: Sequence[LeftOut], general_spread: float) -> Calibration:
    """The factors at which the intervals of launches that were left out hold `PROBABILITY` of them.

    What is new altogether keeps its spread, or gets the general one: launches of the same suites tell
    too little of it.
    """
    factors = []
    for number in range(ALTOGETHER):
        needed = [
            needed_factor(each.difference, each.samples, each.weights)
            for each in left_out
            if each.novelty.number == number
        ]
        found = float(np.quantile(needed, PROBABILITY)) if len(needed) >= FEWEST else 1.0
        factors.append(min(max(found, SMALLEST), GREATEST))
    return Calibration((*factors, 1.0), general_spread)
