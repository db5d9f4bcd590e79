"""A launch for a kernel that nobody described: what is not given is chosen, and what was chosen is told.

The range, scalars, local memory and buffers are guessed from what the kernel does with them (`usage`),
tried (`extents`, `judge`), and guessed anew where the guess makes no sense: where buffers would be too
large or begin too late, where loops would not end soon, or where work-groups would get in each other's
way, as they do where a kernel with sizes written into it is launched over more work-items than those.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from lb_runtime.analysis import layout
from lb_runtime.analysis.extents import Extents, Reach, extents
from lb_runtime.analysis.facts import KernelFacts, ParameterFacts
from lb_runtime.analysis.judge import judge
from lb_runtime.analysis.made_up import (
    ArrayMade,
    ImageMade,
    LocalMade,
    Made,
    NumberMade,
    SamplerMade,
    StructMade,
    element_of,
    scalar_bytes,
)
from lb_runtime.analysis.origins import Origins
from lb_runtime.analysis.strides import MAX_GROUP_ITEMS
from lb_runtime.analysis.usage import IndexUse, Role, Usage, Use, usage
from lb_runtime.analysis.verdict import Declined, Merge, Splittable
from lb_runtime.analysis.values import builtin_name
from lb_runtime.errors import ArgumentError
from lb_runtime.images import Image, Sampler, image_type
from lb_runtime.launch import (
    Argument,
    BufferArgument,
    ImageArgument,
    Integers,
    Launch,
    LocalArgument,
    NDRange,
    SamplerArgument,
    ScalarArgument,
    default_local_size,
)

MEMORY_CAP_BYTES = 256 << 20
"""All buffers that are made up for one launch hold no more bytes than these together."""
LOCAL_CAP_BYTES = 32 << 10
"""A local argument that nothing is known of gets no more bytes than these, which all devices have."""
STEP_CAP = 1 << 28
"""A launch of more innermost loop iterations than these, over all work-items, is made smaller."""
MODERATE = 64
"""How often a loop runs, and how long a row is, that nothing else tells."""
FEW = 8
"""How often it runs where `MODERATE` is too much."""
ACCESS_BUDGET = 2500
"""Trying ends once so many accesses were evaluated, or after `MAX_TRIES` launches."""
MAX_TRIES = 5
ROW_ENTRIES = 4
"""The entries of each row that made-up row pointers tell of."""

_SHAPES: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((65536,), (4096,), (256,), (64,), (8,)),
    2: ((256, 256), (64, 64), (16, 16), (12, 12), (8, 8)),
    3: ((32, 32, 32), (16, 16, 16), (12, 12, 12), (8, 8, 8)),
}
_HUGE_BYTES = 1 << 40

MAX_PIXELS = 1024
"""An image that is made up has no more pixels along any dimension."""
_RGBA_CHANNELS = 4

Value = npt.NDArray[Any] | np.generic | LocalArgument | Image | Sampler


@dataclass(frozen=True, slots=True)
class AssumedLaunch:
    """A launch, and how to make what was not given.

    `made` holds what was chosen for each parameter without a value; `notes` what a reader should know
    beyond that. `is_range_made` tells that the range was chosen too, `is_local_made` that only the local
    size was.
    """

    launch: Launch
    made: Mapping[str, Made]
    is_range_made: bool
    is_local_made: bool
    notes: tuple[str, ...]

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
        given: the range; None to have one chosen, around `local_size` and `offset` where they are given.
        is_local_free: whether the local size of `given` may be replaced by one that fits better.
        known: values by parameter name, of their parameters' kinds.

    Raises:
        ArgumentError: no choice keeps the buffers within `MEMORY_CAP_BYTES`.
    """
    return _Search(kernel, given, known, local_size, offset, is_local_free).best()


@dataclass(frozen=True, slots=True)
class _Guess:
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
class _Try:
    """A guess and what came of it.

    `is_beyond` tells that a buffer that was given is too small for it; `is_misfit` that its work-groups
    are not of the size that accesses by local id are made for, so that work-items may touch what no
    other has written, or all others have. `is_clear` tells that no two parts of it may meet
    where ids alone decide. `is_open` tells that it is not known how far a buffer is reached into though no data decides it, as
    where an index is too large for its type.
    """

    guess: _Guess
    assumed: AssumedLaunch
    reached: Extents
    total_bytes: int
    is_negative: bool
    is_beyond: bool
    is_open: bool
    is_splittable: bool
    is_exact: bool
    is_clear: bool

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
        """Whether strides ask for another local size, or for a single group along a dimension."""
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
        self._known = known
        self._local_size = kernel.required_local_size or local_size
        self._offset = offset
        self._usage = usage(kernel)
        self._origins = Origins(kernel.module, kernel.function)
        self._tried: dict[_Guess, _Try] = {}
        self._larger_offsets_help = True

    def best(self) -> AssumedLaunch:
        """The first guess that speaks for itself, else the best of those that were tried."""
        for guess in self._guesses():
            if guess in self._tried:
                continue
            found = self._tried[guess] = self._try(guess)
            if found.is_sound and found.is_exact and found.is_clear:
                return found.assumed
            spent = sum(each.reached.accesses for each in self._tried.values())
            if len(self._tried) >= MAX_TRIES or spent >= ACCESS_BUDGET:
                break
        best = max(self._tried.values(), key=lambda each: each.score)
        if not best.fits:
            raise ArgumentError(self._too_large(best))
        return best.assumed

    def _guesses(self) -> Iterator[_Guess]:
        """Guesses in the order in which they are tried; each sees what came of those before."""
        if self._given is not None:
            yield from self._mended(_Guess(self._given))
            found = list(self._tried.values())[-1]
            for local in self._fitting_groups(found) if self._is_local_free else ():
                if not any(total % size for total, size in zip(self._given.global_size, local)):
                    nd_range = NDRange.of(self._given.global_size, local, self._given.offset)
                    yield replace(found.guess, nd_range=nd_range)
            return
        for nd_range in self._ranges():
            yield from self._mended(_Guess(nd_range))
            if list(self._tried.values())[-1].is_beyond and nd_range.dimensions == 1:
                yield from self._mended(_Guess(self._range((self._smallest(),), None)))
            last = list(self._tried.values())[-1]
            for smaller in self._fitting(last):
                yield from self._mended(smaller)
            if any(each.is_sound and each.is_clear for each in self._tried.values()):
                return

    def _mended(self, guess: _Guess) -> Iterator[_Guess]:
        """A guess, and the same range with other scalars where those are what is wrong."""
        yield guess
        roles = [use.role for _, use in self._open_scalars()]
        found = self._tried[guess]
        if found.is_beyond and Role.GUARD in roles:
            guess = replace(guess, limit=self._smallest())
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

    def _smallest(self) -> int:
        """The elements of the smallest buffer that was given."""
        return min(
            value.nbytes // element_of(parameter, self._usage.elements.get(index)).size_bytes
            for index, parameter in enumerate(self._kernel.parameters)
            if isinstance(value := self._known.get(parameter.name), np.ndarray)
        )

    def _open_scalars(self) -> list[tuple[int, Use]]:
        """The parameters by value that no value was given for, and their uses."""
        parameters = self._kernel.parameters
        return [
            (index, use)
            for index, use in self._usage.scalars.items()
            if parameters[index].name not in self._known
        ]

    # Ranges

    def _ranges(self) -> Iterator[NDRange]:
        """Ranges of as many dimensions as the kernel asks ids for, the largest first."""
        wanted = list(self._local_size or ())
        while len(wanted) > self._usage.dimensions and wanted[-1] == 1:
            wanted.pop()
        dimensions = max(self._usage.dimensions, len(wanted), len(self._offset or ()))
        for shape in _SHAPES[dimensions]:
            yield self._range(shape, None)

    def _range(self, shape: tuple[int, ...], local: tuple[int, ...] | None) -> NDRange:
        """A range of about this shape, of whole groups; at least 8 groups along each dimension."""
        wanted = self._local_size or local
        if wanted is not None:
            wanted = (*wanted, *(1,) * len(shape))[: len(shape)]
            groups = [max(FEW, size // mine) for size, mine in zip(shape, wanted)]
            shape = tuple(count * mine for count, mine in zip(groups, wanted))
            return NDRange.of(shape, wanted, self._offset)
        shape = tuple(max(1, size) for size in shape)
        most = tuple(max(1, size // FEW) for size in shape)
        return NDRange.of(shape, _divisors(shape, most), self._offset)

    @staticmethod
    def _fitting_groups(found: _Try) -> list[tuple[int, ...]]:
        """The local sizes that a try's strides fit to, without its own and those that no device takes."""
        own = found.guess.nd_range.local_size
        fitting = [
            tuple(each.get(dimension, size) for dimension, size in enumerate(own))
            for each in found.reached.strides.groups
        ]
        return [each for each in fitting if each != own and prod(each) <= MAX_GROUP_ITEMS]

    @staticmethod
    def _fits_smaller(found: _Try) -> bool:
        """Whether strides show that the kernel is for far fewer work-items than those of a try."""
        sizes = found.guess.nd_range.global_size
        return any(2 * size <= sizes[d] for d, size in found.reached.strides.globals.items())

    def _fitting(self, found: _Try) -> Iterator[_Guess]:
        """Guesses of the sizes that the strides of a try's accesses fit to."""
        nd_range, told = found.guess.nd_range, found.reached.strides
        for local in self._fitting_groups(found):
            shape = tuple(min(size, 16 * hint) for size, hint in zip(nd_range.global_size, local))
            yield replace(found.guess, nd_range=self._alone(self._range(shape, local), told.lone))
        if told.lone and not told.groups:
            yield replace(found.guess, nd_range=self._alone(nd_range, told.lone))
        smaller = {d: size for d, size in told.globals.items() if size < nd_range.global_size[d]}
        moderate = min(found.guess.moderate, told.loop or found.guess.moderate)
        if smaller:
            least = min(smaller.values())
            # One less than an odd size: its arrays have a row more than there are points.
            shape = tuple(
                max(1, smaller.get(d, least) // 2 * 2) for d in range(nd_range.dimensions)
            )
            nd_range = self._range(shape, None)
        moderate = max(min(FEW, found.guess.moderate), moderate // 2 * 2)
        if smaller or moderate < found.guess.moderate:
            yield replace(found.guess, nd_range=nd_range, moderate=moderate)

    @staticmethod
    def _alone(nd_range: NDRange, lone: frozenset[int]) -> NDRange:
        """The range with one work-group along some dimensions."""
        shape = tuple(
            local if dimension in lone else total
            for dimension, (total, local) in enumerate(
                zip(nd_range.global_size, nd_range.local_size)
            )
        )
        return NDRange.of(shape, nd_range.local_size, nd_range.offset)

    # One guess

    def _try(self, guess: _Guess) -> _Try:
        made = dict(self._scalars(guess))
        made.update(self._images(guess))
        contents: dict[int, Integers] = {}
        launch = self._launch(guess, made, contents)
        reached = self._reach(launch)
        if guess.offsets == "apart":
            self._set_apart(made, reached)
            launch = self._launch(guess, made, contents)
            reached = self._reach(launch)
        # What indices lead to follows from how many there are, which follows from their buffer's size.
        for _ in range(3):
            before = dict(contents)
            contents = self._contents(guess, reached, before)
            if contents == before:
                break
            launch = self._launch(guess, made, contents)
            reached = self._reach(launch)
        notes: list[str] = []
        for index, parameter in enumerate(self._kernel.parameters):
            if parameter.name in self._known:
                continue
            if parameter.kind == "local":
                made[index] = self._local(guess, index, reached)
            elif parameter.kind == "buffer":
                made[index] = self._buffer(guess, index, reached, contents, notes)
        launch = self._sized(launch, made)
        total = sum(each.size_bytes for each in made.values() if isinstance(each, ArrayMade))
        negative = any(r.low < 0 and r.is_exact for r in reached.buffers.values())
        is_open = any(
            index not in self._usage.by_data and not _is_known(reach)
            for index, reach in reached.buffers.items()
        )
        names = self._kernel.parameters
        assumed = AssumedLaunch(
            launch,
            {names[index].name: made[index] for index in sorted(made)},
            self._given is None,
            self._given is not None and guess.nd_range != self._given,
            tuple(notes),
        )
        beyond = any(
            isinstance(value := self._known.get(names[index].name), np.ndarray)
            and reach.is_exact
            and reach.high >= value.nbytes
            for index, reach in reached.buffers.items()
        )
        found = _Try(guess, assumed, reached, total, negative, beyond, is_open, False, False, False)
        if self._kernel.reasons:
            return replace(found, is_splittable=True, is_exact=True, is_clear=True)
        is_first = self._given is None and not self._tried
        if not found.may_run or (is_first and self._fits_smaller(found)):
            return found
        # Where ids alone decide, two parts that may meet do meet, though nobody may have shown it.
        is_decided = all(reach.is_exact for reach in reached.buffers.values())
        verdict = judge(self._kernel, launch, (0.5, 0.5), strict=is_decided)
        is_clear = isinstance(verdict, Splittable)
        if not is_clear and is_decided:
            verdict = judge(self._kernel, launch, (0.5, 0.5))
        if isinstance(verdict, Declined):
            return found
        merges = {each.merge for each in verdict.arguments}
        return replace(
            found,
            is_splittable=True,
            is_exact=Merge.DIFFERENCE not in merges,
            is_clear=is_clear,
        )

    def _reach(self, launch: Launch) -> Extents:
        return extents(self._kernel, launch, self._origins, self._usage.data_loops)

    def _launch(
        self, guess: _Guess, made: Mapping[int, Made], contents: Mapping[int, Integers]
    ) -> Launch:
        """The launch with buffers that nothing can leave."""
        arguments: list[Argument] = []
        for index, parameter in enumerate(self._kernel.parameters):
            value = self._known.get(parameter.name)
            if parameter.kind == "buffer":
                arguments.append(BufferArgument(_HUGE_BYTES, index, 0, contents.get(index)))
            elif parameter.kind == "local":
                size = value.size_bytes if isinstance(value, LocalArgument) else LOCAL_CAP_BYTES
                arguments.append(LocalArgument(size))
            elif parameter.kind == "image":
                arguments.append(self._image_argument(index, made.get(index), value))
            elif value is None and index in made:
                arguments.append(ScalarArgument(made[index].scalar))
            else:
                arguments.append(ScalarArgument(value))  # type: ignore[arg-type]  # by its kind
        return Launch(self._kernel.name, guess.nd_range, tuple(arguments))

    def _sized(self, launch: Launch, made: Mapping[int, Made]) -> Launch:
        """The launch with buffers and local memory as large as they were made."""
        arguments = list(launch.arguments)
        for index, parameter in enumerate(self._kernel.parameters):
            value = self._known.get(parameter.name)
            mine = made.get(index)
            if parameter.kind == "buffer":
                size = value.nbytes if isinstance(value, np.ndarray) else 1
                arguments[index] = BufferArgument(
                    mine.size_bytes if isinstance(mine, ArrayMade) else size, index
                )
            elif isinstance(mine, LocalMade):
                arguments[index] = LocalArgument(mine.size_bytes)
        return replace(launch, arguments=tuple(arguments))

    # Scalars

    def _scalars(self, guess: _Guess) -> Iterator[tuple[int, Made]]:
        for index, use in self._open_scalars():
            parameter = self._kernel.parameters[index]
            value = self._number(guess, use)
            if layout.is_struct(parameter.llvm_type):
                yield index, StructMade(_filled(parameter, value, self._kernel))
            else:
                yield index, NumberMade.of(parameter, value)

    def _number(self, guess: _Guess, use: Use) -> int:
        """The value of an integer for its use, over a range."""
        nd_range = guess.nd_range
        ends = [size + start for size, start in zip(nd_range.global_size, nd_range.offset)]
        mine = ends[use.dimension] if use.dimension < len(ends) else ends[0]
        if use.role is Role.GUARD:
            return min(mine, guess.limit) if guess.limit else mine
        if use.role is Role.GROUP:
            return nd_range.local_size[min(use.dimension, len(ends) - 1)]
        if use.role is Role.WIDTH:
            return 1 << ((nd_range.items.bit_length()) // 2) if len(ends) == 1 else mine
        if use.role is Role.PITCH:
            row = ends[use.dimension - 1] if use.dimension else ends[-1]
            return guess.scale * (guess.moderate if len(ends) == 1 else row)
        if use.role is Role.OFFSET:
            return ends[0] - 1 if guess.offsets == "last" else 0
        fixed = {Role.SHIFT: 1, Role.MARGIN: 1, Role.LANES: FEW, Role.VALUE: 1}
        if use.role in fixed:
            return fixed[use.role]
        return guess.moderate if use.role is Role.COUNT else ends[0]

    def _set_apart(self, made: dict[int, Made], reached: Extents) -> None:
        """Give each offset a region of its own, as far from the last as any buffer is reached into."""
        widest = max(
            (
                -(-(reach.high + 1) // max(1, scalar_bytes(self._kernel.parameters[index])))
                for index, reach in reached.buffers.items()
                if reach.high < MEMORY_CAP_BYTES
            ),
            default=0,
        )
        place = 0
        for index, use in self._open_scalars():
            if use.role is Role.OFFSET and isinstance(made[index], NumberMade):
                made[index] = NumberMade.of(self._kernel.parameters[index], place)
                place += widest

    # Images

    def _images(self, guess: _Guess) -> Iterator[tuple[int, Made]]:
        """Images as large as the range; samplers."""
        called = {
            builtin_name(instruction.detail)
            for function in self._origins.functions.values()
            for block in function.blocks
            for instruction in block.instructions
            if instruction.opcode == "call"
        }
        channel_type = "FLOAT"
        if any(name.endswith("imageui") for name in called):
            channel_type = "UNSIGNED_INT32"
        elif any(name.endswith("imagei") for name in called):
            channel_type = "SIGNED_INT32"
        ends = [s + o for s, o in zip(guess.nd_range.global_size, guess.nd_range.offset)]
        for index, parameter in enumerate(self._kernel.parameters):
            if parameter.kind != "image" or parameter.name in self._known:
                continue
            takes = image_type(parameter.llvm_type)
            if "Sampler" in parameter.llvm_type:
                yield index, SamplerMade()
            elif takes is not None:
                sizes = [min(end, MAX_PIXELS) for end in ends] + [guess.moderate] * takes.dimensions
                layers = (FEW,) if takes.is_array else ()
                yield index, ImageMade((*sizes[: takes.dimensions], *layers), channel_type)

    def _image_argument(self, index: int, made: Made | None, value: Value | None) -> Argument:
        takes = image_type(self._kernel.parameters[index].llvm_type)
        if takes is None:
            return SamplerArgument()
        if isinstance(value, Image):
            shape, pixel_bytes = value.shape, value.pixel_bytes
        elif isinstance(made, ImageMade):
            shape, pixel_bytes = made.shape, 4 * _RGBA_CHANNELS
        else:
            shape, pixel_bytes = (1,) * (takes.dimensions + takes.is_array), 1
        return ImageArgument(shape, pixel_bytes, index, takes.is_written, takes.is_array)

    # Buffers

    def _elements(
        self, guess: _Guess, index: int, reached: Extents, contents: Mapping[int, Integers]
    ) -> int:
        """How many elements a buffer is given: those that are reached, where that is known.

        Else twice as many as there are work-items, or as any made-up index tells of.
        """
        element = element_of(self._kernel.parameters[index], self._usage.elements.get(index))
        value = self._known.get(self._kernel.parameters[index].name)
        if isinstance(value, np.ndarray):
            return max(1, value.nbytes // element.size_bytes)
        reach = reached.buffers.get(index)
        if reach is None:
            return 1
        if _is_known(reach):
            return max(1, -(-(reach.high + 1) // element.size_bytes))
        told = max((known.high for at, known in contents.items() if at != index), default=0)
        count = 2 * max(guess.nd_range.items, told + ROW_ENTRIES)
        return max(1, min(count, MEMORY_CAP_BYTES // 16 // element.size_bytes))

    def _contents(
        self, guess: _Guess, reached: Extents, before: Mapping[int, Integers]
    ) -> dict[int, Integers]:
        """What integers that are used as indices are made to hold."""
        found: dict[int, Integers] = {}
        for index, (bits, uses) in self._usage.indices.items():
            parameter = self._kernel.parameters[index]
            value = self._known.get(parameter.name)
            if isinstance(value, np.ndarray):
                if value.dtype.kind in "iu" and value.dtype.itemsize * 8 == bits:
                    found[index] = Integers(bits, int(value.min()), int(value.max()))
                continue
            if parameter.kind != "buffer":
                continue
            elements = self._elements(guess, index, reached, before)
            element = element_of(parameter, self._usage.elements.get(index))
            known = _span(bits, uses, elements * element.lanes, guess.nd_range.items)
            limit = reached.index_limits.get(index)
            if limit is not None and not uses & {IndexUse.START, IndexUse.END}:
                known = known._replace(high=min(known.high, limit - 1))
            elif IndexUse.WRITTEN in uses and (start := self._read_by_id(reached)):
                # What is written where data says must not be what other work-items read by id.
                last = min(start + known.high, (1 << (bits - 1)) - 1)
                known = known._replace(low=max(0, last - known.high), high=last)
            found[index] = known
        return found

    def _read_by_id(self, reached: Extents) -> int:
        """The elements that are read by id of buffers that are written where data says; 0 for none."""
        return max(
            (
                -(-(last + 1) // element_of(parameter, self._usage.elements.get(index)).size_bytes)
                for index, parameter in enumerate(self._kernel.parameters)
                if (last := reached.read_where_scattered.get(index)) is not None
            ),
            default=0,
        )

    def _buffer(
        self,
        guess: _Guess,
        index: int,
        reached: Extents,
        contents: Mapping[int, Integers],
        notes: list[str],
    ) -> ArrayMade:
        parameter = self._kernel.parameters[index]
        element = element_of(parameter, self._usage.elements.get(index))
        elements = self._elements(guess, index, reached, contents)
        reach = reached.buffers.get(index)
        if reach is not None and not _is_known(reach):
            notes.append(
                f"where {parameter.name} is touched follows from data: it is given {elements} elements"
            )
        elif reach is not None and reach.low < 0:
            notes.append(f"{parameter.name} may be touched {-reach.low} bytes before its start")
        known = contents.get(index)
        if known is None:
            return ArrayMade(element, elements)
        if index in self._usage.stored:
            notes.append(
                f"{parameter.name} holds indices and is written: what is written may lead outside"
            )
        uses = self._usage.indices[index][1]
        if uses & {IndexUse.START, IndexUse.END}:
            start = 0 if IndexUse.START in uses else min(ROW_ENTRIES, known.high)
            step = (known.high - start) // max(1, elements * element.lanes - 1)
            return ArrayMade(element, elements, "arange", (start, min(ROW_ENTRIES, step)))
        if IndexUse.WRITTEN in uses and known.high - known.low == elements * element.lanes - 1:
            start = (known.low,) if known.low else ()
            return ArrayMade(element, elements, "perm", start)
        return ArrayMade(element, elements, "rand", (known.low, known.high + 1))

    def _local(self, guess: _Guess, index: int, reached: Extents) -> LocalMade:
        """Local memory: what is reached, else four elements a work-item of a group, within the cap."""
        element = element_of(self._kernel.parameters[index], None)
        size = reached.local_bytes.get(index, 0)
        if size <= 0:
            size = min(LOCAL_CAP_BYTES, 4 * element.size_bytes * guess.nd_range.group_items)
        return LocalMade(element, max(1, -(-size // element.size_bytes)))

    def _too_large(self, tried: _Try) -> str:
        sizes = {
            name: made.size_bytes
            for name, made in tried.assumed.made.items()
            if isinstance(made, ArrayMade)
        }
        name = max(sizes, key=lambda each: sizes[each])
        return (
            f"global size {_sizes(tried.guess.nd_range.global_size)} reaches {sizes[name]:,} bytes of "
            f"argument {name}, but made-up buffers hold at most {MEMORY_CAP_BYTES >> 20} MiB in all: give "
            f"a smaller -g, or --arg for it or for the numbers that it depends on"
        )


_SCALED_BYTES = 64 << 20
"""Longer rows are tried only where buffers stay below this."""


def _is_known(reach: Reach) -> bool:
    """Whether a reach says how large a buffer has to be: an inexact one may be all that a type holds."""
    return reach.is_exact or reach.high < MEMORY_CAP_BYTES


def _span(bits: int, uses: frozenset[IndexUse], count: int, items: int) -> Integers:
    """The integers that a buffer of so many is filled with."""
    most = (1 << (bits - 1)) - 1
    if IndexUse.START in uses:
        high = ROW_ENTRIES * min(count - 1, items)
    elif IndexUse.END in uses:
        high = ROW_ENTRIES * min(count, items)
    elif IndexUse.COUNT in uses:
        high = ROW_ENTRIES
    else:
        high = count - 1 if IndexUse.WRITTEN in uses else items - 1
    return Integers(bits, 0, min(most, high))


def _divisors(shape: tuple[int, ...], most: tuple[int, ...]) -> tuple[int, ...]:
    """A local size that divides, with no more items than `most` along any dimension."""
    local = list(default_local_size(tuple(most)))
    for dimension, (total, size) in enumerate(zip(shape, local)):
        local[dimension] = next(each for each in range(size, 0, -1) if total % each == 0)
    return tuple(local)


def _filled(parameter: ParameterFacts, number: int, kernel: KernelFacts) -> bytes:
    """A struct by value with the number in each integer and 1.0 in each float."""
    content = bytearray(parameter.size_bytes)

    def fill(type_text: str, start: int) -> None:
        if layout.is_struct(type_text):
            member = 0
            while True:
                try:
                    inner, offset = layout.member(type_text, member, kernel.module.structs)
                except layout.UnknownLayoutError:
                    return
                fill(inner, start + offset)
                member += 1
        inner_type = layout.element(type_text)
        if inner_type is not None:
            step = layout.size_bytes(inner_type, kernel.module.structs)
            for place in range(
                start, start + layout.size_bytes(type_text, kernel.module.structs), step
            ):
                fill(inner_type, place)
        elif bits := layout.integer_bits(type_text):
            size = max(1, bits // 8)
            content[start : start + size] = min(number, (1 << (bits - 1)) - 1).to_bytes(
                size, "little"
            )
        elif type_text in ("float", "double"):
            packed = struct.pack("<f" if type_text == "float" else "<d", 1.0)
            content[start : start + len(packed)] = packed

    fill(parameter.llvm_type, 0)
    return bytes(content)


def _sizes(sizes: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in sizes)
