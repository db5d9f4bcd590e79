"""What is known of the program's kernel objects: their arguments, and why their launches pass."""

from __future__ import annotations

from typing import Any

import pyopencl as cl

from lb_runtime.dropin.arguments import BufferRef, Captured, captured, packed
from lb_runtime.dropin.scout import Entry
from lb_runtime.dropin.world import BUSY
from lb_runtime.story import KernelStory

QUICK_LAUNCHES = 63
"""So many launches pass like one before them that was looked at."""

_COMPARABLE = {tuple, list, type(None)}
"""Types of sizes that are equal or not as a whole; numpy's arrays are not."""


class KernelState:
    """What is known of one `pyopencl.Kernel` object: its arguments, and its entry."""

    __slots__ = (
        "arguments",
        "entry",
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
        self.quick: tuple[Any, Any, Any, Any, str] = (None, None, None, None, "")
        """Sizes and packed numbers of the last launch that was passed for good, and the code."""
        self.shape: tuple[Any, Any, Any] | None = None
        """Global size, local size and offset of the launch that is being looked at."""
        self.quick_left = 0
        """So many launches like that pass without another look: buffers may have changed since."""

    def remember(
        self, global_size: Any, local_size: Any, offset: Any, numbers: Any, code: str
    ) -> None:
        """Pass the next launches of the same sizes and numbers for the same reason."""
        if {type(global_size), type(local_size), type(offset)} <= _COMPARABLE:
            self.quick = (global_size, local_size, offset, numbers, code)
            self.quick_left = QUICK_LAUNCHES

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
        """Why a launch passes that is like the remembered one; empty for another."""
        sizes, local, start, numbers, code = self.quick
        if not {type(global_size), type(local_size), type(offset)} <= _COMPARABLE:
            return ""
        if sizes != global_size or local != local_size or start != offset:
            return ""
        if self.numbers() != numbers:
            return ""
        self.quick_left -= 1
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
                    ref = getattr(value, "_lb_ref", None)
                    if ref is None:
                        if isinstance(value, cl.MemoryObjectHolder):
                            return False
                    elif _is_copied(ref):
                        return False
            elif kind == "unknown":
                return False
        return True

    def settle(self) -> None:
        """Take over what was set since the last launch, and let go of the objects."""
        arguments = self.arguments
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


def _is_copied(ref: BufferRef) -> bool:
    return any(ref.root in world.copied for world in list(BUSY))
