"""What one work-item does, as far as its ids decide it: blocks that it runs, addresses that it touches.

Where the analysis of intervals sees that two parts may meet, single work-items show whether they do.
Integers are evaluated exactly, as the device computes them; what data decides is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lb_runtime.analysis import layout
from lb_runtime.analysis.accesses import Access
from lb_runtime.analysis.control import ControlFlow
from lb_runtime.analysis.forms import Form
from lb_runtime.analysis.frame import Frame
from lb_runtime.analysis.values import builtin_name
from predictor import ir

MAX_STEPS = 4000
"""So many instructions and blocks of one work-item are looked at, then nothing more is known of it."""

Iterations = tuple[tuple[str, int], ...]
"""Which iteration of each enclosing loop is meant: `(call path and header, number from 0)`, sorted."""


class Place(NamedTuple):
    """A byte of an argument."""

    argument: int
    byte: int


class _UnknownError(Exception):
    """Data, or something that is not followed, decides."""


class WorkItem:
    """One work-item of a launch, by its ids, one entry per dimension."""

    def __init__(
        self, ids: Sequence[int], local_size: Sequence[int], offset: Sequence[int]
    ) -> None:
        self.ids = {
            "global": tuple(ids),
            "local": tuple((i - o) % size for i, o, size in zip(ids, offset, local_size)),
            "group": tuple((i - o) // size for i, o, size in zip(ids, offset, local_size)),
        }
        self._left = MAX_STEPS
        self._known: dict[tuple[str, str, Iterations], int | Place | None] = {}
        self._runs: dict[tuple[str, str, Iterations], bool | None] = {}

    def place(self, access: Access, iterations: Mapping[str, int]) -> Place | None:
        """The first byte that the work-item touches there, None where that is not known.

        `iterations` gives the number of the iteration of each loop, by call path and header.
        """
        site = access.site
        at = tuple(sorted(iterations.items()))
        try:
            place = self._value(site.frame, site.pointer, at)
            if not isinstance(place, Place):
                return None
            if site.scaled:
                count = self._integer(site.frame, site.scaled[0], at)
                place = Place(place.argument, place.byte + count * site.scaled[1])
        except (_UnknownError, RecursionError):
            return None
        return place

    def makes(self, access: Access, iterations: Mapping[str, int]) -> bool:
        """Whether the work-item is sure to make an access in these iterations of the loops around it."""
        site = access.site
        at = tuple(sorted(iterations.items()))
        try:
            frame, block = site.frame, site.block
            while self._is_run(frame, block, at):
                if frame.caller is None:
                    return True
                frame, _, block = frame.caller
        except (_UnknownError, RecursionError):
            return False
        return False

    # Blocks

    def _is_run(self, frame: Frame, block: str, at: Iterations) -> bool:
        """Whether a block runs, in these iterations, once its function is called."""
        key = frame.path, block, at
        if key not in self._runs:
            self._runs[key] = None
            self._step()
            self._runs[key] = self._find_run(frame, block, at)
        run = self._runs[key]
        if run is None:
            raise _UnknownError
        return run

    def _find_run(self, frame: Frame, block: str, at: Iterations) -> bool:
        flow = frame.flow
        if block == flow.entry:
            return True
        deciders = flow.deciders(block)
        if deciders is not None:
            # Loops before the block end, however often they go round.
            return all(
                self._goes(frame, edge.source, flow.successors(edge.source)[edge.position], at)
                for edge in deciders
            )
        sources = flow.predecessors[block]
        if block in flow.loops:
            number = _iteration(frame, block, at)
            latches = flow.loops[block].latches
            sources = [s for s in sources if (s in latches) == (number > 0)]
            at = _at(frame, flow, block, at, number - 1)
        is_unknown = False
        for source in sources:
            try:
                if self._is_run(frame, source, at) and self._goes(frame, source, block, at):
                    return True
            except _UnknownError:
                is_unknown = True
        if is_unknown:
            raise _UnknownError
        return False

    def _goes(self, frame: Frame, source: str, target: str, at: Iterations) -> bool:
        """Whether control goes from a block that runs to this successor."""
        branch = frame.flow.blocks[source].instructions[-1]
        if len(set(branch.blocks)) == 1:
            return True
        if branch.opcode == "br":
            taken = self._integer(frame, branch.operands[0], at)
            return branch.blocks[0 if taken else 1] == target
        if branch.opcode == "switch":
            value = self._integer(frame, branch.operands[0], at)
            for case, block in zip(branch.operands[1:], branch.blocks[1:]):
                if self._integer(frame, case, at) == value:
                    return block == target
            return branch.blocks[0] == target
        raise _UnknownError

    # Values

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _UnknownError

    def _integer(self, frame: Frame, operand: ir.Operand, at: Iterations) -> int:
        value = self._value(frame, operand, at)
        if isinstance(value, Place):
            raise _UnknownError
        return value

    def _value(self, frame: Frame, operand: ir.Operand, at: Iterations) -> int | Place:
        """An integer, signed, or a place in an argument."""
        if operand.kind != "local":
            form = frame.form(operand)
            if form is None or form.terms:
                raise _UnknownError
            return form.constant
        definition = frame.definitions.get(operand.text)
        if definition is None:
            return self._parameter(frame, operand, at)
        instruction, block = definition
        at = _inside(frame, block, at)
        key = frame.path, operand.text, at
        if key not in self._known:
            self._known[key] = None
            self._step()
            self._known[key] = self._evaluate(frame, instruction, block, at)
        known = self._known[key]
        if known is None:
            raise _UnknownError
        return known

    def _parameter(self, frame: Frame, operand: ir.Operand, at: Iterations) -> int | Place:
        if frame.caller is not None:
            outer, call, _ = frame.caller
            for parameter, given in zip(frame.function.parameters, call.operands):
                if parameter.name == operand.text:
                    return self._value(outer, given, at)
            raise _UnknownError
        value = frame.value(operand)
        if isinstance(value, tuple) and len(value) == 1 and value[0].base == "argument":
            return Place(value[0].parameter, 0)
        form = frame.form(operand)
        if form is None or form.terms:
            raise _UnknownError
        return form.constant

    def _evaluate(
        self, frame: Frame, instruction: ir.Instruction, block: str, at: Iterations
    ) -> int | Place:
        opcode, operands = instruction.opcode, instruction.operands
        if opcode == "phi":
            return self._phi(frame, instruction, block, at)
        if opcode == "getelementptr":
            return self._element(frame, instruction, at)
        if opcode == "select":
            taken = self._integer(frame, operands[0], at)
            return self._value(frame, operands[1 if taken else 2], at)
        if opcode in ("freeze", "addrspacecast"):
            return self._value(frame, operands[0], at)
        if opcode == "call":
            return self._call(frame, instruction, at)
        bits = layout.integer_bits(instruction.type)
        if not bits:
            raise _UnknownError
        if opcode in ("sext", "zext", "trunc"):
            narrow = layout.integer_bits(operands[0].type)
            value = self._integer(frame, operands[0], at)
            if opcode == "zext" or (narrow == 1 and opcode != "sext"):
                value &= (1 << narrow) - 1
            elif narrow == 1:
                value = -(value & 1)
            return _wrapped(value, bits)
        if opcode == "icmp":
            width = layout.integer_bits(operands[0].type)
            if not width:
                raise _UnknownError
            one, other = (self._integer(frame, operand, at) for operand in operands)
            return int(_compares(instruction.detail, one, other, width))
        if len(operands) == 2:
            one, other = (self._integer(frame, operand, at) for operand in operands)
            return _computed(opcode, one, other, bits)
        raise _UnknownError

    def _phi(self, frame: Frame, phi: ir.Instruction, block: str, at: Iterations) -> int | Place:
        flow = frame.flow
        incoming = list(zip(phi.operands, phi.blocks))
        if block in flow.loops:
            number = _iteration(frame, block, at)
            latches = flow.loops[block].latches
            incoming = [(o, b) for o, b in incoming if (b in latches) == (number > 0)]
            at = _at(frame, flow, block, at, number - 1)
        if len(incoming) == 1:
            return self._value(frame, incoming[0][0], at)
        for operand, source in incoming:
            if (
                source in flow.predecessors
                and self._is_run(frame, source, at)
                and self._goes(frame, source, block, at)
            ):
                return self._value(frame, operand, at)
        raise _UnknownError

    def _element(self, frame: Frame, instruction: ir.Instruction, at: Iterations) -> Place:
        base = self._value(frame, instruction.operands[0], at)
        if not isinstance(base, Place):
            raise _UnknownError
        byte = base.byte
        type_text = instruction.detail
        structs = frame.module.structs
        try:
            for number, operand in enumerate(instruction.operands[1:]):
                index = self._integer(frame, operand, at)
                if number and layout.is_struct(type_text):
                    type_text, inside = layout.member(type_text, index, structs)
                    byte += inside
                    continue
                if number:
                    inner = layout.element(type_text)
                    if inner is None:
                        raise _UnknownError
                    type_text = inner
                byte += index * layout.size_bytes(type_text, structs)
        except layout.UnknownLayoutError:
            raise _UnknownError from None
        return Place(base.argument, byte)

    def _call(self, frame: Frame, call: ir.Instruction, at: Iterations) -> int | Place:
        name = builtin_name(call.detail)
        if name.startswith("get_"):
            kind = name[4:-3]
            dimension = self._integer(frame, call.operands[0], at) if call.operands else 0
            if name in ("get_global_id", "get_local_id", "get_group_id"):
                ids = self.ids[kind]
                return ids[dimension] if 0 <= dimension < len(ids) else 0
            form = frame.dimensions.answer(name, dimension)
            if not isinstance(form, Form) or form.terms:
                raise _UnknownError
            return form.constant
        bits = layout.integer_bits(call.type)
        operation = name.split(".")[1] if name.startswith("llvm.") else name
        if operation in ("min", "max", "smin", "smax", "umin", "umax") and bits:
            one, other = (self._integer(frame, operand, at) for operand in call.operands[:2])
            is_unsigned = operation[0] == "u" or call.detail.endswith(("h", "t", "j", "m"))
            less = _compares("ult" if is_unsigned else "slt", one, other, bits)
            return one if less == operation.endswith("min") else other
        raise _UnknownError


def _iteration(frame: Frame, header: str, at: Iterations) -> int:
    for name, number in at:
        if name == _loop_name(frame, header):
            return number
    raise _UnknownError


def _loop_name(frame: Frame, header: str) -> str:
    return f"{frame.path}:{header}"


def _inside(frame: Frame, block: str, at: Iterations) -> Iterations:
    """The iterations that matter to a block: those of loops around it, and those of its callers."""
    around = {_loop_name(frame, loop.header) for loop in frame.flow.loops_of(block)}
    return tuple(
        (name, number)
        for name, number in at
        if name in around or not name.startswith(f"{frame.path}:")
    )


def _at(frame: Frame, flow: ControlFlow, header: str, at: Iterations, number: int) -> Iterations:
    """The iterations at the end of an earlier iteration of a loop, or before the loop for -1."""
    name = _loop_name(frame, header)
    rest = tuple(entry for entry in at if entry[0] != name)
    return tuple(sorted((*rest, (name, number)))) if number >= 0 else rest


def _wrapped(value: int, bits: int) -> int:
    """A value as the signed integer of this width that the device holds; a truth value is 0 or 1."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if bits > 1 and value >> (bits - 1) else value


def _compares(predicate: str, one: int, other: int, bits: int) -> bool:
    if predicate[0] == "u":
        one, other = one & ((1 << bits) - 1), other & ((1 << bits) - 1)
    return {
        "eq": one == other,
        "ne": one != other,
        "lt": one < other,
        "le": one <= other,
        "gt": one > other,
        "ge": one >= other,
    }[predicate if predicate in ("eq", "ne") else predicate[1:]]


def _computed(opcode: str, one: int, other: int, bits: int) -> int:
    unsigned = one & ((1 << bits) - 1), other & ((1 << bits) - 1)
    if opcode in ("udiv", "sdiv", "urem", "srem") and not unsigned[1]:
        raise _UnknownError
    if opcode in ("shl", "lshr", "ashr") and unsigned[1] >= bits:
        raise _UnknownError
    if opcode in ("sdiv", "srem"):
        quotient = abs(one) // abs(other) * (1 if (one < 0) == (other < 0) else -1)
        return _wrapped(quotient if opcode == "sdiv" else one - quotient * other, bits)
    results = {
        "add": lambda: one + other,
        "sub": lambda: one - other,
        "mul": lambda: one * other,
        "and": lambda: one & other,
        "or": lambda: one | other,
        "xor": lambda: one ^ other,
        "udiv": lambda: unsigned[0] // unsigned[1],
        "urem": lambda: unsigned[0] % unsigned[1],
        "shl": lambda: one << unsigned[1],
        "lshr": lambda: unsigned[0] >> unsigned[1],
        "ashr": lambda: one >> unsigned[1],
    }
    if opcode not in results:
        raise _UnknownError
    return _wrapped(results[opcode](), bits)
