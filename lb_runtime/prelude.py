"""The OpenCL text that keeps work-item built-ins true inside a part of a launch: text in, text out.

A part is launched with `global_work_offset = the user's offset + the part's start`. There, only
`get_global_id` and what describes one work-group (`get_local_id`, `get_local_size`, `get_work_dim`)
answer as in the whole launch, smaller last work-groups included: only the last part has them. The
others are replaced by macros that call functions of ours, into which the whole NDRange is written as
constants: one build serves every part of every cut of that NDRange.

The group id follows from where the group begins, since parts are cut at work-group edges:
`(the part's group id * local size + the part's offset - the user's offset) / local size`. Two rules
keep it true on PoCL 3.0. The part's offset stands only inside that sum: PoCL tells its compiler, wrongly,
that offsets of short launches fit 16 bits, so that what is computed from the offset alone goes wrong,
while the sum with the group id is unbounded (it is what `get_global_id` itself is made of). And no id of
a work-item enters, so that the group id stays one value per group: PoCL miscompiles kernels that keep
values of each work-item across a barrier beside a condition of three terms.

For a dimension that the launch does not have, the functions answer what the specification says (OpenCL
1.2, section 6.12.1): a size of 1, an id or offset of 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lb_runtime.launch import NDRange
from lb_runtime.records import dataclass

WORK_ITEM_BUILT_INS = frozenset(
    {
        "get_enqueued_local_size",
        "get_global_id",
        "get_global_linear_id",
        "get_global_offset",
        "get_global_size",
        "get_group_id",
        "get_local_id",
        "get_local_linear_id",
        "get_local_size",
        "get_num_groups",
        "get_work_dim",
    }
)
"""All work-item built-ins of OpenCL C up to 2.0."""

CHANGED_BY_A_SPLIT = frozenset(
    {
        "get_global_linear_id",
        "get_global_offset",
        "get_global_size",
        "get_group_id",
        "get_num_groups",
    }
)
"""Those whose answer inside a part is not that of the whole launch."""

_PREFIX = "lb_runtime_"
_DIMENSION = "lb_runtime_dimension"
_GUARD_VALUE = 1846213907

_BEYOND_TEXT = (
    (re.compile(r"\b(?:asm|__asm|__asm__)\b"), "inline assembly"),
    (re.compile(r"\b__spirv_\w+"), "SPIR-V built-ins"),
    (re.compile(r"\b__builtin_(?:amdgcn|nvvm|nvptx|ptx|r600)_\w+|\b__nvvm_\w+"), "GPU built-ins"),
    (
        re.compile(r"\b_Z\d+get_(?:global|group|num|local|work|enqueued)\w*"),
        "mangled built-in names",
    ),
)

_IGNORED_TEXT = re.compile(
    r"""//[^\n]*               # a line comment
      | /\*.*?(?:\*/|\Z)       # a block comment
      | "(?:\\.|[^"\\\n])*"    # a string
      | '(?:\\.|[^'\\\n])*'    # a character
    """,
    re.VERBOSE | re.DOTALL,
)

_DIRECTIVE = re.compile(r"^[ \t]*#(?:[ \t]*define[ \t]+\w+(?:\([^)\n]*\))?|.*$)", re.MULTILINE)
"""A `#define` up to its body, or the whole line of another directive."""

_MAY_PRECEDE_A_CALL = frozenset({"return", "else", "do", "case", "goto", "sizeof", "typeof"})


@dataclass(frozen=True, slots=True)
class Adapted:
    """A program that answers as in the whole launch inside every part: its text and build options."""

    source: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotAdaptable:
    """Why no text of ours can keep the built-ins of this program true; one line."""

    reason: str


def adapt(
    source: str, options: tuple[str, ...], nd_range: NDRange, built_ins: Iterable[str]
) -> Adapted | NotAdaptable:
    """The program to build for parts of a launch over `nd_range`.

    `built_ins` are the work-item built-ins that the kernel uses, as the analysis of its IR found them;
    what the text names is added to them. A program that uses none of `CHANGED_BY_A_SPLIT` comes back
    untouched. Line numbers of `source` stay true.
    """
    text = _code_only(source)
    for pattern, what in _BEYOND_TEXT:
        if found := pattern.search(text):
            return NotAdaptable(
                f"the source uses {what} ({found.group()}), which can read the part's own range"
            )
    named = _named_in(text) | _named_in(" ".join(options))
    used = (named | frozenset(built_ins)) & CHANGED_BY_A_SPLIT
    if not used:
        return Adapted(source, options)
    if reason := _conflict(text, options, used):
        return NotAdaptable(reason)
    return Adapted(_prelude(nd_range, used) + "#line 1\n" + source + _guard(used), options)


def built_ins_in(source: str) -> frozenset[str]:
    """The work-item built-ins whose names stand in the text, outside comments and strings.

    A name pasted together by `##` or hidden in an `#include` is not found here.
    """
    return _named_in(_code_only(source))


def _named_in(text: str) -> frozenset[str]:
    return WORK_ITEM_BUILT_INS.intersection(re.findall(r"\bget_\w+", text))


def _code_only(source: str) -> str:
    """The text without comments and string contents, each replaced by one blank, and lines spliced."""
    spliced = re.sub(r"\\\r?\n", "", source)
    return _IGNORED_TEXT.sub(" ", spliced)


def _conflict(text: str, options: tuple[str, ...], used: frozenset[str]) -> str:
    """Why macros of these names would not mean what the program means; empty when they would."""
    names = "|".join(sorted(used))
    if found := re.search(rf"^[ \t]*#[ \t]*(define|undef)[ \t]+({names})\b", text, re.MULTILINE):
        return f"the source has its own #{found[1]} of {found[2]}"
    # The prelude calls `min` too.
    every_name = "|".join(sorted({*WORK_ITEM_BUILT_INS, "min"}))
    if found := re.search(rf"(?:^|\s)-[DU]\s*({every_name})\b", " ".join(options)):
        return f"the build options define {found[1]}"
    # A word before `name(` makes it a declaration, except where a statement can begin with the call.
    code = _DIRECTIVE.sub(";", text)
    for before, name in re.findall(rf"(\w+)\s+({names})\s*\(", code):
        if before not in _MAY_PRECEDE_A_CALL:
            return f"the source declares {name} itself"
    return ""


def _prelude(nd_range: NDRange, used: frozenset[str]) -> str:
    """Functions for the used built-ins, then macros: the functions call what the macros hide."""
    functions = [_definition(name, nd_range) for name in sorted(used)]
    return "\n".join([*functions, *(_macro(name) for name in sorted(used)), ""])


def _macro(name: str) -> str:
    parameters = "()" if name == "get_global_linear_id" else f"({_DIMENSION})"
    return f"#define {name}{parameters} {_PREFIX}{name}{parameters}"


def _definition(name: str, nd_range: NDRange) -> str:
    """A function with its prototype; not `static`, which OpenCL C 1.0 and 1.1 do not know."""
    if name == "get_global_linear_id":
        parameters, answer = "void", _linear_id(nd_range)
    else:
        parameters, answer = f"uint {_DIMENSION}", _answer(name, nd_range)
    head = f"size_t {_PREFIX}{name}({parameters})"
    return f"{_table(name, nd_range)}{head};\n{head} {{ return {answer}; }}"


def _table(name: str, nd_range: NDRange) -> str:
    """A table of the answers by dimension, for built-ins that answer one number each; else empty.

    Intel's compiler (2026.22) gets a bound on `get_global_id(0) - f()` off by one where `f` returns the
    number itself; what comes out of a table it gets right.
    """
    answers = {
        "get_global_offset": (nd_range.offset, 0),
        "get_global_size": (nd_range.global_size, 1),
        "get_num_groups": (nd_range.groups, 1),
    }.get(name)
    if answers is None:
        return ""
    known, otherwise = answers
    numbers = ", ".join(f"{number}ul" for number in (*known, *(otherwise,) * (4 - len(known))))
    return f"__constant size_t {_PREFIX}{name}_table[4] = {{{numbers}}};\n"


def _answer(name: str, nd_range: NDRange) -> str:
    """The answer as an expression of the dimension, which may be known only at run time."""
    if name == "get_group_id":
        # A sum without branches: where branches hold calls that differ in the dimension alone, LLVM
        # makes one call of them, and PoCL 3.0 then leaves a symbol undefined and ends the process.
        return " + ".join(
            f"(size_t)({_DIMENSION} == {dimension}u) * ({_group_id(nd_range, dimension)})"
            for dimension in range(nd_range.dimensions)
        )
    return f"{_PREFIX}{name}_table[min({_DIMENSION}, 3u)]"


def _group_id(nd_range: NDRange, dimension: int) -> str:
    """Where the part's group begins, counted from the user's offset, over the local size."""
    local, start = nd_range.local_size[dimension], nd_range.offset[dimension]
    return (
        f"(get_group_id({dimension}) * (size_t){local}ul + get_global_offset({dimension})"
        f" - (size_t){start}ul) / (size_t){local}ul"
    )


def _linear_id(nd_range: NDRange) -> str:
    """`get_global_linear_id` as OpenCL C 2.0, section 6.13.1 defines it."""
    terms = []
    stride = 1
    for dimension, (start, total) in enumerate(zip(nd_range.offset, nd_range.global_size)):
        terms.append(f"(get_global_id({dimension}) - (size_t){start}ul) * (size_t){stride}ul")
        stride *= total
    return " + ".join(terms)


def _guard(used: frozenset[str]) -> str:
    """Fails the build when an `#include` replaced one of our macros.

    At the end of the text our functions become macros with one known value, and each built-in must
    still expand to it. (Making a redefinition an error by pragma does not work in PoCL.)
    """
    lines = [""]
    for name in sorted(used):
        arguments = "" if name == "get_global_linear_id" else "0"
        lines += [
            f"#define {_PREFIX}{name}({_DIMENSION if arguments else ''}) {_GUARD_VALUE}",
            f"#if {name}({arguments}) != {_GUARD_VALUE}",
            f"#error the program replaces {name}, so that a split of it cannot be kept true",
            "#endif",
        ]
    return "\n".join(lines) + "\n"
