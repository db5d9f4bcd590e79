"""Atomics on global memory that parts can carry out apart: their changes are combined afterwards.

What an integer atomic leaves does not depend on the order of the work-items, as long as nobody looks at
the value that it found. Source: OpenCL 1.2, section 6.12.11; OpenCL C 2.0, section 6.13.11.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from lb_runtime.analysis import layout
from lb_runtime.analysis.values import builtin_name
from predictor import ir

_BUILT_IN = re.compile(
    r"^atom(?:ic)?_(?:fetch_)?(add|sub|inc|dec|min|max|and|or|xor)(?:_explicit)?$"
)
_POINTEE = re.compile(r"PU3AS\d+V?(?:U7_Atomic)?([ijlm])")
"""The pointer that comes first in a mangled name, to int, uint, long or ulong."""
_FAMILIES = {"sub": "add", "inc": "add", "dec": "add", "umin": "min", "umax": "max"}
_ATOMIC = re.compile(r"^(?:atomic_|atom_|__opencl_atomic)")


class Atomic(NamedTuple):
    """An atomic whose result nobody uses: what it does, the bytes of its integer, whether it is signed.

    `operation` is "add" (sub, inc and dec are the same family), "min", "max", "and", "or" or "xor".
    """

    operation: str
    width_bytes: int
    is_signed: bool


def is_atomic(instruction: ir.Instruction) -> bool:
    """Whether an instruction is an atomic access, of any kind and to any memory."""
    if instruction.opcode in ("atomicrmw", "cmpxchg") or "atomic" in instruction.flags:
        return True
    return instruction.opcode == "call" and bool(_ATOMIC.match(builtin_name(instruction.detail)))


def combinable(instruction: ir.Instruction) -> Atomic | None:
    """What an atomic does if parts can do it apart, provided that its result is not used."""
    if instruction.opcode == "atomicrmw":
        bits = layout.integer_bits(instruction.operands[1].type)
        operation = instruction.detail
        family = _FAMILIES.get(operation, operation)
        if bits in (32, 64) and family in ("add", "min", "max", "and", "or", "xor"):
            return Atomic(family, bits // 8, not operation.startswith("u"))
        return None
    if instruction.opcode != "call":
        return None
    match = _BUILT_IN.match(builtin_name(instruction.detail))
    pointee = _POINTEE.search(instruction.detail)
    if not match or not pointee:
        return None
    kind = pointee[1]
    return Atomic(
        _FAMILIES.get(match[1], match[1]), 4 if kind in "ij" else 8, is_signed=kind in "il"
    )


def used_names(function: ir.Function) -> frozenset[str]:
    """The results that some instruction of a function uses."""
    return frozenset(_used(function))


def _used(function: ir.Function) -> Iterable[str]:
    for block in function.blocks:
        for instruction in block.instructions:
            for operand in instruction.operands:
                if operand.kind != "constant":
                    yield operand.text
