"""The five data-flow analyses of ProGraML's paper, computed from a program graph.

Each analysis takes a root node and marks a set of nodes: what the root reaches, what it dominates,
what it depends on, what is live after it, what computes the same expression. These are the labels that
`model.py` is trained to give, never something that it reads.
Source: Cummins et al., ICML 2021, section 5.1 and appendix A. Where the paper and the code that comes with
it (`programl/graph/analysis`) differ, or a graph of ours differs from the paper's, this file says so.

Steps are rounds in which all nodes look at their neighbours once: as many as a fixed-point iteration
(and so message passing) needs before the last mark is in place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.program_graph import CONTROL, DATA, INSTRUCTION, VARIABLE, ProgramGraph

COMMUTATIVE = frozenset(("add", "fadd", "mul", "fmul", "and", "or", "xor"))
"""Opcodes whose operands may change places (LLVM language reference)."""
NEVER = np.iinfo(np.int32).max
Neighbours = list[list[int]]


@dataclass(frozen=True, slots=True)
class Marks:
    """What an analysis says of one root, round by round.

    After `t` rounds the nodes with `since <= t < until` are marked; where both are NEVER, a node is
    never marked. A mark that goes again is one that another path takes away. `hint` is the round from
    which a node is in the set that the analysis looks through on its way to the answer.

    Shapes: since, until, hint: int32 [nodes].
    """

    root: int
    since: NDArray[np.int32]
    until: NDArray[np.int32]
    hint: NDArray[np.int32]

    @property
    def marked(self) -> NDArray[np.bool_]:
        """The answer, which is what stands in the end. Shapes: bool [nodes]."""
        return answer(self.since, self.until)

    @property
    def steps(self) -> int:
        """The round in which the answer is complete."""
        rounds = np.concatenate((self.since, self.until))
        return int(rounds[rounds < NEVER].max(initial=0))


def answer(since: NDArray[np.int32], until: NDArray[np.int32]) -> NDArray[np.bool_]:
    """The marks that stand in the end. Shapes: all equal."""
    return np.asarray((since < NEVER) & (until == NEVER))


class Flows:
    """The control and data edges of a graph as lists of neighbours, in the order of its edges."""

    def __init__(self, graph: ProgramGraph) -> None:
        self.graph = graph
        self.nodes = len(graph.node_types)
        self.successors, self.predecessors = self._lists(CONTROL)
        self.data_out, self.data_in = self._lists(DATA)
        # The root of the graph stands for everything outside and is no instruction of the program.
        self.instructions = [n for n in range(1, self.nodes) if graph.node_types[n] == INSTRUCTION]

    def _lists(self, flow: int) -> tuple[Neighbours, Neighbours]:
        out: Neighbours = [[] for _ in range(self.nodes)]
        into: Neighbours = [[] for _ in range(self.nodes)]
        chosen = self.graph.edge_flows == flow
        for source, target in self.graph.edge_index[:, chosen].T.tolist():
            out[source].append(target)
            into[target].append(source)
        return out, into


class Analysis:
    """One analysis of one graph: `roots` lists the nodes it may start from, `run` marks for one of them."""

    def __init__(self, graph: ProgramGraph) -> None:
        self.flows = Flows(graph)
        self.graph = graph

    def roots(self) -> list[int]:
        """Nodes that the analysis may start from, ascending: every instruction."""
        return self.flows.instructions

    def run(self, root: int) -> Marks:
        """The marks for a root, one of `roots()`."""
        raise NotImplementedError

    def _marks(
        self,
        root: int,
        since: Mapping[int, int],
        hint: Mapping[int, int],
        until: Mapping[int, int] | None = None,
    ) -> Marks:
        """Marks from rounds; one that would end before it begins is none."""
        ends = until or {}
        kept = {node: round_ for node, round_ in since.items() if round_ < ends.get(node, NEVER)}
        return Marks(
            root,
            self._table(kept),
            self._table({node: ends[node] for node in kept if node in ends}),
            self._table(hint),
        )

    def _table(self, rounds: Mapping[int, int]) -> NDArray[np.int32]:
        table = np.full(self.flows.nodes, NEVER, np.int32)
        table[list(rounds.keys())] = list(rounds.values())
        return table


class Reachability(Analysis):
    """Instructions that control may reach from the root, the root itself included."""

    def run(self, root: int) -> Marks:
        """Marks every instruction on a control path that starts at `root`, which is the hint too."""
        rounds = _rounds([root], self.flows.successors)
        return self._marks(root, rounds, rounds)


class Dominance(Analysis):
    """Instructions that the root dominates: every path from the function's entry passes it first.

    That is the paper's definition. The code that comes with it starts its iteration from empty sets, and
    so never marks a loop (a node with a way back to itself) behind the root, nor what follows one.
    An instruction without predecessors is an entry, as there.
    """

    def run(self, root: int) -> Marks:
        """Marks what `root` reaches; the hint, what entries reach around it, takes marks away."""
        flows = self.flows
        # Control stays within a function, so entries of others do no harm, and need not be told apart.
        entries = [n for n in flows.instructions if not flows.predecessors[n] and n != root]
        # That a function begins here is known in the first round, from the edge that calls it.
        around = _rounds(entries, flows.successors, closed=root)
        until = {node: round_ + 1 for node, round_ in around.items()}
        return self._marks(root, _rounds([root], flows.successors), until, until)


class DataDependence(Analysis):
    """Instructions that must have run before the root, a variable, has its value."""

    def roots(self) -> list[int]:
        """Every variable."""
        return np.flatnonzero(self.graph.node_types == VARIABLE).tolist()

    def run(self, root: int) -> Marks:
        """Marks the instructions from which data flows into `root`; the values between are the hint."""
        rounds = _rounds([root], self.flows.data_in)
        types = self.graph.node_types
        marked = {n: r for n, r in rounds.items() if types[n] == INSTRUCTION}
        return self._marks(root, marked, rounds)


class Liveness(Analysis):
    """Values (variables and constants, as in ProGraML's code) that are live after the root.

    A value is live after an instruction if a control path leads on to a use of it, without passing what
    defines it. Instructions after which the function cannot end have live values here, in ProGraML's
    code not: it starts from the exits.
    """

    def __init__(self, graph: ProgramGraph) -> None:
        super().__init__(graph)
        flows = self.flows
        self._live_out: list[frozenset[int]] = [frozenset()] * flows.nodes
        live_in = [frozenset(sources) for sources in flows.data_in]
        work = dict.fromkeys(flows.instructions)
        while work:
            node, _ = work.popitem()
            live = frozenset[int]().union(*(live_in[s] for s in flows.successors[node]))
            self._live_out[node] = live
            before = live.difference(flows.data_out[node]).union(flows.data_in[node])
            if before != live_in[node]:
                live_in[node] = before
                work.update(dict.fromkeys(flows.predecessors[node]))

    def roots(self) -> list[int]:
        """Every instruction after which something is live."""
        return [node for node in self.flows.instructions if self._live_out[node]]

    def run(self, root: int) -> Marks:
        """Marks the values that are live after `root`; the instructions behind it are the hint."""
        flows = self.flows
        start = flows.successors[root]
        rounds = _rounds(start, flows.successors)
        since = {}
        for value in self._live_out[root]:
            uses = flows.data_out[value]
            around = rounds
            for definition in flows.data_in[value]:
                if (
                    definition in rounds
                    and min(rounds[u] for u in uses if u in rounds) > rounds[definition]
                ):
                    around = _rounds(start, flows.successors, dead_end=definition)
            # The first round is the one to a successor, the last one from the nearest use to the value.
            since[value] = 2 + min(around[u] for u in uses if u in around)
        return self._marks(root, since, {node: 1 + round_ for node, round_ in rounds.items()})


class Subexpressions(Analysis):
    """Instructions that compute the same expression as the root, the root itself included.

    An expression is an opcode and its operands, by position, or in any order where the operation is
    commutative. A call's opcode is `call`, whatever it calls, as in ProGraML's code. An operand is a
    value: the paper's graphs have one node for it, ours (as `programl` 0.3.2) one for each use, so here a
    variable stands for the instruction that defines it.
    """

    STEPS = 4
    """From an instruction over its operand's variable to the definition, and down to another use."""

    def __init__(self, graph: ProgramGraph) -> None:
        super().__init__(graph)
        operands: dict[int, list[tuple[int, int]]] = defaultdict(list)
        data = graph.edge_flows == DATA
        edges = graph.edge_index[:, data].T.tolist()
        for (source, target), position in zip(edges, graph.edge_positions[data].tolist()):
            operands[target].append((position, self._value(source)))
        same: dict[tuple[str, tuple[int, ...]], list[int]] = defaultdict(list)
        for node in self.flows.instructions:
            if operands[node]:
                text = graph.node_texts[node]
                values = [value for _, value in sorted(operands[node])]
                same[text, tuple(sorted(values) if text in COMMUTATIVE else values)].append(node)
        self._sets = {node: nodes for nodes in same.values() if len(nodes) > 1 for node in nodes}

    def _value(self, node: int) -> int:
        definitions = self.flows.data_in[node]
        return definitions[0] if self.graph.node_types[node] == VARIABLE and definitions else node

    def roots(self) -> list[int]:
        """Every instruction whose expression another one computes too."""
        return sorted(self._sets)

    def run(self, root: int) -> Marks:
        """Marks the instructions with the expression of `root`; its operands are the hint."""
        if root not in self._sets:
            raise ValueError(f"node {root} given as root, but its expression stands alone")
        operands: dict[int, int] = {}
        for node in self.flows.data_in[root]:
            value = self._value(node)
            if value != node:
                operands[value] = 2
                operands.update(dict.fromkeys(self.flows.data_out[value], 3))
        operands.update(dict.fromkeys(self.flows.data_in[root], 1))
        return self._marks(root, {**dict.fromkeys(self._sets[root], self.STEPS), root: 0}, operands)


ANALYSES: dict[str, Callable[[ProgramGraph], Analysis]] = {
    "reachability": Reachability,
    "dominance": Dominance,
    "datadep": DataDependence,
    "liveness": Liveness,
    "subexpressions": Subexpressions,
}


def _rounds(
    starts: Iterable[int],
    neighbours: Neighbours,
    *,
    closed: int | None = None,
    dead_end: int | None = None,
) -> dict[int, int]:
    """The round in which each node is first seen, from 0 at `starts`.

    `closed` is never entered, `dead_end` never left.
    """
    rounds = dict.fromkeys(starts, 0)
    front = list(rounds)
    while front:
        following: list[int] = []
        for node in front:
            if node == dead_end:
                continue
            for other in neighbours[node]:
                if other not in rounds and other != closed:
                    rounds[other] = rounds[node] + 1
                    following.append(other)
        front = following
    return rounds
