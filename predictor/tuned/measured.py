"""What was measured on one machine, as the arrays that a head is fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.tuned.features import TUNED_FEATURES


@dataclass(frozen=True, slots=True, eq=False)
class Measurements:
    """Launches that were timed on each device alone, one row each.

    `groups` names what a row belongs to: kernels that are alike share a group, and are held out together.

    Shapes:
        features: float64 [rows, features], see `tuned_features`.
        kernel_seconds: float64 [rows, 2], the kernel alone on CPU and GPU.
        total_seconds: float64 [rows, 2], with everything sent and fetched.
        transfer_bytes: float64 [rows].
    Raises ValueError where lengths differ or a time is none.
    """

    features: NDArray[np.float64]
    kernel_seconds: NDArray[np.float64]
    total_seconds: NDArray[np.float64]
    transfer_bytes: NDArray[np.float64]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        rows = len(self.groups)
        if (
            self.features.shape != (rows, len(TUNED_FEATURES))
            or self.kernel_seconds.shape != (rows, 2)
            or self.total_seconds.shape != (rows, 2)
            or self.transfer_bytes.shape != (rows,)
        ):
            raise ValueError(f"arrays of {rows} measurements have other lengths")
        times = np.concatenate([self.kernel_seconds, self.total_seconds])
        if not (np.isfinite(times).all() and (times > 0).all()):
            raise ValueError("times of measurements must be positive and finite")

    def __len__(self) -> int:
        return len(self.groups)

    def at(self, rows: NDArray[np.int64]) -> Measurements:
        """Some of them. Shapes: int64 [chosen]."""
        return Measurements(
            self.features[rows],
            self.kernel_seconds[rows],
            self.total_seconds[rows],
            self.transfer_bytes[rows],
            tuple(self.groups[row] for row in rows),
        )

    def shares(self, *, transfers: bool) -> NDArray[np.float64]:
        """The CPU share at which both devices finish together. Shapes: float64 [rows]."""
        seconds = self.total_seconds if transfers else self.kernel_seconds
        shares: NDArray[np.float64] = seconds[:, 1] / seconds.sum(1)
        return shares
