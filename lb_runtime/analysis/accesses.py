"""Every access of a kernel to its buffers, as bytes that one slice of a launch may touch.

The kernel's instructions are walked once for a slice; each load, store and vector access through a
global or constant pointer gives an `Access` per argument that the pointer may point into.
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import NamedTuple

from lb_runtime.analysis import layout
from lb_runtime.analysis.atomics import Atomic, combinable, is_atomic
from lb_runtime.analysis.facts import KernelFacts
from lb_runtime.analysis.forms import Bounds, Form, Grid, Span, Symbol
from lb_runtime.analysis.frame import Frame
from lb_runtime.analysis.loops import LOOP_LIMIT
from lb_runtime.analysis.reasons import Reason
from lb_runtime.analysis.values import Address, NDRangeFacts, Value, builtin_name, type_span
from lb_runtime.analysis.written import Written, written
from lb_runtime.launch import (
    Argument,
    BufferArgument,
    ImageArgument,
    Integers,
    Launch,
    LocalArgument,
    ScalarArgument,
    Slice,
)
from lb_runtime.records import dataclass
from predictor import ir

_VECTOR_ACCESS = re.compile(r"^v(?P<way>load|store)(?P<aligned>a?)(?P<half>_half)?(?P<lanes>\d*)")
_POINTEE = re.compile(r"PU3AS\d+K?(?:Dv(?P<lanes>\d+)_)?(?P<scalar>Dh|[chstijlmfd])")
"""A pointer to a scalar or vector (Itanium C++ ABI, section 5.1.5)."""
_SCALAR_BYTES = {
    "c": 1,
    "h": 1,
    "s": 2,
    "t": 2,
    "Dh": 2,
    "i": 4,
    "j": 4,
    "f": 4,
    "l": 8,
    "m": 8,
    "d": 8,
}
_FILLS = ("llvm.memcpy.", "llvm.memmove.", "llvm.memset.")


class Site(NamedTuple):
    """Where in the kernel an access stands: the function's call, the block, and the pointer it goes by.

    `scaled` is an operand that counts elements of so many bytes from the pointer, as `vload` has;
    `stored` is the value of a plain store.
    """

    frame: Frame
    block: str
    pointer: ir.Operand
    scaled: tuple[ir.Operand, int] | None
    stored: ir.Operand | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """One instruction's access to one argument by all work-items of a slice.

    `span` are the bytes `[low, high]`, both included, that it may touch (before clipping to the
    buffer); `form` is the address of the first byte, and `bounds` what is known of its symbols there;
    both count from the argument's first byte. `is_exact` tells that the span follows from ids and
    counted loops alone. `is_certain` tells that all work-items of the slice make the access, or all
    whose global ids the guards let through, whatever the data. A work-item that makes it touches
    `sure_bytes` of the `size_bytes`, from the first on. `atomic` is what an atomic with an unused
    result does; it counts as a write.
    """

    argument: int
    is_write: bool
    span: Span
    form: Form
    size_bytes: int
    is_exact: bool
    line: int
    is_certain: bool
    sure_bytes: int
    bounds: Bounds = field(repr=False, compare=False)
    site: Site = field(repr=False, compare=False)
    atomic: Atomic | None = None

    @property
    def written(self) -> Written:
        """What is known of a stored value."""
        value = self.site.stored
        return Written() if value is None else written(self.site.frame, value, self.form)


class ImageAccess(NamedTuple):
    """A call that reads or writes pixels of an image argument.

    `coordinates` are those that a slice may touch, along width, height, depth or layers, as far as the
    image has them; none where they are not known, as for reads.
    """

    argument: int
    is_write: bool
    coordinates: tuple[Span, ...]
    line: int


@dataclass(frozen=True, slots=True)
class SliceAccesses:
    """All accesses of a slice, or the reason why they cannot be told."""

    accesses: tuple[Access, ...]
    images: tuple[ImageAccess, ...]
    reason: Reason | None


def slice_accesses(kernel: KernelFacts, launch: Launch, piece: Slice) -> SliceAccesses:
    """What the work-items of one slice of a launch may touch."""
    nd_range = launch.nd_range
    grid = Grid(nd_range.offset, nd_range.local_size)
    spans: dict[Symbol, Span] = {}
    for dimension, (groups, local, total, offset) in enumerate(
        zip(nd_range.groups, nd_range.local_size, nd_range.global_size, nd_range.offset)
    ):
        first, stop = 0, groups
        if dimension == piece.dimension:
            first, stop = piece.group_start, piece.group_stop
        spans[Symbol("group", (dimension,))] = Span(first, stop - 1)
        # The last work-groups of a non-uniform range are smaller.
        spans[Symbol("local", (dimension,))] = Span(0, min(local, total) - 1)
        spans[Symbol("global", (dimension,))] = Span(
            offset + first * local, offset + min(stop * local, total) - 1
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
            index: known
            for index, argument in enumerate(launch.arguments)
            if (known := _known(argument))
        },
    )
    walker = _Walker()
    walker.walk(frame)
    return SliceAccesses(tuple(walker.accesses), tuple(walker.images), walker.reason)


def _known(argument: Argument) -> Integers | ImageArgument | None:
    """What is known of a memory object beside its size."""
    if isinstance(argument, BufferArgument):
        return argument.integers
    return argument if isinstance(argument, ImageArgument) else None


def _arguments(kernel: KernelFacts, launch: Launch, bounds: Bounds) -> list[Value]:
    """The abstract value of each argument of a launch."""
    values: list[Value] = []
    for index, (parameter, argument) in enumerate(zip(kernel.parameters, launch.arguments)):
        value: Value = None
        if isinstance(argument, BufferArgument):
            value = (Address("argument", index, Form(0)),)
        elif isinstance(argument, ImageArgument):
            value = (Address("image", index, Form(0)),)
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
        self.images: list[ImageAccess] = []
        self.reason: Reason | None = None
        self._every_time = False

    def walk(self, frame: Frame) -> None:
        for name in frame.flow.order:
            bounds = frame.bounds(name)
            if bounds.is_empty:
                continue
            deciders = None if frame.path else frame.flow.deciders(name)
            self._every_time = deciders is not None and all(
                frame.is_plain(edge) for edge in deciders
            )
            for instruction in frame.flow.blocks[name].instructions:
                self._visit(frame, name, bounds, instruction)

    def _visit(self, frame: Frame, block: str, bounds: Bounds, instruction: ir.Instruction) -> None:
        if instruction.opcode in ("load", "store"):
            operand = instruction.operands[-1]
            if layout.address_space(operand.type) in (0, 3):
                return
            is_write = instruction.opcode == "store"
            value = instruction.operands[0]
            type_text = value.type if is_write else instruction.type
            size, sure = _size(frame, type_text)
            site = Site(frame, block, operand, None)
            if is_write:
                site = site._replace(stored=value)
            self._add(site, bounds, instruction, Form(0), size, is_write, sure_bytes=sure)
        elif is_atomic(instruction) and frame.callee(instruction) is None:
            atomic = combinable(instruction)
            if atomic is not None:
                site = Site(frame, block, instruction.operands[0], None)
                width = atomic.width_bytes
                self._add(site, bounds, instruction, Form(0), width, True, atomic)
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
                self._vector_access(frame, block, bounds, instruction, match)
            return
        if name.startswith(("read_image", "write_image")):
            self._image_access(frame, bounds, instruction, name.startswith("write"))
            return
        if name.startswith("async_work_group_"):
            self._group_copy(frame, block, bounds, instruction, is_strided="strided" in name)
            return
        if instruction.detail.startswith(_FILLS):
            target, second, length = instruction.operands[:3]
            form = frame.form(length)
            high = bounds.interval(form).high if form is not None else None
            site = Site(frame, block, target, None)
            if instruction.detail.startswith("llvm.memset."):
                sure = high if high is not None and form is not None and not form.terms else 0
                self._add(site, bounds, instruction, Form(0), high, True, sure_bytes=sure)
                return
            # Of the padding in a struct a device may copy nothing.
            self._add(site, bounds, instruction, Form(0), high, True, sure_bytes=0)
            site = site._replace(pointer=second)
            self._add(site, bounds, instruction, Form(0), high, False, sure_bytes=0)

    def _group_copy(
        self, frame: Frame, block: str, bounds: Bounds, call: ir.Instruction, *, is_strided: bool
    ) -> None:
        """`async_work_group_copy(to, from, count, ...)`: OpenCL 1.2, section 6.12.10.

        The strided copy steps through global memory by as many elements as its fourth operand says.
        """
        element = _pointee_bytes(call.detail)
        count = frame.form(call.operands[2])
        step = frame.form(call.operands[3]) if is_strided else Form(1)
        size: int | None = None
        is_whole = not is_strided and count is not None and not count.terms
        if element and count is not None and step is not None:
            ends = bounds.interval(count).high, bounds.interval(step).high
            size = ((ends[0] - 1) * max(1, ends[1]) + 1) * element if ends[0] > 0 else 0
        for pointer, is_write in zip(call.operands[:2], (True, False)):
            site = Site(frame, block, pointer, None)
            sure = size if is_whole and size is not None else 0
            self._add(site, bounds, call, Form(0), size, is_write, sure_bytes=sure)

    def _image_access(
        self, frame: Frame, bounds: Bounds, call: ir.Instruction, is_write: bool
    ) -> None:
        """`read_image*` and `write_image*`: OpenCL 1.2, section 6.12.14."""
        coordinates: tuple[Span, ...] = ()
        if is_write:
            value = frame.value(call.operands[1])
            lanes = value if isinstance(value, list) else [value]
            if all(isinstance(lane, Form) for lane in lanes):
                coordinates = tuple(bounds.interval(f) for f in lanes if isinstance(f, Form))
        for address in frame.pointer(call.operands[0]):
            if address.base != "image":
                self.reason = self.reason or Reason(
                    "image", "it is not told which image this is", call.line
                )
                return
            self.images.append(ImageAccess(address.parameter, is_write, coordinates, call.line))

    def _vector_access(
        self,
        frame: Frame,
        block: str,
        bounds: Bounds,
        instruction: ir.Instruction,
        match: re.Match[str],
    ) -> None:
        """`vloadN(offset, p)` and `vstoreN(data, offset, p)`: OpenCL 1.2, section 6.12.7."""
        is_write = match["way"] == "store"
        operands = instruction.operands[1:] if is_write else instruction.operands
        offset, pointer = operands[0], operands[1]
        lanes = int(match["lanes"] or 1)
        element = _vector_element(instruction, is_write, bool(match["half"]))
        form = frame.form(offset)
        site = Site(frame, block, pointer, None)
        if not element:
            size, shift = None, None
        else:
            # The aligned forms keep three elements in the space of four, and PoCL writes all four.
            stride = 4 if match["aligned"] and lanes == 3 else lanes
            size = stride * element
            shift = form.times(stride * element) if form is not None else None
            site = site._replace(scaled=(offset, stride * element))
        self._add(site, bounds, instruction, shift, size, is_write, sure_bytes=lanes * element)

    def _add(
        self,
        site: Site,
        bounds: Bounds,
        instruction: ir.Instruction,
        shift: Form | None,
        size_bytes: int | None,
        is_write: bool,
        atomic: Atomic | None = None,
        *,
        sure_bytes: int | None = None,
    ) -> None:
        """Note an access of at most `size_bytes`, of which it touches the first `sure_bytes`, or all."""
        if layout.address_space(site.pointer.type) in (0, 3):
            return
        addresses = site.frame.pointer(site.pointer)
        for address in addresses:
            if address.base == "argument":
                if size_bytes == 0:
                    continue
                form = address.offset + shift if shift is not None else None
                self.accesses.append(
                    _access(
                        site,
                        bounds,
                        address.parameter,
                        form,
                        size_bytes,
                        is_write,
                        instruction.line,
                        self._every_time and len(addresses) == 1,
                        size_bytes if sure_bytes is None else sure_bytes,
                        atomic,
                    )
                )
            elif address.base == "unknown":
                what = "store" if is_write else "load"
                self.reason = self.reason or Reason(
                    "unknown-pointer", f"a {what} through it", instruction.line
                )


def _access(
    site: Site,
    bounds: Bounds,
    argument: int,
    form: Form | None,
    size_bytes: int | None,
    is_write: bool,
    line: int,
    is_certain: bool,
    sure_bytes: int | None,
    atomic: Atomic | None,
) -> Access:
    if form is None or size_bytes is None:
        symbol = Symbol("opaque", ("anywhere", str(argument)))
        anywhere = Span(-LOOP_LIMIT, LOOP_LIMIT)
        bounds.learn(symbol, anywhere)
        nowhere = Form.symbol(symbol)
        return Access(
            argument,
            is_write,
            anywhere,
            nowhere,
            1,
            False,
            line,
            False,
            0,
            bounds,
            site,
            atomic,
        )
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
        line,
        is_certain and is_exact and not bounds.is_tired,
        sure_bytes or 0,
        bounds,
        site,
        atomic,
    )


def _pointee_bytes(callee: str) -> int:
    """The size of what the first pointer in a mangled name points to, 0 where it is not known."""
    match = _POINTEE.search(callee)
    if not match:
        return 0
    lanes = int(match["lanes"] or 1)
    return _SCALAR_BYTES[match["scalar"]] * (4 if lanes == 3 else lanes)


def _size(frame: Frame, type_text: str) -> tuple[int | None, int]:
    """How many bytes an access of this type touches at most (None: not known), and how many surely."""
    structs = frame.module.structs
    try:
        return layout.size_bytes(type_text, structs), layout.store_bytes(type_text, structs)
    except layout.UnknownLayoutError:
        return None, 0


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
