"""Abstract values of a function's instructions under one call; the kernel is the outermost frame.

Values are found on demand, from an operand to what defines it, and kept. What is not understood becomes
an opaque value of which only the range of its type is known; nothing here raises for an instruction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from lb_runtime.analysis import arithmetic, functions, layout, pointers, vectors
from lb_runtime.analysis.control import ControlFlow, Edge, Loop
from lb_runtime.analysis.forms import Bounds, Constraint, Form, Span, Symbol
from lb_runtime.analysis.guards import Definitions, comparisons, constraints, leaves
from lb_runtime.analysis.loops import LOOP_LIMIT, LoopFacts, loop_facts
from lb_runtime.analysis.values import (
    UNKNOWN_POINTER,
    WORK_GROUP_POINTER,
    Address,
    NDRangeFacts,
    Pointer,
    Value,
    builtin_name,
    type_span,
)
from lb_runtime.launch import ImageArgument, Integers
from predictor import ir

MAX_CALL_DEPTH = 8
_IMAGE_SIZES = {
    "get_image_width": 0,
    "get_image_height": 1,
    "get_image_depth": 2,
    "get_image_array_size": -1,
}
"""Which of an image's sizes a built-in answers."""
NOTHING_KNOWN: Mapping[int, Integers | ImageArgument] = {}


class _Identity:
    """A value that is told from others by what it is, not by what it holds: cheap to look up."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.value is other.value


@lru_cache(maxsize=256)
def _shape(function: _Identity) -> tuple[ControlFlow, Definitions]:
    """The blocks of a function, and what defines each of its results."""
    definitions = {
        instruction.name: (instruction, block.name)
        for block in function.value.blocks
        for instruction in block.instructions
        if instruction.name
    }
    return ControlFlow(function.value), definitions


@lru_cache(maxsize=64)
def _bodies(module: _Identity) -> dict[str, ir.Function]:
    """The functions of a module that have a body, by the names that calls use."""
    return {ir.bare_name(f.name): f for f in module.value.functions if f.blocks}


class Frame:
    """One function under one call: values of its instructions, bounds of its blocks."""

    def __init__(
        self,
        module: ir.Module,
        function: ir.Function,
        arguments: Sequence[Value],
        bounds: Bounds,
        dimensions: NDRangeFacts,
        path: str = "",
        contents: Mapping[int, Integers | ImageArgument] = NOTHING_KNOWN,
        caller: tuple[Frame, ir.Instruction, str] | None = None,
    ) -> None:
        self.module = module
        self.function = function
        self.flow, self.definitions = _shape(_Identity(function))
        self.path = path
        # The frame, call and block that this function is called from; None for the kernel.
        self.caller = caller
        self.dimensions = dimensions
        self._base = bounds
        self._contents = contents
        self._values: dict[str, Value] = dict(
            zip((parameter.name for parameter in function.parameters), arguments)
        )
        self._in_progress: set[str] = set()
        # What is found out while a loop's facts are being found may be too weak, and is not kept.
        self._finding = False
        self._passing: dict[str, Value] = {}
        self._bounds: dict[str, Bounds] = {}
        self._conditions: dict[Edge, list[Constraint]] = {}
        self._loops: dict[str, LoopFacts | None] = {}
        self._frames: dict[str, Frame | None] = {}

    # Bounds of blocks

    def everywhere(self) -> Bounds:
        """What is known in all blocks of this frame."""
        return self._base

    def bounds(self, block: str) -> Bounds:
        """What is known of all symbols when a block runs; `is_empty` where it cannot run."""
        known = self._bounds.get(block)
        if known is None:
            self._bounds[block] = self._base
            found = list(self._edges(self.flow.guards(block)))
            for loop in self.flow.loops_of(block):
                if facts := self.loop(loop):
                    found.extend(facts.constraints)
            known = self._bounds[block] = self._base.refined(found)
            if self._finding:
                del self._bounds[block]
        return known

    def edge_bounds(self, source: str, target: str) -> Bounds:
        """What is known when control goes from one block to the next."""
        return self.bounds(source).refined(self._edges(self.flow.edge(source, target)))

    def is_plain(self, edge: Edge) -> bool:
        """Whether a guard does nothing but bound single global ids by known numbers."""
        branch = self.flow.blocks[edge.source].instructions[-1]
        if branch.opcode != "br" or not branch.operands:
            return False
        holds = edge.position == 0
        compared = comparisons(self.definitions, branch.operands[0], holds)
        if len(compared) != leaves(self.definitions, branch.operands[0], holds):
            return False
        for predicate, left, right in compared:
            one, other = self.form(left), self.form(right)
            if one is None or other is None or predicate in ("ne", "eq"):
                return False
            symbols = list((one - other).symbols())
            if len(symbols) != 1 or symbols[0].kind != "global":
                return False
            if not constraints(predicate, one, other, layout.integer_bits(left.type), self._base):
                return False
        return True

    def _edges(self, edges: Sequence[Edge]) -> list[Constraint]:
        """What holds after conditional edges were taken."""
        found: list[Constraint] = []
        for edge in edges:
            known = self._conditions.get(edge)
            if known is None:
                known = self._edge(edge)
                if not self._finding:
                    self._conditions[edge] = known
            found.extend(known)
        return found

    def _edge(self, edge: Edge) -> list[Constraint]:
        """What holds after one conditional edge was taken."""
        branch = self.flow.blocks[edge.source].instructions[-1]
        if branch.opcode == "br" and branch.operands:
            return self._condition(branch.operands[0], edge.position == 0)
        if branch.opcode == "switch" and edge.position > 0:
            value = self.form(branch.operands[0])
            case = self.form(branch.operands[edge.position])
            if value is not None and case is not None:
                return [Constraint(value - case, Span(0, 0))]
        return []

    def _condition(self, operand: ir.Operand, holds: bool) -> list[Constraint]:
        """What a condition says of forms when it holds, or when it does not."""
        found: list[Constraint] = []
        for predicate, left, right in comparisons(self.definitions, operand, holds):
            bits = layout.integer_bits(left.type)
            one, other = self.form(left), self.form(right)
            if bits and one is not None and other is not None:
                found.extend(constraints(predicate, one, other, bits, self._base))
        return found

    # Values

    def form(self, operand: ir.Operand) -> Form | None:
        """The form of an integer operand; None for operands of other types."""
        value = self.value(operand)
        return value if isinstance(value, Form) else None

    def pointer(self, operand: ir.Operand) -> Pointer:
        """What a pointer operand may point into."""
        value = self.value(operand)
        if isinstance(value, tuple):
            return value
        if layout.address_space(operand.type) in (0, 3):
            return WORK_GROUP_POINTER
        return UNKNOWN_POINTER

    def value(self, operand: ir.Operand) -> Value:
        """The abstract value of any operand."""
        if operand.kind == "local":
            return self._local(operand)
        if operand.kind == "constant":
            return self._constant(operand)
        if operand.kind == "global":
            variable = self.module.globals.get(operand.text)
            space = variable.address_space if variable else 1
            base = {2: "constant", 3: "work-group"}.get(space, "unknown")
            return (Address(base, 0, Form(0)),)
        return None

    def _local(self, operand: ir.Operand) -> Value:
        name = operand.text
        for kept in (self._values, self._passing):
            if name in kept:
                return kept[name]
        definition = self.definitions.get(name)
        if definition is None or name in self._in_progress:
            return self._opaque(name, operand.type)
        self._in_progress.add(name)
        try:
            value = self._evaluate(*definition)
        finally:
            self._in_progress.discard(name)
        if value is None:
            value = self._opaque(name, operand.type)
        (self._passing if self._finding else self._values)[name] = value
        return value

    def _opaque(
        self, name: str, type_text: str, span: Span | None = None, kind: str = "opaque"
    ) -> Value:
        """A value of which only a span is known."""
        if bits := layout.integer_bits(type_text):
            symbol = Symbol(kind, (self.path, name))
            self._base.learn(symbol, span or type_span(bits))
            return Form.symbol(symbol)
        if (lanes := layout.vector(type_text)) and layout.integer_bits(lanes[1]):
            return [None] * lanes[0]
        space = layout.address_space(type_text)
        if space >= 0:
            return WORK_GROUP_POINTER if space in (0, 3) else UNKNOWN_POINTER
        return None

    def _constant(self, operand: ir.Operand) -> Value:
        text = operand.text
        if bits := layout.integer_bits(operand.type):
            if text in ("true", "false"):
                return Form(int(text == "true"))
            if re.fullmatch(r"-?\d+", text):
                return Form(int(text))
            if text in ("undef", "poison", "zeroinitializer", "null"):
                return Form(0)
            return self._opaque(f"constant {text}", operand.type, type_span(bits))
        if (lanes := layout.vector(operand.type)) and layout.integer_bits(lanes[1]):
            return vectors.constant(text, *lanes)
        space = layout.address_space(operand.type)
        if space >= 0:
            if text.startswith(("getelementptr", "addrspacecast", "bitcast")):
                table = re.search(r'@(?:"[^"]*"|[-\w$.]+)', text)
                if table:
                    known = self.value(ir.Operand("global", operand.type, table[0]))
                    if isinstance(known, tuple):
                        return tuple(
                            Address(a.base, a.parameter, self._anywhere(f"in {text}"))
                            for a in known
                        )
            if text in ("null", "undef", "poison"):
                # Reading or writing through it is undefined; it is only ever compared.
                return WORK_GROUP_POINTER
        return None

    def _anywhere(self, name: str) -> Form:
        """A byte offset of which nothing is known."""
        symbol = Symbol("opaque", (self.path, name))
        self._base.learn(symbol, Span(-LOOP_LIMIT, LOOP_LIMIT))
        return Form.symbol(symbol)

    def _evaluate(self, instruction: ir.Instruction, block: str) -> Value:
        """The value of an instruction, None where only its type is known."""
        opcode = instruction.opcode
        operands = instruction.operands
        if opcode == "phi":
            return self._phi(instruction, block)
        if opcode == "getelementptr":
            return self._element_pointer(instruction, block)
        if opcode in ("bitcast", "addrspacecast", "freeze"):
            if layout.address_space(operands[0].type) >= 0 or operands[0].type == instruction.type:
                return self.value(operands[0])
            return None
        if opcode == "select":
            return self._select(instruction, block)
        if opcode == "call":
            return self._call(instruction, block)
        if opcode == "alloca":
            return WORK_GROUP_POINTER
        if opcode == "load":
            if layout.address_space(instruction.type) in (1, 2, 4):
                return UNKNOWN_POINTER
            return self._loaded(instruction, operands[0])
        if opcode == "extractelement":
            return vectors.lane(self.value(operands[0]), self.form(operands[1]))
        if layout.vector(instruction.type):
            return self._lanes(instruction, block)
        bits = layout.integer_bits(instruction.type)
        if not bits:
            return None
        if opcode == "icmp":
            return self._opaque(instruction.name, instruction.type, Span(0, 1))
        return self._integer(instruction, bits, block)

    def _loaded(self, instruction: ir.Instruction, place: ir.Operand) -> Value:
        """Integers that are read from a buffer: any of the type, or those that it is known to hold."""
        type_text = instruction.type
        lanes = layout.vector(type_text)
        bits = layout.integer_bits(lanes[1] if lanes else type_text)
        span: Span | None = None
        for address in self.pointer(place) if bits else ():
            known = self._contents.get(address.parameter) if address.base == "argument" else None
            if not isinstance(known, Integers) or known.bits != bits:
                return None
            here = Span(known.low, known.high)
            span = here if span is None else span.hull(here)
        if span is None:
            return None
        if not lanes:
            return self._opaque(instruction.name, type_text, span)
        numbered = [f"{instruction.name} lane {lane}" for lane in range(lanes[0])]
        values = [self._opaque(name, lanes[1], span) for name in numbered]
        return [value if isinstance(value, Form) else None for value in values]

    def _integer(self, instruction: ir.Instruction, bits: int, block: str) -> Value:
        """The result of an instruction on integers."""
        if instruction.opcode not in _ARITHMETIC:
            return None
        forms = [self.form(operand) for operand in instruction.operands]
        bounds = self.bounds(block)
        result: arithmetic.Result = None
        if len(forms) == 1 and forms[0] is not None:
            if instruction.opcode in ("sext", "zext", "trunc"):
                narrow = layout.integer_bits(instruction.operands[0].type)
                result = arithmetic.resized(
                    instruction.opcode,
                    forms[0],
                    narrow,
                    bits,
                    bounds,
                    is_nneg="nneg" in instruction.flags,
                )
        elif len(forms) == 2 and forms[0] is not None and forms[1] is not None:
            result = arithmetic.binary(
                instruction.opcode,
                forms[0],
                forms[1],
                bits,
                bounds,
                is_disjoint="disjoint" in instruction.flags,
            )
        return self._known(instruction, result)

    def _known(self, instruction: ir.Instruction, result: arithmetic.Result) -> Value:
        """A result as a value: a span alone becomes an opaque value within it."""
        if isinstance(result, Span):
            return self._opaque(instruction.name, instruction.type, result)
        return result

    def _lanes(self, instruction: ir.Instruction, block: str) -> Value:
        """Vectors of integers, lane by lane."""
        if instruction.opcode not in vectors.FOLLOWED:
            return None
        operands = [self.value(operand) for operand in instruction.operands]
        return vectors.lanes(instruction, operands, self.bounds(block))

    def _select(self, instruction: ir.Instruction, block: str) -> Value:
        condition, first, second = instruction.operands
        values = self.value(first), self.value(second)
        if layout.address_space(instruction.type) >= 0:
            return pointers.either([v for v in values if isinstance(v, tuple)], len(values))
        bits = layout.integer_bits(instruction.type)
        one, other = values
        if not bits or not isinstance(one, Form) or not isinstance(other, Form):
            return None
        if one == other:
            return one
        bounds = self.bounds(block)
        spans: list[Span] = []
        for form, holds in ((one, True), (other, False)):
            refined = bounds.refined(self._condition(condition, holds))
            if not refined.is_empty:
                spans.append(refined.interval(form))
        if not spans:
            return None
        kind = _choice_kind([one, other])
        return self._opaque(instruction.name, instruction.type, spans[0].hull(spans[-1]), kind)

    def _element_pointer(self, instruction: ir.Instruction, block: str) -> Value:
        base, *indices = instruction.operands
        pointer = self.pointer(base)
        offset = self._offset(instruction, indices)
        if offset is None:
            anywhere = self._anywhere(instruction.name)
            return tuple(Address(a.base, a.parameter, anywhere) for a in pointer)
        return tuple(Address(a.base, a.parameter, a.offset + offset) for a in pointer)

    def _offset(self, instruction: ir.Instruction, indices: Sequence[ir.Operand]) -> Form | None:
        """The byte offset that a getelementptr adds, None where it is not known."""
        forms = [self.form(operand) for operand in indices]
        return pointers.offset(instruction.detail, forms, self.module.structs)

    # Loops

    def loop(self, loop: Loop) -> LoopFacts | None:
        """The counters of a loop, None while they are being found."""
        if loop.header not in self._loops:
            self._loops[loop.header] = None
            outer = self._finding, self._passing
            self._finding, self._passing = True, {}
            self._loops[loop.header] = loop_facts(self, loop)
            self._finding, self._passing = outer
        return self._loops[loop.header]

    def _phi(self, instruction: ir.Instruction, block: str) -> Value:
        loop = self.flow.loops.get(block)
        if loop is not None:
            facts = self.loop(loop)
            if facts and (induction := facts.inductions.get(instruction.name)):
                counter = induction.start + Form.symbol(facts.iteration).times(induction.step)
                bits = layout.integer_bits(instruction.type)
                return arithmetic.checked(counter, bits, self.bounds(block))
            if layout.address_space(instruction.type) >= 0:
                return self._pointer_phi(instruction, loop, facts)
        if layout.address_space(instruction.type) >= 0:
            found = [self.pointer(operand) for operand in instruction.operands]
            return pointers.either(found, len(found))
        if not layout.integer_bits(instruction.type):
            return None
        hull: Span | None = None
        forms: list[Form] = []
        for operand, source in zip(instruction.operands, instruction.blocks):
            if source not in self.flow.predecessors:
                continue
            form = self.form(operand)
            bounds = self.edge_bounds(source, block)
            if form is None:
                return None
            if bounds.is_empty:
                continue
            span = bounds.interval(form)
            forms.append(form)
            hull = span if hull is None else hull.hull(span)
        if forms and loop is None and all(form == forms[0] for form in forms):
            return forms[0]
        kind = _choice_kind(forms) if loop is None else "opaque"
        return self._opaque(instruction.name, instruction.type, hull, kind)

    def _pointer_phi(self, phi: ir.Instruction, loop: Loop, facts: LoopFacts | None) -> Value:
        """A pointer that a loop moves on by a constant number of bytes."""
        starts = [o for o, b in zip(phi.operands, phi.blocks) if b not in loop.blocks]
        nexts = {o.text for o, b in zip(phi.operands, phi.blocks) if b in loop.blocks}
        start = pointers.either([self.pointer(operand) for operand in starts], len(starts))
        if not isinstance(start, tuple) or facts is None:
            return None
        offset: Form | None = None
        definition = self.definitions.get(next(iter(nexts))) if len(nexts) == 1 else None
        if definition and definition[0].opcode == "getelementptr":
            base, *indices = definition[0].operands
            step = self._offset(definition[0], indices)
            if base.text == phi.name and step is not None and not step.terms:
                offset = Form.symbol(facts.iteration).times(step.constant)
        elif nexts == {phi.name}:
            offset = Form(0)
        if offset is None:
            origins, moves = pointers.roots(self.definitions, phi.name)
            start = pointers.either([self.pointer(each) for each in origins], len(origins))
            if not moves:
                return start
            anywhere = self._anywhere(phi.name)
            return tuple(dict.fromkeys(Address(a.base, a.parameter, anywhere) for a in start))
        return tuple(Address(a.base, a.parameter, a.offset + offset) for a in start)

    # Calls

    def _call(self, instruction: ir.Instruction, block: str) -> Value:
        if self.callee(instruction) is not None:
            return self._returned(instruction, block)
        name = builtin_name(instruction.detail)
        if name.startswith("vload") and len(instruction.operands) == 2:
            return self._loaded(instruction, instruction.operands[1])
        bits = layout.integer_bits(instruction.type)
        if not bits:
            return None
        if name.startswith("get_image_"):
            return self._image_size(name, instruction.operands[0])
        if name.startswith("get_"):
            return self._identity(name, instruction)
        if not functions.FOLLOWED.match(name):
            return None
        forms = [form for o in instruction.operands if (form := self.form(o)) is not None]
        if not forms or len(forms) != len(instruction.operands):
            return None
        result = functions.result(instruction.detail, name, forms, bits, self.bounds(block))
        if isinstance(result, Span):
            return self._opaque(instruction.name, instruction.type, result, _choice_kind(forms))
        return result

    def _image_size(self, name: str, operand: ir.Operand) -> Value:
        """`get_image_width` and its like: OpenCL 1.2, section 6.12.14.5."""
        for address in self.pointer(operand):
            image = self._contents.get(address.parameter) if address.base == "image" else None
            if not isinstance(image, ImageArgument):
                return None
            number = _IMAGE_SIZES.get(name, len(image.shape))
            return Form(image.shape[number]) if number < len(image.shape) else None
        return None

    def _identity(self, name: str, instruction: ir.Instruction) -> Value:
        """Work-item built-ins, as the whole launch answers them."""
        if name == "get_work_dim":
            return Form(self.dimensions.work_dim)
        answers: tuple[Form | Span | None, ...] = (None,)
        if name in ("get_global_linear_id", "get_local_linear_id"):
            answers = (self.dimensions.linear_id(name),)
        elif instruction.operands:
            dimension = self.form(instruction.operands[0])
            if dimension is None or dimension.terms:
                answers = self.dimensions.any_answer(name)
            else:
                answers = (self.dimensions.answer(name, dimension.constant),)
        if len(answers) == 1 and isinstance(answers[0], Form):
            return answers[0]
        span: Span | None = None
        for answer in answers:
            if answer is None:
                return self._opaque(instruction.name, instruction.type, Span(0, LOOP_LIMIT))
            found = self._base.interval(answer) if isinstance(answer, Form) else answer
            span = found if span is None else span.hull(found)
        # The sizes of smaller groups are a choice; what data chooses among dimensions is not.
        kind = "choice" if isinstance(answers[0], Span) and len(answers) == 1 else "opaque"
        return self._opaque(instruction.name, instruction.type, span, kind)

    def callee(self, instruction: ir.Instruction) -> ir.Function | None:
        """The function with a body that a call reaches."""
        return _bodies(_Identity(self.module)).get(instruction.detail)

    def called(self, instruction: ir.Instruction, block: str) -> Frame | None:
        """The frame of a call, None beyond `MAX_CALL_DEPTH`."""
        key = instruction.name or instruction.text + block
        if key not in self._frames:
            function = self.callee(instruction)
            frame = None
            if function is not None and self.path.count("/") < MAX_CALL_DEPTH:
                arguments = [self.value(operand) for operand in instruction.operands]
                frame = Frame(
                    self.module,
                    function,
                    arguments,
                    self.bounds(block),
                    self.dimensions,
                    f"{self.path}/{key}",
                    self._contents,
                    (self, instruction, block),
                )
            if self._finding:
                return frame
            self._frames[key] = frame
        return self._frames[key]

    def _returned(self, instruction: ir.Instruction, block: str) -> Value:
        frame = self.called(instruction, block)
        if frame is None:
            return None
        values: list[Value] = []
        for inner in frame.flow.order:
            last = frame.flow.blocks[inner].instructions[-1]
            if last.opcode == "ret" and last.operands:
                values.append(frame.value(last.operands[0]))
        if len(values) == 1:
            return values[0]
        if values and all(isinstance(value, tuple) for value in values):
            return pointers.either([v for v in values if isinstance(v, tuple)], len(values))
        return None


def _choice_kind(forms: Sequence[Form]) -> str:
    """The kind of symbol for a value that is one of these forms, or lies between them."""
    return "choice" if forms and all(form.is_affine for form in forms) else "opaque"


_ARITHMETIC = frozenset(
    "add sub mul shl udiv sdiv urem srem lshr ashr and or xor sext zext trunc".split()
)
