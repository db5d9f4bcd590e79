"""Image objects and samplers on a device: making them, and sending and fetching boxes of pixels.

Nothing waits here. Host bytes of an image are the bytes of its pixels, without gaps, in C order. Copies
are pyopencl's own functions for images, since its `enqueue_copy` takes none of one dimension.
"""

from __future__ import annotations

import numpy as np
import pyopencl as cl

from lb_runtime.errors import LaunchError
from lb_runtime.images import Box, Image, Sampler, box_view
from lb_runtime.launch import ImageArgument
from lb_runtime.memory.merge import Bytes

_KINDS = {
    (1, False): cl.mem_object_type.IMAGE1D,
    (2, False): cl.mem_object_type.IMAGE2D,
    (3, False): cl.mem_object_type.IMAGE3D,
    (2, True): cl.mem_object_type.IMAGE1D_ARRAY,
    (3, True): cl.mem_object_type.IMAGE2D_ARRAY,
}
"""What an image of so many sizes is, without and with layers."""


def check_image(
    device: cl.Device, context: cl.Context, label: str, argument: ImageArgument, image: Image
) -> None:
    """Raise `LaunchError` unless the device, which `label` names, has images of this kind and format."""
    if not device.image_support:
        raise LaunchError(f"{label} has no images: choose another device")
    wanted = _format(image)
    formats = cl.get_supported_image_formats(
        context, _flags(argument.is_written), _KINDS[len(argument.shape), argument.is_array]
    )
    if (wanted.channel_order, wanted.channel_data_type) not in {
        (each.channel_order, each.channel_data_type) for each in formats
    }:
        raise LaunchError(
            f"{label} has no such images of channel order {image.channel_order} and channel type "
            f"{image.channel_type}: choose others, such as RGBA and FLOAT"
        )


def make_image(
    context: cl.Context, argument: ImageArgument, image: Image, is_written: bool
) -> cl.Image:
    """A device image like the host's; its pixels are undefined.

    `is_written` tells whether any argument that is this image is written.
    """
    # Described here, since pyopencl's create_image gives an array of 1-D images one layer alone.
    layers = argument.shape[-1] if argument.is_array else 1
    width, height, depth = (*argument.shape[: len(argument.shape) - argument.is_array], 1, 1)[:3]
    described = cl.ImageDescriptor()
    described.image_type = _KINDS[len(argument.shape), argument.is_array]
    described.shape = width, height, depth
    described.array_size = layers
    described.pitches = 0, 0
    described.num_mip_levels = described.num_samples = 0
    described.buffer = None
    return cl.Image(context, _flags(is_written), _format(image), desc=described)


def make_sampler(context: cl.Context, sampler: Sampler) -> cl.Sampler:
    """The sampler on a device."""
    return cl.Sampler(
        context,
        sampler.normalized,
        getattr(cl.addressing_mode, sampler.addressing),
        getattr(cl.filter_mode, sampler.filter),
    )


def upload_box(
    queue: cl.CommandQueue, target: cl.Image, content: Bytes, argument: ImageArgument, box: Box
) -> tuple[cl.Event, Bytes]:
    """Send the pixels of a box to the same places of a device image.

    `content` are the host's bytes of the whole image, shape (bytes,). Returns the event and what must
    stay as it is until it is done.
    """
    pixels = np.ascontiguousarray(box_view(content, argument, box))
    origin, size = _padded(box)
    event = cl._cl._enqueue_write_image(queue, target, origin, size, pixels, is_blocking=False)
    return event, pixels


def download_box(
    queue: cl.CommandQueue, source: cl.Image, argument: ImageArgument, box: Box
) -> tuple[cl.Event, Bytes]:
    """Fetch the pixels of a box into memory of their own.

    Shape: (depth, height, width, pixel_bytes) of the box as far as there are; the array holds what it
    should once the event is done.
    """
    pixels = np.empty((*reversed(box[1]), argument.pixel_bytes), np.uint8)
    origin, size = _padded(box)
    event = cl._cl._enqueue_read_image(queue, source, origin, size, pixels, is_blocking=False)
    return event, pixels


def _flags(is_written: bool) -> cl.mem_flags:
    return cl.mem_flags.READ_WRITE if is_written else cl.mem_flags.READ_ONLY


def _format(image: Image) -> cl.ImageFormat:
    return cl.ImageFormat(
        getattr(cl.channel_order, image.channel_order),
        getattr(cl.channel_type, image.channel_type),
    )


def _padded(box: Box) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A box in three dimensions, as OpenCL's copies take it."""
    missing = 3 - len(box[1])
    return box[0] + (0,) * missing, box[1] + (1,) * missing
