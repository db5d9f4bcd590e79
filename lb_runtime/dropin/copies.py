"""Reading and writing buffers on queues of ours; all of it waits, and nothing here is intercepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyopencl as cl

from lb_runtime.dropin import raw
from lb_runtime.memory.merge import Bytes
from lb_runtime.memory.transfer import origin_of, rectangles

if TYPE_CHECKING:
    from lb_runtime.analysis.regions import Rows


def read(queue: cl.CommandQueue, buffer: cl.Buffer, start: int, stop: int) -> Bytes:
    """The bytes `[start, stop)` of a buffer; shape: (stop - start,)."""
    content = np.empty(stop - start, np.uint8)
    raw.read_buffer(queue, buffer, content, start, None, True)
    return content


def write(queue: cl.CommandQueue, buffer: cl.Buffer, start: int, content: Bytes) -> None:
    """Put bytes into a buffer from byte `start` on."""
    raw.write_buffer(queue, buffer, content, start, None, True)


def read_rows(queue: cl.CommandQueue, buffer: cl.Buffer, rows: Rows) -> Bytes:
    """The runs of a buffer; shape: (count, run)."""
    if rows.count == 1:
        return read(queue, buffer, rows.start, rows.stop).reshape(1, rows.run)
    content = np.empty((rows.count, rows.run), np.uint8)
    for each in rectangles(rows):
        _rectangle(raw.read_buffer_rect, queue, buffer, content, rows, each)
    return content


def write_rows(queue: cl.CommandQueue, buffer: cl.Buffer, rows: Rows, content: Bytes) -> None:
    """Put runs into a buffer, and touch nothing between them; shape: (count, run)."""
    if rows.count == 1:
        write(queue, buffer, rows.start, content.reshape(-1))
        return
    for each in rectangles(rows):
        _rectangle(raw.write_buffer_rect, queue, buffer, content, rows, each)


def _rectangle(
    function: Any,
    queue: cl.CommandQueue,
    buffer: cl.Buffer,
    content: Bytes,
    rows: Rows,
    each: Rows,
) -> None:
    column = each.start - rows.start
    function(
        queue,
        buffer,
        content,
        origin_of(each),
        (column, 0, 0),
        (each.run, each.count, 1),
        (each.pitch, 0),
        (rows.run, 0),
        None,
        True,
    )
