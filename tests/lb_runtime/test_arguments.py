"""Host values become a kernel's arguments, or one line that names the parameter."""

from __future__ import annotations

import numpy as np
import pytest

from lb_runtime.arguments import bind, buffer_arguments, scalar
from lb_runtime.errors import ArgumentError
from lb_runtime.kernel import look_at
from lb_runtime.launch import BufferArgument, LocalArgument, ScalarArgument

SOURCE = """
__kernel void f(__global float *a, __global const float *b, int n, uint m, uchar c, float x,
                float4 v, uint3 w, __local float *s) { a[0] = b[0] + n + m + c + x + v.x + w.x + s[0]; }
"""
FACTS = look_at(SOURCE).facts


def values() -> list[object]:
    return [
        np.zeros(4, np.float32),
        np.zeros(4, np.float32),
        -1,
        7,
        200,
        0.5,
        [1.0, 2.0, 3.0, 4.0],
        [1, 2, 3],
        LocalArgument(64),
    ]


def test_each_value_takes_its_parameters_type() -> None:
    given = values()
    given[6], given[7] = np.array(given[6]), np.array(given[7])
    arguments, bound = bind(FACTS, given)  # type: ignore[arg-type]
    assert [type(a) for a in arguments[:3]] == [BufferArgument, BufferArgument, ScalarArgument]
    assert [v.dtype for v in bound[2:6]] == [np.int32, np.uint32, np.uint8, np.float32]  # type: ignore[union-attr]
    assert bound[6].nbytes == 16  # type: ignore[union-attr]
    assert bound[7].nbytes == 16  # type: ignore[union-attr]
    assert isinstance(arguments[8], LocalArgument)


def test_a_vector_keeps_its_numbers_and_pads_three_to_four() -> None:
    parameter = FACTS.parameters[7]
    content = scalar(parameter, np.array([1, 2, 3])).tobytes()
    assert np.frombuffer(content, np.uint32).tolist() == [1, 2, 3, 0]


def test_the_same_array_twice_is_one_memory() -> None:
    given = values()
    given[1] = given[0]
    given[6], given[7] = np.zeros(4), np.zeros(3, int)
    arguments, _ = bind(FACTS, given)  # type: ignore[arg-type]
    assert arguments[0] == arguments[1]


def test_arrays_that_share_bytes_are_one_memory_from_its_first_byte_on() -> None:
    whole = np.zeros(40, np.float32)
    given = {3: whole[10:20], 5: whole[:4], 6: whole[19:30], 7: whole[15:16], 9: whole[30:]}
    assert buffer_arguments(given) == {
        5: BufferArgument(16, 5),
        3: BufferArgument(40, 3, 0),
        7: BufferArgument(4, 3, 20),
        6: BufferArgument(44, 3, 36),
        9: BufferArgument(40, 9),
    }


def test_a_launch_on_arrays_that_share_bytes_is_bound() -> None:
    whole = np.zeros(8, np.float32)
    given = values()
    given[0], given[1] = whole[2:], whole[:6]
    given[6], given[7] = np.zeros(4), np.zeros(3, int)
    arguments, _ = bind(FACTS, given)  # type: ignore[arg-type]
    assert arguments[:2] == (BufferArgument(24, 0, 8), BufferArgument(24, 0, 0))


@pytest.mark.parametrize(
    ("position", "value", "said"),
    [
        (0, 3, "a is a buffer"),
        (0, np.zeros(0, np.float32), "a is an empty array"),
        (0, np.zeros((4, 4), np.float32)[:, ::2], "C-contiguous"),
        (0, np.array(["x"], object), "C-contiguous"),
        (2, 1.5, "n is a number by value"),
        (2, 1 << 31, "n is a number by value"),
        (2, np.zeros(4), "shape"),
        (2, "3", "n is a number by value"),
        (3, -1, "give 0 to 4294967295"),
        (4, 256, "give 0 to 255"),
        (5, LocalArgument(4), "x is a number by value"),
        (6, np.zeros(3), "takes 4 numbers"),
        (8, 64, "s is local memory"),
    ],
)
def test_a_value_that_does_not_fit_names_its_parameter(
    position: int, value: object, said: str
) -> None:
    given = values()
    given[6], given[7] = np.zeros(4), np.zeros(3, int)
    given[position] = value
    with pytest.raises(ArgumentError, match=said):
        bind(FACTS, given)  # type: ignore[arg-type]


def test_the_wrong_number_of_values_lists_the_parameters() -> None:
    with pytest.raises(ArgumentError, match=r"float\* a, .*float\* s"):
        bind(FACTS, [])


def test_a_struct_by_value_takes_its_bytes() -> None:
    source = (
        "typedef struct { int a; float b; } p; __kernel void f(__global int *o, p q) { *o = q.a; }"
    )
    facts = look_at(source).facts
    pair = np.array((7, 1.0), np.dtype([("a", np.int32), ("b", np.float32)]))[()]
    _, bound = bind(facts, [np.zeros(1, np.int32), pair])
    assert bound[1].nbytes == 8
    with pytest.raises(ArgumentError, match="structured scalar"):
        bind(facts, [np.zeros(1, np.int32), 3])
