"""Which built-in functions give the same value on every device, by sections of the OpenCL C specification.

A function counts as exact where OpenCL 1.2, section 7.4, wants 0 ulp or correct rounding, and no text
leaves an edge case to the implementation. Section numbers are those of OpenCL C 1.2.
"""

from __future__ import annotations

import re

from lb_runtime.analysis.values import builtin_name
from predictor import ir

_FLOAT = re.compile(r"\b(half|bfloat|float|double|fp128)\b")

_WORK_ITEM = frozenset(
    "get_work_dim get_global_size get_global_id get_local_size get_enqueued_local_size get_local_id "
    "get_num_groups get_group_id get_global_offset get_global_linear_id get_local_linear_id".split()
)
"""Section 6.12.1, and OpenCL C 2.0, section 6.13.1. Sub-group functions are the device's business."""
_MATH = frozenset(
    "ceil copysign fabs fdim floor fma frexp ldexp logb modf nan nextafter remainder rint round "
    "trunc".split()
)
"""Section 6.12.2: what section 7.4 wants exactly, edge cases (section 7.5.1) included."""
_INTEGER = frozenset(
    "abs abs_diff add_sat hadd rhadd clamp clz ctz mad_hi max min mul_hi rotate sub_sat upsample "
    "popcount".split()
)
"""Section 6.12.3, on integers only."""
_RELATIONAL = frozenset(
    "isequal isnotequal isgreater isgreaterequal isless islessequal islessgreater isfinite isinf isnan "
    "isnormal isordered isunordered signbit any all bitselect select".split()
)
"""Section 6.12.6."""
_ORDER = frozenset(
    "barrier work_group_barrier mem_fence read_mem_fence write_mem_fence atomic_work_item_fence "
    "async_work_group_copy async_work_group_strided_copy wait_group_events prefetch".split()
)
"""Sections 6.12.8 to 6.12.10: they order and move."""
_VECTOR = frozenset("shuffle shuffle2 vec_step".split())
"""Section 6.12.12."""
_IMAGE_QUERY = re.compile(r"^get_image_\w+$")
_IMAGE = re.compile(r"^(?:read|write)_image(?:f|h|u?i)$")
_INTEGER_IMAGE = re.compile(r"^(?:read|write)_imageu?i$")
"""Section 6.12.14: integer formats are neither filtered nor converted, and integer coordinates exact."""
_WORK_GROUP = re.compile(r"^work_group_(?:all|any|broadcast|reduce_\w+|scan_\w+)$")
"""OpenCL C 2.0, section 6.13.15: on integers, no order of the operands matters."""
_VECTOR_ACCESS = re.compile(r"^v(?:load|store)a?(?:_half)?\d*(?:_rt[ezpn])?$")
"""Section 6.12.7: a half is exact as a float; a float is rounded to a half to the nearest even."""
_CONVERSION = re.compile(
    r"^convert_(?P<type>u?(?:char|short|int|long)|half|float|double)\d*(?P<sat>_sat)?(?P<mode>_rt[ezpn])?$"
)
"""Section 6.2.3."""
_LLVM = frozenset(
    "llvm.memcpy llvm.memmove llvm.memset llvm.lifetime llvm.dbg llvm.assume llvm.experimental "
    "llvm.invariant llvm.expect llvm.smax llvm.smin llvm.umax llvm.umin llvm.abs llvm.ctlz llvm.cttz "
    "llvm.ctpop llvm.bswap llvm.bitreverse llvm.fshl llvm.fshr llvm.sadd llvm.uadd llvm.ssub llvm.usub "
    "llvm.smul llvm.umul llvm.fma llvm.fabs llvm.copysign llvm.floor llvm.ceil llvm.trunc llvm.rint "
    "llvm.round llvm.is".split()
)
"""The first two words of intrinsics that are moves, integer arithmetic or an exact function above."""

_EITHER_ZERO = "which of +0 and -0 it gives is left to the device, and so is a NaN"
_WHY = {
    "clamp": _EITHER_ZERO,
    "fmax": _EITHER_ZERO,
    "fmin": _EITHER_ZERO,
    "max": _EITHER_ZERO,
    "maxmag": _EITHER_ZERO,
    "min": _EITHER_ZERO,
    "minmag": _EITHER_ZERO,
    "fmod": "drivers are known to be wrong where both numbers are denormal",
    "fmuladd": "a multiply and an add may be fused or not",
    "fract": "the sign of a zero is left to the device",
    "ilogb": "what zero and NaN give is left to the device",
    "mad": "a multiply and an add may be fused or not",
    "mad24": "factors beyond 24 bits are left to the device",
    "mul24": "factors beyond 24 bits are left to the device",
    "mad_sat": "drivers are known to saturate in different places",
    "remquo": "the quotient's upper bits are left to the device",
    "step": "drivers are known to differ for a NaN",
}
"""Functions that look exact and are not, with what differs. Seen to: fmin, fmax, maxmag, minmag, step,
fract, ilogb, fmod, remquo, mul24, mad24, mad_sat and conversions to integers, on two CPU drivers."""

MOVES = _VECTOR | frozenset("select bitselect fabs copysign fma async_work_group_copy".split())
"""Functions whose operands come out as they went in, the sign aside; and `fma`, whose addend does
where a compiler takes it apart."""
_MOVING = re.compile(
    r"^(?:v(?:load|store)|convert_(?:float|double|half)|async_work_group|llvm\.(?:mem(?:cpy|move)|fabs|"
    r"copysign|fma\.)|work_group_broadcast)"
)
_KEEPS_DENORMALS = (
    _VECTOR | _ORDER | frozenset("select bitselect fabs copysign nan signbit".split())
)


def floats(*types: str) -> set[str]:
    """The floating-point types among some types' elements."""
    return {name for text in types for name in _FLOAT.findall(text)}


def called(callee: str) -> str:
    """The name to tell a reader: that of the OpenCL function, or of the intrinsic without its types."""
    if callee.startswith("llvm."):
        return callee.split(".")[1]
    return builtin_name(callee)


def is_move(callee: str) -> bool:
    """Whether a function without a body hands its operands on, through memory or as its result."""
    name = builtin_name(callee)
    return name in MOVES or bool(_MOVING.match(name))


def flushes(call: ir.Instruction) -> bool:
    """Whether a device without denormal numbers may take a call's `float` operand or result for zero."""
    name = builtin_name(call.detail)
    types = floats(call.type, *(operand.type for operand in call.operands))
    if "float" not in types or name in _KEEPS_DENORMALS:
        return False
    if name.startswith(("llvm.mem", "llvm.fabs", "llvm.copysign")):
        return False
    return not (_VECTOR_ACCESS.match(name) and not ("store" in name and "half" in name))


def difference(call: ir.Instruction, *, rounds_division: bool, fits: bool) -> str:
    """How devices may differ in a call of a function without a body; empty where they may not.

    `rounds_division` tells that division and square roots of floats are to be rounded correctly, `fits`
    that factors have no more than 24 bits. Atomics are no business of this function's.
    """
    name = builtin_name(call.detail)
    kinds = floats(call.type, *(operand.type for operand in call.operands))
    if name.startswith("llvm."):
        return _intrinsic(name, kinds, rounds_division)
    if not call.detail.startswith("_Z"):
        # OpenCL's own functions are overloaded, hence mangled: this one is the user's.
        return "nothing is known of a function without a body"
    if match := _CONVERSION.match(name):
        return _conversion(match, call.operands[0].type)
    if _VECTOR_ACCESS.match(name) or name in _WORK_ITEM | _ORDER | _RELATIONAL | _VECTOR:
        return ""
    if name in _INTEGER and not kinds:
        return ""
    if name in ("mul24", "mad24") and fits:
        return ""
    if name in _MATH or name == "sign":
        return "" if "half" not in kinds else _HALF
    if name == "sqrt" and (kinds == {"double"} or (kinds == {"float"} and rounds_division)):
        return ""
    if _IMAGE_QUERY.match(name) or (_WORK_GROUP.match(name) and not kinds):
        return ""
    if _INTEGER_IMAGE.match(name) and not kinds:
        return ""
    if _IMAGE.match(name):
        return "devices filter and convert what is in an image in their own ways"
    if name in _WHY:
        return _WHY[name]
    if kinds:
        return "its last bits are left to the device"
    return "nothing is known of it"


_HALF = "devices compute with halves in different precisions"


def _conversion(match: re.Match[str], source: str) -> str:
    to_float = match["type"] in ("half", "float", "double")
    if to_float or not floats(source):
        return _HALF if match["type"] == "half" and not match["mode"] else ""
    if match["sat"]:
        return "what a NaN becomes is left to the device"
    return "what a number out of range becomes is left to the device"


def _intrinsic(name: str, kinds: set[str], rounds_division: bool) -> str:
    words = name.split(".")
    if ".".join(words[:2]) in _LLVM and "half" not in kinds:
        return ""
    if words[1] == "sqrt" and (kinds == {"double"} or (kinds == {"float"} and rounds_division)):
        return ""
    return _WHY.get(words[1], "its last bits are left to the device")
