"""What the analysis says of a launch: splittable, along which dimension and how each buffer merges, or not.

These are values only; `analysis.judge` makes them, `plan` turns them into parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lb_runtime.analysis.reasons import Reason
from lb_runtime.launch import Slice


class Merge(Enum):
    """How the parts' copies of one buffer become one buffer again."""

    NONE = "read only"
    RANGE = "written range"
    DIFFERENCE = "difference from the original"


@dataclass(frozen=True, slots=True)
class Interval:
    """The bytes `[start, stop)` of a buffer; empty where both are equal."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ValueError(
                f"bytes [{self.start}, {self.stop}) given, expected 0 <= start <= stop"
            )

    @property
    def size_bytes(self) -> int:
        """How many bytes the interval holds."""
        return self.stop - self.start

    def hull(self, other: Interval) -> Interval:
        """The smallest interval that holds both; an empty one adds nothing."""
        if not self.size_bytes:
            return other
        if not other.size_bytes:
            return self
        return Interval(min(self.start, other.start), max(self.stop, other.stop))

    def overlaps(self, other: Interval) -> bool:
        """Whether the two intervals share a byte."""
        return max(self.start, other.start) < min(self.stop, other.stop)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one part does with one buffer argument.

    `needs` are the bytes that its device must hold before it starts, `leaves` those that it may write.
    """

    needs: Interval
    leaves: Interval


@dataclass(frozen=True, slots=True)
class ArgumentVerdict:
    """How one argument takes part in a split.

    `name` and `kind` are the parameter's; `merge` is None for an argument that is no buffer. `footprints`
    has one entry per part. `reason` says why the merge is not a simpler one; `line` is the source line of
    the access that decides, 0 where there is none.
    """

    name: str
    kind: str
    type_text: str
    merge: Merge | None
    footprints: tuple[Footprint, ...] = ()
    reason: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Splittable:
    """The launch can be cut along `dimension` into `slices`; each argument says how it merges.

    `devices[i]` is the number of the share that slice `i` stands for: slices that would be empty are
    left out.
    """

    dimension: int
    slices: tuple[Slice, ...]
    devices: tuple[int, ...]
    arguments: tuple[ArgumentVerdict, ...]


@dataclass(frozen=True, slots=True)
class Declined:
    """The launch stays whole, for these reasons, the first of which decided."""

    reasons: tuple[Reason, ...]


Verdict = Splittable | Declined
