"""What carrying out a plan reports: each part's times and bytes, and who changed what.

Times are host seconds from the beginning of the execution, on one timeline for all devices.
"""

from __future__ import annotations

from dataclasses import dataclass

from lb_runtime.memory.merge import Mask


@dataclass(frozen=True, slots=True)
class PartTiming:
    """One part of a plan, as it ran.

    `part` indexes `Plan.parts`, `device` the runtime's devices. `upload_seconds`, `kernel_seconds` and
    `download_seconds` are device time (profiling events, START to END). The kernel ran on the device in
    `[kernel_begin_seconds, kernel_end_seconds)` of the host's timeline; the host worked on the part in
    `[begin_seconds, end_seconds)`, and for `write_seconds` wrote what it left once all parts were done.
    A part that ran in chunks has their times in all.
    """

    part: int
    device: int
    begin_seconds: float
    end_seconds: float
    kernel_begin_seconds: float
    kernel_end_seconds: float
    upload_seconds: float
    kernel_seconds: float
    download_seconds: float
    uploaded_bytes: int
    downloaded_bytes: int
    write_seconds: float = 0.0

    @property
    def busy_seconds(self) -> float:
        """For how long the host and the device worked on the part, its copies included."""
        return self.end_seconds - self.begin_seconds + self.write_seconds


@dataclass(frozen=True, slots=True)
class ChunkTiming:
    """A chunk of a launch: the work-groups `[group_start, group_stop)` of the dimension that is cut.

    Its kernel was under way in `[begin_seconds, end_seconds)` of the host's timeline.
    """

    device: int
    group_start: int
    group_stop: int
    begin_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Ownership:
    """The bytes of one argument that one part changed, for a buffer merged by difference.

    `changed` covers the bytes from `start` on; shape: (bytes of the part's `leaves`,).
    """

    part: int
    argument: int
    start: int
    changed: Mask


@dataclass(frozen=True, slots=True, eq=False)
class Execution:
    """An execution that succeeded. `parts` are in the order of `Plan.parts`.

    `chunks` are in the order in which they ended; empty where the work was not handed out in chunks.
    """

    parts: tuple[PartTiming, ...]
    ownership: tuple[Ownership, ...]
    merge_seconds: float
    total_seconds: float
    chunks: tuple[ChunkTiming, ...] = ()

    @property
    def overlap_seconds(self) -> float:
        """For how long kernels ran on at least two devices at once."""
        edges = sorted(
            edge
            for part in self.parts
            for edge in (
                (part.kernel_begin_seconds, 1, part.device),
                (part.kernel_end_seconds, -1, part.device),
            )
        )
        running: dict[int, int] = {}
        overlap = 0.0
        before = 0.0
        for moment, change, device in edges:
            if sum(1 for count in running.values() if count > 0) >= 2:
                overlap += moment - before
            running[device] = running.get(device, 0) + change
            before = moment
        return overlap

    @property
    def uploaded_bytes(self) -> int:
        """The bytes sent to all devices."""
        return sum(part.uploaded_bytes for part in self.parts)

    @property
    def downloaded_bytes(self) -> int:
        """The bytes fetched from all devices."""
        return sum(part.downloaded_bytes for part in self.parts)
