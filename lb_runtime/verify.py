"""Checks a split launch byte by byte against what each device alone would have left.

Two compilers may round differently, so there is one right answer per byte only once it is known which
part wrote it: that part's device, running the whole launch alone, must leave the same byte there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from lb_runtime.analysis.regions import Region
from lb_runtime.analysis.verdict import Merge
from lb_runtime.checks import memories_of
from lb_runtime.errors import ArgumentError
from lb_runtime.execution import Ownership
from lb_runtime.launch import BufferArgument, Slice
from lb_runtime.memory.merge import Bytes, Mask, as_bytes
from lb_runtime.plan import BufferPlan, Part, Plan

Snapshot = Mapping[int, npt.NDArray[Any]]
"""The content of the buffer arguments at one moment: argument index -> array."""


class Outcome(Enum):
    """What the comparison found, from best to worst."""

    IDENTICAL = "identical"
    IDENTICAL_PER_DEVICE = "identical to what each part's own device leaves"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first wrong byte: where it is, what its element should have been and is, how many there are.

    `expected` and `got` are the elements as text, in the argument's type; `count` counts wrong bytes of
    the argument.
    """

    argument: int
    byte: int
    element: int
    expected: str
    got: str
    count: int


@dataclass(frozen=True, slots=True)
class Verification:
    """The verdict on a split launch.

    `device_dependent_bytes` counts the bytes in which the devices' own unsplit results differ.
    `mismatch` is there exactly when the outcome is `WRONG`.
    """

    outcome: Outcome
    device_dependent_bytes: int
    mismatch: Mismatch | None = None

    @property
    def ok(self) -> bool:
        """Whether the split launch left what it should have."""
        return self.outcome is not Outcome.WRONG

    @property
    def text(self) -> str:
        """One line for the user."""
        if self.mismatch is not None:
            wrong = self.mismatch
            return (
                f"wrong: argument {wrong.argument}, element {wrong.element} is {wrong.got}, expected "
                f"{wrong.expected} (first at byte {wrong.byte}, {wrong.count} bytes differ)"
            )
        if self.outcome is Outcome.IDENTICAL:
            return "identical on every device"
        return (
            "identical: each part equals its own device's unsplit result "
            f"({self.device_dependent_bytes} bytes differ between the devices' compilers)"
        )


def unsplit(plan: Plan, device: int, source: str, options: tuple[str, ...]) -> Plan:
    """The whole launch of `plan` on one device alone, as a plan with one part.

    `source` and `options` are the user's own: what is compared against knows nothing of splitting.
    Every buffer is sent and fetched whole, so that a write which the plan does not expect is seen.
    """
    nd_range = plan.launch.nd_range
    buffers = tuple(
        BufferPlan(
            index,
            Merge.RANGE,
            Region.range(0, argument.size_bytes),
            Region.range(0, argument.size_bytes),
        )
        for index, argument in enumerate(plan.launch.arguments)
        if isinstance(argument, BufferArgument)
    )
    whole = Part(
        device, Slice(0, 0, nd_range.groups[0]), nd_range.offset, nd_range.global_size, buffers
    )
    return replace(plan, parts=(whole,), source=source, options=options)


def verify(
    plan: Plan,
    originals: Snapshot,
    merged: Snapshot,
    unsplit_results: Mapping[int, Snapshot],
    ownership: Sequence[Ownership] = (),
) -> Verification:
    """Compare the buffers that a split launch left with the unsplit results of its devices.

    `unsplit_results` holds a snapshot per device index of the plan; `ownership` is what `execute`
    returned. A byte that a part left must equal its device's unsplit result. A byte that no part left
    must equal the original, in the merged buffer and in the unsplit result of at least one device.

    Raises `ArgumentError` when the unsplit result of one of the plan's devices is missing.
    """
    used = sorted({part.device for part in plan.parts})
    if missing := [device for device in used if device not in unsplit_results]:
        raise ArgumentError(f"no unsplit result of devices {missing} given, expected {used}")
    device_dependent = 0
    same_everywhere = True
    memories = memories_of(plan)
    for memory in dict.fromkeys(memories.values()):
        shown = min(index for index, number in memories.items() if number == memory)
        original, got = as_bytes(originals[shown]), as_bytes(merged[shown])
        alone = {device: as_bytes(unsplit_results[device][shown]) for device in used}
        expected, owned = _expected(plan, memory, original, alone, ownership)
        wrong = got != expected
        changed_alone = [content != original for content in alone.values()]
        wrong |= ~owned & np.logical_and.reduce(changed_alone)
        if wrong.any():
            mismatch = _mismatch(
                shown, merged[shown], wrong, got, _best_guess(alone, expected, owned)
            )
            return Verification(Outcome.WRONG, device_dependent, mismatch)
        first = alone[used[0]]
        differing = np.zeros(first.shape, bool)
        for content in alone.values():
            differing |= content != first
            same_everywhere &= bool(np.array_equal(content, got))
        device_dependent += int(np.count_nonzero(differing))
    outcome = Outcome.IDENTICAL if same_everywhere else Outcome.IDENTICAL_PER_DEVICE
    return Verification(outcome, device_dependent)


def _expected(
    plan: Plan,
    memory: int,
    original: Bytes,
    alone: Mapping[int, Bytes],
    ownership: Sequence[Ownership],
) -> tuple[Bytes, Mask]:
    """What the merged bytes of one memory should be, and which of them some part left."""
    memories = memories_of(plan)
    expected = original.copy()
    owned = np.zeros(original.shape, bool)
    for part in plan.parts:
        for buffer_plan in part.buffers:
            if buffer_plan.merge is Merge.RANGE and memories[buffer_plan.argument] == memory:
                left = slice(buffer_plan.leaves.start, buffer_plan.leaves.stop)
                expected[left] = alone[part.device][left]
                owned[left] = True
    for change in ownership:
        if memories[change.argument] == memory:
            left = slice(change.start, change.start + change.changed.size)
            device = plan.parts[change.part].device
            np.copyto(expected[left], alone[device][left], where=change.changed)
            owned[left] |= change.changed
    return expected, owned


def _best_guess(alone: Mapping[int, Bytes], expected: Bytes, owned: Mask) -> Bytes:
    """What to show as expected: where no part left a byte, what the first device alone leaves."""
    return np.where(owned, expected, next(iter(alone.values())))


def _mismatch(
    argument: int, array: npt.NDArray[Any], wrong: Mask, got: Bytes, expected: Bytes
) -> Mismatch:
    byte = int(np.argmax(wrong))
    item_bytes = array.dtype.itemsize
    element = byte // item_bytes
    where = slice(element * item_bytes, (element + 1) * item_bytes)
    return Mismatch(
        argument=argument,
        byte=byte,
        element=element,
        expected=str(expected[where].view(array.dtype)[0]),
        got=str(got[where].view(array.dtype)[0]),
        count=int(np.count_nonzero(wrong)),
    )
