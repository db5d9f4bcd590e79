"""The kernels that `lb tune` makes up: the same ones on every machine, at sizes that fit it.

Each pattern makes kernels that differ in types, widths, operations, trip counts and memory walks, with
amounts of work spread evenly over orders of magnitude. A pattern is a family: whether a model carries over to
kernels it has not seen is told by leaving whole families out, not by other numbers in a known text.
"""

from __future__ import annotations

from collections.abc import Callable

from lb_runtime.tuning import arithmetic_kernels as arithmetic
from lb_runtime.tuning import group_kernels as group
from lb_runtime.tuning import memory_kernels as memory
from lb_runtime.tuning import mixture_kernels as mixtures
from lb_runtime.tuning.draft import Draft
from lb_runtime.tuning.workload import Workload

FAMILIES: dict[str, Callable[[Draft], Workload]] = {
    "stream": memory.stream,
    "polynomial": arithmetic.polynomial,
    "stencil": memory.stencil,
    "integer hash": arithmetic.integer_hash,
    "matrix": group.matrix,
    "transcendental": arithmetic.transcendental,
    "gather": memory.gather,
    "reduction": group.reduction,
    "data loop": arithmetic.data_loop,
    "row walk": memory.row_walk,
    "pairs": arithmetic.pairs,
    "local tile": group.local_tile,
    "branches": arithmetic.branches,
    "pixels": memory.pixels,
    "private array": arithmetic.private_array,
}
MIXTURE = "mixture"
TURN = "pattern", "mixture", "pattern", "mixture", "pattern"
"""What the kernels are, in turns: made after a pattern, the patterns in turns as well, or mixtures."""
DEFAULT_COUNT = 500


def generated(count: int = DEFAULT_COUNT, scale: float = 1.0) -> list[Workload]:
    """So many kernels, the families in turns; `scale` multiplies their work, for faster machines."""
    families = list(FAMILIES.items())
    made: list[Workload] = []
    mixed = 0
    for index in range(count):
        if TURN[index % len(TURN)] == "mixture":
            made.append(mixtures.mixture(Draft(MIXTURE, mixed, scale)))
            mixed += 1
            continue
        number, place = divmod(index - mixed, len(families))
        family, pattern = families[place]
        made.append(pattern(Draft(family, number, scale)))
    return made
