"""A Gaussian process over standardised features whose held-out errors are known without fitting again.

The covariance is a smooth part that falls off with the distance of features (exponential in their mean
absolute difference, which a few odd features do not dominate), a linear part, and noise. Which lengths and
variances fit is told by leaving out every group of rows at once, which needs one inverse for all groups.
Sources: Rasmussen and Williams 2006, sections 2.2 and 5.4.2 (leaving out one, here in blocks).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LENGTHS = 0.3, 0.5, 1.0, 2.0
LINEARS = 0.0, 0.1, 1.0
NOISES = 0.05, 0.2
"""Among these the covariance is chosen; variances are relative to the smooth part's."""
CONSTANT = 1.0


@dataclass(frozen=True, slots=True)
class Covariance:
    """`length` of the smooth part in mean absolute differences; variances of the linear part and noise."""

    length: float
    linear: float
    noise: float

    def between(
        self, rows: NDArray[np.float64], others: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Shapes: [rows, features] and [others, features] to [rows, others]; without noise."""
        return self._of(apart(rows, others), rows @ others.T / rows.shape[1])

    def among(
        self, distances: NDArray[np.float64], products: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Of rows among themselves, noise included. Shapes: [rows, rows] all."""
        whole = self._of(distances, products)
        whole[np.diag_indices(len(whole))] += self.noise
        return whole

    def own(self, row: NDArray[np.float64]) -> float:
        """The variance of one row by itself, noise included. Shapes: [features]."""
        return 1.0 + self.linear * float(row @ row) / len(row) + CONSTANT + self.noise

    def _of(
        self, distances: NDArray[np.float64], products: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        whole: NDArray[np.float64] = (
            np.exp(-distances / self.length) + self.linear * products + CONSTANT
        )
        return whole


def apart(rows: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean absolute differences. Shapes: [rows, features], [others, features] to [rows, others]."""
    distances = np.empty((len(rows), len(others)))
    for place, row in enumerate(rows):
        distances[place] = np.abs(others - row).mean(1)
    return distances


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """What is said of each row by a process that knows no row of its group. Shapes: float64 [rows]."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


def held_out(
    among: NDArray[np.float64], values: NDArray[np.float64], groups: tuple[str, ...]
) -> HeldOut:
    """Leave out each group in turn; `values` have mean zero. Shapes: [rows, rows] and [rows]."""
    inverse = np.linalg.inv(among)
    solved = inverse @ values
    mean, variance = np.empty(len(values)), np.empty(len(values))
    names = np.array(groups)
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        block = np.linalg.inv(inverse[np.ix_(rows, rows)])
        mean[rows] = values[rows] - block @ solved[rows]
        variance[rows] = np.diag(block)
    return HeldOut(mean, np.maximum(variance, 1e-9))


def chosen_covariance(
    rows: NDArray[np.float64], values: NDArray[np.float64], groups: tuple[str, ...]
) -> tuple[Covariance, HeldOut]:
    """The covariance with the smallest held-out error, and that error's rows.

    Shapes: standardised features [rows, features], values [rows] of mean zero.
    """
    distances, products = apart(rows, rows), rows @ rows.T / rows.shape[1]
    tried = []
    for setting in itertools.product(LENGTHS, LINEARS, NOISES):
        covariance = Covariance(*setting)
        found = held_out(covariance.among(distances, products), values, groups)
        tried.append((float(np.mean((found.mean - values) ** 2)), covariance, found))
    _, covariance, found = min(tried, key=lambda each: each[0])
    return covariance, found
