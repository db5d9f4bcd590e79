"""Whether a kernel's work-items differ in their work: loops whose end follows from data or from an id.

What ends such a loop is known only to the work-item: a value that was loaded, an id, or what is computed of
them. A slice of the range is then no like slice of the work. A loop that strides through the whole range
begins at an id too, but every work-item does as many steps; it does not count, and neither do local ids,
since all work-groups have the same.
"""

from __future__ import annotations

from lb_runtime.analysis.control import ControlFlow
from lb_runtime.analysis.facts import KernelFacts
from lb_runtime.analysis.values import builtin_name
from predictor import ir

_IDS = frozenset(("get_global_id", "get_group_id", "get_global_linear_id"))
_STRIDES = frozenset(("get_global_size", "get_num_groups"))
_ANYWHERE = frozenset(("load", "atomicrmw", "cmpxchg"))

_Node = tuple[str, str]
_RETURN = ""


def has_data_dependent_loops(kernel: KernelFacts) -> bool:
    """Whether how often a loop runs may differ from one work-group to another."""
    bodies = {ir.bare_name(each.name): each for each in kernel.module.functions if each.blocks}
    reached = _reached(kernel.function, bodies)
    strides = _derived(reached, bodies, _STRIDES, frozenset(), set())
    varying = _derived(reached, bodies, _IDS, _ANYWHERE, strides)
    return any(_ends_by(function, varying) for function in reached)


def _reached(kernel: ir.Function, bodies: dict[str, ir.Function]) -> list[ir.Function]:
    reached = [kernel]
    for function in reached:
        for _, instruction in _instructions(function):
            callee = bodies.get(instruction.detail) if instruction.opcode == "call" else None
            if callee is not None and callee not in reached:
                reached.append(callee)
    return reached


def _instructions(function: ir.Function) -> list[tuple[str, ir.Instruction]]:
    """All instructions of a function, each with its block's name."""
    return [(block.name, each) for block in function.blocks for each in block.instructions]


def _derived(
    functions: list[ir.Function],
    bodies: dict[str, ir.Function],
    builtins: frozenset[str],
    opcodes: frozenset[str],
    strides: set[_Node],
) -> set[_Node]:
    """The values that follow from these built-ins or from instructions of these opcodes.

    A counter that moves by one of the `strides` is taken to follow from nothing.
    """
    found: set[_Node] = set()
    before = -1
    while len(found) != before:
        before = len(found)
        for function in functions:
            additions = {
                each.name: each for _, each in _instructions(function) if each.opcode == "add"
            }
            for _, each in _instructions(function):
                follows = any((function.name, operand.text) in found for operand in each.operands)
                if each.opcode in opcodes:
                    follows = True
                elif each.opcode == "phi" and _is_strided(function, each, additions, strides):
                    follows = False
                elif each.opcode == "ret" and follows:
                    found.add((function.name, _RETURN))
                elif each.opcode == "call":
                    callee = bodies.get(each.detail)
                    if callee is not None:
                        follows = (callee.name, _RETURN) in found
                        found |= {
                            (callee.name, parameter.name)
                            for operand, parameter in zip(each.operands, callee.parameters)
                            if (function.name, operand.text) in found
                        }
                    follows |= builtin_name(each.detail) in builtins
                if follows and each.name:
                    found.add((function.name, each.name))
    return found


def _is_strided(
    function: ir.Function,
    phi: ir.Instruction,
    additions: dict[str, ir.Instruction],
    strides: set[_Node],
) -> bool:
    """Whether a phi is a counter that moves by a stride."""
    steps = [additions[operand.text] for operand in phi.operands if operand.text in additions]
    return any(
        phi.name in {operand.text for operand in step.operands}
        and any((function.name, operand.text) in strides for operand in step.operands)
        for step in steps
    )


def _ends_by(function: ir.Function, varying: set[_Node]) -> bool:
    """Whether a branch out of a loop of the function is decided by one of these values."""
    flow = ControlFlow(function)
    for loop in flow.loops.values():
        for name in loop.blocks:
            last = flow.blocks[name].instructions[-1]
            leaves = any(target not in loop.blocks for target in last.blocks)
            if leaves and any((function.name, each.text) in varying for each in last.operands):
                return True
    return False
