"""What `lb tune` measures, as values: a kernel's text with a launch, and the data to launch it with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lb_runtime.arguments import HostValue
from lb_runtime.launch import LocalArgument

DATA_SEED = 3
"""Random data are the same each time: how long a kernel takes may depend on them."""


class Made(Protocol):
    """An argument that can be made again and again; its `repr` says all of it."""

    def materialise(self, seed: int = 0, position: int = 0) -> HostValue:
        """The value; `position` is the argument's place, so that random arguments differ."""
        ...


@dataclass(frozen=True, slots=True)
class Number:
    """An argument by value."""

    value: int | float

    def materialise(self, seed: int = 0, position: int = 0) -> HostValue:
        """The number itself."""
        return self.value


@dataclass(frozen=True, slots=True)
class Zeros:
    """A buffer of `count` elements of a numpy type, for a kernel to write."""

    element: str
    count: int

    def materialise(self, seed: int = 0, position: int = 0) -> HostValue:
        """The array."""
        return np.zeros(self.count, self.element)


@dataclass(frozen=True, slots=True)
class Random:
    """A buffer of random numbers, at least `low` and below `high`."""

    element: str
    count: int
    low: float = 0
    high: float = 1

    def materialise(self, seed: int = 0, position: int = 0) -> HostValue:
        """The array."""
        generator = np.random.default_rng([seed, position])
        kind = np.dtype(self.element)
        if kind.kind == "f":
            wide = generator.random(self.count, np.float32 if kind.itemsize < 8 else np.float64)
            return (self.low + wide * (self.high - self.low)).astype(kind)
        return generator.integers(int(self.low), int(self.high), self.count, kind)


@dataclass(frozen=True, slots=True)
class Local:
    """Local memory of so many bytes."""

    size_bytes: int

    def materialise(self, seed: int = 0, position: int = 0) -> HostValue:
        """The argument that asks for it."""
        return LocalArgument(self.size_bytes)


@dataclass(frozen=True, slots=True)
class Workload:
    """A kernel and one launch of it. `family` names the kernels that were made after one pattern.

    Sizes are in work-items. Whatever decides about its run time is in its fields.
    """

    family: str
    name: str
    source: str
    kernel_name: str
    global_size: tuple[int, ...]
    local_size: tuple[int, ...] | None
    arguments: tuple[Made, ...]
    options: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """A short hash of what is run: the same text, launch and data have the same key."""
        said = (
            self.source,
            self.options,
            self.kernel_name,
            self.global_size,
            self.local_size,
            self.arguments,
        )
        return hashlib.sha256(repr(said).encode("utf-8", "surrogateescape")).hexdigest()[:24]

    def values(self) -> list[HostValue]:
        """New values for the arguments, always the same ones."""
        return [made.materialise(DATA_SEED, place) for place, made in enumerate(self.arguments)]
