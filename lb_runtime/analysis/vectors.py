"""Vectors of integers, lane by lane: the instructions that put them together and compute with them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lb_runtime.analysis import arithmetic, layout
from lb_runtime.analysis.forms import Bounds, Form
from lb_runtime.analysis.values import Lanes, Value
from predictor import ir

_BY_LANE = frozenset("add sub mul shl udiv sdiv urem srem lshr ashr and or xor".split())
_RESIZES = frozenset("sext zext trunc".split())
FOLLOWED = _BY_LANE | _RESIZES | {"insertelement", "shufflevector"}
"""The opcodes whose results are known where their operands are."""


def constant(text: str, lanes: int, element: str) -> Lanes:
    """The lanes of a constant vector, as the assembly writes it."""
    if text in ("zeroinitializer", "undef", "poison"):
        return [Form(0)] * lanes
    found = re.findall(rf"\b{element} (-?\d+|undef|poison)", text)
    values: Lanes = [Form(int(n)) if n[-1].isdigit() else Form(0) for n in found]
    if text.startswith("splat") and values:
        return values * lanes
    return values if len(values) == lanes else [None] * lanes


def lane(vector: Value, index: Form | None) -> Form | None:
    """One lane, None where the vector or the index is not known."""
    if not isinstance(vector, list) or index is None or index.terms:
        return None
    return vector[index.constant] if 0 <= index.constant < len(vector) else None


def lanes(instruction: ir.Instruction, operands: Sequence[Value], bounds: Bounds) -> Lanes | None:
    """The lanes of an instruction's result from the values of its operands."""
    shape = layout.vector(instruction.type)
    first = operands[0]
    if shape is None or not isinstance(first, list):
        return None
    bits = layout.integer_bits(shape[1])
    opcode = instruction.opcode
    if opcode == "insertelement":
        return _inserted(first, operands[1], operands[2])
    if opcode in _RESIZES:
        narrow = layout.vector(instruction.operands[0].type)
        return _resized(
            opcode, first, layout.integer_bits(narrow[1]) if narrow else 0, bits, bounds
        )
    second = operands[1]
    if not isinstance(second, list) or not bits:
        return None
    if opcode == "shufflevector":
        joined = first + second
        mask = constant(instruction.detail, shape[0], "i32")
        return [joined[m.constant] if m is not None else None for m in mask]
    result: Lanes = []
    for one, other in zip(first, second):
        value: arithmetic.Result = None
        if one is not None and other is not None:
            value = arithmetic.binary(opcode, one, other, bits, bounds)
        result.append(value if isinstance(value, Form) else None)
    return result


def _inserted(vector: Lanes, value: Value, index: Value) -> Lanes | None:
    if not isinstance(index, Form) or index.terms or not 0 <= index.constant < len(vector):
        return None
    result = list(vector)
    result[index.constant] = value if isinstance(value, Form) else None
    return result


def _resized(opcode: str, vector: Lanes, narrow: int, bits: int, bounds: Bounds) -> Lanes:
    result: Lanes = []
    for form in vector:
        value: arithmetic.Result = None
        if form is not None and narrow > 1 and bits:
            value = arithmetic.resized(opcode, form, narrow, bits, bounds, is_nneg=False)
        result.append(value if isinstance(value, Form) else None)
    return result
