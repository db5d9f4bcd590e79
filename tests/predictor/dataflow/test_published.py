"""The published corpus is read from its own files, without a protocol buffer package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from predictor.dataflow import published, wire
from predictor.dataflow.analyses import ANALYSES
from predictor.errors import DatasetError
from predictor.program_graph import CONSTANT, CONTROL, DATA, INSTRUCTION, VARIABLE, ProgramGraph
from tests.predictor.dataflow.drawn import draw


def varint(value: int) -> bytes:
    low = value & 0x7F
    return bytes([low | 0x80]) + varint(value >> 7) if value >> 7 else bytes([low])


def number(field: int, value: int) -> bytes:
    """An integer field; a zero is left out, as proto3 does."""
    return varint(field << 3) + varint(value) if value else b""


def nested(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def entry(key: str, value: bytes) -> bytes:
    return nested(1, nested(1, key.encode()) + nested(2, value))


def feature(*values: int) -> bytes:
    return nested(3, nested(1, b"".join(varint(value) for value in values)))


def graph_message(graph: ProgramGraph) -> bytes:
    nodes = [
        number(1, int(kind))
        + nested(2, text.encode())
        + number(4, max(0, int(function)))
        # A node has features, which are passed over.
        + nested(8, entry("full_text", nested(1, nested(1, b"%1 = add"))))
        for kind, text, function in zip(graph.node_types, graph.node_texts, graph.node_functions)
    ]
    edges = [
        number(1, int(flow)) + number(2, int(position)) + number(3, int(s)) + number(4, int(t))
        for flow, position, (s, t) in zip(
            graph.edge_flows, graph.edge_positions, graph.edge_index.T
        )
    ]
    functions = [nested(1, name.encode()) for name in graph.function_names]
    return b"".join(
        nested(field, content)
        for field, contents in ((1, nodes), (2, edges), (4, functions))
        for content in contents
    )


def labels_message(roots: list[int], marks: list[list[int]], steps: int) -> bytes:
    content = b""
    for root, marked in zip(roots, marks):
        selected = [int(node == root) for node in range(len(marked))]
        lists = {"data_flow_root_node": selected, "data_flow_value": marked}
        node_features = b"".join(
            entry(name, b"".join(nested(1, feature(value)) for value in values))
            for name, values in lists.items()
        )
        graph_features = entry("data_flow_step_count", feature(steps))
        content += nested(2, nested(1, node_features) + nested(5, graph_features))
    return content


@pytest.fixture
def graph() -> ProgramGraph:
    return draw(
        [(INSTRUCTION, "load"), (VARIABLE, "i32"), (INSTRUCTION, "ret"), (CONSTANT, "i64")],
        [(CONTROL, 1, 3, 0), (DATA, 1, 2, 0), (DATA, 2, 3, 300), (DATA, 4, 3, 1)],
    )


@pytest.fixture
def corpus(tmp_path: Path, graph: ProgramGraph) -> Path:
    """A corpus of three training graphs, one of which has no labels."""
    for folder in ("train", "val", "graphs", "labels/domtree"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("a.1.c", "a.2.c", "a.3.c"):
        (tmp_path / "graphs" / f"{name}.ProgramGraph.pb").write_bytes(graph_message(graph))
        link = tmp_path / "train" / f"{name}.ProgramGraph.pb"
        link.symlink_to(Path("..") / "graphs" / f"{name}.ProgramGraph.pb")
        labels = tmp_path / "labels" / "domtree" / f"{name}.ProgramGraphFeaturesList.pb"
        if name != "a.2.c":
            labels.write_bytes(labels_message([1, 3], [[0, 1, 0, 1, 0], [0, 0, 0, 1, 0]], 7))
    return tmp_path


def test_a_message_is_its_fields_in_order() -> None:
    # The examples of the encoding chapter of the documentation: 150, and the text "testing".
    message = bytes.fromhex("089601") + bytes.fromhex("120774657374696e67")
    assert list(wire.fields(message)) == [(1, 150), (2, b"testing")]


def test_numbers_of_fixed_width_are_passed_over() -> None:
    message = bytes([1 << 3 | 1, *range(8), 2 << 3 | 5, *range(4), 3 << 3, 1])
    assert [field for field, _ in wire.fields(message)] == [1, 2, 3]


def test_repeated_integers_are_read_packed_or_not() -> None:
    assert wire.integers(bytes.fromhex("3206038e029ea705"), 6) == [3, 270, 86942]
    assert wire.integers(bytes([6 << 3, 3, 6 << 3, 4]), 6) == [3, 4]


@pytest.mark.parametrize(
    "message", ["08", "0a0561", "0b", "08" + "ff" * 10 + "01"], ids=["cut", "short", "kind", "long"]
)
def test_bytes_that_are_no_message_are_refused(message: str) -> None:
    with pytest.raises(wire.WireError):
        list(wire.fields(bytes.fromhex(message)))


def test_a_graph_is_read_as_it_was_written(graph: ProgramGraph) -> None:
    read = published.graph_of(graph_message(graph))
    assert read.node_texts == graph.node_texts
    assert read.function_names == graph.function_names
    for name in ("node_types", "edge_index", "edge_flows", "edge_positions"):
        np.testing.assert_array_equal(getattr(read, name), getattr(graph, name))
    assert read.node_functions.tolist() == [-1, 0, 0, 0, -1]


def test_labels_are_those_of_the_file(graph: ProgramGraph) -> None:
    # Reachability would mark nodes 1 and 3; the file says otherwise, and is right.
    message = labels_message([1], [[0, 0, 1, 1, 0]], 5)
    labelled = published.labels_of(message, "a", graph, "reachability")
    assert labelled.marked.tolist() == [[False, False, True, True, False]]
    assert labelled.roots.tolist() == [1]
    assert labelled.steps.tolist() == [5]
    ours = ANALYSES["reachability"](graph).run(1).since
    assert labelled.since[0, 2] == 5
    assert labelled.since[0, 3] == ours[3]


def test_labels_of_another_graph_are_refused(graph: ProgramGraph) -> None:
    with pytest.raises(ValueError, match="3 labels and 1 roots given, expected 5"):
        published.labels_of(labels_message([1], [[0, 1, 0]], 1), "a", graph, "reachability")


def test_a_part_is_read_through_its_links_under_either_name_of_the_task(corpus: Path) -> None:
    labelled = published.read(corpus, "dominance", "train", limit=9, seed=1)
    assert [graph.name for graph in labelled] == ["a.1.c.ProgramGraph.pb", "a.3.c.ProgramGraph.pb"]
    assert labelled[0].marked.sum(axis=1).tolist() == [2, 1]


def test_no_more_graphs_are_read_than_asked_for(corpus: Path) -> None:
    assert len(published.read(corpus, "dominance", "train", limit=1, seed=1)) == 1


@pytest.mark.parametrize(
    ("task", "part", "message"),
    [
        ("liveness", "train", "lacks labels/liveness"),
        ("dominance", "validation", "no .*ProgramGraph.pb in"),
    ],
)
def test_what_a_corpus_lacks_is_named(corpus: Path, task: str, part: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        published.read(corpus, task, part, limit=9, seed=1)


def test_a_damaged_file_is_named(corpus: Path) -> None:
    (corpus / "graphs" / "a.1.c.ProgramGraph.pb").write_bytes(b"\x0a\x7f")
    with pytest.raises(DatasetError, match=r"a\.1\.c.*are left"):
        published.read(corpus, "dominance", "train", limit=9, seed=1)
