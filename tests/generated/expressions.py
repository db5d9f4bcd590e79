"""Texts of values, indices and conditions, none of which is undefined: no overflow, nothing out of bounds.

Values are of the types uint, ulong, float and double. Reads stay in their buffers by a remainder, a
clamp, a guard, or because the index cannot be too large.
"""

from __future__ import annotations

from math import gcd, prod
from typing import NamedTuple

from generated.draft import FLOATS, Draft, Readable

COMPONENTS = "0123456789abcdef"


class Value(NamedTuple):
    """An expression and its type: uint, ulong, float or double."""

    text: str
    type: str


class Place(NamedTuple):
    """An index that differs for any two work-items, and one more than the largest that it takes."""

    text: str
    capacity: int


def coordinate(draft: Draft, dimension: int) -> str:
    """Where a work-item stands in one dimension, from 0 on: each in a place of its own."""
    d, nd_range = dimension, draft.nd_range
    offset, local, size = nd_range.offset[d], nd_range.local_size[d], nd_range.global_size[d]
    plain = f"get_global_id({d}) - {offset}" if offset else f"get_global_id({d})"
    if draft.chance(40):
        return f"({plain})"
    if nd_range.non_uniform:
        return draft.choice(
            (
                f"(get_global_id({d}) - get_global_offset({d}))",
                f"(get_group_id({d}) * get_enqueued_local_size({d}) + get_local_id({d}))",
                f"(get_global_size({d}) - 1 - ({plain}))",
            )
        )
    draft.helpers["numbered"] = (
        "size_t __attribute__((noinline)) numbered(size_t id, size_t start) { return id - start; }"
    )
    return draft.choice(
        (
            f"(get_global_id({d}) - get_global_offset({d}))",
            f"(get_group_id({d}) * get_local_size({d}) + get_local_id({d}))",
            f"(get_group_id({d}) * {local} + get_local_id({d}))",
            f"(get_global_size({d}) - 1 - ({plain}))",
            f"({size - 1} - ({plain}))",
            f"((get_num_groups({d}) - 1 - get_group_id({d})) * {local} + get_local_id({d}))",
            f"((get_group_id({d}) + 1) * {local} - 1 - get_local_id({d}))",
            f"numbered(get_global_id({d}), {offset})",
        )
    )


def size_text(draft: Draft, dimension: int) -> str:
    """How many work-items the range holds along a dimension, as a text."""
    size = draft.nd_range.global_size[dimension]
    if draft.chance(30):
        if draft.nd_range.non_uniform:
            return f"get_global_size({dimension})"
        return draft.choice(
            (
                f"get_global_size({dimension})",
                f"(get_num_groups({dimension}) * get_local_size({dimension}))",
            )
        )
    return draft.scalar(size)


def numbering(draft: Draft, *, has_gaps: bool = False) -> Place:
    """A number for each work-item from its coordinates, by rows, columns or groups; gaps are pitches."""
    nd_range = draft.nd_range
    dimensions = list(range(nd_range.dimensions))
    if draft.options and nd_range.dimensions < 3 and draft.chance(20):
        return Place("get_global_linear_id()", nd_range.items)
    if not nd_range.non_uniform and draft.chance(15):
        groups, local = nd_range.groups, nd_range.local_size
        group, item = "get_group_id(0)", "get_local_id(0)"
        for d in dimensions[1:]:
            group = f"(get_group_id({d}) * {prod(groups[:d])} + {group})"
            item = f"(get_local_id({d}) * {prod(local[:d])} + {item})"
        return Place(f"({group} * {nd_range.group_items} + {item})", nd_range.items)
    draft.random.shuffle(dimensions)
    first = dimensions[0]
    text, capacity = coordinate(draft, first), nd_range.global_size[first]
    for d in dimensions[1:]:
        size, pitch = nd_range.global_size[d], size_text(draft, d)
        if has_gaps and draft.chance(30):
            size += draft.number(1, 5)
            pitch = draft.scalar(size)
        text = f"({text} * {pitch} + {coordinate(draft, d)})"
        capacity *= size
    return Place(text, capacity)


def own_place(draft: Draft, steps: int = 2) -> Place:
    """A place that no other work-item has: its number, moved about by up to so many steps."""
    place = Place("i", draft.items) if draft.chance(70) else numbering(draft, has_gaps=True)
    for _ in range(draft.number(0, steps)):
        place = _moved(draft, place)
    return place


def _moved(draft: Draft, place: Place) -> Place:
    """Another place for each work-item: one step of an injective map."""
    t, n = place
    c = draft.number(1, 4)
    width = draft.number(2, 9)
    ways = [
        lambda: Place(f"({t} * {draft.scalar(c)} + {c})", n * c + c),
        lambda: Place(f"({draft.scalar(n)} - 1 - {t})", n),
        lambda: Place(f"({t} ^ {c})", n + 8),
        lambda: Place(f"(({t} + {draft.scalar(c)}) % {draft.scalar(n)})", n),
        lambda: Place(f"({t} / 4 * 4 + (3 - {t} % 4))", n + 4),
        lambda: Place(f"(({t} >> 1) * 2 + ({t} & 1))", n),
        lambda: Place(f"(({t} & ~3) + (({t} + 1) & 3))", n + 4),
        lambda: Place(f"({t} < {draft.number(0, n)} ? {t} : {t} + {c})", n + c),
        lambda: Place(
            f"({t} / {width} * {width + c} + {t} % {width})", (n // width + 1) * (width + c)
        ),
        lambda: Place(f"(({draft.choice(('int', 'uint', 'long', 'ulong', 'size_t'))}){t})", n),
        lambda: Place(f"(({t} & ~3) + four[{t} & 3])", n + 4),
        lambda: Place(f"({t} * 2 + ({data(draft)} & 1))", 2 * n),
        lambda: Place(f"(({t} | {1 << 12}) - {1 << 12})" if n <= 1 << 12 else t, n),
        lambda: Place(
            f"({t} % {width} * {n // width + 1} + {t} / {width})", width * (n // width + 1)
        ),
    ]
    if n == draft.items:
        ways += [lambda: Place(f"{draft.permutation()}[{t}]", n)] * 2
    if gcd(n, 7) == 1:
        ways.append(lambda: Place(f"({t} * 7u % {n})", n))
    found = draft.written(ways)
    if "four" in found.text:
        draft.helpers["four"] = "constant int four[4] = {2, 0, 3, 1};"
    return found


def data(draft: Draft, own: str = "i") -> str:
    """A small number that is read from a buffer at the work-item's own place, as a uint."""
    found = draft.readable()
    return _as_uint(read(draft, found, own), found.type)


def _as_uint(text: str, kind: str) -> str:
    return f"(uint)(int)({text})" if kind in FLOATS else f"(uint)({text})"


def index(draft: Draft, count: int, own: str = "i") -> str:
    """An index in [0, count); `own` is the text of a number in [0, items) of the work-item."""
    n, c = draft.items, draft.number(0, 9)
    m = draft.scalar(count)
    ways = [
        lambda: f"clamp((int){own} + {c}, 0, (int){m} - 1)",
        lambda: f"clamp((int){own} * 2 - {c}, 0, {count - 1})",
        lambda: f"max((int){own} - {c}, 0) % {m}",
        lambda: f"min((int){own} + {c}, (int){m} - 1)",
        lambda: f"((uint){own} * {2 * c + 1}u + {c}u) % (uint){m}",
        lambda: f"(uchar)((uint){own} * {c + 1}u) % {min(count, 255)}",
        lambda: f"(uint)(get_group_id(0) + get_local_id(0)) % (uint){m}",
        lambda: f"{data(draft, own)} % {count}u",
    ]
    if not draft.is_mixed:
        # Intel's compiler gets some indices wrong that are made from products which wrap around.
        ways.append(lambda: f"((uint){own} * 2654435761u) % (uint){m}")
    if count >= n:
        ways[:0] = [lambda: own] * 6 + [
            lambda: f"{m} - 1 - {own}",
            lambda: f"{own} / 2",
            lambda: f"({own} & ~3)",
            lambda: f"({own} > {c} ? {own} - {c} : 0)",
        ]
        if own == "i":
            ways.append(lambda: f"{draft.permutation()}[i]")
    if draft.nd_range.dimensions > 1 and count >= n:
        width, height = draft.nd_range.global_size[:2]
        column = f"clamp((int)c0 + {draft.number(-2, 2)}, 0, {width - 1})"
        row = f"clamp((int)c1 + {draft.number(-1, 1)}, 0, {height - 1})"
        ways += [lambda: f"{row} * {size_text(draft, 0)} + {column}"] * 4
    return draft.written(ways)


def read(draft: Draft, found: Readable, at: str) -> str:
    """A read of one number of a buffer; lanes and ways of reading are chosen."""
    if found.lanes > 1:
        return f"{found.name}[{at}].s{draft.choice(COMPONENTS[: found.lanes])}"
    return f"{found.name}[{at}]"


def number_read(draft: Draft, own: str) -> Value:
    """A number from some buffer, as uint, ulong, float or double."""
    found = draft.readable()
    at = index(draft, found.count, own)
    text = read(draft, found, at)
    if found.lanes == 1 and draft.chance(25):
        suffix = f"{found.type}_{found.name}"
        space = next(p.declaration for p in draft.parameters if p.declaration.endswith(found.name))
        space = space.split("*")[0]
        linkage = draft.choice(
            ("__attribute__((noinline))", "inline __attribute__((always_inline))")
        )
        draft.helpers[f"fetch_{suffix}"] = (
            f"{found.type} {linkage} fetch_{suffix}({space}*from, size_t at) {{ return from[at]; }}"
        )
        text = f"fetch_{suffix}({found.name}, {at})"
    elif found.lanes == 1 and found.count >= draft.items + 3 and draft.chance(30):
        text = f"vload3(0, {found.name} + {own}).{draft.choice('xyz')}"
    elif found.lanes == 1 and draft.items >= 4 and draft.chance(10):
        lanes = draft.choice((2, 4))
        text = f"vload{lanes}({own} / {lanes * lanes}, {found.name}).s1"
    if found.type in FLOATS:
        return Value(text, found.type)
    if found.type in ("long", "ulong"):
        return Value(f"(ulong)({text})", "ulong")
    return Value(f"(uint)({text})", "uint")


BUILT_INS = (
    "get_global_id({d})",
    "get_local_id({d})",
    "get_group_id({d})",
    "get_local_size({d})",
    "get_num_groups({d})",
    "get_global_size({d})",
    "get_global_offset({d})",
    "get_work_dim()",
)


def built_in(draft: Draft) -> str:
    """A work-item built-in, of any dimension, as a uint."""
    if draft.options and draft.chance(20):
        return draft.choice(
            (
                "(uint)get_enqueued_local_size(0)",
                "(uint)get_local_linear_id()",
                "(uint)get_global_linear_id()",
            )
        )
    return f"(uint){draft.choice(BUILT_INS).format(d=draft.number(0, 2))}"


INTEGER_NODES = (
    "({a} + {b})",
    "({a} - {b})",
    "({a} * {b})",
    "({a} ^ {b})",
    "({a} & {b})",
    "({a} | {b})",
    "({a} << ({b} & 15))",
    "({a} >> ({b} & 7))",
    "({a} % ({b} | 1))",
    "({a} / ({b} | 3))",
    "({c} ? {a} : {b})",
    "min({a}, {b})",
    "max({a}, {b})",
    "rotate({a}, {b})",
    "abs_diff({a}, {b})",
    "hadd({a}, {b})",
    "mul_hi({a}, {b})",
    "bitselect({a}, {b}, ({t})255)",
    "(~{a} + clz({b}))",
)


def integer(draft: Draft, depth: int, own: str = "i") -> Value:
    """An integer value: uint, rarely ulong."""
    if depth <= 0 or draft.chance(25):
        way = draft.number(0, 9)
        if way < 5:
            found = number_read(draft, own)
            if found.type in FLOATS:
                return Value(f"(uint)(int)({found.text})", "uint")
            return found
        if way == 5:
            return Value(f"{draft.number(0, 300)}u", "uint")
        if way == 6:
            draft.helpers["table"] = "constant short table[8] = {3, -1, 4, 1, -5, 9, 2, 6};"
            return Value(f"(uint)table[{own} & 7]", "uint")
        if way == 7:
            return Value(f"({built_in(draft)})", "uint")
        return Value(f"(uint){own}", "uint")
    a, b = integer(draft, depth - 1, own), integer(draft, depth - 1, own)
    kind = "ulong" if "ulong" in (a.type, b.type) else "uint"
    node = draft.choice(INTEGER_NODES)
    if kind == "ulong" and "mul_hi" in node:
        node = "({a} + {b})"
    condition_text = condition(draft, 0, own) if "{c}" in node else ""
    text = node.format(a=f"({kind}){a.text}", b=f"({kind}){b.text}", c=condition_text, t=kind)
    return Value(text, kind)


def floating(draft: Draft, kind: str, depth: int, own: str = "i") -> Value:
    """A float value; an exact one is of sums and products of eighths below 256."""
    if depth <= 0:
        found = number_read(draft, own) if draft.chance(70) else integer(draft, 0, own)
        if found.type == "double" and kind == "float":
            return Value(f"(float)({found.text})", kind)
        if found.type in FLOATS:
            return Value(f"(({kind})({found.text}))", kind)
        return Value(f"(({kind})({found.text} & 255u))", kind)
    nodes = ["({a} + {b})", "({a} - {b})", "({a} * {b})", "fmin({a}, {b})", "fmax({a}, {b})"]
    nodes += ["({c} ? {a} : {b})", "fabs({a})", "(({a} < {b}) ? {a} : ({t})1)", "floor({a})"]
    if not draft.is_exact:
        nodes += ["({a} / (1 + fabs({b})))", "sqrt(fabs({a}))", "mad({a}, {b}, ({t})0.1)"]
        nodes += [
            "fma({a}, ({t})0.3, {b})",
            "exp(-fabs({a}))",
            "sin({a})",
            "dot(({t}2)({a}, {b}), ({t}2)(3, 2))",
        ]
    a = floating(draft, kind, depth - 1, own)
    b = floating(draft, kind, depth - 1, own)
    node = draft.choice(nodes)
    inner = condition(draft, 0, own) if "{c}" in node else ""
    return Value(node.format(a=a.text, b=b.text, c=inner, t=kind), kind)


def value(draft: Draft, element: str, own: str = "i") -> str:
    """A value to store, of the element's type."""
    if element in FLOATS:
        depth = 1 if draft.is_exact else 2
        return f"({element})({floating(draft, element, draft.number(0, depth), own).text})"
    if draft.chance(12):
        inner = floating(draft, draft.choice(tuple(FLOATS)), 1, own)
        found = f"(int)clamp({inner.text}, ({inner.type})-90, ({inner.type})90)"
        return f"({element})({found})"
    return f"({element})({integer(draft, draft.number(0, 2), own).text})"


def condition(draft: Draft, depth: int, own: str = "i") -> str:
    """A condition on ids, counts or data."""
    n = draft.items
    c, d = draft.number(0, n), draft.number(0, n)
    if depth > 0 and draft.chance(50):
        one, other = condition(draft, depth - 1, own), condition(draft, depth - 1, own)
        return draft.choice((f"({one} && {other})", f"({one} || {other})", f"(!{one})"))
    low, high = min(c, d), max(c, d)
    ways = [
        lambda: f"({own} < {draft.scalar(c)})",
        lambda: f"({own} >= {c})",
        lambda: f"({own} >= {low} && {own} < {high})",
        lambda: f"((uint)((int){own} - {low}) < {high - low}u)",
        lambda: f"({own} != {c})",
        lambda: f"({own} % 3 != 1)",
        lambda: f"(!({own} > {c} || {own} == {d}))",
        lambda: f"((long){draft.scalar(n)} - (long){own} > {c})",
        lambda: "(get_local_id(0) == 0)",
        lambda: f"(get_group_id(0) != {draft.number(0, 3)})",
        lambda: f"((short){own} < {c})",
        lambda: f"({own} * 2 < {draft.scalar(c)})",
        lambda: f"(({own} & {draft.choice((1, 2, 3, 4))}) != 0)",
    ]
    ways += [lambda: f"({data(draft)} % {draft.number(2, 5)}u == 1u)"] * 3
    if draft.nd_range.dimensions > 1:
        width, height = draft.nd_range.global_size[:2]
        ways += [
            lambda: f"(c0 > 0 && c0 < {draft.scalar(max(width - 1, 0))})",
            lambda: f"(c1 > 0 && c1 + 1 < {draft.scalar(height)})",
            lambda: "(c0 >= c1)",
            lambda: "(((c0 + c1) & 1) == 0)",
        ] * 2
    return draft.written(ways)


def guard(draft: Draft, percent: int = 50) -> str:
    """`if (...) ` in so many of 100 cases, else nothing."""
    return f"if {condition(draft, 1)} " if draft.chance(percent) else ""


def loop(draft: Draft, counter: str, count: str) -> str:
    """A loop head whose counter takes all values from 0 up to `count`, in some order."""
    kind = draft.choice(("int", "uint", "long", "int", "size_t", "short"))
    return draft.choice(
        (
            f"for ({kind} {counter} = 0; {counter} < {count}; {counter}++)",
            f"for ({kind} {counter} = 0; {counter} != {count}; ++{counter})",
            f"for ({kind} {counter} = 0; {counter} <= {count} - 1; {counter} += 1)",
            f"for (int {counter} = {count} - 1; {counter} >= 0; {counter}--)",
            f"\n#pragma unroll\n    for ({kind} {counter} = 0; {counter} < {count}; {counter}++)",
        )
    )
