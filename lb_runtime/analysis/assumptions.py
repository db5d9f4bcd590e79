"""A launch for a kernel that is looked at before any launch: what is not known is assumed, or left open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lb_runtime.analysis.facts import KernelFacts, ParameterFacts
from lb_runtime.launch import (
    Argument,
    BufferArgument,
    Launch,
    LocalArgument,
    NDRange,
    ScalarArgument,
)

ASSUMED_ITEMS = 1 << 20
ASSUMED_GROUP_ITEMS = 256
_ELEMENT_BYTES = {
    "char": 1,
    "uchar": 1,
    "short": 2,
    "ushort": 2,
    "half": 2,
    "int": 4,
    "uint": 4,
    "float": 4,
    "long": 8,
    "ulong": 8,
    "double": 8,
}


def assumed_range(
    kernel: KernelFacts,
    local_size: tuple[int, ...] | None = None,
    offset: tuple[int, ...] | None = None,
) -> NDRange:
    """A million work-items, in groups of 256, of the size given, or of the size that is required."""
    local = kernel.required_local_size or local_size or (ASSUMED_GROUP_ITEMS,)
    first = -(-ASSUMED_ITEMS // local[0]) * local[0]
    return NDRange.of((first, *(size * 2 for size in local[1:])), local, offset)


def assumed_launch(kernel: KernelFacts, nd_range: NDRange, known: Mapping[str, Any]) -> Launch:
    """A launch with what is known; other buffers hold one element per work-item, other scalars are open.

    Args:
        kernel: the kernel's facts.
        nd_range: its range.
        known: values by parameter name, of their parameters' kinds: arrays, scalars, local memory.
    """
    arguments: list[Argument] = []
    for index, parameter in enumerate(kernel.parameters):
        value = known.get(parameter.name)
        if parameter.kind == "local":
            arguments.append(value if isinstance(value, LocalArgument) else LocalArgument(4096))
        elif parameter.kind == "buffer" and isinstance(value, np.ndarray):
            arguments.append(BufferArgument(value.nbytes, index))
        elif parameter.kind == "buffer":
            arguments.append(BufferArgument(nd_range.items * element_bytes(parameter), index))
        else:
            arguments.append(ScalarArgument(value))
    return Launch(kernel.name, nd_range, tuple(arguments))


def scalar_bytes(parameter: ParameterFacts) -> int:
    """The size of one number of what a buffer parameter points to; 0 where it is no number."""
    words = parameter.type_text.replace("*", " ").split()
    name = next((word for word in words if word.rstrip("0123456789") in _ELEMENT_BYTES), "")
    return _ELEMENT_BYTES.get(name.rstrip("0123456789"), 0)


def element_bytes(parameter: ParameterFacts) -> int:
    """The size of what a buffer parameter points to, by its OpenCL C type; 4 where it is not known."""
    words = parameter.type_text.replace("*", " ").split()
    name = next((word for word in words if word.rstrip("0123456789") in _ELEMENT_BYTES), "float")
    scalar = name.rstrip("0123456789")
    lanes = int(name[len(scalar) :] or 1)
    return _ELEMENT_BYTES[scalar] * (4 if lanes == 3 else lanes)
