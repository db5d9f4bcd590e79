"""Whether two parts of a launch are shown to touch one byte: two work-items that do, found and replayed.

Intervals tell that accesses of two parts may meet. Whether they do is shown by a work-item of each part
whose ids alone decide that both make the access, at the same byte. Where none is found, nothing is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import gcd
from typing import NamedTuple

from lb_runtime.analysis.accesses import Access
from lb_runtime.analysis.forms import Grid, Span, Symbol
from lb_runtime.analysis.replay import WorkItem
from lb_runtime.launch import BufferArgument, Launch

MAX_TRIES = 400
"""So many pairs of work-items are tried for a launch, then what is not shown stays so."""

MAX_COMPARED = 200
"""So many pairs of accesses are compared row by row for a launch."""
_MAX_ITERATION = 8

Iterations = Mapping[str, int]


class _Term(NamedTuple):
    """One unknown of an address: what it is, by how many bytes it counts, what it can be."""

    symbol: Symbol
    coefficient: int
    span: Span


class Meetings:
    """Looks for work-items of two parts that meet, within `MAX_TRIES` for all questions together."""

    def __init__(self, launch: Launch) -> None:
        nd_range = launch.nd_range
        self._dimensions = nd_range.dimensions
        self._grid = Grid(nd_range.offset, nd_range.local_size)
        self._starts = {
            index: argument.start_bytes
            for index, argument in enumerate(launch.arguments)
            if isinstance(argument, BufferArgument)
        }
        self._left = MAX_TRIES
        self._comparisons_left = MAX_COMPARED
        self._items: dict[tuple[int, ...], WorkItem] = {}

    def may_compare(self) -> bool:
        """Whether one more pair of accesses may be compared; counts it."""
        self._comparisons_left -= 1
        return self._comparisons_left >= 0

    def are_shown(self, write: Access, other: Access, shared_bytes: Sequence[int] = ()) -> bool:
        """Whether some byte is written there by one work-item and touched here by another part's.

        `shared_bytes` are bytes of their memory at which both might.
        """
        if self._left < 0 or not write.sure_bytes or not other.sure_bytes:
            return False
        for item, iterations in self._writers(write, shared_bytes):
            place = item.place(write, iterations)
            if place is None or not item.makes(write, iterations):
                continue
            # From bytes of one argument to bytes of the other, which may start elsewhere in a memory.
            byte = place.byte + self._starts[write.argument] - self._starts[other.argument]
            for met, inner in self._meeting(other, byte, write.sure_bytes):
                self._left -= 1
                if self._left < 0:
                    return False
                there = met.place(other, inner)
                if (
                    there is not None
                    and there.byte < byte + write.sure_bytes
                    and byte < there.byte + other.sure_bytes
                    and met.makes(other, inner)
                ):
                    return True
        return False

    def _writers(
        self, write: Access, shared_bytes: Sequence[int]
    ) -> Iterator[tuple[WorkItem, Iterations]]:
        """Work-items that may write one of the bytes, then those at the edges of the part."""
        if all(symbol.kind not in ("opaque", "choice") for symbol in write.form.symbols()):
            for byte in shared_bytes:
                self._left -= 1
                place = byte - self._starts[write.argument]
                yield from self._meeting(write, place, 1)
        yield from self._candidates(write)

    def _item(self, ids: tuple[int, ...]) -> WorkItem:
        if ids not in self._items:
            self._items[ids] = WorkItem(ids, self._grid.local_size, self._grid.offset)
        return self._items[ids]

    def _candidates(self, access: Access) -> Iterator[tuple[WorkItem, Iterations]]:
        """Work-items at the edges of where an access is made, in the first iterations of its loops."""
        spans = [self._span(access, d) for d in range(self._dimensions)]
        loops = _loops(access)
        choices = [
            [value for value in dict.fromkeys(_edges(span)) if span.low <= value <= span.high]
            for span in spans
        ]
        rounds = [range(2 if loop in access.form.symbols() else 1) for loop in loops]
        for ids in product(*choices):
            for numbers in product(*rounds):
                self._left -= 1
                if self._left < 0:
                    return
                yield self._item(ids), _named(dict(zip(loops, numbers)))

    def _meeting(
        self, access: Access, byte: int, size_bytes: int
    ) -> Iterator[tuple[WorkItem, Iterations]]:
        """Work-items that may touch one of the bytes `[byte, byte + size_bytes)` with an access."""
        if any(symbol.kind in ("opaque", "choice") for symbol in access.form.symbols()):
            yield from self._candidates(access)
            return
        # All addresses are the constant and whole steps; the nearest are tried first.
        step = gcd(*(coefficient for _, coefficient in access.form.terms)) or 1 << 62
        first = byte - access.sure_bytes + 1
        first += (access.form.constant - first) % step
        targets = range(first, byte + size_bytes, step)
        for target in sorted(targets, key=lambda target: abs(target - byte))[:8]:
            yield from self._at(access, target)

    def _at(self, access: Access, byte: int) -> Iterator[tuple[WorkItem, Iterations]]:
        """Work-items whose access begins at this very byte."""
        terms: list[_Term] = []
        by_dimension: dict[int, dict[str, int]] = {}
        for symbol, coefficient in access.form.terms:
            if symbol.kind == "loop":
                span = access.bounds.span(symbol).meet(Span(0, _MAX_ITERATION))
                terms.append(_Term(symbol, coefficient, span))
            else:
                ids = by_dimension.setdefault(int(symbol.where[0]), {})
                ids[symbol.kind] = coefficient
        constant = access.form.constant
        for dimension, ids in by_dimension.items():
            where = (dimension,)
            if set(ids) == {"global"}:
                symbol = Symbol("global", where)
                terms.append(_Term(symbol, ids["global"], self._span(access, dimension)))
                continue
            of_global = ids.get("global", 0)
            constant += of_global * self._grid.offset[dimension]
            of_group = ids.get("group", 0) + of_global * self._grid.local_size[dimension]
            for symbol, coefficient in (
                (Symbol("group", where), of_group),
                (Symbol("local", where), ids.get("local", 0) + of_global),
            ):
                if coefficient:
                    terms.append(_Term(symbol, coefficient, access.bounds.span(symbol)))
        terms.sort(key=lambda term: -abs(term.coefficient))
        for values in _solutions(byte - constant, terms):
            known = dict(zip((term.symbol for term in terms), values))
            ids_found = tuple(self._id(access, d, known) for d in range(self._dimensions))
            loops = {loop: known.get(loop, 0) for loop in _loops(access)}
            yield self._item(ids_found), _named(loops)

    def _id(self, access: Access, dimension: int, known: Mapping[Symbol, int]) -> int:
        """The global id of a dimension that goes with known ids; the first one where all would do."""
        where = (dimension,)
        span = self._span(access, dimension)
        size, offset = self._grid.local_size[dimension], self._grid.offset[dimension]
        if (found := known.get(Symbol("global", where))) is not None:
            return found
        group, local = known.get(Symbol("group", where)), known.get(Symbol("local", where))
        if group is not None:
            start = offset + size * group
            inside = local if local is not None else max(0, span.low - start)
            return start + inside
        if local is not None:
            first = offset + (span.low - offset) // size * size + local
            return first if first >= span.low else first + size
        return span.low

    @staticmethod
    def _span(access: Access, dimension: int) -> Span:
        return access.bounds.span(Symbol("global", (dimension,)))


def _edges(span: Span) -> tuple[int, ...]:
    return span.low, span.high, span.low + 1, span.high - 1, (span.low + span.high) // 2


def _loops(access: Access) -> list[Symbol]:
    """The loops that an access stands in, as symbols, those of callers included."""
    found: list[Symbol] = []
    frame, block = access.site.frame, access.site.block
    while True:
        found.extend(
            Symbol("loop", (frame.path, loop.header)) for loop in frame.flow.loops_of(block)
        )
        if frame.caller is None:
            return found
        frame, _, block = frame.caller


def _named(loops: Mapping[Symbol, int]) -> Iterations:
    return {f"{symbol.where[0]}:{symbol.where[1]}": number for symbol, number in loops.items()}


def _solutions(target: int, terms: Sequence[_Term]) -> Iterator[tuple[int, ...]]:
    """Values of the terms, the greatest coefficients first, that sum to a target: a few of them."""
    if not terms:
        if not target:
            yield ()
        return
    _, coefficient, span = terms[0]
    low = high = 0
    for term in terms[1:]:
        ends = term.coefficient * term.span.low, term.coefficient * term.span.high
        low, high = low + min(ends), high + max(ends)
    # What is left for the others must be within their reach.
    near, far = target - high, target - low
    if coefficient < 0:
        near, far = -far, -near
    first = max(span.low, -(-near // abs(coefficient)))
    last = min(span.high, far // abs(coefficient))
    if first > last:
        return
    for value in dict.fromkeys((first, last, (first + last) // 2)):
        for rest in _solutions(target - coefficient * value, terms[1:]):
            yield (value, *rest)
