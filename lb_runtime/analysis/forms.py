"""Integer values of a kernel as sums over symbols, and the intervals that such sums can take.

A form is `constant + sum(coefficient * symbol)` over exact integers. Symbols are what differs between
work-items: the global id, local id and group id of a dimension, the iteration count of a loop, and
opaque values of which only an interval is known. The three ids of a dimension are bound by
`global = offset + local size * group + local`, which `Bounds.interval` uses to find the tightest
interval that any way of writing a form gives.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from functools import cache
from typing import NamedTuple

from lb_runtime.records import dataclass


class Symbol(NamedTuple):
    """One unknown of a form.

    `kind` is "global", "local" or "group" (`where` is the dimension), "loop" (an iteration count, from
    0), "choice" (one of several values that ids and counts make up, as `min` gives) or "opaque"
    (`where` tells values apart).
    """

    kind: str
    where: tuple[int | str, ...]


class Span(NamedTuple):
    """All integers from `low` to `high`, both included; none where `low > high`."""

    low: int
    high: int

    def hull(self, other: Span) -> Span:
        """The smallest span that holds both."""
        return Span(min(self.low, other.low), max(self.high, other.high))

    def meet(self, other: Span) -> Span:
        """The integers that are in both."""
        return Span(max(self.low, other.low), min(self.high, other.high))


@dataclass(frozen=True, slots=True)
class Form:
    """`constant + sum(coefficient * symbol)`; no coefficient is 0; terms are sorted by symbol."""

    constant: int
    terms: tuple[tuple[Symbol, int], ...] = ()

    @classmethod
    def of(cls, constant: int, terms: dict[Symbol, int]) -> Form:
        """A form from a mapping; zero coefficients are dropped."""
        return cls(constant, tuple(sorted((s, c) for s, c in terms.items() if c)))

    @classmethod
    def symbol(cls, symbol: Symbol) -> Form:
        """The form that is just one symbol."""
        return cls(0, ((symbol, 1),))

    def __add__(self, other: Form) -> Form:
        if not other.terms:
            return Form(self.constant + other.constant, self.terms)
        if not self.terms:
            return Form(self.constant + other.constant, other.terms)
        terms = dict(self.terms)
        for symbol, coefficient in other.terms:
            terms[symbol] = terms.get(symbol, 0) + coefficient
        return Form.of(self.constant + other.constant, terms)

    def __sub__(self, other: Form) -> Form:
        return self + other.times(-1)

    def times(self, factor: int) -> Form:
        """The form multiplied by an integer."""
        if factor == 1:
            return self
        if not factor:
            return Form(0)
        return Form(self.constant * factor, tuple((s, c * factor) for s, c in self.terms))

    def plus(self, constant: int) -> Form:
        """The form with a constant added."""
        return Form(self.constant + constant, self.terms)

    def symbols(self) -> Iterable[Symbol]:
        """The symbols that the form holds."""
        return (symbol for symbol, _ in self.terms)

    @property
    def is_affine(self) -> bool:
        """Whether ids, loop counts and choices among them make up the form, with no opaque value."""
        return all(symbol.kind != "opaque" for symbol, _ in self.terms)

    @property
    def has_choice(self) -> bool:
        """Whether one of several values, it is not said which, is part of the form."""
        return any(symbol.kind == "choice" for symbol, _ in self.terms)

    def group_step(self, dimension: int, grid: Grid) -> int:
        """By how much the form grows from one work-group to the next along a dimension."""
        ids = {s.kind: c for s, c in self.terms if s.kind in _IDS and s.where == (dimension,)}
        return ids.get("group", 0) + ids.get("global", 0) * grid.local_size[dimension]


class Constraint(NamedTuple):
    """A form whose value is known to lie in a span."""

    form: Form
    span: Span


@dataclass(frozen=True, slots=True)
class Grid:
    """The sizes that bind the ids of each dimension: offset and local size, in work-items."""

    offset: tuple[int, ...]
    local_size: tuple[int, ...]


@dataclass(slots=True)
class _Work:
    """What is left of `MAX_INTERVALS`; shared by all bounds of a kernel."""

    left: int = field(default_factory=lambda: MAX_INTERVALS)


class Bounds:
    """The spans of all symbols at one place of a kernel, with what its guards add.

    `refined` makes new bounds. Symbols, and constraints that hold everywhere, are learned by all bounds
    that were refined from the same ones.
    """

    def __init__(self, grid: Grid, spans: dict[Symbol, Span]) -> None:
        self.grid = grid
        self.is_empty = False
        self._spans = spans
        self._everywhere: list[Constraint] = []
        self._constraints: tuple[Constraint, ...] = ()
        self._narrowed: dict[Symbol, Span] = {}
        # Constraints on several symbols, each kept under its first one: here, and everywhere.
        self._wide: dict[Symbol, list[Constraint]] = {}
        self._wide_everywhere: dict[Symbol, list[Constraint]] = {}
        self._work = _Work()
        self._intervals: dict[Form, tuple[int, Span]] = {}
        self._open: set[Form] = set()

    def widest(self, form: Form) -> Span:
        """The span of a form wherever its symbols mean something, guards left out."""
        outside = Bounds(self.grid, self._spans)
        outside._work = self._work
        outside._everywhere = self._everywhere
        outside._wide_everywhere = self._wide_everywhere
        return outside.interval(form)

    def learn(self, symbol: Symbol, span: Span) -> None:
        """Say that a symbol always lies in a span; what was known of it holds too."""
        known = self._spans.get(symbol)
        self._spans[symbol] = span if known is None else known.meet(span)

    def learn_constraint(self, constraint: Constraint) -> None:
        """Add a constraint that holds wherever its symbols mean something."""
        if constraint not in self._everywhere and len(self._everywhere) < MAX_EVERYWHERE:
            self._everywhere.append(constraint)
            _file(self._wide_everywhere, constraint)

    def span(self, symbol: Symbol) -> Span:
        """What a symbol can be here."""
        narrowed = self._narrowed.get(symbol)
        return self._spans[symbol] if narrowed is None else narrowed

    def refined(self, constraints: Iterable[Constraint]) -> Bounds:
        """These bounds with more constraints; `is_empty` where they cannot all hold."""
        added = tuple(dict.fromkeys(c for c in constraints if c not in self._constraints))
        if not added:
            return self
        result = Bounds(self.grid, self._spans)
        result._work = self._work
        result._everywhere = self._everywhere
        result._wide_everywhere = self._wide_everywhere
        result._constraints = self._constraints + added
        # What a constraint says of a single symbol goes into the symbol's span.
        for constraint in result._constraints:
            if len(constraint.form.terms) > 1:
                _file(result._wide, constraint)
        result._narrowed = dict(self._narrowed)
        result.is_empty = self.is_empty
        pending = [*added, *self._everywhere]
        for _ in range(0 if self.is_tired else 2):
            before = dict(result._narrowed)
            for constraint in pending:
                result._propagate(constraint)
            result._bind_ids()
            narrowed = {s for s, span in result._narrowed.items() if before.get(s) != span}
            pending = [
                constraint
                for constraint in (*result._constraints, *self._everywhere)
                if any(symbol in narrowed for symbol, _ in constraint.form.terms)
            ]
        return result

    @property
    def is_tired(self) -> bool:
        """Whether so much was asked that constraints are no longer looked at: spans are wider then."""
        return self._work.left < 0

    def interval(self, form: Form) -> Span:
        """The tightest known span of a form."""
        if not form.terms:
            return Span(form.constant, form.constant)
        known = self._intervals.get(form)
        if known is None or known[0] != len(self._everywhere):
            span = self._sum_of_terms(form)
            self._work.left -= 1
            for symbol, _ in () if self.is_tired else form.terms:
                for filed in (self._wide, self._wide_everywhere):
                    for constraint in filed.get(symbol, ()):
                        for factor in _factors(form, constraint.form):
                            span = span.meet(self._by_constraint(form, constraint, factor))
            known = self._intervals[form] = len(self._everywhere), span
        return known[1]

    def rewritings(self, form: Form) -> Iterable[tuple[Constraint, int, Form]]:
        """Ways to write a form as a constraint's form times a factor, and a rest with fewer terms."""
        for symbol, _ in form.terms:
            for filed in (self._wide, self._wide_everywhere):
                for constraint in filed.get(symbol, ()):
                    for factor in _factors(form, constraint.form):
                        rest = form - constraint.form.times(factor)
                        if factor and len(rest.terms) < len(form.terms):
                            yield constraint, factor, rest

    def _sum_of_terms(self, form: Form) -> Span:
        """The span of a form from the spans of its symbols."""
        low = high = form.constant
        ids: dict[int | str, dict[str, int]] = {}
        for symbol, coefficient in form.terms:
            if symbol.kind in _IDS:
                ids.setdefault(symbol.where[0], {})[symbol.kind] = coefficient
            else:
                low, high = _grown(low, high, coefficient, self.span(symbol))
        for dimension, coefficients in ids.items():
            if len(coefficients) == 1:
                ((kind, coefficient),) = coefficients.items()
                low, high = _grown(low, high, coefficient, self.span(Symbol(kind, (dimension,))))
                continue
            ways = self._ways(int(dimension), coefficients)
            low += max(way[0] for way in ways)
            high += min(way[1] for way in ways)
        return Span(low, high)

    def _by_constraint(self, form: Form, constraint: Constraint, factor: int) -> Span:
        """What a constraint on some of the form's terms, held `factor` times, says of the whole form."""
        rest = form - constraint.form.times(factor)
        if rest.terms and (len(rest.terms) >= len(form.terms) or rest in self._open):
            return _EVERYTHING
        self._open.add(form)
        other = self.interval(rest)
        self._open.discard(form)
        ends = (factor * constraint.span.low, factor * constraint.span.high)
        return Span(min(ends) + other.low, max(ends) + other.high)

    def _ways(self, dimension: int, ids: dict[str, int]) -> list[tuple[int, int]]:
        """The ends of a sum over two or more ids of a dimension, by each way to write it with two.

        `global = offset + size * group + local` eliminates any one id (the group only where `size`
        divides its coefficient). What binds single ids is in their spans: see `_bind_ids`.
        """
        spans = [self.span(symbol) for symbol in _ids_of(dimension)]
        of_global, of_local, of_group = (ids.get(kind, 0) for kind in _IDS)
        size, offset = self.grid.local_size[dimension], self.grid.offset[dimension]
        written = [
            (0, of_global, of_local, of_group),
            (of_global * offset, 0, of_local + of_global, of_group + of_global * size),
            (-of_local * offset, of_global + of_local, 0, of_group - of_local * size),
        ]
        if of_group % size == 0:
            step = of_group // size
            written.append((-step * offset, of_global + step, of_local - step, 0))
        ways: list[tuple[int, int]] = []
        for constant, *coefficients in written:
            low = high = constant
            for coefficient, span in zip(coefficients, spans):
                if coefficient:
                    low, high = _grown(low, high, coefficient, span)
            ways.append((low, high))
        return ways

    def _narrow(self, symbol: Symbol, low: int, high: int) -> None:
        known = self.span(symbol)
        if low <= known.low and high >= known.high:
            return
        met = self._narrowed[symbol] = known.meet(Span(low, high))
        self._intervals.clear()
        if met.low > met.high:
            self.is_empty = True

    def _propagate(self, constraint: Constraint) -> None:
        """Narrow each symbol of a constraint by what the others leave it."""
        form, span = constraint
        whole = self.interval(form).meet(span)
        if whole.low > whole.high:
            self.is_empty = True
            return
        for symbol, coefficient in form.terms:
            others = Form(form.constant, tuple(t for t in form.terms if t[0] != symbol))
            rest = self.interval(others)
            low, high = whole.low - rest.high, whole.high - rest.low
            if coefficient > 0:
                self._narrow(symbol, -(-low // coefficient), high // coefficient)
            else:
                self._narrow(symbol, -(high // -coefficient), -low // -coefficient)

    def _bind_ids(self) -> None:
        """Carry what is known of one id of a dimension over to the other two."""
        for dimension, (offset, local_size) in enumerate(
            zip(self.grid.offset, self.grid.local_size)
        ):
            whole, local, group = _ids_of(dimension)
            g, i, w = self.span(whole), self.span(local), self.span(group)
            if g.low > g.high or i.low > i.high or w.low > w.high:
                self.is_empty = True
                continue
            start, end = offset + i.low, offset + i.high
            self._narrow(whole, start + local_size * w.low, end + local_size * w.high)
            self._narrow(group, -((end - g.low) // local_size), (g.high - start) // local_size)
            self._narrow(
                local,
                g.low - offset - local_size * w.high,
                g.high - offset - local_size * w.low,
            )


_IDS = ("global", "local", "group")

MAX_INTERVALS = 4000
"""So many spans are worked out with all constraints, for a walk over a kernel."""
MAX_EVERYWHERE = 64
"""So many constraints that hold everywhere are kept; to know fewer makes spans wider, never wrong."""
MAX_FILED = 8
"""So many constraints that begin with one symbol are looked at for a span."""


_EVERYTHING = Span(-(1 << 200), 1 << 200)
"""Further out than any value that a kernel can compute."""


@cache
def _ids_of(dimension: int) -> tuple[Symbol, Symbol, Symbol]:
    """The global, local and group id of a dimension, in the order of `_IDS`."""
    whole, local, group = (Symbol(kind, (dimension,)) for kind in _IDS)
    return whole, local, group


def _grown(low: int, high: int, coefficient: int, span: Span) -> tuple[int, int]:
    """The ends of a sum once `coefficient` times a symbol of this span is added."""
    if coefficient > 0:
        return low + coefficient * span.low, high + coefficient * span.high
    return low + coefficient * span.high, high + coefficient * span.low


def _file(filed: dict[Symbol, list[Constraint]], constraint: Constraint) -> None:
    """Put a constraint under its first symbol; one without symbols says nothing."""
    if constraint.form.terms:
        beside = filed.setdefault(constraint.form.terms[0][0], [])
        if len(beside) < MAX_FILED:
            beside.append(constraint)


def _factors(form: Form, base: Form) -> Iterable[int]:
    """The whole factors by which `base` can be taken out of `form` so that a term of it is gone."""
    coefficients = dict(form.terms)
    if any(symbol not in coefficients for symbol, _ in base.terms):
        return ()
    return {
        coefficients[symbol] // basis
        for symbol, basis in base.terms
        if not coefficients[symbol] % basis
    }
