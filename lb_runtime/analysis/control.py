"""The control flow of a function: dominators, natural loops, and the branch edges that guard a block.

Source: Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm" (2001); natural loops as in
Aho, Lam, Sethi and Ullman, "Compilers", section 9.6.
"""

from __future__ import annotations

from collections.abc import Iterator

from lb_runtime.records import dataclass
from predictor import ir


@dataclass(frozen=True, slots=True)
class Edge:
    """The way from a block's terminator to one of its successors, by position."""

    source: str
    position: int


@dataclass(frozen=True, slots=True)
class Loop:
    """A natural loop: its header, all its blocks, and the blocks that jump back to the header."""

    header: str
    blocks: frozenset[str]
    latches: tuple[str, ...]


class ControlFlow:
    """What the analysis asks of a function's blocks. Blocks that cannot be reached are left out."""

    def __init__(self, function: ir.Function) -> None:
        self.blocks = {block.name: block for block in function.blocks}
        self.entry = function.blocks[0].name
        self.order = self._reverse_postorder()
        self._number = {name: index for index, name in enumerate(self.order)}
        self.predecessors: dict[str, list[str]] = {name: [] for name in self.order}
        for name in self.order:
            for successor in self.successors(name):
                self.predecessors[successor].append(name)
        self.immediate = self._dominators()
        self.loops = self._loops()
        self._guards: dict[str, tuple[Edge, ...]] = {}
        self._deciding: dict[str, list[Edge]] | None = None
        self._reached_always: frozenset[str] = frozenset()

    def successors(self, name: str) -> tuple[str, ...]:
        """The blocks that a block can jump to, in the order of its terminator."""
        return self.blocks[name].instructions[-1].blocks

    def dominates(self, above: str, below: str) -> bool:
        """Whether every way to `below` passes `above` (a block dominates itself)."""
        while self._number[below] > self._number[above]:
            below = self.immediate[below]
        return above == below

    def loops_of(self, name: str) -> list[Loop]:
        """The loops that hold a block, the outermost first."""
        inside = [loop for loop in self.loops.values() if name in loop.blocks]
        return sorted(inside, key=lambda loop: -len(loop.blocks))

    def guards(self, name: str) -> tuple[Edge, ...]:
        """The conditional edges that were all taken, most recently, before a block or its loop runs."""
        if name not in self._guards:
            above: tuple[Edge, ...] = ()
            if name != self.entry:
                above = self.guards(self.immediate[name])
                # What was tested on the way into a loop stays as it was while the loop runs.
                ways_in = [p for p in self.predecessors[name] if not self.dominates(name, p)]
                if len(ways_in) == 1:
                    above += self.edge(ways_in[0], name)
            self._guards[name] = above
        return self._guards[name]

    def deciders(self, name: str) -> tuple[Edge, ...] | None:
        """The conditional edges that together decide whether a block runs, once each loop has ended.

        None where a loop holds the block or one of the edges, or where one of several ways leads there.
        Source: Ferrante, Ottenstein and Warren, "The Program Dependence Graph" (1987), control dependence.
        """
        if self._deciding is None:
            self._deciding, self._reached_always = self._control_dependence()
        found: list[Edge] = []
        while True:
            if self.loops_of(name):
                return None
            edges = self._deciding[name]
            if not edges:
                return tuple(found) if name in self._reached_always else None
            # An edge for the second time: a loop that never ends hides what decides.
            if len(edges) > 1 or edges[0] in found:
                return None
            found.append(edges[0])
            name = edges[0].source

    def _control_dependence(self) -> tuple[dict[str, list[Edge]], frozenset[str]]:
        """The edges after which each block is sure to run, and was not before; blocks that always run."""
        passed = self._post_dominators()
        deciding: dict[str, list[Edge]] = {name: [] for name in self.order}
        for source in self.order:
            before = passed[source] & ~(1 << self._number[source])
            for position, target in enumerate(self.successors(source)):
                for name in self._named(passed[target] & ~before):
                    deciding[name].append(Edge(source, position))
        return deciding, frozenset(self._named(passed[self.entry]))

    def _named(self, bits: int) -> Iterator[str]:
        """The blocks that a number's bits stand for."""
        while bits:
            lowest = bits & -bits
            yield self.order[lowest.bit_length() - 1]
            bits ^= lowest

    def _post_dominators(self) -> dict[str, int]:
        """For each block, a bit for each block that all ways on pass; all bits where no way ends."""
        everything = (1 << len(self.order)) - 1
        passed = dict.fromkeys(self.order, everything)
        changed = True
        while changed:
            changed = False
            for name in reversed(self.order):
                successors = self.successors(name)
                bits = everything if successors else 0
                for successor in successors:
                    bits &= passed[successor]
                bits |= 1 << self._number[name]
                if bits != passed[name]:
                    passed[name] = bits
                    changed = True
        return passed

    def edge(self, source: str, target: str) -> tuple[Edge, ...]:
        """The conditional edge from `source` to `target`; nothing if all edges of it lead there."""
        positions = [i for i, name in enumerate(self.successors(source)) if name == target]
        if len(positions) != 1 or len(self.successors(source)) == 1:
            return ()
        return (Edge(source, positions[0]),)

    def _reverse_postorder(self) -> list[str]:
        order: list[str] = []
        seen = {self.entry}
        stack = [(self.entry, iter(self.successors(self.entry)))]
        while stack:
            name, successors = stack[-1]
            for successor in successors:
                if successor not in seen:
                    seen.add(successor)
                    stack.append((successor, iter(self.successors(successor))))
                    break
            else:
                order.append(name)
                stack.pop()
        return order[::-1]

    def _dominators(self) -> dict[str, str]:
        immediate = {self.entry: self.entry}
        changed = True
        while changed:
            changed = False
            for name in self.order[1:]:
                known = [p for p in self.predecessors[name] if p in immediate]
                best = known[0]
                for other in known[1:]:
                    best = self._common(immediate, best, other)
                if immediate.get(name) != best:
                    immediate[name] = best
                    changed = True
        return immediate

    def _common(self, immediate: dict[str, str], one: str, other: str) -> str:
        while one != other:
            while self._number[one] > self._number[other]:
                one = immediate[one]
            while self._number[other] > self._number[one]:
                other = immediate[other]
        return one

    def _loops(self) -> dict[str, Loop]:
        latches: dict[str, list[str]] = {}
        for name in self.order:
            for successor in self.successors(name):
                if self.dominates(successor, name):
                    latches.setdefault(successor, []).append(name)
        loops: dict[str, Loop] = {}
        for header, sources in latches.items():
            inside = {header}
            stack = [source for source in sources if source != header]
            while stack:
                name = stack.pop()
                if name not in inside:
                    inside.add(name)
                    stack.extend(self.predecessors[name])
            loops[header] = Loop(header, frozenset(inside), tuple(sources))
        return loops
