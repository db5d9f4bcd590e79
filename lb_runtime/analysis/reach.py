"""Whether a launch is sure to touch bytes that a buffer does not have.

Such a launch is undefined (OpenCL 1.2, section 6.9), and drivers let it corrupt the process. Only
accesses that every work-item makes, at an address that follows from its global id alone, are sure.
"""

from __future__ import annotations

from lb_runtime.analysis.accesses import Access, slice_accesses
from lb_runtime.analysis.facts import KernelFacts
from lb_runtime.launch import BufferArgument, Launch, Slice
from lb_runtime.records import dataclass


@dataclass(frozen=True, slots=True)
class Overreach:
    """An access outside of a buffer: which argument, the byte, the bytes there are, the source line."""

    name: str
    byte: int
    size_bytes: int
    line: int

    def __str__(self) -> str:
        return (
            f"line {self.line} of the kernel touches byte {self.byte} of argument {self.name}, which has "
            f"{self.size_bytes} bytes: give a larger array, or a smaller global size"
        )


def overreach(kernel: KernelFacts, launch: Launch) -> Overreach | None:
    """The first access that is sure to leave its buffer, or None."""
    whole = Slice(0, 0, launch.nd_range.groups[0])
    for access in slice_accesses(kernel, launch, whole).accesses:
        argument = launch.arguments[access.argument]
        if not _is_sure(access) or not isinstance(argument, BufferArgument):
            continue
        outside = access.span.low < 0 or access.span.high >= argument.size_bytes
        if outside:
            byte = access.span.low if access.span.low < 0 else access.span.high
            name = kernel.parameters[access.argument].name
            return Overreach(name, byte, argument.size_bytes, access.line)
    return None


def _is_sure(access: Access) -> bool:
    # Each global id takes all values of its span on its own, so both ends of a sum are reached.
    return access.is_certain and all(symbol.kind == "global" for symbol in access.form.symbols())
