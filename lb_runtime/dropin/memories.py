"""The buffers of a context of the user's that the mirror has copies of, and where their newest bytes are.

Two maps are kept for each. `planned` is in the order of the program's calls, and tells what a command that
is enqueued now will surely find at home, and where the mirror may hold bytes. `actual` is in the order of
execution, and tells what is where this moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pyopencl as cl

from lb_runtime.dropin.arguments import BufferRef
from lb_runtime.memory.byte_map import ByteMap, Place

if TYPE_CHECKING:
    from lb_runtime.dropin.conductor import Task
    from lb_runtime.dropin.mirror import Mirror

_UNTRACKED = cl.mem_flags.USE_HOST_PTR
_NO_HOST_ACCESS = (
    cl.mem_flags.HOST_NO_ACCESS | cl.mem_flags.HOST_READ_ONLY | cl.mem_flags.HOST_WRITE_ONLY
)


def is_closed_to_host(ref: BufferRef) -> bool:
    """Whether the program forbade what moving the buffer's bytes takes: reading and writing by the host."""
    return bool(ref.flags & _NO_HOST_ACCESS)


class Memory:
    """One buffer of the user's that owns its bytes, with its copy on the mirror.

    `own` is a reference of ours, which keeps the `cl_mem` alive. Where `is_tracked` is False, its bytes
    may change unseen: the mirror keeps nothing of it from one launch to the next.
    """

    def __init__(self, ref: BufferRef) -> None:
        self.ref = ref
        self.root = ref.root
        self.size_bytes = ref.root_bytes
        self.own = cast(cl.Buffer, cl.Buffer.from_int_ptr(ref.root, retain=True))
        self.planned = ByteMap(ref.root_bytes)
        self.actual = ByteMap(ref.root_bytes)
        self.is_tracked = not ref.flags & _UNTRACKED
        self.last: Task | None = None
        self.is_allocated = False
        """Whether the user's device is known to have given it memory."""
        self.uses_at_home = 0
        """How many commands on the user's device have read it since the last task."""
        self.lost_because = ""
        """Why some of its bytes are lost; empty where none are."""
        self._mirror: Mirror | None = None
        self._copy: cl.Buffer | None = None
        self._views: dict[tuple[bool, int, int], cl.Buffer] = {}
        self._mine = 1
        """How many references to the `cl_mem` are ours."""
        self._later: list[tuple[Place, int, int]] = []

    def copy_on(self, mirror: Mirror) -> cl.Buffer:
        """The mirror's buffer, made on first use. Raises `pyopencl.MemoryError` where it does not fit."""
        if self._copy is None:
            self._copy = mirror.allocate(self.size_bytes)
            self._mirror = mirror
        return self._copy

    def argument(self, ref: BufferRef, mirror: Mirror | None) -> cl.Buffer:
        """What to set as a kernel's argument: on the user's device, or on the mirror."""
        whole = self.own if mirror is None else self.copy_on(mirror)
        if ref.size_bytes == self.size_bytes:
            return whole
        key = (mirror is None, ref.start_bytes, ref.size_bytes)
        view = self._views.get(key)
        if view is None:
            before = self._references
            view = self._views[key] = whole.get_sub_region(ref.start_bytes, ref.size_bytes)
            # Whether a sub-buffer counts is the driver's business.
            self._mine += self._references - before
        return view

    @property
    def _references(self) -> int:
        return cast(int, self.own.get_info(cl.mem_info.REFERENCE_COUNT))

    @property
    def is_in_use(self) -> bool:
        """Whether a task that touches it has not ended."""
        return self.last is not None and not self.last.done.is_set()

    def later(self, place: Place, start: int, stop: int) -> None:
        """After all tasks so far, these bytes will be at `place` alone.

        Where a task is on its way, that comes true for `actual` with the next one.
        """
        self._later.append((place, start, stop))
        self.settle()

    def settle(self) -> None:
        """Let `actual` follow, where no task is on its way."""
        if not self.is_in_use:
            for each in self.take_later():
                each[0].actual.wrote(*each[1:])

    def take_later(self) -> list[Effect]:
        """What the program's own commands did since the last task."""
        effects = [(self, *each) for each in self._later]
        self._later.clear()
        return effects

    def is_later(self, start: int, stop: int) -> bool:
        """Whether a command of the program's that may not have run yet writes some of these bytes."""
        return any(begin < stop and end > start for _, begin, end in self._later)

    @property
    def holders(self) -> int:
        """How many references to the `cl_mem` there are beside ours."""
        return self._references - self._mine

    def free(self) -> None:
        """Give back the mirror's copy, and our reference."""
        self._views.clear()
        if self._copy is not None and self._mirror is not None:
            self._mirror.give_back(self._copy)
        self._copy = None
        self.own.release()

    def _check(self) -> None:
        """Raise AssertionError unless the maps hold together."""
        self.planned._check()
        self.actual._check()
        if not self.is_tracked and not self.planned.is_plain:
            raise AssertionError(f"bytes of an untracked buffer of {self.size_bytes} are away")
        if self.is_in_use:
            return
        self.settle()
        for start, stop, places in self.planned.intervals():
            for begin, end, holders in self.actual.intervals():
                if begin < stop and end > start:
                    where = f"bytes [{max(begin, start)}, {min(end, stop)})"
                    if places & Place.USER and not holders & Place.USER:
                        raise AssertionError(f"{where} should be at home")
                    if holders & Place.MIRROR and not places & Place.MIRROR:
                        raise AssertionError(f"{where} are on the mirror, unknown to the plan")


Effect = tuple[Memory, Place, int, int]
"""Bytes `[start, stop)` of a memory that are at a place alone from then on."""
