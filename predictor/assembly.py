"""LLVM assembly in, walkable module out: what clang writes for one OpenCL source, parsed in process.

Source: LLVM Language Reference Manual, versions 10 to 20 (typed and opaque pointers).
"""

from __future__ import annotations

import re

from predictor.errors import FrontEndError
from predictor.instruction_reader import InstructionReader
from predictor.ir import Block, Function, Global, Instruction, Module, Parameter
from predictor.type_grammar import TOKEN, constant_at, group_at, last_type, type_at

_TRAILING_METADATA = re.compile(r"(?:,? ![\w.]+ ![\w.]+)+$")
_DEFINE = re.compile(r"^(?:define|declare)\b")
_LABEL = re.compile(r'^("(?:[^"\\]|\\.)*"|[-\w$.]+):')
_STRUCT = re.compile(r'^(%(?:"[^"]*"|[-\w$.]+)) = type (.*)$')
_GLOBAL = re.compile(
    r'^@("[^"]*"|[-\w$.]+) = (.*?)(?:addrspace\((\d+)\) )?'
    r"(?:(?:externally_initialized|local_unnamed_addr|unnamed_addr|externally_initialized) )*"
    r"(global|constant) (.*)$"
)
_METADATA = re.compile(r"^(!\d+) = (?:distinct )?(!.*)$")
_LOCATION_LINE = re.compile(r"!DILocation\(line: (\d+)")
ATTACHED = re.compile(r"!([\w.]+) (![\w.]+)")


def parse(text: str) -> Module:
    """Parse the assembly of one module.

    Raises:
        FrontEndError: a construct of the language that this parser does not know; the message holds
            the line.
    """
    return _ModuleParser(text).module()


class _ModuleParser:
    """Reads the lines of a module once, top to bottom."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._structs: dict[str, str] = {}
        self._globals: dict[str, Global] = {}
        self._metadata: dict[str, str] = {}
        self._headers: list[tuple[str, list[str]]] = []
        self._names: frozenset[str] = frozenset()

    def module(self) -> Module:
        lines = iter(self._lines)
        for line in lines:
            if _DEFINE.match(line):
                body: list[str] = []
                if line.startswith("define"):
                    for inner in lines:
                        if inner == "}":
                            break
                        body.append(inner)
                self._headers.append((line, body))
            elif line.startswith("!"):
                if match := _METADATA.match(line):
                    self._metadata[match[1]] = match[2]
            elif line.startswith("%"):
                if match := _STRUCT.match(line):
                    self._structs[match[1]] = match[2]
            elif line.startswith("@"):
                self._add_global(line)
        headers = [_Header(line) for line, _ in self._headers]
        self._names = frozenset(header.name for header in headers)
        functions = tuple(
            self._function(header, body) for header, (_, body) in zip(headers, self._headers)
        )
        return Module(functions, self._globals, self._structs, self._metadata)

    def _add_global(self, line: str) -> None:
        match = _GLOBAL.match(line)
        if not match:
            if " alias " in line or " ifunc " in line:
                return
            raise FrontEndError(
                f"global {line!r} cannot be read: report it with the kernel's source"
            )
        tokens = TOKEN.findall(match[5])
        type_text, position = type_at(tokens, 0)
        rest = tokens[position:]
        initialiser, _ = constant_at(rest, 0) if rest and rest[0] != "," else ("", 0)
        name = "@" + match[1]
        self._globals[name] = Global(
            name, type_text, int(match[3] or 0), match[4] == "constant", initialiser
        )

    def _function(self, header: _Header, body: list[str]) -> Function:
        blocks: list[Block] = []
        # An entry block without a label takes the number after the last unnamed parameter.
        label = str(len(header.parameters))
        instructions: list[Instruction] = []
        pending = ""
        for line in body:
            if not line or line.startswith(";"):
                continue
            if not line.startswith(" "):
                if match := _LABEL.match(line):
                    if instructions:
                        blocks.append(Block(label, tuple(instructions)))
                    label, instructions = match[1].strip('"'), []
                continue
            pending += line.strip()
            if pending.startswith("switch ") and "]" not in line:
                pending += " "
                continue
            if not pending.startswith("#dbg_"):
                instructions.append(self._instruction(pending))
            pending = ""
        if instructions:
            blocks.append(Block(label, tuple(instructions)))
        return Function(
            header.name,
            header.type,
            header.parameters,
            tuple(blocks),
            header.is_kernel,
            header.is_internal,
            header.metadata,
        )

    def _instruction(self, text: str) -> Instruction:
        line = 0
        core = text
        if match := _TRAILING_METADATA.search(text):
            core = text[: match.start()]
            for key, identifier in ATTACHED.findall(match[0]):
                if key == "dbg" and (
                    place := _LOCATION_LINE.match(self._metadata.get(identifier, ""))
                ):
                    line = int(place[1])
        tokens = TOKEN.findall(core)
        name = ""
        if len(tokens) > 2 and tokens[1] == "=":
            name = tokens[0]
            tokens = tokens[2:]
        try:
            return InstructionReader(tokens, self._names).instruction(name, line, core)
        except (IndexError, ValueError) as error:
            raise FrontEndError(
                f"instruction {core!r} cannot be read: report it with the kernel's source"
            ) from error


class _Header:
    """The line that opens a function: its name, types and attached metadata."""

    def __init__(self, line: str) -> None:
        tokens = TOKEN.findall(line.split(" #", 1)[0] if " #" in line else line)
        at = next(i for i, token in enumerate(tokens) if token.startswith("@"))
        self.name = tokens[at]
        self.is_kernel = "spir_kernel" in tokens[:at]
        self.is_internal = "internal" in tokens[:at] or "private" in tokens[:at]
        self.type = last_type(tokens[:at])
        self.metadata = dict(ATTACHED.findall(line[line.rfind(")") :]))
        parameters: list[Parameter] = []
        position = at + 2
        while position < len(tokens) and tokens[position] != ")":
            if tokens[position] == "...":
                position += 1
                continue
            type_text, position = type_at(tokens, position)
            words: list[str] = []
            value = ""
            while tokens[position] not in (",", ")"):
                if tokens[position].startswith("%"):
                    value = tokens[position]
                    position += 1
                elif tokens[position] == "(":
                    group, position = group_at(tokens, position)
                    words.append(group)
                else:
                    words.append(tokens[position])
                    position += 1
            parameters.append(Parameter(type_text, value or f"%{len(parameters)}", " ".join(words)))
            if tokens[position] == ",":
                position += 1
        self.parameters = tuple(parameters)
