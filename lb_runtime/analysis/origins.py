"""Where a value of a kernel comes from: the parameters, ids and loads that an operand is computed from.

Found by walking definitions backwards, through helper functions and through private and local memory.
Unlike the forms of a `Frame`, an origin is not lost in a product, a remainder or a table: it tells what
a number is for, not what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lb_runtime.analysis import layout
from lb_runtime.analysis.control import ControlFlow, Loop
from lb_runtime.analysis.values import builtin_name
from predictor import ir


class Origin(NamedTuple):
    """One thing that a value is computed from.

    `kind` is "parameter" (`number` is the kernel's parameter), "global", "local" or "group" (an id;
    `number` is the dimension), "size" (what another built-in says of the range), "load" (read from
    buffer argument `number`; `bits` is the width of the integer, 0 for other types), "loop" (a value
    that a loop changes) or "quotient" (a division by something that is no literal).
    """

    kind: str
    number: int
    bits: int = 0


class Place(NamedTuple):
    """An operand and the function that it stands in, by name."""

    function: str
    operand: ir.Operand


Memory = tuple[str, int | str]
"""What a pointer points into: ("argument", parameter) or ("local argument", parameter) of the kernel,
("variable", name) of the program, or the private memory of a function by its name."""

IDS = ("global", "local", "group")
_CASTS = frozenset("sext zext trunc freeze bitcast".split())
_ARITHMETIC = frozenset("add sub mul shl lshr ashr udiv sdiv urem srem and or xor".split())
_DIVISIONS = frozenset("udiv sdiv urem srem".split())
_POINTER_STEPS = frozenset("getelementptr bitcast addrspacecast freeze".split())
_FLOATING = re.compile(r"^(?:f(?!reeze|ence)|[su]itofp)")
_ID = re.compile(r"^get_(global|local|group)_id$")


class Origins:
    """The definitions of a kernel and of the functions that it reaches, asked where values come from."""

    def __init__(self, module: ir.Module, kernel: ir.Function) -> None:
        self._module = module
        self.kernel = _bare(kernel)
        self.functions = _reached(module, kernel)
        self.flows = {name: ControlFlow(f) for name, f in self.functions.items()}
        self._definitions: dict[tuple[str, str], tuple[ir.Instruction, str]] = {}
        self._calls: dict[str, list[tuple[str, ir.Instruction]]] = {}
        self._stores: dict[Memory, list[Place]] | None = None
        self._known: dict[tuple[Place, bool], frozenset[Origin]] = {}
        for name, function in self.functions.items():
            for block in function.blocks:
                for instruction in block.instructions:
                    if instruction.name:
                        self._definitions[name, instruction.name] = instruction, block.name
                    if instruction.opcode == "call" and instruction.detail in self.functions:
                        self._calls.setdefault(instruction.detail, []).append((name, instruction))

    def definition_of(self, function: str, operand: ir.Operand) -> ir.Instruction | None:
        """The instruction that gives an operand, None for parameters and constants."""
        found = self._definitions.get((function, operand.text))
        return found[0] if found and operand.kind == "local" else None

    def of(self, function: str, operand: ir.Operand, *, linear: bool = False) -> frozenset[Origin]:
        """What an operand is computed from.

        With `linear`, only what is added, subtracted, chosen among, or multiplied or divided by a
        literal, so that the operand moves in step with it. A counter then stands for its first value.
        """
        key = Place(function, operand), linear
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = frozenset(self._walk(key[0], linear))
        return known

    def _walk(self, start: Place, linear: bool) -> Iterable[Origin]:
        seen = {start}
        pending = [start]
        while pending:
            place = pending.pop()
            found, further = self._step(place, linear)
            yield from found
            for each in further:
                if each not in seen:
                    seen.add(each)
                    pending.append(each)

    def _step(self, place: Place, linear: bool) -> tuple[list[Origin], list[Place]]:
        """The origins that an operand is itself, and the operands to go on with."""
        if place.operand.kind != "local":
            return [], []
        definition = self._definitions.get((place.function, place.operand.text))
        if definition is None:
            return self._parameter(place)
        instruction, block = definition
        opcode, operands = instruction.opcode, instruction.operands
        further: Sequence[ir.Operand] = ()
        found: list[Origin] = []
        if opcode == "phi":
            further = operands
            loop = self.flows[place.function].loops.get(block)
            if loop is not None:
                found = [Origin("loop", 0)]
                if linear:
                    pairs = zip(operands, instruction.blocks)
                    further = [each for each, source in pairs if source not in loop.blocks]
        elif opcode == "select":
            further = operands[1:]
        elif opcode in _CASTS:
            further = operands
        elif opcode in ("extractelement", "shufflevector"):
            further = operands[:1]
        elif opcode == "insertelement":
            further = operands[:2]
        elif opcode in _ARITHMETIC:
            further = _added(instruction) if linear else operands
            if opcode in _DIVISIONS and operands[1].kind != "constant":
                found = [Origin("quotient", 0)]
        elif opcode == "load":
            return self._loaded(Place(place.function, operands[0]), instruction.type)
        elif opcode == "call":
            return self._called(place.function, instruction, linear)
        elif not linear and (_FLOATING.match(opcode) and opcode != "fcmp"):
            further = operands
        return found, [Place(place.function, each) for each in further]

    def _parameter(self, place: Place) -> tuple[list[Origin], list[Place]]:
        """A parameter of the kernel, or what its callers give a helper's."""
        names = [parameter.name for parameter in self.functions[place.function].parameters]
        if place.operand.text not in names:
            return [], []
        number = names.index(place.operand.text)
        if place.function == self.kernel:
            return [Origin("parameter", number)], []
        calls = self._calls.get(place.function, ())
        return [], [Place(caller, call.operands[number]) for caller, call in calls]

    def given(self, function: str, operand: ir.Operand) -> list[Place]:
        """What the callers of a helper give for its parameter; none for the kernel's own."""
        return self._parameter(Place(function, operand))[1]

    def loop_of(self, function: str, phi: ir.Instruction) -> Loop | None:
        """The loop whose header a phi stands in."""
        found = self._definitions.get((function, phi.name))
        return self.flows[function].loops.get(found[1]) if found else None

    def _called(
        self, function: str, instruction: ir.Instruction, linear: bool
    ) -> tuple[list[Origin], list[Place]]:
        callee = self.functions.get(instruction.detail)
        if callee is not None:
            last = [block.instructions[-1] for block in callee.blocks]
            returned = [each.operands[0] for each in last if each.opcode == "ret" and each.operands]
            return [], [Place(instruction.detail, operand) for operand in returned]
        name = builtin_name(instruction.detail)
        if name.startswith("vload") and len(instruction.operands) == 2:
            return self._loaded(Place(function, instruction.operands[1]), instruction.type)
        if name.startswith("get_"):
            dimension = instruction.operands[0].text if instruction.operands else "0"
            number = int(dimension) if dimension.isdigit() else 0
            match = _ID.match(name)
            return [Origin(match[1] if match else "size", number)], []
        if linear and re.search(r"mul|mad", name):
            return [], []
        return [], [Place(function, operand) for operand in instruction.operands]

    def _loaded(self, pointer: Place, type_text: str) -> tuple[list[Origin], list[Place]]:
        """What a load gives: a buffer's content, or what was stored to private or local memory."""
        lanes = layout.vector(type_text)
        bits = layout.integer_bits(lanes[1] if lanes else type_text)
        found: list[Origin] = []
        further: list[Place] = []
        for kind, which in self.memory(*pointer):
            if kind == "argument":
                found.append(Origin("load", int(which), bits))
            else:
                further.extend(self.stored((kind, which)))
        return found, further

    def memory(self, function: str, operand: ir.Operand) -> frozenset[Memory]:
        """What a pointer may point into."""
        result: set[Memory] = set()
        seen: set[Place] = set()
        pending = [Place(function, operand)]
        while pending:
            place = pending.pop()
            if place in seen:
                continue
            seen.add(place)
            name = place.operand.text
            if place.operand.kind == "global":
                result.add(("variable", name))
            if place.operand.kind != "local":
                table = re.search(r'@(?:"[^"]*"|[-\w$.]+)', name)
                if place.operand.kind == "constant" and table:
                    result.add(("variable", table[0]))
                continue
            definition = self._definitions.get((place.function, name))
            if definition is None:
                found, further = self._parameter(place)
                space = (
                    "local argument"
                    if layout.address_space(place.operand.type) == 3
                    else "argument"
                )
                result.update((space, origin.number) for origin in found)
                pending.extend(further)
                continue
            instruction = definition[0]
            if instruction.opcode in _POINTER_STEPS:
                pending.append(Place(place.function, instruction.operands[0]))
            elif instruction.opcode in ("phi", "select"):
                operands = instruction.operands[int(instruction.opcode == "select") :]
                pending.extend(Place(place.function, each) for each in operands)
            elif instruction.opcode == "alloca":
                result.add((f"private {place.function}", name))
        return frozenset(result)

    def stored(self, memory: Memory) -> list[Place]:
        """The values that are stored to private or local memory."""
        if self._stores is None:
            self._stores = {}
            for name, function in self.functions.items():
                for block in function.blocks:
                    for instruction in block.instructions:
                        if instruction.opcode == "store":
                            value, pointer = instruction.operands[:2]
                            for each in self.memory(name, pointer):
                                self._stores.setdefault(each, []).append(Place(name, value))
        return self._stores.get(memory, [])


def _added(instruction: ir.Instruction) -> Sequence[ir.Operand]:
    """The operands in step with which an arithmetic result changes."""
    opcode, operands = instruction.opcode, instruction.operands
    if opcode in ("add", "sub") or (opcode == "or" and "disjoint" in instruction.flags):
        return operands
    if opcode == "xor" and operands[1].text == "-1":
        return operands[:1]
    if opcode in ("mul", "shl", "udiv", "sdiv", "lshr", "ashr"):
        literal = [operand.kind == "constant" for operand in operands]
        if literal[1]:
            return operands[:1]
        if literal[0] and opcode == "mul":
            return operands[1:]
    return ()


def _bare(function: ir.Function) -> str:
    return function.name.lstrip("@").strip('"')


def _reached(module: ir.Module, kernel: ir.Function) -> dict[str, ir.Function]:
    """The kernel and every function with a body that it may call, by name."""
    bodies = {_bare(function): function for function in module.functions if function.blocks}
    reached = {_bare(kernel): kernel}
    pending = [kernel]
    while pending:
        for block in pending.pop().blocks:
            for instruction in block.instructions:
                callee = bodies.get(instruction.detail) if instruction.opcode == "call" else None
                if callee is not None and instruction.detail not in reached:
                    reached[instruction.detail] = callee
                    pending.append(callee)
    return reached
