"""The state machine: Hypothesis chooses the operations of a program, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pyopencl as cl
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from random_programs.kernels import BY_NAME, KERNELS, Kernel, Range
from random_programs.world import Box, Bytes, Handle, Programs, World, mf

MOST_HANDLES = 8
SIZES = st.sampled_from([64, 256, 1000, 1021, 2048, 4096]) | st.integers(4, 4096)
FLAGS = st.sampled_from(
    [mf.READ_WRITE] * 6
    + [
        mf.READ_ONLY,
        mf.WRITE_ONLY,
        mf.READ_WRITE | mf.ALLOC_HOST_PTR,
        mf.READ_WRITE | mf.HOST_READ_ONLY,
        mf.READ_WRITE | mf.HOST_WRITE_ONLY,
        mf.READ_WRITE | mf.HOST_NO_ACCESS,
    ]
)
QUEUES = st.sampled_from([0, 0, 0, 1, 2])
STYLES = st.sampled_from(["call", "groups", "set_args", "set_arg"])
FEW_SIZES = (((16,), (8,)), ((40,), (8,)), ((64,), (16,)), ((8,), (8,)))
FEW_SIZES_2D = (((8, 4), (4, 2)), ((16, 6), (4, 2)), ((4, 8), (4, 1)))
"""NDRanges of kernels that ask about groups: each is a build of its own on the other device."""


STENCILS = [BY_NAME[name] for name in ("halo", "blur", "in_place", "axpy", "transpose")]
MERGED = [BY_NAME[name] for name in ("histogram", "maxima", "shifted", "gather")]


def random_bytes(seed: int, size: int) -> Bytes:
    """Bytes that look like any; small numbers of few kinds as often, which hit the same places."""
    numbers = np.random.default_rng(seed)
    if seed % 3 == 0:
        return np.resize(numbers.integers(0, 9, size // 4 + 1, np.uint32).view(np.uint8), size)
    return numbers.integers(0, 256, size, np.uint8)


CONTENTS = st.integers(0, 20)


class ProgramMachine(RuleBasedStateMachine):
    """A random program. A subclass sets `programs`, and what checks the runtime after each step."""

    programs: ClassVar[Programs]
    check_runtime: ClassVar[Callable[[], None]]

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.programs, type(self).check_runtime)

    def teardown(self) -> None:
        """Every program ends with a look at all bytes."""
        self.world.compare()
        for handle in list(self.world.handles):
            self.world.release(handle, "release")

    # Choosing.

    def pick(
        self, data: st.DataObject, fits: Callable[[Handle], bool] = lambda handle: True
    ) -> Handle | None:
        """One of the buffers that are not mapped and fit, or None."""
        able = [each for each in self.world.handles if not each.memory.mapped and fits(each)]
        return data.draw(st.sampled_from(able)) if able else None

    def part(self, data: st.DataObject, handle: Handle) -> tuple[int, int]:
        """A range of a buffer's bytes that is not empty."""
        start = data.draw(st.just(0) | st.integers(0, handle.size - 1))
        return start, data.draw(st.just(handle.size) | st.integers(start + 1, handle.size))

    def box(self, data: st.DataObject, size: int, region: tuple[int, int, int]) -> Box | None:
        """Where a box of this region may lie within `size` bytes; None where it does not fit."""
        x, y, _ = region
        row = x + data.draw(st.integers(0, 5))
        slice_ = row * (y + data.draw(st.integers(0, 1)))
        origin = data.draw(st.integers(0, row - x)), data.draw(st.integers(0, slice_ // row - y)), 0
        box = Box(origin, (row, slice_))
        return box if box.places(region).max() < size else None

    def crashes(self, *handles: Handle | None) -> bool:
        """Whether PoCL would: it copies boxes and images from and to parts of buffers at a wild address."""
        return self.world.is_pocl and any(h and h.is_part for h in handles)

    # Buffers.

    @initialize(
        seeds=st.lists(CONTENTS, min_size=3, max_size=3),
        sizes=st.lists(SIZES, min_size=3, max_size=3),
    )
    def begin(self, seeds: list[int], sizes: list[int]) -> None:
        for seed, size in zip(seeds, sizes):
            self.world.create(random_bytes(seed, size))

    @precondition(lambda self: len(self.world.handles) < MOST_HANDLES)
    @rule(
        seed=CONTENTS,
        size=SIZES,
        flags=FLAGS,
        how=st.sampled_from(["copy", "copy", "fill", "use"]),
    )
    def create(self, seed: int, size: int, flags: int, how: str) -> None:
        if how == "use":
            flags = mf.READ_WRITE
        self.world.create(random_bytes(seed, size), flags, how)

    @precondition(lambda self: len(self.world.handles) < MOST_HANDLES)
    @rule(data=st.data())
    def sub_buffer(self, data: st.DataObject) -> None:
        aligned = self.world.alignment
        parent = self.pick(data, lambda h: h.size > aligned and not h.is_part)
        if parent is None:
            return
        start = aligned * data.draw(st.integers(0, (parent.size - 4) // aligned))
        size = data.draw(st.integers(4, parent.size - start))
        flags = data.draw(st.sampled_from([0, 0, mf.READ_ONLY, mf.WRITE_ONLY]))
        if parent.flags & (mf.READ_ONLY | mf.WRITE_ONLY):
            flags = 0
        self.world.sub_buffer(parent, start, size, flags)

    @precondition(lambda self: len(self.world.handles) > 2)
    @rule(data=st.data(), how=st.sampled_from(["release", "forget", "collect"]))
    def release(self, data: st.DataObject, how: str) -> None:
        handle = self.pick(data)
        if handle is not None:
            self.world.release(handle, how)

    # Copies.

    @rule(data=st.data(), seed=CONTENTS, queue=QUEUES, blocking=st.booleans())
    def write(self, data: st.DataObject, seed: int, queue: int, blocking: bool) -> None:
        handle = self.pick(data, lambda h: h.host_writes)
        if handle is None:
            return
        start, stop = self.part(data, handle)
        self.world.write(handle, start, random_bytes(seed, stop - start), queue, blocking=blocking)

    @rule(data=st.data(), queue=QUEUES, blocking=st.booleans())
    def read(self, data: st.DataObject, queue: int, blocking: bool) -> None:
        handle = self.pick(data, lambda h: h.host_reads)
        if handle is not None:
            self.world.read(handle, *self.part(data, handle), queue, blocking=blocking)

    @rule(data=st.data(), queue=QUEUES)
    def copy(self, data: st.DataObject, queue: int) -> None:
        source, target = self.pick(data), self.pick(data)
        if source is None or target is None:
            return
        start, stop = self.part(data, source)
        at = data.draw(st.integers(0, target.size - 1))
        count = min(stop - start, target.size - at)
        if source.memory is target.memory:
            apart = abs((source.start + start) - (target.start + at))
            if not apart:
                return
            count = min(count, apart)
        self.world.copy(source, start, target, at, count, queue)

    @rule(data=st.data(), pattern=st.sampled_from([1, 2, 4, 8, 16]), queue=QUEUES)
    def fill(self, data: st.DataObject, pattern: int, queue: int) -> None:
        handle = self.pick(data, lambda h: h.size >= pattern)
        if handle is None:
            return
        start = pattern * data.draw(st.integers(0, handle.size // pattern - 1))
        count = pattern * data.draw(st.integers(1, (handle.size - start) // pattern))
        content = random_bytes(data.draw(CONTENTS), pattern)
        self.world.fill(handle, content, start, count, queue)

    @rule(
        data=st.data(),
        region=st.tuples(st.integers(1, 16), st.integers(1, 8), st.integers(1, 2)),
        way=st.sampled_from(["write", "read", "copy"]),
        queue=QUEUES,
        blocking=st.booleans(),
    )
    def boxes(
        self,
        data: st.DataObject,
        region: tuple[int, int, int],
        way: str,
        queue: int,
        blocking: bool,
    ) -> None:
        handle = self.pick(
            data, lambda h: {"write": h.host_writes, "read": h.host_reads, "copy": True}[way]
        )
        box = handle and self.box(data, handle.size, region)
        if handle is None or box is None:
            return
        if way == "copy":
            target = self.pick(data, lambda h: h.memory is not handle.memory)
            if self.crashes(handle, target):
                return
            target_box = target and self.box(data, target.size, region)
            if target is not None and target_box is not None:
                self.world.copy_box(handle, box, target, target_box, region, queue)
            return
        host_bytes = 2000
        host_box = self.box(data, host_bytes, region)
        if host_box is None:
            return
        if way == "write":
            host = random_bytes(data.draw(CONTENTS), host_bytes)
            self.world.write_box(handle, box, host, host_box, region, queue, blocking=blocking)
        else:
            self.world.read_box(handle, box, host_bytes, host_box, region, queue, blocking=blocking)

    @rule(data=st.data(), shape=st.tuples(st.integers(1, 9), st.integers(1, 5)))
    def through_image(self, data: st.DataObject, shape: tuple[int, int]) -> None:
        count = 4 * shape[0] * shape[1]
        source = self.pick(data, lambda h: h.size >= count)
        target = self.pick(data, lambda h: h.size >= count)
        if self.crashes(source, target):
            return
        if source is not None and target is not None:
            start = data.draw(st.integers(0, source.size - count))
            at = data.draw(st.integers(0, target.size - count))
            self.world.through_image(source, start, target, at, shape)

    @rule(data=st.data(), to_host=st.booleans(), queue=QUEUES)
    def migrate(self, data: st.DataObject, to_host: bool, queue: int) -> None:
        handle = self.pick(data)
        if handle is not None:
            self.world.migrate(handle, to_host=to_host, queue=queue)

    @precondition(lambda self: len(self.world.maps) < 2)
    @rule(
        data=st.data(),
        flags=st.sampled_from(
            [
                cl.map_flags.READ,
                cl.map_flags.WRITE,
                cl.map_flags.READ | cl.map_flags.WRITE,
                cl.map_flags.WRITE_INVALIDATE_REGION,
            ]
        ),
        queue=QUEUES,
        blocking=st.booleans(),
    )
    def map(self, data: st.DataObject, flags: int, queue: int, blocking: bool) -> None:
        reads = bool(flags & cl.map_flags.READ)
        writes = bool(flags & (cl.map_flags.WRITE | cl.map_flags.WRITE_INVALIDATE_REGION))
        handle = self.pick(
            data, lambda h: (h.host_reads or not reads) and (h.host_writes or not writes)
        )
        if handle is not None:
            start, stop = self.part(data, handle)
            self.world.map(handle, start, stop, flags, queue, blocking=blocking)

    @precondition(lambda self: self.world.maps)
    @rule(seed=CONTENTS, queue=QUEUES)
    def unmap(self, seed: int, queue: int) -> None:
        self.world.unmap(random_bytes(seed, 4096), queue)

    # Launches.

    @rule(
        data=st.data(),
        kernel=st.sampled_from(KERNELS),
        style=STYLES,
        queue=QUEUES,
        gated=st.sampled_from([False, False, False, True]),
        times=st.integers(1, 3),
    )
    def launch(
        self,
        data: st.DataObject,
        kernel: Kernel,
        style: str,
        queue: int,
        gated: bool,
        times: int,
    ) -> None:
        handles: list[Handle] = []
        for _ in kernel.roles:
            handle = self.pick(
                data, lambda h: h.size >= 16 and self.world.may_launch(kernel, [*handles, h])
            )
            if handle is None:
                return
            handles.append(handle)
        words = min(handle.size // 4 for handle in handles)
        n, s = self.extent(data, kernel, words)
        launched = self.nd_range(data, kernel, n, s)
        for again in range(times):
            self.world.launch(
                kernel.name, handles, n, s, launched, queue, style, gated=gated and not again
            )
            turned = [handles[-1], *handles[1:-1], handles[0]]
            if len(handles) > 1 and self.world.may_launch(kernel, turned):
                handles = turned

    @rule(data=st.data(), kernel=st.sampled_from(KERNELS), queue=st.sampled_from([0, 0, 1]))
    def launch_and_read(self, data: st.DataObject, kernel: Kernel, queue: int) -> None:
        self.launch(data, kernel, "call", queue, False, 1)
        self.read(data, queue, True)

    @rule(data=st.data(), kernel=st.sampled_from(STENCILS), times=st.integers(2, 4))
    def iterate(self, data: st.DataObject, kernel: Kernel, times: int) -> None:
        """What each device left is what it reads next, but for a halo."""
        self.launch(data, kernel, "call", 0, False, times)

    @rule(data=st.data(), kernel=st.sampled_from(MERGED), times=st.integers(1, 2))
    def launch_merged(self, data: st.DataObject, kernel: Kernel, times: int) -> None:
        """Kernels of which the parts' results must be put together, or that read all of a buffer."""
        self.launch(data, kernel, "call", 0, False, times)

    def extent(self, data: st.DataObject, kernel: Kernel, words: int) -> tuple[int, int]:
        """`n` and `s` for buffers of so many words."""
        if kernel.dimensions == 2:
            n = data.draw(st.integers(1, min(words, 24)))
            return n, data.draw(st.integers(1, min(words // n, 24)))
        most = max(n for n in range(1, 4 * words + 1) if kernel.words(n, 0) <= words)
        n = data.draw(st.just(most) | st.integers(1, most))
        return n, data.draw(st.integers(0, 5) | st.integers(0, 2**32 - 1))

    def nd_range(self, data: st.DataObject, kernel: Kernel, n: int, s: int) -> Range:
        """A range that covers all, or some, or more."""
        few = kernel.uses_groups or kernel.name.startswith("grid_")
        if few:
            chosen = FEW_SIZES_2D if kernel.dimensions == 2 else FEW_SIZES
            size, local = data.draw(st.sampled_from(chosen))
        elif kernel.dimensions == 2:
            size, local = (-(-n // 4) * 4, -(-s // 2) * 2), (4, 2)
        else:
            groups = data.draw(st.just(-(-n // 8)) | st.integers(1, 64))
            size, local = (8 * groups,), (8,)
        offset = tuple(data.draw(st.sampled_from([0, 0, 0, 8])) for _ in size)
        if not kernel.uses_groups and data.draw(st.sampled_from([False, False, True])):
            return Range(size, None, offset)
        return Range(size, local, offset)

    # Waiting.

    @precondition(lambda self: self.world.gates)
    @rule()
    def open_gates(self) -> None:
        self.world.open_gates()

    @rule(queue=st.sampled_from([None, 0, 1, 2]))
    def finish(self, queue: int | None) -> None:
        self.world.finish(queue)

    @rule()
    def compare(self) -> None:
        self.world.compare()
