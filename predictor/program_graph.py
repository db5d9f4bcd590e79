"""The ProGraML graph of a module: what each instruction does, which data it moves, what it calls.

Nodes are instructions, variables (one for each use of an instruction's result, one for each formal
parameter that is used) and constants (one for each distinct constant). Edges are control flow between
instructions, data flow through variables and constants, and calls and returns; an edge's position tells
branches and operands apart. A root node stands for everything outside of the module.
Source: Cummins et al., "ProGraML: A Graph-based Program Representation for Data Flow Analysis and
Compiler Optimizations", ICML 2021, section 3; constants and variables are laid out as by `programl` 0.3.2.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor import ir

INSTRUCTION, VARIABLE, CONSTANT = 0, 1, 2
CONTROL, DATA, CALL = 0, 1, 2
NODE_TYPE_NAMES = ("instruction", "variable", "constant")
FLOW_NAMES = ("control", "data", "call")
ROOT_TEXT = "[external]"
DECLARATION_TEXT = "; undefined function"


@dataclass(frozen=True, slots=True)
class ProgramGraph:
    """A program graph.

    Shapes:
        node_types: int8 [nodes], 0 instruction, 1 variable, 2 constant.
        node_texts: [nodes], the opcode of an instruction, the type of a variable or constant.
        node_full_texts: [nodes], the assembly of an instruction, the name and type of a value.
        node_functions: int32 [nodes], index into `function_names`, -1 for the root and constants.
        edge_index: int32 [2, edges], source and target nodes.
        edge_flows: int8 [edges], 0 control, 1 data, 2 call.
        edge_positions: int32 [edges], the operand or successor that the edge stands for.

    Node 0 is the root.
    """

    node_types: NDArray[np.int8]
    node_texts: tuple[str, ...]
    node_full_texts: tuple[str, ...]
    node_functions: NDArray[np.int32]
    edge_index: NDArray[np.int32]
    edge_flows: NDArray[np.int8]
    edge_positions: NDArray[np.int32]
    function_names: tuple[str, ...]

    def __post_init__(self) -> None:
        nodes, edges = len(self.node_types), self.edge_index.shape[1]
        if not (
            len(self.node_texts) == len(self.node_full_texts) == len(self.node_functions) == nodes
            and len(self.edge_flows) == len(self.edge_positions) == edges
        ):
            raise ValueError(
                f"arrays of a graph of {nodes} nodes and {edges} edges differ in length"
            )
        if edges and not 0 <= self.edge_index.min() <= self.edge_index.max() < nodes:
            raise ValueError(f"an edge names a node outside of 0 to {nodes - 1}")
        for array in (
            self.node_types,
            self.node_functions,
            self.edge_index,
            self.edge_flows,
            self.edge_positions,
        ):
            array.setflags(write=False)

    def counts(self) -> dict[str, int]:
        """How many nodes of each type and edges of each flow there are."""
        nodes = np.bincount(self.node_types, minlength=3)
        edges = np.bincount(self.edge_flows, minlength=3)
        return {
            **{f"{name} nodes": int(n) for name, n in zip(NODE_TYPE_NAMES, nodes)},
            **{f"{name} edges": int(n) for name, n in zip(FLOW_NAMES, edges)},
        }

    def to_json(self) -> str:
        """The graph as JSON: `nodes` (type, text, full_text, function) and `edges`."""
        names = (*self.function_names, None)
        nodes = [
            {"type": NODE_TYPE_NAMES[kind], "text": text, "full_text": full, "function": names[f]}
            for kind, text, full, f in zip(
                self.node_types, self.node_texts, self.node_full_texts, self.node_functions
            )
        ]
        edges = [
            {"flow": FLOW_NAMES[flow], "source": int(s), "target": int(t), "position": int(p)}
            for flow, s, t, p in zip(self.edge_flows, *self.edge_index, self.edge_positions)
        ]
        return json.dumps({"nodes": nodes, "edges": edges})

    def to_dot(self) -> str:
        """The graph in Graphviz' language: a box per function, a colour per flow."""
        lines = ["digraph program_graph {", "  node [fontname=monospace, style=filled];"]
        shapes = ("box, fillcolor=lightblue", "ellipse, fillcolor=pink", "diamond, fillcolor=wheat")
        for function in range(-1, len(self.function_names)):
            members = np.flatnonzero(self.node_functions == function)
            if function >= 0:
                title = _dot_text(self.function_names[function])
                lines.append(f"  subgraph cluster_{function} {{ label={title};")
            for node in members:
                label = _dot_text(self.node_texts[node])
                lines.append(f"  n{node} [label={label}, shape={shapes[self.node_types[node]]}];")
            if function >= 0:
                lines.append("  }")
        colours = ("blue", "red", "darkgreen")
        for flow, s, t, p in zip(self.edge_flows, *self.edge_index, self.edge_positions):
            label = f', label="{p}"' if p else ""
            lines.append(f"  n{s} -> n{t} [color={colours[flow]}{label}];")
        return "\n".join([*lines, "}"]) + "\n"


def _dot_text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def build(module: ir.Module) -> ProgramGraph:
    """The program graph of all functions of a module."""
    return _Builder().build(module)


def _type_text(type_text: str) -> str:
    """A type as ProGraML writes it: every struct is `struct`, pointers to structs add their stars."""
    if type_text[0] in "{%" or type_text.startswith("<{"):
        return "struct" + "*" * (len(type_text) - len(type_text.rstrip("*")))
    return type_text


class _Builder:
    """Lists of nodes and edges that grow while the module is walked."""

    def __init__(self) -> None:
        self._types: list[int] = []
        self._texts: list[str] = []
        self._full_texts: list[str] = []
        self._functions: list[int] = []
        self._edges: list[tuple[int, int, int, int]] = []
        self._constants: dict[tuple[str, str], list[tuple[int, int]]] = {}

    def build(self, module: ir.Module) -> ProgramGraph:
        root = self._node(INSTRUCTION, ROOT_TEXT, "", -1)
        entries: dict[str, int] = {}
        exits: dict[str, list[int]] = {}
        calls: list[tuple[int, str]] = []
        for index, function in enumerate(module.functions):
            name = function.name.lstrip("@").strip('"')
            if function.blocks:
                entries[name], exits[name] = self._function(index, function, calls)
            elif not name.startswith("llvm.dbg."):
                node = self._node(INSTRUCTION, DECLARATION_TEXT, name, index)
                entries[name], exits[name] = node, [node]
        for call, callee in calls:
            if callee in entries:
                self._edge(CALL, call, entries[callee], 0)
                for node in exits[callee]:
                    self._edge(CALL, node, call, 0)
        for name, entry in entries.items():
            self._edge(CALL, root, entry, 0)
            for node in exits[name]:
                self._edge(CALL, node, root, 0)
        for (type_text, text), uses in self._constants.items():
            constant = self._node(CONSTANT, _type_text(type_text), f"{type_text} {text}", -1)
            for user, position in uses:
                self._edge(DATA, constant, user, position)
        edges = np.array(self._edges, np.int32).T
        return ProgramGraph(
            np.array(self._types, np.int8),
            tuple(self._texts),
            tuple(self._full_texts),
            np.array(self._functions, np.int32),
            edges[1:3].copy(),
            edges[0].astype(np.int8),
            edges[3].copy(),
            tuple(function.name.lstrip("@").strip('"') for function in module.functions),
        )

    def _function(
        self, index: int, function: ir.Function, calls: list[tuple[int, str]]
    ) -> tuple[int, list[int]]:
        """Add one defined function; return its entry and its exits."""
        blocks: dict[str, tuple[int, int]] = {}
        producers: dict[str, int] = {}
        pending: list[tuple[str, int]] = []
        parameters = {parameter.name: parameter.type for parameter in function.parameters}
        uses: dict[str, list[tuple[int, int]]] = {}
        for block in function.blocks:
            first = last = -1
            for instruction in block.instructions:
                node = self._node(INSTRUCTION, instruction.opcode, instruction.text, index)
                if last >= 0:
                    self._edge(CONTROL, last, node, 0)
                else:
                    first = node
                last = node
                if instruction.name:
                    producers[instruction.name] = node
                if instruction.opcode == "call":
                    calls.append((node, instruction.detail))
                for position, operand in _positions(instruction):
                    if operand.kind == "local":
                        if operand.text in parameters:
                            uses.setdefault(operand.text, []).append((node, position))
                            continue
                        variable = self._node(
                            VARIABLE,
                            _type_text(operand.type),
                            f"{operand.type} {operand.text}",
                            index,
                        )
                        self._edge(DATA, variable, node, position)
                        pending.append((operand.text, variable))
                    elif operand.kind in ("constant", "global"):
                        key = (operand.type, operand.text)
                        self._constants.setdefault(key, []).append((node, position))
            blocks[block.name] = first, last
        for name, consumers in uses.items():
            variable = self._node(
                VARIABLE, _type_text(parameters[name]), f"{parameters[name]} {name}", index
            )
            for node, position in consumers:
                self._edge(DATA, variable, node, position)
        for name, variable in pending:
            self._edge(DATA, producers[name], variable, 0)
        exits: list[int] = []
        for block in function.blocks:
            successors = block.instructions[-1].blocks
            for position, successor in enumerate(successors):
                self._edge(CONTROL, blocks[block.name][1], blocks[successor][0], position)
            if not successors:
                exits.append(blocks[block.name][1])
        return blocks[function.blocks[0].name][0], exits

    def _node(self, kind: int, text: str, full_text: str, function: int) -> int:
        self._types.append(kind)
        self._texts.append(text)
        self._full_texts.append(full_text)
        self._functions.append(function)
        return len(self._types) - 1

    def _edge(self, flow: int, source: int, target: int, position: int) -> None:
        self._edges.append((flow, source, target, position))


def _positions(instruction: ir.Instruction) -> list[tuple[int, ir.Operand]]:
    """Operands with their positions in LLVM's operand list; a switch lists each case's block too."""
    if instruction.opcode == "switch":
        value, *cases = instruction.operands
        return [(0, value), *((2 * i, case) for i, case in enumerate(cases, 1))]
    return list(enumerate(instruction.operands))
