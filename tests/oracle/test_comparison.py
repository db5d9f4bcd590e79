"""The comparison with ProGraML's graphs sees any renumbering as equal and any change as a difference."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from oracle.comparison import difference
from oracle.drawing import Drawing, Edge, Node, drawing_of

from predictor import frontend, program_graph

SOURCE = """
float weigh(float value) { return value < 0 ? -value : value * 3; }
__kernel void f(__global float *a, __global const float *b, int n) {
    int i = get_global_id(0);
    float sum = 0;
    for (int k = 0; k < n; k++) sum += b[i + k] - weigh(b[k]);
    switch (n) { case 1: a[i] = sum; break; case 4: a[i] -= sum; break; default: a[i] = n; }
}
"""


@pytest.fixture(scope="module")
def drawn() -> Drawing:
    return drawing_of(program_graph.build(frontend.compile_source(SOURCE)))


def renumbered(drawing: Drawing, random: Random) -> Drawing:
    """The same graph with its nodes, edges and functions in another order."""
    order = list(range(len(drawing.nodes)))
    random.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    edges = [replace(e, source=place[e.source], target=place[e.target]) for e in drawing.edges]
    random.shuffle(edges)
    nodes = tuple(drawing.nodes[old] for old in order)
    return Drawing(nodes, tuple(edges), drawing.functions[::-1])


def with_edge(drawing: Drawing, number: int, edge: Edge) -> Drawing:
    edges = (*drawing.edges[:number], edge, *drawing.edges[number + 1 :])
    return replace(drawing, edges=edges)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_nodes_and_edges_means_nothing(drawn: Drawing, seed: int) -> None:
    assert difference(drawn, renumbered(drawn, Random(seed))) == ""


def test_every_changed_position_is_a_difference(drawn: Drawing) -> None:
    other = renumbered(drawn, Random(1))
    for number, edge in enumerate(drawn.edges):
        changed = with_edge(drawn, number, replace(edge, position=edge.position + 1))
        assert "edges differ" in difference(changed, other)


def test_every_changed_text_is_a_difference(drawn: Drawing) -> None:
    other = renumbered(drawn, Random(2))
    for number, node in enumerate(drawn.nodes):
        nodes = (*drawn.nodes[:number], replace(node, text="x"), *drawn.nodes[number + 1 :])
        assert "nodes differ" in difference(replace(drawn, nodes=nodes), other)


def test_an_edge_that_is_missing_is_a_difference(drawn: Drawing) -> None:
    other = renumbered(drawn, Random(3))
    for number in range(len(drawn.edges)):
        fewer = replace(drawn, edges=(*drawn.edges[:number], *drawn.edges[number + 1 :]))
        assert "theirs alone" in difference(fewer, other)


def test_an_edge_between_other_nodes_of_the_same_texts_is_a_difference(drawn: Drawing) -> None:
    other = renumbered(drawn, Random(4))
    tried = 0
    for number, edge in enumerate(drawn.edges):
        twin = next(
            (
                n
                for n, node in enumerate(drawn.nodes)
                if n != edge.source and node == drawn.nodes[edge.source]
            ),
            None,
        )
        if twin is not None:
            tried += 1
            assert difference(with_edge(drawn, number, replace(edge, source=twin)), other)
    assert tried > 20


def test_a_node_of_another_function_is_a_difference(drawn: Drawing) -> None:
    number = next(n for n, node in enumerate(drawn.nodes) if node.function)
    moved = replace(drawn.nodes[number], function="other")
    nodes = (*drawn.nodes[:number], moved, *drawn.nodes[number + 1 :])
    assert difference(replace(drawn, nodes=nodes), drawn)


def test_another_function_is_a_difference(drawn: Drawing) -> None:
    assert "functions differ" in difference(replace(drawn, functions=("g",)), drawn)


def test_nodes_that_nothing_tells_apart_may_be_paired_either_way() -> None:
    nodes = tuple(Node("instruction", "add", "f") for _ in range(4))
    ring = tuple(Edge(n, (n + 1) % 4, "control", 0) for n in range(4))
    back = tuple(Edge((n + 1) % 4, n, "control", 0) for n in range(4))
    assert difference(Drawing(nodes, ring, ("f",)), Drawing(nodes, back, ("f",))) == ""


def test_two_rings_are_not_one_ring_though_every_node_looks_alike() -> None:
    nodes = tuple(Node("instruction", "add", "f") for _ in range(6))
    one = tuple(Edge(n, (n + 1) % 6, "control", 0) for n in range(6))
    two = tuple(Edge(n, n // 3 * 3 + (n + 1) % 3, "control", 0) for n in range(6))
    assert "join other nodes" in difference(
        Drawing(nodes, one, ("f",)), Drawing(nodes, two, ("f",))
    )
