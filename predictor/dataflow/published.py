"""The published corpus (DeepDataFlow, doi 10.5281/zenodo.4247595): graphs and labels from its own files.

Its folder holds `train/`, `val/` and `test/`, each with graphs NAME.ProgramGraph.pb (links into `graphs/`),
and `labels/ANALYSIS/NAME.ProgramGraphFeaturesList.pb`, where dominance is called `domtree`. Labels are
taken as they stand, with the step counts of the traditional analyses; nothing is computed anew.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from predictor.dataflow import wire
from predictor.dataflow.analyses import ANALYSES, NEVER
from predictor.dataflow.corpus import Labelled
from predictor.errors import DatasetError
from predictor.program_graph import CALL, CONSTANT, ProgramGraph

FOLDERS = {"train": "train", "validation": "val", "test": "test"}
GRAPH_END = ".ProgramGraph.pb"
LABEL_ENDS = (".ProgramGraphFeaturesList.pb", ".ProgramFeaturesList.pb")
_LABEL_FOLDERS = {"dominance": ("dominance", "domtree")}


def read(
    corpus: Path,
    task: str,
    part: str,
    *,
    limit: int,
    seed: int,
    advance: Callable[[], object] = lambda: None,
) -> list[Labelled]:
    """At most `limit` graphs of a part, sampled, with the labels of a task; in the order of their names.

    A graph without a label file, which is one that the analysis has no root in, is passed over.
    Raises DatasetError where a folder is missing or a file cannot be read.
    """
    folder = corpus / FOLDERS[part]
    names = sorted(path.name for path in folder.glob(f"*{GRAPH_END}"))
    if not names:
        raise DatasetError(f"no *{GRAPH_END} in {folder}; give the folder of the published corpus")
    labels = _label_folder(corpus, task)
    chosen: list[tuple[str, Path]] = []
    for name in np.random.default_rng(seed).permutation(names).tolist():
        stem = name.removesuffix(GRAPH_END)
        found = [labels / (stem + end) for end in LABEL_ENDS if (labels / (stem + end)).is_file()]
        if found and len(chosen) < limit:
            chosen.append((name, found[0]))
    labelled = []
    for name, label_file in sorted(chosen):
        path = folder / name if (folder / name).exists() else corpus / "graphs" / name
        try:
            graph = graph_of(path.read_bytes())
            labelled.append(labels_of(label_file.read_bytes(), name, graph, task))
        except (OSError, ValueError) as error:
            raise DatasetError(f"cannot read {path} with {label_file}: {error}") from error
        advance()
    if not labelled:
        raise DatasetError(f"no labels in {labels} for the graphs in {folder}")
    return labelled


def graph_of(message: bytes) -> ProgramGraph:
    """A `ProgramGraph` message as a graph of ours, without full texts.

    Raises ValueError where the bytes are no such message.
    """
    types, texts, functions, edges, names = [], [], [], [], []
    for number, value in wire.fields(message):
        if number == 1:
            node = dict(wire.fields(wire.as_bytes(value)))
            types.append(wire.as_integer(node.get(1, 0)))
            texts.append(wire.as_bytes(node.get(2, b"")).decode("utf-8"))
            functions.append(wire.as_integer(node.get(4, 0)))
        elif number == 2:
            edge = dict(wire.fields(wire.as_bytes(value)))
            # Flow, position, source and target; a zero is not written.
            edges.append([wire.as_integer(edge.get(field, 0)) for field in (1, 2, 3, 4)])
        elif number == 4:
            name = dict(wire.fields(wire.as_bytes(value))).get(1, b"")
            names.append(wire.as_bytes(name).decode("utf-8"))
    if not types or max(types) > CONSTANT:
        raise ValueError("expected nodes that are instructions, variables and constants")
    table = np.array(edges, np.int64).reshape(-1, 4).T
    if table.size and (table[0].max() > CALL or table.max() > np.iinfo(np.int32).max):
        raise ValueError("expected edges that are control, data and call")
    node_types = np.array(types, np.int8)
    node_functions = np.array(functions, np.int32)
    # The root and constants belong to no function, which the file writes as if to the first.
    node_functions[(node_types == CONSTANT) | (np.arange(node_types.size) == 0)] = -1
    return ProgramGraph(
        node_types,
        tuple(texts),
        ("",) * len(texts),
        node_functions,
        table[2:4].astype(np.int32),
        table[0].astype(np.int8),
        table[1].astype(np.int32),
        tuple(names),
    )


def labels_of(message: bytes, name: str, graph: ProgramGraph, task: str) -> Labelled:
    """A `ProgramGraphFeaturesList` message: roots, marks and step counts for a graph.

    In which round a mark is made, for training, the file does not say: that is our analysis' word, and
    the last round of the file's count where ours does not mark the node.

    Raises ValueError where the bytes are no such message, or of another graph.
    """
    nodes = len(graph.node_types)
    analysis = ANALYSES[task](graph)
    eligible = frozenset(analysis.roots())
    roots, since, hint, steps = [], [], [], []
    for features in wire.messages(message, 2):
        lists: dict[str, list[int]] = {}
        count = 0
        for number, value in wire.fields(features):
            if number == 1:
                for key, feature_list in _entries(wire.as_bytes(value)):
                    every = wire.messages(feature_list, 1)
                    lists[key] = [_integer(feature) for feature in every]
            elif number == 5:
                graph_features = dict(_entries(wire.as_bytes(value)))
                if "data_flow_step_count" in graph_features:
                    count = _integer(graph_features["data_flow_step_count"])
        selected = np.flatnonzero(lists.get("data_flow_root_node", []))
        values = np.array(lists.get("data_flow_value", []), np.bool_)
        if values.size != nodes or selected.size != 1 or selected[0] >= nodes:
            raise ValueError(
                f"{values.size} labels and {selected.size} roots given, "
                f"expected {nodes} labels and 1 root"
            )
        root = int(selected[0])
        rounds, seen = np.full(nodes, count, np.int32), np.full(nodes, NEVER, np.int32)
        if root in eligible:
            ours = analysis.run(root)
            rounds, seen = np.where(ours.since < NEVER, ours.since, rounds), ours.hint
        hint.append(seen)
        roots.append(root)
        since.append(np.where(values, rounds, NEVER).astype(np.int32))
        steps.append(count)
    if not roots:
        raise ValueError("no labels in the file")
    return Labelled(
        name,
        graph,
        np.array(roots, np.int64),
        np.stack(since),
        np.full((len(roots), nodes), NEVER, np.int32),
        np.stack(hint),
        np.array(steps, np.int64),
    )


def _label_folder(corpus: Path, task: str) -> Path:
    names = _LABEL_FOLDERS.get(task, (task,))
    for name in names:
        if (corpus / "labels" / name).is_dir():
            return corpus / "labels" / name
    expected = " or ".join(f"labels/{name}" for name in names)
    raise DatasetError(f"corpus {corpus} lacks {expected}; unpack the labels of this task there")


def _entries(message: bytes) -> list[tuple[str, bytes]]:
    """The entries of a map from text to messages, which is field 1 of `message`."""
    entries = []
    for entry in wire.messages(message, 1):
        parts = dict(wire.fields(entry))
        key = wire.as_bytes(parts.get(1, b"")).decode("utf-8")
        entries.append((key, wire.as_bytes(parts.get(2, b""))))
    return entries


def _integer(feature: bytes) -> int:
    """The first integer of a `Feature` message; 0 where it has none."""
    for values in wire.messages(feature, 3):
        found = wire.integers(values, 1)
        if found:
            return found[0]
    return 0
