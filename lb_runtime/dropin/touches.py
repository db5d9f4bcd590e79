"""Which bytes of which buffers pyopencl's own commands read and write.

One function for each, with the parameters of pyopencl's: it answers (reads, writes), each a list of
`(buffer, start, stop)` in bytes of the memory that the buffer is or is a part of. Where it cannot be told
exactly, all bytes are read, and all of those that may be written are read too, so that none is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import numpy as np
import pyopencl as cl
from pyopencl import _cl

from lb_runtime.dropin.arguments import buffer_ref, is_buffer
from lb_runtime.dropin.conductor import IN_FLIGHT
from lb_runtime.dropin.world import Touch

Touches = tuple[list[Touch], list[Touch]]


def _of(memory: Any, start: int = 0, size: int | None = None) -> list[Touch]:
    """Bytes of a buffer from `start` on, all where no size is given; nothing of what is no buffer."""
    if not is_buffer(memory):
        return []
    try:
        ref = buffer_ref(memory)
    except cl.Error:
        # A sub-buffer of a buffer that is gone: had that bytes elsewhere, it would be kept.
        return []
    stop = ref.size_bytes if size is None else min(ref.size_bytes, start + size)
    if not 0 <= start < stop:
        return []
    return [(ref, ref.start_bytes + start, ref.start_bytes + stop)]


def _host_bytes(host: Any) -> int | None:
    """How many bytes a host's object has; None where it does not say."""
    if isinstance(host, np.ndarray | np.generic):
        return int(host.nbytes)
    try:
        return memoryview(host).nbytes
    except TypeError:
        return None


def _box(
    memory: Any,
    origin: Sequence[int],
    region: Sequence[int],
    pitches: Sequence[int] | None,
) -> list[Touch]:
    """The range that holds a rectangle (clEnqueueReadBufferRect, OpenCL 1.2, section 5.2.2)."""
    x, y, z = (*origin, 0, 0, 0)[:3]
    width, height, depth = (*region, 1, 1, 1)[:3]
    row, plane = (*(pitches or ()), 0, 0)[:2]
    row = row or width
    plane = plane or row * height
    start = x + y * row + z * plane
    size = (depth - 1) * plane + (height - 1) * row + width
    return _of(memory, start, size)


def read_buffer(mem: Any, hostbuf: Any, src_offset: int = 0, *_: Any, **__: Any) -> Touches:
    """ClEnqueueReadBuffer."""
    return _of(mem, src_offset, _host_bytes(hostbuf)), []


def write_buffer(mem: Any, hostbuf: Any, dst_offset: int = 0, *_: Any, **__: Any) -> Touches:
    """ClEnqueueWriteBuffer."""
    size = _host_bytes(hostbuf)
    touched = _of(mem, dst_offset, size)
    return ([] if size is not None else touched), touched


def copy_buffer(
    src: Any,
    dst: Any,
    byte_count: int = -1,
    src_offset: int = 0,
    dst_offset: int = 0,
    *_: Any,
    **__: Any,
) -> Touches:
    """ClEnqueueCopyBuffer."""
    size = byte_count
    if byte_count is None or byte_count < 0:
        size = min(src.size - src_offset, dst.size - dst_offset)
    return _of(src, src_offset, size), _of(dst, dst_offset, size)


def read_buffer_rect(
    mem: Any,
    hostbuf: Any,
    buffer_origin: Sequence[int],
    host_origin: Sequence[int],
    region: Sequence[int],
    buffer_pitches: Sequence[int] | None = None,
    *_: Any,
    **__: Any,
) -> Touches:
    """ClEnqueueReadBufferRect."""
    return _box(mem, buffer_origin, region, buffer_pitches), []


def write_buffer_rect(
    mem: Any,
    hostbuf: Any,
    buffer_origin: Sequence[int],
    host_origin: Sequence[int],
    region: Sequence[int],
    buffer_pitches: Sequence[int] | None = None,
    *_: Any,
    **__: Any,
) -> Touches:
    """clEnqueueWriteBufferRect: what is between its rows must be at home too."""
    touched = _box(mem, buffer_origin, region, buffer_pitches)
    return touched, touched


def copy_buffer_rect(
    src: Any,
    dst: Any,
    src_origin: Sequence[int],
    dst_origin: Sequence[int],
    region: Sequence[int],
    src_pitches: Sequence[int] | None = None,
    dst_pitches: Sequence[int] | None = None,
    *_: Any,
    **__: Any,
) -> Touches:
    """ClEnqueueCopyBufferRect."""
    written = _box(dst, dst_origin, region, dst_pitches)
    return _box(src, src_origin, region, src_pitches) + written, written


def fill_buffer(mem: Any, pattern: Any, offset: int, size: int, *_: Any, **__: Any) -> Touches:
    """ClEnqueueFillBuffer."""
    return [], _of(mem, offset, size)


def map_buffer(
    buf: Any,
    flags: int,
    offset: int,
    shape: Any,
    dtype: Any,
    *_: Any,
    **__: Any,
) -> Touches:
    """clEnqueueMapBuffer, for reading; what is mapped for writing is not tracked any more."""
    return _of(buf), []


def migrate(mem_objects: Sequence[Any], *_: Any, **__: Any) -> Touches:
    """clEnqueueMigrateMemObjects: wherever the program wants its buffers, all bytes are to be there."""
    return [touch for memory in mem_objects for touch in _of(memory)], []


def copy_image_to_buffer(src: Any, dest: Any, *_: Any, **__: Any) -> Touches:
    """ClEnqueueCopyImageToBuffer."""
    return _of(dest), _of(dest)


def copy_buffer_to_image(src: Any, dest: Any, *_: Any, **__: Any) -> Touches:
    """ClEnqueueCopyBufferToImage."""
    return _of(src), []


def copy_p2p(
    queue: Any, src: Any, dst: Any, *_: Any, **__: Any
) -> Touches:  # pragma: no cover - AMD's alone
    """clEnqueueCopyBufferP2PAMD."""
    return _of(src) + _of(dst), _of(dst)


class Tie:
    """Waits for an event before pyopencl does that with Python's lock held, which threads of ours need.

    The event of a copy to or from the host waits when it is dropped. The tie is kept in its dictionary,
    which goes first.
    """

    __slots__ = ("_event",)

    def __init__(self, event: cl.Event) -> None:
        self._event = cl.Event.from_int_ptr(event.int_ptr, True)

    def __del__(self) -> None:
        with suppress(cl.Error):
            self._event.wait()


def tied(result: Any) -> Any:
    """What a command returned, safe to be dropped while its queue waits for us."""
    if type(result) is _cl.NannyEvent and IN_FLIGHT:
        cast(Any, result)._lb_tie = Tie(result)
    return result


COMMANDS: dict[str, Callable[..., Touches]] = {
    "_enqueue_read_buffer": read_buffer,
    "_enqueue_write_buffer": write_buffer,
    "_enqueue_copy_buffer": copy_buffer,
    "_enqueue_read_buffer_rect": read_buffer_rect,
    "_enqueue_write_buffer_rect": write_buffer_rect,
    "_enqueue_copy_buffer_rect": copy_buffer_rect,
    "_enqueue_fill_buffer": fill_buffer,
    "enqueue_map_buffer": map_buffer,
    "enqueue_migrate_mem_objects": migrate,
    "_enqueue_copy_image_to_buffer": copy_image_to_buffer,
    "_enqueue_copy_buffer_to_image": copy_buffer_to_image,
}
"""By the name in `pyopencl._cl`. All of these take the queue first."""


BLOCKING = (
    "_enqueue_read_image",
    "_enqueue_write_image",
    "_enqueue_svm_memcpy",
    "_enqueue_svm_map",
)
"""Commands that can wait inside pyopencl without letting other Python threads run."""


def maps_for_writing(flags: int) -> bool:
    """Whether a map lets the host write."""
    return bool(int(flags) & int(cl.map_flags.WRITE | cl.map_flags.WRITE_INVALIDATE_REGION))
