"""A program that runs: its buffers and queues, and beside them the same bytes in numpy.

Every operation is a pyopencl call and its effect on the model. Reads compare. The program waits for
nothing that it need not wait for, and orders what it enqueues on several queues by events, as OpenCL
demands; it never does what OpenCL leaves undefined.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from random_programs.kernels import BY_NAME, READ, WRITTEN, Kernel, Range, Words

Bytes = npt.NDArray[np.uint8]
mf = cl.mem_flags
HOST_CLOSED = mf.HOST_NO_ACCESS | mf.HOST_READ_ONLY | mf.HOST_WRITE_ONLY
GARBAGE = 0xA5


@dataclass(eq=False)
class Memory:
    """Bytes that buffers share. `last` is the newest command that touches them, and its queue."""

    content: Bytes
    host: Bytes | None = None
    last: tuple[cl.Event, int] | None = None
    mapped: bool = False


@dataclass(eq=False)
class Handle:
    """A buffer or sub-buffer of the program's."""

    buffer: cl.Buffer
    memory: Memory
    start: int
    size: int
    flags: int
    is_part: bool = False

    def __repr__(self) -> str:
        return f"{'part' if self.is_part else 'buffer'} [{self.start}, +{self.size}) flags {self.flags}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    @property
    def model(self) -> Bytes:
        """Its bytes in the model, as a view."""
        return self.memory.content[self.start : self.start + self.size]

    @property
    def words(self) -> Words:
        """Its whole 4-byte words in the model, as a view."""
        return self.model[: self.size // 4 * 4].view(np.uint32)

    @property
    def kernel_reads(self) -> bool:
        return not self.flags & mf.WRITE_ONLY

    @property
    def kernel_writes(self) -> bool:
        return not self.flags & mf.READ_ONLY

    @property
    def host_reads(self) -> bool:
        return not self.flags & (mf.HOST_NO_ACCESS | mf.HOST_WRITE_ONLY)

    @property
    def host_writes(self) -> bool:
        return not self.flags & (mf.HOST_NO_ACCESS | mf.HOST_READ_ONLY)

    def overlaps(self, other: Handle) -> bool:
        """Whether both share a byte."""
        return (
            self.memory is other.memory
            and self.start < other.start + other.size
            and other.start < self.start + self.size
        )

    def is_same(self, other: Handle) -> bool:
        """Whether both are the very same bytes."""
        return self.overlaps(other) and (self.start, self.size) == (other.start, other.size)


@dataclass(frozen=True)
class Box:
    """A box of bytes: rows of `region[0]` bytes; where it begins, and the bytes from row to row and so on."""

    origin: tuple[int, int, int]
    pitches: tuple[int, int]

    def places(self, region: tuple[int, int, int]) -> npt.NDArray[np.int64]:
        """The place of each byte; shape: region, from slices to bytes."""
        x, y, z = (o + np.arange(r) for o, r in zip(self.origin, region))
        return np.asarray(
            z[:, None, None] * self.pitches[1] + y[:, None] * self.pitches[0] + x, np.int64
        )


@dataclass
class Programs:
    """A context, with every kernel's program built once."""

    context: cl.Context
    built: dict[str, Any] = field(default_factory=dict)

    def kernel(self, kernel: Kernel) -> cl.Kernel:
        """A new kernel object."""
        if kernel.name not in self.built:
            with warnings.catch_warnings():
                # Intel's compiler reports a success in words.
                warnings.simplefilter("ignore", cl.CompilerWarning)
                self.built[kernel.name] = cl.Program(self.context, kernel.source).build()
        return cl.Kernel(self.built[kernel.name], kernel.name)


class World:
    """See the top of this file. `check` is called after each operation."""

    def __init__(self, programs: Programs, check: Callable[[], None] = lambda: None) -> None:
        self.programs = programs
        self.context = programs.context
        properties = cl.command_queue_properties
        self.queues = [
            cl.CommandQueue(self.context),
            cl.CommandQueue(self.context, properties=properties.PROFILING_ENABLE),
            cl.CommandQueue(self.context, properties=properties.OUT_OF_ORDER_EXEC_MODE_ENABLE),
        ]
        self.alignment = self.context.devices[0].mem_base_addr_align // 8
        """Sub-buffers begin at multiples of so many bytes."""
        self.is_pocl = self.context.devices[0].platform.name == "Portable Computing Language"
        self.handles: list[Handle] = []
        self.kernels: dict[str, cl.Kernel] = {}
        self.check = check
        self.gates: list[cl.UserEvent] = []
        self.reads: list[tuple[cl.Event, Bytes, Bytes]] = []
        self.sources: list[tuple[cl.Event, Bytes]] = []
        self.maps: list[tuple[Handle, slice, Bytes, bool]] = []

    # What comes before and after each command.

    def before(self, queue: int, *handles: Handle) -> list[cl.Event] | None:
        """The `wait_for` of a command that touches these buffers."""
        events = []
        for memory in {id(h.memory): h.memory for h in handles}.values():
            if memory.last is None:
                continue
            event, other = memory.last
            if other != queue or queue == 2:
                events.append(event)
                self.queues[other].flush()
        return events or None

    def after(self, event: cl.Event, queue: int, *handles: Handle) -> None:
        """Remember a command, and let the runtime check itself."""
        for handle in handles:
            handle.memory.last = (event, queue)
        self.check()

    # Buffers.

    def create(self, content: Bytes, flags: int = mf.READ_WRITE, how: str = "copy") -> Handle:
        """A buffer with this content, which comes with it ("copy", "use") or is filled in ("fill")."""
        content = content.copy()
        memory = Memory(content.copy())
        if how == "use":
            memory.host = content
            flags |= mf.USE_HOST_PTR
            buffer = cl.Buffer(self.context, flags, hostbuf=content)
        elif how == "copy":
            buffer = cl.Buffer(self.context, flags | mf.COPY_HOST_PTR, hostbuf=content)
            content[:] = GARBAGE
        else:
            buffer = cl.Buffer(self.context, flags, content.size)
        handle = Handle(buffer, memory, 0, content.size, flags)
        self.handles.append(handle)
        if how == "fill":
            self.fill(handle, content[:1], 0, content.size)
        self.check()
        return handle

    def sub_buffer(self, parent: Handle, start: int, size: int, flags: int = 0) -> Handle:
        """A part of a buffer that is none itself; `start` as the device aligns buffers.

        Without `flags` it may do what its parent may; with them, no more than these and the parent's.
        """
        # Indexing hands on all flags, which OpenCL allows for some only.
        if not flags and not parent.flags & (mf.USE_HOST_PTR | mf.ALLOC_HOST_PTR):
            buffer = parent.buffer[start : start + size]
        else:
            buffer = parent.buffer.get_sub_region(start, size, flags)
        flags = flags | parent.flags & HOST_CLOSED if flags else parent.flags
        handle = Handle(buffer, parent.memory, parent.start + start, size, flags, is_part=True)
        self.handles.append(handle)
        self.check()
        return handle

    def release(self, handle: Handle, how: str) -> None:
        """Let a buffer go: by its method, or by forgetting it."""
        self.handles.remove(handle)
        if how == "release":
            handle.buffer.release()
        del handle
        if how == "collect":
            gc.collect()
        self.check()

    # Copies.

    def write(
        self, handle: Handle, start: int, content: Bytes, queue: int = 0, *, blocking: bool = True
    ) -> None:
        """Host to buffer."""
        content = content.copy()
        event = cl.enqueue_copy(
            self.queues[queue],
            handle.buffer,
            content,
            dst_offset=start,
            is_blocking=self._blocks(blocking),
            wait_for=self.before(queue, handle),
        )
        handle.model[start : start + content.size] = content
        self._written(event, content, blocking)
        self.after(event, queue, handle)

    def read(
        self, handle: Handle, start: int, stop: int, queue: int = 0, *, blocking: bool = True
    ) -> None:
        """Buffer to host; compared at once, or when the program next waits."""
        got = np.full(stop - start, GARBAGE, np.uint8)
        event = cl.enqueue_copy(
            self.queues[queue],
            got,
            handle.buffer,
            src_offset=start,
            is_blocking=self._blocks(blocking),
            wait_for=self.before(queue, handle),
        )
        self._read(event, got, handle.model[start:stop].copy(), blocking)
        self.after(event, queue, handle)

    def copy(
        self, source: Handle, start: int, target: Handle, at: int, count: int, queue: int = 0
    ) -> None:
        """Buffer to buffer."""
        event = cl.enqueue_copy(
            self.queues[queue],
            target.buffer,
            source.buffer,
            src_offset=start,
            dst_offset=at,
            byte_count=count,
            wait_for=self.before(queue, source, target),
        )
        target.model[at : at + count] = source.model[start : start + count].copy()
        self.after(event, queue, source, target)

    def fill(self, handle: Handle, pattern: Bytes, start: int, count: int, queue: int = 0) -> None:
        """Fill with a pattern; `count` is a multiple of its size."""
        event = cl.enqueue_fill_buffer(
            self.queues[queue],
            handle.buffer,
            pattern.copy(),
            start,
            count,
            wait_for=self.before(queue, handle),
        )
        handle.model[start : start + count] = np.tile(pattern, count // pattern.size)
        self.after(event, queue, handle)

    def write_box(
        self,
        handle: Handle,
        box: Box,
        host: Bytes,
        host_box: Box,
        region: tuple[int, int, int],
        queue: int = 0,
        *,
        blocking: bool = True,
    ) -> None:
        """Host to buffer, a box."""
        host = host.copy()
        event = self._box(handle.buffer, host, box, host_box, region, queue, blocking, handle)
        handle.model[box.places(region)] = host[host_box.places(region)]
        self._written(event, host, blocking)
        self.after(event, queue, handle)

    def read_box(
        self,
        handle: Handle,
        box: Box,
        host_bytes: int,
        host_box: Box,
        region: tuple[int, int, int],
        queue: int = 0,
        *,
        blocking: bool = True,
    ) -> None:
        """Buffer to host, a box; what lies around it in the host's array stays."""
        got = np.full(host_bytes, GARBAGE, np.uint8)
        expected = got.copy()
        expected[host_box.places(region)] = handle.model[box.places(region)]
        event = self._box(got, handle.buffer, box, host_box, region, queue, blocking, handle)
        self._read(event, got, expected, blocking)
        self.after(event, queue, handle)

    def copy_box(
        self,
        source: Handle,
        box: Box,
        target: Handle,
        target_box: Box,
        region: tuple[int, int, int],
        queue: int = 0,
    ) -> None:
        """Buffer to buffer, a box."""
        event = cl.enqueue_copy(
            self.queues[queue],
            target.buffer,
            source.buffer,
            src_origin=box.origin,
            dst_origin=target_box.origin,
            region=region,
            src_pitches=box.pitches,
            dst_pitches=target_box.pitches,
            wait_for=self.before(queue, source, target),
        )
        target.model[target_box.places(region)] = source.model[box.places(region)]
        self.after(event, queue, source, target)

    def through_image(
        self, source: Handle, start: int, target: Handle, at: int, shape: tuple[int, int]
    ) -> None:
        """Buffer to image to buffer: `shape` pixels of four bytes each, width first."""
        image = cl.create_image(
            self.context,
            mf.READ_WRITE,
            cl.ImageFormat(cl.channel_order.RGBA, cl.channel_type.UNSIGNED_INT8),
            shape,
        )
        queue, region = self.queues[0], (*shape, 1)
        count = 4 * shape[0] * shape[1]
        cl.enqueue_copy(
            queue,
            image,
            source.buffer,
            offset=start,
            origin=(0, 0, 0),
            region=region,
            wait_for=self.before(0, source),
        )
        event = cl.enqueue_copy(
            queue,
            target.buffer,
            image,
            offset=at,
            origin=(0, 0, 0),
            region=region,
            wait_for=self.before(0, source, target),
        )
        target.model[at : at + count] = source.model[start : start + count].copy()
        self.after(event, 0, source, target)

    def migrate(self, handle: Handle, *, to_host: bool, queue: int = 0) -> None:
        """Move a buffer for no reason."""
        flags = cl.mem_migration_flags.HOST if to_host else 0
        event = cl.enqueue_migrate_mem_objects(
            self.queues[queue], [handle.buffer], flags, self.before(queue, handle)
        )
        self.after(event, queue, handle)

    # Maps.

    def map(
        self, handle: Handle, start: int, stop: int, flags: int, queue: int, *, blocking: bool
    ) -> None:
        """Map bytes into the host's memory and compare them, unless all are going to be written."""
        mapped, event = cl.enqueue_map_buffer(
            self.queues[queue],
            handle.buffer,
            flags,
            start,
            (stop - start,),
            np.uint8,
            wait_for=self.before(queue, handle),
            is_blocking=self._blocks(blocking),
        )
        if not blocking:
            self.open_gates()
            self.queues[queue].flush()
            event.wait()
        invalidates = bool(flags & cl.map_flags.WRITE_INVALIDATE_REGION)
        if not invalidates:
            expect(mapped, handle.model[start:stop], "a mapped buffer")
        writes = invalidates or bool(flags & cl.map_flags.WRITE)
        self.maps.append((handle, slice(start, stop), mapped, writes))
        handle.memory.mapped = True
        self.after(event, queue, handle)

    def unmap(self, content: Bytes, queue: int = 0) -> None:
        """End the oldest map; `content` (at least as long) is written through it, if it is for writing."""
        handle, where, mapped, writes = self.maps.pop(0)
        if writes:
            mapped[:] = content[: mapped.size]
            handle.model[where] = content[: mapped.size]
        event = mapped.base.release(self.queues[queue], self.before(queue, handle))
        handle.memory.mapped = False
        self.after(event, queue, handle)

    # Launches.

    def may_launch(self, kernel: Kernel, handles: Sequence[Handle]) -> bool:
        """Whether these may be the kernel's buffers."""
        for role, handle in zip(kernel.roles, handles):
            if handle.memory.mapped:
                return False
            if role is not WRITTEN and not handle.kernel_reads:
                return False
            if role is not READ and not handle.kernel_writes:
                return False
        for one in range(len(handles)):
            for other in range(one):
                if kernel.roles[one] is READ and kernel.roles[other] is READ:
                    continue
                if not handles[one].overlaps(handles[other]):
                    continue
                if (one, other) not in kernel.same or not handles[one].is_same(handles[other]):
                    return False
        return True

    def launch(
        self,
        name: str,
        handles: Sequence[Handle],
        n: int,
        s: int,
        launched: Range,
        queue: int = 0,
        style: str = "call",
        *,
        gated: bool = False,
    ) -> None:
        """Launch a kernel in one of the ways that pyopencl has."""
        kernel = BY_NAME[name]
        assert self.may_launch(kernel, handles)
        assert all(handle.size // 4 >= kernel.words(n, s) for handle in handles)
        wait_for = self.before(queue, *handles) or []
        if gated:
            gate = cl.UserEvent(self.context)
            self.gates.append(gate)
            wait_for.append(gate)
        if name not in self.kernels:
            self.kernels[name] = self.programs.kernel(kernel)
        event = call(
            self.kernels[name],
            self.queues[queue],
            launched,
            arguments(kernel, [handle.buffer for handle in handles], n, s, launched),
            style,
            wait_for or None,
        )
        kernel.model([handle.words for handle in handles], n, s, launched)
        self.after(event, queue, *handles)

    # Waiting.

    def open_gates(self) -> None:
        """Let go what waits for the program."""
        while self.gates:
            self.gates.pop().set_status(cl.command_execution_status.COMPLETE)
        self.check()

    def finish(self, queue: int | None = None) -> None:
        """Wait for a queue or for all; then compare all reads, and spoil what was written from."""
        self.open_gates()
        for each in self.queues:
            each.flush()
        for each in self.queues if queue is None else [self.queues[queue]]:
            each.finish()
        for event, got, expected in self.reads:
            event.wait()
            expect(got, expected, "a read that did not block")
        self.reads.clear()
        for event, source in self.sources:
            event.wait()
            source[:] = GARBAGE
        self.sources.clear()
        self.check()

    def compare(self) -> None:
        """Compare every byte of every buffer: read, or copied into one that may be read."""
        while self.maps:
            self.unmap(np.zeros(self.maps[0][2].size, np.uint8))
        self.finish()
        for handle in list(self.handles):
            if handle.host_reads:
                self.read(handle, 0, handle.size)
                continue
            aside = self.create(np.zeros(handle.size, np.uint8))
            self.copy(handle, 0, aside, 0, handle.size)
            self.read(aside, 0, handle.size)
            self.release(aside, "release")

    # Helpers.

    def _blocks(self, blocking: bool) -> bool:
        """Open the gates before a call that blocks."""
        if blocking:
            self.open_gates()
        return blocking

    def _box(
        self,
        target: Any,
        source: Any,
        box: Box,
        host_box: Box,
        region: tuple[int, int, int],
        queue: int,
        blocking: bool,
        handle: Handle,
    ) -> cl.Event:
        event: cl.Event = cl.enqueue_copy(
            self.queues[queue],
            target,
            source,
            buffer_origin=box.origin,
            host_origin=host_box.origin,
            region=region,
            buffer_pitches=box.pitches,
            host_pitches=host_box.pitches,
            is_blocking=self._blocks(blocking),
            wait_for=self.before(queue, handle),
        )
        return event

    def _written(self, event: cl.Event, source: Bytes, blocking: bool) -> None:
        """A source may be changed once its copy is done."""
        if blocking:
            source[:] = GARBAGE
        else:
            self.sources.append((event, source))

    def _read(self, event: cl.Event, got: Bytes, expected: Bytes, blocking: bool) -> None:
        if blocking:
            expect(got, expected, "a read")
        else:
            self.reads.append((event, got, expected))


def arguments(
    kernel: Kernel, buffers: Sequence[cl.Buffer], n: int, s: int, launched: Range
) -> list[Any]:
    """A kernel's arguments in order."""
    given: list[Any] = list(buffers)
    if kernel.local_words:
        assert launched.local is not None
        given.append(cl.LocalMemory(4 * kernel.local_words * launched.local[0]))
    return [*given, np.uint32(n), np.uint32(s)]


def call(
    kernel: cl.Kernel,
    queue: cl.CommandQueue,
    launched: Range,
    given: Sequence[Any],
    style: str,
    wait_for: list[cl.Event] | None,
) -> cl.Event:
    """Launch in a way: "call", "groups" (`g_times_l`), "set_args" or "set_arg" and then enqueue."""
    offset = launched.offset if any(launched.offset) else None
    if style == "groups" and launched.local is not None and offset is None:
        groups = tuple(size // local for size, local in zip(launched.size, launched.local))
        return kernel(queue, groups, launched.local, *given, g_times_l=True, wait_for=wait_for)
    if style in ("call", "groups"):
        return kernel(
            queue, launched.size, launched.local, *given, global_offset=offset, wait_for=wait_for
        )
    if style == "set_args":
        kernel.set_args(*given)
    else:
        for index, value in enumerate(given):
            kernel.set_arg(index, value)
    return cl.enqueue_nd_range_kernel(
        queue, kernel, launched.size, launched.local, offset, wait_for=wait_for
    )


class DifferenceError(AssertionError):
    """Bytes are not those of the model."""


def expect(got: Bytes, expected: Bytes, where: str) -> None:
    """Raise `DifferenceError` unless both are the same, with the first byte that is not."""
    if not np.array_equal(got, expected):
        first = int(np.flatnonzero(got != expected)[0])
        raise DifferenceError(
            f"{where}: byte {first} of {expected.size} is {got[first]}, not {expected[first]} "
            f"({np.count_nonzero(got != expected)} differ)"
        )
