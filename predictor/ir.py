"""LLVM assembly as a walkable value: modules, functions, blocks and instructions with ordered operands.

The text that clang writes for one OpenCL source is parsed here, in process, into immutable values that
the program graph and the access analysis walk. Only what those two need is kept apart (operands,
successors, predicates, flags, source lines); everything else stays in `Instruction.text`.
Source: LLVM Language Reference Manual, versions 10 to 20 (typed and opaque pointers).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from predictor.errors import FrontEndError


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
        kept = [f for f in self.functions if not f.is_kernel or _bare(f.name) == kernel_name]
        called = {
            instruction.detail
            for function in kept
            for block in function.blocks
            for instruction in block.instructions
            if instruction.opcode == "call"
        }
        functions = tuple(f for f in kept if f.blocks or _bare(f.name) in called)
        return self._replace(functions=functions)

    def metadata_list(self, identifier: str) -> tuple[str, ...]:
        """The entries of a metadata tuple (`!27`), strings unquoted, `i32 1` as `1`."""
        body = self.metadata.get(identifier, "")
        entries = re.findall(r'!"((?:[^"\\]|\\.)*)"|i32 (-?\d+)|(![\w.]+)', body)
        return tuple(text or number or reference for text, number, reference in entries)


def _bare(name: str) -> str:
    """A function's name as a call names it: without `@` and quotation marks."""
    return name.lstrip("@").strip('"')


_TOKEN = re.compile(
    r'c?"(?:[^"\\]|\\.)*"'  # strings
    r'|[%@!](?:"(?:[^"\\]|\\.)*"|[-\w$.]+)'  # values, globals, metadata
    r"|-?\d[\w.+-]*"  # numbers: 4, -1, 1.0e+00, 0x3F
    r"|#\d+|[A-Za-z_][\w.]*|\.\.\.|\S"
)
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
_ATTACHED = re.compile(r"!([\w.]+) (![\w.]+)")

_FLAGS = frozenset(
    "nuw nsw exact inbounds volatile atomic disjoint nneg fast nnan ninf nsz arcp contract afn "
    "reassoc weak nusw samesign inrange tail musttail notail cleanup inalloca".split()
)
_CONSTANT_WORDS = frozenset("true false null undef poison zeroinitializer none".split())
_CASTS = frozenset(
    "trunc zext sext fptrunc fpext fptoui fptosi uitofp sitofp ptrtoint inttoptr bitcast "
    "addrspacecast".split()
)
_BINARY = frozenset(
    "add fadd sub fsub mul fmul udiv sdiv fdiv urem srem frem shl lshr ashr and or xor".split()
)
_EXPRESSIONS = (
    _CASTS | _BINARY | {"getelementptr", "select", "icmp", "fcmp", "splat", "extractelement"}
)
_PRIMITIVE = re.compile(
    r"^(?:void|half|bfloat|float|double|fp128|x86_fp80|i\d+|ptr|label|metadata|token|opaque)$"
)
_CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}


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
        tokens = _TOKEN.findall(match[5])
        type_text, position = _type(tokens, 0)
        rest = tokens[position:]
        initialiser, _ = _constant(rest, 0) if rest and rest[0] != "," else ("", 0)
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
            for key, identifier in _ATTACHED.findall(match[0]):
                if key == "dbg" and (
                    place := _LOCATION_LINE.match(self._metadata.get(identifier, ""))
                ):
                    line = int(place[1])
        tokens = _TOKEN.findall(core)
        name = ""
        if len(tokens) > 2 and tokens[1] == "=":
            name = tokens[0]
            tokens = tokens[2:]
        try:
            return _Reader(tokens, self._names).instruction(name, line, core)
        except (IndexError, ValueError) as error:
            raise FrontEndError(
                f"instruction {core!r} cannot be read: report it with the kernel's source"
            ) from error


class _Header:
    """The line that opens a function: its name, types and attached metadata."""

    def __init__(self, line: str) -> None:
        tokens = _TOKEN.findall(line.split(" #", 1)[0] if " #" in line else line)
        at = next(i for i, token in enumerate(tokens) if token.startswith("@"))
        self.name = tokens[at]
        self.is_kernel = "spir_kernel" in tokens[:at]
        self.is_internal = "internal" in tokens[:at] or "private" in tokens[:at]
        self.type = _last_type(tokens[:at])
        self.metadata = dict(_ATTACHED.findall(line[line.rfind(")") :]))
        parameters: list[Parameter] = []
        position = at + 2
        while position < len(tokens) and tokens[position] != ")":
            if tokens[position] == "...":
                position += 1
                continue
            type_text, position = _type(tokens, position)
            words: list[str] = []
            value = ""
            while tokens[position] not in (",", ")"):
                if tokens[position].startswith("%"):
                    value = tokens[position]
                    position += 1
                elif tokens[position] == "(":
                    group, position = _group(tokens, position)
                    words.append(group)
                else:
                    words.append(tokens[position])
                    position += 1
            parameters.append(Parameter(type_text, value or f"%{len(parameters)}", " ".join(words)))
            if tokens[position] == ",":
                position += 1
        self.parameters = tuple(parameters)


class _Reader:
    """Reads the tokens of one instruction."""

    def __init__(self, tokens: list[str], functions: frozenset[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._functions = functions
        self._flags: set[str] = set()

    def instruction(self, name: str, line: int, text: str) -> Instruction:
        opcode = self._next()
        while opcode in ("tail", "musttail", "notail"):
            self._flags.add(opcode)
            opcode = self._next()
        self._skip_flags()
        type_text, operands, detail, blocks = self._body(opcode)
        return Instruction(
            opcode,
            type_text,
            name,
            tuple(operands),
            detail,
            tuple(blocks),
            frozenset(self._flags),
            line,
            text,
        )

    def _body(self, opcode: str) -> tuple[str, list[Operand], str, list[str]]:
        if opcode in _BINARY or opcode == "fneg" or opcode == "freeze":
            first = self._typed()
            rest = [self._value(first.type) for _ in range(self._take(","))]
            return first.type, [first, *rest], "", []
        if opcode in _CASTS:
            operand = self._typed()
            self._expect("to")
            return self._type(), [operand], "", []
        if opcode in ("icmp", "fcmp"):
            predicate = self._next()
            while predicate in _FLAGS:
                self._flags.add(predicate)
                predicate = self._next()
            first = self._typed()
            self._expect(",")
            result = "i1"
            if first.type.startswith("<"):
                result = f"<{first.type[1:].split(' x ', 1)[0]} x i1>"
            return result, [first, self._value(first.type)], predicate, []
        if opcode == "load":
            result = self._type()
            self._expect(",")
            return result, [self._typed()], "", []
        if opcode == "store":
            value = self._typed()
            self._expect(",")
            return "void", [value, self._typed()], "", []
        if opcode == "getelementptr":
            return self._element_pointer()
        if opcode == "phi":
            return self._phi()
        if opcode == "br":
            return self._branch()
        if opcode == "switch":
            return self._switch()
        if opcode == "ret":
            if self._tokens[self._at] == "void":
                return "void", [], "", []
            return "void", [self._typed()], "", []
        if opcode == "call":
            return self._call()
        if opcode == "select":
            condition = self._typed()
            self._expect(",")
            first = self._typed()
            self._expect(",")
            return first.type, [condition, first, self._typed()], "", []
        if opcode == "alloca":
            return self._alloca()
        if opcode in ("unreachable", "fence"):
            return "void", [], "", []
        if opcode in ("atomicrmw", "cmpxchg"):
            return self._atomic(opcode)
        return self._aggregate(opcode)

    def _aggregate(self, opcode: str) -> tuple[str, list[Operand], str, list[str]]:
        """Vector and struct element instructions: value operands, then literal indices."""
        operands = [self._typed()]
        literals: list[str] = []
        while self._take(","):
            if self._tokens[self._at].isdigit():
                literals.append(self._next())
            else:
                operands.append(self._typed())
        first = operands[0].type
        if opcode == "extractelement":
            return first[1:-1].split(" x ", 1)[1], operands, "", []
        if opcode == "insertelement":
            return first, operands, "", []
        if opcode == "shufflevector":
            lanes = operands[2].type[1:].split(" x ", 1)[0]
            element = first[1:-1].split(" x ", 1)[1]
            return f"<{lanes} x {element}>", operands, operands[2].text, []
        if opcode == "insertvalue":
            return first, operands, ",".join(literals), []
        if opcode == "extractvalue":
            return (
                _member(first, [int(literal) for literal in literals]),
                operands,
                ",".join(literals),
                [],
            )
        raise ValueError(f"unknown opcode {opcode}")

    def _element_pointer(self) -> tuple[str, list[Operand], str, list[str]]:
        element = self._type()
        self._expect(",")
        operands = [self._typed()]
        while self._take(","):
            operands.append(self._typed())
        result = operands[0].type
        if not result.startswith("<"):
            lanes = next((o.type for o in operands[1:] if o.type.startswith("<")), "")
            if lanes:
                result = f"<{lanes[1:].split(' x ', 1)[0]} x {result}>"
        return result, operands, element, []

    def _phi(self) -> tuple[str, list[Operand], str, list[str]]:
        type_text = self._type()
        operands: list[Operand] = []
        blocks: list[str] = []
        while True:
            self._expect("[")
            operands.append(self._value(type_text))
            self._expect(",")
            blocks.append(self._next()[1:].strip('"'))
            self._expect("]")
            if not self._take(","):
                return type_text, operands, "", blocks

    def _branch(self) -> tuple[str, list[Operand], str, list[str]]:
        if self._take("label"):
            return "void", [], "", [self._next()[1:].strip('"')]
        condition = self._typed()
        blocks: list[str] = []
        while self._take(","):
            self._expect("label")
            blocks.append(self._next()[1:].strip('"'))
        return "void", [condition], "", blocks

    def _switch(self) -> tuple[str, list[Operand], str, list[str]]:
        operands = [self._typed()]
        self._expect(",")
        self._expect("label")
        blocks = [self._next()[1:].strip('"')]
        self._expect("[")
        while not self._take("]"):
            operands.append(self._typed())
            self._expect(",")
            self._expect("label")
            blocks.append(self._next()[1:].strip('"'))
        return "void", operands, "", blocks

    def _alloca(self) -> tuple[str, list[Operand], str, list[str]]:
        allocated = self._type()
        count = Operand("constant", "i32", "1")
        space = ""
        while self._take(","):
            if self._tokens[self._at] == "align":
                self._at += 2
            elif self._tokens[self._at] == "addrspace":
                self._at += 1
                space, self._at = _group(self._tokens, self._at)
            else:
                count = self._typed()
        return f"ptr addrspace{space}" if space else "ptr", [count], allocated, []

    def _atomic(self, opcode: str) -> tuple[str, list[Operand], str, list[str]]:
        operation = self._next() if opcode == "atomicrmw" else "cmpxchg"
        operands = [self._typed()]
        while self._take(",") and self._tokens[self._at] != "align":
            operands.append(self._typed())
        if opcode == "cmpxchg":
            return f"{{ {operands[1].type}, i1 }}", operands, operation, []
        return operands[1].type, operands, operation, []

    def _call(self) -> tuple[str, list[Operand], str, list[str]]:
        self._skip_to_type()
        result = self._type(stop_at_call=True)
        if self._tokens[self._at] == "(":
            _, self._at = _group(self._tokens, self._at)
            while self._tokens[self._at] == "*":
                self._at += 1
        callee = self._next()
        if callee == "asm":
            while self._tokens[self._at] != "(":
                self._at += 1
        self._expect("(")
        operands: list[Operand] = []
        while not self._take(")"):
            operands.append(self._argument())
            self._take(",")
        if callee.startswith("%"):
            operands.append(Operand("local", "ptr", callee))
        detail = callee[1:].strip('"') if callee.startswith("@") else callee
        return result, operands, detail, []

    def _argument(self) -> Operand:
        type_text = self._type()
        if type_text == "metadata":
            start = self._at
            if self._tokens[self._at] == "!":
                self._at += 1
                _, self._at = _group(self._tokens, self._at)
            else:
                self._at += 1
                while self._tokens[self._at] not in (",", ")"):
                    self._at += 1
            return Operand("metadata", type_text, " ".join(self._tokens[start : self._at]))
        while True:
            token = self._tokens[self._at]
            is_attribute = token[0].isalpha() and not token.startswith('c"')
            if not is_attribute or token in _CONSTANT_WORDS or token in _EXPRESSIONS:
                return self._value(type_text)
            self._at += 1
            if token == "align" and self._tokens[self._at].isdigit():
                self._at += 1
            elif self._tokens[self._at] == "(":
                _, self._at = _group(self._tokens, self._at)

    def _skip_flags(self) -> None:
        while self._tokens[self._at : self._at + 1] and self._tokens[self._at] in _FLAGS:
            self._flags.add(self._next())

    def _skip_to_type(self) -> None:
        """Pass calling conventions and return attributes before the result type of a call."""
        while True:
            token = self._tokens[self._at]
            if _begins_type(token):
                return
            self._at += 1
            if token == "align" and self._tokens[self._at].isdigit():
                self._at += 1
            elif self._tokens[self._at] == "(":
                _, self._at = _group(self._tokens, self._at)

    def _typed(self) -> Operand:
        return self._value(self._type())

    def _type(self, stop_at_call: bool = False) -> str:
        text, self._at = _type(self._tokens, self._at, stop_at_call)
        return text

    def _value(self, type_text: str) -> Operand:
        token = self._tokens[self._at]
        if token[0] == "%":
            self._at += 1
            return Operand("local", type_text, token)
        if token[0] == "@":
            self._at += 1
            return Operand("function" if token in self._functions else "global", type_text, token)
        text, self._at = _constant(self._tokens, self._at)
        return Operand("constant", type_text, text)

    def _next(self) -> str:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _take(self, token: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == token:
            self._at += 1
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise ValueError(f"expected {token!r}")


def _group(tokens: list[str], position: int) -> tuple[str, int]:
    """The bracketed tokens that start at `position`, brackets included, and the position after."""
    depth = 0
    start = position
    while True:
        token = tokens[position]
        depth += token in _CLOSING
        depth -= token in _CLOSING.values()
        position += 1
        if not depth:
            return _join(tokens[start:position]), position


def _join(tokens: list[str]) -> str:
    """Tokens as one text, spaced as LLVM prints them."""
    text = " ".join(tokens)
    for before, after in (
        (" ,", ","),
        ("( ", "("),
        (" )", ")"),
        ("[ ", "["),
        (" ]", "]"),
        ("< ", "<"),
        (" >", ">"),
    ):
        text = text.replace(before, after)
    return text


def _type(tokens: list[str], position: int, stop_at_call: bool = False) -> tuple[str, int]:
    """The type that starts at `position` as LLVM prints it, and the position after it."""
    token = tokens[position]
    if token == "ptr":
        text = "ptr"
        position += 1
        if tokens[position : position + 1] == ["addrspace"]:
            group, position = _group(tokens, position + 1)
            text = f"ptr addrspace{group}"
        return text, position
    if token in ("[", "<") and tokens[position + 1] != "{":
        count = tokens[position + 1]
        element, position = _type(tokens, position + 3)
        text = f"{token}{count} x {element}{_CLOSING[token]}"
        position += 1
    elif token in ("{", "<"):
        packed = token == "<"
        position += 2 if packed else 1
        members: list[str] = []
        while tokens[position] != "}":
            member, position = _type(tokens, position)
            members.append(member)
            if tokens[position] == ",":
                position += 1
        position += 2 if packed else 1
        text = "{ " + ", ".join(members) + " }" if members else "{}"
        text = f"<{text}>" if packed else text
    elif token == "target":
        group, position = _group(tokens, position + 1)
        text = f"target{group}"
    elif _PRIMITIVE.match(token) or token[0] == "%":
        text = token
        position += 1
    else:
        raise ValueError(f"no type at {token!r}")
    while position < len(tokens):
        if tokens[position] == "*":
            text += "*"
            position += 1
        elif tokens[position] == "addrspace" and tokens[position + 4 : position + 5] == ["*"]:
            group, position = _group(tokens, position + 1)
            text += f" addrspace{group}*"
            position += 1
        elif tokens[position] == "(" and not stop_at_call and text != "label":
            group, position = _group(tokens, position)
            text += f" {group}"
        else:
            break
    return text, position


def _begins_type(token: str) -> bool:
    return bool(_PRIMITIVE.match(token)) or token[0] in "<[{%" or token == "target"


def _last_type(tokens: list[str]) -> str:
    """The result type of a function header: the last type before its name."""
    for start in range(len(tokens)):
        if _begins_type(tokens[start]):
            try:
                text, position = _type(tokens, start)
            except (IndexError, ValueError):
                continue
            if position == len(tokens):
                return text
    raise FrontEndError(f"function header {' '.join(tokens)!r} cannot be read")


def _constant(tokens: list[str], position: int) -> tuple[str, int]:
    """The constant that starts at `position`, and the position after it."""
    token = tokens[position]
    if token in _EXPRESSIONS or token in ("blockaddress", "dso_local_equivalent"):
        start = position
        while tokens[position] != "(":
            position += 1
        _, position = _group(tokens, position)
        return _join(tokens[start:position]), position
    if token in _CLOSING:
        return _group(tokens, position)
    return token, position + 1


def _member(type_text: str, indices: list[int]) -> str:
    """The type of a member of a literal struct or array type."""
    tokens = _TOKEN.findall(type_text)
    for index in indices:
        if tokens[0] == "[":
            text, _ = _type(tokens, 3)
        elif tokens[0] == "{":
            position = 1
            text = ""
            for _ in range(index + 1):
                text, position = _type(tokens, position)
                position += 1
        else:
            return "aggregate"
        tokens = _TOKEN.findall(text)
    return _join(tokens) if tokens else "aggregate"


def split_types(text: str) -> list[str]:
    """The types of a comma-separated list: `i32, [4 x float]` gives two."""
    tokens = _TOKEN.findall(text)
    types: list[str] = []
    position = 0
    while position < len(tokens):
        type_text, position = _type(tokens, position)
        types.append(type_text)
        position += 1
    return types
