"""The types and constants of LLVM assembly, read from its tokens and written as LLVM prints them.

Source: LLVM Language Reference Manual, versions 10 to 20 (typed and opaque pointers).
"""

from __future__ import annotations

import re

from predictor.errors import FrontEndError

TOKEN = re.compile(
    r'c?"(?:[^"\\]|\\.)*"'  # strings
    r'|[%@!](?:"(?:[^"\\]|\\.)*"|[-\w$.]+)'  # values, globals, metadata
    r"|-?\d[\w.+-]*"  # numbers: 4, -1, 1.0e+00, 0x3F
    r"|#\d+|[A-Za-z_][\w.]*|\.\.\.|\S"
)
CONSTANT_WORDS = frozenset("true false null undef poison zeroinitializer none".split())
CASTS = frozenset(
    "trunc zext sext fptrunc fpext fptoui fptosi uitofp sitofp ptrtoint inttoptr bitcast "
    "addrspacecast".split()
)
BINARY = frozenset(
    "add fadd sub fsub mul fmul udiv sdiv fdiv urem srem frem shl lshr ashr and or xor".split()
)
EXPRESSIONS = (
    CASTS | BINARY | {"getelementptr", "select", "icmp", "fcmp", "splat", "extractelement"}
)
_PRIMITIVE = re.compile(
    r"^(?:void|half|bfloat|float|double|fp128|x86_fp80|i\d+|ptr|label|metadata|token|opaque)$"
)
CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}


def group_at(tokens: list[str], position: int) -> tuple[str, int]:
    """The bracketed tokens that start at `position`, brackets included, and the position after."""
    depth = 0
    start = position
    while True:
        token = tokens[position]
        depth += token in CLOSING
        depth -= token in CLOSING.values()
        position += 1
        if not depth:
            return joined(tokens[start:position]), position


def joined(tokens: list[str]) -> str:
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


def type_at(tokens: list[str], position: int, stop_at_call: bool = False) -> tuple[str, int]:
    """The type that starts at `position` as LLVM prints it, and the position after it."""
    token = tokens[position]
    if token == "ptr":
        text = "ptr"
        position += 1
        if tokens[position : position + 1] == ["addrspace"]:
            group, position = group_at(tokens, position + 1)
            text = f"ptr addrspace{group}"
        return text, position
    if token in ("[", "<") and tokens[position + 1] != "{":
        count = tokens[position + 1]
        element, position = type_at(tokens, position + 3)
        text = f"{token}{count} x {element}{CLOSING[token]}"
        position += 1
    elif token in ("{", "<"):
        packed = token == "<"
        position += 2 if packed else 1
        members: list[str] = []
        while tokens[position] != "}":
            member, position = type_at(tokens, position)
            members.append(member)
            if tokens[position] == ",":
                position += 1
        position += 2 if packed else 1
        text = "{ " + ", ".join(members) + " }" if members else "{}"
        text = f"<{text}>" if packed else text
    elif token == "target":
        group, position = group_at(tokens, position + 1)
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
            group, position = group_at(tokens, position + 1)
            text += f" addrspace{group}*"
            position += 1
        elif tokens[position] == "(" and not stop_at_call and text != "label":
            group, position = group_at(tokens, position)
            text += f" {group}"
        else:
            break
    return text, position


def begins_type(token: str) -> bool:
    """Whether a type can begin with this token."""
    return bool(_PRIMITIVE.match(token)) or token[0] in "<[{%" or token == "target"


def last_type(tokens: list[str]) -> str:
    """The result type of a function header: the last type before its name."""
    for start in range(len(tokens)):
        if begins_type(tokens[start]):
            try:
                text, position = type_at(tokens, start)
            except (IndexError, ValueError):
                continue
            if position == len(tokens):
                return text
    raise FrontEndError(f"function header {' '.join(tokens)!r} cannot be read")


def constant_at(tokens: list[str], position: int) -> tuple[str, int]:
    """The constant that starts at `position`, and the position after it."""
    token = tokens[position]
    if token in EXPRESSIONS or token in ("blockaddress", "dso_local_equivalent"):
        start = position
        while tokens[position] != "(":
            position += 1
        _, position = group_at(tokens, position)
        return joined(tokens[start:position]), position
    if token in CLOSING:
        return group_at(tokens, position)
    return token, position + 1


def member_type(type_text: str, indices: list[int]) -> str:
    """The type of a member of a literal struct or array type."""
    tokens = TOKEN.findall(type_text)
    for index in indices:
        if tokens[0] == "[":
            text, _ = type_at(tokens, 3)
        elif tokens[0] == "{":
            position = 1
            text = ""
            for _ in range(index + 1):
                text, position = type_at(tokens, position)
                position += 1
        else:
            return "aggregate"
        tokens = TOKEN.findall(text)
    return joined(tokens) if tokens else "aggregate"


def split_types(text: str) -> list[str]:
    """The types of a comma-separated list: `i32, [4 x float]` gives two."""
    tokens = TOKEN.findall(text)
    types: list[str] = []
    position = 0
    while position < len(tokens):
        type_text, position = type_at(tokens, position)
        types.append(type_text)
        position += 1
    return types
