"""What the addresses of a program graph's memory accesses follow from: ids, loops or loaded data.

Neighbouring work-items that touch neighbouring elements are what a GPU wants, and a work-item that
walks along memory is what a CPU wants. Which of the two an access does is read from the data edges
that lead to its pointer: the id of dimension 0 as it is, or multiplied (a stride), a loop's counter as
it is, something that was loaded, or nothing of all that (one place for all).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from predictor.program_graph import DATA, INSTRUCTION, ProgramGraph

_SPACE = re.compile(r"ptr(?: addrspace\((\d+)\))?")
_ACCESSED = re.compile(r"(?:load|store) (?:volatile )?(<[^>]*>|[^ ,]+)")
_ID = re.compile(r"get_(global_id|local_id|group_id)j?\w*\(i32 (?:noundef )?(\d+)\)")
_WIDTH = re.compile(r"<(\d+) x ")
_SCALED = frozenset({"mul", "shl", "udiv", "sdiv", "urem", "srem", "lshr", "ashr"})
_BYTES = {"double": 8, "float": 4, "half": 2, "i64": 8, "i32": 4, "i16": 2, "i8": 1, "i1": 1}
_MOST_STEPS = 400
POINTER_BYTES = 8


@dataclass(frozen=True, slots=True)
class Access:
    """A load or store: its node, its address space, its bytes, and what its address follows from."""

    node: int
    space: int
    size_bytes: int
    is_store: bool
    follows: frozenset[str]


FOLLOWS = ("id0", "id0 scaled", "other id", "group", "loop", "loop scaled", "loaded")
"""What an address may follow from. `id0` is the global or local id of dimension 0."""


def accesses(graph: ProgramGraph) -> list[Access]:
    """All loads and stores of a graph, in the order of its nodes."""
    sources: dict[int, list[tuple[int, int]]] = {}
    chosen = graph.edge_flows == DATA
    positions = graph.edge_positions[chosen].tolist()
    for (source, target), position in zip(graph.edge_index[:, chosen].T.tolist(), positions):
        sources.setdefault(target, []).append((source, position))
    found = []
    traced: dict[int, frozenset[str]] = {}
    for node, text in enumerate(graph.node_texts):
        if text not in ("load", "store") or graph.node_types[node] != INSTRUCTION:
            continue
        full = graph.node_full_texts[node]
        wanted = 0 if text == "load" else 1
        pointers = [source for source, position in sources.get(node, ()) if position == wanted]
        space = _SPACE.search(full.split(", ")[1] if ", " in full else full)
        follows: frozenset[str] = frozenset()
        for pointer in pointers:
            producer = next((s for s, _ in sources.get(pointer, ())), pointer)
            if producer not in traced:
                traced[producer] = _follow(graph, producer, sources)
            follows |= traced[producer]
        accessed = _ACCESSED.search(full)
        found.append(
            Access(
                node,
                int(space[1] or 0) if space else 0,
                _size(accessed[1] if accessed else ""),
                text == "store",
                follows,
            )
        )
    return found


def _size(type_text: str) -> int:
    lanes = _WIDTH.search(type_text)
    element = type_text.rsplit(" ", 1)[-1].rstrip(">")
    return (int(lanes[1]) if lanes else 1) * _BYTES.get(element, POINTER_BYTES)


def _follow(
    graph: ProgramGraph, start: int, sources: dict[int, list[tuple[int, int]]]
) -> frozenset[str]:
    """What leads to a pointer, walking data edges backwards, each node once as it is and once scaled."""
    found: set[str] = set()
    seen = {(start, False)}
    pending = [(start, False)]
    while pending and len(seen) < _MOST_STEPS:
        node, scaled = pending.pop()
        text = graph.node_texts[node]
        is_instruction = graph.node_types[node] == INSTRUCTION
        if is_instruction and text == "load":
            found.add("loaded")
            continue
        if is_instruction and text == "call":
            called = _ID.search(graph.node_full_texts[node])
            if called is not None:
                found.add(_id_name(called[1], called[2], scaled))
                continue
        if is_instruction and text == "phi":
            found.add("loop scaled" if scaled else "loop")
        last = 0
        if is_instruction and text == "getelementptr":
            last = max((position for _, position in sources.get(node, ())), default=0)
        multiplies = is_instruction and text in _SCALED
        for source, position in sources.get(node, ()):
            step = source, scaled or multiplies or 0 < position < last
            if step not in seen:
                seen.add(step)
                pending.append(step)
    return frozenset(found)


def _id_name(function: str, dimension: str, scaled: bool) -> str:
    if function == "group_id":
        return "group"
    if dimension != "0":
        return "other id"
    return "id0 scaled" if scaled else "id0"
