"""One instruction of LLVM assembly, from its tokens to an immutable value."""

from __future__ import annotations

from predictor.ir import Instruction, Operand
from predictor.type_grammar import (
    BINARY,
    CASTS,
    CONSTANT_WORDS,
    EXPRESSIONS,
    begins_type,
    constant_at,
    group_at,
    member_type,
    type_at,
)

_FLAGS = frozenset(
    "nuw nsw exact inbounds volatile atomic disjoint nneg fast nnan ninf nsz arcp contract afn "
    "reassoc weak nusw samesign inrange tail musttail notail cleanup inalloca".split()
)


class InstructionReader:
    """Reads the tokens of one instruction."""

    def __init__(self, tokens: list[str], functions: frozenset[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._functions = functions
        self._flags: set[str] = set()

    def instruction(self, name: str, line: int, text: str) -> Instruction:
        """Read the instruction; `name`, `line` and `text` are already known.

        Raises IndexError or ValueError where the tokens are not what the opcode takes.
        """
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
        if opcode in BINARY or opcode == "fneg" or opcode == "freeze":
            first = self._typed()
            rest = [self._value(first.type) for _ in range(self._take(","))]
            return first.type, [first, *rest], "", []
        if opcode in CASTS:
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
                member_type(first, [int(literal) for literal in literals]),
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
                space, self._at = group_at(self._tokens, self._at)
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
            _, self._at = group_at(self._tokens, self._at)
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
                _, self._at = group_at(self._tokens, self._at)
            else:
                self._at += 1
                while self._tokens[self._at] not in (",", ")"):
                    self._at += 1
            return Operand("metadata", type_text, " ".join(self._tokens[start : self._at]))
        while True:
            token = self._tokens[self._at]
            is_attribute = token[0].isalpha() and not token.startswith('c"')
            if not is_attribute or token in CONSTANT_WORDS or token in EXPRESSIONS:
                return self._value(type_text)
            self._at += 1
            if token == "align" and self._tokens[self._at].isdigit():
                self._at += 1
            elif self._tokens[self._at] == "(":
                _, self._at = group_at(self._tokens, self._at)

    def _skip_flags(self) -> None:
        while self._tokens[self._at : self._at + 1] and self._tokens[self._at] in _FLAGS:
            self._flags.add(self._next())

    def _skip_to_type(self) -> None:
        """Pass calling conventions and return attributes before the result type of a call."""
        while True:
            token = self._tokens[self._at]
            if begins_type(token):
                return
            self._at += 1
            if token == "align" and self._tokens[self._at].isdigit():
                self._at += 1
            elif self._tokens[self._at] == "(":
                _, self._at = group_at(self._tokens, self._at)

    def _typed(self) -> Operand:
        return self._value(self._type())

    def _type(self, stop_at_call: bool = False) -> str:
        text, self._at = type_at(self._tokens, self._at, stop_at_call)
        return text

    def _value(self, type_text: str) -> Operand:
        token = self._tokens[self._at]
        if token[0] == "%":
            self._at += 1
            return Operand("local", type_text, token)
        if token[0] == "@":
            self._at += 1
            return Operand("function" if token in self._functions else "global", type_text, token)
        text, self._at = constant_at(self._tokens, self._at)
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
