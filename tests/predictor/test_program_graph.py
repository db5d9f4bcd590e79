"""The program graph, against what ProGraML's paper says a graph holds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from predictor import assembly, frontend, program_graph
from predictor.program_graph import CALL, CONSTANT, CONTROL, DATA, INSTRUCTION, VARIABLE

FIBONACCI = """
define i32 @fib(i32 %0) {
  %2 = icmp slt i32 %0, 2
  br i1 %2, label %9, label %3

3:
  %4 = add i32 %0, -1
  %5 = call i32 @fib(i32 %4)
  %6 = add i32 %0, -2
  %7 = call i32 @fib(i32 %6)
  %8 = add i32 %5, %7
  ret i32 %8

9:
  ret i32 %0
}
"""


@pytest.fixture
def fibonacci() -> program_graph.ProgramGraph:
    return program_graph.build(assembly.parse(FIBONACCI))


def edges(graph: program_graph.ProgramGraph, flow: int) -> list[tuple[str, str, int]]:
    """The edges of one flow as (source text, target text, position)."""
    chosen = np.flatnonzero(graph.edge_flows == flow)
    return [
        (
            graph.node_full_texts[graph.edge_index[0, e]]
            or graph.node_texts[graph.edge_index[0, e]],
            graph.node_full_texts[graph.edge_index[1, e]]
            or graph.node_texts[graph.edge_index[1, e]],
            int(graph.edge_positions[e]),
        )
        for e in chosen
    ]


def test_the_root_is_the_first_node(fibonacci: program_graph.ProgramGraph) -> None:
    assert fibonacci.node_texts[0] == "[external]"
    assert fibonacci.node_functions[0] == -1


def test_instructions_are_chained_by_control(fibonacci: program_graph.ProgramGraph) -> None:
    control = edges(fibonacci, CONTROL)
    assert ("%2 = icmp slt i32 %0, 2", "br i1 %2, label %9, label %3", 0) in control


def test_a_branch_numbers_its_successors(fibonacci: program_graph.ProgramGraph) -> None:
    branch = "br i1 %2, label %9, label %3"
    leaving = {(t, p) for s, t, p in edges(fibonacci, CONTROL) if s == branch}
    assert leaving == {("ret i32 %0", 0), ("%4 = add i32 %0, -1", 1)}


def test_data_flows_through_a_variable_with_the_operands_position(
    fibonacci: program_graph.ProgramGraph,
) -> None:
    data = edges(fibonacci, DATA)
    assert ("%7 = call i32 @fib(i32 %6)", "i32 %7", 0) in data
    assert ("i32 %7", "%8 = add i32 %5, %7", 1) in data


def test_a_parameter_is_one_variable_for_all_its_uses(
    fibonacci: program_graph.ProgramGraph,
) -> None:
    users = [t for s, t, _ in edges(fibonacci, DATA) if s == "i32 %0"]
    assert len(users) == 4
    assert sum(text == "i32 %0" for text in fibonacci.node_full_texts) == 1


def test_a_constant_is_one_node_for_all_its_uses() -> None:
    graph = program_graph.build(
        assembly.parse(
            "define i32 @f(i32 %0) {\n  %2 = add i32 %0, 7\n  %3 = mul i32 %2, 7\n  ret i32 %3\n}"
        )
    )
    assert sum(graph.node_types == CONSTANT) == 1
    assert len([s for s, _, _ in edges(graph, DATA) if s == "i32 7"]) == 2


def test_calls_lead_to_the_entry_and_returns_lead_back(
    fibonacci: program_graph.ProgramGraph,
) -> None:
    call = "%5 = call i32 @fib(i32 %4)"
    calls = edges(fibonacci, CALL)
    assert (call, "%2 = icmp slt i32 %0, 2", 0) in calls
    assert ("ret i32 %8", call, 0) in calls
    assert ("ret i32 %0", call, 0) in calls


def test_the_root_calls_every_function_and_gets_its_returns(
    fibonacci: program_graph.ProgramGraph,
) -> None:
    calls = edges(fibonacci, CALL)
    assert ("[external]", "%2 = icmp slt i32 %0, 2", 0) in calls
    assert ("ret i32 %0", "[external]", 0) in calls


def test_a_declaration_is_one_instruction() -> None:
    module = frontend.compile_source("__kernel void f(__global float *a) { a[0] = sin(a[0]); }")
    graph = program_graph.build(module)
    assert graph.node_texts.count("; undefined function") == 1


def test_a_kernel_without_operands_has_a_graph() -> None:
    graph = program_graph.build(frontend.compile_source("__kernel void f() {}"))
    assert graph.counts()["instruction nodes"] == 2
    assert graph.counts()["call edges"] == 2


def test_variables_carry_their_type(fibonacci: program_graph.ProgramGraph) -> None:
    texts = {fibonacci.node_texts[i] for i in np.flatnonzero(fibonacci.node_types == VARIABLE)}
    assert texts == {"i1", "i32"}


def test_structs_are_written_as_one_word() -> None:
    module = assembly.parse(
        "%struct.pair = type { i32, i32 }\n"
        "define i32 @f(%struct.pair %0) {\n"
        "  %2 = extractvalue %struct.pair %0, 0\n  ret i32 %2\n}"
    )
    assert "struct" in program_graph.build(module).node_texts


def test_the_graph_cannot_be_changed(fibonacci: program_graph.ProgramGraph) -> None:
    with pytest.raises(ValueError, match="read-only"):
        fibonacci.edge_index[0, 0] = 3


def test_json_holds_all_nodes_and_edges(fibonacci: program_graph.ProgramGraph) -> None:
    shown = json.loads(fibonacci.to_json())
    assert len(shown["nodes"]) == len(fibonacci.node_types)
    assert len(shown["edges"]) == fibonacci.edge_index.shape[1]
    assert shown["nodes"][0]["text"] == "[external]"


def test_dot_names_every_node(fibonacci: program_graph.ProgramGraph) -> None:
    dot = fibonacci.to_dot()
    assert dot.startswith("digraph")
    assert all(f"n{node} [" in dot for node in range(len(fibonacci.node_types)))


def test_a_graph_whose_edge_leaves_it_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        program_graph.ProgramGraph(
            np.zeros(1, np.int8),
            ("[external]",),
            ("",),
            np.zeros(1, np.int32),
            np.array([[0], [1]], np.int32),
            np.zeros(1, np.int8),
            np.zeros(1, np.int32),
            (),
        )


def test_node_types_are_numbered_as_documented(fibonacci: program_graph.ProgramGraph) -> None:
    assert fibonacci.node_types[0] == INSTRUCTION
    assert fibonacci.counts()["constant nodes"] == 3
