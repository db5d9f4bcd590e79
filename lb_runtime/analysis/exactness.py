"""Which instruction first makes a kernel's values depend on the device that computes them.

Moves, integers, comparisons, conversions and single additions and multiplications are the same on every
device (OpenCL 1.2, section 7.4: correctly rounded); divisions, roots, most built-in functions and what
a compiler may contract (section 6.12.2: FP_CONTRACT is on unless the source says otherwise) are not.
What is not known counts as dependent.

What is taken for granted:

- A NaN is a NaN: its sign and payload are no part of its value, and devices do differ in them. Where the
  bits of a computed number become an integer, or its sign another number's, that is a dependence.
- A program does nothing that leaves its result undefined: no division by zero, no cast of a number to
  an integer type that does not hold it (C99, section 6.3.1.4).
- Both devices round to the nearest even, as the full profile demands; whether they keep denormal
  floats, which is optional (section 7.2), is told apart as `Exactness.denormals`.
- Compilers evaluate constant expressions, and division by a power of two, exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from lb_runtime.analysis import atomics, exact_builtins, layout
from lb_runtime.analysis.exact_builtins import floats
from lb_runtime.analysis.reasons import Reason
from lb_runtime.analysis.value_flow import Node, ValueFlow, memory_of
from lb_runtime.analysis.values import builtin_name
from predictor import ir

_EXACT = frozenset(
    "add sub mul udiv sdiv urem srem shl lshr ashr and or xor icmp zext sext trunc bitcast addrspacecast "
    "inttoptr select phi freeze insertelement extractelement shufflevector insertvalue extractvalue "
    "getelementptr alloca load store fence br switch ret unreachable fneg sitofp uitofp".split()
)
"""Opcodes that no device computes differently."""
_ARITHMETIC = frozenset("fadd fsub fmul fdiv frem fcmp fptrunc fpext fptosi fptoui".split())
_ROUNDS = frozenset("fadd fsub fmul fdiv frem fptrunc fpext fneg".split())
"""Opcodes that may give a NaN of the device's own making."""
_FLUSHES = frozenset("fadd fsub fmul fdiv frem fcmp fptrunc fpext".split())
_FAST_FLAGS = frozenset("fast nnan ninf nsz arcp contract afn reassoc".split())

_ROUNDED_DIVISION = "-cl-fp32-correctly-rounded-divide-sqrt"
_MAD_ENABLE = "-cl-mad-enable"
_HARMLESS_OPTION = re.compile(
    r"^(?:[^-].*|-[DUI].*|-include|-cl-std=.*|-w|-Werror|-g|-cl-kernel-arg-info|-cl-opt-disable|"
    r"-cl-single-precision-constant|-cl-strict-aliasing|-cl-uniform-work-group-size|"
    rf"{_ROUNDED_DIVISION}|{_MAD_ENABLE})$"
)
"""Build options that leave the value of no single operation to the compiler (section 5.6.4)."""

_COMMENTS = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
_CONTRACT_OFF = re.compile(
    r"^[ \t]*#[ \t]*pragma[ \t]+OPENCL[ \t]+FP_CONTRACT[ \t]+OFF[ \t]*$", re.M
)


_INTEGER_POINTER = re.compile(r"^(?:u?(?:char|short|int|long)|bool|size_t)\d*\*$")


class Exactness(NamedTuple):
    """What makes values depend on the device: nothing known of all devices, or what is named.

    `dependence` names the first instruction in whose result devices may differ. `denormals` names the
    first that computes with `float`, in which devices without denormal numbers differ from others.
    """

    dependence: Reason | None
    denormals: Reason | None


class _Place(NamedTuple):
    function: ir.Function
    instruction: ir.Instruction


def exactness(
    module: ir.Module, reached: Sequence[ir.Function], source: str, options: Sequence[str]
) -> Exactness:
    """Look through a kernel, the first of `reached`, and all functions with a body that it reaches."""
    places = [
        _Place(function, instruction)
        for function in reached
        for block in function.blocks
        for instruction in block.instructions
    ]
    found = [*_single(reached, places, options)]
    flow = ValueFlow(reached)
    if _MAD_ENABLE in options or not contraction_is_off(source, options):
        found.extend(_contractible(flow, places))
    found.extend(_seen_bits(flow, reached, places, _integer_buffers(module, reached[0])))
    return Exactness(_first(found), _first(_denormals(reached, places)))


def contraction_is_off(source: str, options: Sequence[str] = ()) -> bool:
    """Whether the source forbids contraction everywhere: the pragma stands before all else, once."""
    text = _COMMENTS.sub(" ", re.sub(r"\\\r?\n", "", source))
    match = _CONTRACT_OFF.search(text)
    if match is None or text.count("FP_CONTRACT") > 1 or "-include" in options:
        return False
    if any("FP_CONTRACT" in option for option in options):
        return False
    before = text[: match.start()]
    return "{" not in before and not re.search(r"#[ \t]*(?:if|include|import)", before)


def _first(reasons: Iterable[Reason]) -> Reason | None:
    """The one whose line comes first; those without a line come last."""
    return min(reasons, key=lambda reason: reason.line or 1 << 31, default=None)


def _reason(name: str, why: str, line: int) -> Reason:
    return Reason("device-dependent", f"{name}: {why}", line)


def _single(
    reached: Sequence[ir.Function], places: Sequence[_Place], options: Sequence[str]
) -> Iterator[Reason]:
    """Instructions that devices may compute differently each by itself."""
    bodies = {ir.bare_name(function.name) for function in reached}
    relaxed = next((option for option in options if not _HARMLESS_OPTION.match(option)), "")
    used = {function.name: atomics.used_names(function) for function in reached}
    definitions = {(place.function.name, place.instruction.name): place for place in places}
    for place in places:
        function, instruction = place
        name = instruction.opcode
        if name == "call":
            if instruction.detail in bodies:
                continue
            name = exact_builtins.called(instruction.detail)
        if atomics.is_atomic(instruction) and name != "atomic_work_item_fence":
            unseen = instruction.name not in used[function.name]
            why = ""
            if not (unseen and atomics.combinable(instruction)):
                why = "what it finds or leaves depends on which work-item comes first"
        elif instruction.opcode == "call":
            why = _call(place, options, definitions)
        else:
            why = _opcode(instruction, options) or _unset(place, definitions)
        if not why and relaxed and _computes(instruction):
            why = f"the build option {relaxed} lets devices differ in it"
        if why:
            yield _reason(name, why, instruction.line)


def _computes(instruction: ir.Instruction) -> bool:
    if instruction.opcode == "call":
        types = floats(instruction.type, *(operand.type for operand in instruction.operands))
        return bool(types) and not instruction.detail.startswith("llvm.mem")
    return instruction.opcode in _ARITHMETIC or instruction.opcode in ("fneg", "sitofp", "uitofp")


def _opcode(instruction: ir.Instruction, options: Sequence[str]) -> str:
    """How devices may differ in an instruction that is no call; empty where they may not."""
    opcode = instruction.opcode
    if opcode == "ptrtoint":
        return "devices keep buffers at different addresses"
    if flags := _FAST_FLAGS & instruction.flags:
        return f"compilers may change it ({', '.join(sorted(flags))})"
    if opcode in _EXACT:
        return ""
    if opcode not in _ARITHMETIC or opcode == "frem":
        return "nothing is known of it"
    result = floats(instruction.type)
    operands = floats(*(operand.type for operand in instruction.operands))
    if (opcode == "fptrunc" and "half" in result) or (
        opcode in ("fadd", "fsub", "fmul", "fdiv", "frem") and "half" in operands
    ):
        return "devices compute with halves in different precisions"
    if opcode == "fdiv" and result == {"float"} and _ROUNDED_DIVISION not in options:
        return f"a division of floats may be off by 2.5 ulp (without {_ROUNDED_DIVISION})"
    return ""


def _unset(place: _Place, definitions: dict[tuple[str, str], _Place]) -> str:
    """How devices may differ in what a store leaves in lanes that the kernel gave no value."""
    function, store = place
    if store.opcode != "store" or layout.address_space(store.operands[1].type) in (0, 3):
        return ""
    value = store.operands[0]
    known = definitions.get((function.name, value.text))
    made_of = f"{value.text} {known.instruction.text if known else ''}"
    if known and known.instruction.opcode == "shufflevector":
        made_of = known.instruction.detail
    if layout.vector(value.type) and re.search(r"\b(?:poison|undef)\b", made_of):
        return "lanes without a value, as the fourth of a vector of three, are what a device leaves there"
    return ""


def _call(place: _Place, options: Sequence[str], definitions: dict[tuple[str, str], _Place]) -> str:
    """How devices may differ in a call of a function without a body; empty where they may not."""
    call = place.instruction
    if call.detail == "asm" or call.detail.startswith("%"):
        return "nothing is known of what it does"
    if call.detail.startswith("__translate_sampler"):
        return ""
    fits = builtin_name(call.detail) in ("mul24", "mad24") and all(
        _fits_24_bits(place.function, operand, definitions) for operand in call.operands[:2]
    )
    return exact_builtins.difference(call, rounds_division=_ROUNDED_DIVISION in options, fits=fits)


def _fits_24_bits(
    function: ir.Function, operand: ir.Operand, definitions: dict[tuple[str, str], _Place]
) -> bool:
    """Whether an operand is sure to be a number of at most 23 bits and a sign."""
    if operand.kind == "constant":
        return bool(re.fullmatch(r"-?\d+", operand.text)) and abs(int(operand.text)) < 1 << 23
    found = definitions.get((function.name, operand.text))
    if found is None:
        return False
    instruction = found.instruction
    if instruction.opcode in ("zext", "sext"):
        return 0 < layout.integer_bits(instruction.operands[0].type) <= 16
    if instruction.opcode in ("ashr", "lshr"):
        shift, bits = instruction.operands[1].text, layout.integer_bits(instruction.type)
        return shift.isdigit() and int(shift) > bits - 24
    if instruction.opcode == "and":
        mask = instruction.operands[1].text
        return mask.isdigit() and int(mask) < 1 << 23
    if instruction.opcode == "trunc":
        return _fits_24_bits(function, instruction.operands[0], definitions)
    # Work-groups of millions of work-items exist nowhere.
    return instruction.opcode == "call" and builtin_name(instruction.detail) in (
        "get_local_id",
        "get_local_size",
    )


def _contractible(flow: ValueFlow, places: Sequence[_Place]) -> Iterator[Reason]:
    """Additions that a product may get to: compilers fuse both, across statements where they inline."""
    products = {
        node: instruction.line
        for function, instruction in places
        if instruction.opcode == "fmul" or _is_called(instruction, "ldexp")
        for node in flow.results(function, instruction)
    }
    if not products:
        return
    reached = flow.follow(products)
    for function, instruction in places:
        if instruction.opcode in ("fadd", "fsub") or _is_called(instruction, "fdim"):
            for operand in instruction.operands:
                for node in flow.nodes(function, operand):
                    if node in reached:
                        name = instruction.opcode
                        why = f"may be fused with the product of line {reached[node]}"
                        yield _reason("fdim" if name == "call" else name, why, instruction.line)


def _is_called(instruction: ir.Instruction, name: str) -> bool:
    return instruction.opcode == "call" and builtin_name(instruction.detail) == name


def _integer_buffers(module: ir.Module, kernel: ir.Function) -> set[Node]:
    """The memory of those of a kernel's parameters that are declared as pointers to integers."""
    types = module.metadata_list(kernel.metadata.get("kernel_arg_base_type", ""))
    return {
        memory_of(kernel.name, parameter.name)
        for parameter, text in zip(kernel.parameters, types)
        if _INTEGER_POINTER.match(text)
    }


def _seen_bits(
    flow: ValueFlow,
    reached: Sequence[ir.Function],
    places: Sequence[_Place],
    integer_buffers: set[Node],
) -> Iterator[Reason]:
    """Where the bits of a computed number become something else: were it a NaN, they are the device's."""
    bodies = {ir.bare_name(function.name) for function in reached}
    computed = {
        node: instruction.line
        for function, instruction in places
        if _may_make_a_nan(instruction, bodies)
        for node in flow.results(function, instruction)
        if node[0] != "memory" or not _is_called(instruction, "frexp")
    }
    if not computed:
        return
    found = flow.follow(computed)
    why = "shows the bits of a computed number, which differ for a NaN"
    for function, instruction in places:
        opcode = instruction.opcode
        looked_at: set[Node] = set()
        if opcode == "bitcast" and not floats(instruction.type):
            looked_at = set(flow.nodes(function, instruction.operands[0]))
            name = "a cast of its bits"
        elif opcode == "load" and layout.address_space(instruction.type) < 0:
            name = "a load as another type"
            if not floats(instruction.type):
                looked_at = flow.memory(function, instruction.operands[0], writes=False)
        elif opcode == "store":
            name = "a store to a buffer of integers"
            if flow.memory(function, instruction.operands[1], writes=True) & integer_buffers:
                looked_at = set(flow.nodes(function, instruction.operands[0]))
            if not floats(instruction.operands[0].type):
                looked_at = set()
        elif opcode == "call" and instruction.detail not in bodies:
            name = exact_builtins.called(instruction.detail)
            looking = {"signbit": (0,), "copysign": (1,), "bitselect": (0, 1, 2)}.get(name, ())
            if floats(*(operand.type for operand in instruction.operands)):
                for position in looking:
                    looked_at |= set(flow.nodes(function, instruction.operands[position]))
        if looked_at & found.keys():
            yield _reason(name, why, instruction.line)


def _may_make_a_nan(instruction: ir.Instruction, bodies: set[str]) -> bool:
    """Whether an instruction computes a number, or leaves one in memory that it is handed."""
    if instruction.opcode != "call":
        return instruction.opcode in _ROUNDS
    if instruction.detail in bodies or instruction.detail.startswith("llvm.mem"):
        return False
    if instruction.type == "void":
        return "half" in instruction.detail
    return bool(floats(instruction.type)) and not _only_moves(instruction)


def _only_moves(call: ir.Instruction) -> bool:
    """Whether a function moves numbers as they are, the bits of a NaN included."""
    name = builtin_name(call.detail)
    return name in ("select", "bitselect", "shuffle", "shuffle2") or (
        name.startswith(("vload", "vstore", "async_work_group")) and "half" not in name
    )


def _denormals(reached: Sequence[ir.Function], places: Sequence[_Place]) -> Iterator[Reason]:
    """Instructions in which a device that has no denormal floats may take one for zero."""
    bodies = {ir.bare_name(function.name) for function in reached}
    for _, instruction in places:
        name = instruction.opcode
        if name == "call":
            if instruction.detail in bodies or not exact_builtins.flushes(instruction):
                continue
            name = exact_builtins.called(instruction.detail)
        elif name not in _FLUSHES or "float" not in floats(
            instruction.type, *(operand.type for operand in instruction.operands)
        ):
            continue
        why = "a device may take denormal floats for zero"
        yield _reason(name, why, instruction.line)
