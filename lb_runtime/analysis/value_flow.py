"""Where values go without being computed with: through moves, casts, memory, calls and returns.

Conservative: memory is one place for each object (argument, variable or array), and a pointer that is
not followed may point into every object.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from lb_runtime.analysis import exact_builtins
from predictor import ir

Node = tuple[str, str]
"""A value as (function, `%name`), a program-scope variable as ("", `@name`), an object's memory as
("memory", its name)."""

_COMPUTES = frozenset(
    "fadd fsub fmul fdiv frem fcmp icmp fptosi fptoui sitofp uitofp alloca load store ret call".split()
)
"""Opcodes whose results are not their operands moved, or that have rules of their own."""
_UNKNOWN: Node = ("memory", "?")
"""The object of a pointer that is not followed."""
_READ_ANYWHERE: Node = ("memory", "read")
_WRITTEN_ANYWHERE: Node = ("memory", "written")
_GLOBAL_NAME = re.compile(r'@(?:"[^"]*"|[-\w$.]+)')
_RETURN = "return"


class ValueFlow:
    """The moves of a kernel and of every function with a body that it reaches, the kernel first."""

    def __init__(self, reached: Sequence[ir.Function]) -> None:
        self._bodies = {ir.bare_name(function.name): function for function in reached}
        self._next: dict[Node, set[Node]] = defaultdict(set)
        self._objects: dict[Node, set[Node]] = {}
        starts: dict[Node, set[Node]] = defaultdict(set)
        for parameter in reached[0].parameters:
            starts[memory_of(reached[0].name, parameter.name)].add(
                (reached[0].name, parameter.name)
            )
        for function in reached:
            for instruction in _instructions(function):
                self._add_moves(function, instruction)
                self._add_starts(function, instruction, starts)
        for place, nodes in starts.items():
            for node in self.follow(dict.fromkeys(nodes, 0)):
                self._objects.setdefault(node, set()).add(place)
        # Two nodes for pointers that are not followed: through one, all objects would seem to be one.
        for place in starts:
            self._next[place].add(_READ_ANYWHERE)
            self._next[_WRITTEN_ANYWHERE].add(place)
        self._next[_WRITTEN_ANYWHERE].add(_READ_ANYWHERE)
        for function in reached:
            for instruction in _instructions(function):
                self._add_memory(function, instruction)

    def follow(self, sources: Mapping[Node, int]) -> dict[Node, int]:
        """Every node that the sources' values may get to, with the number of a source that does."""
        found = dict(sources)
        waiting = list(sources)
        while waiting:
            node = waiting.pop()
            for target in self._next.get(node, ()):
                if target not in found:
                    found[target] = found[node]
                    waiting.append(target)
        return found

    def nodes(self, function: ir.Function, operand: ir.Operand) -> tuple[Node, ...]:
        """The values that an operand stands for: none for a plain constant."""
        if operand.kind == "local":
            return ((function.name, operand.text),)
        if "@" in operand.text and operand.kind != "metadata":
            return tuple(("", name) for name in _GLOBAL_NAME.findall(operand.text))
        return ()

    def memory(self, function: ir.Function, pointer: ir.Operand, *, writes: bool) -> set[Node]:
        """The objects that a pointer may point into, to be read or to be written."""
        found: set[Node] = set()
        for node in self.nodes(function, pointer):
            found |= self._objects.get(node, {_UNKNOWN})
        if not found or _UNKNOWN in found:
            return {_WRITTEN_ANYWHERE if writes else _READ_ANYWHERE}
        return found

    def results(self, function: ir.Function, instruction: ir.Instruction) -> set[Node]:
        """Where an instruction leaves what it computed: its result, and objects handed to a call."""
        found = {(function.name, instruction.name)} if instruction.name else set()
        if instruction.opcode == "call":
            for operand in instruction.operands:
                if _is_pointer(operand.type):
                    found |= self.memory(function, operand, writes=True)
        return found

    def _add_moves(self, function: ir.Function, instruction: ir.Instruction) -> None:
        """Add what an instruction moves from one value to another, pointers among them."""
        operands: Iterable[ir.Operand] = instruction.operands
        target: Node = (function.name, instruction.name)
        if instruction.opcode == "ret":
            target = (function.name, _RETURN)
        elif instruction.opcode == "call":
            callee = self._bodies.get(instruction.detail)
            if callee is not None:
                for operand, parameter in zip(operands, callee.parameters):
                    for node in self.nodes(function, operand):
                        self._next[node].add((callee.name, parameter.name))
                self._next[callee.name, _RETURN].add(target)
            return
        elif instruction.opcode in _COMPUTES or not instruction.name:
            return
        elif instruction.opcode == "getelementptr":
            operands = instruction.operands[:1]
        elif instruction.opcode == "select":
            operands = instruction.operands[1:]
        for operand in operands:
            for node in self.nodes(function, operand):
                self._next[node].add(target)

    def _add_starts(
        self, function: ir.Function, instruction: ir.Instruction, starts: dict[Node, set[Node]]
    ) -> None:
        """Note the objects that an instruction brings in, and pointers that come from nowhere."""
        for operand in instruction.operands:
            if operand.kind != "local":
                for node in self.nodes(function, operand):
                    starts[memory_of(*node)].add(node)
        if instruction.opcode == "alloca":
            name = instruction.name
            starts[memory_of(function.name, name)].add((function.name, name))
        elif _is_pointer(instruction.type) and (
            instruction.opcode in ("load", "inttoptr", "atomicrmw", "cmpxchg")
            or (instruction.opcode == "call" and instruction.detail not in self._bodies)
        ):
            starts[_UNKNOWN].add((function.name, instruction.name))

    def _add_memory(self, function: ir.Function, instruction: ir.Instruction) -> None:
        """Add what an instruction moves to and from memory, or by a function without a body."""
        opcode, operands = instruction.opcode, instruction.operands
        result: Node = (function.name, instruction.name)
        if opcode == "load":
            for place in self.memory(function, operands[0], writes=False):
                self._next[place].add(result)
        elif opcode == "store":
            for place in self.memory(function, operands[1], writes=True):
                for node in self.nodes(function, operands[0]):
                    self._next[node].add(place)
        elif opcode == "call" and exact_builtins.is_move(instruction.detail):
            pointers = [operand for operand in operands if _is_pointer(operand.type)]
            read = {n for p in pointers for n in self.memory(function, p, writes=False)}
            written = {n for p in pointers for n in self.memory(function, p, writes=True)}
            values = {n for o in operands if o not in pointers for n in self.nodes(function, o)}
            for node in read | values:
                self._next[node] |= (written - {node}) | {result}


def memory_of(function: str, name: str) -> Node:
    """The memory of the object that a variable, an array or a kernel's parameter stands for."""
    return ("memory", f"{function} {name}")


def _is_pointer(type_text: str) -> bool:
    return "ptr" in type_text


def _instructions(function: ir.Function) -> Iterable[ir.Instruction]:
    for block in function.blocks:
        yield from block.instructions
