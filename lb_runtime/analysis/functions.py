"""Integer built-in functions that kernels compute indices with: OpenCL 1.2, sections 6.12.3 and 6.2.3."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lb_runtime.analysis import arithmetic
from lb_runtime.analysis.forms import Bounds, Form

FOLLOWED = re.compile(
    r"^(?:mul24|mad24|min|max|clamp|abs|llvm\.[su]?(?:min|max|abs)\..*|"
    r"convert_u?(?:char|short|int|long)(?:_sat)?(?:_rt[ezpn])?)$"
)
"""The names, without their mangling, of the functions whose results are known."""

_UNSIGNED_SUFFIXES = ("h", "t", "j", "m")
"""How the mangled name of a built-in on unsigned integers ends (Itanium C++ ABI, section 5.1.5)."""

_FACTOR_BITS = 24
"""The factors of `mul24` beyond this width are the device's business."""


def result(
    callee: str, name: str, forms: Sequence[Form], bits: int, bounds: Bounds
) -> arithmetic.Result:
    """What a call gives, of these operands; `callee` is the mangled name, `bits` the result's width."""
    spans = [bounds.interval(form) for form in forms]
    is_unsigned = name.startswith("llvm.u") or callee.endswith(_UNSIGNED_SUFFIXES)
    if name in ("mul24", "mad24"):
        if not all(arithmetic.fits(span, _FACTOR_BITS) for span in spans[:2]):
            return None
        product = arithmetic.binary("mul", forms[0], forms[1], bits, bounds)
        if name == "mul24" or not isinstance(product, Form):
            return product if name == "mul24" else None
        return arithmetic.checked(product + forms[2], bits, bounds)
    if name.startswith("convert_"):
        # Signed and unsigned numbers of any width agree on what fits all of them.
        is_unsigned |= name.startswith("convert_u")
        agree = not is_unsigned or spans[0].low >= 0
        return forms[0] if agree and arithmetic.fits(spans[0], bits) else None
    # Unsigned operands that are not negative read the same as signed ones.
    if is_unsigned and any(span.low < 0 for span in spans):
        return None
    operation = re.sub(r"^llvm\.[su]?(min|max|abs)\..*$", r"\1", name)
    span = arithmetic.selection(operation, spans)
    return span if span is not None and arithmetic.fits(span, bits) else None
