"""Each analysis, on hand-drawn graphs and against a definition that iterates nothing to a fixed point."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from predictor.dataflow.analyses import ANALYSES, COMMUTATIVE, Marks
from predictor.frontend import compile_source
from predictor.program_graph import (
    CONSTANT,
    CONTROL,
    DATA,
    INSTRUCTION,
    VARIABLE,
    ProgramGraph,
    build,
)
from tests.predictor.dataflow.drawn import draw, flow_graph, graphs

ROUND = [
    *((CONTROL, 1, 2, 0), (CONTROL, 2, 3, 0), (CONTROL, 3, 1, 0)),
    *((DATA, 1, 4, 0), (DATA, 4, 2, 0)),
]
"""Three instructions in a circle; the first defines the value 4, the second uses it."""


def marked(graph: ProgramGraph, task: str, root: int) -> set[int]:
    return set(np.flatnonzero(ANALYSES[task](graph).run(root).marked).tolist())


def links(graph: ProgramGraph, flow: int) -> NDArray[np.bool_]:
    """Whether an edge of a flow goes from one node to another. Shapes: [nodes, nodes]."""
    nodes = len(graph.node_types)
    matrix = np.zeros((nodes, nodes), bool)
    source, target = graph.edge_index[:, graph.edge_flows == flow]
    matrix[source, target] = True
    return matrix


def closure(matrix: NDArray[np.bool_], length: int | None = None) -> NDArray[np.bool_]:
    """Which nodes a path of at most `length` edges joins: a power of the matrix."""
    step = (matrix | np.eye(len(matrix), dtype=bool)).astype(int)
    power = np.linalg.matrix_power(step, len(matrix) if length is None else length)
    return power > 0


def paths(matrix: NDArray[np.bool_], start: int, end: int) -> Iterator[list[int]]:
    """Every path from `start` to `end` that visits no node twice."""
    going = [[start]]
    while going:
        path = going.pop()
        if path[-1] == end:
            yield path
        else:
            following = np.flatnonzero(matrix[path[-1]]).tolist()
            going.extend([*path, node] for node in following if node not in path)


def instructions(graph: ProgramGraph) -> list[int]:
    return [n for n in range(1, len(graph.node_types)) if graph.node_types[n] == INSTRUCTION]


def test_reachability_follows_control_and_nothing_else() -> None:
    graph = draw(
        [(INSTRUCTION, "add")] * 4 + [(VARIABLE, "i32")],
        [(CONTROL, 1, 2, 0), (CONTROL, 2, 3, 0), (DATA, 1, 5, 0), (DATA, 5, 4, 0)],
    )
    assert marked(graph, "reachability", 2) == {2, 3}


def test_dominance_ends_where_another_path_joins() -> None:
    diamond = flow_graph([(1, 2), (1, 3), (2, 4), (3, 4), (4, 5)], 5)
    assert marked(diamond, "dominance", 1) == {1, 2, 3, 4, 5}
    assert marked(diamond, "dominance", 2) == {2}
    assert marked(diamond, "dominance", 4) == {4, 5}


def test_dominance_goes_on_through_a_loop() -> None:
    loop = flow_graph([(1, 2), (2, 3), (3, 2), (3, 4)], 4)
    assert marked(loop, "dominance", 1) == {1, 2, 3, 4}
    assert marked(loop, "dominance", 3) == {3, 4}


def test_dominance_ends_where_another_entry_joins() -> None:
    # The second graph of ProGraML's own test of dominance.
    graph = flow_graph([(1, 2), (1, 3), (2, 4), (3, 4), (5, 2)], 5)
    assert marked(graph, "dominance", 1) == {1, 3}


def test_dominance_stays_in_the_roots_function() -> None:
    graph = draw(
        [(INSTRUCTION, "call"), (INSTRUCTION, "ret"), (INSTRUCTION, "ret")],
        [(CONTROL, 1, 2, 0)],
        functions=[0, 0, 1],
    )
    assert marked(graph, "dominance", 1) == {1, 2}


def test_data_dependence_marks_instructions_against_the_flow_of_data() -> None:
    graph = draw(
        [
            *((INSTRUCTION, "load"), (VARIABLE, "i32"), (INSTRUCTION, "add"), (VARIABLE, "i32")),
            *((CONSTANT, "i32"), (INSTRUCTION, "ret")),
        ],
        [(DATA, 1, 2, 0), (DATA, 2, 3, 0), (DATA, 5, 3, 1), (DATA, 3, 4, 0), (DATA, 4, 6, 0)],
    )
    assert marked(graph, "datadep", 4) == {1, 3}
    assert marked(graph, "datadep", 2) == {1}


def test_liveness_of_the_graph_of_programls_own_test() -> None:
    # a, b, c, d, x are 1 to 5; b1: 6, b2: 7, b3: 8 and 9.
    definitions = [(6, 1), (6, 2), (6, 4), (6, 5), (7, 3), (7, 4), (8, 3)]
    uses = [(1, 7), (2, 7), (2, 9), (3, 9), (4, 9)]
    graph = draw(
        [(VARIABLE, "i32")] * 5 + [(INSTRUCTION, "b")] * 4,
        [(DATA, s, t, 0) for s, t in (*definitions, *uses)]
        + [(CONTROL, s, t, 0) for s, t in ((6, 7), (6, 8), (7, 8), (8, 9))],
    )
    assert marked(graph, "liveness", 6) == {1, 2, 4}
    assert marked(graph, "liveness", 7) == {2, 4}
    assert marked(graph, "liveness", 8) == {2, 3, 4}
    assert 9 not in ANALYSES["liveness"](graph).roots()


def test_a_value_made_anew_each_time_round_is_dead_at_the_end_of_the_round() -> None:
    # 1 defines the value 4, 2 uses it, 3 goes back to 1.
    graph = draw(
        [(INSTRUCTION, "load"), (INSTRUCTION, "store"), (INSTRUCTION, "br"), (VARIABLE, "i32")],
        ROUND,
    )
    assert marked(graph, "liveness", 1) == {4}
    assert ANALYSES["liveness"](graph).roots() == [1]


def test_subexpressions_compare_opcode_and_operands_in_order() -> None:
    operands = {1: (6, 7), 2: (7, 6), 3: (6, 7), 4: (6, 7), 5: (7, 6)}
    opcodes = {1: "sub", 2: "sub", 3: "sub", 4: "add", 5: "add"}
    graph = draw(
        [(INSTRUCTION, opcodes[n]) for n in range(1, 6)] + [(VARIABLE, "i32")] * 2,
        [(DATA, v, n, p) for n, values in operands.items() for p, v in enumerate(values)],
    )
    assert marked(graph, "subexpressions", 1) == {1, 3}
    assert marked(graph, "subexpressions", 4) == {4, 5}
    assert 2 not in ANALYSES["subexpressions"](graph).roots()


def test_uses_of_one_result_are_one_operand() -> None:
    # 1 defines two variables, one for each of its uses, 4 and 5.
    graph = draw(
        [(INSTRUCTION, "load"), (VARIABLE, "i32"), (VARIABLE, "i32")] + [(INSTRUCTION, "sext")] * 2,
        [(DATA, 1, 2, 0), (DATA, 1, 3, 0), (DATA, 2, 4, 0), (DATA, 3, 5, 0)],
    )
    assert marked(graph, "subexpressions", 4) == {4, 5}


def test_an_expression_that_stands_alone_is_no_root() -> None:
    graph = draw([(INSTRUCTION, "ret"), (CONSTANT, "i32")], [(DATA, 2, 1, 0)])
    with pytest.raises(ValueError, match="stands alone"):
        ANALYSES["subexpressions"](graph).run(1)


@given(graphs())
def test_reachability_is_the_closure_of_control(graph: ProgramGraph) -> None:
    reach = closure(links(graph, CONTROL))
    for root in instructions(graph):
        assert marked(graph, "reachability", root) == set(np.flatnonzero(reach[root]).tolist())


@given(graphs())
def test_a_mark_stands_after_as_many_rounds_as_its_path_has_edges(graph: ProgramGraph) -> None:
    control = links(graph, CONTROL)
    for root in instructions(graph):
        marks = ANALYSES["reachability"](graph).run(root)
        for rounds in range(4):
            np.testing.assert_array_equal(marks.since <= rounds, closure(control, rounds)[root])


@given(graphs(largest=6))
def test_dominated_is_what_no_path_reaches_around_the_root(graph: ProgramGraph) -> None:
    control = links(graph, CONTROL)
    entries = [n for n in instructions(graph) if not control[:, n].any()]
    for root in instructions(graph):
        expected = {
            node
            for node in instructions(graph)
            if any(True for _ in paths(control, root, node))
            and all(root in path for entry in entries for path in paths(control, entry, node))
        }
        assert marked(graph, "dominance", root) == expected


@given(graphs())
def test_data_dependence_is_the_closure_of_data_read_backwards(graph: ProgramGraph) -> None:
    reach = closure(links(graph, DATA))
    for root in ANALYSES["datadep"](graph).roots():
        sources = set(np.flatnonzero(reach[:, root]).tolist())
        assert marked(graph, "datadep", root) == sources & set(instructions(graph))


@given(graphs(largest=6))
def test_live_is_what_a_path_uses_before_it_is_defined_anew(graph: ProgramGraph) -> None:
    control, data = links(graph, CONTROL), links(graph, DATA)
    analysis = ANALYSES["liveness"](graph)
    for root in instructions(graph):
        expected = set()
        for value in np.flatnonzero(graph.node_types != INSTRUCTION).tolist():
            for use in np.flatnonzero(data[value]).tolist():
                for successor in np.flatnonzero(control[root]).tolist():
                    if any(
                        not data[path[:-1], value].any() for path in paths(control, successor, use)
                    ):
                        expected.add(value)
        assert (root in analysis.roots()) == bool(expected)
        if expected:
            assert marked(graph, "liveness", root) == expected


@given(graphs())
def test_the_same_expression_is_written_the_same(graph: ProgramGraph) -> None:
    def written(node: int) -> tuple[str, list[str]]:
        text = graph.node_texts[node]
        operands = []
        for edge in np.flatnonzero((graph.edge_flows == DATA) & (graph.edge_index[1] == node)):
            value, position = graph.edge_index[0, edge], graph.edge_positions[edge]
            makers = graph.edge_index[0][
                (graph.edge_flows == DATA) & (graph.edge_index[1] == value)
            ]
            name = f"result of {makers[0]}" if makers.size else f"value {value}"
            operands.append((int(position), int(makers[0] if makers.size else value), name))
        in_order = sorted(operands)
        names = [name for _, _, name in in_order]
        return text, sorted(names) if text in COMMUTATIVE else names

    analysis = ANALYSES["subexpressions"](graph)
    nodes = instructions(graph)
    for root in nodes:
        same = {n for n in nodes if written(n)[1] and written(n) == written(root)}
        assert (root in analysis.roots()) == (len(same) > 1)
        if len(same) > 1:
            assert marked(graph, "subexpressions", root) == same


def without_kill(graph: ProgramGraph, root: int) -> set[int]:
    """A liveness that forgets that a definition ends a value's life."""
    control, data = closure(links(graph, CONTROL)), links(graph, DATA)
    after = links(graph, CONTROL)[root] @ control
    values = graph.node_types != INSTRUCTION
    return set(np.flatnonzero((data[:, after].any(axis=1)) & values).tolist())


def as_published(graph: ProgramGraph, root: int) -> set[int]:
    """Dominance as ProGraML's code iterates it, from empty sets."""
    control = links(graph, CONTROL)
    found = {root}
    for _ in range(len(control)):
        found |= {n for n in instructions(graph) if control[:, n].any()} - {
            n for n in range(len(control)) if set(np.flatnonzero(control[:, n]).tolist()) - found
        }
    return found


def test_a_mutant_that_never_kills_is_caught() -> None:
    graph = draw(
        [(INSTRUCTION, "load"), (INSTRUCTION, "store"), (INSTRUCTION, "br"), (VARIABLE, "i32")],
        ROUND,
    )
    assert without_kill(graph, 1) == marked(graph, "liveness", 1)
    assert without_kill(graph, 2) != set()
    assert 2 not in ANALYSES["liveness"](graph).roots()


def test_programls_code_marks_less_only_behind_loops() -> None:
    diamond = flow_graph([(1, 2), (1, 3), (2, 4), (3, 4), (4, 5)], 5)
    loop = flow_graph([(1, 2), (2, 3), (3, 2), (3, 4)], 4)
    for root in range(1, 6):
        assert as_published(diamond, root) == marked(diamond, "dominance", root)
    assert as_published(loop, 1) == {1}
    assert marked(loop, "dominance", 1) == {1, 2, 3, 4}


SOURCE = """
__kernel void f(__global float *a, int n) {
  float sum = 0;
  for (int i = 0; i < n; i++) { if (a[i] > 0) sum += a[i]; else sum -= a[i + 1]; }
  a[get_global_id(0)] = sum;
}
"""


@pytest.mark.parametrize("task", list(ANALYSES))
def test_every_root_of_a_real_kernel_has_an_answer_that_its_steps_reach(task: str) -> None:
    graph = build(compile_source(SOURCE))
    analysis = ANALYSES[task](graph)
    assert analysis.roots() or task == "subexpressions"
    for root in analysis.roots():
        marks: Marks = analysis.run(root)
        at_end = (marks.since <= marks.steps) & (marks.steps < marks.until)
        np.testing.assert_array_equal(at_end, marks.marked)
        assert marks.marked.any() or task == "datadep"
