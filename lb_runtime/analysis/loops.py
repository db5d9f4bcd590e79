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
from lb_runtime.analysis.guards import SWAPPED, Definitions, comparisons
from predictor import ir

LOOP_LIMIT = 1 << 62
"""An iteration count of which nothing is known lies below this one."""

_UNBOUNDED = 1 << 70


class Induction(NamedTuple):
    """A counter: its value before the loop, what each iteration adds, and the name of the next value."""

    start: Form
    step: int
    next_name: str
    no_wrap: bool


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
        constraints = [c for gap in gaps if (c := self._next_in_range(gap, before))]
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
        start = self._scope.form(starts[0])
        if definition is None or start is None:
            return None
        step = self._step(definition[0], phi.name)
        if step is None:
            return None
        return Induction(start, step, name, bool(definition[0].flags & {"nsw", "nuw"}))

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
        form = self._scope.form(amount)
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
            held = comparisons(self._scope.definitions, branch.operands[0], stays[0])
            for predicate, left, right in held:
                for gap in (
                    self._gap(predicate, left, right, before),
                    self._gap(SWAPPED[predicate], right, left, before),
                ):
                    if gap is not None:
                        found.append(gap)
        return found

    def _counter(self, operand: ir.Operand) -> tuple[Induction, Form] | None:
        """The counter that an operand reads, and its value in the first iteration."""
        for name, induction in self._inductions.items():
            if operand.text == name:
                return induction, induction.start
            if operand.text == induction.next_name:
                return induction, induction.start.plus(induction.step)
        definition = self._scope.definitions.get(operand.text)
        if definition and definition[0].opcode in ("sext", "zext", "freeze"):
            return self._counter(definition[0].operands[0])
        return None

    def _gap(
        self, predicate: str, left: ir.Operand, right: ir.Operand, before: Bounds
    ) -> _Gap | None:
        counter = self._counter(left)
        if counter is None or self._counter(right) is not None:
            return None
        induction, first = counter
        limit = self._scope.form(right)
        if limit is None or not induction.step:
            return None
        if any(s == self._iteration or not before.knows(s) for s in limit.symbols()):
            return None
        upward = induction.step > 0
        if predicate[0] == "u":
            if before.interval(limit).low < 0 or before.interval(first).low < 0:
                return None
            predicate = "s" + predicate[1:]
        if predicate == "ne":
            distance = limit - first if upward else first - limit
            reached = before.interval(distance).low >= 0 or induction.no_wrap
            if abs(induction.step) != 1 or not reached:
                return None
            predicate = "slt" if upward else "sgt"
        if predicate not in (("slt", "sle") if upward else ("sgt", "sge")):
            return None
        return _Gap(induction, first, limit, int(predicate in ("slt", "sgt")))

    def _next_in_range(self, gap: _Gap, before: Bounds) -> Constraint | None:
        """Where the next value is compared, the counter itself is in range or at its start."""
        induction, first, limit, excluded = gap
        if first == induction.start:
            return None
        start, end = before.interval(induction.start), before.interval(limit)
        if induction.step > 0:
            span = Span(start.low, max(start.high, end.high - excluded))
        else:
            span = Span(min(start.low, end.low + excluded), start.high)
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
