"""Arguments as the analysis takes them, made of those that a program has set."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from lb_runtime.analysis import layout
from lb_runtime.analysis.facts import ParameterFacts
from lb_runtime.dropin.arguments import BufferRef, Captured, LocalRef
from lb_runtime.launch import Argument, BufferArgument, LocalArgument, ScalarArgument

_FLOATS = {"half": np.float16, "float": np.float32, "double": np.float64}


def launch_arguments(
    parameters: Sequence[ParameterFacts],
    given: Sequence[Captured],
    varying: Collection[int] = (),
) -> tuple[Argument, ...] | None:
    """The arguments of a launch for the analysis; None where they do not fit the parameters.

    The memory number of a buffer is the index of the first argument with the same root, and bytes count
    from the beginning of the root. `varying` are the indices of numbers that may be any.
    """
    if len(parameters) != len(given):
        return None
    roots: dict[int, int] = {}
    arguments: list[Argument] = []
    for index, (parameter, value) in enumerate(zip(parameters, given)):
        if isinstance(value, BufferRef):
            memory = roots.setdefault(value.root, index)
            arguments.append(BufferArgument(value.size_bytes, memory, value.start_bytes))
        elif isinstance(value, LocalRef):
            arguments.append(LocalArgument(value.size_bytes))
        elif isinstance(value, bytes):
            if parameter.kind != "scalar":
                return None
            number = None if index in varying else _number(parameter.llvm_type, value)
            arguments.append(ScalarArgument(number))
        else:
            return None
        if (parameter.kind == "buffer") != isinstance(value, BufferRef):
            return None
        if (parameter.kind == "local") != isinstance(value, LocalRef):
            return None
    return tuple(arguments)


def _number(llvm_type: str, content: bytes) -> np.generic | None:
    """The value of an integer parameter; None for others, on which no address may then depend.

    Floats are left out so that a launch whose float arguments change is the same launch.
    """
    bits = layout.integer_bits(llvm_type)
    if bits in (8, 16, 32, 64) and len(content) == bits // 8:
        return np.frombuffer(content, np.dtype(f"i{bits // 8}"))[0]  # type: ignore[no-any-return]
    return None
