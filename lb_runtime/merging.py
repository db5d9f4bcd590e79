"""Writing what the parts brought back into the host's memory, once every part has succeeded.

All that can fail is looked at before the first write: after an error the host holds what it held before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

from lb_runtime.analysis.verdict import Merge
from lb_runtime.errors import RaceError
from lb_runtime.execution import Ownership
from lb_runtime.images import Box, box_view
from lb_runtime.launch import ImageArgument
from lb_runtime.memory.atomics import write_combined
from lb_runtime.memory.merge import (
    Bytes,
    Mask,
    changed_bytes,
    first_clash,
    write_changed,
    write_region,
)
from lb_runtime.plan import MemoryPlan


@dataclass(frozen=True, slots=True, eq=False)
class Fetched:
    """What one part brought back of one memory.

    `pieces[i]` are the bytes of `plan.fetched.rows[i]`; shape: (count, run).
    """

    part: int
    plan: MemoryPlan
    pieces: tuple[Bytes, ...]

    @property
    def content(self) -> Bytes:
        """The bytes of a plan that fetches one range; shape: (bytes,)."""
        (piece,) = self.pieces
        return piece.reshape(-1)


@dataclass(frozen=True, slots=True, eq=False)
class FetchedBox:
    """What one part brought back of one image.

    Shape of `pixels`: (depth, height, width, pixel_bytes) of the box as far as there are.
    """

    argument: ImageArgument
    box: Box
    pixels: Bytes


@dataclass(frozen=True, slots=True, eq=False)
class _Difference:
    """The bytes that one part changed of one memory, from byte `start` on."""

    fetched: Fetched
    start: int
    content: Bytes
    changed: Mask


Task = tuple[int, Callable[[], None]]
"""Something to do for a part, by its number."""
Run = Callable[[Sequence[Task]], None]
"""Does tasks, those of different parts at the same time if it can; returns when all are done."""


def one_by_one(tasks: Sequence[Task]) -> None:
    """Do all tasks here, in order."""
    for _, call in tasks:
        call()


def merge(
    fetched: Sequence[Fetched], contents: Mapping[int, Bytes], run: Run = one_by_one
) -> tuple[Ownership, ...]:
    """Write what the parts brought back into `contents` (memory number -> the host's bytes).

    All differences are taken before the first write, so that each is one from the original. Returns who
    changed what where that shows in the bytes alone. Raises `RaceError`, before any write, where two
    parts left different values in one place.
    """
    differences: list[_Difference] = []
    run(
        [
            (each.part, partial(_add_difference, differences, each, contents[each.plan.memory]))
            for each in fetched
            if each.plan.merge is Merge.DIFFERENCE
        ]
    )
    differences.sort(key=lambda each: (each.fetched.part, each.fetched.plan.argument))
    _check_races(differences)
    # The parts' ranges share no byte (`check_parts`).
    run(
        [
            (
                each.part,
                partial(write_region, contents[each.plan.memory], each.plan.leaves, each.pieces),
            )
            for each in fetched
            if each.plan.merge is Merge.RANGE
        ]
    )
    for found in differences:
        memory = found.fetched.plan.memory
        write_changed(contents[memory], found.start, found.content, found.changed)
    _combine([each for each in fetched if each.plan.merge is Merge.ATOMIC], contents)
    return tuple(
        Ownership(found.fetched.part, found.fetched.plan.argument, found.start, found.changed)
        for found in differences
    )


def merge_boxes(fetched: Sequence[FetchedBox], contents: Mapping[int, Bytes]) -> None:
    """Write what the parts left of images into `contents` (memory number -> the host's bytes)."""
    for each in fetched:
        box_view(contents[each.argument.memory], each.argument, each.box)[...] = each.pixels


def _add_difference(found: list[_Difference], fetched: Fetched, target: Bytes) -> None:
    found.append(_difference(fetched, target))


def _difference(fetched: Fetched, target: Bytes) -> _Difference:
    start, stop = fetched.plan.fetched.start, fetched.plan.fetched.stop
    changed = changed_bytes(target[start:stop], fetched.content)
    return _Difference(fetched, start, fetched.content, changed)


def _combine(fetched: Sequence[Fetched], contents: Mapping[int, Bytes]) -> None:
    """Combine each memory's atomics, with the copies of all parts at once."""
    for memory in dict.fromkeys(each.plan.memory for each in fetched):
        mine = [each for each in fetched if each.plan.memory == memory]
        write_combined(
            contents[memory],
            mine[0].plan.zones,
            [each.plan.fetched.start for each in mine],
            [each.content for each in mine],
        )


def _check_races(differences: Sequence[_Difference]) -> None:
    """Raise `RaceError` where two parts changed one byte of a memory to different values."""
    for one, other in combinations(differences, 2):
        if one.fetched.plan.memory != other.fetched.plan.memory:
            continue
        start = max(one.start, other.start)
        stop = min(one.start + one.content.size, other.start + other.content.size)
        if start >= stop:
            continue
        mine = slice(start - one.start, stop - one.start)
        theirs = slice(start - other.start, stop - other.start)
        clash = first_clash(
            one.content[mine], one.changed[mine], other.content[theirs], other.changed[theirs]
        )
        if clash is not None:
            raise RaceError(
                f"two parts left different values in byte {start + clash} of argument "
                f"{one.fetched.plan.argument}: the kernel has a data race, and cannot be split"
            )
