"""Intervals of forms contain every value that the symbols can make, and little else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb_runtime.analysis.arithmetic import quotient
from lb_runtime.analysis.forms import Bounds, Constraint, Form, Grid, Span, Symbol
from lb_runtime.analysis.values import NDRangeFacts
from lb_runtime.launch import NDRange

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


BUILT_INS = (
    *("get_global_id", "get_local_id", "get_group_id", "get_global_size", "get_local_size"),
    *("get_enqueued_local_size", "get_num_groups", "get_global_offset"),
)
RANGES = st.builds(
    lambda sizes: NDRange.of(*map(tuple, zip(*sizes)), allow_non_uniform=True),
    st.lists(
        st.tuples(st.integers(1, 7), st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=3
    ),
)


def told(nd_range: NDRange, name: str, dimension: int, values: dict[Symbol, int]) -> int:
    """What a work-item is told: OpenCL C 3.0, section 6.15.1."""
    if dimension >= nd_range.dimensions:
        return 0 if name.endswith("id") or name == "get_global_offset" else 1
    total, local = nd_range.global_size[dimension], nd_range.local_size[dimension]
    whole, inside, group = (values[symbol] for symbol in ids(dimension))
    return {
        "get_global_id": whole,
        "get_local_id": inside,
        "get_group_id": group,
        "get_global_size": total,
        "get_local_size": min(local, total - group * local),
        "get_enqueued_local_size": local,
        "get_num_groups": -(-total // local),
        "get_global_offset": nd_range.offset[dimension],
    }[name]


def every_item(nd_range: NDRange) -> Iterator[dict[Symbol, int]]:
    for places in itertools.product(*map(range, nd_range.global_size)):
        values: dict[Symbol, int] = {}
        for dimension, place in enumerate(places):
            local, start = nd_range.local_size[dimension], nd_range.offset[dimension]
            values.update(zip(ids(dimension), (start + place, place % local, place // local)))
        yield values


def facts_of(nd_range: NDRange) -> NDRangeFacts:
    return NDRangeFacts(
        nd_range.dimensions, nd_range.global_size, nd_range.local_size, nd_range.offset
    )


def holds(answer: Form | Span | None, values: dict[Symbol, int], value: int) -> bool:
    if isinstance(answer, Form):
        return value_of(answer, values) == value
    return answer is not None and answer.low <= value <= answer.high


def wrongly_told(nd_range: NDRange) -> set[str]:
    """The built-ins whose answers do not hold for some work-item."""
    facts = facts_of(nd_range)
    return {
        name
        for values in every_item(nd_range)
        for name in BUILT_INS
        for dimension in range(4)
        if not holds(facts.answer(name, dimension), values, told(nd_range, name, dimension, values))
    }


@settings(max_examples=60, deadline=None)
@given(RANGES)
def test_what_built_ins_answer_holds_for_every_work_item(nd_range: NDRange) -> None:
    assert not wrongly_told(nd_range)


def test_one_local_size_for_all_groups_is_seen_to_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: the last groups are taken to be as large as the others."""
    nd_range = NDRange.of((10, 7), (4, 7), allow_non_uniform=True)
    assert not wrongly_told(nd_range)
    monkeypatch.setattr(NDRangeFacts, "_local_size", lambda self, d: Form(self.local_size[d]))
    assert wrongly_told(nd_range) == {"get_local_size"}


@settings(max_examples=60, deadline=None)
@given(RANGES)
def test_linear_ids_count_the_launch_and_the_group(nd_range: NDRange) -> None:
    facts = facts_of(nd_range)
    for values in every_item(nd_range):
        total = inside = 0
        for dimension in reversed(range(nd_range.dimensions)):
            place = values[ids(dimension)[0]] - nd_range.offset[dimension]
            total = total * nd_range.global_size[dimension] + place
            size = told(nd_range, "get_local_size", dimension, values)
            inside = inside * size + values[ids(dimension)[1]]
        assert holds(facts.linear_id("get_global_linear_id"), values, total)
        assert holds(facts.linear_id("get_local_linear_id"), values, inside)


@settings(max_examples=60, deadline=None)
@given(RANGES)
def test_a_dimension_that_data_chooses_gives_one_of_all_answers(nd_range: NDRange) -> None:
    facts = facts_of(nd_range)
    for values in every_item(nd_range):
        for name in BUILT_INS:
            for dimension in range(5):
                value = told(nd_range, name, dimension, values)
                assert any(holds(one, values, value) for one in facts.any_answer(name))


def test_answers_are_exact_for_eight_billion_items() -> None:
    facts = facts_of(NDRange.of((2**33,), (4096,), (2**33,)))
    assert facts.answer("get_global_size", 0) == Form(2**33)
    assert facts.answer("get_num_groups", 0) == Form(2**21)
    assert facts.answer("get_global_offset", 0) == Form(2**33)
    square = facts_of(NDRange.of((2**17, 2**16), (16, 16)))
    last = {symbol: 2**17 - 1 if symbol == ids(0)[0] else 2**16 - 1 for symbol in SYMBOLS}
    assert holds(square.linear_id("get_global_linear_id"), last, 2**33 - 1)
