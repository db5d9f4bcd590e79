"""A kernel while it is being written: its range, its parameters with their contents, its helpers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from lb_runtime.arguments import HostValue
from lb_runtime.launch import LocalArgument, NDRange

T = TypeVar("T")

INTEGERS: dict[str, type[np.integer[Any]]] = {
    "int": np.int32,
    "uint": np.uint32,
    "char": np.int8,
    "uchar": np.uint8,
    "short": np.int16,
    "ushort": np.uint16,
    "long": np.int64,
    "ulong": np.uint64,
}
FLOATS: dict[str, type[np.floating[Any]]] = {"float": np.float32, "double": np.float64}
SCALARS: dict[str, type[Any]] = {**INTEGERS, **FLOATS}
"""The element types, by their names in OpenCL C."""

LANES = (2, 3, 4, 8, 16)


def slots(lanes: int) -> int:
    """How many elements a vector takes in memory: one of three takes the space of four."""
    return 4 if lanes == 3 else lanes


@dataclass(frozen=True)
class Content:
    """What an argument holds: `kind` says how its `count` elements of `type` are made.

    Kinds: "random" (integers in [0, limit), or floats in eighths, all of which a half holds),
    "permutation" (of 0 to count - 1), "starts" (count ascending numbers from 0 to limit), "scalar" (the
    number `limit`, or `limit` eighths for a float), "local" (count bytes of local memory), "same" (the
    array of the parameter of index `limit`, from its element `count` on).
    """

    kind: str
    type: str
    count: int = 1
    limit: int = 0

    def make(self, random: np.random.Generator, before: Sequence[HostValue]) -> HostValue:
        """The value to hand to a launch; `before` are the values of the parameters before."""
        if self.kind == "local":
            return LocalArgument(self.count)
        if self.kind == "same":
            return before[self.limit][self.count :]  # type: ignore[index]
        if self.kind == "half":
            return (random.integers(-128, 128, self.count) / 8).astype(np.float16)
        dtype = SCALARS[self.type]
        if self.kind == "scalar":
            return dtype(self.limit / 8 if self.type in FLOATS else self.limit)  # type: ignore[no-any-return]
        made: npt.NDArray[Any]
        if self.kind == "permutation":
            made = random.permutation(self.count)
        elif self.kind == "starts":
            inner = np.sort(random.integers(0, self.limit + 1, self.count - 2))
            made = np.concatenate(([0], inner, [self.limit]))
        elif self.type in FLOATS:
            made = random.integers(-128, 128, self.count) / 8
        else:
            made = random.integers(0, self.limit, self.count)
        return made.astype(dtype)


@dataclass(frozen=True)
class Parameter:
    """A parameter as it stands in the signature, and what is given for it."""

    declaration: str
    content: Content


@dataclass(frozen=True)
class Readable:
    """A buffer that no work-item writes: its name, the scalar type and lanes of an element, its length."""

    name: str
    type: str
    count: int
    lanes: int = 1


@dataclass
class Draft:
    """A kernel while it is written.

    `is_mixed` tells that devices of different compilers will run it, and `is_exact` asks for values on
    which these agree: integers, and floats in which no operation rounds. `options` are the build
    options. `variables` are declarations at the kernel's beginning, by name, `helpers` texts before the
    kernel, `patterns` the names of those that were taken.
    """

    random: Random
    nd_range: NDRange
    is_mixed: bool
    is_exact: bool
    options: tuple[str, ...] = ()
    parameters: list[Parameter] = field(default_factory=list)
    readables: list[Readable] = field(default_factory=list)
    helpers: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    patterns: list[str] = field(default_factory=list)
    _names: int = 0

    @property
    def items(self) -> int:
        """How many work-items the range holds."""
        return self.nd_range.items

    def chance(self, percent: int) -> bool:
        """True in so many of 100 cases."""
        return self.random.randint(1, 100) <= percent

    def choice(self, choices: Sequence[T]) -> T:
        """One of them, each as likely as the others."""
        return self.random.choice(choices)

    def written(self, ways: Sequence[Callable[[], T]]) -> T:
        """What one of the ways writes; the others write nothing, and so add no parameters."""
        return self.random.choice(ways)()

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return self.random.randint(low, high)

    def name(self, stem: str) -> str:
        """A name that nothing else has."""
        self._names += 1
        return f"{stem}{self._names}"

    def parameter(self, declaration: str, content: Content) -> None:
        """Add a parameter to the signature."""
        self.parameters.append(Parameter(declaration, content))

    def output(self, element: str, count: int, lanes: int = 1) -> str:
        """A new buffer to write, of `count` elements; its name."""
        name = self.name("out")
        restrict = self.choice(("", "", "restrict "))
        content = Content("random", element, count * slots(lanes), 100)
        self.parameter(f"global {element}{lanes if lanes > 1 else ''} *{restrict}{name}", content)
        return name

    def element(self) -> str:
        """The scalar type of a new output."""
        return self.choice(tuple(SCALARS))

    def integer(self) -> str:
        """An integer type that holds every work-item's number and twice as much."""
        wanted = 2 * self.items
        return self.choice([t for t, dtype in INTEGERS.items() if np.iinfo(dtype).max >= wanted])

    def scalar(self, value: int) -> str:
        """A whole number in the text: as a literal or as a parameter's name."""
        if self.chance(60):
            return str(value)
        for parameter in self.parameters:
            if parameter.content.kind == "scalar" and parameter.content.limit == value:
                return parameter.declaration.split()[-1]
        name = self.name("n")
        fitting = [t for t, dtype in INTEGERS.items() if np.iinfo(dtype).max >= value]
        kind = self.choice(fitting)
        self.parameter(
            f"{self.choice(('', 'const '))}{kind} {name}", Content("scalar", kind, 1, value)
        )
        return name

    def readable(self) -> Readable:
        """A buffer to read from: one that is there, or a new one."""
        if self.readables and (len(self.readables) > 2 or self.chance(60)):
            return self.choice(self.readables)
        kind = self.choice(tuple(SCALARS))
        lanes = self.choice(LANES) if self.chance(10) else 1
        count = self.items + self.choice((0, 0, 3, self.items))
        name = self.name("x")
        space = self.choice(("global const", "global const", "global", "constant"))
        restrict = self.choice(("", "", "restrict ")) if space != "constant" else ""
        limit = self.items if kind in FLOATS else min(self.items, int(np.iinfo(INTEGERS[kind]).max))
        suffix = str(lanes) if lanes > 1 else ""
        content = Content("random", kind, count * slots(lanes), limit)
        self.parameter(f"{space} {kind}{suffix} *{restrict}{name}", content)
        found = Readable(name, kind, count, lanes)
        self.readables.append(found)
        return found

    def permutation(self) -> str:
        """The name of a buffer that holds a permutation of the work-items' numbers."""
        for parameter in self.parameters:
            if parameter.content.kind == "permutation":
                return parameter.declaration.split("*")[-1]
        name = self.name("p")
        kind = self.integer()
        self.parameter(f"global const {kind} *{name}", Content("permutation", kind, self.items))
        return name
