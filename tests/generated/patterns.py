"""What one work-item does alone to buffers: each pattern writes places that no other work-item touches.

A pattern adds the parameters that it needs and answers the statements, which may stand under a guard.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from generated.draft import FLOATS, INTEGERS, LANES, SCALARS, Content, Draft, slots
from generated.expressions import (
    COMPONENTS,
    condition,
    coordinate,
    data,
    guard,
    index,
    loop,
    own_place,
    value,
)


def scatter(draft: Draft) -> str:
    """Each item writes, or updates, one element."""
    element = draft.element()
    place = own_place(draft)
    out = draft.output(element, place.capacity)
    at, new = place.text, value(draft, element)
    if draft.chance(15):
        store = draft.helpers[f"store_{element}"] = (
            f"void __attribute__((noinline)) store_{element}(global {element} *to, {element} it) "
            "{ *to = it; }"
        )
        assert store
        return f"{guard(draft)}store_{element}({out} + {at}, {new});"
    if draft.chance(15):
        draft.helpers[f"at_{element}"] = (
            f"global {element} *at_{element}(global {element} *start, size_t at) {{ return start + at; }}"
        )
        return f"{guard(draft)}*at_{element}({out}, {at}) = {new};"
    operators = ["=", "=", "=", "+=", "-="]
    if element in INTEGERS:
        operators += ["|=", "^=", "&="]
    if element in ("int", "long", "char", "short"):
        # Signed sums may overflow.
        operators = [o for o in operators if o not in ("+=", "-=")]
    return f"{guard(draft)}{out}[{at}] {draft.choice(operators)} {new};"


def both_ways(draft: Draft) -> str:
    """Each item writes one of two values, or in one of two buffers."""
    element = draft.element()
    place = own_place(draft, 1)
    one = draft.output(element, place.capacity)
    if draft.chance(30):
        return (
            f"if {condition(draft, 1)} {one}[{place.text}] = {value(draft, element)}; "
            f"else {one}[{place.text}] = {value(draft, element)};"
        )
    other = draft.output(element, place.capacity)
    if draft.chance(50):
        return (
            f"{{ global {element} *q = {condition(draft, 0)} ? {one} : {other}; "
            f"q[{place.text}] = {value(draft, element)}; }}"
        )
    return (
        f"{{ global {element} *q = {one}, *r = {other}; for (int k = 0; k < 3; k++) {{ "
        f"q[{place.text}] = {value(draft, element)}; global {element} *o = q; q = r; r = o; }} }}"
    )


def several(draft: Draft) -> str:
    """Each item writes some elements of its own: side by side, or each in a row of its own."""
    element = draft.element()
    place = own_place(draft, 1)
    each = draft.number(2, 4)
    out = draft.output(element, place.capacity * each)
    count = draft.scalar(each)
    new = value(draft, element)
    t, n = place
    ways = [
        lambda: f"{loop(draft, 'k', count)} {out}[{t} * {each} + k] = {new};",
        lambda: f"{loop(draft, 'k', count)} {out}[k * {draft.scalar(n)} + {t}] = {new};",
        lambda: (
            f"{{ global {element} *q = {out} + {t} * {count}; "
            f"for (int k = 0; k < {each}; k++) *q++ = {new}; }}"
        ),
        lambda: (
            f"{{ global {element} *q = {out} + ({t} * {each} + {each - 1}); int k = {each}; "
            f"do {{ *q-- = {new}; }} while (--k > 0); }}"
        ),
        lambda: (
            f"{{ global {element} *q = {out} + {t}; int k = 0; "
            f"while (k < {count}) {{ *q = {new}; q += {draft.scalar(n)}; k++; }} }}"
        ),
        lambda: (
            f"for (int k = 0; k < {each}; k++) {{ if ({data(draft)} % 5u == (uint)k) break; "
            f"{out}[{t} * {each} + k] = {new}; }}"
        ),
        lambda: (
            f"for (int k = 0; k < {each}; k++) {{ if (k == {each // 2}) continue; "
            f"{out}[k * {n} + {t}] = {new}; }}"
        ),
        lambda: f"for (uint k = {t}; k < {n * each}u; k += {draft.scalar(n)}) {out}[k] = {new};",
        lambda: (
            f"for (int a = 0; a < {each}; a++) for (int b = a; b < {each}; b++) "
            f"{out}[(a + b) % {each} * {n} + {t}] = ({element})(a + b);"
        ),
        lambda: (
            f"switch ({data(draft)} & 3) {{ case 0: {out}[{t}] = {new}; break; "
            f"case 1: {out}[{t} + {n}] = {new}; default: {out}[{t}] = 1; }}"
        ),
    ]
    return f"{guard(draft)}{{ {draft.written(ways)} }}"


def vectors(draft: Draft) -> str:
    """Each item writes a vector, or components of one."""
    element = draft.element()
    # What a compiler leaves in the fourth place of a vector of three is its own affair.
    lanes = draft.choice([n for n in LANES if n != 3 or not draft.is_mixed])
    place = own_place(draft, 1)
    t, kind, new = place.text, f"{element}{lanes}", value(draft, element)
    component = draft.choice(COMPONENTS[:lanes])
    # PoCL 3.0 loses kernels that pass vectors of 64 bytes, when it takes them from its cache.
    is_wide = lanes * np.dtype(SCALARS[element]).itemsize >= 64
    if is_wide or draft.chance(50):
        out = draft.output(element, place.capacity, lanes)
        ways = [
            lambda: f"{out}[{t}] = ({kind})({new});",
            lambda: f"{out}[{t}].s{component} = {new};",
        ]
        if lanes != 3:
            ways.append(lambda: f"{out}[{t}].{draft.choice(('hi', 'even'))} = {new};")
            ways.append(lambda: f"((global {element} *){out})[{t} * {lanes} + 1] = {new};")
    else:
        out = draft.output(element, place.capacity * slots(lanes))
        ways = [
            lambda: f"vstore{lanes}(({kind})({new}), {t}, {out});",
            lambda: f"vstore{lanes}(({kind})({new}), 0, {out} + {t} * {lanes});",
            lambda: (
                f"{{ {kind} v = vload{lanes}({t}, {out}); v.s{component} = {new}; "
                f"vstore{lanes}(v, {t}, {out}); }}"
            ),
            lambda: f"((global {kind} *){out})[{t}] = ({kind})({new});",
        ]
    return f"{guard(draft)}{{ {draft.written(ways)} }}"


def halves(draft: Draft) -> str:
    """Each item stores halves, of eighths that a half holds exactly."""
    place = own_place(draft, 1)
    out, source = draft.name("out"), draft.name("h")
    lanes = draft.choice(("", "2", "4"))
    each = int(lanes or 1)
    draft.parameter(f"global half *{out}", Content("half", "half", place.capacity * each))
    draft.parameter(f"global const half *{source}", Content("half", "half", draft.items * each))
    return f"{guard(draft)}vstore_half{lanes}(vload_half{lanes}(i, {source}), {place.text}, {out});"


def structs(draft: Draft) -> str:
    """Each item writes a field of its struct, or all of it."""
    kinds = [draft.choice(tuple(INTEGERS)) for _ in range(2)]
    name = draft.name("Record")
    # The array last: nothing here depends on the padding, and what is copied whole has none.
    fields = np.dtype([("a", INTEGERS[kinds[0]]), ("b", INTEGERS[kinds[1]], (3,))], align=True)
    draft.helpers[name] = f"typedef struct {{ {kinds[0]} a; {kinds[1]} b[3]; }} {name};"
    place = own_place(draft, 1)
    out = draft.name("out")
    draft.parameter(
        f"global {name} *{out}", Content("random", "uchar", fields.itemsize * place.capacity, 100)
    )
    t = place.text
    ways = [
        lambda: f"{out}[{t}].a = {value(draft, kinds[0])};",
        lambda: f"{out}[{t}].b[{draft.number(0, 2)}] = {value(draft, kinds[1])};",
        lambda: f"{loop(draft, 'k', '3')} {out}[{t}].b[k] = {value(draft, kinds[1])};",
        lambda: f"{out}[{t}].b[{data(draft)} % 3u] = {value(draft, kinds[1])};",
        lambda: (
            f"{{ global {name} *q = &{out}[{t}]; q->a = {value(draft, kinds[0])}; q->b[1] = 3; }}"
        ),
    ]
    if fields.itemsize == sum(np.dtype(INTEGERS[k]).itemsize * n for k, n in zip(kinds, (1, 3))):
        source = draft.name("r")
        draft.parameter(
            f"global const {name} *{source}",
            Content("random", "uchar", fields.itemsize * draft.items, 100),
        )
        ways += [
            lambda: f"{out}[{t}] = {source}[i];",
            lambda: f"{name} s = {source}[i]; s.b[1] = 7; {out}[{t}] = s;",
        ]
    return f"{guard(draft)}{{ {draft.written(ways)} }}"


def grid_stride(draft: Draft) -> str:
    """Items walk over more, or fewer, elements than there are items, a whole range at a time."""
    element = draft.element()
    count = draft.number(1, 3 * draft.items)
    out = draft.output(element, count)
    step = " * ".join(f"get_global_size({d})" for d in range(draft.nd_range.dimensions))
    if draft.nd_range.dimensions == 1 and not draft.nd_range.non_uniform and draft.chance(30):
        step = "get_num_groups(0) * get_local_size(0)"
    kind = draft.choice(("int", "uint", "size_t", "long"))
    own = f"(j % {draft.items})"
    return (
        f"for ({kind} j = i; j < {draft.scalar(count)}; j += {step}) "
        f"{{ {guard(draft, 30)}{out}[j] = {value(draft, element, own)}; }}"
    )


def rows(draft: Draft) -> str:
    """Each item has a row, a column, or a row of a triangle."""
    element = draft.element()
    width = draft.number(2, 12)
    if draft.chance(30):
        out = draft.output(
            element, draft.items * (draft.items + 1) // 2 if draft.items < 120 else 8000
        )
        if draft.items >= 120:
            return f"if (i < 100) for (int j = 0; j <= (int)i; j++) {out}[(int)i * ((int)i + 1) / 2 + j] = 1;"
        return (
            f"for (int j = 0; j <= (int)i; j++) "
            f"{out}[(int)i * ((int)i + 1) / 2 + j] = {value(draft, element)};"
        )
    out = draft.output(element, draft.items * width)
    w, n = draft.scalar(width), draft.scalar(draft.items)
    upper = draft.choice(
        ("j <= (int)i", "j < (int)i % 4", f"j * 2 < {w}", "j <= (int)get_local_id(0)")
    )
    return draft.written(
        (
            lambda: (
                f"{guard(draft)}{{ {loop(draft, 'j', w)} {out}[i * {w} + j] = {value(draft, element)}; }}"
            ),
            lambda: (
                f"{guard(draft)}{{ {loop(draft, 'j', w)} {out}[j * {n} + i] = {value(draft, element)}; }}"
            ),
            lambda: (
                f"for (int j = 0; j < {w} && {upper}; j++) {out}[i * {w} + j] = {value(draft, element)};"
            ),
            lambda: (
                f"for (int j = 0; j < {w} && {upper}; j++) {out}[j * {n} + i] = {value(draft, element)};"
            ),
            lambda: (
                f"for (int j = {w} - 1; j >= 0 && {data(draft)} % 7u != (uint)j; j--) "
                f"{out}[i * {w} + j] = {value(draft, element)};"
            ),
        )
    )


def segments(draft: Draft) -> str:
    """Each item writes the segment of a buffer that another buffer gives to it."""
    element = draft.element()
    total = 2 * draft.items
    out = draft.output(element, total)
    starts = draft.name("starts")
    kind = draft.integer()
    draft.parameter(
        f"global const {kind} *{starts}", Content("starts", kind, draft.items + 1, total)
    )
    new = value(draft, element, f"((uint)k % {draft.items}u)")
    return draft.choice(
        (
            f"for (int k = {starts}[i]; k < (int){starts}[i + 1]; k++) {out}[k] = {new};",
            f"{{ long k = {starts}[i], stop = {starts}[i + 1]; while (k < stop) "
            f"{{ {out}[k] = {new}; k += 2; }} }}",
        )
    )


def in_place(draft: Draft) -> str:
    """Each item reads and writes elements of its own: pairs, butterflies, a sort, a sum before it."""
    element = draft.choice(("uint", "uchar", "ushort", "ulong", "float", "double"))
    n = draft.items
    new = value(draft, element)
    way = draft.number(0, 5)
    if way == 0:
        place = own_place(draft)
        out = draft.output(element, place.capacity)
        return f"{guard(draft)}{out}[{place.text}] = {out}[{place.text}] + {new};"
    if way == 1:
        out = draft.output(element, 2 * n)
        return (
            f"{guard(draft)}{{ {element} a = {out}[2 * i], b = {out}[2 * i + 1]; "
            f"{out}[2 * i] = b; {out}[2 * i + 1] = a + {new}; }}"
        )
    if way == 2:
        out = draft.output(element, 2 * n)
        return (
            f"{guard(draft)}{{ {element} a = {out}[i], b = {out}[i + {draft.scalar(n)}]; "
            f"{out}[i] = a + b; {out}[i + {n}] = a - b; }}"
        )
    if way == 3:
        out = draft.output(element, 2 * n + 64)
        span = draft.scalar(draft.choice((1, 2, 4, 8, 16)))
        return (
            f"{{ uint low = ((uint)i / {span}) * {span} * 2 + (uint)i % {span}, high = low + {span}; "
            f"if ({out}[low] > {out}[high]) {{ {element} a = {out}[low]; {out}[low] = {out}[high]; "
            f"{out}[high] = a; }} }}"
        )
    if way == 4:
        out = draft.output(element, 4 * n)
        return (
            f"{{ global {element} *q = {out} + i * 4; for (int a = 1; a < 4; a++) {{ "
            f"{element} it = q[a]; int b = a; while (b > 0 && q[b - 1] > it) {{ q[b] = q[b - 1]; b--; }} "
            f"q[b] = it; }} }}"
        )
    out = draft.output(element, 4 * n)
    return (
        f"{guard(draft)}for (int k = 1; k < 4; k++) "
        f"{out}[k * {draft.scalar(n)} + i] += {out}[(k - 1) * {n} + i];"
    )


def colours(draft: Draft) -> str:
    """Items of one colour read the other colour's elements beside them, which nobody writes."""
    element = draft.choice(("uint", "uchar", "ulong", "float"))
    colour = draft.number(0, 1)
    nd_range = draft.nd_range
    if nd_range.dimensions == 1 or draft.chance(30):
        out = draft.output(element, draft.items)
        return (
            f"if (i % 2 == {colour} && i > 0 && i < {draft.scalar(draft.items - 1)}) "
            f"{out}[i] = {out}[i - 1] + {out}[i + 1];"
        )
    width, height = nd_range.global_size[:2]
    out = draft.output(element, width * height)
    plane = "" if nd_range.dimensions == 2 else " && c2 == 0"
    return (
        f"if (((c0 + c1) & 1) == {colour}{plane} && c0 > 0 && c0 < {width - 1} && c1 > 0 && "
        f"c1 < {draft.scalar(height - 1)}) {out}[c1 * {width} + c0] = {out}[c1 * {width} + c0 - 1] + "
        f"{out}[c1 * {width} + c0 + 1] + {out}[(c1 - 1) * {width} + c0] + {out}[(c1 + 1) * {width} + c0];"
    )


def two_halves(draft: Draft) -> str:
    """Items read what nobody writes: the second half of a buffer whose first half is written."""
    element = draft.element()
    n = draft.items
    out = draft.output(element, 2 * n)
    source, target = draft.choice(((n, 0), (0, n)))
    at = index(draft, n)
    return f"{guard(draft)}{out}[{target} + i] = {out}[{source} + ({at})];"


def stencil(draft: Draft) -> str:
    """Each item reads what is around its place in another buffer, inside of the edges or clamped."""
    element = draft.choice(("int", "uint", "float", "double", "long"))
    nd_range = draft.nd_range
    source = draft.name("field")
    reach = draft.number(1, 2)
    if nd_range.dimensions == 1:
        n = draft.items
        out = draft.output(element, n)
        draft.parameter(f"global const {element} *{source}", Content("random", element, n, 100))
        return (
            f"if ((int)i >= {reach} && (int)i < (int){draft.scalar(n)} - {reach}) {{ {element} sum = 0; "
            f"for (int k = -{reach}; k <= {reach}; k++) sum += {source}[(int)i + k]; {out}[i] = sum; }}"
        )
    width, height = nd_range.global_size[:2]
    pitch = width + draft.choice((0, 0, 3))
    depth = nd_range.global_size[2] if nd_range.dimensions == 3 else 1
    out = draft.output(element, pitch * height * depth)
    draft.parameter(
        f"global const {element} *{source}", Content("random", element, pitch * height * depth, 100)
    )
    w, p = f"(int){draft.scalar(width)}", draft.scalar(pitch)
    plane = f"c2 * {pitch * height} + " if depth > 1 else ""
    bounded = (
        f"if ((int)c0 >= {reach} && (int)c0 < {w} - {reach} && (int)c1 >= {reach} && "
        f"(int)c1 < {height} - {reach}) "
    )
    clamped = f"{source}[{plane}clamp((int)c1 + a, 0, {height - 1}) * {p} + clamp((int)c0 + b, 0, {w} - 1)]"
    plain = f"{source}[{plane}((int)c1 + a) * {p} + (int)c0 + b]"
    inside = draft.chance(50)
    return (
        f"{bounded if inside else ''}{{ {element} sum = 0; for (int a = -{reach}; a <= {reach}; a++) "
        f"for (int b = -{reach}; b <= {reach}; b++) sum += {plain if inside else clamped}; "
        f"{out}[{plane}c1 * {p} + c0] = sum; }}"
    )


def matrix(draft: Draft) -> str:
    """Each item writes its place in a matrix or a volume, by columns, rows or planes, with a pitch."""
    nd_range = draft.nd_range
    element = draft.element()
    order = list(range(nd_range.dimensions))
    draft.random.shuffle(order)
    sizes = [nd_range.global_size[d] + draft.choice((0, 0, 1, 6)) for d in order]
    text = f"c{order[0]}"
    for d, size in zip(order[1:], sizes[1:]):
        text = f"({text} * {draft.scalar(size)} + c{d})"
    out = draft.output(element, int(np.prod(sizes)))
    if nd_range.dimensions > 1 and draft.chance(30):
        # One line of items writes whole lines.
        d, other = order[:2]
        size, height = nd_range.global_size[d], nd_range.global_size[other]
        line = " && ".join(f"c{e} == 0" for e in order[1:])
        at = draft.choice((f"k * {size} + c{d}", f"c{d} * {height} + k"))
        return f"if ({line}) {loop(draft, 'k', str(height))} {out}[{at}] = {value(draft, element)};"
    return f"{guard(draft)}{out}[{text}] = {value(draft, element)};"


def single(draft: Draft) -> str:
    """One item alone writes some elements."""
    element = draft.element()
    count = draft.number(1, 9)
    out = draft.output(element, count)
    return (
        f"if (i == {draft.scalar(draft.number(0, draft.items - 1))}) "
        f"{loop(draft, 'k', str(count))} {out}[k] = {value(draft, element)};"
    )


def same_value(draft: Draft) -> str:
    """All items, or those that data chooses, write one value to the same few elements."""
    element = draft.element()
    out = draft.output(element, 8 + draft.items)
    same = draft.scalar(draft.number(1, 90))
    where = draft.number(0, 3)
    what = draft.choice((same, "7", "get_global_size(0)", f"{same} * 2"))
    first = f"{guard(draft, 70)}{out}[{where}] = ({element})({what});"
    if draft.chance(30):
        first = f"{guard(draft, 70)}for (int k = 0; k < 4; k++) {out}[k] = ({element})({what});"
    if draft.chance(30):
        return f"{first} {out}[8 + i] = {value(draft, element)};"
    return first


def twice(draft: Draft) -> str:
    """One buffer, or a part of it, is given for a second parameter, and both are written."""
    element = draft.element()
    n = draft.items
    # A part of a buffer begins at a multiple of 128 bytes, as devices ask for.
    start = draft.choice((0, 0, 128))
    one, other = draft.name("out"), draft.name("again")
    draft.parameter(f"global {element} *{one}", Content("random", element, 2 * n + start, 100))
    position = len(draft.parameters) - 1
    draft.parameter(f"global {element} *{other}", Content("same", element, start, position))
    mine, theirs = value(draft, element), value(draft, element)
    if start:
        return f"if (i < {start}) {one}[i] = {mine}; {guard(draft)}{other}[i] = {theirs};"
    return draft.choice(
        (
            f"{one}[i] = {mine}; {other}[{n} + i] = {theirs};",
            f"{one}[2 * i] = {mine}; {other}[2 * i + 1] = {theirs};",
        )
    )


def accumulated(draft: Draft) -> str:
    """Each item writes a sum over reads, by a loop of some shape."""
    found = draft.readable()
    place = own_place(draft)
    kind = "ulong" if found.type in ("long", "ulong") else "uint"
    real = found.type in FLOATS
    if real:
        kind = found.type
    element = draft.choice(tuple(FLOATS)) if real else draft.choice(tuple(INTEGERS))
    out = draft.output(element, place.capacity)
    n, m, c = draft.items, draft.scalar(min(draft.items, found.count)), draft.number(0, 60)
    lane = f".s{draft.choice(COMPONENTS[: found.lanes])}" if found.lanes > 1 else ""

    def x(at: str) -> str:
        return f"({kind}){found.name}[{at}]{lane}"

    loops = [
        lambda: f"for (int j = i; j < (int){m}; j += 3) s += {x('j')};",
        lambda: f"for (int j = (int)i; j >= 0; j -= {draft.number(1, 5)}) s += {x('j')};",
        lambda: f"for (uint j = 0; j <= 4u; j++) s += {x(f'(i + j) % {n}')};",
        lambda: f"{{ int j = i; do {{ s += {x('j')}; j /= 2; }} while (j > 0); }}",
        lambda: (
            f"for (int j = 0; j < (int){m}; j++) {{ if (j * 3 > (int)i + {c}) break; s += {x('j')}; }}"
        ),
        lambda: (
            f"for (int a = 0; a < 4; a++) {{ if (a == {c % 4}) continue; "
            f"for (int b = a; b < 4; b++) s += {x(f'(i + a * b) % {n}')}; }}"
        ),
        lambda: (
            f"for (uint j = i; j > 2u; j -= 5u) {{ if (j >= (uint){n}) break; s += {x('j')}; }}"
        ),
        lambda: (
            f"{{ int t = 0; for (uchar c = 0; c < {draft.number(60, 250)}; c += 100) "
            f"{{ if (t >= {n}) break; s += {x('t++')}; }} }}"
        ),
        lambda: (
            f"{{ int t = 0; for (char c = 0; c < {draft.number(40, 120)}; c += 50) "
            f"{{ if (t >= {n}) break; s += {x('t++')}; }} }}"
        ),
        lambda: f"for (int j = 1; j < {n}; j <<= 1) s += {x('(i ^ j) % ' + str(n))};",
        lambda: f"for (size_t j = get_local_id(0); j < {n}; j += get_local_size(0)) s += {x('j')};",
        lambda: f"for (size_t j = get_group_id(0); j < {n}; j += get_num_groups(0)) s += {x('j')};",
        lambda: (
            f"for (int j = max((int)i - {c % 5}, 0); j <= min((int)i + 2, {n - 1}); j++) s += {x('j')};"
        ),
        lambda: (
            f"{{ {kind} t[4]; for (int j = 0; j < 4; j++) t[j] = {x(f'(i + j) % {n}')}; "
            f"s += t[{data(draft)} & 3]; }}"
        ),
        lambda: (
            f"switch ({data(draft)} & 3) {{ case 0: s += {x('0')}; break; case 1: s += {x('i')}; "
            f"default: s += {x(str(n - 1))}; }}"
        ),
    ]
    if not lane and "constant" not in _declaration(draft, found.name):
        pointer = _declaration(draft, found.name).split("*")[0]
        loops.append(
            lambda: (
                f"{{ {pointer}*q = {found.name} + i; for (int j = 0; j < {n} - (int)i && j < 4; j++) "
                f"s += ({kind})*q++; }}"
            )
        )
    chosen = " ".join(draft.written(loops) for _ in range(draft.number(1, 2)))
    store = f"({element})s" if element in FLOATS or not real else "s"
    return f"{{ {kind} s = 0; {chosen} {guard(draft)}{out}[{place.text}] = {store}; }}"


def _declaration(draft: Draft, name: str) -> str:
    return next(p.declaration for p in draft.parameters if p.declaration.endswith(name))


def chase(draft: Draft) -> str:
    """Each item follows a permutation for some steps, and writes where that ends."""
    element = draft.element()
    out = draft.output(element, draft.items)
    order = draft.permutation()
    kind = draft.choice(("int", "uint", "long"))
    return (
        f"{{ {kind} j = i; for (int k = 0; k < {draft.number(1, 3)}; k++) j = {order}[j]; "
        f"{guard(draft)}{out}[j] = {value(draft, element)}; }}"
    )


def coordinates_again(draft: Draft) -> str:
    """Each item writes by coordinates that are spelled anew, with a helper for the row."""
    element = draft.element()
    nd_range = draft.nd_range
    name = f"row_{element}"
    draft.helpers[name] = (
        f"global {element} *{name}(global {element} *from, int y, int pitch) {{ return from + y * pitch; }}"
    )
    last = nd_range.dimensions - 1
    width = nd_range.items // nd_range.global_size[last]
    out = draft.output(element, nd_range.items)
    column = coordinate(draft, 0) if last else "0"
    if last == 2:
        column = f"({coordinate(draft, 1)} * {nd_range.global_size[0]} + {column})"
    return (
        f"{guard(draft)}{name}({out}, {coordinate(draft, last)}, {draft.scalar(width)})"
        f"[{column}] = {value(draft, element)};"
    )


Pattern = Callable[[Draft], str]

PATTERNS: dict[Pattern, int] = {
    scatter: 8,
    matrix: 6,
    accumulated: 6,
    several: 6,
    stencil: 4,
    in_place: 4,
    rows: 4,
    vectors: 4,
    both_ways: 3,
    grid_stride: 3,
    structs: 3,
    colours: 2,
    same_value: 2,
    two_halves: 2,
    segments: 2,
    coordinates_again: 2,
    chase: 1,
    halves: 1,
    single: 1,
    twice: 1,
}
"""Each pattern with how often it is taken."""
