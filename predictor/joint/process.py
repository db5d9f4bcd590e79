"""A Gaussian process over kernels and launches: smooth where there are neighbours, wide where none are.

Its covariance says what makes two launches alike: kernels with similar facts launched at similar sizes,
kernels with similar facts at any size, and launches that move the same bytes with the same work-group
(in the training data those belong to one run of one program). Both outputs, the mean of both log times
and the best CPU share, have this covariance. Source: Rasmussen and Williams, "Gaussian Processes for Machine
Learning", 2006, chapter 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALIKE, ALIKE_LENGTH, TRANSFER_LENGTH, GROUP_LENGTH = 0.8, 2.0, 3.0, 5.0
KERNEL, KERNEL_LENGTH = 0.2, 1.3
RUN, RUN_TRANSFER_LENGTH, RUN_GROUP_LENGTH = 0.15, 0.05, 0.3
NOISE = 0.02
"""Variances and lengths of the covariance, for inputs and outputs that are standardised.

Found by marginal likelihood on the AMD file of the data set and rounded; no time of another graphics
card was used.
"""
LEAST_SHARE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Process:
    """A Gaussian process, conditioned on its training rows.

    Shapes:
        kernels: float32 [rows, facts], standardised facts of the kernels.
        launches: float32 [rows, 2], standardised log transfer and log work-group.
        solved: float32 [rows, 2], the inverse of the covariance times the standardised outputs.
        root: float32 [rows, rows], the inverse of the covariance's lower Cholesky factor.
        centre, scale: float64 [2], of the mean log time and of the share.
    """

    kernels: NDArray[np.float32]
    launches: NDArray[np.float32]
    solved: NDArray[np.float32]
    root: NDArray[np.float32]
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __post_init__(self) -> None:
        rows = len(self.kernels)
        shapes = (self.launches.shape, self.solved.shape, self.root.shape)
        if shapes != ((rows, 2), (rows, 2), (rows, rows)):
            raise ValueError(f"the arrays of a process of {rows} rows have shapes {shapes}")

    def predict(
        self, kernel: NDArray[np.float32], launch: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and variance of (mean log seconds, best CPU share) of a launch.

        Shapes: kernel [facts] and launch [2], standardised; results float64 [2] each.
        """
        between = covariance(kernel[None], launch[None], self.kernels, self.launches)[0]
        mean = between @ self.solved.astype(np.float64)
        explained = float(np.sum((self.root @ between.astype(np.float32)) ** 2))
        spread = max(ALIKE + KERNEL + RUN + NOISE - explained, NOISE / 2)
        return mean * self.scale + self.centre, spread * self.scale**2


def condition(
    kernels: NDArray[np.float32],
    launches: NDArray[np.float32],
    log_seconds: NDArray[np.float64],
) -> Process:
    """The process given training rows. Shapes: [rows, facts], [rows, 2] and [rows, 2]."""
    outputs = mean_and_share(log_seconds)
    centre, scale = outputs.mean(0), np.maximum(outputs.std(0), 1e-6)
    among = covariance(kernels, launches, kernels, launches)
    among[np.diag_indices(len(among))] += NOISE
    factor = np.linalg.cholesky(among)
    root = np.linalg.solve(factor, np.eye(len(factor)))
    solved = root.T @ (root @ ((outputs - centre) / scale))
    return Process(
        kernels, launches, solved.astype(np.float32), root.astype(np.float32), centre, scale
    )


def covariance(
    kernels: NDArray[np.float32],
    launches: NDArray[np.float32],
    other_kernels: NDArray[np.float32],
    other_launches: NDArray[np.float32],
) -> NDArray[np.float64]:
    """How alike launches are. Shapes: [rows, facts], [rows, 2] and as many of others; [rows, others]."""
    apart = distances(kernels, other_kernels)
    gap = launches.T[:, :, None].astype(np.float64) - other_launches.T[:, None, :]
    gap *= gap
    alike = ALIKE * np.exp(-apart / ALIKE_LENGTH)
    alike *= _matern(gap, TRANSFER_LENGTH, GROUP_LENGTH)
    alike += KERNEL * np.exp(-apart / KERNEL_LENGTH)
    alike += RUN * _matern(gap, RUN_TRANSFER_LENGTH, RUN_GROUP_LENGTH)
    total: NDArray[np.float64] = alike
    return total


def distances(kernels: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Root mean square difference of standardised facts. Shapes: [rows, facts] twice; [rows, others]."""
    mine, theirs = kernels.astype(np.float64), others.astype(np.float64)
    squares = (mine**2).sum(1)[:, None] + (theirs**2).sum(1)[None] - 2.0 * mine @ theirs.T
    # What is left of two equal rows is the rounding of the squares.
    squares[squares < 1e-6 * mine.shape[1]] = 0.0
    apart: NDArray[np.float64] = np.sqrt(squares / mine.shape[1])
    return apart


def mean_and_difference(log_seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """(mean of both, GPU - CPU) of log times (CPU, GPU). Shapes: [..., 2] to [..., 2]."""
    cpu, gpu = log_seconds[..., 0], log_seconds[..., 1]
    return np.stack([(cpu + gpu) / 2.0, gpu - cpu], -1)


def mean_and_share(log_seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """(mean of both log times, T_gpu / (T_cpu + T_gpu)). Shapes: [..., 2] to [..., 2].

    Unlike the difference of log times, the share is bounded: launches that one device runs a hundred
    times faster do not outweigh those where it matters which is faster.
    """
    cpu, gpu = log_seconds[..., 0], log_seconds[..., 1]
    return np.stack([(cpu + gpu) / 2.0, 1.0 / (1.0 + np.exp(cpu - gpu))], -1)


def mean_and_difference_of(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """(mean, GPU - CPU) of log times from (mean, share). Shapes: [..., 2] to [..., 2].

    A share outside of `LEAST_SHARE` to 1 - `LEAST_SHARE` is read as the nearest of these.
    """
    share = np.clip(outputs[..., 1], LEAST_SHARE, 1.0 - LEAST_SHARE)
    return np.stack([outputs[..., 0], np.log(share / (1.0 - share))], -1)


def both_times(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """What `mean_and_difference` was made of. Shapes: [..., 2] to [..., 2]."""
    mean, difference = outputs[..., 0], outputs[..., 1]
    return np.stack([mean - difference / 2.0, mean + difference / 2.0], -1)


def _matern(gap: NDArray[np.float64], transfer: float, group: float) -> NDArray[np.float64]:
    """Matern covariance of order 3/2 of squared gaps. Shapes: [2, rows, others] to [rows, others]."""
    away = np.sqrt(gap[0] * (3.0 / transfer**2) + gap[1] * (3.0 / group**2))
    alike: NDArray[np.float64] = (1.0 + away) * np.exp(-away)
    return alike
