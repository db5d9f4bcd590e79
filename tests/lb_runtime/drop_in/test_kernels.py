"""What a kernel object's arguments are known to be, after launches that passed in the short way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyopencl as cl
import pytest

from lb_runtime.contexts import OpenPair
from lb_runtime.dropin.arguments import buffer_ref, packed
from lb_runtime.dropin.kernels import KernelState
from lb_runtime.story import Story


class Hopeless:
    """An entry whose launches all pass."""

    code = "no-source"
    skipped = frozenset({3})


@pytest.fixture
def state() -> KernelState:
    made = KernelState("k", Story().kernel("k"), 4)
    made.entry = Hopeless()  # type: ignore[assignment]
    return made


@pytest.fixture
def buffers(halves: OpenPair) -> list[cl.Buffer]:
    context = cl.Context([halves.devices[0].handle])
    return [cl.Buffer(context, cl.mem_flags.READ_WRITE, 64) for _ in range(4)]


def set_all(state: KernelState, *given: tuple[str, tuple[Any, ...]]) -> None:
    state.pending.extend(given)


def test_what_was_set_for_a_quick_pass_is_not_known_to_the_launches_after_it(
    state: KernelState, buffers: list[cl.Buffer]
) -> None:
    set_all(state, ("multi", (0, buffers[0], 1, buffers[1], 2, buffers[2], 3, buffers[3])))
    state.take_over()
    set_all(state, ("multi", (0, buffers[1], 1, buffers[0], 2, buffers[2], 3, buffers[3])))
    assert state.quick_code(None, (64,), None, None) == "no-source"
    assert not state.pending
    state.take_over()
    assert state.arguments == [None] * 4


def test_arguments_are_kept_once_a_launch_was_made_without_setting_them(
    state: KernelState, buffers: list[cl.Buffer]
) -> None:
    given = (
        ("multi", (0, buffers[0], 1, buffers[1])),
        ("pack", (2, b"i", 7)),
        ("bytes", (3, b"four")),
    )
    for _ in range(2):
        set_all(state, *given)
        assert state.quick_code(None, (64,), None, None) == "no-source"
        assert not state.pending
        state.take_over()
    assert state.arguments == [
        buffer_ref(buffers[0]),
        buffer_ref(buffers[1]),
        packed(b"i", 7),
        b"four",
    ]


def test_no_buffer_is_held_or_asked_about_by_a_quick_pass(
    state: KernelState, buffers: list[cl.Buffer]
) -> None:
    before = buffers[0].reference_count
    set_all(state, ("multi", (0, buffers[0])))
    state.quick_code(None, (64,), None, None)
    assert buffers[0].reference_count == before
    assert not hasattr(buffers[0], "_lb_ref")
    # It goes, and what is set next is all that is asked about.
    del buffers[0]
    set_all(state, ("multi", (0, buffers[0])))
    state.take_over()
    assert state.arguments[0] == buffer_ref(buffers[0])


def test_arguments_set_by_themselves_stand_beside_no_older_ones(
    state: KernelState, buffers: list[cl.Buffer]
) -> None:
    set_all(state, ("multi", (0, buffers[0], 1, buffers[1])))
    state.take_over()
    set_all(state, ("multi", (0, buffers[2], 1, buffers[3])))
    state.quick_code(None, (64,), None, None)
    set_all(state, ("pack", (2, b"i", 1)))
    state.take_over()
    assert state.arguments == [None, None, packed(b"i", 1), None]


ORDERS = [
    [("pack", (1, b"i", 1)), ("multi", (1, np.int32(2)))],
    [("multi", (1, np.int32(1))), ("pack", (1, b"i", 2))],
    [("pack", (1, b"i", 1, 2, b"i", 1)), ("pack", (1, b"i", 2))],
    [("pack", (1, b"i", 1)), ("pack", (1, b"i", 5, 2, b"i", 1)), ("pack", (1, b"i", 2))],
    [("pack", (1, b"i", 1)), ("bytes", (1, np.int32(2)))],
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("passes", [True, False])
def test_what_was_set_last_counts(
    state: KernelState, order: list[tuple[str, tuple[Any, ...]]], passes: bool
) -> None:
    for given in order:
        set_all(state, given)
        if passes:
            assert state.quick_code(None, (64,), None, None) == "no-source"
            set_all(state, given)
    state.take_over()
    assert state.arguments[1] == packed(b"i", 2)


@pytest.mark.parametrize(
    "changed",
    [
        ("pack", (2, b"i", 1.5, 3, b"f", 7)),
        ("pack", (3, b"i", 7, 2, b"f", 1.5)),
        ("pack", (2, b"i", 7)),
        ("multi", (2, np.int32(7))),
        ("unknown", None),
    ],
)
def test_arguments_that_are_given_in_another_way_are_looked_at(
    state: KernelState, changed: tuple[str, Any]
) -> None:
    state.entry.code = ""  # type: ignore[union-attr]
    set_all(state, ("pack", (2, b"i", 7, 3, b"f", 1.5)))
    state.remember(state.way(None, (64,), None, None), "too-small")
    assert state.quick_code(None, (64,), None, None) == "too-small"
    set_all(state, changed)
    assert state.quick_code(None, (64,), None, None) == ""
    state.remember(state.way(None, (64,), None, None), "too-small")
    if changed[1] is not None:
        assert state.quick_code(None, (64,), None, None) == "too-small"


def test_a_number_that_counts_no_more_does_not_stand_in_the_way(state: KernelState) -> None:
    state.entry.code = ""  # type: ignore[union-attr]
    state.entry.skipped = frozenset()  # type: ignore[union-attr]
    for number in (1, 2):
        set_all(state, ("pack", (2, b"i", number)))
        assert state.quick_code(None, (64,), None, None) == ""
        state.remember(state.way(None, (64,), None, None), "too-small")
        state.pending.clear()
    state.entry.skipped = frozenset({2})  # type: ignore[union-attr, misc]
    set_all(state, ("pack", (2, b"i", 3)))
    assert state.quick_code(None, (64,), None, None) == ""
    state.remember(state.way(None, (64,), None, None), "too-small")
    for number in (4, 5):
        state.pending.clear()
        set_all(state, ("pack", (2, b"i", number)))
        assert state.quick_code(None, (64,), None, None) == "too-small"


def test_launches_that_differ_in_a_number_that_counts_are_looked_at_again(
    state: KernelState,
) -> None:
    state.entry.code = ""  # type: ignore[union-attr]
    set_all(state, ("pack", (2, b"i", 7, 3, b"f", 1.5)))
    state.remember(state.way(None, (64,), None, None), "too-small")
    assert state.quick_code(None, (64,), None, None) == "too-small"
    for given, code in (((7, 2.5), "too-small"), ((8, 1.5), ""), ((7, 0.5), "too-small")):
        state.pending.clear()
        set_all(state, ("pack", (2, b"i", given[0], 3, b"f", given[1])))
        assert state.quick_code(None, (64,), None, None) == code


def test_numbers_that_were_set_for_a_launch_before_count(state: KernelState) -> None:
    state.entry.code = ""  # type: ignore[union-attr]
    codes = []
    for number in (16, 16, 1 << 20):
        set_all(state, ("pack", (2, b"i", number)))
        for _ in range(2):
            codes.append(state.quick_code(None, (64,), None, None))
            if not codes[-1]:
                state.remember(state.way(None, (64,), None, None), "too-small")
                state.take_over()
    assert [bool(code) for code in codes] == [False, True, True, True, False, True]


def test_a_number_that_is_set_by_itself_counts(state: KernelState) -> None:
    state.entry.code = ""  # type: ignore[union-attr]
    for number, code in ((1, ""), (1, "too-small"), (2, ""), (1, "too-small")):
        state.arguments[2] = packed(b"i", number)
        state.changed()
        assert state.quick_code(None, (64,), None, None) == code
        state.remember(state.way(None, (64,), None, None), "too-small")


def test_several_sizes_in_turn_all_pass_quickly(state: KernelState) -> None:
    state.entry.code = ""  # type: ignore[union-attr]
    for size in range(1, 9):
        state.remember(state.way(None, (size,), None, None), "too-small")
    for size in range(1, 9):
        assert state.quick_code(None, (size,), None, None) == "too-small"
    assert state.quick_code(None, (9,), None, None) == ""


@pytest.mark.parametrize("size", [[64], np.array([64, 64]), iter([64])])
def test_sizes_that_cannot_be_looked_up_are_looked_at(state: KernelState, size: Any) -> None:
    state.entry.code = ""  # type: ignore[union-attr]
    state.remember(state.way(None, (64,), None, None), "too-small")
    assert state.quick_code(None, size, None, None) == ""


def test_a_way_is_looked_at_again_after_more_and_more_launches(state: KernelState) -> None:
    state.entry.code = ""  # type: ignore[union-attr]
    passed = []
    for _ in range(3):
        state.remember(state.way(None, (64,), None, None), "too-small")
        count = 0
        while state.quick_code(None, (64,), None, None):
            count += 1
        passed.append(count)
    assert passed == [64, 128, 256]


def test_a_number_given_as_a_numpy_scalar_counts_too(
    state: KernelState, buffers: list[cl.Buffer]
) -> None:
    state.entry.code = ""  # type: ignore[union-attr]
    set_all(state, ("multi", (0, buffers[0], 2, np.int32(1), 3, np.float32(0.5))))
    state.remember(state.way(None, (64,), None, None), "too-small")
    assert state.quick_code(None, (64,), None, None) == "too-small"
    for number, code in ((1, "too-small"), (4000, ""), (1, "too-small")):
        state.pending.clear()
        set_all(state, ("multi", (0, buffers[1], 2, np.int32(number), 3, np.float32(number))))
        assert state.quick_code(None, (64,), None, None) == code


def test_what_passes_on_one_queue_is_looked_at_on_the_other(
    state: KernelState, halves: OpenPair
) -> None:
    state.entry.code = ""  # type: ignore[union-attr]
    context = halves.devices[0].context
    free, ordered = (cl.CommandQueue(context) for _ in range(2))
    free._lb_out_of_order = True
    state.remember(state.way(free, (64,), None, None), "out-of-order-queue")
    assert state.quick_code(free, (64,), None, None)
    assert not state.quick_code(ordered, (64,), None, None)


def test_a_reason_that_lies_in_the_arguments_is_looked_at_again_soon(state: KernelState) -> None:
    state.entry.code = ""  # type: ignore[union-attr]
    for _ in range(4):
        state.remember(state.way(None, (64,), None, None), "null-argument")
    assert sum(bool(state.quick_code(None, (64,), None, None)) for _ in range(1000)) == 64
