"""Makes kernels compile from which their publisher stripped helper functions and constants.

The devmap sources were cut down to one kernel each, with every function and variable renamed: what
the kernel called or named is gone, and the kernel's new name may be that of a helper it calls. The
repair is driven by the compiler alone: compile, read the first error, declare what it misses, and
again. A stripped function becomes an external declaration whose parameter types are those of the
arguments (so the graph gets a call to an undefined function, which is all that is known of it); a
stripped constant becomes a small number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from predictor.errors import CompileError

_MOST_STEPS = 80
_IDENTIFIER = r"[A-Za-z_]\w*"
_QUALIFIERS = re.compile(
    r"\b(__global|__local|__private|__constant|__generic|const|volatile|restrict)\b"
)
_VALUE_TYPE = re.compile(
    r"(?:unsigned |signed )?(?:char|short|int|long|float|double|uchar|ushort|uint|ulong)(?:2|3|4|8|16)?"
)
_WRONG_CALLEE = (
    "too few arguments to function call",
    "too many arguments to function call",
    "to parameter of incompatible type",
    "to parameter of type",
)


@dataclass(frozen=True, slots=True)
class Repair:
    """A source that compiles, and one line for each change that was needed (none: none was)."""

    source: str
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Function:
    """A stripped function, and what is known of it so far."""

    name: str
    arguments: int
    returned: str = "void"
    overloaded: bool = False

    def macro(self) -> str:
        """A call that declares, where it stands, the function of exactly its arguments' types.

        `(0, a)` is `a` as a value: without address space and with arrays as pointers.
        """
        names = [f"a{index}" for index in range(self.arguments)]
        types = ", ".join(f"__typeof__((0, {argument}))" for argument in names) or "void"
        target, parameters = f"{self.name}_external", ", ".join(names)
        attribute = " __attribute__((overloadable))" if self.overloaded else ""
        declaration = f"{self.returned}{attribute} {target}({types})"
        return f"#define {self.name}({parameters}) ({{ {declaration}; {target}({parameters}); }})"


class _Draft:
    """A source under repair: its text, and the declarations to be put in front of it."""

    def __init__(self, source: str) -> None:
        self.body = source
        self.changes: list[str] = []
        self._constants: dict[str, int] = {}
        self._aliases: dict[str, str] = {}
        self._functions: dict[str, _Function] = {}

    def source(self) -> str:
        """The whole text; its line numbers are those of the body."""
        declarations = [f"#define {name} {target}" for name, target in self._aliases.items()]
        declarations += [f"#define {name} {value}" for name, value in self._constants.items()]
        declarations += [function.macro() for function in self._functions.values()]
        return "\n".join([*declarations, "#line 1", self.body]) if declarations else self.body

    def fix(self, error: CompileError) -> bool:
        """Repairs what the error complains of; False where no rule knows it."""
        lines = self.body.split("\n")
        line = lines[error.line - 1] if 0 < error.line <= len(lines) else ""
        missing = re.search(rf"use of undeclared identifier '({_IDENTIFIER})'", error.message)
        if missing:
            return self._declare(missing.group(1))
        conflict = re.search(rf"conflicting types for '({_IDENTIFIER})_external'", error.message)
        if conflict and conflict.group(1) in self._functions:
            return self._overload(conflict.group(1))
        if "local address space can only be declared in the outermost scope" in error.message:
            return self._hoist(error.line)
        if "is not a function or function pointer" in error.message:
            return self._open_subscripts(error.line, error.column)
        wants_value = "'void'" in error.message or "array subscript" in error.message
        if wants_value and self._set_returned(line, error.message):
            return True
        if any(words in error.message for words in (*_WRONG_CALLEE, "'void'")):
            return self._free_kernel_name(line)
        return False

    def _declare(self, name: str) -> bool:
        if name.startswith("__clc_"):
            self._aliases[name] = name.removeprefix("__clc_")
            self.changes.append(f"{name} is {self._aliases[name]}")
            return True
        call = re.search(rf"\b{name}\s*\(", self.body)
        if call:
            count = _argument_count(self.body, call.end())
            self._functions[name] = _Function(name, count)
            self.changes.append(f"declared function {name} of {count} arguments")
            return True
        vector = name[:-1]
        if name[-1] in "xyzw" and vector and re.search(rf"\b{vector}\b", self.body):
            self.body = re.sub(rf"\b{name}\b", f"{vector}.{name[-1]}", self.body)
            self.changes.append(f"{name} is {vector}.{name[-1]}")
            return True
        self._constants[name] = len(self._constants)
        self.changes.append(f"defined constant {name}")
        return True

    def _overload(self, name: str) -> bool:
        """Allows a function that is called with arguments of several types."""
        if self._functions[name].overloaded:
            return False
        self._functions[name] = replace(self._functions[name], overloaded=True)
        return True

    def _set_returned(self, line: str, message: str) -> bool:
        """Gives the functions called in this line, so far void, the type the compiler wants."""
        names = [
            name
            for name, function in self._functions.items()
            if function.returned == "void" and re.search(rf"\b{name}\s*\(", line)
        ]
        if not names:
            return False
        wanted = "int" if "subscript" in message else _wanted_type(message)
        if wanted is None:
            wanted = "double" if "double" in self.body else "float"
        for name in names:
            self._functions[name] = replace(self._functions[name], returned=wanted)
            self.changes.append(f"{name} returns {wanted}")
        return True

    def _free_kernel_name(self, line: str) -> bool:
        """Renames the kernel whose name is that of a stripped function called in this line."""
        kernel = re.search(rf"\b(?:__)?kernel\s+void\s+({_IDENTIFIER})\s*\(", self.body)
        if kernel is None or not re.search(rf"\b{kernel.group(1)}\s*\(", line):
            return False
        name = kernel.group(1)
        start, end = kernel.span(1)
        self.body = f"{self.body[:start]}{name}_kernel{self.body[end:]}"
        self.changes.append(f"renamed kernel {name}, which calls another {name}")
        return True

    def _hoist(self, number: int) -> bool:
        """Moves a declaration in local memory to the top of the kernel."""
        lines = self.body.split("\n")
        declaration = lines[number - 1].strip()
        lines[number - 1] = ""
        self.body = "\n".join(lines).replace("{", "{ " + declaration, 1)
        self.changes.append(f"moved to the kernel's top: {declaration}")
        return True

    def _open_subscripts(self, number: int, column: int) -> bool:
        """Puts back the bracket lost from `a[(i)*2]`, which reads `a(i)*2]`."""
        lines = self.body.split("\n")
        line = lines[number - 1]
        name = re.search(rf"({_IDENTIFIER})\s*\($", line[:column])
        if name is None:
            return False
        lines[number - 1] = re.sub(rf"\b{name.group(1)}\(", f"{name.group(1)}[(", line)
        self.body = "\n".join(lines)
        self.changes.append(f"line {number}: {name.group(1)}( is {name.group(1)}[(")
        return True


def repair(source: str, compile_source: Callable[[str], object]) -> Repair:
    """Changes `source` until `compile_source` takes it.

    Raises the last CompileError where no rule knows what is wrong.
    """
    draft = _Draft(source)
    for _ in range(_MOST_STEPS):
        try:
            compile_source(draft.source())
        except CompileError as error:
            if not draft.fix(error):
                raise
        else:
            return Repair(draft.source(), tuple(draft.changes))
    compile_source(draft.source())
    return Repair(draft.source(), tuple(draft.changes))


def _argument_count(text: str, start: int) -> int:
    """How many arguments the call has whose opening bracket ends at `start`."""
    depth, commas, empty = 1, 0, True
    for character in text[start:]:
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth == 0:
                break
        elif character == "," and depth == 1:
            commas += 1
        empty = empty and character.isspace()
    return 0 if empty else commas + 1


def _wanted_type(message: str) -> str | None:
    """The arithmetic type that the compiler's message names beside void."""
    for quoted in re.findall(r"'([^']*)'", message):
        bare = re.sub(r"\(vector of .*", "", _QUALIFIERS.sub("", quoted)).strip()
        if _VALUE_TYPE.fullmatch(bare):
            return str(bare)
    return None
