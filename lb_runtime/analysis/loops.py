"""Counted loops: what each iteration adds to a counter, and how many iterations there can be.

A loop's iterations are numbered by a symbol of their own, from 0; a counter is then its first value plus
its step times that number. The comparisons that keep control inside the loop bound the number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from lb_runtime.analysis import layout
from lb_runtime.analysis.control import ControlFlow, Loop
from lb_runtime.analysis.forms import Bounds, Constraint, Form, Span, Symbol
from lb_runtime.analysis.guards import SWAPPED, Definitions, comparisons, leaves
from lb_runtime.analysis.values import builtin_name, type_span
from predictor import ir

LOOP_LIMIT = 1 << 62
"""An iteration count of which nothing is known lies below this one."""

_UNBOUNDED = 1 << 70
_PURE = frozenset("add sub mul shl sext zext trunc freeze".split())
"""Instructions whose result follows from their operands alone."""


class Induction(NamedTuple):
    """A counter: its value before the loop, what each iteration adds, and the name of the next value.

    `flags` are those of the addition: `nsw` and `nuw` promise that it does not wrap around as a signed
    or an unsigned number of `bits`.
    """

    start: Form
    step: int
    next_name: str
    bits: int
    flags: frozenset[str]


class LoopFacts(NamedTuple):
    """The counters of a loop by name, its iteration symbol, and what bounds the counters."""

    inductions: Mapping[str, Induction]
    iteration: Symbol
    constraints: tuple[Constraint, ...]


class Scope(Protocol):
    """What is asked of the function that the loop stands in."""

    @property
    def flow(self) -> ControlFlow:
        """The blocks of the function."""

    @property
    def definitions(self) -> Definitions:
        """What defines each result of the function."""

    @property
    def path(self) -> str:
        """A text that tells this call of the function from others."""

    def form(self, operand: ir.Operand) -> Form | None:
        """The form of an integer operand."""

    def edge_bounds(self, source: str, target: str) -> Bounds:
        """What is known when control goes from one block to the next."""

    def everywhere(self) -> Bounds:
        """What is known in all blocks."""


def loop_facts(scope: Scope, loop: Loop) -> LoopFacts:
    """Find the counters of a loop and bound its iterations."""
    return _Finder(scope, loop).facts()


class _Gap(NamedTuple):
    """A counter that runs towards a limit.

    `first` is what the comparison sees in the first iteration; `excluded` is 1 where the counter must
    stay off the limit itself to go on, else 0.
    """

    induction: Induction
    first: Form
    limit: Form
    excluded: int


class _Finder:
    """The steps of finding one loop's facts."""

    def __init__(self, scope: Scope, loop: Loop) -> None:
        self._scope = scope
        self._loop = loop
        self._iteration = Symbol("loop", (scope.path, loop.header))
        flow = scope.flow
        self._outside = [p for p in flow.predecessors[loop.header] if p not in loop.blocks]
        self._inductions: dict[str, Induction] = {}

    def facts(self) -> LoopFacts:
        header = self._scope.flow.blocks[self._loop.header]
        for instruction in header.instructions:
            if instruction.opcode != "phi":
                break
            if found := self._induction(instruction):
                self._inductions[instruction.name] = found
        before = self._before()
        gaps = self._gaps(before)
        last = min((_last_iteration(gap, before) for gap in gaps), default=LOOP_LIMIT)
        before.learn(self._iteration, Span(0, last))
        constraints = [self._in_range(gap, before) for gap in gaps]
        constraints.extend(self._one_sided(before))
        return LoopFacts(self._inductions, self._iteration, tuple(constraints))

    def _before(self) -> Bounds:
        """What is known when control enters the loop from outside."""
        if len(self._outside) == 1:
            return self._scope.edge_bounds(self._outside[0], self._loop.header)
        return self._scope.everywhere()

    def _counter_form(self, induction: Induction) -> Form:
        return induction.start + Form.symbol(self._iteration).times(induction.step)

    def _induction(self, phi: ir.Instruction) -> Induction | None:
        starts = [o for o, b in zip(phi.operands, phi.blocks) if b in self._outside]
        nexts = {o.text for o, b in zip(phi.operands, phi.blocks) if b in self._loop.latches}
        if not layout.integer_bits(phi.type) or len(nexts) != 1 or len(starts) != 1:
            return None
        name = nexts.pop()
        definition = self._scope.definitions.get(name)
        step = self._step(definition[0], phi.name) if definition else None
        start = self._scope.form(starts[0]) if step is not None else None
        if definition is None or step is None or start is None:
            return None
        bits = layout.integer_bits(phi.type)
        return Induction(start, step, name, bits, definition[0].flags & {"nsw", "nuw"})

    def _invariant(self, operand: ir.Operand) -> Form | None:
        """The form of an operand that is the same in all iterations, None for others.

        A value that depends on the loop's counters must not be asked for yet: they are being found.
        """
        return self._scope.form(operand) if self._is_invariant(operand) else None

    def _is_invariant(self, operand: ir.Operand) -> bool:
        definition = self._scope.definitions.get(operand.text)
        if operand.kind != "local" or definition is None:
            return True
        instruction, block = definition
        if block not in self._loop.blocks:
            return True
        is_pure = instruction.opcode in _PURE or (
            instruction.opcode == "call" and builtin_name(instruction.detail).startswith("get_")
        )
        return is_pure and all(self._is_invariant(inner) for inner in instruction.operands)

    def _step(self, instruction: ir.Instruction, phi_name: str) -> int | None:
        """What `instruction` adds to a counter, None where it does not add a known number."""
        if instruction.opcode not in ("add", "sub"):
            return None
        first, second = instruction.operands
        if first.text == phi_name:
            amount = second
        elif second.text == phi_name and instruction.opcode == "add":
            amount = first
        else:
            return None
        form = self._invariant(amount)
        if form is None:
            return None
        span = self._scope.everywhere().interval(form)
        if span.low != span.high:
            return None
        return span.low if instruction.opcode == "add" else -span.low

    def _gaps(self, before: Bounds) -> list[_Gap]:
        """The comparisons that hold in every iteration that is followed by another."""
        flow, loop = self._scope.flow, self._loop
        found: list[_Gap] = []
        for name in sorted(loop.blocks):
            branch = flow.blocks[name].instructions[-1]
            if branch.opcode != "br" or not branch.operands:
                continue
            stays = [successor in loop.blocks for successor in branch.blocks]
            every_time = all(flow.dominates(name, latch) for latch in loop.latches)
            if stays[0] == stays[1] or not every_time:
                continue
            definitions = self._scope.definitions
            held = comparisons(definitions, branch.operands[0], stays[0])
            is_alone = (
                self._has_one_exit() and leaves(definitions, branch.operands[0], stays[0]) == 1
            )
            for predicate, left, right in held:
                for gap in (
                    self._gap(predicate, left, right, before, is_alone),
                    self._gap(SWAPPED[predicate], right, left, before, is_alone),
                ):
                    if gap is not None:
                        found.append(gap)
        return found

    def _counter(self, operand: ir.Operand, cast: str = "") -> tuple[Induction, Form, str] | None:
        """The counter that an operand reads, its value in the first iteration, and how it is widened."""
        for name, induction in self._inductions.items():
            if operand.text == name:
                return induction, induction.start, cast
            if operand.text == induction.next_name:
                return induction, induction.start.plus(induction.step), cast
        definition = self._scope.definitions.get(operand.text)
        if definition is None:
            return None
        instruction = definition[0]
        if instruction.opcode == "freeze":
            return self._counter(instruction.operands[0], cast)
        if instruction.opcode in ("sext", "zext") and not cast:
            return self._counter(instruction.operands[0], instruction.opcode)
        return None

    def _gap(
        self,
        predicate: str,
        left: ir.Operand,
        right: ir.Operand,
        before: Bounds,
        is_alone: bool,
    ) -> _Gap | None:
        """What a comparison says of a counter; `is_alone` tells that nothing else ends the loop."""
        counter = self._counter(left)
        limit = self._invariant(right) if counter is not None else None
        if counter is None or limit is None:
            return None
        induction, first, cast = counter
        if not induction.step:
            return None
        if predicate == "eq":
            # Only the first value can equal the limit: the next one differs from it.
            return _Gap(induction, first, first, 0)
        towards = "lt" if induction.step > 0 else "gt"
        spans = before.interval(induction.start), before.interval(first), before.interval(limit)
        is_unsigned = predicate[0] == "u" or cast == "zext"
        if is_unsigned and any(span.low < 0 for span in spans):
            # As a signed number, which forms are, it is not what the comparison sees.
            return None
        if predicate == "ne":
            met = self._is_met(
                induction, before.interval(limit - first), spans, is_unsigned, is_alone
            )
            return _Gap(induction, first, limit, 1) if met else None
        excluded = int(predicate[1:] == towards)
        if predicate[1:] not in (towards, towards[0] + "e"):
            return None
        if not _stops(induction, spans, excluded, is_unsigned):
            return None
        return _Gap(induction, first, limit, excluded)

    @staticmethod
    def _is_met(
        induction: Induction,
        distance: Span,
        spans: tuple[Span, Span, Span],
        is_unsigned: bool,
        is_alone: bool,
    ) -> bool:
        """Whether a counter that runs until it equals the limit gets there before it wraps around."""
        step = induction.step
        ahead = distance if step > 0 else Span(-distance.high, -distance.low)
        limit = spans[2]
        if not fits_view(limit, induction.bits, is_unsigned):
            return False
        if ahead.low >= 0 and (
            abs(step) == 1 or (ahead.low == ahead.high and not ahead.low % step)
        ):
            return True
        promised = "nsw" in induction.flags or (
            "nuw" in induction.flags and step > 0 and min(span.low for span in spans) >= 0
        )
        # What else ends the loop may do so before, and the counter never get there.
        return abs(step) == 1 and promised and not is_unsigned and is_alone

    def _has_one_exit(self) -> bool:
        inside = self._loop.blocks
        flow = self._scope.flow
        ways = [
            target for name in inside for target in flow.successors(name) if target not in inside
        ]
        return len(ways) == 1

    def _in_range(self, gap: _Gap, before: Bounds) -> Constraint:
        """A counter is at its start, or a step further than a value that the comparison let through.

        Where the next value is compared, the counter itself was let through.
        """
        induction, first, limit, excluded = gap
        start, end = before.interval(induction.start), before.interval(limit)
        further = induction.step if first == induction.start else 0
        if induction.step > 0:
            span = Span(start.low, max(start.high, end.high - excluded + further))
        else:
            span = Span(min(start.low, end.low + excluded + further), start.high)
        return Constraint(self._counter_form(induction), span)

    def _one_sided(self, before: Bounds) -> list[Constraint]:
        """A counter never goes back behind its start."""
        result: list[Constraint] = []
        for induction in self._inductions.values():
            start = before.interval(induction.start)
            form = self._counter_form(induction)
            if induction.step > 0:
                result.append(Constraint(form, Span(start.low, _UNBOUNDED)))
            elif induction.step < 0:
                result.append(Constraint(form, Span(-_UNBOUNDED, start.high)))
        return result


def _last_iteration(gap: _Gap, before: Bounds) -> int:
    """The highest iteration count that a condition for staying allows."""
    induction, first, limit, excluded = gap
    distance = limit - first if induction.step > 0 else first - limit
    room = before.interval(distance).high - excluded
    # Iteration k + 1 runs only if the condition held in iteration k.
    return room // abs(induction.step) + 1 if room >= 0 else 0


def fits_view(span: Span, bits: int, is_unsigned: bool) -> bool:
    """Whether an integer of this width can be all values of a span."""
    whole = Span(0, (1 << bits) - 1) if is_unsigned else type_span(bits)
    return whole.low <= span.low and span.high <= whole.high


def _stops(
    induction: Induction, spans: tuple[Span, Span, Span], excluded: int, is_unsigned: bool
) -> bool:
    """Whether a counter passes its limit before it wraps around; spans of start, first and limit."""
    promise = "nuw" if is_unsigned else "nsw"
    if promise in induction.flags and (induction.step > 0 or not is_unsigned):
        return True
    _, first, limit = spans
    if induction.step > 0:
        past = limit.high - excluded + induction.step
    else:
        past = limit.low + excluded + induction.step
    return all(fits_view(span, induction.bits, is_unsigned) for span in (first, Span(past, past)))
