"""What the patterns of generated kernels share: a source of choices, and how much work is asked for."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from lb_runtime.tuning.workload import Made, Workload

T = TypeVar("T")
LEAST_OPERATIONS, MOST_OPERATIONS = 2.0**21, 2.0**27
"""Of a launch, as counted by its pattern; a slow core does the latter in some 60 ms."""
MOST_BUFFER_BYTES = 24 << 20
FEWEST_GROUPS = 16
"""A launch of fewer work-groups can be cut only coarsely."""
NUMPY = {
    "char": "int8",
    "uchar": "uint8",
    "short": "int16",
    "ushort": "uint16",
    "int": "int32",
    "uint": "uint32",
    "long": "int64",
    "ulong": "uint64",
    "float": "float32",
    "double": "float64",
}
BYTES = {"char": 1, "uchar": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "float": 4} | {
    "long": 8,
    "ulong": 8,
    "double": 8,
}


@dataclass
class Draft:
    """Choices for one kernel, the same ones for the same seed; `scale` is for faster machines."""

    family: str
    number: int
    scale: float = 1.0
    choices: random.Random = field(init=False)

    def __post_init__(self) -> None:
        # A text as seed: tuples and hashes differ from process to process.
        self.choices = random.Random(f"{self.family} {self.number}")  # noqa: S311  # no secrets

    def one_of(self, options: Sequence[T]) -> T:
        """One of them, each as likely."""
        return self.choices.choice(options)

    def chance(self, probability: float) -> bool:
        """Whether something happens."""
        return self.choices.random() < probability

    def about(self, least: float, most: float) -> int:
        """A whole number, each order of magnitude as likely."""
        return round(math.exp(self.choices.uniform(math.log(least), math.log(most))))

    def items(self, operations_per_item: float, bytes_per_item: float = 4.0) -> int:
        """How many work-items a launch has, so that work is spread evenly over magnitudes."""
        wanted = self.about(LEAST_OPERATIONS, MOST_OPERATIONS) * self.scale
        items = wanted / max(operations_per_item, 1.0)
        return max(1, int(min(items, MOST_BUFFER_BYTES / max(bytes_per_item, 1e-3))))

    def line(self, items: int, local: int | None = None) -> tuple[tuple[int], tuple[int]]:
        """Global and local size of a launch in one dimension of about so many items."""
        local = local or self.one_of((32, 64, 64, 128, 256))
        groups = max(FEWEST_GROUPS, -(-items // local))
        return (groups * local,), (local,)

    def plane(self, items: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Global and local size of a launch in two dimensions of about so many items."""
        local = self.one_of(((8, 8), (16, 8), (16, 16), (32, 4), (64, 1)))
        side = math.sqrt(items) * self.choices.uniform(0.7, 1.4)
        columns = max(1, round(side / local[0]))
        rows = max(-(-FEWEST_GROUPS // columns), round(items / side / local[1]))
        return (columns * local[0], rows * local[1]), local

    def workload(
        self,
        source: str,
        sizes: tuple[tuple[int, ...], tuple[int, ...]],
        *arguments: Made,
    ) -> Workload:
        """The kernel, whose name in the text is `tuned`."""
        text = "\n".join(line.rstrip() for line in source.strip().splitlines()) + "\n"
        return Workload(
            self.family, f"{self.family} {self.number}", text, "tuned", *sizes, arguments
        )
