"""A launch for a kernel that is looked at before any launch: what is not known is assumed, or left open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lb_runtime.analysis import layout
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


def assumed_launch(
    kernel: KernelFacts, nd_range: NDRange | None, known: Mapping[str, Any]
) -> Launch:
    """A launch with what is known; other buffers hold one element per work-item, other scalars are open.

    Args:
        kernel: the kernel's facts.
        nd_range: its range, or None for a million work-items in groups of 256 (or as required).
        known: values by parameter name: arrays, numbers or local memory.
    """
    if nd_range is None:
        local = kernel.required_local_size or (ASSUMED_GROUP_ITEMS,)
        first = -(-ASSUMED_ITEMS // local[0]) * local[0]
        nd_range = NDRange.of((first, *(size * 2 for size in local[1:])), local)
    arguments: list[Argument] = []
    for index, parameter in enumerate(kernel.parameters):
        value = known.get(parameter.name)
        if parameter.kind == "local":
            arguments.append(value if isinstance(value, LocalArgument) else LocalArgument(4096))
        elif parameter.kind == "buffer" and isinstance(value, np.ndarray):
            arguments.append(BufferArgument(value.nbytes, index))
        elif parameter.kind == "buffer":
            arguments.append(BufferArgument(nd_range.items * element_bytes(parameter), index))
        elif isinstance(value, int | float) and layout.integer_bits(parameter.llvm_type):
            arguments.append(ScalarArgument(np.int64(value)))
        else:
            arguments.append(ScalarArgument(None))
    return Launch(kernel.name, nd_range, tuple(arguments))


def element_bytes(parameter: ParameterFacts) -> int:
    """The size of what a buffer parameter points to, by its OpenCL C type; 4 where it is not known."""
    words = parameter.type_text.replace("*", " ").split()
    name = next((word for word in words if word.rstrip("0123456789") in _ELEMENT_BYTES), "float")
    scalar = name.rstrip("0123456789")
    lanes = int(name[len(scalar) :] or 1)
    return _ELEMENT_BYTES[scalar] * (4 if lanes == 3 else lanes)
