"""Branch conditions as constraints on forms: what holds in a block because a comparison led there."""

from __future__ import annotations

from collections.abc import Mapping

from lb_runtime.analysis.forms import Bounds, Constraint, Form, Span
from predictor import ir

Definitions = Mapping[str, tuple[ir.Instruction, str]]
"""Each result's instruction and the block that it stands in."""

SWAPPED = {
    "slt": "sgt",
    "sgt": "slt",
    "sle": "sge",
    "sge": "sle",
    "ult": "ugt",
    "ugt": "ult",
    "ule": "uge",
    "uge": "ule",
    "eq": "eq",
    "ne": "ne",
}
"""The predicate that says the same with its operands exchanged."""

_OPPOSITE = {
    "slt": "sge",
    "sge": "slt",
    "sgt": "sle",
    "sle": "sgt",
    "ult": "uge",
    "uge": "ult",
    "ugt": "ule",
    "ule": "ugt",
    "eq": "ne",
    "ne": "eq",
}


def comparisons(
    definitions: Definitions, operand: ir.Operand, holds: bool
) -> list[tuple[str, ir.Operand, ir.Operand]]:
    """The integer comparisons that are all true when a condition holds (or does not).

    Each is a predicate of `icmp` and its two operands. Conditions that are joined the other way (one
    of several holds) say nothing of any single one, and give an empty list.
    """
    definition = definitions.get(operand.text)
    if operand.kind != "local" or definition is None:
        return []
    instruction = definition[0]
    operands = instruction.operands
    if instruction.opcode == "icmp":
        predicate = instruction.detail if holds else _OPPOSITE[instruction.detail]
        return [(predicate, operands[0], operands[1])]
    if instruction.opcode == "freeze":
        return comparisons(definitions, operands[0], holds)
    if instruction.opcode == "xor" and operands[1].text in ("true", "-1"):
        return comparisons(definitions, operands[0], not holds)
    joined: tuple[ir.Operand, ...] = ()
    if instruction.opcode == ("and" if holds else "or") and instruction.type == "i1":
        joined = operands
    elif instruction.opcode == "select" and instruction.type == "i1":
        if holds and operands[2].text == "false":
            joined = operands[:2]
        elif not holds and operands[1].text == "true":
            joined = operands[0], operands[2]
    return [found for part in joined for found in comparisons(definitions, part, holds)]


def leaves(definitions: Definitions, operand: ir.Operand, holds: bool) -> int:
    """How many conditions must all hold for a condition to hold (or not), whatever they compare."""
    definition = definitions.get(operand.text)
    if operand.kind == "local" and definition is not None:
        instruction = definition[0]
        operands = instruction.operands
        if instruction.opcode == "freeze":
            return leaves(definitions, operands[0], holds)
        if instruction.opcode == "xor" and operands[1].text in ("true", "-1"):
            return leaves(definitions, operands[0], not holds)
        if instruction.opcode == ("and" if holds else "or") and instruction.type == "i1":
            return sum(leaves(definitions, part, holds) for part in operands)
        if instruction.opcode == "select" and instruction.type == "i1":
            if holds and operands[2].text == "false":
                return sum(leaves(definitions, part, holds) for part in operands[:2])
            if not holds and operands[1].text == "true":
                return sum(leaves(definitions, part, holds) for part in (operands[0], operands[2]))
    return 1


def constraints(
    predicate: str, left: Form, right: Form, bits: int, bounds: Bounds
) -> list[Constraint]:
    """What a true comparison of two integers of `bits` says of their forms.

    Forms are signed; an unsigned comparison says something only where `bounds` knows the greater side
    not to be negative, or the smaller side to be negative.
    """
    limit = 1 << bits
    if predicate in ("sgt", "sge", "ugt", "uge"):
        predicate, left, right = SWAPPED[predicate], right, left
    difference = left - right
    if predicate == "slt":
        return [Constraint(difference, Span(-limit, -1))]
    if predicate == "sle":
        return [Constraint(difference, Span(-limit, 0))]
    if predicate == "eq":
        return [Constraint(difference, Span(0, 0))]
    if predicate in ("ult", "ule") and bounds.interval(right).low >= 0:
        # As a signed number, what is below a non-negative one is not negative either.
        highest = -1 if predicate == "ult" else 0
        return [Constraint(difference, Span(-limit, highest)), Constraint(left, Span(0, limit))]
    if predicate in ("ult", "ule") and bounds.interval(left).high < 0:
        # As an unsigned number, what is above a negative one is negative too.
        least = bounds.interval(left).low + int(predicate == "ult")
        return [
            Constraint(difference, Span(-limit, -int(predicate == "ult"))),
            Constraint(right, Span(least, -1)),
        ]
    if predicate == "ne" and not right.terms:
        span = bounds.interval(left)
        if span.low == right.constant:
            return [Constraint(left, Span(span.low + 1, span.high))]
        if span.high == right.constant:
            return [Constraint(left, Span(span.low, span.high - 1))]
    return []
