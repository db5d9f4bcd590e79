"""Checks a split launch byte by byte against what each device alone would have left.

Two compilers may round differently, so there is one right answer per byte only once it is known which
part wrote it: that part's device, running the whole launch alone, must leave the same byte there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from lb_runtime.images import box_view
from lb_runtime.launch import Argument, BufferArgument, ImageArgument, Launch, Slice
from lb_runtime.memory.merge import Bytes, Mask, as_bytes
from lb_runtime.plan import BufferPlan, Part, Plan, memory_plans, whole_images

Snapshot = Mapping[int, npt.NDArray[Any]]
"""The content of the buffers and images at one moment: argument index -> array, or an image's pixels."""


ALONE_RUNS = 4
"""So often each device runs the whole launch again where a split one left other bytes."""


class Outcome(Enum):
    """What the comparison found, from best to worst.

    `UNDEFINED`: a device that runs the whole launch again leaves other bytes, so that none are right.
    """

    IDENTICAL = "identical"
    IDENTICAL_PER_DEVICE = "identical to what each part's own device leaves"
    UNDEFINED = "undefined"
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
    `mismatch` is there exactly when the outcome is `WRONG`; `wavering`, the number of the device that leaves
    other bytes each time, when it is `UNDEFINED`.
    """

    outcome: Outcome
    device_dependent_bytes: int
    mismatch: Mismatch | None = None
    wavering: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the split launch left what it should have."""
        return self.outcome in (Outcome.IDENTICAL, Outcome.IDENTICAL_PER_DEVICE)

    @property
    def text(self) -> str:
        """One line for the user."""
        if self.mismatch is not None:
            wrong = self.mismatch
            return (
                f"wrong: argument {wrong.argument}, element {wrong.element} is {wrong.got}, expected "
                f"{wrong.expected} (first at byte {wrong.byte}, {wrong.count} bytes differ)"
            )
        if self.wavering is not None:
            return (
                f"cannot be verified: device {self.wavering} leaves other bytes each time that it runs the "
                "whole launch (work-items race or read what nobody wrote, or its compiler is wrong)"
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
    Every buffer, and every image that the kernel may write, is sent and fetched whole, so that a write
    which the plan does not expect is seen.
    """
    nd_range = plan.launch.nd_range
    sizes = plan.launch.memory_bytes
    buffers = tuple(
        BufferPlan(
            index, Merge.RANGE, Region.range(0, sizes[memory]), Region.range(0, sizes[memory])
        )
        for index, memory in memories_of(plan).items()
    )
    whole = Part(
        device,
        Slice(0, 0, nd_range.groups[0]),
        nd_range.offset,
        nd_range.global_size,
        buffers,
        whole_images(plan.launch),
    )
    return replace(plan, parts=(whole,), source=source, options=options)


def memory_content(launch: Launch, memory: int, snapshot: Snapshot) -> Bytes:
    """The bytes of one memory, from the arrays of the arguments that are it; shape: (bytes,)."""
    content = np.zeros(launch.memory_bytes[memory], np.uint8)
    for index, argument in enumerate(launch.arguments):
        if isinstance(argument, BufferArgument) and argument.memory == memory:
            content[argument.start_bytes : argument.stop_bytes] = as_bytes(snapshot[index])
    return content


def verify_by_running(
    plan: Plan,
    originals: Snapshot,
    merged: Snapshot,
    run_alone: Callable[[int], Snapshot],
    ownership: Sequence[Ownership] = (),
) -> Verification:
    """`verify`, against what `run_alone` says that a device leaves when it runs the whole launch.

    Only a launch that leaves the same bytes each time can be split wrongly: what looks wrong is
    `Outcome.UNDEFINED` where a device is `wavering`.
    """
    used = sorted({part.device for part in plan.parts})
    results = {device: run_alone(device) for device in used}
    found = verify(plan, originals, merged, results, ownership)
    if found.ok or (device := wavering(used, run_alone)) is None:
        return found
    return Verification(Outcome.UNDEFINED, found.device_dependent_bytes, wavering=device)


def wavering(
    devices: Iterable[int], run_alone: Callable[[int], Snapshot], runs: int = ALONE_RUNS
) -> int | None:
    """The first device that does not leave the same bytes in `runs` runs of the whole launch, or None."""
    for device in devices:
        first = run_alone(device)
        if any(_differ(first, run_alone(device)) for _ in range(runs - 1)):
            return device
    return None


def verify(
    plan: Plan,
    originals: Snapshot,
    merged: Snapshot,
    unsplit_results: Mapping[int, Snapshot],
    ownership: Sequence[Ownership] = (),
) -> Verification:
    """Compare the buffers that a split launch left with the unsplit results of its devices.

    `unsplit_results` holds a snapshot per device index of the plan; `ownership` is what `execute`
    returned. A byte that a part left must equal its device's unsplit result. What atomics combine must
    equal every device's where the devices agree; where they do not (a float that rounds differently
    chose another place to count), there is no one right sum to hold it against. A byte that no part left
    must equal the original, in the merged buffer and in the unsplit result of at least one device.

    Raises `ArgumentError` when the unsplit result of one of the plan's devices is missing.
    """
    used = sorted({part.device for part in plan.parts})
    if missing := [device for device in used if device not in unsplit_results]:
        raise ArgumentError(f"no unsplit result of devices {missing} given, expected {used}")
    results = {device: unsplit_results[device] for device in used}
    device_dependent = 0
    same_everywhere = True
    for each in (
        *_buffers(plan, originals, merged, results, ownership),
        *_images(plan, originals, merged, results),
    ):
        wrong = each.wrong
        if wrong.any():
            mismatch = _mismatch(plan.launch, each, merged, wrong)
            return Verification(Outcome.WRONG, device_dependent, mismatch)
        first = next(iter(each.alone.values()))
        differing = np.zeros(first.shape, bool)
        for content in each.alone.values():
            differing |= content != first
            same_everywhere &= bool(np.array_equal(content, each.got))
        device_dependent += int(np.count_nonzero(differing))
    outcome = Outcome.IDENTICAL if same_everywhere else Outcome.IDENTICAL_PER_DEVICE
    return Verification(outcome, device_dependent)


def _differ(one: Snapshot, other: Snapshot) -> bool:
    """Whether two snapshots of the same arrays differ in a byte."""
    return any(not np.array_equal(as_bytes(one[index]), as_bytes(other[index])) for index in one)


@dataclass(frozen=True, slots=True, eq=False)
class _Memory:
    """One buffer or image: what it held, holds, should hold, and what each device alone leaves.

    `arguments` are the indices of the arguments that are it. `owned` are the bytes that some part left,
    `combined` those of them that atomics of all parts made. All arrays have one shape, (bytes,).
    """

    arguments: tuple[int, ...]
    original: Bytes
    got: Bytes
    alone: Mapping[int, Bytes]
    expected: Bytes
    owned: Mask
    combined: Mask

    @property
    def wrong(self) -> Mask:
        """The bytes that are not what they should be."""
        wrong: Mask = (self.got != self.expected) & ~self.combined
        changed_alone = [content != self.original for content in self.alone.values()]
        wrong |= ~self.owned & np.logical_and.reduce(changed_alone)
        first, *others = self.alone.values()
        differs = np.zeros(first.shape, bool)
        for content in others:
            differs |= content != first
        agreed = ~_whole_integers(differs)
        wrong |= self.combined & agreed & (self.got != first)
        return wrong

    @classmethod
    def of(
        cls,
        arguments: tuple[int, ...],
        original: Bytes,
        got: Bytes,
        alone: Mapping[int, Bytes],
    ) -> _Memory:
        """A memory that no part has left a byte of yet."""
        nothing = np.zeros(original.shape, bool)
        return cls(arguments, original, got, alone, original.copy(), nothing.copy(), nothing.copy())


def _whole_integers(bytes_: Mask) -> Mask:
    """All bytes of the 64-bit integers that hold one of these; shape: (bytes,)."""
    padded = np.zeros(-(-bytes_.size // 8) * 8, bool)
    padded[: bytes_.size] = bytes_
    return np.repeat(padded.reshape(-1, 8).any(axis=1), 8)[: bytes_.size]


def _buffers(
    plan: Plan,
    originals: Snapshot,
    merged: Snapshot,
    results: Mapping[int, Snapshot],
    ownership: Sequence[Ownership],
) -> list[_Memory]:
    """Every memory that is a buffer."""
    memories = memories_of(plan)
    found = {
        memory: _Memory.of(
            tuple(index for index, number in memories.items() if number == memory),
            memory_content(plan.launch, memory, originals),
            memory_content(plan.launch, memory, merged),
            {
                device: memory_content(plan.launch, memory, snapshot)
                for device, snapshot in results.items()
            },
        )
        for memory in plan.launch.memory_bytes
    }
    for part in plan.parts:
        for each in memory_plans(plan.launch, part):
            memory = found[each.memory]
            alone = memory.alone[part.device]
            if each.merge is Merge.RANGE:
                for rows in each.leaves.rows:
                    rows.of(memory.expected)[:] = rows.of(alone)
                    rows.of(memory.owned)[:] = True
            for zone in each.zones:
                left = slice(zone.start, zone.stop)
                memory.expected[left] = alone[left]
                memory.owned[left] = memory.combined[left] = True
    for change in ownership:
        memory = found[memories[change.argument]]
        left = slice(change.start, change.start + change.changed.size)
        alone = memory.alone[plan.parts[change.part].device]
        np.copyto(memory.expected[left], alone[left], where=change.changed)
        memory.owned[left] |= change.changed
    return list(found.values())


def _images(
    plan: Plan, originals: Snapshot, merged: Snapshot, results: Mapping[int, Snapshot]
) -> list[_Memory]:
    """Every memory that is an image."""
    found: dict[int, _Memory] = {}
    arguments = plan.launch.arguments
    for index, argument in enumerate(arguments):
        if isinstance(argument, ImageArgument) and argument.memory not in found:
            found[argument.memory] = _Memory.of(
                (index,),
                as_bytes(originals[index]),
                as_bytes(merged[index]),
                {device: as_bytes(snapshot[index]) for device, snapshot in results.items()},
            )
    for part in plan.parts:
        for each in part.images:
            argument = arguments[each.argument]
            if isinstance(argument, ImageArgument) and each.merge is Merge.RANGE:
                memory = found[argument.memory]
                alone = box_view(memory.alone[part.device], argument, each.box)
                box_view(memory.expected, argument, each.box)[...] = alone
                box_view(memory.owned, argument, each.box)[...] = True
    return list(found.values())


def _mismatch(launch: Launch, memory: _Memory, merged: Snapshot, wrong: Mask) -> Mismatch:
    """The first wrong element, of the first argument that holds it."""
    byte = int(np.argmax(wrong))
    # Where no part left a byte, what the first device alone leaves.
    first = next(iter(memory.alone.values()))
    expected = np.where(memory.owned, memory.expected, first)
    spans = {index: _span(launch.arguments[index]) for index in memory.arguments}
    index, mine = next(
        (index, span) for index, span in spans.items() if span.start <= byte < span.stop
    )
    kind = merged[index].dtype
    element = (byte - mine.start) // kind.itemsize
    where = slice(element * kind.itemsize, (element + 1) * kind.itemsize)
    return Mismatch(
        argument=index,
        byte=byte - mine.start,
        element=element,
        expected=str(expected[mine][where].view(kind)[0]),
        got=str(memory.got[mine][where].view(kind)[0]),
        count=int(np.count_nonzero(wrong[mine])),
    )


def _span(argument: Argument) -> slice:
    """The bytes of its memory that an argument is; none for one that has no memory."""
    if isinstance(argument, BufferArgument):
        return slice(argument.start_bytes, argument.stop_bytes)
    return slice(0, argument.size_bytes if isinstance(argument, ImageArgument) else 0)
