"""What the work-items of a group do together, through local memory and barriers.

These statements stand in the kernel's own flow: all items of a group reach each barrier.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from generated.draft import INTEGERS, Content, Draft
from generated.expressions import data, integer, value

BARRIER = "barrier(CLK_LOCAL_MEM_FENCE);"


def _local(draft: Draft, element: str, count: int) -> str:
    """The name of local memory: a parameter, or a variable of the kernel."""
    name = draft.name("t")
    if draft.chance(50):
        size = count * int(INTEGERS[element]().itemsize)
        draft.parameter(f"local {element} *{name}", Content("local", element, size))
    else:
        draft.variables[name] = f"local {element} {name}[{count}];"
    return name


def _element(draft: Draft) -> str:
    return draft.choice(tuple(INTEGERS))


def reduction(draft: Draft) -> str:
    """One result for each group: a tree over local memory, or a sum that the first item makes."""
    items = draft.nd_range.group_items
    count = 1
    while count < items:
        count *= 2
    t = _local(draft, "uint", count)
    element = _element(draft)
    each = draft.choice((1, 1, 3))
    groups = prod(draft.nd_range.groups)
    out = draft.output(element, groups * each)
    fill = f"{t}[lid] = {integer(draft, 1).text}; "
    if count > items:
        fill += f"if (lid == 0) for (int k = {items}; k < {count}; k++) {t}[k] = 0; "
    tree = draft.choice(
        (
            f"for (int h = {count // 2}; h > 0; h >>= 1) "
            f"{{ if (lid < h) {t}[lid] += {t}[lid + h]; {BARRIER} }}",
            f"for (int h = 1; h < {count}; h *= 2) "
            f"{{ if (lid % (2 * h) == 0 && lid + h < {count}) {t}[lid] += {t}[lid + h]; {BARRIER} }}",
            f"if (lid == 0) for (int k = 1; k < {items}; k++) {t}[0] += {t}[k]; {BARRIER}",
        )
    )
    at = "grp" if each == 1 else draft.choice((f"grp * {each} + 1", f"{groups} + grp"))
    return f"{fill}{BARRIER} {tree} if (lid == 0) {out}[{at}] = ({element}){t}[0]; {BARRIER}"


def exchange(draft: Draft) -> str:
    """Items store what other items of their group computed: reversed, rotated or chosen by data."""
    element = _element(draft)
    items = draft.nd_range.group_items
    t = _local(draft, element, items)
    out = draft.output(element, draft.items)
    other = draft.written(
        (
            lambda: f"{items - 1} - lid",
            lambda: f"(lid + {draft.number(1, 3)}) % {items}",
            lambda: f"({data(draft)}) % {items}u",
            lambda: "lid / 2",
        )
    )
    at = draft.choice(("i", f"grp * {items} + lid", f"(grp + 1) * {items} - 1 - lid"))
    return f"{t}[lid] = {value(draft, element)}; {BARRIER} {out}[{at}] = {t}[{other}]; {BARRIER}"


def scan(draft: Draft) -> str:
    """Sums before each item inside of its group."""
    items = draft.nd_range.group_items
    t = _local(draft, "uint", items)
    out = draft.output("uint", draft.items)
    return (
        f"{t}[lid] = {integer(draft, 1).text}; {BARRIER} "
        f"for (int d = 1; d < {items}; d *= 2) {{ uint before = lid >= d ? {t}[lid - d] : 0; {BARRIER} "
        f"{t}[lid] += before; {BARRIER} }} {out}[i] = {t}[lid]; {BARRIER}"
    )


def leader(draft: Draft) -> str:
    """The first item of each group writes for all."""
    element = _element(draft)
    items = draft.nd_range.group_items
    t = _local(draft, element, items)
    out = draft.output(element, draft.items)
    at = draft.choice((f"grp * {items} + k", f"k * {prod(draft.nd_range.groups)} + grp"))
    return (
        f"{t}[lid] = {value(draft, element)}; {BARRIER} "
        f"if (lid == 0) for (int k = 0; k < {items}; k++) {out}[{at}] = {t}[{items - 1} - k]; {BARRIER}"
    )


def transposition(draft: Draft) -> str:
    """Each group transposes a tile; a reduction where the range or the tile has no two equal sides."""
    nd_range = draft.nd_range
    if nd_range.dimensions != 2 or nd_range.local_size[0] != nd_range.local_size[1]:
        return reduction(draft)
    side = nd_range.local_size[0]
    width, height = nd_range.global_size
    t = _local(draft, "int", side * (side + 1))
    out = draft.output("int", width * height)
    source = draft.name("m")
    draft.parameter(f"global const int *{source}", Content("random", "int", width * height, 1000))
    return (
        f"{t}[get_local_id(1) * {side + 1} + get_local_id(0)] = {source}[(get_group_id(1) * {side} + "
        f"get_local_id(1)) * {draft.scalar(width)} + get_group_id(0) * {side} + get_local_id(0)]; {BARRIER} "
        f"{out}[(get_group_id(0) * {side} + get_local_id(1)) * {draft.scalar(height)} + "
        f"get_group_id(1) * {side} + get_local_id(0)] = "
        f"{t}[get_local_id(0) * {side + 1} + get_local_id(1)]; {BARRIER}"
    )


def tile(draft: Draft) -> str:
    """Each group loads its elements with what lies beside them, and each item sums three."""
    items = draft.nd_range.group_items
    n = draft.items
    t = _local(draft, "int", items + 2)
    out = draft.output("int", n)
    source = draft.name("m")
    draft.parameter(f"global const int *{source}", Content("random", "int", n, 1000))
    base = f"(int)(grp * {items})"
    return (
        f"for (int k = lid; k < {items + 2}; k += {items}) "
        f"{t}[k] = {source}[clamp({base} + k - 1, 0, {n - 1})]; {BARRIER} "
        f"{out}[{base} + lid] = {t}[lid] + {t}[lid + 1] + {t}[lid + 2]; {BARRIER}"
    )


def counts(draft: Draft) -> str:
    """A histogram for each group by local atomics, written by the group or added to one for all."""
    bins = draft.choice((4, 8))
    t = _local(draft, "uint", bins)
    items = draft.nd_range.group_items
    if draft.chance(50):
        out = draft.output("uint", bins)
        flush = f"atomic_add(&{out}[k], {t}[k]);"
        draft.patterns.append("atomics")
    else:
        out = draft.output("uint", prod(draft.nd_range.groups) * bins)
        flush = f"{out}[grp * {bins} + k] = {t}[k];"
    each = f"for (int k = lid; k < {bins}; k += {items})"
    return (
        f"{each} {t}[k] = 0; {BARRIER} atomic_inc(&{t}[{data(draft)} % {bins}u]); {BARRIER} "
        f"{each} {{ {flush} }} {BARRIER}"
    )


GroupPattern = Callable[[Draft], str]

GROUP_PATTERNS: dict[GroupPattern, int] = {
    reduction: 3,
    exchange: 3,
    counts: 2,
    tile: 2,
    transposition: 2,
    leader: 1,
    scan: 1,
}
"""Each pattern with how often it is taken."""
