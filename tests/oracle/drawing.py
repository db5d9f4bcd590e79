"""What two builders of program graphs can be compared by: nodes, edges and functions as plain tuples.

`ours` draws assembly with this project's builder, `theirs` with `llvm2graph-10`; both read the very same
text, which `typed_assembly` makes of an OpenCL source.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass

from oracle.tools import Tools

from predictor import assembly, program_graph
from predictor.errors import CompileError, FrontEndError
from predictor.program_graph import FLOW_NAMES, NODE_TYPE_NAMES, ProgramGraph

RUN_SECONDS = 120
_NEWER_WORDS = re.compile(r"\b(?:noundef|mustprogress|nocallback|nosync|nofree|willreturn) ?")
"""Attributes that clang 15 writes and LLVM 10 cannot read; a graph holds no attributes."""
_POISON = re.compile(r"\bpoison\b")


@dataclass(frozen=True, slots=True)
class Node:
    """`kind`: instruction, variable or constant. `function`: empty for the root and constants."""

    kind: str
    text: str
    function: str


@dataclass(frozen=True, slots=True)
class Edge:
    """`source` and `target` are numbers of nodes; `flow`: control, data or call."""

    source: int
    target: int
    flow: str
    position: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """A program graph; the order of nodes, edges and functions means nothing."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    functions: tuple[str, ...]


def typed_assembly(source: str, tools: Tools) -> str:
    """An OpenCL source as LLVM assembly with typed pointers that LLVM 10 reads.

    Raises CompileError where clang refuses the source.
    """
    headers = tools.zig.parent / "lib" / "include"
    command = [str(tools.zig), "clang", "-x", "cl", "-cl-std=CL1.2", f"-isystem{headers}"]
    command += ["--target=spir64-unknown-unknown", "-cl-kernel-arg-info", "-w", "-O1"]
    command += ["-Xclang", "-no-opaque-pointers", "-emit-llvm", "-S", "-", "-o", "-"]
    done = subprocess.run(
        command, input=source.encode(), capture_output=True, timeout=RUN_SECONDS, check=False
    )
    if done.returncode:
        raise CompileError(done.stderr.decode("utf-8", "replace").strip().splitlines()[0])
    return _POISON.sub("undef", _NEWER_WORDS.sub("", done.stdout.decode()))


def ours(text: str) -> Drawing:
    """What this project's parser and builder draw of a module's assembly."""
    return drawing_of(program_graph.build(assembly.parse(text)))


def drawing_of(graph: ProgramGraph) -> Drawing:
    """A graph of ours as a drawing."""
    names = (*graph.function_names, "")
    return Drawing(
        tuple(
            Node(NODE_TYPE_NAMES[kind], text, names[function])
            for kind, text, function in zip(
                graph.node_types, graph.node_texts, graph.node_functions
            )
        ),
        tuple(
            Edge(int(source), int(target), FLOW_NAMES[flow], int(position))
            for source, target, flow, position in zip(
                *graph.edge_index, graph.edge_flows, graph.edge_positions
            )
        ),
        graph.function_names,
    )


def theirs(text: str, tools: Tools) -> Drawing:
    """What `llvm2graph-10` draws of a module's assembly.

    Raises FrontEndError where it refuses the text.
    """
    done = subprocess.run(
        [str(tools.llvm2graph), "--stdout_fmt=json", "-"],
        input=text.encode(),
        capture_output=True,
        env=dict(os.environ, LD_LIBRARY_PATH=tools.library_folder),
        timeout=RUN_SECONDS,
        check=False,
    )
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise FrontEndError(f"llvm2graph-10 refuses the module: {last}")
    message = json.loads(done.stdout)
    # A message of ProGraML's leaves out what is the first of its kind, and zeros.
    functions = tuple(function.get("name", "") for function in message["function"])
    nodes = []
    for number, node in enumerate(message["node"]):
        kind = node.get("type", "INSTRUCTION").lower()
        belongs = number > 0 and kind != "constant"
        nodes.append(
            Node(kind, node.get("text", ""), functions[node.get("function", 0)] if belongs else "")
        )
    edges = tuple(
        Edge(
            edge.get("source", 0),
            edge.get("target", 0),
            edge.get("flow", "CONTROL").lower(),
            edge.get("position", 0),
        )
        for edge in message["edge"]
    )
    return Drawing(tuple(nodes), edges, functions)
