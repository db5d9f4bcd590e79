"""Every access of a kernel to its buffers, as bytes that one slice of a launch may touch.

The kernel's instructions are walked once for a slice; each load, store and vector access through a
global or constant pointer gives an `Access` per argument that the pointer may point into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lb_runtime.analysis import layout
from lb_runtime.analysis.facts import KernelFacts
from lb_runtime.analysis.forms import Bounds, Form, Grid, Span, Symbol
from lb_runtime.analysis.frame import Frame
from lb_runtime.analysis.loops import LOOP_LIMIT
from lb_runtime.analysis.reasons import Reason
from lb_runtime.analysis.values import Address, NDRangeFacts, Value, builtin_name, type_span
from lb_runtime.launch import (
    BufferArgument,
    Launch,
    LocalArgument,
    ScalarArgument,
    Slice,
)
from predictor import ir

_VECTOR_ACCESS = re.compile(r"^v(?P<way>load|store)(?P<aligned>a?)(?P<half>_half)?(?P<lanes>\d*)")
_FILLS = ("llvm.memcpy.", "llvm.memmove.", "llvm.memset.")


@dataclass(frozen=True, slots=True)
class Access:
    """One instruction's access to one argument by all work-items of a slice.

    `span` are the bytes `[low, high]`, both included, that it may touch (before clipping to the
    buffer); `form` is the address of the first byte. `is_exact` tells that the span follows from ids
    and counted loops alone. `written_value` is the text of a stored value that is the same for every
    work-item, empty for other stores and for loads. `is_certain` tells that all work-items of the
    slice make the access, or all whose global ids the guards let through, whatever the data.
    """

    argument: int
    is_write: bool
    span: Span
    form: Form
    size_bytes: int
    is_exact: bool
    written_value: str
    line: int
    is_certain: bool


@dataclass(frozen=True, slots=True)
class SliceAccesses:
    """All accesses of a slice, or the reason why they cannot be told."""

    accesses: tuple[Access, ...]
    reason: Reason | None


def slice_accesses(kernel: KernelFacts, launch: Launch, piece: Slice) -> SliceAccesses:
    """What the work-items of one slice of a launch may touch."""
    nd_range = launch.nd_range
    grid = Grid(nd_range.offset, nd_range.local_size)
    spans: dict[Symbol, Span] = {}
    for dimension, (groups, local, offset) in enumerate(
        zip(nd_range.groups, nd_range.local_size, nd_range.offset)
    ):
        first, stop = 0, groups
        if dimension == piece.dimension:
            first, stop = piece.group_start, piece.group_stop
        spans[Symbol("group", (dimension,))] = Span(first, stop - 1)
        spans[Symbol("local", (dimension,))] = Span(0, local - 1)
        spans[Symbol("global", (dimension,))] = Span(
            offset + first * local, offset + stop * local - 1
        )
    bounds = Bounds(grid, spans)
    sizes = NDRangeFacts(
        nd_range.dimensions, nd_range.global_size, nd_range.local_size, nd_range.offset
    )
    frame = Frame(
        kernel.module,
        kernel.function,
        _arguments(kernel, launch, bounds),
        bounds,
        sizes,
        contents={
            index: argument.integers
            for index, argument in enumerate(launch.arguments)
            if isinstance(argument, BufferArgument) and argument.integers
        },
    )
    walker = _Walker()
    walker.walk(frame)
    return SliceAccesses(tuple(walker.accesses), walker.reason)


def _arguments(kernel: KernelFacts, launch: Launch, bounds: Bounds) -> list[Value]:
    """The abstract value of each argument of a launch."""
    values: list[Value] = []
    for index, (parameter, argument) in enumerate(zip(kernel.parameters, launch.arguments)):
        value: Value = None
        if isinstance(argument, BufferArgument):
            value = (Address("argument", index, Form(0)),)
        elif isinstance(argument, LocalArgument):
            value = (Address("work-group", 0, Form(0)),)
        elif isinstance(argument, ScalarArgument):
            value = _scalar(parameter.llvm_type, argument, index, bounds)
        values.append(value)
    return values


def _scalar(llvm_type: str, argument: ScalarArgument, index: int, bounds: Bounds) -> Value:
    """An integer argument as a form: its value, or any value of its type where it is not known."""
    bits = layout.integer_bits(llvm_type)
    if not bits:
        return None
    if argument.value is None:
        symbol = Symbol("opaque", ("argument", str(index)))
        bounds.learn(symbol, type_span(bits))
        return Form.symbol(symbol)
    value = int(argument.value) & ((1 << bits) - 1)
    return Form(value - (1 << bits) if value >> (bits - 1) else value)


class _Walker:
    """Collects accesses over a kernel and the functions that it calls."""

    def __init__(self) -> None:
        self.accesses: list[Access] = []
        self.reason: Reason | None = None
        self._every_time = False

    def walk(self, frame: Frame) -> None:
        for name in frame.flow.order:
            bounds = frame.bounds(name)
            if bounds.is_empty:
                continue
            self._every_time = (
                not frame.path
                and frame.flow.is_decided(name)
                and not frame.flow.loops_of(name)
                and all(frame.is_plain(edge) for edge in frame.flow.guards(name))
            )
            for instruction in frame.flow.blocks[name].instructions:
                self._visit(frame, name, bounds, instruction)

    def _visit(self, frame: Frame, block: str, bounds: Bounds, instruction: ir.Instruction) -> None:
        if instruction.opcode in ("load", "store"):
            operand = instruction.operands[-1]
            is_write = instruction.opcode == "store"
            value = instruction.operands[0]
            type_text = value.type if is_write else instruction.type
            size = _size(frame, type_text)
            written = _uniform(frame, value) if is_write else ""
            self._add(frame, bounds, instruction, operand, Form(0), size, is_write, written)
        elif instruction.opcode == "call":
            self._call(frame, block, bounds, instruction)

    def _call(self, frame: Frame, block: str, bounds: Bounds, instruction: ir.Instruction) -> None:
        if frame.callee(instruction) is not None:
            inner = frame.called(instruction, block)
            if inner is None:
                self.reason = self.reason or Reason(
                    "unknown-call", "calls are nested too deeply", instruction.line
                )
            else:
                self.walk(inner)
            return
        name = builtin_name(instruction.detail)
        if match := _VECTOR_ACCESS.match(name):
            if name.startswith(("vload", "vstore")):
                self._vector_access(frame, bounds, instruction, match)
            return
        if instruction.detail.startswith(_FILLS):
            target, second, length = instruction.operands[:3]
            form = frame.form(length)
            high = bounds.interval(form).high if form is not None else None
            self._add(frame, bounds, instruction, target, Form(0), high, True, "")
            if not instruction.detail.startswith("llvm.memset."):
                self._add(frame, bounds, instruction, second, Form(0), high, False, "")

    def _vector_access(
        self, frame: Frame, bounds: Bounds, instruction: ir.Instruction, match: re.Match[str]
    ) -> None:
        """`vloadN(offset, p)` and `vstoreN(data, offset, p)`: OpenCL 1.2, section 6.12.7."""
        is_write = match["way"] == "store"
        operands = instruction.operands[1:] if is_write else instruction.operands
        offset, pointer = operands[0], operands[1]
        lanes = int(match["lanes"] or 1)
        element = _vector_element(instruction, is_write, bool(match["half"]))
        form = frame.form(offset)
        if not element:
            size, shift = None, None
        else:
            # The aligned forms keep three elements in the space of four, and PoCL writes all four.
            stride = 4 if match["aligned"] and lanes == 3 else lanes
            size = stride * element
            shift = form.times(stride * element) if form is not None else None
        self._add(frame, bounds, instruction, pointer, shift, size, is_write, "")

    def _add(
        self,
        frame: Frame,
        bounds: Bounds,
        instruction: ir.Instruction,
        operand: ir.Operand,
        shift: Form | None,
        size_bytes: int | None,
        is_write: bool,
        written_value: str,
    ) -> None:
        if layout.address_space(operand.type) in (0, 3):
            return
        for address in frame.pointer(operand):
            if address.base == "argument":
                if size_bytes == 0:
                    continue
                form = address.offset + shift if shift is not None else None
                self.accesses.append(
                    _access(
                        bounds,
                        address.parameter,
                        form,
                        size_bytes,
                        is_write,
                        written_value,
                        instruction.line,
                        self._every_time and len(frame.pointer(operand)) == 1,
                    )
                )
            elif address.base == "unknown":
                what = "store" if is_write else "load"
                self.reason = self.reason or Reason(
                    "unknown-pointer", f"a {what} through it", instruction.line
                )


def _access(
    bounds: Bounds,
    argument: int,
    form: Form | None,
    size_bytes: int | None,
    is_write: bool,
    written_value: str,
    line: int,
    is_certain: bool,
) -> Access:
    if form is None or size_bytes is None:
        anywhere = Span(-LOOP_LIMIT, LOOP_LIMIT)
        return Access(argument, is_write, anywhere, Form(0), 1, False, "", line, False)
    span = bounds.interval(form)
    is_exact = form.is_affine and all(
        bounds.span(symbol).high < LOOP_LIMIT for symbol in form.symbols()
    )
    return Access(
        argument,
        is_write,
        Span(span.low, span.high + size_bytes - 1),
        form,
        size_bytes,
        is_exact,
        written_value,
        line,
        is_certain and is_exact,
    )


def _size(frame: Frame, type_text: str) -> int | None:
    try:
        return layout.store_bytes(type_text, frame.module.structs)
    except layout.UnknownLayoutError:
        return None


def _uniform(frame: Frame, operand: ir.Operand) -> str:
    """A text that names a stored value if it is the same for every work-item of the launch."""
    if operand.kind == "constant":
        return f"{operand.type} {operand.text}"
    form = frame.form(operand)
    if form is not None and not form.terms:
        return f"{operand.type} {form.constant}"
    if not frame.path and operand.text in {p.name for p in frame.function.parameters}:
        return f"argument {operand.text}"
    return ""


def _vector_element(instruction: ir.Instruction, is_write: bool, is_half: bool) -> int:
    """The bytes of one element in memory that `vload`/`vstore` moves, 0 where it is not known."""
    if is_half:
        return 2
    type_text = instruction.operands[0].type if is_write else instruction.type
    lanes = layout.vector(type_text)
    scalar = lanes[1] if lanes else type_text
    try:
        return layout.size_bytes(scalar, {})
    except layout.UnknownLayoutError:
        return 0


def arguments_written(accesses: Sequence[Access]) -> Iterator[int]:
    """The arguments that some access writes, in order."""
    yield from sorted({access.argument for access in accesses if access.is_write})
