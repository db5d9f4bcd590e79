"""What the analysis says of a launch: splittable, along which dimension and how each buffer merges, or not.

These are values only; `analysis.judge` makes them, `plan` turns them into parts.
"""

from __future__ import annotations

from enum import Enum

from lb_runtime.analysis.reasons import Reason
from lb_runtime.analysis.regions import Region
from lb_runtime.launch import Slice
from lb_runtime.records import dataclass


class Merge(Enum):
    """How the parts' copies of one buffer become one buffer again."""

    NONE = "read only"
    RANGE = "written range"
    ATOMIC = "combined atomics"
    DIFFERENCE = "difference from the original"


@dataclass(frozen=True, slots=True)
class AtomicZone:
    """Bytes of a buffer that a kernel changes by one kind of integer atomic alone, its results unused.

    `operation` is "add" (also sub, inc and dec), "min", "max", "and", "or" or "xor". The zone holds
    whole numbers of `width_bytes` (4 or 8), from `start` up to `stop`; `is_signed` matters to min and max.
    """

    operation: str
    start: int
    stop: int
    width_bytes: int
    is_signed: bool


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one part does with one buffer argument.

    `needs` are the bytes that its device must hold before it starts, `leaves` those that it may write.
    """

    needs: Region
    leaves: Region


@dataclass(frozen=True, slots=True)
class ArgumentVerdict:
    """How one argument takes part in a split.

    `name` and `kind` are the parameter's; `merge` is None for an argument that is no buffer. `footprints`
    has one entry per part. `reason` says why the merge is not a simpler one; `line` is the source line of
    the access that decides, 0 where there is none. `zones` are those of `Merge.ATOMIC`, else empty. For
    an image that is written `boxes` has one entry per part, origin and size in pixels of what the part
    may write; images have no footprints.
    """

    name: str
    kind: str
    type_text: str
    merge: Merge | None
    footprints: tuple[Footprint, ...] = ()
    reason: str = ""
    line: int = 0
    zones: tuple[AtomicZone, ...] = ()
    boxes: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Splittable:
    """The launch can be cut along `dimension` into `slices`; each argument says how it merges.

    `devices[i]` is the number of the share that slice `i` stands for: slices that would be empty are
    left out. `doubt` is why the launch would not be split where proof is asked for (`strict`), None where
    no part can meet another.
    """

    dimension: int
    slices: tuple[Slice, ...]
    devices: tuple[int, ...]
    arguments: tuple[ArgumentVerdict, ...]
    doubt: Reason | None = None


@dataclass(frozen=True, slots=True)
class Declined:
    """The launch stays whole, for these reasons, the first of which decided."""

    reasons: tuple[Reason, ...]


Verdict = Splittable | Declined
