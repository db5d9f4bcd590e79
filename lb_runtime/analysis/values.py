"""What the analysis can say of a value: an integer as a form, a pointer as objects and byte offsets.

None stands for what is not followed: floating point, images, events.
"""

from __future__ import annotations

import re
from functools import lru_cache
from math import prod
from typing import NamedTuple

from lb_runtime.analysis.forms import Form, Span, Symbol

MAX_ADDRESSES = 4
"""A pointer that may point into more objects than these is unknown."""

_MANGLED = re.compile(r"^_Z(\d+)")


class Address(NamedTuple):
    """A pointer that may point into one memory object.

    `base` is "argument" or "image" (`parameter` is its number), "constant" (a program-scope table),
    "work-group" (`__local` or private memory) or "unknown"; `offset` counts bytes from its start.
    """

    base: str
    parameter: int
    offset: Form


Pointer = tuple[Address, ...]
"""Every object that a pointer may point into, at most `MAX_ADDRESSES`."""

Lanes = list[Form | None]
Value = Form | Pointer | Lanes | None

UNKNOWN_POINTER: Pointer = (Address("unknown", 0, Form(0)),)
WORK_GROUP_POINTER: Pointer = (Address("work-group", 0, Form(0)),)


@lru_cache(maxsize=4096)
def builtin_name(callee: str) -> str:
    """The name of an OpenCL built-in without its mangling: `_Z13get_global_idj` -> `get_global_id`."""
    match = _MANGLED.match(callee)
    if not match:
        return callee
    return callee[match.end() : match.end() + int(match[1])]


def type_span(bits: int) -> Span:
    """The values of a signed integer of this width; a truth value is 0 or 1."""
    if bits == 1:
        return Span(0, 1)
    return Span(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


class NDRangeFacts(NamedTuple):
    """What work-item built-ins answer, for all work-items of a launch.

    Where a local size does not divide its global size, the last work-groups are smaller, and
    `local_size` is that of the others.
    """

    work_dim: int
    global_size: tuple[int, ...]
    local_size: tuple[int, ...]
    offset: tuple[int, ...]

    def answer(self, name: str, dimension: int) -> Form | Span | None:
        """A built-in's answer as a form; a span where the last group's differs; None if not known."""
        inside = 0 <= dimension < self.work_dim
        if name in ("get_global_id", "get_local_id", "get_group_id"):
            if not inside:
                return Form(0)
            kind = name[4:-3]
            return Form.symbol(Symbol(kind, (dimension,)))
        if name == "get_local_size":
            return self._local_size(dimension) if inside else Form(1)
        sizes = {
            "get_global_size": self.global_size,
            "get_enqueued_local_size": self.local_size,
            "get_num_groups": tuple(
                -(-total // local) for total, local in zip(self.global_size, self.local_size)
            ),
        }
        if name in sizes:
            return Form(sizes[name][dimension] if inside else 1)
        if name == "get_global_offset":
            return Form(self.offset[dimension] if inside else 0)
        return None

    def any_answer(self, name: str) -> tuple[Form | Span | None, ...]:
        """What a built-in may answer for a dimension that only the data knows."""
        return tuple(self.answer(name, dimension) for dimension in range(self.work_dim + 1))

    def _local_size(self, dimension: int) -> Form | Span:
        total, local = self.global_size[dimension], self.local_size[dimension]
        if total % local and total > local:
            return Span(total % local, local)
        return Form(min(total, local))

    def linear_id(self, name: str) -> Form | Span:
        """`get_global_linear_id` and `get_local_linear_id`: OpenCL C 2.0, section 6.13.1."""
        kind = name.split("_")[1]
        sizes = self.global_size
        if kind == "local":
            # The dimension that moves slowest has no part in the strides.
            if any(isinstance(self._local_size(d), Span) for d in range(self.work_dim - 1)):
                return Span(0, prod(self.local_size) - 1)
            sizes = tuple(map(min, self.global_size, self.local_size))
        total, stride = Form(0), 1
        for dimension, size in enumerate(sizes):
            start = self.offset[dimension] if kind == "global" else 0
            total += Form.symbol(Symbol(kind, (dimension,))).plus(-start).times(stride)
            stride *= size
        return total
