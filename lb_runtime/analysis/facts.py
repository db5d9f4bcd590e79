"""What is known of a kernel before any launch: its signature, its built-ins, and what forbids a split.

Everything here follows from the source and the build options alone, and is worth keeping per kernel.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lb_runtime.analysis import atomics, layout
from lb_runtime.analysis.device_text import device_dependent_name
from lb_runtime.analysis.exactness import exactness
from lb_runtime.analysis.reasons import Reason
from lb_runtime.analysis.values import builtin_name
from lb_runtime.errors import KernelFileError, KernelNotFoundError
from lb_runtime.records import dataclass
from predictor import ir

GLOBAL_SPACES = (1, 4)
"""Address spaces through which global memory is reached: global and generic."""

_FENCES = frozenset(
    "mem_fence read_mem_fence write_mem_fence atomic_work_item_fence work_group_barrier".split()
)
_LOCAL_FENCE = "1"
"""`CLK_LOCAL_MEM_FENCE`: a fence with this flag alone says nothing of global memory."""
_IMAGE_TYPE = re.compile(r"\bimage[123]d|\bsampler_t")
_HARMLESS_POINTER_CALLS = frozenset(
    "prefetch llvm.memcpy llvm.memset llvm.memmove llvm.lifetime llvm.assume llvm.dbg "
    "llvm.experimental".split()
)
_GROUP_COPIES = frozenset(
    "async_work_group_copy async_work_group_strided_copy wait_group_events".split()
)
_VECTOR_ACCESS = re.compile(r"^v(load|store)(a?)(_half)?(\d*)(?:_r\w+)?$")


@dataclass(frozen=True, slots=True)
class ParameterFacts:
    """A kernel's formal parameter.

    `kind` is "buffer", "local", "scalar", "image" or "other"; `type_text` is the OpenCL C type
    (`float*`), `llvm_type` the type of the value itself; `size_bytes` is that of a scalar, 0 for others.
    `is_constant` tells a `__constant` or `const` pointee; `is_read_only` that the kernel cannot write
    it, as the language (`__constant`) or the compiler says: `const` may be cast away.
    """

    name: str
    kind: str
    type_text: str
    llvm_type: str
    size_bytes: int
    is_constant: bool
    is_read_only: bool


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """A kernel as the analysis sees it: the module it stands in and what forbids splitting it.

    `builtins` are the work-item built-ins that it reaches; `required_local_size` is that of
    `reqd_work_group_size`, or None. `device_dependence` names the first instruction whose value may
    depend on the device, None where values are the same on every device; `denormals` names the first in
    which devices that keep denormal floats differ from those that take them for zero.
    """

    name: str
    module: ir.Module
    function: ir.Function
    parameters: tuple[ParameterFacts, ...]
    builtins: frozenset[str]
    required_local_size: tuple[int, ...] | None
    reasons: tuple[Reason, ...]
    device_dependence: Reason | None
    denormals: Reason | None


def kernel_facts(
    module: ir.Module, source: str, options: Sequence[str] = (), kernel_name: str | None = None
) -> KernelFacts:
    """The facts of one kernel of a compiled source; the only kernel where none is named.

    Raises:
        KernelNotFoundError: no kernel of that name, or none is named and there are several.
        KernelFileError: a function that the kernel reaches calls itself.
    """
    function = _find(module, kernel_name)
    reached = _reached(module, function)
    reasons = list(_forbidden(module, reached))
    if name := device_dependent_name(source, options):
        reasons.append(Reason("device-text", f"text depends on {name}"))
    parameters = _parameters(module, function)
    reasons.extend(
        Reason("pipe", f"argument {p.name} is a pipe") for p in parameters if "pipe" in p.type_text
    )
    builtins = frozenset(
        name
        for inner in reached
        for block in inner.blocks
        for instruction in block.instructions
        if instruction.opcode == "call"
        and (name := builtin_name(instruction.detail)).startswith("get_")
    )
    sizes = tuple(
        int(size)
        for size in module.metadata_list(function.metadata.get("reqd_work_group_size", ""))
    )
    values = exactness(module, reached, source, options)
    return KernelFacts(
        function.name.lstrip("@").strip('"'),
        module,
        function,
        parameters,
        builtins,
        sizes or None,
        tuple(reasons),
        values.dependence,
        values.denormals,
    )


def _find(module: ir.Module, kernel_name: str | None) -> ir.Function:
    kernels = {function.name.lstrip("@").strip('"'): function for function in module.kernels()}
    if not kernels:
        raise KernelNotFoundError("the source holds no kernel: expected a `__kernel void` function")
    names = ", ".join(kernels)
    if kernel_name is None:
        if len(kernels) > 1:
            raise KernelNotFoundError(
                f"the source holds {len(kernels)} kernels ({names}): name one of them"
            )
        return next(iter(kernels.values()))
    if kernel_name not in kernels:
        raise KernelNotFoundError(f"no kernel {kernel_name!r} in the source, which holds: {names}")
    return kernels[kernel_name]


def _reached(module: ir.Module, kernel: ir.Function) -> list[ir.Function]:
    """The kernel and every function with a body that it may call."""
    by_name = {function.name.lstrip("@").strip('"'): function for function in module.functions}
    if looping := _recursive(kernel, by_name, ()):
        raise KernelFileError(
            f"function {looping!r} calls itself, which OpenCL C forbids (OpenCL 1.2, section 6.9.i): "
            "write it as a loop"
        )
    reached = [kernel]
    for function in reached:
        for block in function.blocks:
            for instruction in block.instructions:
                callee = by_name.get(instruction.detail) if instruction.opcode == "call" else None
                if callee is not None and callee.blocks and callee not in reached:
                    reached.append(callee)
    return reached


def _recursive(
    function: ir.Function, by_name: dict[str, ir.Function], callers: tuple[str, ...]
) -> str:
    """A function that reaches itself through calls, or an empty text."""
    if function.name in callers:
        return function.name.lstrip("@")
    callees = {
        instruction.detail
        for block in function.blocks
        for instruction in block.instructions
        if instruction.opcode == "call" and instruction.detail in by_name
    }
    for callee in sorted(callees):
        if found := _recursive(by_name[callee], by_name, (*callers, function.name)):
            return found
    return ""


def _image(name: str, line: int) -> Reason:
    return Reason("image", f"{name} is called", line)


def _takes_apart(name: str, call: ir.Instruction) -> bool:
    """Whether a call does with an image what parts can do apart: read it, ask its size, write pixels."""
    if name.startswith(("read_image", "get_image_")):
        return True
    # Image, coordinates, colour; a fourth operand is a level of detail.
    return name.startswith("write_image") and len(call.operands) == 3


def _forbids_atomic(instruction: ir.Instruction, used: frozenset[str]) -> Reason | None:
    """Why an atomic on global memory ties work-groups together, None where parts can do it apart."""
    is_call = instruction.opcode == "call"
    name = builtin_name(instruction.detail) if is_call else instruction.opcode
    if atomics.combinable(instruction) is None:
        return Reason("global-atomic", f"{name} on global memory", instruction.line)
    if instruction.name in used:
        detail = f"the result of {name} on global memory is used"
        return Reason("global-atomic", detail, instruction.line)
    return None


def _parameters(module: ir.Module, function: ir.Function) -> tuple[ParameterFacts, ...]:
    def entries(key: str) -> tuple[str, ...]:
        return module.metadata_list(function.metadata.get(key, ""))

    names, types = entries("kernel_arg_name"), entries("kernel_arg_type")
    base_types = entries("kernel_arg_base_type")
    qualifiers = entries("kernel_arg_type_qual")
    result: list[ParameterFacts] = []
    for index, parameter in enumerate(function.parameters):
        type_text = types[index] if index < len(types) else parameter.type
        base_type = base_types[index] if index < len(base_types) else type_text
        space = layout.address_space(parameter.type)
        size = 0
        llvm_type = parameter.type
        by_value = re.search(r"byval \(\s*(.*?)\s*\)", parameter.attributes)
        if _IMAGE_TYPE.search(base_type) or "target" in parameter.type:
            kind = "image"
        elif space == 3:
            kind = "local"
        elif space == 0 and by_value:
            kind, llvm_type = "scalar", by_value[1]
        elif space >= 0:
            kind = "buffer" if space in (1, 2) else "other"
        else:
            kind = "scalar"
        if kind == "scalar":
            try:
                size = layout.size_bytes(llvm_type, module.structs)
            except layout.UnknownLayoutError:
                kind = "other"
        result.append(
            ParameterFacts(
                (names[index] if index < len(names) else "") or f"argument{index}",
                kind,
                type_text,
                llvm_type,
                size,
                space == 2 or "const" in (qualifiers[index] if index < len(qualifiers) else ""),
                space == 2 or bool(re.search(r"\bread(?:only|none)\b", parameter.attributes)),
            )
        )
    return tuple(result)


def _forbidden(module: ir.Module, reached: Sequence[ir.Function]) -> list[Reason]:
    """What no launch of the kernel can be split with, the first of each kind."""
    found: dict[str, Reason] = {}
    bodies = {function.name for function in module.functions if function.blocks}
    for name, variable in module.globals.items():
        is_used = any(
            name in instruction.text
            for function in reached
            for block in function.blocks
            for instruction in block.instructions
        )
        if variable.address_space in GLOBAL_SPACES and is_used:
            detail = f"{name[1:]} is a __global variable of the program"
            found.setdefault("program-variable", Reason("program-variable", detail))
    instructions: list[ir.Instruction] = []
    for function in reached:
        used = atomics.used_names(function)
        for block in function.blocks:
            instructions.extend(block.instructions)
            for instruction in block.instructions:
                reason = _forbids(instruction, bodies, used)
                if reason:
                    found.setdefault(reason.code, reason)
    if reason := _hidden_pointer(instructions):
        found.setdefault(reason.code, reason)
    return list(found.values())


def _hidden_pointer(instructions: Sequence[ir.Instruction]) -> Reason | None:
    """A private or local pointer that may be a global one in disguise.

    Accesses through such pointers are not looked at. The language gives no defined way there, but on
    devices with one flat memory a cast by way of an integer, a union or a generic pointer works.
    """
    hides = any(
        instruction.opcode == "store"
        and layout.address_space(instruction.operands[0].type) in (1, 2, 4)
        for instruction in instructions
    )
    for instruction in instructions:
        if layout.address_space(instruction.type) not in (0, 3):
            continue
        source = instruction.operands[0].type if instruction.operands else ""
        if (
            instruction.opcode == "inttoptr"
            or (instruction.opcode == "load" and hides)
            or (instruction.opcode == "addrspacecast" and layout.address_space(source) in (1, 2, 4))
        ):
            detail = f"{instruction.opcode} makes a private or local pointer"
            return Reason("unknown-pointer", detail, instruction.line)
    return None


def _forbids(instruction: ir.Instruction, bodies: set[str], used: frozenset[str]) -> Reason | None:
    line = instruction.line
    spaces = [layout.address_space(operand.type) for operand in instruction.operands]
    reaches_global = any(space in GLOBAL_SPACES for space in spaces)
    if instruction.opcode == "call" and "@" + instruction.detail in bodies:
        # What a function of the program does is in its own instructions, whatever its name.
        return None
    if atomics.is_atomic(instruction):
        return _forbids_atomic(instruction, used) if reaches_global else None
    if instruction.opcode in ("load", "store"):
        if "volatile" in instruction.flags and spaces[-1] in GLOBAL_SPACES:
            return Reason("volatile", f"volatile {instruction.opcode}", line)
        return None
    if instruction.opcode == "fence":
        return Reason("global-fence", "fence", line)
    if instruction.opcode != "call":
        return None
    if instruction.detail == "asm":
        return Reason("inline-assembly", "assembly", line)
    if instruction.detail.startswith("%"):
        return Reason("indirect-call", "call through a pointer", line)
    name = builtin_name(instruction.detail)
    if any(operand.type.startswith('target("spirv.Image"') for operand in instruction.operands):
        return None if _takes_apart(name, instruction) else _image(name, line)
    if name.startswith("llvm.mem") and reaches_global and instruction.operands[-1].text == "true":
        return Reason("volatile", "volatile copy", line)
    if name == "printf":
        return Reason("printf", "printf is called", line)
    if "sub_group" in name:
        return Reason("sub-groups", f"{name} is called", line)
    if "enqueue" in name and not name.startswith("get_"):
        return Reason("device-enqueue", f"{name} is called", line)
    if name in _FENCES and instruction.operands:
        flags = instruction.operands[0].text
        if name != "work_group_barrier" and flags != _LOCAL_FENCE:
            return Reason("global-fence", f"{name} is called", line)
        scopes = [operand.text for operand in instruction.operands[1:]]
        if name == "work_group_barrier" and any(scope != "1" for scope in scopes):
            return Reason("global-fence", f"{name} is called with a wider scope", line)
    if "pipe" in name:
        return Reason("pipe", f"{name} is called", line)
    if not reaches_global:
        return None
    if _VECTOR_ACCESS.match(name) or name in _GROUP_COPIES:
        return None
    if any(instruction.detail.startswith(prefix) for prefix in _HARMLESS_POINTER_CALLS):
        return None
    if name in _HARMLESS_POINTER_CALLS:
        return None
    return Reason("unknown-call", f"{name} is given a global pointer", line)
