"""What a split launch does on each device and with each memory, worked out once and used many times.

A `Ready` follows from a plan. It names memories by number (the index of the first argument that is it),
so that it serves every launch that differs in nothing but which buffers it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from math import prod
from typing import TYPE_CHECKING, Any

from lb_runtime.analysis.regions import Region
from lb_runtime.memory.byte_map import Place
from lb_runtime.records import dataclass

if TYPE_CHECKING:
    from lb_runtime.analysis.verdict import AtomicZone

FEWEST_CHUNKED = 8
"""With fewer work-groups there is nothing to even out."""

Ranges = tuple[tuple[int, int], ...]


class Home(Enum):
    """What becomes of a memory that parts write."""

    STAY = "each part's bytes stay where they were computed"
    ROWS = "the mirror's rows come home"
    DIFFERENCE = "the bytes that the mirror changed come home"
    ATOMIC = "both copies are combined at home"


@dataclass(frozen=True, slots=True)
class Work:
    """The slice that one device runs; `needs` are (memory number, byte ranges) to be there before."""

    place: Place
    global_offset: tuple[int, ...]
    global_size: tuple[int, ...]
    needs: tuple[tuple[int, Ranges], ...]

    @property
    def items(self) -> int:
        """How many work-items it has."""
        return prod(self.global_size)


@dataclass(frozen=True, slots=True)
class Written:
    """A memory that the launch writes: how its bytes come together, and what each place may leave.

    `hull` is the range that holds all that any part may leave. `region` is what the mirror leaves.
    """

    memory: int
    home: Home
    leaves: Mapping[Place, Ranges]
    region: Region
    hull: tuple[int, int]
    zones: tuple[AtomicZone, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """A launch that is planned and built.

    `cpu_share` is the share of the work-items that the CPU runs; of `groups` work-groups along `dimension`,
    which is cut, the user's device has `user_groups`. `programs` are built for each place that takes part,
    and for the user's device always: there everything can be done, should the mirror fail.
    """

    kernel_name: str
    local_size: tuple[int, ...]
    works: tuple[Work, ...]
    written: tuple[Written, ...]
    programs: Mapping[Place, Any]
    cpu_share: float
    groups: int = 1
    user_groups: int = 1
    dimension: int = 0
    whole_offset: tuple[int, ...] = ()
    whole_size: tuple[int, ...] = ()
    has_difference: bool = field(init=False)
    comes_together: bool = field(init=False)

    def __post_init__(self) -> None:
        found = any(each.home is Home.DIFFERENCE for each in self.written)
        object.__setattr__(self, "has_difference", found)
        together = any(each.home is not Home.STAY for each in self.written)
        object.__setattr__(self, "comes_together", together)

    @property
    def user_share(self) -> float:
        """The share of the work-items that the user's device runs."""
        items = {work.place: work.items for work in self.works}
        return items.get(Place.USER, 0) / sum(items.values())

    @property
    def may_chunk(self) -> bool:
        """Whether what a part leaves does not depend on how many launches it was run in."""
        simple = all(each.home in (Home.STAY, Home.ROWS) for each in self.written)
        return simple and self.groups >= FEWEST_CHUNKED

    @property
    def is_home_first(self) -> bool:
        """Whether the user's part comes before the mirror's. Asked only where both have one."""
        starts = {work.place: work.global_offset[self.dimension] for work in self.works}
        return starts[Place.USER] < starts[Place.MIRROR]

    def piece(self, place: Place, start: int, stop: int) -> Work:
        """The work-groups from `start` up to `stop`, for one device."""
        local, total = self.local_size[self.dimension], self.whole_size[self.dimension]
        begin, end = min(start * local, total), min(stop * local, total)
        offset, size = list(self.whole_offset), list(self.whole_size)
        offset[self.dimension] += begin
        size[self.dimension] = end - begin
        return Work(place, tuple(offset), tuple(size), ())

    def work(self, place: Place) -> Work | None:
        """What a place does; None where it has no part."""
        return next((work for work in self.works if work.place is place), None)
