"""A launch for a kernel that nobody described: what is not given is chosen, and what was chosen is told.

The range, scalars, local memory and buffers are guessed from what the kernel does with them (`usage`),
tried (`attempts`, `judge`), and guessed anew where the guess makes no sense: where buffers would be too
large or begin too late, where loops would not end soon, or where work-groups would get in each other's
way, as they do where a kernel with sizes written into it is launched over more work-items than those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from lb_runtime.analysis.attempts import Maker, Value
from lb_runtime.analysis.facts import KernelFacts
from lb_runtime.analysis.guesses import (
    FEW,
    MEMORY_CAP_BYTES,
    SHAPES,
    STEP_CAP,
    Attempt,
    Guess,
    fits_smaller,
    fitting,
    fitting_groups,
    range_of,
)
from lb_runtime.analysis.judge import judge
from lb_runtime.analysis.made_up import ArrayMade, Made
from lb_runtime.analysis.usage import Role
from lb_runtime.analysis.verdict import Declined, Merge, Splittable, Verdict
from lb_runtime.errors import ArgumentError
from lb_runtime.launch import Launch, NDRange

ACCESS_BUDGET = 2500
"""Trying ends once so many accesses were evaluated."""
MAX_TRIES = 5
"""So many launches are tried at most."""
_SCALED_BYTES = 64 << 20
"""Longer rows are tried only where buffers stay below this."""


@dataclass(frozen=True, slots=True)
class AssumedLaunch:
    """A launch, and how to make what was not given.

    `made` holds what was chosen for each parameter without a value; `notes` what a reader should know
    beyond that. `is_range_made` tells that the range was chosen too, `is_local_made` that only the local
    size was. `verdict` is that on the launch in halves, None where choosing did not need it.
    `dangers` are the reasons not to run it: accesses that may leave memory which was made up.
    """

    launch: Launch
    made: Mapping[str, Made]
    is_range_made: bool
    is_local_made: bool
    notes: tuple[str, ...]
    verdict: Verdict | None = None
    dangers: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What was assumed, as the options that would say the same; empty where nothing was."""
        said: list[str] = []
        nd_range = self.launch.nd_range
        if self.is_range_made:
            said.append(f"-g {_sizes(nd_range.global_size)} -l {_sizes(nd_range.local_size)}")
        elif self.is_local_made:
            said.append(f"-l {_sizes(nd_range.local_size)}")
        said.extend(f"--arg {name}={made.spec}" for name, made in self.made.items())
        return " ".join(said)


def assume(
    kernel: KernelFacts,
    given: NDRange | None,
    known: Mapping[str, Value],
    *,
    local_size: tuple[int, ...] | None = None,
    offset: tuple[int, ...] | None = None,
    is_local_free: bool = False,
) -> AssumedLaunch:
    """Choose all that is not given.

    Args:
        kernel: the kernel's facts.
        given: the range; None to have one chosen.
        known: values by parameter name, of their parameters' kinds.
        local_size: of a range that is chosen, in work-items; None to have it chosen too.
        offset: of a range that is chosen, in work-items; None for zeros.
        is_local_free: whether the local size of `given` may be replaced by one that fits better.

    Raises:
        ArgumentError: no choice keeps the buffers within `MEMORY_CAP_BYTES`.
    """
    return _Search(kernel, given, known, local_size, offset, is_local_free).best()


class _Search:
    """Tries guesses, the likeliest first, until one makes sense."""

    def __init__(
        self,
        kernel: KernelFacts,
        given: NDRange | None,
        known: Mapping[str, Value],
        local_size: tuple[int, ...] | None,
        offset: tuple[int, ...] | None,
        is_local_free: bool,
    ) -> None:
        self._kernel = kernel
        self._is_local_free = is_local_free and kernel.required_local_size is None
        self._given = given
        self._local_size = kernel.required_local_size or local_size
        self._offset = offset
        self._maker = Maker(kernel, known)
        self._tried: dict[Guess, Attempt] = {}
        self._larger_offsets_help = True

    def best(self) -> AssumedLaunch:
        """The first guess that speaks for itself, else the best of those that were tried."""
        if self._given is not None and self._maker.is_complete:
            return self._assumed(self._maker.attempt(Guess(self._given)))
        for guess in self._guesses():
            if guess in self._tried:
                continue
            found = self._tried[guess] = self._judged(self._maker.attempt(guess))
            if found.is_sound and found.is_exact and found.is_clear:
                return self._assumed(found)
            spent = sum(each.reached.accesses for each in self._tried.values())
            if len(self._tried) >= MAX_TRIES or spent >= ACCESS_BUDGET:
                break
        best = max(self._tried.values(), key=lambda each: each.score)
        if not best.fits:
            raise ArgumentError(self._too_large(best))
        return self._assumed(best)

    def _assumed(self, found: Attempt) -> AssumedLaunch:
        names = self._kernel.parameters
        return AssumedLaunch(
            found.launch,
            {names[index].name: found.made[index] for index in sorted(found.made)},
            self._given is None,
            self._given is not None and found.guess.nd_range != self._given,
            found.notes,
            found.verdict,
            found.dangers,
        )

    def _guesses(self) -> Iterator[Guess]:
        """Guesses in the order in which they are tried; each sees what came of those before."""
        if self._given is not None:
            yield from self._mended(Guess(self._given))
            found = list(self._tried.values())[-1]
            for local in fitting_groups(found) if self._is_local_free else ():
                if not any(total % size for total, size in zip(self._given.global_size, local)):
                    nd_range = NDRange.of(self._given.global_size, local, self._given.offset)
                    yield replace(found.guess, nd_range=nd_range)
            return
        for nd_range in self._ranges():
            yield from self._mended(Guess(nd_range))
            if list(self._tried.values())[-1].is_beyond and nd_range.dimensions == 1:
                yield from self._mended(
                    Guess(range_of((self._maker.smallest,), self._local_size, self._offset))
                )
            last = list(self._tried.values())[-1]
            for smaller in fitting(last, self._local_size, self._offset):
                yield from self._mended(smaller)
            if any(each.is_sound and each.is_clear for each in self._tried.values()):
                return

    def _mended(self, guess: Guess) -> Iterator[Guess]:
        """A guess, and the same range with other scalars where those are what is wrong."""
        yield guess
        roles = self._maker.roles
        found = self._tried[guess]
        if found.is_beyond and Role.GUARD in roles:
            dimensions = guess.nd_range.dimensions
            guess = replace(guess, limit=int(self._maker.smallest ** (1 / dimensions)))
            yield guess
            found = self._tried[guess]
        may_help = found.is_negative and Role.OFFSET in roles and self._larger_offsets_help
        if may_help and guess.offsets == "zero":
            larger = replace(guess, offsets="last")
            yield larger
            self._larger_offsets_help = not self._tried[larger].is_negative
            if self._larger_offsets_help:
                guess, found = larger, self._tried[larger]
        counts = Role.COUNT in roles or (Role.PITCH in roles and guess.nd_range.dimensions == 1)
        if (not found.fits or found.reached.steps > STEP_CAP) and counts:
            guess = replace(guess, moderate=FEW)
            yield guess
            found = self._tried[guess]
        is_crossed = found.may_run and not (found.is_splittable and found.is_clear)
        if is_crossed and roles.count(Role.OFFSET) > 1:
            guess = replace(guess, offsets="apart")
            yield guess
            found = self._tried[guess]
        for scale in (4, 16) if Role.PITCH in roles else ():
            is_good = found.is_exact and found.is_clear
            if (
                found.may_run
                and found.is_splittable
                and not is_good
                and found.total_bytes * scale < _SCALED_BYTES
            ):
                yield replace(guess, scale=scale)
                found = self._tried[replace(guess, scale=scale)]

    def _ranges(self) -> Iterator[NDRange]:
        """Ranges of as many dimensions as the kernel asks ids for, the largest first."""
        wanted = list(self._local_size or ())
        while len(wanted) > self._maker.dimensions and wanted[-1] == 1:
            wanted.pop()
        dimensions = max(self._maker.dimensions, len(wanted), len(self._offset or ()))
        for shape in SHAPES[dimensions]:
            yield range_of(shape, self._local_size, self._offset)

    def _judged(self, found: Attempt) -> Attempt:
        """An attempt with the verdict on it."""
        if self._kernel.reasons:
            return replace(found, is_splittable=True, is_exact=True, is_clear=True)
        is_first = self._given is None and not self._tried
        if not found.may_run or (is_first and fits_smaller(found)):
            return found
        # Where ids alone decide, two parts that may meet do meet, though nobody may have shown it.
        is_decided = all(reach.is_exact for reach in found.reached.buffers.values())
        verdict = judge(self._kernel, found.launch, (0.5, 0.5))
        is_clear = isinstance(verdict, Splittable) and not (is_decided and verdict.doubt)
        found = replace(found, verdict=verdict)
        if isinstance(verdict, Declined):
            return found
        merges = {each.merge for each in verdict.arguments}
        return replace(
            found,
            is_splittable=True,
            is_exact=Merge.DIFFERENCE not in merges,
            is_clear=is_clear,
        )

    def _too_large(self, tried: Attempt) -> str:
        sizes = {
            name: made.size_bytes
            for name, made in self._assumed(tried).made.items()
            if isinstance(made, ArrayMade)
        }
        name = max(sizes, key=lambda each: sizes[each])
        return (
            f"global size {_sizes(tried.guess.nd_range.global_size)} reaches {sizes[name]:,} bytes of "
            f"argument {name}, but made-up buffers hold at most {MEMORY_CAP_BYTES >> 20} MiB in all: give "
            f"a smaller -g, or --arg for it or for the numbers that it depends on"
        )


def _sizes(sizes: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in sizes)
