"""Sending regions of a host buffer to a device and fetching them, a command or two for each `Rows`.

Nothing waits here. Several runs a pitch apart are a rectangular copy (clEnqueueWriteBufferRect,
OpenCL 1.2, section 5.2.4), so that only the region's own bytes move.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyopencl as cl

from lb_runtime.memory.merge import Bytes

# Whoever has a region has imported it.
if TYPE_CHECKING:
    from lb_runtime.analysis.regions import Region, Rows


def upload(
    queue: cl.CommandQueue, buffer: cl.Buffer, content: Bytes, region: Region
) -> list[cl.Event]:
    """Send the bytes of `region` to the same places of a device buffer.

    `content` is the whole host buffer, shape (bytes,); it must stay as it is until the events are done.
    """
    events = []
    for rows in region.rows:
        if rows.count == 1:
            host = content[rows.start : rows.stop]
            events.append(
                cl.enqueue_copy(queue, buffer, host, dst_offset=rows.start, is_blocking=False)
            )
            continue
        for each in rectangles(rows):
            events.append(
                _copy_rectangle(queue, buffer, content, each, origin_of(each), rows.pitch)
            )
    return events


def _fresh(size_bytes: int) -> Bytes:
    return np.empty(size_bytes, np.uint8)


def download(
    queue: cl.CommandQueue,
    buffer: cl.Buffer,
    region: Region,
    take: Callable[[int], Bytes] = _fresh,
) -> tuple[list[cl.Event], tuple[Bytes, ...]]:
    """Fetch the bytes of `region` into memory of their own, which `take` gives by its size in bytes.

    The arrays belong to `region.rows`, one each; shape: (count, run). They hold what they should once
    the events are done.
    """
    events = []
    pieces = tuple(take(rows.size_bytes).reshape(rows.count, rows.run) for rows in region.rows)
    for rows, piece in zip(region.rows, pieces):
        if rows.count == 1:
            events.append(
                cl.enqueue_copy(queue, piece, buffer, src_offset=rows.start, is_blocking=False)
            )
            continue
        for each in rectangles(rows):
            column = (each.start - rows.start, 0, 0)
            events.append(_copy_rectangle(queue, piece, buffer, each, column, rows.run))
    return events, pieces


def rectangles(rows: Rows) -> list[Rows]:
    """The same runs, cut in two where they would go on in the next row of a matrix of this pitch.

    OpenCL allows a rectangle that leaves its row, but CUDA, on which a driver may build, does not:
    "srcPitch must be greater than or equal to WidthInBytes + srcXInBytes" (cuMemcpy2D).
    """
    first = rows.pitch - rows.start % rows.pitch
    if rows.run <= first:
        return [rows]
    return [
        replace(rows, run=first),
        replace(rows, start=rows.start + first, run=rows.run - first),
    ]


def origin_of(rows: Rows) -> tuple[int, int, int]:
    """Where the first run begins, as byte of a row, row and slice."""
    row, byte = divmod(rows.start, rows.pitch)
    return byte, row, 0


def _copy_rectangle(
    queue: cl.CommandQueue,
    target: cl.Buffer | Bytes,
    source: cl.Buffer | Bytes,
    rows: Rows,
    host_origin: tuple[int, int, int],
    host_pitch: int,
) -> cl.Event:
    """One rectangular copy; `host_origin` and `host_pitch` (in bytes) say where the host's runs are."""
    return cl.enqueue_copy(  # type: ignore[call-overload,no-any-return]  # its stub calls buffer_origin origin
        queue,
        target,
        source,
        buffer_origin=origin_of(rows),
        host_origin=host_origin,
        region=(rows.run, rows.count, 1),
        buffer_pitches=(rows.pitch, 0),
        host_pitches=(host_pitch, 0),
        is_blocking=False,
    )
