"""Whether two drawings are one graph: a renumbering of the nodes that keeps every node and edge.

Both graphs' nodes are coloured together: first by type, text and function, then, again and again, by the
colours around them, until no class falls apart (colour refinement; Weisfeiler and Leman 1968). Where nodes
still share a colour, one of each graph is set apart and the colouring goes on. What comes out is a pairing
of nodes, and that is checked edge by edge: "equal" rests on the pairing, not on colours.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from oracle.drawing import Drawing, Edge

SHOWN = 3
"""So many differences of a kind are named; the others are counted."""


def difference(ours: Drawing, theirs: Drawing) -> str:
    """Empty where both are one graph, else what tells them apart, in words."""
    for what, mine, other in (
        ("functions", Counter(ours.functions), Counter(theirs.functions)),
        ("nodes", Counter(map(str, ours.nodes)), Counter(map(str, theirs.nodes))),
        ("edges", _named_edges(ours), _named_edges(theirs)),
    ):
        if mine != other:
            return _unequal(what, mine - other, other - mine)
    pairing = _pairing(ours, theirs)
    renumbered = Counter(
        Edge(pairing[e.source], pairing[e.target], e.flow, e.position) for e in ours.edges
    )
    wrong = sum((renumbered - Counter(theirs.edges)).values())
    return f"the same nodes and edges, but {wrong} edges join other nodes" if wrong else ""


def _named_edges(drawing: Drawing) -> Counter[str]:
    """Edges by the text of their ends: all that can be said without knowing which node is which."""
    return Counter(
        f"{drawing.nodes[e.source].text} -> {drawing.nodes[e.target].text} {e.flow} {e.position}"
        for e in drawing.edges
    )


def _unequal(what: str, more: Counter[str], less: Counter[str]) -> str:
    told = []
    for whose, extra in (("ours alone", more), ("theirs alone", less)):
        if extra:
            some = "; ".join(f"{name} ({count})" for name, count in sorted(extra.items())[:SHOWN])
            rest = len(extra) - SHOWN
            told.append(f"{whose}: {some}" + (f" and {rest} more" if rest > 0 else ""))
    return f"{what} differ: {', '.join(told)}"


def _pairing(ours: Drawing, theirs: Drawing) -> list[int]:
    """For each node of ours the node of theirs that stands where it stands, as far as colours tell."""
    count = len(ours.nodes)
    around: list[list[tuple[str, int]]] = [[] for _ in range(2 * count)]
    for drawing, shift in ((ours, 0), (theirs, count)):
        for edge in drawing.edges:
            label = f"{edge.flow} {edge.position}"
            around[edge.source + shift].append((f"to {label}", edge.target + shift))
            around[edge.target + shift].append((f"from {label}", edge.source + shift))
    colours = _numbered([str(node) for node in (*ours.nodes, *theirs.nodes)])
    while True:
        colours = _refined(colours, around)
        members: defaultdict[int, list[int]] = defaultdict(list)
        for node, colour in enumerate(colours):
            members[colour].append(node)
        shared = next((m for m in members.values() if len(m) > 2 and m[0] < count <= m[-1]), None)
        if shared is None:
            break
        fresh = max(colours) + 1
        colours[shared[0]] = fresh
        colours[next(node for node in shared if node >= count)] = fresh
    place = {colours[node + count]: node for node in range(count)}
    # A node without a partner is paired with any: the edges will then tell.
    return [place.get(colours[node], 0) for node in range(count)]


def _refined(colours: list[int], around: list[list[tuple[str, int]]]) -> list[int]:
    """Colours that no longer change when each node looks at its neighbours' colours."""
    classes = len(set(colours))
    while True:
        colours = _numbered(
            [
                (colour, tuple(sorted((label, colours[other]) for label, other in edges)))
                for colour, edges in zip(colours, around)
            ]
        )
        if len(set(colours)) == classes:
            return colours
        classes = len(set(colours))


def _numbered(
    values: list[object] | list[str] | list[tuple[int, tuple[tuple[str, int], ...]]],
) -> list[int]:
    numbers: dict[object, int] = {}
    return [numbers.setdefault(value, len(numbers)) for value in values]
