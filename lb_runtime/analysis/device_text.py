"""Whether the text of a kernel depends on the device that it is compiled for.

Each device's compiler defines macros of its own (`cl_khr_fp64`, `__OPENCL_VERSION__`, `__POCL__`). Where
a source asks for a macro that neither it nor the build options define, the analysed text may not be the
text that a device runs. Conditionals around nothing but pragmas and diagnostics change no code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_COMMENTS = re.compile(r'//[^\n]*|/\*.*?\*/|("(?:[^"\\\n]|\\.)*")', re.S)
_DIRECTIVE = re.compile(r"^\s*(?:#|%:|\?\?=)\s*(\w+)(.*)$")
"""A preprocessor line, `#` also in its other spellings (C99, sections 5.2.1.1 and 6.4.6)."""
_WORD = re.compile(r"[A-Za-z_]\w*")
_CONDITIONS = frozenset("if ifdef ifndef elif elifdef elifndef".split())
_HARMLESS = frozenset("pragma error warning line".split())
_OPERATORS = frozenset("defined true false and or not".split())
_PREDEFINED = re.compile(
    r"\b(?:__(?!LINE__)[A-Z]\w*__|__POCL\w*|__GPU__|__CPU__|FP_FAST_FMA\w*|"
    r"CL_VERSION_\d_\d|__opencl_c_\w+|__has_\w+|__clang\w*|__llvm__|__SPIR\w*|__NV_\w+|"
    r"__x86_64\w*|__i386\w*|__amd64\w*|__aarch64\w*|__arm\w*|"
    r"cl(?:es)?_(?:khr|ext|amd|intel|nv|arm|img|qcom|pocl|altera|xilinx|apple|APPLE)_\w+)\b"
)
"""Macros that a compiler defines, where they stand in code or in a macro's body."""


def device_dependent_name(source: str, options: Sequence[str] = ()) -> str:
    """The first macro by which a device's compiler can change the code, or an empty text."""
    text = _COMMENTS.sub(lambda match: match[1] or " ", re.sub(r"\\\r?\n", "", source))
    defined = _defined_by_options(options)
    # Each open conditional holds the device's macro that decides it, or an empty text.
    open_conditions: list[str] = []
    for line in text.splitlines():
        match = _DIRECTIVE.match(line)
        if not match:
            if any(open_conditions) and line.strip():
                return next(name for name in open_conditions if name)
            if (found := _PREDEFINED.search(line)) and found[0] not in defined:
                return found[0]
            continue
        directive, rest = match[1], match[2]
        if directive in ("if", "ifdef", "ifndef"):
            open_conditions.append(_decider(rest, defined))
        elif directive in _CONDITIONS and open_conditions:
            open_conditions[-1] = open_conditions[-1] or _decider(rest, defined)
        elif directive == "endif" and open_conditions:
            open_conditions.pop()
        elif directive in ("define", "undef"):
            name = _WORD.search(rest)
            decider = next((name for name in open_conditions if name), "")
            # `#ifndef X / #define X` gives X a value of its own unless a device knows X.
            if decider and name and not (decider == name[0] and not _is_reserved(decider)):
                return decider
            if name and not (open_conditions and _is_reserved(name[0])):
                defined.add(name[0])
            if (found := _PREDEFINED.search(rest)) and found[0] not in defined:
                return found[0]
        elif directive == "include" and any(open_conditions):
            return next(name for name in open_conditions if name)
        elif directive not in _HARMLESS and directive not in ("else", "endif", "include"):
            continue
    return ""


def _defined_by_options(options: Sequence[str]) -> set[str]:
    words = list(options)
    names: set[str] = set()
    for index, word in enumerate(words):
        text = word[2:] if word.startswith("-D") else ""
        if word == "-D" and index + 1 < len(words):
            text = words[index + 1]
        if name := _WORD.match(text):
            names.add(name[0])
    return names


def _decider(condition: str, defined: set[str]) -> str:
    """The macro of a condition that a device's compiler may define and the source does not."""
    for word in _WORD.findall(condition):
        if word not in defined and word not in _OPERATORS and _is_reserved(word):
            return str(word)
    return ""


def _is_reserved(name: str) -> bool:
    """Whether a compiler may define the name: reserved identifiers and extension names."""
    prefixes = ("_", "cl_", "CL_", "FP_FAST", "cles_", "SPIR", "POCL", "NV", "AMD")
    return name.startswith(prefixes) or name in ("linux", "unix", "i386")
