"""What is known of the program's kernel objects: their arguments, and why their launches pass."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import numpy as np
import pyopencl as cl

from lb_runtime.dropin import raw
from lb_runtime.dropin.arguments import (
    BufferRef,
    Captured,
    Unasked,
    buffer_ref,
    captured,
    is_buffer,
    packed,
)
from lb_runtime.dropin.scout import Entry
from lb_runtime.dropin.world import BUSY
from lb_runtime.story import KernelStory

QUICK_LAUNCHES = 64
"""So many launches pass like one before them that was looked at; twice as many each time it stays so."""
MOST_QUICK_LAUNCHES = 4096
OF_ARGUMENTS = ("host-access", "image-argument", "invalid-launch", "null-argument", "svm")
"""Codes of one launch's buffers and images, which are not compared: these are looked at again soon."""
MOST_HELD = 16
MOST_QUICK_WAYS = 64
"""So many ways of launching a kernel are remembered; with one more, all are forgotten."""
_STRIDES = {"multi": 2, "pack": 3}
"""How arguments are given: index and value, or index, type and number."""


class KernelState:
    """What is known of one `pyopencl.Kernel` object: its arguments, and its entry."""

    __slots__ = (
        "_held",
        "_pickers",
        "_quick",
        "_skipped",
        "arguments",
        "entry",
        "is_given_out",
        "name",
        "pending",
        "shape",
        "story",
    )

    def __init__(self, name: str, story: KernelStory, count: int) -> None:
        self.name = name
        self.story = story
        self.entry: Entry | None = None
        self.pending: list[tuple[str, Any]] = []
        """Arguments as they were given since the last launch, not looked at yet."""
        self.arguments: list[Captured | Unasked | None] = [None] * count
        self.is_given_out = False
        """Whether the kernel's handle was: then its arguments are not known."""
        self.shape: tuple[Any, Any, Any] | None = None
        """Global size, local size and offset of the launch that is being looked at."""
        self._quick: dict[Any, _Pass] = {}
        self._held: dict[tuple[str, tuple[int, ...]], tuple[Any, ...]] = {}
        """What was set before `pending`, by how it was set and the indices, in order."""
        self._pickers: dict[Any, Callable[[tuple[Any, ...]], Any] | None] = {}
        self._skipped: frozenset[int] = frozenset()

    def remember(self, way: Any, code: str) -> None:
        """Pass the next launches of this way for the same reason. Buffers may have changed in between."""
        try:
            known = self._quick.get(way)
        except TypeError:
            # Sizes of some type that cannot be compared.
            return
        patience = QUICK_LAUNCHES
        if known is not None and known.code == code and code not in OF_ARGUMENTS:
            patience = min(2 * known.patience, MOST_QUICK_LAUNCHES)
        elif len(self._quick) >= MOST_QUICK_WAYS:
            self._quick.clear()
        self._quick[way] = _Pass(code, patience)

    def way(self, queue: Any, global_size: Any, local_size: Any, offset: Any) -> Any:
        """What launches have in common that pass for the same reason: sizes, and the numbers that count.

        These are integers, but for those that change all the time; buffers do not count.
        """
        numbers: Any = getattr(queue, "_lb_out_of_order", False)
        for kind, given in self.pending:
            if kind in _STRIDES:
                counting = self._counting(kind, given)
                if counting is not None:
                    numbers = (numbers, counting(given))
        return global_size, local_size, offset, numbers

    def _counting(
        self, kind: str, given: tuple[Any, ...]
    ) -> Callable[[tuple[Any, ...]], Any] | None:
        """What picks the numbers that count out of arguments as pyopencl gives them; None where none does.

        An argument that was a number is one in every call.
        """
        skipped = self.entry.skipped if self.entry is not None else frozenset()
        if skipped is not self._skipped:
            self._skipped = skipped
            self._pickers.clear()
        stride = _STRIDES[kind]
        key = kind, given[::stride]
        if key not in self._pickers:
            places = [
                stride * number + stride - 1
                for number, index in enumerate(given[::stride])
                if index not in skipped
            ]
            if kind == "multi":
                places = [place for place in places if isinstance(given[place], np.integer)]
            self._pickers[key] = itemgetter(*places) if places else None
        return self._pickers[key]

    def quick_code(self, queue: Any, global_size: Any, local_size: Any, offset: Any) -> str:
        """Why a launch passes whose kernel never splits, or that is like one remembered; else nothing."""
        entry = self.entry
        if entry is None:
            return ""
        code = entry.code
        if not code:
            if not self._quick:
                return ""
            try:
                known = self._quick.get(self.way(queue, global_size, local_size, offset))
            except TypeError:
                return ""
            if known is None or not known.left:
                return ""
            known.left -= 1
            code = known.code
        if BUSY and not self.is_clear():
            return ""
        if self.pending:
            self._hold()
        return code

    def is_clear(self) -> bool:
        """Whether the mirror holds nothing of any buffer that the launch is given; False for unknown ones."""
        if self.is_given_out:
            return False
        if not self.pending:
            self.settle()
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
        """Know all arguments, for a launch that is to read them: so they are alive."""
        self.take_over()
        for index, known in enumerate(self.arguments):
            if type(known) is Unasked:
                buffer = cl.Buffer.from_int_ptr(known.number, retain=True)
                self.arguments[index] = captured(buffer)

    def take_over(self) -> None:
        """Take over what was set since the last launch, and let go of the objects."""
        arguments = self.arguments
        held = list(self._held.items())
        self._held.clear()
        for (kind, indices), values in held:
            if kind == "multi":
                for index, known in zip(indices, values):
                    arguments[index] = known
            else:
                for index, character, value in zip(indices, values[1::3], values[2::3]):
                    arguments[index] = packed(character, value)
        for kind, given in self.pending:
            if kind == "multi":
                for index, value in zip(given[::2], given[1::2]):
                    arguments[index] = captured(value)
            elif kind == "bytes":
                for index, value in zip(given[::2], given[1::2]):
                    # bytes() of a number would be so many zeros.
                    is_number = isinstance(value, np.generic)
                    arguments[index] = value.tobytes() if is_number else bytes(value)
            elif kind == "pack":
                for index, character, value in zip(given[::3], given[1::3], given[2::3]):
                    arguments[index] = packed(character, value)
            else:
                self.arguments = arguments = [None] * len(arguments)
        self.pending.clear()
        if self.is_given_out:
            self.forget()

    def _hold(self) -> None:
        """The same in less time, for a launch that passes: numbers stay packed, new buffers unasked."""
        held = self._held
        for kind, given in self.pending:
            if kind == "pack":
                key, values = (kind, given[::3]), given
            elif kind == "multi":
                key, values = (kind, given[::2]), tuple(map(_brief, given[1::2]))
            else:
                self.take_over()
                return
            # What is set last counts, so it stands last.
            held.pop(key, None)
            held[key] = values
        self.pending.clear()
        if len(held) > MOST_HELD:
            self.take_over()

    def give_out(self) -> None:
        """From now on others may set arguments unseen."""
        self.is_given_out = True
        self.forget()

    def forget(self) -> None:
        """Let go of the objects without a look: the arguments are not known from then on."""
        self.pending.clear()
        self._held.clear()
        self.arguments = [None] * len(self.arguments)


class _Pass:
    """Why launches pass, and how many more of them do without another look."""

    __slots__ = ("code", "left", "patience")

    def __init__(self, code: str, patience: int) -> None:
        self.code = code
        self.patience = self.left = patience


def _brief(value: Any) -> Captured | Unasked:
    """An argument that is not to be held; a new buffer is not asked about."""
    known: BufferRef | None = getattr(value, "_lb_ref", None)
    if known is not None:
        return known
    return Unasked(raw.int_ptr(value)) if type(value) is cl.Buffer else captured(value)


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
