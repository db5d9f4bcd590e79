"""A kernel launch as a value: its NDRange, its arguments, and cutting the range at work-group edges.

Nothing here touches a device. Sizes count work-items (`_items`) or bytes (`_bytes`); a tuple's first
entry is dimension 0, as in `clEnqueueNDRangeKernel` (OpenCL 1.2 specification, section 5.8).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lb_runtime.errors import ArgumentError, LaunchError
from lb_runtime.records import dataclass

MAX_DIMENSIONS = 3
MAX_ITEMS = 1 << 63
DEFAULT_GROUP_ITEMS = 256


@dataclass(frozen=True, slots=True)
class Slice:
    """The work-groups `[group_start, group_stop)` of one dimension; all groups of the other dimensions.

    A slice may be empty (`group_start == group_stop`).
    """

    dimension: int
    group_start: int
    group_stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.group_start <= self.group_stop:
            raise LaunchError(
                f"groups [{self.group_start}, {self.group_stop}) given, expected 0 <= start <= stop"
            )

    @property
    def groups(self) -> int:
        """How many work-groups the slice holds along its dimension."""
        return self.group_stop - self.group_start


@dataclass(frozen=True, slots=True)
class NDRange:
    """Global size, local size and offset of a launch, in work-items, one entry per dimension.

    Shapes: all three tuples have the same length, 1 to 3. The local size divides the global size, unless
    `non_uniform` says that it does not: then the last work-groups of some dimension are smaller (OpenCL
    2.0 specification, section 5.10), and `local_size` is that of all others, the *enqueued* one.
    """

    global_size: tuple[int, ...]
    local_size: tuple[int, ...]
    offset: tuple[int, ...]
    non_uniform: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.global_size) <= MAX_DIMENSIONS:
            raise LaunchError(
                f"{len(self.global_size)} dimensions given, expected 1 to {MAX_DIMENSIONS}"
            )
        for sizes in (self.global_size, self.local_size, self.offset):
            if not all(isinstance(size, int | np.integer) for size in sizes):
                raise LaunchError(f"sizes {sizes} given, expected whole numbers of work-items")
        for name, sizes in (("local size", self.local_size), ("offset", self.offset)):
            if len(sizes) != len(self.global_size):
                raise LaunchError(
                    f"{name} has {len(sizes)} dimensions, but the global size has "
                    f"{len(self.global_size)}: give one entry per dimension"
                )
        for dimension, (total, local) in enumerate(zip(self.global_size, self.local_size)):
            if total < 1 or local < 1:
                raise LaunchError(
                    f"global size {total} and local size {local} in dimension {dimension}: "
                    "expected at least 1 of each"
                )
            if total % local and not self.non_uniform:
                raise LaunchError(
                    f"global size {total} is not a multiple of local size {local} in dimension "
                    f"{dimension}: round the global size up to {-(-total // local) * local}, "
                    "choose a local size that divides it, or build with -cl-std=CL2.0 or later, whose "
                    "last work-groups may be smaller"
                )
        if any(start < 0 for start in self.offset):
            raise LaunchError(f"offset {self.offset} given, expected no negative entry")
        if any(start + total > MAX_ITEMS for start, total in zip(self.offset, self.global_size)):
            raise LaunchError(
                f"global size {self.global_size} at offset {self.offset} given, expected ids below 2^63"
            )
        if self.items > MAX_ITEMS:
            raise LaunchError(
                f"global size {self.global_size} given, expected at most 2^63 work-items in all"
            )
        if self.non_uniform and self.last_local_size == self.local_size:
            raise LaunchError(
                f"non-uniform work-groups given, but local size {self.local_size} divides global size "
                f"{self.global_size}: expected a dimension in which it does not"
            )

    @classmethod
    def of(
        cls,
        global_size: tuple[int, ...],
        local_size: tuple[int, ...] | None = None,
        offset: tuple[int, ...] | None = None,
        *,
        allow_non_uniform: bool = False,
    ) -> NDRange:
        """Build a range; a missing local size becomes `default_local_size`, a missing offset zeros.

        `allow_non_uniform` lets the last work-groups be smaller where the local size does not divide the
        global size; `allows_non_uniform` tells whether a program's build options do.
        """
        if not all(isinstance(total, int | np.integer) and total >= 1 for total in global_size):
            raise LaunchError(
                f"global size {global_size} given, expected whole numbers of at least 1"
            )
        local = default_local_size(global_size) if local_size is None else tuple(local_size)
        short = any(size > 0 and total % size for total, size in zip(global_size, local))
        return cls(
            tuple(global_size),
            local,
            (0,) * len(global_size) if offset is None else tuple(offset),
            allow_non_uniform and short,
        )

    @property
    def dimensions(self) -> int:
        """The number of dimensions, 1 to 3 (`get_work_dim()` inside the kernel)."""
        return len(self.global_size)

    @property
    def groups(self) -> tuple[int, ...]:
        """How many work-groups there are along each dimension, smaller ones included."""
        return tuple(-(-total // local) for total, local in zip(self.global_size, self.local_size))

    @property
    def last_local_size(self) -> tuple[int, ...]:
        """The size of the last work-group along each dimension; the local size where that divides."""
        return tuple(
            total % local or local for total, local in zip(self.global_size, self.local_size)
        )

    @property
    def items(self) -> int:
        """How many work-items the range holds."""
        return prod(self.global_size)

    @property
    def group_items(self) -> int:
        """How many work-items one work-group holds; the largest, where they differ."""
        return prod(self.local_size)

    def part(self, piece: Slice) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """`(global_work_offset, global_work_size)` in work-items that launches exactly `piece`.

        Of a non-uniform range, only the slice with a dimension's last groups has smaller ones there.
        """
        if not 0 <= piece.dimension < self.dimensions:
            raise LaunchError(
                f"dimension {piece.dimension} given for a range of {self.dimensions} dimensions"
            )
        if piece.group_stop > self.groups[piece.dimension]:
            raise LaunchError(
                f"groups up to {piece.group_stop} given, but dimension {piece.dimension} has "
                f"{self.groups[piece.dimension]}"
            )
        local, total = self.local_size[piece.dimension], self.global_size[piece.dimension]
        start, stop = (min(edge * local, total) for edge in (piece.group_start, piece.group_stop))
        offset, size = list(self.offset), list(self.global_size)
        offset[piece.dimension] += start
        size[piece.dimension] = stop - start
        return tuple(offset), tuple(size)

    def cut(self, dimension: int, shares: tuple[float, ...]) -> tuple[Slice, ...]:
        """Cut `dimension` into one slice per share, at the work-group edges nearest to the shares.

        The slices are in order, do not overlap and cover every group; some may be empty. Shares are
        fractions of the groups, not negative, and sum to 1 (within 1e-6).
        """
        if any(not 0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
            raise LaunchError(f"shares {shares} given, expected fractions that sum to 1")
        groups = self.groups[dimension]
        edges = [0]
        reached = 0.0
        for share in shares[:-1]:
            reached += share
            edges.append(max(edges[-1], min(groups, round(reached * groups))))
        edges.append(groups)
        return tuple(Slice(dimension, start, stop) for start, stop in itertools.pairwise(edges))


def allows_non_uniform(options: Sequence[str]) -> bool:
    """Whether a program with these build options may be launched with smaller last work-groups.

    OpenCL C 1.x may not, and no `-cl-std` means 1.2; later versions may, unless
    `-cl-uniform-work-group-size` takes it back (OpenCL 3.0 API specification, section 5.8.6).
    """
    standard = "CL1.2"
    for option in options:
        if option.startswith("-cl-std="):
            standard = option.removeprefix("-cl-std=").upper()
    one = standard == "CL" or standard.startswith("CL1.")
    return not one and "-cl-uniform-work-group-size" not in options


def default_local_size(global_size: tuple[int, ...]) -> tuple[int, ...]:
    """A local size for a launch that names none: the largest divisors, up to 256 items a group.

    OpenCL leaves the choice to the implementation (section 5.8); it is made here so that every part
    of a split launch, and the unsplit launch, use the same one.
    """
    left = DEFAULT_GROUP_ITEMS
    local = []
    for total in global_size:
        step = next(size for size in range(min(left, total), 0, -1) if total % size == 0)
        local.append(step)
        left //= step
    return tuple(local)


class Integers(NamedTuple):
    """What integers of `bits` a buffer is known to hold at every element: `low` to `high`, both included."""

    bits: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class BufferArgument:
    """A global or constant memory object: its size, and which memory it is.

    `memory` is the same number for two arguments that share bytes (one buffer given twice, or
    sub-buffers of one), and different otherwise; `start_bytes` is where in that memory the argument
    begins. `integers` is what is known of its content while the kernel runs, None for nothing.
    `is_fine_grain` tells that host and devices may see each other's writes while the kernel runs.
    """

    size_bytes: int
    memory: int
    start_bytes: int = 0
    integers: Integers | None = None
    is_fine_grain: bool = False

    def __post_init__(self) -> None:
        if self.size_bytes < 1:
            raise ArgumentError(f"a buffer of {self.size_bytes} bytes given, expected at least 1")
        if self.start_bytes < 0:
            raise ArgumentError(f"a buffer from byte {self.start_bytes} given, expected 0 or more")

    @property
    def stop_bytes(self) -> int:
        """The byte of its memory after the argument's last one."""
        return self.start_bytes + self.size_bytes


@dataclass(frozen=True, slots=True, eq=False)
class Svm:
    """Shared virtual memory as an array (`pyopencl.csvm_empty`, `fsvm_empty`), for a buffer parameter.

    Coarse-grained memory is a buffer like others, and must be mapped for the host while the launch is
    given. Through fine-grained memory (`is_fine_grain`) work-groups, devices and host may talk while a
    kernel runs, so that its launches are not split.
    """

    array: npt.NDArray[Any]
    is_fine_grain: bool


@dataclass(frozen=True, slots=True)
class ScalarArgument:
    """An argument passed by value: a numpy scalar (or a vector or struct as a 0-d array).

    None stands for a value that is not known, where a kernel is looked at before any launch.
    """

    value: np.generic | np.ndarray[Any, Any] | None


@dataclass(frozen=True, slots=True)
class LocalArgument:
    """A `__local` argument: only its size is given by the host."""

    size_bytes: int

    def __post_init__(self) -> None:
        if self.size_bytes < 1:
            raise ArgumentError(
                f"local memory of {self.size_bytes} bytes given, expected at least 1"
            )


@dataclass(frozen=True, slots=True)
class ImageArgument:
    """An image object: its size, and which memory it is.

    `shape` is width, height, depth and layers in pixels, as far as the image has them; the last is that
    of the layers where `is_array` says so. `memory` is the same number for two arguments that are one
    image, and no buffer's. `is_written` tells whether its parameter's access qualifier lets the kernel
    write it.
    """

    shape: tuple[int, ...]
    pixel_bytes: int
    memory: int
    is_written: bool
    is_array: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.shape) <= MAX_DIMENSIONS or min(self.shape) < 1:
            raise ArgumentError(
                f"an image of {self.shape} pixels given, expected 1 to {MAX_DIMENSIONS} sizes of at "
                "least 1"
            )
        if self.pixel_bytes < 1:
            raise ArgumentError(f"pixels of {self.pixel_bytes} bytes given, expected at least 1")

    @property
    def size_bytes(self) -> int:
        """How many bytes all pixels are."""
        return prod(self.shape) * self.pixel_bytes


@dataclass(frozen=True, slots=True)
class SamplerArgument:
    """A sampler: how a kernel reads images, which has no bytes."""


Argument = BufferArgument | ScalarArgument | LocalArgument | ImageArgument | SamplerArgument


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel enqueue as a value: which kernel, over which range, with which arguments."""

    kernel_name: str
    nd_range: NDRange
    arguments: tuple[Argument, ...]

    @property
    def memory_bytes(self) -> dict[int, int]:
        """The size of each memory, memory number -> bytes: up to where its last argument ends."""
        sizes: dict[int, int] = {}
        for argument in self.arguments:
            if isinstance(argument, BufferArgument):
                sizes[argument.memory] = max(sizes.get(argument.memory, 0), argument.stop_bytes)
        return sizes

    @property
    def transfer_bytes(self) -> int:
        """The bytes of all memory objects: what a device that holds none of them must be sent."""
        images = {
            argument.memory: argument.size_bytes
            for argument in self.arguments
            if isinstance(argument, ImageArgument)
        }
        return sum(self.memory_bytes.values()) + sum(images.values())
