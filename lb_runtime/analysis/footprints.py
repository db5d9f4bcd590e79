"""From an address as a form to the bytes that it takes: runs at a constant pitch, as few as possible.

All values of `constant + sum(coefficient * symbol)` lie in a nest: the smallest coefficients make up a
contiguous run, each greater one repeats what lies below it at its own pitch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

from lb_runtime.analysis.forms import Bounds, Form, Span, Symbol
from lb_runtime.analysis.regions import MAX_ROWS, Rows

MAX_WAYS = 12
"""So many ways to write a form are tried."""


class Nest(NamedTuple):
    """Bytes as rows. `is_full` tells that each of them is taken, if all global ids take all their values."""

    rows: tuple[Rows, ...]
    is_full: bool

    @property
    def size_bytes(self) -> int:
        """How many bytes the rows hold."""
        return sum(rows.size_bytes for rows in self.rows)


class _Level(NamedTuple):
    """What lies below is repeated `times` times, `pitch` bytes apart."""

    pitch: int
    times: int


Terms = list[tuple[int, Span]]


def nest(form: Form, size_bytes: int, bounds: Bounds, stop_bytes: int) -> Nest:
    """The bytes of `[0, stop_bytes)` that accesses of `size_bytes` at all values of a form may take."""
    whole = bounds.interval(form)
    best: Nest | None = None
    for constant, terms, is_plain in _ways(form, bounds):
        found = _nested(constant, terms, size_bytes, whole, stop_bytes)
        if not is_plain:
            found = found._replace(is_full=False)
        if best is None or found.size_bytes < best.size_bytes:
            best = found
        if best.is_full:
            break
    return best or Nest((), False)


def _ways(form: Form, bounds: Bounds) -> Iterator[tuple[int, Terms, bool]]:
    """Ways to write a form as a constant and terms, the plainest first.

    The third value tells that the terms are global ids alone, each of which is free of the others.
    """
    by_dimension: dict[int, dict[str, int]] = {}
    others: Terms = []
    for symbol, coefficient in form.terms:
        if symbol.kind in ("global", "local", "group"):
            by_dimension.setdefault(int(symbol.where[0]), {})[symbol.kind] = coefficient
        else:
            others.append((coefficient, bounds.span(symbol)))
    is_plain = not others and all(set(ids) == {"global"} for ids in by_dimension.values())
    ways = [list(_id_ways(d, ids, bounds)) for d, ids in by_dimension.items()]
    for number, choice in enumerate(product(*ways)):
        if number >= MAX_WAYS:
            return
        yield (
            form.constant + sum(constant for constant, _ in choice),
            others + [term for _, terms in choice for term in terms],
            is_plain and not number,
        )
    for constraint, factor, rest in bounds.rewritings(form):
        terms = [(factor, constraint.span)]
        terms += [(coefficient, bounds.span(symbol)) for symbol, coefficient in rest.terms]
        yield rest.constant, terms, False


def _id_ways(dimension: int, ids: dict[str, int], bounds: Bounds) -> Iterator[tuple[int, Terms]]:
    """Ways to write a sum over the ids of one dimension: by the global id, or by group and local id."""
    size, offset = bounds.grid.local_size[dimension], bounds.grid.offset[dimension]
    of_global, of_local, of_group = (ids.get(kind, 0) for kind in ("global", "local", "group"))
    spans = {kind: bounds.span(Symbol(kind, (dimension,))) for kind in ("global", "local", "group")}
    if set(ids) == {"global"}:
        yield 0, [(of_global, spans["global"])]
        return
    if of_group == size * of_local:
        # What is left follows from the global id alone.
        yield -of_local * offset, [(of_global + of_local, spans["global"])]
    elif not of_group:
        yield 0, [(of_global, spans["global"]), (of_local, spans["local"])]
    yield (
        of_global * offset,
        [(of_group + of_global * size, spans["group"]), (of_local + of_global, spans["local"])],
    )


def _nested(constant: int, terms: Terms, size_bytes: int, whole: Span, stop_bytes: int) -> Nest:
    """The nest of one way to write a form; `whole` is the span of the form, however found."""
    first, last = max(0, whole.low), min(stop_bytes, whole.high + size_bytes)
    if first >= last:
        return Nest((), False)
    low = constant
    steps: list[tuple[int, int]] = []
    for coefficient, span in terms:
        low += coefficient * (span.low if coefficient > 0 else span.high)
        if coefficient and span.high > span.low:
            steps.append((abs(coefficient), span.high - span.low))
    run, levels, is_full = _stacked(sorted(steps), size_bytes)
    if _pieces(levels) > MAX_ROWS:
        # Too many: the innermost rows are taken for one run each.
        run, levels, is_full = run + levels[0].pitch * (levels[0].times - 1), levels[1:], False
        if _pieces(levels) > MAX_ROWS:
            return Nest((Rows(first, last - first),), False)
    inner = levels[0] if levels else _Level(0, 1)
    starts = [low]
    for level in levels[1:]:
        starts = [start + number * level.pitch for number in range(level.times) for start in starts]
    rows = []
    for start in starts:
        clipped, is_whole = _clipped(Rows(start, run, inner.pitch, inner.times), first, last)
        rows.extend(clipped)
        is_full = is_full and is_whole
    return Nest(tuple(rows), is_full)


def _stacked(steps: Sequence[tuple[int, int]], size_bytes: int) -> tuple[int, list[_Level], bool]:
    """Steps `(pitch, times)`, sorted, as a run and levels above it, and whether they leave no gap."""
    run, is_full = size_bytes, True
    levels: list[_Level] = []
    for pitch, times in steps:
        if levels:
            below = levels[-1]
            if not pitch % below.pitch and pitch <= below.pitch * below.times:
                levels[-1] = _Level(below.pitch, below.times + pitch // below.pitch * times)
                continue
            extent = run + sum(level.pitch * (level.times - 1) for level in levels)
            if pitch >= extent:
                levels.append(_Level(pitch, times + 1))
                continue
            run, levels, is_full = extent, [], False
        if pitch <= run:
            run += pitch * times
        else:
            levels.append(_Level(pitch, times + 1))
    return run, levels, is_full


def _pieces(levels: Sequence[_Level]) -> int:
    """How many rows the levels make, of which the innermost is one."""
    return prod(level.times for level in levels[1:])


def _clipped(rows: Rows, first: int, last: int) -> tuple[list[Rows], bool]:
    """The part of rows in `[first, last)`, and whether that is all of them."""
    if first <= rows.start and rows.stop <= last:
        return [rows], True
    if rows.count == 1:
        start, stop = max(first, rows.start), min(last, rows.stop)
        return ([Rows(start, stop - start)] if stop > start else []), False
    result: list[Rows] = []
    # Runs that lie inside wholly, then what is left of the ones at the edges.
    low = max(0, -(-(first - rows.start) // rows.pitch))
    high = min(rows.count, (last - rows.run - rows.start) // rows.pitch + 1)
    if high > low:
        count = high - low
        start = rows.start + low * rows.pitch
        result.append(Rows(start, rows.run, rows.pitch if count > 1 else 0, count))
    for number in {low - 1, max(high, low)}:
        if 0 <= number < rows.count:
            start = rows.start + number * rows.pitch
            edge = max(first, start), min(last, start + rows.run)
            if edge[1] > edge[0]:
                result.append(Rows(edge[0], edge[1] - edge[0]))
    return result, False
