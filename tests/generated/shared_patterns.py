"""Global memory that items of several groups change: by integer atomics, or in ways that need one device.

Atomics whose results nobody uses give the same sums, bounds and bits in any order. The others here
are as free of races, but say so in ways that a split need not understand: it must decline them, or be right.
"""

from __future__ import annotations

from collections.abc import Callable

from generated.draft import INTEGERS, Content, Draft
from generated.expressions import condition, data, guard, index, own_place, value

ORDINARY = ("add", "sub", "inc", "dec", "min", "max", "and", "or", "xor")
LONG_BASE = ("add", "sub", "inc", "dec")


def _atomic(draft: Draft, element: str, operation: str, pointer: str, operand: str) -> str:
    """One atomic statement, its result unused."""
    prefix = "atomic" if element in ("int", "uint") else "atom"
    if element in ("int", "uint") and draft.chance(20):
        prefix = "atom"
    if prefix == "atom":
        level = "base" if operation in LONG_BASE else "extended"
        if element in ("long", "ulong"):
            extension = f"cl_khr_int64_{level}_atomics"
        else:
            extension = f"cl_khr_global_int32_{level}_atomics"
        draft.helpers[extension] = f"#pragma OPENCL EXTENSION {extension} : enable"
    more = "" if operation in ("inc", "dec") else f", ({element})({operand})"
    return f"{prefix}_{operation}({pointer}{more});"


def _small(draft: Draft, element: str) -> str:
    """An operand of an atomic."""
    return draft.written(
        (
            lambda: value(draft, element),
            lambda: data(draft),
            lambda: "1",
            lambda: "7",
            lambda: "(uint)i",
        )
    )


def histogram(draft: Draft) -> str:
    """Counts at places that data or ids choose; one operation over the whole buffer."""
    element = draft.choice(("int", "uint", "uint", "long", "ulong"))
    bins = draft.number(1, 24)
    out = draft.output(element, bins)
    operation = draft.choice(ORDINARY)
    at = draft.written(
        (
            lambda: f"{data(draft)} % {bins}u",
            lambda: f"i % {bins}",
            lambda: "0",
            lambda: index(draft, bins),
            lambda: f"(uint)i * {bins}u / {draft.items}u",
        )
    )
    atomic = _atomic(
        draft,
        element,
        operation,
        draft.choice((f"&{out}[{at}]", f"{out} + ({at})")),
        _small(draft, element),
    )
    if draft.chance(20):
        return f"for (int k = 0; k < {draft.number(1, 4)}; k++) {{ {guard(draft)}{atomic} }}"
    return f"{guard(draft)}{atomic}"


def own_atomics(draft: Draft) -> str:
    """Atomics at places of which each item has its own, or which a few items share."""
    element = draft.choice(("int", "uint", "long"))
    place = own_place(draft, 1)
    out = draft.output(element, place.capacity)
    at = draft.choice((place.text, f"{place.text} / 2", f"{place.text} / 4"))
    operand = _small(draft, element)
    return guard(draft) + _atomic(draft, element, draft.choice(ORDINARY), f"{out} + {at}", operand)


def zones(draft: Draft) -> str:
    """One buffer with several zones: each changed by one operation, one perhaps written plainly."""
    element = draft.choice(("int", "uint", "ulong"))
    width = draft.number(1, 5)
    operations = [draft.choice(ORDINARY) for _ in range(draft.number(2, 3))]
    plain = draft.chance(25)
    start = len(operations) * width
    out = draft.output(element, start + draft.items)
    lines = []
    for number, operation in enumerate(operations):
        at = f"{number * width} + {data(draft)} % {width}u"
        lines.append(
            guard(draft, 30)
            + _atomic(draft, element, operation, f"{out} + ({at})", _small(draft, element))
        )
    if plain:
        lines.append(f"{guard(draft)}{out}[{start} + i] = {value(draft, element)};")
    return " ".join(lines)


def extremes(draft: Draft) -> str:
    """A smallest and a largest value side by side, as of one buffer's content."""
    out = draft.output("int", 2)
    other = "1" if draft.chance(70) else "0 + 1"
    return f"atomic_min(&{out}[0], (int)({data(draft)})); atomic_max({out} + {other}, (int)({data(draft)}));"


def used_result(draft: Draft) -> str:
    """An atomic whose result is used, at each item's own place: a split must not change what it sees."""
    out, seen = draft.output("uint", draft.items), draft.output("uint", draft.items)
    atomic = draft.choice(
        (
            f"atomic_add(&{out}[i], 3u)",
            f"atomic_xchg(&{out}[i], 9u)",
            f"atomic_cmpxchg(&{out}[i], 5u, 6u)",
        )
    )
    return f"{guard(draft)}{{ uint old = {atomic}; {seen}[i] = old; }}"


def total(draft: Draft) -> str:
    """How many items there are, seen by the last to arrive: used results that only one device can give."""
    out = draft.name("out")
    draft.parameter(f"global uint *{out}", Content("random", "uint", 2, 1))
    return f"if (atomic_inc(&{out}[0]) == {draft.items - 1}u) {out}[1] = 77u;"


def one_device(draft: Draft) -> str:
    """Plain stores at own places, in ways that ask for a single device, or may."""
    element = draft.choice(tuple(INTEGERS))
    place = own_place(draft, 1)
    out = draft.output(element, place.capacity)
    at, new = place.text, value(draft, element)
    return draft.written(
        (
            lambda: f"*(volatile global {element} *)({out} + {at}) = {new};",
            lambda: f"{out}[{at}] = {new}; mem_fence(CLK_GLOBAL_MEM_FENCE);",
            lambda: f"{out}[{at}] = {new}; if ({condition(draft, 0)}) {out}[{at}] = 0;",
        )
    )


SharedPattern = Callable[[Draft], str]

SHARED_PATTERNS: dict[SharedPattern, int] = {
    histogram: 7,
    zones: 3,
    own_atomics: 2,
    extremes: 1,
    used_result: 2,
    total: 2,
    one_device: 1,
}
"""Each pattern with how often it is taken."""
