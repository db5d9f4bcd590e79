"""Pointer arithmetic: byte offsets of `getelementptr`, and pointers that are one of several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lb_runtime.analysis import layout
from lb_runtime.analysis.forms import Form
from lb_runtime.analysis.guards import Definitions
from lb_runtime.analysis.values import MAX_ADDRESSES, UNKNOWN_POINTER, Pointer


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


def stays_inside(definitions: Definitions, name: str, nexts: Iterable[str]) -> bool:
    """Whether all next values of a pointer are reached from it by getelementptr alone."""
    for following in nexts:
        seen: set[str] = set()
        current = following
        while current != name:
            definition = definitions.get(current)
            if definition is None or definition[0].opcode != "getelementptr" or current in seen:
                return False
            seen.add(current)
            current = definition[0].operands[0].text
    return True
