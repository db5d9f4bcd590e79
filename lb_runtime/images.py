"""Images and samplers as a host gives them, and as kernels' parameters declare them.

Names are OpenCL's own (OpenCL 1.2, sections 5.3.1 and 5.7.1): channel orders, channel types, addressing
modes and filters, as text, without their `CL_` prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lb_runtime.errors import ArgumentError
from lb_runtime.launch import ImageArgument

CHANNELS: dict[str, int] = {
    "R": 1,
    "A": 1,
    "INTENSITY": 1,
    "LUMINANCE": 1,
    "RG": 2,
    "RA": 2,
    "RGBA": 4,
    "BGRA": 4,
}
"""How many channels a pixel of each order has."""
CHANNEL_TYPES: dict[str, str] = {
    "SNORM_INT8": "int8",
    "SNORM_INT16": "int16",
    "UNORM_INT8": "uint8",
    "UNORM_INT16": "uint16",
    "SIGNED_INT8": "int8",
    "SIGNED_INT16": "int16",
    "SIGNED_INT32": "int32",
    "UNSIGNED_INT8": "uint8",
    "UNSIGNED_INT16": "uint16",
    "UNSIGNED_INT32": "uint32",
    "HALF_FLOAT": "float16",
    "FLOAT": "float32",
}
"""The numpy type of a channel of each type."""
ADDRESSING_MODES = ("NONE", "CLAMP_TO_EDGE", "CLAMP", "REPEAT", "MIRRORED_REPEAT")
FILTERS = ("NEAREST", "LINEAR")

_DIMENSIONS = {0: 1, 1: 2, 2: 3}
"""Of the `Dim` operand of SPIR-V's OpTypeImage; others are image buffers and cubes."""
_IMAGE_TYPE = re.compile(
    r'target\("spirv\.Image", \w+, (?P<dim>\d+), \d+, (?P<arrayed>\d+), (?P<samples>\d+), '
    r"\d+, \d+, (?P<access>\d+)\)"
)
"""OpTypeImage's operands as clang writes them: dimension, depth, arrayed, multisampled, ..., access."""
_READ_ONLY = 0


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """An image's pixels, updated in place where a kernel writes them, and what they mean.

    `pixels` is a writable C-contiguous array of the channel type's numpy type. Shape: (layers, depth,
    height, width, channels), of which the image has as many as its kernel's parameter says; the last
    axis is there for orders of more than one channel only. For an image of floats in RGBA: (height,
    width, 4); of one channel: (height, width).
    """

    pixels: npt.NDArray[Any]
    channel_order: str
    channel_type: str

    def __post_init__(self) -> None:
        if self.channel_order not in CHANNELS:
            raise ArgumentError(
                f"channel order {self.channel_order!r} given, expected one of {', '.join(CHANNELS)}"
            )
        if self.channel_type not in CHANNEL_TYPES:
            raise ArgumentError(
                f"channel type {self.channel_type!r} given, expected one of "
                f"{', '.join(CHANNEL_TYPES)}"
            )
        wanted = CHANNEL_TYPES[self.channel_type]
        if not isinstance(self.pixels, np.ndarray) or self.pixels.dtype != np.dtype(wanted):
            given = getattr(self.pixels, "dtype", type(self.pixels).__name__)
            raise ArgumentError(
                f"pixels of {given} given for channel type {self.channel_type}: give a numpy array "
                f"of {wanted}"
            )
        if not self.pixels.flags.c_contiguous or not self.pixels.flags.writeable:
            raise ArgumentError(
                "pixels that are not writable and C-contiguous given: give "
                "np.ascontiguousarray(...).copy()"
            )
        if not self.pixels.size:
            raise ArgumentError("an image without pixels given: give at least one")
        if self.channels > 1 and (self.pixels.ndim < 2 or self.pixels.shape[-1] != self.channels):
            raise ArgumentError(
                f"pixels of shape {self.pixels.shape} given for channel order {self.channel_order}: "
                f"expected {self.channels} along the last axis"
            )

    @property
    def channels(self) -> int:
        """How many channels a pixel has."""
        return CHANNELS[self.channel_order]

    @property
    def shape(self) -> tuple[int, ...]:
        """Width, height, depth or layers, in pixels; as many as there are."""
        shape = self.pixels.shape if self.channels == 1 else self.pixels.shape[:-1]
        return tuple(reversed(shape))

    @property
    def pixel_bytes(self) -> int:
        """The size of one pixel."""
        return self.channels * self.pixels.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Sampler:
    """How a kernel reads pixels: `addressing` is one of `ADDRESSING_MODES`, `filter` one of `FILTERS`."""

    normalized: bool
    addressing: str
    filter: str

    def __post_init__(self) -> None:
        if self.addressing not in ADDRESSING_MODES:
            raise ArgumentError(
                f"addressing mode {self.addressing!r} given, expected one of "
                f"{', '.join(ADDRESSING_MODES)}"
            )
        if self.filter not in FILTERS:
            raise ArgumentError(
                f"filter {self.filter!r} given, expected one of {', '.join(FILTERS)}"
            )


class ImageType(NamedTuple):
    """What a parameter takes: images of `dimensions` (its layers not counted), and what it does to them."""

    dimensions: int
    is_array: bool
    is_written: bool


def image_type(llvm_type: str) -> ImageType | None:
    """What image a parameter of this type takes; None for samplers, image buffers and multisampled images."""
    found = _IMAGE_TYPE.fullmatch(llvm_type)
    if not found or int(found["dim"]) not in _DIMENSIONS or int(found["samples"]):
        return None
    return ImageType(
        _DIMENSIONS[int(found["dim"])], found["arrayed"] != "0", int(found["access"]) != _READ_ONLY
    )


Box = tuple[tuple[int, ...], tuple[int, ...]]
"""Pixels of an image: origin and size, in pixels, along width, height, depth as far as there are."""


def box_bytes(argument: ImageArgument, box: Box) -> int:
    """How many bytes the pixels of a box are."""
    return prod(box[1]) * argument.pixel_bytes


def box_view(content: npt.NDArray[Any], argument: ImageArgument, box: Box) -> npt.NDArray[Any]:
    """The pixels of a box as a view of all the image's bytes, or of what is known of each byte.

    Shapes: `content` (bytes,); the result (depth, height, width, pixel_bytes) as far as there are.
    """
    pixels = content.reshape(*reversed(argument.shape), argument.pixel_bytes)
    origin, size = box
    return pixels[tuple(slice(o, o + s) for o, s in zip(reversed(origin), reversed(size)))]


def boxes_overlap(one: Box, other: Box) -> bool:
    """Whether two boxes share a pixel; both have one number of dimensions."""
    return all(
        max(a, b) < min(a + size, b + other_size)
        for a, size, b, other_size in zip(*one, *other, strict=True)
    )


def image_memories(images: Mapping[int, Image]) -> dict[int, int]:
    """Which memory each image is (argument index -> number): that of the first with the same pixels.

    Raises `ArgumentError` for images that share some bytes, but not all.
    """
    numbers: dict[int, int] = {}
    for index, image in images.items():
        number = index
        for other, known in numbers.items():
            if is_same_memory(image.pixels, images[other].pixels):
                number = known
            elif np.may_share_memory(image.pixels, images[other].pixels):
                raise ArgumentError(
                    f"arguments {other} and {index} are images that share some pixels: give the same "
                    "pixels, or pixels of their own"
                )
        numbers[index] = number
    return numbers


def is_same_memory(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    """Whether two arrays are the same bytes."""
    return one.ctypes.data == other.ctypes.data and one.nbytes == other.nbytes


def host_arrays(values: Sequence[Any]) -> dict[int, npt.NDArray[Any]]:
    """The arrays that a launch may change: argument index -> a buffer's array or an image's pixels."""
    return {
        index: value.pixels if isinstance(value, Image) else value
        for index, value in enumerate(values)
        if isinstance(value, Image) or (isinstance(value, np.ndarray) and value.ndim)
    }
