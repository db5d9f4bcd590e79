"""What a store leaves, as a text: equal texts at equal addresses are equal values, whoever stores them.

The text is an expression over constants, the kernel's arguments, loads from buffers and the store's own
address. Where something else enters (an id that the address does not fix, local memory), there is none.
"""

from __future__ import annotations

from typing import NamedTuple

from lb_runtime.analysis.forms import Form
from lb_runtime.analysis.frame import Frame
from lb_runtime.analysis.values import builtin_name
from predictor import ir

MAX_NODES = 40
"""A value of more instructions than these is not followed."""

_PURE = frozenset(
    "fadd fsub fmul fdiv frem fneg add sub mul udiv sdiv urem srem shl lshr ashr and or xor select "
    "sext zext trunc fptosi fptoui sitofp uitofp fpext fptrunc bitcast freeze icmp fcmp "
    "insertelement extractelement shufflevector".split()
)


class Written(NamedTuple):
    """The text of a stored value, empty where nothing is known, and the arguments that it is read from."""

    text: str = ""
    sources: frozenset[int] = frozenset()


def written(frame: Frame, value: ir.Operand, address: Form | None) -> Written:
    """What a store of `value` leaves; `address` is the form of where it goes."""
    finder = _Finder(address)
    text = finder.text(frame, value)
    return Written(text, frozenset(finder.sources)) if text else Written()


class _Finder:
    def __init__(self, address: Form | None) -> None:
        self.sources: set[int] = set()
        self._address = address
        self._left = MAX_NODES

    def text(self, frame: Frame, operand: ir.Operand) -> str:
        """The text of an operand's value, empty where it is not known."""
        self._left -= 1
        if self._left < 0:
            return ""
        if operand.kind == "constant":
            return f"{operand.type} {operand.text}"
        form = frame.form(operand)
        if form is not None and (known := self._fixed(form)):
            return f"{operand.type} {known}"
        if operand.kind != "local":
            return ""
        definition = frame.definitions.get(operand.text)
        if definition is None:
            return self._parameter(frame, operand)
        return self._result(frame, definition[0])

    def _fixed(self, form: Form) -> str:
        """An integer that is a number, or follows from the store's address."""
        if not form.terms:
            return str(form.constant)
        address = self._address
        if address is None or len(address.terms) != len(form.terms):
            return ""
        # Few kernels need it, and it brings libraries of its own, which take their time to load.
        from fractions import Fraction

        ratios = set()
        for (symbol, coefficient), (other, basis) in zip(form.terms, address.terms):
            if symbol != other:
                return ""
            ratios.add(Fraction(coefficient, basis))
        if len(ratios) != 1:
            return ""
        ratio = ratios.pop()
        return f"address * {ratio} + {form.constant - ratio * address.constant}"

    def _parameter(self, frame: Frame, operand: ir.Operand) -> str:
        if frame.caller is None:
            return f"argument {operand.text}"
        outer, call, _ = frame.caller
        for parameter, given in zip(frame.function.parameters, call.operands):
            if parameter.name == operand.text:
                return self.text(outer, given)
        return ""

    def _result(self, frame: Frame, instruction: ir.Instruction) -> str:
        opcode = instruction.opcode
        if opcode == "load":
            return self._loaded(frame, instruction)
        if opcode == "call":
            name = builtin_name(instruction.detail)
            if frame.callee(instruction) is not None or not name.startswith("llvm.fmuladd"):
                return ""
        elif opcode not in _PURE:
            return ""
        inner = [self.text(frame, operand) for operand in instruction.operands]
        if not all(inner):
            return ""
        return f"{instruction.type} {opcode} {instruction.detail}({', '.join(inner)})"

    def _loaded(self, frame: Frame, instruction: ir.Instruction) -> str:
        pointer = frame.pointer(instruction.operands[0])
        if len(pointer) != 1 or pointer[0].base != "argument" or "volatile" in instruction.flags:
            return ""
        place = self._fixed(pointer[0].offset)
        if not place:
            return ""
        self.sources.add(pointer[0].parameter)
        return f"{instruction.type} of {pointer[0].parameter} at {place}"
