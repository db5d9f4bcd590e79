"""Programs stay whole, labels follow from a seed, variants are honest graphs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from predictor.dataflow import corpus
from predictor.dataflow.analyses import ANALYSES
from predictor.dataflow.corpus import Source
from predictor.dataflow.variants import vary
from predictor.datasets.devmap import Devmap, Launch
from predictor.errors import DatasetError
from predictor.frontend import compile_source
from predictor.program_graph import CONTROL, DATA, INSTRUCTION, VARIABLE, ProgramGraph, build
from tests.predictor.conftest import SOURCES


def made(programs: list[str]) -> list[Source]:
    graph = build(compile_source(SOURCES[0]))
    return [Source(f"{program}/{n}", program, graph) for n, program in enumerate(programs)]


def test_a_program_is_in_one_part() -> None:
    sources = made([f"p{number % 12}" for number in range(60)])
    parts = corpus.split(sources, seed=3)
    programs = {part: {source.program for source in members} for part, members in parts.items()}
    assert sum(len(members) for members in parts.values()) == 60
    assert not programs["train"] & programs["validation"]
    assert not (programs["train"] | programs["validation"]) & programs["test"]
    assert len(parts["train"]) > len(parts["validation"]) > 0 < len(parts["test"])


def test_another_seed_divides_otherwise() -> None:
    sources = made([f"p{number}" for number in range(20)])
    first, second = (
        [source.program for source in corpus.split(sources, seed)["test"]] for seed in (1, 2)
    )
    assert first != second


def test_too_few_programs_are_refused() -> None:
    with pytest.raises(DatasetError, match="2 programs given, expected at least 3"):
        corpus.split(made(["a", "b", "a"]), seed=1)


def test_programs_that_share_a_source_count_as_one() -> None:
    names = ["s-1-a-k", "s-1-b-k", "s-1-b-l", "s-1-c-k"]
    launches = tuple(
        Launch(name, "", kernel, 1, 1, 1.0, 1.0) for name, kernel in zip(names, [0, 0, 1, 2])
    )
    table = Devmap("nvidia", "", ("one", "two", "three"), launches)
    programs = corpus.programs_of_sources(table)
    assert programs[0] == programs[1] != programs[2]


def test_roots_are_sampled_by_the_seed(graphs: list[ProgramGraph]) -> None:
    sources = [Source(str(n), str(n), graph) for n, graph in enumerate(graphs)]
    first, again, other = (
        corpus.label(sources, "reachability", roots=3, seed=seed) for seed in (1, 1, 2)
    )
    assert [g.roots.tolist() for g in first] == [g.roots.tolist() for g in again]
    assert [g.roots.tolist() for g in first] != [g.roots.tolist() for g in other]
    assert max(graph.roots.size for graph in first) == 3


def test_labels_are_the_analysis_own(graphs: list[ProgramGraph]) -> None:
    sources = [Source(str(n), str(n), graph) for n, graph in enumerate(graphs)]
    for graph in corpus.label(sources, "dominance", roots=5, seed=1):
        for row, root in enumerate(graph.roots.tolist()):
            marks = ANALYSES["dominance"](graph.graph).run(root)
            np.testing.assert_array_equal(graph.marked[row], marks.marked)
            assert graph.steps[row] == marks.steps


def test_judged_are_a_tenth_of_the_nodes_and_at_most_ten(graphs: list[ProgramGraph]) -> None:
    sources = [Source(str(n), str(n), graph) for n, graph in enumerate(graphs)]
    for graph in corpus.label(sources, "reachability", roots=None, seed=1):
        nodes = len(graph.graph.node_types)
        assert graph.roots.size == min(-(-nodes // 10), 10)


def test_a_variant_has_copies_that_compute_the_same_and_copies_that_do_not(
    graphs: list[ProgramGraph],
) -> None:
    graph = max(graphs, key=lambda g: len(g.node_types))
    old = len(graph.node_types)
    repeats = set()
    for seed in range(20):
        variant = vary(graph, np.random.default_rng(seed))
        analysis = ANALYSES["subexpressions"](variant)
        for copy in range(old, len(variant.node_types)):
            if variant.node_types[copy] == INSTRUCTION:
                repeats.add(copy in analysis.roots())
    assert repeats == {True, False}


def test_a_variant_has_copies_that_read_some_of_what_another_instruction_reads() -> None:
    # Nothing but `fma` reads two of the values that it reads.
    source = """
__kernel void k(__global const float *a, __global const float *b, __global const float *c,
                __global float *out) {
    size_t i = get_global_id(0);
    out[i] = fma(a[i], b[i], c[i]);
}
"""
    graph = build(compile_source(source))
    old = len(graph.node_types)
    (widest,) = [reads for n in range(old) if len(reads := _operands(graph, n)) == 3]
    copies = []
    for seed in range(200):
        variant = vary(graph, np.random.default_rng(seed))
        copies += [_operands(variant, node) for node in range(old, len(variant.node_types))]
    assert any(2 <= reads.total() < widest.total() and reads <= widest for reads in copies)


def _operands(graph: ProgramGraph, node: int) -> Counter[int]:
    """What a node reads: the instruction that gives a value, or the value, each as often as it is read."""
    edges = graph.edge_index[:, graph.edge_flows == DATA]
    values = edges[0, edges[1] == node].tolist()
    given = {value: edges[0, edges[1] == value].tolist() for value in values}
    return Counter(given[value][0] if given[value] else value for value in values)


def test_a_variant_keeps_control_in_one_line_and_one_definition_for_a_value(
    graphs: list[ProgramGraph],
) -> None:
    for graph in graphs:
        variant = vary(graph, np.random.default_rng(1))
        nodes, old = len(variant.node_types), len(graph.node_types)
        for flow, kind, most in ((CONTROL, INSTRUCTION, 1), (DATA, VARIABLE, 1)):
            chosen = variant.edge_flows == flow
            arriving = np.bincount(variant.edge_index[1, chosen], minlength=nodes)[old:]
            assert arriving[variant.node_types[old:] == kind].max(initial=most) == most
        old_roots = ANALYSES["reachability"](graph).roots()
        assert set(old_roots) <= set(ANALYSES["reachability"](variant).roots())
