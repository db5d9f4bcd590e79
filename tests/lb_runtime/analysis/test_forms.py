"""Intervals of forms contain every value that the symbols can make, and little else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from lb_runtime.analysis.arithmetic import quotient
from lb_runtime.analysis.forms import Bounds, Constraint, Form, Grid, Span, Symbol

COUNT = Symbol("loop", ("", "count"))
DATA = Symbol("opaque", ("", "data"))


def ids(dimension: int) -> tuple[Symbol, Symbol, Symbol]:
    return tuple(Symbol(kind, (dimension,)) for kind in ("global", "local", "group"))  # type: ignore[return-value]


SYMBOLS = (*ids(0), *ids(1), COUNT, DATA)


@dataclass(frozen=True)
class Small:
    """A launch small enough to try every work-item: per dimension offset, local size, groups."""

    offset: tuple[int, int]
    local_size: tuple[int, int]
    groups: tuple[Span, Span]
    count: Span
    data: Span

    def bounds(self) -> Bounds:
        spans = {COUNT: self.count, DATA: self.data}
        for dimension, (offset, size, groups) in enumerate(
            zip(self.offset, self.local_size, self.groups)
        ):
            whole, local, group = ids(dimension)
            spans[group] = groups
            spans[local] = Span(0, size - 1)
            spans[whole] = Span(offset + groups.low * size, offset + groups.high * size + size - 1)
        return Bounds(Grid(self.offset, self.local_size), spans)

    def values(self) -> Iterator[dict[Symbol, int]]:
        """All symbols' values, for every work-item, count and datum."""
        ranges = [range(span.low, span.high + 1) for span in (*self.groups, self.count, self.data)]
        for first, second, count, data in itertools.product(*ranges):
            for one, other in itertools.product(*(range(size) for size in self.local_size)):
                values = {COUNT: count, DATA: data}
                for dimension, group, local in ((0, first, one), (1, second, other)):
                    size, offset = self.local_size[dimension], self.offset[dimension]
                    found = (offset + size * group + local, local, group)
                    values.update(zip(ids(dimension), found))
                yield values


def value_of(form: Form, values: dict[Symbol, int]) -> int:
    return form.constant + sum(factor * values[symbol] for symbol, factor in form.terms)


def spans(low: int, high: int, width: int) -> st.SearchStrategy[Span]:
    return st.builds(
        lambda start, more: Span(start, start + more), st.integers(low, high), st.integers(0, width)
    )


SMALL = st.builds(
    Small,
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
    st.tuples(st.integers(1, 4), st.integers(1, 3)),
    st.tuples(spans(0, 3, 2), spans(0, 3, 1)),
    spans(0, 0, 2),
    spans(-4, 3, 2),
)
FORMS = st.builds(
    Form.of,
    st.integers(-9, 9),
    st.dictionaries(st.sampled_from(SYMBOLS), st.integers(-4, 4), max_size=4),
)
CONSTRAINTS = st.lists(st.builds(Constraint, FORMS, spans(-12, 12, 12)), max_size=3)


@settings(max_examples=150, deadline=None)
@given(SMALL, FORMS)
def test_an_interval_contains_every_value(small: Small, form: Form) -> None:
    span = small.bounds().interval(form)
    found = [value_of(form, values) for values in small.values()]
    assert span.low <= min(found)
    assert max(found) <= span.high


@settings(max_examples=150, deadline=None)
@given(SMALL, CONSTRAINTS, FORMS)
def test_an_interval_contains_every_value_that_the_guards_let_through(
    small: Small, guards: list[Constraint], form: Form
) -> None:
    bounds = small.bounds().refined(guards[:1]).refined(guards[1:])
    found = [
        value_of(form, values)
        for values in small.values()
        if all(g.span.low <= value_of(g.form, values) <= g.span.high for g in guards)
    ]
    if found:
        assert not bounds.is_empty
        span = bounds.interval(form)
        assert span.low <= min(found)
        assert max(found) <= span.high


@settings(max_examples=100, deadline=None)
@given(SMALL, FORMS, st.integers(1, 6), st.integers(-3, 3))
def test_a_quotient_and_what_it_leaves_over_are_bounded_together(
    small: Small, form: Form, divisor: int, factor: int
) -> None:
    bounds = small.bounds()
    divided = quotient(form, divisor, bounds)
    rest = bounds.interval(form - divided.times(divisor))
    scaled = bounds.interval(divided.times(factor) + form)
    for values in small.values():
        value = value_of(form, values)
        assert rest.low <= value % divisor <= rest.high
        assert scaled.low <= value // divisor * factor + value <= scaled.high


@given(FORMS, FORMS, st.integers(-5, 5))
def test_forms_add_and_multiply_as_integers_do(one: Form, other: Form, factor: int) -> None:
    values = {symbol: 3 * number - 7 for number, symbol in enumerate(SYMBOLS)}
    assert value_of(one + other, values) == value_of(one, values) + value_of(other, values)
    assert value_of(one - other, values) == value_of(one, values) - value_of(other, values)
    assert value_of(one.times(factor), values) == value_of(one, values) * factor
    assert all(coefficient for _, coefficient in (one - other).terms)


def test_ids_of_one_dimension_are_bound_together() -> None:
    bounds = Small((3, 0), (4, 1), (Span(2, 5), Span(0, 0)), Span(0, 0), Span(0, 0)).bounds()
    whole, local, group = map(Form.symbol, ids(0))
    assert bounds.interval(whole - local) == Span(3 + 2 * 4, 3 + 5 * 4)
    assert bounds.interval(group.times(4) + local) == Span(8, 23)
    assert bounds.interval(whole - group.times(4)) == Span(3, 6)


def test_guards_that_cannot_all_hold_leave_nothing() -> None:
    bounds = Small((0, 0), (4, 1), (Span(0, 1), Span(0, 0)), Span(0, 0), Span(0, 0)).bounds()
    whole = Form.symbol(ids(0)[0])
    assert bounds.refined([Constraint(whole, Span(8, 100))]).is_empty
    assert not bounds.refined([Constraint(whole, Span(7, 100))]).is_empty


def test_a_guard_on_a_difference_bounds_sums_that_hold_it() -> None:
    bounds = Small((0, 0), (8, 8), (Span(0, 7), Span(0, 7)), Span(0, 0), Span(0, 0)).bounds()
    x, y = Form.symbol(ids(0)[0]), Form.symbol(ids(1)[0])
    guarded = bounds.refined([Constraint(x - y, Span(-100, -1))])
    assert guarded.interval((x - y).times(4).plus(2)) == Span(-63 * 4 + 2, -2)
    assert guarded.interval(y) == Span(1, 63)
