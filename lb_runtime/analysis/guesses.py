"""One guess at a launch, how good it turned out, and the guesses that what was seen of it leads to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

from lb_runtime.analysis.extents import Extents
from lb_runtime.analysis.made_up import Made
from lb_runtime.analysis.strides import MAX_GROUP_ITEMS
from lb_runtime.analysis.verdict import Verdict
from lb_runtime.launch import Launch, NDRange, default_local_size

MEMORY_CAP_BYTES = 256 << 20
"""All buffers that are made up for one launch hold no more bytes than these together."""
STEP_CAP = 1 << 28
"""A launch of more innermost loop iterations than these, over all work-items, is made smaller."""
MODERATE = 64
"""How often a loop runs, and how long a row is, that nothing else tells."""
FEW = 8
"""How often it runs where `MODERATE` is too much; how many work-groups a range has at least."""

SHAPES: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((65536,), (4096,), (256,), (64,), (8,)),
    2: ((256, 256), (64, 64), (16, 16), (12, 12), (8, 8)),
    3: ((32, 32, 32), (16, 16, 16), (12, 12, 12), (8, 8, 8)),
}
"""Global sizes by number of dimensions, in the order in which they are tried."""


@dataclass(frozen=True, slots=True)
class Guess:
    """What is varied: the range, how much "moderate" is, and what offsets into buffers and pitches are.

    `offsets` is "zero", "last" (the last id of a dimension) or "apart" (each a region further); pitches
    are `scale` times a row; guards are no more than `limit` (0 for any).
    """

    nd_range: NDRange
    moderate: int = MODERATE
    offsets: str = "zero"
    scale: int = 1
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A guess and what came of it; `made` is what was chosen for parameters without a value.

    `is_negative` tells that a buffer is reached into before its start, `is_beyond` that one that was given
    is too small, `is_open` that it is not known how far one is reached into though no data decides it, as
    where an index is too large for its type. `dangers` tell what may leave made-up memory.
    `is_clear` tells that no two parts meet where ids alone
    decide, `is_exact` that no merge compares whole buffers. `verdict` is that on the launch in halves,
    None where it was not asked for.
    """

    guess: Guess
    launch: Launch
    made: dict[int, Made]
    notes: tuple[str, ...]
    reached: Extents
    total_bytes: int
    is_negative: bool
    is_beyond: bool
    is_open: bool
    dangers: tuple[str, ...] = ()
    is_splittable: bool = False
    is_exact: bool = False
    is_clear: bool = False
    verdict: Verdict | None = None

    @property
    def fits(self) -> bool:
        """Whether the buffers are not too large."""
        return self.total_bytes <= MEMORY_CAP_BYTES

    @property
    def may_run(self) -> bool:
        """Whether nothing shows that it would go wrong, or take long."""
        return (
            self.fits
            and not self.is_negative
            and not self.is_beyond
            and not self.reached.leaves_local
            and self.reached.steps <= STEP_CAP
        )

    @property
    def is_sound(self) -> bool:
        """Whether nothing speaks against running it."""
        return self.may_run and not self.is_open and not self.is_misfit

    @property
    def is_misfit(self) -> bool:
        """Whether strides ask for another local size, or for a single group along a dimension.

        In other groups work-items may touch what no other has written, or all others have.
        """
        nd_range, fitting = self.guess.nd_range, self.reached.strides.groups
        if any(nd_range.groups[dimension] > 1 for dimension in self.reached.strides.lone):
            return True
        return bool(fitting) and not any(
            all(nd_range.local_size[d] == size for d, size in each.items()) for each in fitting
        )

    @property
    def score(self) -> tuple[bool, ...]:
        """The better try has the greater score."""
        return (
            self.fits,
            not self.reached.leaves_local,
            not self.is_beyond,
            not self.is_negative,
            not self.is_open,
            not self.is_misfit,
            self.reached.steps <= STEP_CAP,
            self.is_splittable,
            self.is_clear,
            self.is_exact,
        )


def range_of(
    shape: tuple[int, ...], local: tuple[int, ...] | None, offset: tuple[int, ...] | None
) -> NDRange:
    """A range of about this shape, of whole groups; at least 8 groups along each dimension."""
    if local is not None:
        wanted = (*local, *(1,) * len(shape))[: len(shape)]
        groups = [max(FEW, size // mine) for size, mine in zip(shape, wanted)]
        shape = tuple(count * mine for count, mine in zip(groups, wanted))
        return NDRange.of(shape, wanted, offset)
    shape = tuple(max(1, size) for size in shape)
    most = tuple(max(1, size // FEW) for size in shape)
    return NDRange.of(shape, _divisors(shape, most), offset)


def fitting_groups(found: Attempt) -> list[tuple[int, ...]]:
    """The local sizes that a try's strides fit to, without its own and those that no device takes."""
    own = found.guess.nd_range.local_size
    fitting = [
        tuple(each.get(dimension, size) for dimension, size in enumerate(own))
        for each in found.reached.strides.groups
    ]
    return [each for each in fitting if each != own and prod(each) <= MAX_GROUP_ITEMS]


def fits_smaller(found: Attempt) -> bool:
    """Whether strides show that the kernel is for far fewer work-items than those of a try."""
    sizes = found.guess.nd_range.global_size
    return any(2 * size <= sizes[d] for d, size in found.reached.strides.globals.items())


def fitting(
    found: Attempt, local_size: tuple[int, ...] | None, offset: tuple[int, ...] | None
) -> Iterator[Guess]:
    """Guesses of the sizes that the strides of a try's accesses fit to."""
    nd_range, told = found.guess.nd_range, found.reached.strides
    for local in fitting_groups(found) if local_size is None else ():
        shape = tuple(min(size, 16 * hint) for size, hint in zip(nd_range.global_size, local))
        yield replace(found.guess, nd_range=_alone(range_of(shape, local, offset), told.lone))
    if told.lone and not told.groups:
        yield replace(found.guess, nd_range=_alone(nd_range, told.lone))
    smaller = {d: size for d, size in told.globals.items() if size < nd_range.global_size[d]}
    moderate = min(found.guess.moderate, told.loop or found.guess.moderate)
    if smaller:
        least = min(smaller.values())
        # One less than an odd size: its arrays have a row more than there are points.
        shape = tuple(max(1, smaller.get(d, least) // 2 * 2) for d in range(nd_range.dimensions))
        nd_range = range_of(shape, local_size, offset)
    moderate = max(min(FEW, found.guess.moderate), moderate // 2 * 2)
    if smaller or moderate < found.guess.moderate:
        yield replace(found.guess, nd_range=nd_range, moderate=moderate)


def _alone(nd_range: NDRange, lone: frozenset[int]) -> NDRange:
    """The range with one work-group along some dimensions."""
    shape = tuple(
        local if dimension in lone else total
        for dimension, (total, local) in enumerate(zip(nd_range.global_size, nd_range.local_size))
    )
    return NDRange.of(shape, nd_range.local_size, nd_range.offset)


def _divisors(shape: tuple[int, ...], most: tuple[int, ...]) -> tuple[int, ...]:
    """A local size that divides, with no more items than `most` along any dimension."""
    local = list(default_local_size(tuple(most)))
    for dimension, (total, size) in enumerate(zip(shape, local)):
        local[dimension] = next(each for each in range(size, 0, -1) if total % each == 0)
    return tuple(local)
