"""Small pyopencl programs whose result is known, for tests of the drop-in: integers, so that all bytes agree.

A program is a function of a `Bench` (context, queue, kernels). It raises `AssertionError` where the bytes
differ from numpy's. Each makes bytes stay away from home in a way of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyopencl as cl

ITEMS = 4096
GROUP = 64

SOURCE = """
__kernel void straight(__global const int *a, __global int *b) {
    int i = get_global_id(0);
    b[i] = a[i] * 3 + i;
}
__kernel void halo(__global const int *a, __global int *b, int n) {
    int i = get_global_id(0);
    int left = i > 0 ? a[i - 1] : 7, right = i < n - 1 ? a[i + 1] : 9;
    b[i] = left + 2 * a[i] - right;
}
__kernel void in_place(__global int *a) {
    int i = get_global_id(0);
    a[i] = a[i] * 3 + 1;
}
__kernel void turned(__global const int *a, __global int *b, int n) {
    int i = get_global_id(0);
    b[n - 1 - i] = a[i] * 5 + 2;
}
__kernel void scattered(__global const int *where, __global int *b, int add) {
    int i = get_global_id(0);
    b[where[i]] = i + add;
}
__kernel void counted(__global const int *a, __global int *bins) {
    int i = get_global_id(0);
    atomic_add(&bins[a[i] & 15], i);
}
__kernel void racing(__global const int *where, __global int *b, __global int *c) {
    int i = get_global_id(0);
    b[where[i]] = i;
    c[i] = c[i] * 3 + 1;
}
__kernel void declined(__global volatile int *a, int add) {
    int i = get_global_id(0);
    a[i] = a[i] + add;
}
"""

SOURCES = {
    text.partition("(")[0]: f"__kernel void {text}" for text in SOURCE.split("__kernel void ")[1:]
}
"""By the kernel's name."""

Ints = npt.NDArray[np.int32]


@dataclass
class Bench:
    """A context of its own, with an in-order queue and the kernels."""

    context: cl.Context
    queue: cl.CommandQueue

    @classmethod
    def on(cls, device: cl.Device) -> Bench:
        context = cl.Context([device])
        return cls(context, cl.CommandQueue(context))

    programs: dict[str, cl.Program] = field(default_factory=dict)

    def kernel(self, name: str) -> cl.Kernel:
        """A new kernel object; of a program of its own, since building takes longer than all the rest."""
        if name not in self.programs:
            self.programs[name] = cl.Program(self.context, SOURCES[name]).build()
        return cl.Kernel(self.programs[name], name)

    def buffer(self, content: Ints) -> cl.Buffer:
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        return cl.Buffer(self.context, flags, hostbuf=content)

    def launch(self, name: str, *arguments: object) -> cl.Event:
        event: cl.Event = self.kernel(name)(self.queue, (ITEMS,), (GROUP,), *arguments)
        return event

    def check(self, buffer: cl.Buffer, expected: Ints, what: str) -> None:
        found = np.empty_like(expected)
        cl.enqueue_copy(self.queue, found, buffer)
        wrong = np.flatnonzero(found != expected)
        assert not wrong.size, (
            f"{what}: {wrong.size} of {found.size} differ, the first at {wrong[0]}: "
            f"{found[wrong[0]]}, expected {expected[wrong[0]]}"
        )


def pocl() -> cl.Device:
    """PoCL's device: its own mirror where it is asked for both roles."""
    for platform in cl.get_platforms():
        if platform.name == "Portable Computing Language":
            device: cl.Device = platform.get_devices()[0]
            return device
    raise AssertionError("PoCL is not installed")


def _start(seed: int) -> Ints:
    values = np.random.default_rng(seed).integers(-(10**6), 10**6, ITEMS)
    return values.astype(np.int32)


def _numbers() -> Ints:
    return np.arange(ITEMS, dtype=np.int32)


def _halo(a: Ints) -> Ints:
    left, right = np.roll(a, 1), np.roll(a, -1)
    left[0], right[-1] = 7, 9
    return left + 2 * a - right


def swapped(bench: Bench) -> None:
    """Two buffers change places: each part keeps its half, and asks for one element of the other's."""
    values = _start(1)
    one, other = bench.buffer(values), bench.buffer(np.zeros_like(values))
    for _ in range(6):
        bench.launch("halo", one, other, np.int32(ITEMS))
        one, other = other, one
        values = _halo(values)
    bench.check(one, values, "halo")


def repeated(bench: Bench) -> None:
    """One buffer is changed in place: a part that is run twice shows."""
    values = _start(2)
    buffer = bench.buffer(values)
    for _ in range(6):
        bench.launch("in_place", buffer)
        values = values * 3 + 1
    bench.check(buffer, values, "in place")


def turned(bench: Bench) -> None:
    """Each part writes, without reading it, what the other part wrote before."""
    values = _start(3)
    one, other = bench.buffer(values), bench.buffer(np.zeros_like(values))
    before = None
    for _ in range(4):
        bench.launch("straight", one, other)
        before, values = values, values * 3 + _numbers()
        bench.launch("turned", one, other, np.int32(ITEMS))
        values = (before * 5 + 2)[::-1].copy()
        bench.launch("turned", other, one, np.int32(ITEMS))
        values = (values * 5 + 2)[::-1].copy()
    bench.check(one, values, "turned")


def declined(bench: Bench) -> None:
    """Between launches that are split, one that is not reads and writes what they left."""
    values = _start(9)
    buffer = bench.buffer(values)
    for number in range(3):
        bench.launch("in_place", buffer)
        bench.launch("declined", buffer, np.int32(number + 5))
        values = values * 3 + 1 + number + 5
        bench.launch("in_place", buffer)
        values = values * 3 + 1
    bench.check(buffer, values, "declined")


def scattered(bench: Bench) -> None:
    """Data decides where parts write: their differences are merged."""
    where = np.random.default_rng(4).permutation(ITEMS).astype(np.int32)
    places, buffer = bench.buffer(where), bench.buffer(_start(5))
    values = np.empty(ITEMS, np.int32)
    for number in range(4):
        bench.launch("scattered", places, buffer, np.int32(100 * number))
        values[where] = _numbers() + 100 * number
        bench.launch("in_place", buffer)
        values = values * 3 + 1
    bench.check(buffer, values, "scattered")


def counted(bench: Bench) -> None:
    """Both parts add to the same few numbers."""
    data = _start(6)
    bins = np.zeros(16, np.int32)
    source, target = bench.buffer(data), bench.buffer(bins)
    for _ in range(4):
        bench.launch("counted", source, target)
        np.add.at(bins, data & 15, _numbers())
        bench.launch("in_place", source)
        data = data * 3 + 1
    bench.check(target, bins, "counted")
    bench.check(source, data, "counted, in place")


def copied(bench: Bench) -> None:
    """Copies, fills and reads between launches."""
    values = _start(7)
    one, other = bench.buffer(values), bench.buffer(np.zeros_like(values))
    for number in range(3):
        bench.launch("in_place", one)
        values = values * 3 + 1
        cl.enqueue_copy(bench.queue, other, one, byte_count=values.nbytes // 2)
        expected = np.concatenate([values[: ITEMS // 2], np.zeros(ITEMS // 2, np.int32)])
        bench.check(other, expected, "copied")
        cl.enqueue_fill_buffer(bench.queue, one, np.int32(number), 400, 4 * ITEMS - 800)
        values[100:-100] = number
        cl.enqueue_fill_buffer(bench.queue, other, np.int32(0), 0, values.nbytes)
    bench.launch("in_place", one)
    bench.check(one, values * 3 + 1, "filled")


def raced(bench: Bench) -> None:
    """Both parts write the same places, which is a race, and something else in place, which is none."""
    where = (_numbers() % 512).astype(np.int32)
    places, buffer = bench.buffer(where), bench.buffer(np.full(512, -1, np.int32))
    values = _start(8)
    other = bench.buffer(values)
    for _ in range(3):
        bench.launch("in_place", other)
        bench.launch("racing", places, buffer, other)
        values = (values * 3 + 1) * 3 + 1
    bench.check(other, values, "beside a race")
    found = np.empty(512, np.int32)
    cl.enqueue_copy(bench.queue, found, buffer)
    assert (found % 512 == np.arange(512)).all(), "a race left what nobody wrote"


PROGRAMS: tuple[Callable[[Bench], None], ...] = (
    swapped,
    repeated,
    turned,
    declined,
    scattered,
    counted,
    copied,
    raced,
)
