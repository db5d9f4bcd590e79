"""What a kernel uses its arguments for: guard, pitch, loop bound, index; and what a buffer's elements are.

Read from the IR alone, before any launch. It is a guess about meaning, good for choosing a launch that
nobody described; nothing that keeps a split safe relies on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from lb_runtime.analysis import layout
from lb_runtime.analysis.atomics import is_atomic
from lb_runtime.analysis.facts import KernelFacts
from lb_runtime.analysis.origins import IDS, Origin, Origins
from lb_runtime.analysis.values import builtin_name
from predictor import ir

_SUMS = frozenset("add sub xor mul shl sext zext trunc freeze".split())
_SUM_LENGTH = 16
"""The terms of a sum that are looked through for their signs."""


class Role(IntEnum):
    """What an integer parameter is for. Where it is for several things, the first of these counts."""

    SHIFT = 0
    """By how many bits something is shifted."""
    GROUP = 1
    """Up to which local id work-items work: local ids are compared with it."""
    LANES = 2
    """How many work-items of a group work together: local ids are divided by it."""
    MARGIN = 3
    """What is left out at an edge: it is subtracted before an id is multiplied."""
    GUARD = 4
    """Up to which id work-items work: ids are compared with it."""
    WIDTH = 5
    """How wide the rows are that an id counts through: ids are divided by it."""
    PITCH = 6
    """How far apart the rows are that an id counts: ids are multiplied by it."""
    COUNT = 7
    """How often a loop runs."""
    STRIDE = 8
    """How far apart what a loop counts through is: counters are multiplied by it."""
    LIMIT = 9
    """What data, or a product with an id, is compared with."""
    BACK = 10
    """How far back something is read: it is subtracted from an index."""
    OFFSET = 11
    """Where in a buffer the work begins: it is added to an index."""
    VALUE = 12
    """Anything else, such as what is stored."""


class Use(NamedTuple):
    """One role of a parameter, and the dimension whose ids it has to do with."""

    role: Role
    dimension: int = 0


class IndexUse(IntEnum):
    """What the integers of a buffer lead to, the least restrictive first."""

    READ = 0
    """Elements of another buffer that are read."""
    WRITTEN = 1
    """Elements of another buffer that are written."""
    COUNT = 7
    """How often a loop runs."""
    END = 3
    """Where a loop ends that begins at what another buffer holds."""
    START = 4
    """Where a loop begins, as the row pointers of a sparse matrix do."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What is read from a kernel's IR about its arguments.

    `dimensions` is the number of those whose ids are asked for (at least 1). `scalars` holds the use of
    each parameter passed by value; `indices` what integers of which width lead to, by buffer parameter;
    `elements` the LLVM types that are loaded from and stored to a buffer parameter; `stored` the buffer
    parameters that integers are written to; `by_data` those whose places data decides; `data_loops` the
    loops that data ends, by function and header; `atomic` the buffer parameters that atomics touch;
    `rooms` the elements of the smallest array, not in a buffer, that a buffer's integers are indices of.
    """

    dimensions: int
    scalars: dict[int, Use]
    indices: dict[int, tuple[int, frozenset[IndexUse]]]
    elements: dict[int, frozenset[str]]
    stored: frozenset[int]
    by_data: frozenset[int]
    data_loops: frozenset[tuple[str, str]]
    atomic: frozenset[int]
    rooms: dict[int, int]


def usage(kernel: KernelFacts) -> Usage:
    """Read what a kernel uses its arguments for."""
    return _Reader(kernel).read()


class _Reader:
    def __init__(self, kernel: KernelFacts) -> None:
        self._kernel = kernel
        self._origins = Origins(kernel.module, kernel.function)
        self._uses: dict[int, set[Use]] = {}
        self._indices: dict[int, set[tuple[int, IndexUse]]] = {}
        self._elements: dict[int, set[str]] = {}
        self._stored: set[int] = set()
        self._by_data: set[int] = set()
        self._data_loops: set[tuple[str, str]] = set()
        self._atomic: set[int] = set()
        self._rooms: dict[int, int] = {}
        self._dimensions = 1

    def read(self) -> Usage:
        """Walk all instructions once."""
        for name, function in self._origins.functions.items():
            for block in function.blocks:
                for instruction in block.instructions:
                    self._visit(name, block.name, instruction)
        scalars = {
            index: min(self._uses.get(index, {Use(Role.VALUE)}))
            for index, parameter in enumerate(self._kernel.parameters)
            if parameter.kind == "scalar"
        }
        indices = {
            index: (max(bits for bits, _ in found), frozenset(use for _, use in found))
            for index, found in self._indices.items()
        }
        elements = {index: frozenset(found) for index, found in self._elements.items()}
        return Usage(
            self._dimensions,
            scalars,
            indices,
            elements,
            frozenset(self._stored),
            frozenset(self._by_data),
            frozenset(self._data_loops),
            frozenset(self._atomic),
            self._rooms,
        )

    def _visit(self, function: str, block: str, instruction: ir.Instruction) -> None:
        opcode = instruction.opcode
        if is_atomic(instruction) and instruction.operands:
            place = instruction.operands[int(opcode == "store")]
            found = self._origins.memory(function, place)
            self._atomic |= {int(number) for kind, number in found if kind == "argument"}
        if opcode == "getelementptr":
            memory = self._origins.memory(function, instruction.operands[0])
            reached = {int(number) for kind, number in memory if kind == "argument"}
            for operand in instruction.operands[1:] if reached else ():
                self._index(function, operand, IndexUse.READ)
                if any(o.kind == "load" for o in self._origins.of(function, operand)):
                    self._by_data |= reached
            if not reached:
                self._inside(function, instruction)
        elif opcode in ("load", "store"):
            self._access(function, instruction)
        elif opcode == "icmp":
            self._compared(function, block, instruction)
        elif opcode == "mul":
            self._product(function, *instruction.operands)
            self._product(function, *reversed(instruction.operands))
        elif opcode in ("udiv", "sdiv", "urem", "srem"):
            self._quotient(function, instruction)
        elif opcode in ("shl", "lshr", "ashr"):
            for number in self._parameters(function, instruction.operands[1], linear=False):
                self._use(number, Role.SHIFT)
        elif opcode in ("add", "sub"):
            self._step(function, block, instruction)
        elif opcode == "call":
            self._call(function, instruction)

    def _use(self, parameter: int, role: Role, dimension: int = 0) -> None:
        self._uses.setdefault(parameter, set()).add(Use(role, dimension))

    def _parameters(self, function: str, operand: ir.Operand, *, linear: bool) -> Iterator[int]:
        for origin in self._origins.of(function, operand, linear=linear):
            is_parameter = origin.kind == "parameter"
            if is_parameter and self._kernel.parameters[origin.number].kind == "scalar":
                yield origin.number

    def _ids(self, function: str, operand: ir.Operand, *, linear: bool = False) -> set[Origin]:
        return {o for o in self._origins.of(function, operand, linear=linear) if o.kind in IDS}

    # Indices

    def _index(self, function: str, operand: ir.Operand, use: IndexUse) -> None:
        """An operand that chooses an element of a buffer."""
        for origin in self._origins.of(function, operand):
            if origin.kind == "load" and origin.bits:
                self._indices.setdefault(origin.number, set()).add((origin.bits, use))
        less = self._subtracted(function, operand)
        for number in self._parameters(function, operand, linear=True):
            self._use(number, Role.BACK if number in less else Role.OFFSET)

    def _inside(self, function: str, step: ir.Instruction) -> None:
        """Integers that are indices of an array in private, local or program-scope memory."""
        array = re.match(r"\[(\d+) x ", step.detail)
        for operand in step.operands[1:]:
            definition = self._origins.definition_of(function, operand)
            while definition is not None and definition.opcode in ("sext", "zext", "trunc"):
                operand = definition.operands[0]
                definition = self._origins.definition_of(function, operand)
            if definition is None or definition.opcode in ("and", "urem", "srem"):
                continue
            is_plain = definition.opcode in ("load", "extractelement")
            room = int(array[1]) if array and is_plain else 1
            for origin in self._origins.of(function, operand):
                if origin.kind == "load" and origin.bits and room < 1 << origin.bits:
                    self._indices.setdefault(origin.number, set()).add((origin.bits, IndexUse.READ))
                    self._rooms[origin.number] = min(self._rooms.get(origin.number, room), room)

    def _access(self, function: str, instruction: ir.Instruction) -> None:
        is_store = instruction.opcode == "store"
        type_text = instruction.operands[0].type if is_store else instruction.type
        pointer = instruction.operands[1 if is_store else 0]
        self._touch(function, pointer, type_text, is_store)

    def _touch(self, function: str, pointer: ir.Operand, type_text: str, is_store: bool) -> None:
        found = self._origins.memory(function, pointer)
        for memory in found:
            if memory[0] == "argument":
                self._elements.setdefault(int(memory[1]), set()).add(type_text)
                lanes = layout.vector(type_text)
                if is_store and layout.integer_bits(lanes[1] if lanes else type_text):
                    self._stored.add(int(memory[1]))
        if is_store and any(memory[0] == "argument" for memory in found):
            self._scattered(function, pointer)

    def _scattered(self, function: str, pointer: ir.Operand) -> None:
        """Note the loads that decide where a pointer that is written through points."""
        seen: set[str] = set()
        pending = [pointer]
        while pending:
            operand = pending.pop()
            definition = self._origins.definition_of(function, operand)
            if definition is None or operand.text in seen:
                continue
            seen.add(operand.text)
            if definition.opcode == "getelementptr":
                for index in definition.operands[1:]:
                    self._index(function, index, IndexUse.WRITTEN)
            if definition.opcode in ("getelementptr", "bitcast", "addrspacecast", "freeze"):
                pending.append(definition.operands[0])
            elif definition.opcode in ("phi", "select"):
                pending.extend(definition.operands)

    def _call(self, function: str, instruction: ir.Instruction) -> None:
        name = builtin_name(instruction.detail)
        operands = instruction.operands
        if name in ("get_global_id", "get_local_id", "get_group_id", "get_global_size"):
            if operands and operands[0].text in ("0", "1", "2"):
                self._dimensions = max(self._dimensions, int(operands[0].text) + 1)
        elif name in ("min", "max", "clamp") or re.match(r"llvm\.[su](min|max)\.", name):
            for number in self._clamps(function, operands):
                self._use(number, Role.LIMIT)
        elif name.startswith("vload") and len(operands) == 2:
            self._index(function, operands[0], IndexUse.READ)
            self._touch(function, operands[1], instruction.type, False)
        elif name.startswith("vstore") and len(operands) >= 3:
            self._index(function, operands[1], IndexUse.WRITTEN)
            self._touch(function, operands[2], operands[0].type, True)

    # Scalars

    def _clamps(self, function: str, operands: Sequence[ir.Operand]) -> set[int]:
        """The parameters that bound data which is clamped."""
        found = {n for each in operands for n in self._parameters(function, each, linear=True)}
        origins = {o for each in operands for o in self._origins.of(function, each)}
        is_index = origins and all(o.bits for o in origins if o.kind == "load")
        return found if is_index and any(o.kind == "load" for o in origins) else set()

    def _compared(self, function: str, block: str, instruction: ir.Instruction) -> None:
        left, right = instruction.operands
        loops = self._origins.flows[function].loops_of(block)
        for counted, bound in ((left, right), (right, left)):
            is_counter = bool(loops) and self._is_counter(function, counted)
            if is_counter:
                self._loop_bound(function, loops[-1].header, counted, bound)
            elif instruction.detail in ("eq", "ne"):
                continue
            numbers = set(self._parameters(function, bound, linear=True))
            factors = set(self._parameters(function, bound, linear=False)) - numbers
            if not numbers | factors:
                continue
            mine = self._origins.of(function, counted, linear=True)
            ids = {o.number for o in mine if o.kind in ("global", "group")}
            less = self._subtracted(function, bound)
            for number in numbers & less:
                self._use(number, Role.OFFSET)
            around = {o.kind for o in self._ids(function, bound)}
            reached = {o.kind: o.number for o in self._ids(function, counted)}
            for number in numbers - less:
                if around & reached.keys():
                    self._use(number, Role.COUNT)
                elif is_counter and not ids:
                    begun = [reached[kind] for kind in ("global", "group") if kind in reached]
                    self._use(number, *((Role.GUARD, begun[0]) if begun else (Role.COUNT,)))
                elif around:
                    self._use(number, Role.OFFSET)
                elif ids and (is_counter or not any(o.kind == "loop" for o in mine)):
                    self._use(number, Role.GUARD, min(ids))
                elif not ids:
                    self._indirectly(function, number, counted)
            for number in factors if ids and not is_counter else ():
                self._use(number, Role.WIDTH)

    def _indirectly(self, function: str, number: int, counted: ir.Operand) -> None:
        """A parameter that is compared with what ids or data have been made into."""
        everything = self._origins.of(function, counted)
        kinds = {origin.kind for origin in everything}
        if kinds & {"global", "group"}:
            self._use(number, Role.WIDTH if "quotient" in kinds else Role.LIMIT)
        elif "local" in kinds:
            self._use(number, Role.GROUP, min(o.number for o in everything if o.kind == "local"))
        elif "load" in kinds:
            self._use(number, Role.LIMIT)

    def _is_counter(self, function: str, operand: ir.Operand) -> bool:
        """Whether an operand is what a loop counts, or that and a step."""
        for _ in range(3):
            definition = self._origins.definition_of(function, operand)
            if definition is None:
                return False
            if definition.opcode == "phi":
                return any(o.kind == "loop" for o in self._origins.of(function, operand))
            if definition.opcode not in ("add", "sub", "sext", "zext", "trunc", "freeze"):
                return False
            inner = [o for o in definition.operands if o.kind == "local"]
            steps = [o for o in inner if self._is_phi(function, o)]
            operand = (steps or inner or [operand])[0]
        return False

    def _is_phi(self, function: str, operand: ir.Operand) -> bool:
        definition = self._origins.definition_of(function, operand)
        return definition is not None and definition.opcode == "phi"

    def _subtracted(self, function: str, operand: ir.Operand) -> set[int]:
        """The parameters that an operand shrinks with."""
        found: set[int] = set()
        pending = [(operand, False)]
        for _ in range(_SUM_LENGTH):
            if not pending:
                break
            each, is_less = pending.pop()
            definition = self._origins.definition_of(function, each)
            is_sum = definition is not None and definition.opcode in _SUMS
            if definition is None or not is_sum:
                if is_less:
                    found.update(self._parameters(function, each, linear=False))
                continue
            operands = definition.operands
            if definition.opcode == "sub":
                pending += [(operands[0], is_less), (operands[1], not is_less)]
            elif definition.opcode == "xor" and operands[1].text == "-1":
                pending.append((operands[0], not is_less))
            elif definition.opcode == "mul":
                if operands[1].kind == "constant":
                    pending.append((operands[0], is_less ^ operands[1].text.startswith("-")))
                elif is_less:
                    found.update(self._parameters(function, each, linear=False))
            else:
                pending += [(inner, is_less) for inner in operands]
        return found

    def _loop_bound(
        self, function: str, header: str, counted: ir.Operand, bound: ir.Operand
    ) -> None:
        """Integers that say where a loop begins and ends."""

        def loads(operand: ir.Operand) -> dict[int, int]:
            origins = self._origins.of(function, operand, linear=True)
            return {o.number: o.bits for o in origins if o.kind == "load" and o.bits}

        starts, ends = loads(counted), loads(bound)
        if any(o.kind == "load" for o in self._origins.of(function, bound)):
            self._data_loops.add((function, header))
        for number, bits in starts.items():
            self._indices.setdefault(number, set()).add((bits, IndexUse.START))
        # Where a loop ends at the sum of both, the other one counts from its beginning.
        use = IndexUse.END if starts and not starts.keys() & ends.keys() else IndexUse.COUNT
        for number in ends.keys() - starts.keys():
            self._indices.setdefault(number, set()).add((ends[number], use))

    def _product(self, function: str, factor: ir.Operand, other: ir.Operand) -> None:
        numbers = set(self._parameters(function, factor, linear=False))
        if not numbers:
            return
        kinds = {o.kind for o in self._origins.of(function, factor)}
        if kinds & {*IDS, "loop", "load"}:
            return
        ids = self._ids(function, other)
        loops = any(o.kind == "loop" for o in self._origins.of(function, other))
        less = self._subtracted(function, factor)
        is_quotient = any(o.kind == "quotient" for o in self._origins.of(function, other))
        for number in numbers:
            if ids and is_quotient:
                self._use(number, Role.WIDTH)
            elif ids and number in less:
                self._use(number, Role.MARGIN)
            elif ids:
                self._use(number, Role.PITCH, min(o.number for o in ids))
            elif loops:
                self._use(number, Role.STRIDE)
        if ids:
            less = self._subtracted(function, other)
            for number in set(self._parameters(function, other, linear=True)) - numbers:
                self._use(number, Role.BACK if number in less else Role.OFFSET)

    def _quotient(self, function: str, instruction: ir.Instruction) -> None:
        dividend, divisor = instruction.operands
        origins = self._origins.of(function, dividend)
        ids = {o for o in origins if o.kind in IDS}
        for number in self._parameters(function, divisor, linear=True):
            if any(o.kind != "local" for o in ids):
                self._use(number, Role.WIDTH)
            elif ids or any(o.kind == "size" for o in origins):
                self._use(number, Role.LANES)

    def _step(self, function: str, block: str, instruction: ir.Instruction) -> None:
        """A parameter that is added to a counter each time round."""
        if not self._origins.flows[function].loops_of(block):
            return
        first, second = instruction.operands
        for counter, amount in ((first, second), (second, first)):
            definition = self._origins.definition_of(function, counter)
            if definition is None or definition.opcode != "phi":
                continue
            if any(operand.text == instruction.name for operand in definition.operands):
                for number in self._parameters(function, amount, linear=True):
                    self._use(number, Role.STRIDE)
