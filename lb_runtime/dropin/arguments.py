"""What a kernel's arguments were set to, kept as values: OpenCL does not give arguments back.

A buffer is kept as a reference to its `cl_mem` and never as the Python object, so that a program's
buffers live exactly as long as without this runtime.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
import pyopencl as cl
from pyopencl import _cl

from lb_runtime.dropin import raw


class BufferRef(NamedTuple):
    """A buffer argument: the `cl_mem` that owns the memory, and which of its bytes the argument is.

    `root` is the `cl_mem` itself, or of a sub-buffer that of the buffer it is a part of; `root_bytes` is
    the size of that. `flags` are its `cl_mem_flags`, `context` the `cl_context`
    that it belongs to.
    """

    root: int
    start_bytes: int
    size_bytes: int
    root_bytes: int
    flags: int
    context: int


class LocalRef(NamedTuple):
    """A `__local` argument of so many bytes."""

    size_bytes: int


class Unfit(NamedTuple):
    """An argument with which a launch is not split, and the reason's code."""

    code: str


Captured = BufferRef | LocalRef | bytes | Unfit
"""One argument; bytes are a value's own."""


def buffer_ref(memory: Any) -> BufferRef:
    """What a pyopencl buffer is. Asked once for each object: it is kept in the object's own dictionary."""
    known: BufferRef | None = getattr(memory, "_lb_ref", None)
    if known is not None:
        return known
    parent = memory.get_info(cl.mem_info.ASSOCIATED_MEMOBJECT)
    size = memory.get_info(cl.mem_info.SIZE)
    flags = memory.get_info(cl.mem_info.FLAGS)
    context = memory.get_info(cl.mem_info.CONTEXT).int_ptr
    if parent is None:
        found = BufferRef(raw.int_ptr(memory), 0, size, size, flags, context)
    else:
        start = memory.get_info(cl.mem_info.OFFSET)
        found = BufferRef(
            raw.int_ptr(parent),
            start,
            size,
            parent.get_info(cl.mem_info.SIZE),
            parent.get_info(cl.mem_info.FLAGS) | flags,
            context,
        )
    memory._lb_ref = found
    memory._lb_tie = _Tie(found.root)
    return found


CUT: set[int] = set()
"""Roots of buffers of which sub-buffers were made: these hold them, though no driver need count that."""
KNOWN: set[int] = set()
"""Roots of the buffers that are kept by a record of ours."""
GONE: SimpleQueue[int | None] = SimpleQueue()
"""Roots of buffers of which a record is kept and a Python object is gone."""


class _Tie:
    """Dies with the pyopencl object in whose dictionary it is: those take no weak references."""

    __slots__ = ("root",)

    def __init__(self, root: int) -> None:
        self.root = root

    def __del__(self) -> None:
        # May be called at any moment, in any thread: a simple queue takes that.
        if self.root in KNOWN:
            GONE.put(self.root)


def is_buffer(value: Any) -> bool:
    """Whether a memory object is a plain buffer, and no image, pipe or OpenGL object."""
    return type(value) in _BUFFERS or (
        isinstance(value, cl.MemoryObjectHolder)
        and not isinstance(value, _OTHER_MEMORY)
        and value.get_info(cl.mem_info.TYPE) == cl.mem_object_type.BUFFER
    )


_BUFFERS = (_cl.Buffer, _cl.PooledBuffer)
_OTHER_MEMORY = (_cl.Image, _cl.Pipe, *((_cl.GLBuffer,) if hasattr(_cl, "GLBuffer") else ()))


def captured(value: Any) -> Captured:
    """An argument as it was given to pyopencl, which has accepted it."""
    if type(value) in _BUFFERS:
        try:
            return buffer_ref(value)
        except cl.Error:
            # Intel's driver does not keep a buffer for its sub-buffers to be asked for.
            return Unfit("arguments-unknown")
    if isinstance(value, np.generic):
        return value.tobytes()
    if isinstance(value, cl.LocalMemory):
        return LocalRef(value.size)
    if value is None:
        return Unfit("null-argument")
    if isinstance(value, cl.MemoryObjectHolder):
        return buffer_ref(value) if is_buffer(value) else Unfit("image-argument")
    if isinstance(value, cl.Sampler):
        return Unfit("image-argument")
    if isinstance(value, cl.SVMPointer):
        return Unfit("svm")
    try:
        return bytes(memoryview(value).cast("B"))
    except (TypeError, ValueError):
        return Unfit("arguments-unknown")


def packed(type_character: bytes, value: Any) -> bytes:
    """A number as pyopencl packs it (`Kernel._set_arg_buf_pack_multi`)."""
    return struct.pack(type_character.decode(), value)


Key = tuple[object, ...]


def launch_key(given: Sequence[Captured], skipped: Collection[int]) -> Key:
    """What of the arguments decides how a launch is split: neither which memory it is, nor the skipped."""
    roots: dict[int, int] = {}
    key: list[object] = []
    for index, value in enumerate(given):
        if type(value) is BufferRef:
            memory = roots.setdefault(value.root, index)
            key.append((memory, value.start_bytes, value.size_bytes))
        elif index not in skipped:
            key.append(value)
    return tuple(key)
