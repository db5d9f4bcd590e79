"""Measurements as values: a launch as the predictor reads it, and how long it took."""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import prod

import numpy as np

from lb_runtime.launch import Launch, ScalarArgument
from predictor.tuned.features import LaunchNumbers


@dataclass(frozen=True, slots=True)
class Seconds:
    """Times of whole launches on one device: of the kernel alone, and with what is sent and fetched."""

    kernel: float
    total: float

    def __post_init__(self) -> None:
        if not (0 < self.kernel < math.inf and 0 < self.total < math.inf):
            raise ValueError(f"{self.kernel} and {self.total} are no times in seconds")


@dataclass(frozen=True, slots=True)
class Measured:
    """A workload's launch and how long it takes on either device."""

    launch: LaunchNumbers
    cpu: Seconds
    gpu: Seconds


@dataclass(frozen=True, slots=True)
class SplitMeasured:
    """A launch that ran split at a CPU share; `seconds` is all of it, as `lb run` counts."""

    cpu_share: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """A measured workload as it is kept: all that a head is fitted to. `workload` is its key."""

    workload: str
    family: str
    name: str
    source: str
    options: tuple[str, ...]
    kernel_name: str
    measured: Measured


def launch_numbers(launch: Launch) -> LaunchNumbers:
    """What the predictor is told of a launch."""
    values = [a.value if isinstance(a, ScalarArgument) else None for a in launch.arguments]
    return LaunchNumbers(
        launch.transfer_bytes,
        launch.nd_range.group_items,
        prod(launch.nd_range.global_size),
        len(launch.nd_range.global_size),
        tuple(int(value) if isinstance(value, np.integer | int) else None for value in values),
    )
