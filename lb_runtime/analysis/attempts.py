"""A guess made into a launch: scalars by their use, buffers as large as is reached, indices in range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lb_runtime.analysis import layout
from lb_runtime.analysis.extents import Extents, Reach, extents
from lb_runtime.analysis.facts import KernelFacts
from lb_runtime.analysis.guesses import FEW, MEMORY_CAP_BYTES, Attempt, Guess
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
from lb_runtime.analysis.usage import IndexUse, Role, Use, usage
from lb_runtime.analysis.values import builtin_name
from lb_runtime.images import Image, Sampler, image_type
from lb_runtime.launch import (
    Argument,
    BufferArgument,
    ImageArgument,
    Integers,
    Launch,
    LocalArgument,
    SamplerArgument,
    ScalarArgument,
)

LOCAL_CAP_BYTES = 32 << 10
"""A local argument that nothing is known of gets no more bytes than these, which all devices have."""
ROW_ENTRIES = 4
"""The entries of each row that made-up row pointers tell of, and the most that a made-up count counts."""
MAX_PIXELS = 1024
"""An image that is made up has no more pixels along any dimension."""
_RGBA_CHANNELS = 4
_HUGE_BYTES = 1 << 40

Value = npt.NDArray[Any] | np.generic | LocalArgument | Image | Sampler
"""What a host gives for a parameter, as the parameter's kind."""


class Maker:
    """Makes launches of one kernel, of which `known` values are given by parameter name."""

    def __init__(self, kernel: KernelFacts, known: Mapping[str, Value]) -> None:
        self._kernel = kernel
        self._known = known
        self._usage = usage(kernel)
        self._origins = Origins(kernel.module, kernel.function)

    @property
    def dimensions(self) -> int:
        """How many dimensions the kernel asks ids for."""
        return self._usage.dimensions

    @property
    def roles(self) -> list[Role]:
        """What the parameters by value are for that no value was given for."""
        return [use.role for _, use in self._open_scalars()]

    @property
    def is_complete(self) -> bool:
        """Whether every parameter was given a value."""
        return all(parameter.name in self._known for parameter in self._kernel.parameters)

    @property
    def smallest(self) -> int:
        """The elements of the smallest buffer that was given."""
        return min(
            value.nbytes // element_of(parameter, self._usage.elements.get(index)).size_bytes
            for index, parameter in enumerate(self._kernel.parameters)
            if isinstance(value := self._known.get(parameter.name), np.ndarray)
        )

    def attempt(self, guess: Guess) -> Attempt:
        """Choose everything for a guess, and see how far it reaches; it is not judged yet."""
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
        beyond = any(
            isinstance(value := self._known.get(names[index].name), np.ndarray)
            and reach.is_exact
            and reach.high >= value.nbytes
            for index, reach in reached.buffers.items()
        )
        dangers = tuple(self._dangers(reached, contents, made))
        return Attempt(
            guess, launch, made, tuple(notes), reached, total, negative, beyond, is_open, dangers
        )

    def _dangers(
        self, reached: Extents, contents: Mapping[int, Integers], made: Mapping[int, Made]
    ) -> Iterator[str]:
        """What may leave memory that was made up; what was given is the giver's to know."""
        parameters = self._kernel.parameters
        for index, reach in reached.buffers.items():
            # Where ids alone decide, a guard that is not followed may keep it inside.
            if index in made and _is_known(reach) and reach.low < 0 and not reach.is_exact:
                yield f"{parameters[index].name} may be touched {-reach.low} bytes before its start"
        for index in sorted(contents.keys() & self._usage.stored & made.keys()):
            yield f"{parameters[index].name} holds indices, and the kernel writes it"
        ended = {"data": "data", "float": "floating-point numbers", "loop": "a loop"}
        for each in reached.unknown:
            is_led = each.reasons & {"data", "float"}
            # Counters that are made up begin at zero; vectors are made of small numbers.
            is_small = each.reasons <= {"atomic", "parameter"}
            if each.argument in made and (is_led or (each.is_write and not is_small)):
                why = next((ended[key] for key in ended if key in each.reasons), "numbers")
                way = "written" if each.is_write else "read"
                yield (
                    f"line {each.line}: where {parameters[each.argument].name} is {way} follows from "
                    f"{why}"
                )
        # Where a pointer is not followed, nothing tells how far what it points into is reached.
        lost = [reached.lost] if reached.lost else []
        lost += [each for each in self._kernel.reasons if each.code == "unknown-pointer"]
        for index, parameter in enumerate(parameters):
            if lost and parameter.kind == "buffer" and index in made:
                yield f"line {lost[0].line}: a pointer is not followed, perhaps into {parameter.name}"

    def _open_scalars(self) -> list[tuple[int, Use]]:
        """The parameters by value that no value was given for, and their uses."""
        parameters = self._kernel.parameters
        return [
            (index, use)
            for index, use in self._usage.scalars.items()
            if parameters[index].name not in self._known
        ]

    def _reach(self, launch: Launch) -> Extents:
        return extents(self._kernel, launch, self._origins, self._usage.data_loops)

    def _launch(
        self, guess: Guess, made: Mapping[int, Made], contents: Mapping[int, Integers]
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

    def _scalars(self, guess: Guess) -> Iterator[tuple[int, Made]]:
        for index, use in self._open_scalars():
            parameter = self._kernel.parameters[index]
            value = self._number(guess, use)
            if layout.is_struct(parameter.llvm_type):
                yield index, StructMade.of(parameter, value, self._kernel.module.structs)
            else:
                yield index, NumberMade.of(parameter, value)

    def _number(self, guess: Guess, use: Use) -> int:
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
        fixed = {Role.SHIFT: 1, Role.MARGIN: 1, Role.BACK: 1, Role.LANES: FEW, Role.VALUE: 1}
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

    def _images(self, guess: Guess) -> Iterator[tuple[int, Made]]:
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
        self, guess: Guess, index: int, reached: Extents, contents: Mapping[int, Integers]
    ) -> int:
        """How many elements a buffer is given: those that are reached, where that is known.

        Else twice as many as there are work-items, or as any made-up index tells of. Not all that atomics
        reach is known: where they touch a buffer it has an element for each work-item at least.
        """
        element = element_of(self._kernel.parameters[index], self._usage.elements.get(index))
        value = self._known.get(self._kernel.parameters[index].name)
        if isinstance(value, np.ndarray):
            return max(1, value.nbytes // element.size_bytes)
        reach = reached.buffers.get(index)
        least = guess.nd_range.items if index in self._usage.atomic else 1
        if reach is None:
            return least
        if _is_known(reach):
            least = max(least, -(-(reach.high + 1) // element.size_bytes))
            if index not in reached.estimated or reach.is_exact:
                return least
        told = max((known.high for at, known in contents.items() if at != index), default=0)
        count = 2 * max(guess.nd_range.items, told + ROW_ENTRIES)
        return max(least, min(count, MEMORY_CAP_BYTES // 16 // element.size_bytes))

    def _contents(
        self, guess: Guess, reached: Extents, before: Mapping[int, Integers]
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
            room = self._usage.rooms.get(index)
            if room is not None and index not in self._usage.stored:
                known = known._replace(low=0, high=min(known.high, room - 1))
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
        guess: Guess,
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
            # Counters, flags and locks begin at zero: a kernel may wait for ever for others.
            fill = "zeros" if index in self._usage.atomic else "rand"
            return ArrayMade(element, elements, fill)
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
            return ArrayMade(element, elements, "perm", (known.low,) if known.low else ())
        return ArrayMade(element, elements, "rand", (known.low, known.high + 1))

    def _local(self, guess: Guess, index: int, reached: Extents) -> LocalMade:
        """Local memory: what is reached, else four elements a work-item of a group, within the cap."""
        element = element_of(self._kernel.parameters[index], None)
        size = reached.local_bytes.get(index, 0)
        if size <= 0:
            size = min(LOCAL_CAP_BYTES, 4 * element.size_bytes * guess.nd_range.group_items)
        return LocalMade(element, max(1, -(-size // element.size_bytes)))


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
