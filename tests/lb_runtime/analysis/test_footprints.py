"""The rows of an address hold every byte that it takes, few others, and lie in the buffer."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from lb_runtime.analysis.footprints import nest
from lb_runtime.analysis.forms import Bounds, Constraint, Form, Grid, Span, Symbol
from lb_runtime.analysis.regions import Rows

LOOP = Symbol("loop", ("", "1"))
OTHER = Symbol("loop", ("", "2"))


def bounds(local: int, groups: tuple[int, int], loops: int = 1) -> Bounds:
    """One dimension from group `groups[0]` up to `groups[1]`, and two loops of so many iterations."""
    spans = {
        Symbol("group", (0,)): Span(groups[0], groups[1] - 1),
        Symbol("local", (0,)): Span(0, local - 1),
        Symbol("global", (0,)): Span(groups[0] * local, groups[1] * local - 1),
        LOOP: Span(0, loops - 1),
        OTHER: Span(0, 2),
    }
    return Bounds(Grid((0,), (local,)), spans)


def bytes_of(rows: tuple[Rows, ...]) -> set[int]:
    return {r.start + k * r.pitch + b for r in rows for k in range(r.count) for b in range(r.run)}


COEFFICIENTS = st.integers(-40, 40)


@given(
    st.tuples(COEFFICIENTS, COEFFICIENTS, COEFFICIENTS, COEFFICIENTS, COEFFICIENTS),
    st.integers(-200, 400),
    st.sampled_from((1, 2, 4, 8)),
    st.integers(1, 5),
    st.integers(1, 4),
)
def test_rows_hold_all_bytes_that_an_address_takes(
    coefficients: tuple[int, ...], constant: int, size: int, local: int, loops: int
) -> None:
    stop = 600
    here = bounds(local, (2, 5), loops)
    symbols = [Symbol(kind, (0,)) for kind in ("global", "local", "group")] + [LOOP, OTHER]
    form = Form.of(constant, dict(zip(symbols, coefficients)))
    found = nest(form, size, here, stop)
    taken = set()
    for group, inside, k, j in product(range(2, 5), range(local), range(loops), range(3)):
        values = (group * local + inside, inside, group, k, j)
        first = constant + sum(c * v for c, v in zip(coefficients, values))
        taken |= set(range(first, first + size))
    inside_buffer = {byte for byte in taken if 0 <= byte < stop}
    assert inside_buffer <= bytes_of(found.rows)
    assert all(0 <= byte < stop for byte in bytes_of(found.rows))
    if found.is_full:
        assert bytes_of(found.rows) == taken


def test_a_column_block_is_a_run_in_each_row() -> None:
    form = Form.of(0, {Symbol("global", (0,)): 4, LOOP: 4096})
    assert nest(form, 4, bounds(8, (2, 5), 100), 1 << 20).rows == (Rows(64, 96, 4096, 100),)


def test_groups_and_items_make_up_the_global_id() -> None:
    form = Form.of(0, {Symbol("group", (0,)): 32, Symbol("local", (0,)): 4})
    assert nest(form, 4, bounds(8, (2, 5)), 1 << 20).rows == (Rows(64, 96),)


def test_what_a_division_leaves_is_one_term() -> None:
    """`2 * 16 * (i / 16) + i % 16`, as a butterfly's lower half is addressed."""
    here = bounds(8, (0, 8))
    quotient = Symbol("opaque", ("i / 16", ""))
    here.learn(quotient, Span(0, 3))
    whole = Symbol("global", (0,))
    here.learn_constraint(Constraint(Form.of(0, {whole: 1, quotient: -16}), Span(0, 15)))
    form = Form.of(0, {whole: 4, quotient: 64})
    assert nest(form, 4, here, 1 << 20).rows == (Rows(0, 64, 128, 4),)


def test_a_nest_with_too_many_pieces_is_still_a_superset() -> None:
    form = Form.of(0, {LOOP: 1 << 20, OTHER: 1 << 30, Symbol("global", (0,)): 64})
    found = nest(form, 4, bounds(4, (0, 2), 500), 1 << 40)
    for i, k, j in product(range(8), range(500), range(3)):
        byte = (i << 6) + (k << 20) + (j << 30)
        assert any(
            r.start <= byte < r.stop and (r.count == 1 or (byte - r.start) % r.pitch < r.run)
            for r in found.rows
        )
    assert not found.is_full


def test_an_address_outside_of_the_buffer_takes_nothing_of_it() -> None:
    form = Form.of(-4, {Symbol("global", (0,)): 4})
    assert nest(form, 4, bounds(8, (0, 1)), 16).rows == (Rows(0, 16),)
    assert nest(form.plus(1000), 4, bounds(8, (0, 1)), 16).rows == ()
