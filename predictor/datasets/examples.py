"""Launches as arrays: what a model is trained on and judged by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.datasets.devmap import Devmap, Kernel
from predictor.errors import DatasetError
from predictor.features import GraphArrays, Vocabulary, encode, launch_features


@dataclass(frozen=True, slots=True)
class Examples:
    """All launches whose kernel compiles.

    Shapes:
        graphs: one per distinct kernel
        kernel: int64 [rows], index into `graphs`
        launch: float32 [rows, 2], see `launch_features`
        percentage: float32 [rows], the label
        cpu_seconds, gpu_seconds: float64 [rows]
        repaired: bool [rows], whether the kernel's source was repaired
    """

    vocabulary: Vocabulary
    graphs: tuple[GraphArrays, ...]
    kernel: NDArray[np.int64]
    launch: NDArray[np.float32]
    percentage: NDArray[np.float32]
    cpu_seconds: NDArray[np.float64]
    gpu_seconds: NDArray[np.float64]
    repaired: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.kernel)


def examples_of(data: Devmap, kernels: list[Kernel | None]) -> Examples:
    """The rows of `data` whose kernel is known. Raises DatasetError where there is none."""
    known = [number for number, kernel in enumerate(kernels) if kernel is not None]
    compiled = [kernel for kernel in kernels if kernel is not None]
    place = {number: index for index, number in enumerate(known)}
    launches = [launch for launch in data.launches if launch.kernel in place]
    if not launches:
        raise DatasetError(f"no kernel of the {data.name} data set compiles")
    vocabulary = Vocabulary.of(kernel.graph for kernel in compiled)
    tokens = vocabulary.tokens()
    kernel_of_row = np.array([place[launch.kernel] for launch in launches], dtype=np.int64)
    return Examples(
        vocabulary=vocabulary,
        graphs=tuple(encode(kernel.graph, tokens) for kernel in compiled),
        kernel=kernel_of_row,
        launch=np.stack(
            [launch_features(row.transfer_bytes, row.work_group_size) for row in launches]
        ),
        percentage=np.array([row.cpu_percentage for row in launches], dtype=np.float32),
        cpu_seconds=np.array([row.cpu_seconds for row in launches]),
        gpu_seconds=np.array([row.gpu_seconds for row in launches]),
        repaired=np.array([bool(kernel.repairs) for kernel in compiled])[kernel_of_row],
    )
