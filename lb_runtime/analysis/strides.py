"""What the strides of a kernel's accesses tell of the sizes that it was written for.

A kernel with sizes written into it makes sense for these alone: `16 * get_group_id(0) + get_local_id(0)`
is for work-groups of 16, an array of rows of 13 for 13 work-items along a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import prod

from lb_runtime.analysis.accesses import Access
from lb_runtime.analysis.forms import Form, Symbol

MAX_GROUP_ITEMS = 4096
"""Groups that strides ask for may be as large as this; some devices take no more than 256."""

_COUNTED = ("global", "loop", "choice")

Sizes = Mapping[int, int]
"""Sizes in work-items, by dimension; dimensions of which nothing is told are left out."""


def group_sizes(
    accesses: Sequence[Access], local: Sequence[tuple[Form, int | None]]
) -> list[Sizes]:
    """Local sizes that accesses fit to, the likeliest first.

    What is written to buffers comes first, then local memory: `local` are forms of places in it, with
    the bytes that there are, where that is known. Where groups overlap at their edges, tiles in local
    memory are larger along every dimension, and come first.
    """
    buffers = _group_sizes([(a.form, None) for a in accesses if not a.is_write]) | _group_sizes(
        [(a.form, None) for a in accesses if a.is_write]
    )
    inside = _group_sizes(local)
    found = [inside | buffers, buffers | inside]
    if buffers and all(inside.get(dimension, 0) > size for dimension, size in buffers.items()):
        found.reverse()
    return [each for number, each in enumerate(found) if each and each not in found[:number]]


def _group_sizes(forms: Sequence[tuple[Form, int | None]]) -> dict[int, int]:
    """In `16 * group + local` a group has 16 work-items; in `16 * local(1) + local(0)` a row of it has.

    The second way is not relied on where it makes groups that no device takes: rows of a buffer may be
    longer than what a group touches.
    """
    by_group: dict[int, Counter[int]] = {}
    by_row: dict[int, Counter[int]] = {}
    for form, size_bytes in dict.fromkeys(forms):
        terms = {s: abs(c) for s, c in form.terms if s.kind in ("local", "group")}
        if any(s.kind == "global" for s, _ in form.terms):
            continue
        has_rows = sum(symbol.kind == "local" for symbol in terms) > 1
        groups = {c for s, c in terms.items() if s.kind == "group"}
        steps = sorted({*terms.values(), *([size_bytes] if size_bytes and has_rows else ())})
        for symbol, coefficient in terms.items():
            above = next((step for step in steps if step > coefficient), None)
            if symbol.kind == "local" and above and not above % coefficient:
                votes = by_group if above in groups else by_row
                dimension = int(symbol.where[0])
                votes.setdefault(dimension, Counter())[above // coefficient] += 1
    sure = {dimension: _winner(votes) for dimension, votes in by_group.items()}
    both = {dimension: _winner(votes) for dimension, votes in by_row.items()} | sure
    return both if prod(both.values()) <= MAX_GROUP_ITEMS else sure


def _winner(votes: Counter[int]) -> int:
    """The size with the most votes, the smallest of several."""
    return min(votes.items(), key=lambda vote: (-vote[1], vote[0]))[0]


def global_sizes(accesses: Iterable[Access]) -> tuple[dict[int, int], int]:
    """Global sizes that writes by global id fit to, and how often loops may run that count places.

    In `13 * global(1) + global(0)` a row has 13 work-items; where places `global(0)`, `global(0) + 8`
    and `global(0) + 16` are written, a launch has 8. A choice among ids counts for dimension 0.
    """
    written: dict[tuple[int, Form], set[int]] = {}
    for access in accesses:
        if access.is_write:
            key = access.argument, access.form.plus(-access.form.constant)
            written.setdefault(key, set()).add(access.form.constant)
    sizes: dict[int, int] = {}
    loop_size = 0
    for (_, form), constants in written.items():
        gaps = {b - a for a, b in pairwise(sorted(constants))}
        steps = sorted(gaps | {abs(c) for s, c in form.terms if s.kind in _COUNTED})
        for symbol, coefficient in form.terms:
            above = next((step for step in steps if step > abs(coefficient)), 0)
            if symbol.kind not in _COUNTED or not above or above % coefficient:
                continue
            size = above // abs(coefficient)
            if symbol.kind == "loop":
                loop_size = min(loop_size or size, size)
            else:
                dimension = int(symbol.where[0]) if symbol.kind == "global" else 0
                sizes[dimension] = min(sizes.get(dimension, size), size)
    return sizes, loop_size


def lone_dimensions(accesses: Iterable[Access]) -> frozenset[int]:
    """Dimensions along which all work-groups write one place by local id: they are for one group."""
    found: set[int] = set()
    for access in accesses:
        if access.is_write and access.is_exact and not access.form.has_choice:
            kinds: dict[int, set[str]] = {}
            for symbol in access.form.symbols():
                if symbol.kind in ("global", "local", "group"):
                    kinds.setdefault(int(symbol.where[0]), set()).add(symbol.kind)
            alone = {dimension for dimension, each in kinds.items() if each == {"local"}}
            for dimension in alone:
                group = access.bounds.span(Symbol("group", (dimension,)))
                if group.low < group.high:
                    found.add(dimension)
    return frozenset(found)


def index_limit(access: Access) -> tuple[str, int] | None:
    """How large an index that data gives may be, so that work-items that add it to their ids stay apart.

    In `e[8 * global(0) + f[t]]` it is 8. Returns the name of the value in the kernel, and the limit.
    """
    terms = access.form.terms
    data = [(s, abs(c)) for s, c in terms if s.kind == "opaque" and len(s.where) == 2]
    ids = [abs(c) for s, c in terms if s.kind in ("global", "group", "local")]
    if not access.is_write or len(data) != 1 or not ids:
        return None
    symbol, coefficient = data[0]
    name = str(symbol.where[1])
    return (name, max(1, min(ids) // coefficient)) if name.startswith("%") else None
