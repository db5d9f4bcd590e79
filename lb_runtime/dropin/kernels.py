"""What is known of the program's kernel objects: their arguments, and why their launches pass."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import numpy as np
import pyopencl as cl

from lb_runtime.dropin.arguments import (
    BufferRef,
    Captured,
    buffer_ref,
    captured,
    is_buffer,
    packed,
)
from lb_runtime.dropin.entry import Entry
from lb_runtime.dropin.world import BUSY
from lb_runtime.story import KernelStory

QUICK_LAUNCHES = 64
"""So many launches pass like one before them that was looked at; twice as many each time it stays so."""
MOST_QUICK_LAUNCHES = 4096
OF_ARGUMENTS = ("host-access", "image-argument", "invalid-launch", "null-argument", "svm")
"""Codes of one launch's buffers and images, which are not compared: these are looked at again soon."""
MOST_QUICK_WAYS = 64
"""So many ways of launching a kernel are remembered; with one more, all are forgotten."""
_STRIDES = {"multi": 2, "bytes": 2, "pack": 3}
"""How arguments are given: index and value, or index, type and number."""
_Picker = Callable[[tuple[Any, ...]], Any]


class KernelState:
    """What is known of one `pyopencl.Kernel` object: its arguments, and its entry."""

    __slots__ = (
        "_is_dropped",
        "_keeps",
        "_latest",
        "_numbers",
        "_pickers",
        "_quick",
        "_skipped",
        "arguments",
        "entry",
        "is_given_out",
        "name",
        "pending",
        "rests",
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
        self.is_given_out = False
        """Whether the kernel's handle was: then its arguments are not known."""
        self.shape: tuple[Any, Any, Any] | None = None
        """Global size, local size and offset of the launch that is being looked at."""
        self.rests = 0
        """How many launches like it, itself included, pass because no split gains."""
        self._quick: dict[Any, _Pass] = {}
        self._latest = NO_PASS
        self._numbers: Any = None
        """The numbers that count, as they were set last."""
        self._is_dropped = False
        """Whether a launch passed without a look at what was set for it: `arguments` are older."""
        self._keeps = False
        """Whether launches read what was set for one before them: then nothing is dropped."""
        self._pickers: dict[str, tuple[int, tuple[int, ...], _Picker]] = {}
        """What picks the numbers that count, by the way they are given, with how many are, and which."""
        self._skipped: frozenset[int] = frozenset()

    def remember(self, way: Any, code: str, launches: int = 0) -> None:
        """Pass the next launches of this way for the same reason, so many where that is given.

        Buffers may have changed in between.
        """
        try:
            known = self._quick.get(way)
        except TypeError:
            # Sizes of some type that cannot be compared.
            return
        patience = QUICK_LAUNCHES
        if known is not None and known.code == code and code not in OF_ARGUMENTS:
            patience = min(2 * known.patience, MOST_QUICK_LAUNCHES)
        elif len(self._quick) >= MOST_QUICK_WAYS:
            self._forget_ways()
        patience = launches or patience
        self._quick[way] = self._latest = _Pass(way, code, patience)

    def way(self, queue: Any, global_size: Any, local_size: Any, offset: Any) -> Any:
        """What launches have in common that pass for the same reason: sizes, and the numbers that count.

        These are integers, but for those that change all the time; buffers do not count.
        """
        skipped = self.entry.skipped if self.entry is not None else frozenset()
        if skipped is not self._skipped:
            self._skipped = skipped
            self._pickers.clear()
            self._forget_ways()
        is_free = getattr(queue, "_lb_out_of_order", False)
        if self.pending:
            numbers: Any = None
            for kind, given in self.pending:
                if kind in _STRIDES:
                    numbers = numbers, self._picker(kind, given)(given)
            self._numbers = numbers
        return global_size, local_size, offset, is_free, self._numbers

    def changed(self) -> None:
        """An argument was set by itself: launches have other numbers in common from now on."""
        skipped = self.entry.skipped if self.entry is not None else frozenset()
        self._numbers = tuple(
            known
            for index, known in enumerate(self.arguments)
            if type(known) is bytes and index not in skipped
        )

    def _picker(self, kind: str, given: tuple[Any, ...]) -> _Picker:
        """What picks the numbers that count, and all indices, out of arguments as pyopencl gives them.

        An argument that was a number is one in every call.
        """
        stride = _STRIDES[kind]
        indices = given[::stride]
        known = self._pickers.get(kind)
        if known is not None and known[0] == len(given) and known[1] == indices:
            return known[2]
        places = []
        for number, index in enumerate(indices):
            places.append(stride * number)
            value = stride * (number + 1) - 1
            counts = kind == "pack" or (kind == "multi" and isinstance(given[value], np.integer))
            if counts and index not in self._skipped:
                places.append(value)
        # What was picked by the one before does not compare.
        self._forget_ways()
        self._pickers[kind] = len(given), indices, itemgetter(*places)
        return self._pickers[kind][2]

    def _forget_ways(self) -> None:
        self._quick.clear()
        self._latest = NO_PASS

    def quick_code(self, queue: Any, global_size: Any, local_size: Any, offset: Any) -> str:
        """Why a launch passes whose kernel never splits, or that is like one remembered; else nothing."""
        entry = self.entry
        if entry is None:
            return ""
        code = entry.code
        pending = self.pending
        if not code:
            # As `way`, for what was given as it was before.
            if entry.skipped is not self._skipped:
                return ""
            is_free = getattr(queue, "_lb_out_of_order", False)
            if pending:
                numbers: Any = None
                for kind, given in pending:
                    picker = self._pickers.get(kind)
                    if picker is None or picker[0] != len(given):
                        return ""
                    numbers = numbers, picker[2](given)
                self._numbers = numbers
            way = global_size, local_size, offset, is_free, self._numbers
            known = self._latest
            try:
                if way != known.way:
                    known = self._latest = self._quick[way]
            except (KeyError, TypeError, ValueError):
                # Not remembered, or sizes of some type that is not looked up or compared.
                return ""
            if not known.left:
                return ""
            known.left -= 1
            code = known.code
        if BUSY and not self.is_clear():
            return ""
        if pending:
            if self._keeps:
                self.take_over()
            else:
                self._is_dropped = True
                pending.clear()
        return code

    def is_clear(self) -> bool:
        """Whether the mirror holds nothing of any buffer that the launch is given; False for unknown ones."""
        if self.is_given_out:
            return False
        if not self.pending:
            self.take_over()
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

    def take_over(self) -> None:
        """Take over what was set since the last launch, and let go of the objects."""
        is_dropped, self._is_dropped = self._is_dropped, False
        if is_dropped:
            self.arguments = [None] * len(self.arguments)
        arguments = self.arguments
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
        if is_dropped and None in arguments:
            self._keeps = True
        if self.is_given_out:
            self.forget()

    def give_out(self) -> None:
        """From now on others may set arguments unseen."""
        self.is_given_out = True
        self.forget()

    def forget(self) -> None:
        """Let go of the objects without a look: the arguments are not known from then on."""
        self.pending.clear()
        self._is_dropped = False
        self.arguments = [None] * len(self.arguments)


class _Pass:
    """Why launches pass, and how many more of them do without another look."""

    __slots__ = ("code", "left", "patience", "way")

    def __init__(self, way: Any, code: str, patience: int) -> None:
        self.way = way
        self.code = code
        self.patience = self.left = patience


NO_PASS = _Pass(None, "", 0)


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
