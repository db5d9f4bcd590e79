"""What is known of the program's kernel objects: their arguments, and why their launches pass."""

from __future__ import annotations

from typing import Any

import pyopencl as cl

from lb_runtime.dropin.arguments import BufferRef, Captured, buffer_ref, captured, is_buffer, packed
from lb_runtime.dropin.scout import Entry
from lb_runtime.dropin.world import BUSY
from lb_runtime.story import KernelStory

QUICK_LAUNCHES = 64
"""So many launches pass like one before them that was looked at; twice as many each time it stays so."""
MOST_QUICK_LAUNCHES = 4096

_FEW = (tuple, type(None))
"""Types of sizes that are equal or not as a whole; numpy's arrays are not."""


class KernelState:
    """What is known of one `pyopencl.Kernel` object: its arguments, and its entry."""

    __slots__ = (
        "_patience",
        "arguments",
        "entry",
        "is_known",
        "name",
        "pending",
        "quick",
        "quick_left",
        "shape",
        "story",
    )

    def __init__(self, name: str, story: KernelStory, count: int) -> None:
        self.name = name
        self.story = story
        self.entry: Entry | None = None
        self.pending: list[tuple[str, Any]] = []
        """Arguments as they were given since the last launch, not looked at yet."""
        self.arguments: list[Captured | None] = [None] * count
        self.is_known = False
        """Whether one of them may be known."""
        self.quick: tuple[Any, Any, Any, Any, str] = (None, None, None, None, "")
        """Sizes and packed numbers of the last launch that was passed for good, and the code."""
        self.shape: tuple[Any, Any, Any] | None = None
        """Global size, local size and offset of the launch that is being looked at."""
        self._patience = 0
        self.quick_left = 0
        """So many launches like that pass without another look: buffers may have changed since."""

    def remember(
        self, global_size: Any, local_size: Any, offset: Any, numbers: Any, code: str
    ) -> None:
        """Pass the next launches of the same sizes and numbers for the same reason."""
        if type(global_size) is tuple and type(local_size) in _FEW and type(offset) in _FEW:
            quick = (global_size, local_size, offset, numbers, code)
            is_same = quick == self.quick
            self._patience = (
                min(2 * self._patience, MOST_QUICK_LAUNCHES) if is_same else QUICK_LAUNCHES
            )
            self.quick, self.quick_left = quick, self._patience

    def numbers(self) -> list[Any]:
        """The packed numbers of the launch that count: not those that change all the time. No buffers."""
        varying = self.entry.varying if self.entry is not None else ()
        packs = [given for kind, given in self.pending if kind == "pack"]
        if not varying:
            return packs
        return [
            value
            for given in packs
            for index, value in zip(given[::3], given[2::3])
            if index not in varying
        ]

    def quick_code(self, global_size: Any, local_size: Any, offset: Any) -> str:
        """Why a launch passes whose kernel never splits, or that is like the remembered one; else nothing.

        The arguments that were set for it are forgotten then.
        """
        entry = self.entry
        if entry is None:
            return ""
        code = entry.code
        if not code:
            sizes, local, start, numbers, code = self.quick
            if (
                not self.quick_left
                or type(global_size) is not tuple
                or sizes != global_size
                or (local is not local_size and not _are_equal(local, local_size))
                or (start is not offset and not _are_equal(start, offset))
            ):
                return ""
            pending = self.pending
            # Most launches are given their arguments in one call, without packed numbers.
            is_plain = not pending or (len(pending) == 1 and pending[0][0] == "multi")
            if numbers if is_plain else self.numbers() != numbers:
                return ""
            self.quick_left -= 1
        if BUSY and not self.is_clear():
            return ""
        if self.pending:
            self.pending.clear()
            if self.is_known:
                self.forget()
        return code

    def is_clear(self) -> bool:
        """Whether the mirror holds nothing of any buffer that the launch is given; False for unknown ones."""
        if not self.pending:
            for known in self.arguments:
                if known is None or (type(known) is BufferRef and _is_copied(known)):
                    return False
            return True
        for kind, given in self.pending:
            if kind == "multi":
                for value in given[1::2]:
                    if isinstance(value, cl.MemoryObjectHolder) and not _is_clear(value):
                        return False
            elif kind == "unknown":
                return False
        return True

    def settle(self) -> None:
        """Take over what was set since the last launch, and let go of the objects."""
        arguments = self.arguments
        self.is_known = True
        for kind, given in self.pending:
            if kind == "multi":
                for index, value in zip(given[::2], given[1::2]):
                    arguments[index] = captured(value)
            elif kind == "bytes":
                for index, value in zip(given[::2], given[1::2]):
                    arguments[index] = bytes(value)
            elif kind == "pack":
                for index, character, value in zip(given[::3], given[1::3], given[2::3]):
                    arguments[index] = packed(character, value)
            else:
                self.arguments = arguments = [None] * len(arguments)
        self.pending.clear()

    def forget(self) -> None:
        """Let go of the objects without a look: the arguments are not known from then on."""
        self.pending.clear()
        self.arguments = [None] * len(self.arguments)
        self.is_known = False


def _are_equal(remembered: Any, given: Any) -> bool:
    return type(given) is tuple and bool(remembered == given)


def _is_clear(value: Any) -> bool:
    ref = getattr(value, "_lb_ref", None)
    if ref is None:
        if not is_buffer(value):
            # An image may have been made of a buffer.
            return False
        try:
            ref = buffer_ref(value)
        except cl.Error:
            return False
    return not _is_copied(ref)


def _is_copied(ref: BufferRef) -> bool:
    return any(ref.root in world.copied for world in list(BUSY))
