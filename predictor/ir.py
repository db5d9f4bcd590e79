"""LLVM assembly as a walkable value: modules, functions, blocks and instructions with ordered operands.

The program graph and the access analysis walk these immutable values. Only what those two need is kept
apart (operands, successors, predicates, flags, source lines); everything else stays in
`Instruction.text`. `assembly.parse` makes them from the text that clang writes.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Operand(NamedTuple):
    """One operand: a local value, a constant, a global or metadata, as `type` and `text`.

    `kind` is "local" (`%3`), "global" (`@table`), "function" (`@f` that the module declares or
    defines), "constant" (`4`, `null`, `<2 x i32> <...>`, `getelementptr (...)`) or "metadata".
    """

    kind: str
    type: str
    text: str


class Instruction(NamedTuple):
    """One instruction of a block.

    `name` is the result (`%4`) or empty. `detail` is what the opcode needs beside operands: the
    predicate of a comparison, the operation of `atomicrmw`, the source element type of
    `getelementptr`, the allocated type of `alloca`, the callee of `call` (without `@`), the indices of
    `extractvalue`/`insertvalue`, the mask of `shufflevector`. `blocks` are the successors of a
    terminator in order, or the incoming blocks of a `phi`. `line` is the source line, 0 if unknown.
    """

    opcode: str
    type: str
    name: str
    operands: tuple[Operand, ...]
    detail: str
    blocks: tuple[str, ...]
    flags: frozenset[str]
    line: int
    text: str


class Block(NamedTuple):
    """A basic block: its label (without `%`) and its instructions, the terminator last."""

    name: str
    instructions: tuple[Instruction, ...]


class Parameter(NamedTuple):
    """A formal parameter of a function: `type`, `name` (`%0`) and its attribute words."""

    type: str
    name: str
    attributes: str


class Function(NamedTuple):
    """A function; a declaration has no blocks. `metadata` maps `kernel_arg_type` and its like to ids."""

    name: str
    type: str
    parameters: tuple[Parameter, ...]
    blocks: tuple[Block, ...]
    is_kernel: bool
    is_internal: bool
    metadata: dict[str, str]


class Global(NamedTuple):
    """A global variable: value type, address space, whether constant, and its initialiser's text."""

    name: str
    type: str
    address_space: int
    is_constant: bool
    initialiser: str


class Module(NamedTuple):
    """All functions in order of the text, globals and named struct types by name."""

    functions: tuple[Function, ...]
    globals: dict[str, Global]
    structs: dict[str, str]
    metadata: dict[str, str]

    def kernels(self) -> tuple[Function, ...]:
        """The kernels that the source defines, in order."""
        return tuple(f for f in self.functions if f.is_kernel and f.blocks)

    def only(self, kernel_name: str) -> Module:
        """This module without its other kernels and the declarations that only they call."""
        kept = [f for f in self.functions if not f.is_kernel or bare_name(f.name) == kernel_name]
        called = {
            instruction.detail
            for function in kept
            for block in function.blocks
            for instruction in block.instructions
            if instruction.opcode == "call"
        }
        functions = tuple(f for f in kept if f.blocks or bare_name(f.name) in called)
        return self._replace(functions=functions)

    def metadata_list(self, identifier: str) -> tuple[str, ...]:
        """The entries of a metadata tuple (`!27`), strings unquoted, `i32 1` as `1`."""
        body = self.metadata.get(identifier, "")
        entries = re.findall(r'!"((?:[^"\\]|\\.)*)"|i32 (-?\d+)|(![\w.]+)', body)
        return tuple(text or number or reference for text, number, reference in entries)


def bare_name(name: str) -> str:
    """A function's name as a call names it: without `@` and quotation marks."""
    return name.lstrip("@").strip('"')
