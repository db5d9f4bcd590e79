"""Verification accepts exactly what the parts' own devices would have left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lb_runtime.analysis.regions import Region, Rows
from lb_runtime.analysis.verdict import AtomicZone, Merge
from lb_runtime.errors import ArgumentError
from lb_runtime.execution import Ownership
from lb_runtime.launch import BufferArgument, Launch, NDRange, Slice
from lb_runtime.plan import BufferPlan, Part, Plan
from lb_runtime.verify import ALONE_RUNS, Outcome, Verification, verify, verify_by_running

ORIGINAL = np.zeros(8, np.float32)
FIRST_DEVICE = np.arange(1, 9, dtype=np.float32)
SECOND_DEVICE = np.nextafter(FIRST_DEVICE, np.float32(100))
MERGED = np.concatenate([FIRST_DEVICE[:3], SECOND_DEVICE[3:]])


def plan(merge: Merge, written: int = 8) -> Plan:
    """Groups of one item, one float each; device 0 runs three of eight. `written` floats have an owner."""
    parts = []
    for device, (start, stop) in enumerate([(0, 3), (3, 8)]):
        span = Region.range(4 * start, 4 * min(stop, written))
        leaves = {
            Merge.NONE: Region.range(0, 0),
            Merge.RANGE: span,
            Merge.DIFFERENCE: Region.range(0, 32),
        }
        buffer = BufferPlan(0, merge, Region.range(0, 32), leaves[merge])
        parts.append(Part(device, Slice(0, start, stop), (start,), (stop - start,), (buffer,)))
    return Plan(Launch("k", NDRange.of((8,), (1,)), (BufferArgument(32, 0),)), tuple(parts), "", ())


def check(
    merge: Merge,
    merged: np.ndarray,
    first: np.ndarray = FIRST_DEVICE,
    second: np.ndarray = SECOND_DEVICE,
    ownership: tuple[Ownership, ...] = (),
    written: int = 8,
) -> Verification:
    alone = {0: {0: first}, 1: {0: second}}
    return verify(plan(merge, written), {0: ORIGINAL}, {0: merged}, alone, ownership)


def owned(part: int, start: int, stop: int) -> Ownership:
    changed = np.zeros(32, bool)
    changed[4 * start : 4 * stop] = MERGED.view(np.uint8)[4 * start : 4 * stop] != 0
    return Ownership(part, 0, 0, changed)


def test_equal_results_everywhere_are_identical() -> None:
    verification = check(Merge.RANGE, FIRST_DEVICE, second=FIRST_DEVICE)
    assert verification == Verification(Outcome.IDENTICAL, 0)


def test_parts_that_equal_their_own_devices_are_identical_per_device() -> None:
    verification = check(Merge.RANGE, MERGED)
    assert verification.outcome is Outcome.IDENTICAL_PER_DEVICE
    assert verification.device_dependent_bytes > 0
    assert verification.ok


def test_a_part_that_holds_the_other_devices_result_is_wrong() -> None:
    verification = check(Merge.RANGE, FIRST_DEVICE)
    assert verification.outcome is Outcome.WRONG
    assert verification.mismatch is not None
    assert verification.mismatch.element == 3
    assert verification.mismatch.got == "4.0"


def test_a_wrong_element_is_named_with_what_it_should_be() -> None:
    merged = FIRST_DEVICE.copy()
    merged[2] = 77
    verification = check(Merge.RANGE, merged, second=FIRST_DEVICE)
    assert verification.mismatch is not None
    assert (verification.mismatch.argument, verification.mismatch.element) == (0, 2)
    assert (verification.mismatch.expected, verification.mismatch.got) == ("3.0", "77.0")
    assert "element 2 is 77.0, expected 3.0" in verification.text


def by_running(merged: np.ndarray, *, wavering: int | None) -> tuple[Verification, list[int]]:
    runs = []

    def run_alone(device: int) -> dict[int, np.ndarray]:
        runs.append(device)
        left = FIRST_DEVICE.copy()
        left[7] += runs.count(device) if device == wavering else 0
        return {0: left}

    given = plan(Merge.RANGE)
    return verify_by_running(given, {0: ORIGINAL}, {0: merged}, run_alone), runs


def test_a_launch_that_leaves_other_bytes_each_time_is_not_called_wrong() -> None:
    verification, _ = by_running(FIRST_DEVICE, wavering=1)
    assert (verification.outcome, verification.wavering) == (Outcome.UNDEFINED, 1)
    assert not verification.ok
    assert "device 1 leaves other bytes each time" in verification.text


def test_a_wrong_split_of_a_launch_that_leaves_the_same_each_time_stays_wrong() -> None:
    merged = FIRST_DEVICE.copy()
    merged[2] = 77
    verification, runs = by_running(merged, wavering=None)
    assert verification.outcome is Outcome.WRONG
    assert sorted(runs) == (1 + ALONE_RUNS) * [0] + (1 + ALONE_RUNS) * [1]


def test_a_right_split_runs_each_device_once() -> None:
    verification, runs = by_running(FIRST_DEVICE, wavering=None)
    assert verification.outcome is Outcome.IDENTICAL
    assert runs == [0, 1]


def test_changes_by_difference_are_held_against_the_part_that_made_them() -> None:
    right = (owned(0, 0, 3), owned(1, 3, 8))
    assert check(Merge.DIFFERENCE, MERGED, ownership=right).outcome is Outcome.IDENTICAL_PER_DEVICE
    swapped = (owned(1, 0, 3), owned(0, 3, 8))
    assert not check(Merge.DIFFERENCE, MERGED, ownership=swapped).ok


def test_a_change_that_no_part_made_is_wrong() -> None:
    assert not check(Merge.DIFFERENCE, MERGED, ownership=(owned(0, 0, 3),)).ok
    assert not check(Merge.NONE, MERGED).ok


def test_a_write_that_the_plan_missed_is_wrong() -> None:
    """The last float belongs to no part, the merged buffer keeps it, but both devices alone write it."""
    merged = MERGED.copy()
    merged[7] = ORIGINAL[7]
    verification = check(Merge.RANGE, merged, written=7)
    assert verification.mismatch is not None
    assert verification.mismatch.element == 7
    assert verification.mismatch.got == "0.0"


def test_a_byte_that_one_device_leaves_at_its_old_value_may_have_no_owner() -> None:
    first = FIRST_DEVICE.copy()
    first[0] = ORIGINAL[0]
    merged = MERGED.copy()
    merged[0] = ORIGINAL[0]
    ownership = (owned(0, 1, 3), owned(1, 3, 8))
    assert check(Merge.DIFFERENCE, merged, first=first, ownership=ownership).ok


def combined(merged: np.ndarray, second: np.ndarray) -> Verification:
    """What is said of a buffer of whose eight numbers atomics combine the first six."""
    zones = (AtomicZone("add", 0, 24, 4, False),)
    leaves = Region.range(0, 24)
    buffer = BufferPlan(0, Merge.ATOMIC, leaves, leaves, zones)
    made = plan(Merge.NONE)
    parts = tuple(replace(part, buffers=(buffer,)) for part in made.parts)
    alone = {0: {0: ALL_SUMS}, 1: {0: second}}
    return verify(replace(made, parts=parts), {0: ORIGINAL}, {0: merged}, alone)


ALL_SUMS = np.array([1, 2, 3, 4, 5, 6, 0, 0], np.float32)


def test_combined_atomics_must_equal_what_every_device_leaves() -> None:
    assert combined(ALL_SUMS, ALL_SUMS) == Verification(Outcome.IDENTICAL, 0)
    for element in range(8):
        other = ALL_SUMS.copy()
        other[element] += 1
        assert not combined(other, ALL_SUMS).ok
    # Where devices disagree (a float chose another place) no sum is the right one; elsewhere one is.
    other = ALL_SUMS.copy()
    other[5] += 1
    assert combined(ALL_SUMS, other).outcome is Outcome.IDENTICAL_PER_DEVICE
    assert combined(ALL_SUMS, other).device_dependent_bytes > 0
    for element in range(4):
        wrong = ALL_SUMS.copy()
        wrong[element] += 1
        assert not combined(wrong, other).ok


def shared(first: np.ndarray, second: np.ndarray) -> Verification:
    """Of two arguments that share eight bytes: floats 0 to 5, of which device 0 left two, and 4 to 7."""
    arguments = (BufferArgument(24, 0), BufferArgument(16, 0, 16))
    made = plan(Merge.RANGE)
    parts = tuple(
        replace(part, buffers=(part.buffers[0], replace(part.buffers[0], argument=1)))
        for part in made.parts
    )
    launch = replace(made.launch, arguments=arguments)
    alone = {
        device: {0: content[:6], 1: content[4:]}
        for device, content in ((0, FIRST_DEVICE), (1, SECOND_DEVICE))
    }
    return verify(
        replace(made, launch=launch, parts=parts),
        {0: ORIGINAL[:6], 1: ORIGINAL[4:]},
        {0: first, 1: second},
        alone,
    )


def test_arguments_that_share_bytes_are_compared_as_one_memory() -> None:
    assert shared(MERGED[:6], MERGED[4:]).outcome is Outcome.IDENTICAL_PER_DEVICE
    wrong = MERGED.copy()
    wrong[7] = 77
    mismatch = shared(wrong[:6], wrong[4:]).mismatch
    assert mismatch is not None
    assert (mismatch.argument, mismatch.element, mismatch.byte) == (1, 3, 12)
    assert mismatch.got == "77.0"


def test_a_region_of_rows_is_held_against_the_part_that_left_it() -> None:
    """Device 0 leaves every other float, device 1 those between."""
    made = plan(Merge.RANGE)
    parts = tuple(
        replace(
            part,
            buffers=(
                BufferPlan(0, Merge.RANGE, Region(), Region((Rows(4 * part.device, 4, 8, 4),))),
            ),
        )
        for part in made.parts
    )
    interleaved = np.where(np.arange(8) % 2, SECOND_DEVICE, FIRST_DEVICE)
    alone = {0: {0: FIRST_DEVICE}, 1: {0: SECOND_DEVICE}}
    for merged, right in ((interleaved, True), (MERGED, False)):
        found = verify(replace(made, parts=parts), {0: ORIGINAL}, {0: merged}, alone)
        assert found.ok == right


def test_a_missing_unsplit_result_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"no unsplit result of devices \[1\]"):
        verify(plan(Merge.RANGE), {0: ORIGINAL}, {0: MERGED}, {0: {0: FIRST_DEVICE}})
