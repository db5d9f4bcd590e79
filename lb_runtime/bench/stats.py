"""Medians with bootstrap intervals, geometric means, and the efficiency of a split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A median in seconds, and the bounds of its 95 % interval."""

    median: float
    low: float
    high: float


def interval(seconds: Sequence[float], seed: int = 0) -> Interval:
    """The median and its percentile bootstrap interval (Efron 1979): the same for the same samples.

    Raises ValueError where there are no samples.
    """
    if not seconds:
        raise ValueError("no samples given, expected one or more")
    values = np.asarray(seconds, np.float64)
    drawn = np.random.default_rng(seed).integers(0, values.size, (RESAMPLES, values.size))
    medians = np.median(values[drawn], axis=1)
    low, high = np.quantile(medians, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(np.median(values)), float(low), float(high))


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive numbers; NaN of none."""
    return math.exp(math.fsum(map(math.log, values)) / len(values)) if values else math.nan


def largest_speed_up(cpu_seconds: float, gpu_seconds: float) -> float:
    """S_max over the faster device: the sum of both speeds beside its own.

    (1/T_cpu + 1/T_gpu) * min(T_cpu, T_gpu), as in the EngineCL papers (Nozal, Bosque and Beivide 2018).
    """
    return (1.0 / cpu_seconds + 1.0 / gpu_seconds) * min(cpu_seconds, gpu_seconds)


def efficiency(seconds: float, cpu_seconds: float, gpu_seconds: float) -> float:
    """The speed-up over the faster device as a part of the largest one."""
    speed_up = min(cpu_seconds, gpu_seconds) / seconds
    return speed_up / largest_speed_up(cpu_seconds, gpu_seconds)
