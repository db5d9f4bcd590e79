"""Integer instructions on forms. A result that may wrap around, or is not followed, is None.

Forms are signed: a form stands for an instruction's value only where the exact result fits the type,
so that the machine's arithmetic and that of the integers agree.
"""

from __future__ import annotations

from lb_runtime.analysis.forms import Bounds, Constraint, Form, Span, Symbol
from lb_runtime.analysis.values import type_span

Result = Form | Span | None
"""A form; or only the span of a value that no form describes; or nothing."""


def fits(span: Span, bits: int) -> bool:
    """Whether all of a span can be held by a signed integer of this width."""
    whole = type_span(bits)
    return whole.low <= span.low and span.high <= whole.high


def checked(form: Form, bits: int, bounds: Bounds) -> Form | None:
    """The form, unless its value may wrap around."""
    return form if fits(bounds.interval(form), bits) else None


def resized(
    opcode: str, form: Form, from_bits: int, to_bits: int, bounds: Bounds, *, is_nneg: bool
) -> Result:
    """`sext`, `zext` and `trunc`; `is_nneg` is the flag that promises a non-negative operand."""
    if from_bits == 1:
        # A truth value is 0 or 1 here; sign extension makes it 0 or -1.
        return form if opcode == "zext" else form.times(-1)
    span = bounds.interval(form)
    if opcode == "sext" or (opcode == "zext" and (is_nneg or span.low >= 0)):
        return form
    if opcode == "zext":
        return Span(0, (1 << from_bits) - 1)
    return form if fits(span, to_bits) else None


def binary(
    opcode: str, left: Form, right: Form, bits: int, bounds: Bounds, *, is_disjoint: bool = False
) -> Result:
    """An instruction with two integer operands; `is_disjoint` is the flag of an `or` that adds."""
    if opcode == "add" or (opcode == "or" and is_disjoint):
        return checked(left + right, bits, bounds)
    if opcode == "sub":
        return checked(left - right, bits, bounds)
    one, other = bounds.interval(left), bounds.interval(right)
    if opcode == "mul":
        return _product(left, right, one, other, bits, bounds)
    if opcode == "shl":
        if other.low == other.high and 0 <= other.low < bits:
            return checked(left.times(1 << other.low), bits, bounds)
        return None
    if other.low == other.high and other.low >= 0:
        result = _by_constant(opcode, left, one, other.low, bits, bounds)
        if result is not None:
            return result
    if other.low == other.high and other.low < 0 and bits > 1:
        result = _by_negative_constant(opcode, left, other.low, bounds)
        if result is not None:
            return result
    return _bits(opcode, one, other, bits)


def _product(left: Form, right: Form, one: Span, other: Span, bits: int, bounds: Bounds) -> Result:
    if other.low == other.high:
        return checked(left.times(other.low), bits, bounds)
    if one.low == one.high:
        return checked(right.times(one.low), bits, bounds)
    ends = [a * b for a in one for b in other]
    return _span(min(ends), max(ends), bits)


def _by_constant(
    opcode: str, left: Form, span: Span, value: int, bits: int, bounds: Bounds
) -> Result:
    """Division, remainder, shift and mask by a known number that is not negative."""
    if opcode == "ashr" and value < bits:
        return quotient(left, 1 << value, bounds)
    if opcode == "and" and value:
        # Bits `low` to `high` of a two's complement number, whatever its sign.
        low = value & -value
        high = value + low
        if not high & (high - 1):
            upper = quotient(left, high, bounds).times(high)
            return quotient(left, low, bounds).times(low) - upper
    if opcode == "xor" and not value & (value + 1) and span.low >= 0 and span.high <= value:
        return Form(value) - left
    if value and span.low >= 0:
        if opcode in ("udiv", "sdiv"):
            return quotient(left, value, bounds)
        if opcode in ("urem", "srem"):
            return left - quotient(left, value, bounds).times(value)
    if opcode == "lshr" and value < bits and span.low >= 0:
        return quotient(left, 1 << value, bounds)
    if opcode == "srem" and value:
        return _span(1 - value, value - 1, bits)
    if opcode == "sdiv" and value:
        ends = [abs(end) // value * (1 if end >= 0 else -1) for end in span]
        return _span(min(ends), max(ends), bits)
    # An unsigned operand that may be beyond the signed numbers.
    if opcode == "urem" and value:
        return _span(0, value - 1, bits)
    if opcode == "udiv" and value:
        return _span(0, ((1 << bits) - 1) // value, bits)
    if opcode == "lshr" and value < bits:
        return _span(0, (1 << (bits - value)) - 1, bits)
    return None


def _by_negative_constant(opcode: str, left: Form, value: int, bounds: Bounds) -> Form | None:
    """`x ^ -1` is `-x - 1`; `x & -2**k` clears the low bits of `x`."""
    if opcode == "xor" and value == -1:
        return left.times(-1).plus(-1)
    if opcode == "and" and not -value & (-value - 1):
        return quotient(left, -value, bounds).times(-value)
    return None


def _bits(opcode: str, one: Span, other: Span, bits: int) -> Result:
    """What the operands' spans alone say of a result."""
    if opcode == "and" and (one.low >= 0 or other.low >= 0):
        return _span(0, min(span.high for span in (one, other) if span.low >= 0), bits)
    if one.low < 0 or other.low < 0:
        return None
    if opcode in ("or", "xor"):
        return _span(0, (1 << max(one.high, other.high).bit_length()) - 1, bits)
    if opcode in ("udiv", "sdiv", "lshr", "ashr"):
        return _span(0, one.high, bits)
    if opcode in ("urem", "srem"):
        return _span(0, min(one.high, max(0, other.high - 1)), bits)
    return None


def _span(low: int, high: int, bits: int) -> Span | None:
    span = Span(low, high)
    return span if fits(span, bits) else None


def quotient(form: Form, divisor: int, bounds: Bounds) -> Form:
    """`floor(form / divisor)`: what divides is divided, the rest gets a symbol of its own.

    The same form and divisor give the same symbol, and what is left over is learned to lie in
    `[0, divisor)`: so `quotient * divisor + remainder` is the form again.
    """
    here = bounds.interval(form)
    if here.low // divisor == here.high // divisor:
        return Form(here.low // divisor)
    divided = Form(
        form.constant // divisor, tuple((s, c // divisor) for s, c in form.terms if not c % divisor)
    )
    rest = Form(form.constant % divisor, tuple((s, c) for s, c in form.terms if c % divisor))
    if not rest.terms:
        return divided
    symbol = Symbol("opaque", (f"{rest} / {divisor}", ""))
    span = bounds.widest(rest)
    bounds.learn(symbol, Span(span.low // divisor, span.high // divisor))
    remainder = rest - Form.symbol(symbol).times(divisor)
    bounds.learn_constraint(Constraint(remainder, Span(0, divisor - 1)))
    result = divided + Form.symbol(symbol)
    if divided.terms:
        whole = bounds.widest(form)
        bounds.learn_constraint(
            Constraint(result, Span(whole.low // divisor, whole.high // divisor))
        )
    return result


def selection(name: str, spans: list[Span]) -> Span | None:
    """The span of `min`, `max`, `clamp` and `abs`, from those of their operands."""
    if name == "min":
        return Span(min(s.low for s in spans), min(s.high for s in spans))
    if name == "max":
        return Span(max(s.low for s in spans), max(s.high for s in spans))
    if name == "clamp":
        value, low, high = spans
        return Span(
            min(max(value.low, low.low), high.low), min(max(value.high, low.high), high.high)
        )
    if name == "abs":
        value = spans[0]
        ends = sorted((abs(value.low), abs(value.high)))
        return Span(0 if value.low <= 0 <= value.high else ends[0], ends[1])
    return None
