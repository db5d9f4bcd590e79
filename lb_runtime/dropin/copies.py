"""Moving bytes between a buffer of the user's, the mirror's copy and the host; all of them wait.

The queues are ours, and nothing here is intercepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyopencl as cl

from lb_runtime.analysis.regions import Region, Rows
from lb_runtime.dropin import raw
from lb_runtime.memory.merge import Bytes
from lb_runtime.memory.transfer import origin_of, rectangles

Ranges = Sequence[tuple[int, int]]


def read(queue: cl.CommandQueue, buffer: cl.Buffer, start: int, stop: int) -> Bytes:
    """The bytes `[start, stop)` of a buffer; shape: (stop - start,)."""
    content = np.empty(stop - start, np.uint8)
    raw.read_buffer(queue, buffer, content, start, None, True)
    return content


def write(queue: cl.CommandQueue, buffer: cl.Buffer, start: int, content: Bytes) -> None:
    """Put bytes into a buffer from byte `start` on."""
    raw.write_buffer(queue, buffer, content, start, None, True)


def move(
    source: tuple[cl.CommandQueue, cl.Buffer],
    target: tuple[cl.CommandQueue, cl.Buffer],
    start: int,
    stop: int,
) -> None:
    """Copy the bytes `[start, stop)` from one buffer to the same places of another."""
    write(*target, start, read(*source, start, stop))


def move_region(
    source: tuple[cl.CommandQueue, cl.Buffer],
    target: tuple[cl.CommandQueue, cl.Buffer],
    region: Region,
) -> None:
    """Copy the bytes of a region, and no others, from one buffer to the same places of another."""
    for rows in region.rows:
        if rows.count == 1:
            move(source, target, rows.start, rows.stop)
            continue
        content = np.empty((rows.count, rows.run), np.uint8)
        for each in rectangles(rows):
            _rectangle(raw.read_buffer_rect, source, content, rows, each)
            _rectangle(raw.write_buffer_rect, target, content, rows, each)


def _rectangle(
    function: Any, place: tuple[cl.CommandQueue, cl.Buffer], content: Bytes, rows: Rows, each: Rows
) -> None:
    queue, buffer = place
    function(
        queue,
        buffer,
        content,
        origin_of(each),
        (each.start - rows.start, 0, 0),
        (each.run, each.count, 1),
        (each.pitch, 0),
        (rows.run, 0),
        None,
        True,
    )
