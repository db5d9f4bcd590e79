"""About how far integers go that forms do not follow: products of ids, made-up data, sums of loops.

Whole intervals through the IR, without guards and without overflow: too wide where a guard keeps values
in, too narrow where an integer overflows. Good for choosing sizes; no safety of a split relies on it.
"""

from __future__ import annotations

import re

from lb_runtime.analysis import layout
from lb_runtime.analysis.accesses import Access
from lb_runtime.analysis.control import Loop
from lb_runtime.analysis.forms import Span
from lb_runtime.analysis.origins import Origins
from lb_runtime.analysis.values import builtin_name, type_span
from lb_runtime.launch import BufferArgument, Launch, ScalarArgument
from predictor import ir

FAR = 1 << 62
"""Beyond this nothing is told apart."""
ANYTHING = Span(-FAR, FAR)
_BUDGET = 3000
"""The instructions that are looked at for one value."""
_DEPTH = 60
"""How deep definitions are followed."""
_ROUNDS = 4
"""How often a value that a loop changes is looked at, before it is taken to go anywhere."""
_KEEPS = frozenset("sext trunc freeze bitcast fneg".split())


class Rough:
    """Spans of the integers of one launch. `reasons` collects why a span may be wide.

    These are "data" (loaded, and nothing says what was), "float" (rounded from floating point), "loop"
    (it is not known how often it runs), "atomic", "parameter" (a vector or struct by value) and "other".
    """

    def __init__(self, origins: Origins, launch: Launch) -> None:
        self._origins = origins
        self._launch = launch
        self._assumed: dict[tuple[str, str], Span] = {}
        self._left = self._depth = 0
        self.reasons: set[str] = set()

    def access(self, access: Access) -> tuple[Span, frozenset[str]]:
        """The bytes that an access touches, and why they may be told too widely."""
        self.reasons = set()
        frame = access.site.frame
        function = frame.function.name.lstrip("@").strip('"')
        low = high = access.form.constant
        for symbol, coefficient in access.form.terms:
            known = access.bounds.span(symbol)
            if symbol.kind in ("opaque", "loop", "choice"):
                name = str(symbol.where[-1])
                if len(symbol.where) == 2 and symbol.where[0] == frame.path and name[:1] == "%":
                    known = known.meet(self._span(function, ir.Operand("local", "", name)))
                elif known.high - known.low >= 1 << 30:
                    self.reasons.add("loop" if symbol.kind == "loop" else "other")
            ends = known.low * coefficient, known.high * coefficient
            low, high = low + min(ends), high + max(ends)
        return Span(low, high + access.size_bytes - 1), frozenset(self.reasons)

    def value(self, function: str, operand: ir.Operand) -> Span:
        """The integers that an operand may be."""
        self.reasons = set()
        return self._span(function, operand)

    def _span(self, function: str, operand: ir.Operand) -> Span:
        self._left = _BUDGET
        self._assumed.clear()
        return self._of(function, operand)

    def _of(self, function: str, operand: ir.Operand) -> Span:
        self._left -= 1
        if self._left < 0 or self._depth > _DEPTH:
            return self._lost("other")
        if operand.kind != "local":
            return _literal(operand)
        known = self._assumed.get((function, operand.text))
        if known is not None:
            return known
        definition = self._origins.definition_of(function, operand)
        if definition is None:
            return self._parameter(function, operand)
        self._depth += 1
        found = self._result(function, definition)
        self._depth -= 1
        return _within(found)

    def _lost(self, why: str, span: Span = ANYTHING) -> Span:
        self.reasons.add(why)
        return span

    def _hull(self, spans: list[Span]) -> Span:
        if not spans:
            return self._lost("other")
        return Span(min(s.low for s in spans), max(s.high for s in spans))

    def _parameter(self, function: str, operand: ir.Operand) -> Span:
        places = self._origins.given(function, operand)
        if function == self._origins.kernel:
            number = next((o.number for o in self._origins.of(function, operand)), None)
            argument = self._launch.arguments[number] if number is not None else None
            if isinstance(argument, ScalarArgument) and argument.value is not None:
                try:
                    value = int(argument.value)
                except (TypeError, ValueError):
                    return self._lost("parameter")
                return Span(value, value)
            return self._lost("parameter")
        key = function, operand.text
        self._assumed[key] = ANYTHING
        found = self._hull([self._of(*place) for place in places])
        self._assumed.pop(key, None)
        return found

    def _result(self, function: str, instruction: ir.Instruction) -> Span:
        opcode, operands = instruction.opcode, instruction.operands
        if opcode == "phi":
            return self._phi(function, instruction)
        if opcode == "select":
            return self._hull([self._of(function, each) for each in operands[1:]])
        if opcode in ("fptosi", "fptoui"):
            return self._lost("float", type_span(_bits(instruction.type) or 32))
        if opcode in ("icmp", "fcmp"):
            return Span(0, 1)
        if opcode == "load":
            return self._loaded(function, instruction)
        if opcode == "atomicrmw":
            return self._lost("atomic", type_span(_bits(instruction.type) or 32))
        if opcode == "call":
            return self._called(function, instruction)
        if opcode in ("extractelement", "insertelement", "shufflevector"):
            count = 1 if opcode == "extractelement" else 2
            return self._hull([self._of(function, each) for each in operands[:count]])
        if opcode in _KEEPS:
            return self._of(function, operands[0])
        if opcode == "zext":
            found = self._of(function, operands[0])
            most = (1 << (_bits(operands[0].type) or 64)) - 1
            if found.low < 0:
                if not self.reasons:
                    self.reasons.add("other")
                return Span(0, most)
            return Span(found.low, min(found.high, most))
        if len(operands) == 2:
            left, right = (self._of(function, each) for each in operands)
            told = _arithmetic(opcode, left, right)
            if told is not None:
                return told
        return self._lost("other")

    def _called(self, function: str, call: ir.Instruction) -> Span:
        name = builtin_name(call.detail)
        callee = self._origins.functions.get(call.detail)
        if callee is not None:
            ends = [block.instructions[-1] for block in callee.blocks]
            return self._hull(
                [
                    self._of(call.detail, e.operands[0])
                    for e in ends
                    if e.opcode == "ret" and e.operands
                ]
            )
        if name.startswith("get_"):
            return self._answer(name, call)
        if name.startswith("atomic") or name.startswith("atom_"):
            return self._lost("atomic", type_span(_bits(call.type) or 32))
        spans = [self._of(function, each) for each in call.operands]
        match = re.match(r"llvm\.([su])(min|max)\.", name)
        simple = match[2] if match else name
        if simple in ("min", "max") and len(spans) == 2:
            choose = min if simple == "min" else max
            return Span(
                choose(spans[0].low, spans[1].low),
                choose(spans[0].high, spans[1].high),
            )
        if name == "clamp" and len(spans) == 3:
            value, least, most = spans
            return Span(
                min(max(value.low, least.low), most.low),
                min(max(value.high, least.high), most.high),
            )
        if name in ("mul24", "mad24") and len(spans) >= 2:
            found = _product(spans[0], spans[1])
            more = spans[2] if len(spans) == 3 else Span(0, 0)
            return Span(found.low + more.low, found.high + more.high)
        if name in ("abs",) or name.startswith("llvm.abs"):
            return Span(0, max(abs(spans[0].low), abs(spans[0].high)))
        return self._lost("float" if name.startswith("convert_") else "other")

    def _answer(self, name: str, call: ir.Instruction) -> Span:
        nd = self._launch.nd_range
        text = call.operands[0].text if call.operands else "0"
        number = int(text) if text.isdigit() else 0
        if number >= nd.dimensions:
            return Span(0, 0) if name.endswith("_id") else Span(0, 1)
        total, local, offset = (
            nd.global_size[number],
            nd.local_size[number],
            nd.offset[number],
        )
        known = {
            "get_global_id": Span(offset, offset + total - 1),
            "get_local_id": Span(0, local - 1),
            "get_group_id": Span(0, nd.groups[number] - 1),
            "get_local_size": Span(local, local),
            "get_global_size": Span(total, total),
            "get_num_groups": Span(nd.groups[number], nd.groups[number]),
            "get_global_offset": Span(offset, offset),
            "get_work_dim": Span(nd.dimensions, nd.dimensions),
        }.get(name)
        return known if known is not None else self._lost("other")

    def _loaded(self, function: str, instruction: ir.Instruction) -> Span:
        bits = _bits(instruction.type)
        found: list[Span] = []
        for memory in self._origins.memory(function, instruction.operands[0]):
            if memory[0] == "argument":
                argument = self._launch.arguments[int(memory[1])]
                told = argument.integers if isinstance(argument, BufferArgument) else None
                if told is not None and told.bits == bits:
                    found.append(Span(told.low, told.high))
                else:
                    found.append(self._lost("data", type_span(bits or 64)))
                continue
            key = memory[0], str(memory[1])
            if key in self._assumed:
                return self._lost("loop", type_span(bits or 64))
            self._assumed[key] = ANYTHING
            places = self._origins.stored(memory)
            if not places:
                found.append(self._lost("other", type_span(bits or 64)))
            found.extend(self._of(*place) for place in places)
            self._assumed.pop(key, None)
        return self._hull(found)

    # Loops

    def _phi(self, function: str, phi: ir.Instruction) -> Span:
        flow = self._origins.flows[function]
        loop = self._origins.loop_of(function, phi)
        if loop is None:
            return self._hull([self._of(function, each) for each in phi.operands])
        pairs = list(zip(phi.operands, phi.blocks))
        start = self._hull([self._of(function, o) for o, b in pairs if b not in loop.blocks])
        back = [o for o, b in pairs if b in loop.blocks and b in flow.blocks]
        key = function, phi.name
        step = self._step(function, phi, back)
        if step is not None:
            self._assumed[key] = start
            trips = self._trips(function, loop)
            self._assumed.pop(key, None)
            if trips is None:
                if step.low < 0 < step.high:
                    return self._lost("loop")
                self.reasons.add("loop")
                return Span(
                    -FAR if step.low < 0 else start.low, FAR if step.high > 0 else start.high
                )
            return Span(
                start.low + trips * min(0, step.low), start.high + trips * max(0, step.high)
            )
        for assumed in (start, *([Span(0, start.high)] if start.low >= 0 else [])):
            span = assumed
            for _ in range(_ROUNDS):
                self._assumed[key] = span
                wider = span.hull(self._hull([self._of(function, each) for each in back]))
                if wider == span:
                    self._assumed.pop(key, None)
                    return span
                span = wider
            self._assumed.pop(key, None)
        return self._lost("loop", type_span(_bits(phi.type) or 64))

    def _step(self, function: str, phi: ir.Instruction, back: list[ir.Operand]) -> Span | None:
        """What a counter changes by each time round."""
        spans: list[Span] = []
        for operand in back:
            definition = self._origins.definition_of(function, operand)
            if definition is None or definition.opcode not in ("add", "sub"):
                return None
            texts = [each.text for each in definition.operands]
            if phi.name not in texts or (definition.opcode == "sub" and texts[0] != phi.name):
                return None
            self._assumed[function, phi.name] = Span(0, 0)
            amount = self._of(function, definition.operands[1 - texts.index(phi.name)])
            self._assumed.pop((function, phi.name), None)
            if definition.opcode == "sub":
                amount = Span(-amount.high, -amount.low)
            spans.append(amount)
        return self._hull(spans) if spans else None

    def _trips(self, function: str, loop: Loop) -> int | None:
        """How often a loop goes back at most, by a counter that is compared with a bound."""
        flow = self._origins.flows[function]
        most: int | None = None
        for name in loop.blocks:
            block = flow.blocks[name]
            last = block.instructions[-1]
            if not last.operands or all(each in loop.blocks for each in last.blocks):
                continue
            test = self._origins.definition_of(function, last.operands[0])
            if test is None or test.opcode != "icmp":
                continue
            for counted, bound in (test.operands, test.operands[::-1]):
                found = self._counted(function, loop, counted, bound)
                if found is not None:
                    most = found if most is None else min(most, found)
        return most

    def _counted(
        self, function: str, loop: Loop, counted: ir.Operand, bound: ir.Operand
    ) -> int | None:
        phi = self._origins.definition_of(function, counted)
        for _ in range(3):
            if phi is None or phi.opcode == "phi":
                break
            if phi.opcode not in ("add", "sub", "sext", "zext", "trunc"):
                return None
            phi = self._origins.definition_of(function, phi.operands[0])
        if phi is None or self._origins.loop_of(function, phi) != loop:
            return None
        pairs = list(zip(phi.operands, phi.blocks))
        step = self._step(function, phi, [o for o, b in pairs if b in loop.blocks])
        if step is None or step.low <= 0 <= step.high:
            return None
        start = self._hull([self._of(function, o) for o, b in pairs if b not in loop.blocks])
        self._assumed[function, phi.name] = start
        end = self._of(function, bound)
        self._assumed.pop((function, phi.name), None)
        if step.low > 0:
            return max(0, end.high - start.low) // step.low
        return max(0, start.high - end.low) // -step.high


def _bits(type_text: str) -> int:
    lanes = layout.vector(type_text)
    return layout.integer_bits(lanes[1] if lanes else type_text)


def _literal(operand: ir.Operand) -> Span:
    text = operand.text
    if text in ("true", "false"):
        return Span(int(text == "true"), int(text == "true"))
    if re.fullmatch(r"-?\d+", text):
        return Span(int(text), int(text))
    numbers = [int(each) for each in re.findall(r"i\d+ (-?\d+)", text)] or [0]
    return Span(min(numbers), max(numbers))


def _within(span: Span) -> Span:
    return Span(max(-FAR, min(FAR, span.low)), max(-FAR, min(FAR, span.high)))


def _product(left: Span, right: Span) -> Span:
    ends = [a * b for a in left for b in right]
    return Span(min(ends), max(ends))


def _arithmetic(opcode: str, left: Span, right: Span) -> Span | None:
    """The span of an arithmetic result; None for operations that are not told."""
    if opcode == "add":
        return Span(left.low + right.low, left.high + right.high)
    if opcode == "sub":
        return Span(left.low - right.high, left.high - right.low)
    if opcode == "mul":
        return _product(left, right)
    if opcode == "shl":
        shift = Span(max(0, right.low), max(0, min(63, right.high)))
        return _product(left, Span(1 << min(63, shift.low), 1 << shift.high))
    if opcode in ("lshr", "ashr"):
        if left.low < 0 and opcode == "lshr":
            return Span(0, FAR)
        few, many = max(0, min(63, right.low)), max(0, min(63, right.high))
        ends = [left.low >> few, left.low >> many, left.high >> few, left.high >> many]
        return Span(min(ends), max(ends))
    if opcode in ("udiv", "sdiv"):
        most = max(abs(left.low), abs(left.high)) // max(1, right.low)
        return Span(0 if left.low >= 0 or opcode == "udiv" else -most, most)
    if opcode in ("urem", "srem"):
        most = max(abs(right.low), abs(right.high)) - 1
        most = max(0, min(most, max(abs(left.low), abs(left.high))))
        return Span(0 if left.low >= 0 or opcode == "urem" else -most, most)
    if opcode == "and":
        ends = [each.high for each in (left, right) if each.low >= 0]
        return Span(0, min(ends)) if ends else None
    if opcode in ("or", "xor"):
        if left.low < 0 or right.low < 0:
            return None
        return Span(0, (1 << max(left.high, right.high).bit_length()) - 1)
    return None
