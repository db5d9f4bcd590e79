"""Pointer arithmetic: byte offsets of `getelementptr`, and pointers that are one of several."""

from __future__ import annotations

from collections.abc import Sequence

from lb_runtime.analysis import layout
from lb_runtime.analysis.forms import Form
from lb_runtime.analysis.guards import Definitions
from lb_runtime.analysis.values import MAX_ADDRESSES, UNKNOWN_POINTER, Pointer
from predictor import ir


def either(candidates: Sequence[Pointer], expected: int) -> Pointer:
    """A pointer that is one of several; unknown unless all of the `expected` ones are there."""
    merged = tuple(dict.fromkeys(address for pointer in candidates for address in pointer))
    if len(candidates) < expected or len(merged) > MAX_ADDRESSES:
        return UNKNOWN_POINTER
    return merged


def offset(type_text: str, indices: Sequence[Form | None], structs: dict[str, str]) -> Form | None:
    """The bytes that indices into a type add to a pointer, None where they are not known.

    The first index counts whole elements of the type, the others go into it (LLVM Language Reference,
    "getelementptr").
    """
    total = Form(0)
    try:
        for number, index in enumerate(indices):
            if index is None:
                return None
            if number and layout.is_struct(type_text):
                if index.terms:
                    return None
                type_text, inside = layout.member(type_text, index.constant, structs)
                total = total.plus(inside)
                continue
            if number:
                inner = layout.element(type_text)
                if inner is None:
                    return None
                type_text = inner
            total += index.times(layout.size_bytes(type_text, structs))
    except layout.UnknownLayoutError:
        return None
    return total


def roots(definitions: Definitions, name: str) -> tuple[list[ir.Operand], bool]:
    """Where the pointers come from that a pointer may be made of, and whether some arithmetic moves them.

    Copies, choices, phis of any loop and getelementptr are seen through.
    """
    found: dict[str, ir.Operand] = {}
    moves = False
    seen: set[str] = set()
    pending = [ir.Operand("local", "", name)]
    while pending:
        operand = pending.pop()
        definition = definitions.get(operand.text) if operand.kind == "local" else None
        opcode = definition[0].opcode if definition else ""
        if definition is None or opcode not in _SEEN_THROUGH:
            found[operand.text] = operand
        elif operand.text not in seen:
            seen.add(operand.text)
            operands = definition[0].operands
            moves = moves or opcode == "getelementptr"
            pending.extend(operands[_SEEN_THROUGH[opcode]])
    return list(found.values()), moves


_SEEN_THROUGH = {
    "phi": slice(None),
    "select": slice(1, 3),
    "getelementptr": slice(1),
    "bitcast": slice(1),
    "addrspacecast": slice(1),
    "freeze": slice(1),
}
"""The operands that the result of an opcode may point into."""
