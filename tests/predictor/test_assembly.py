"""The assembly parser, held against LLVM itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from predictor import assembly, frontend
from predictor.errors import FrontEndError

KERNELS = sorted((Path(__file__).parents[2] / "kernels").glob("*.cl"))

TRICKY = """
typedef struct { int a; float4 b[2]; char c; } item_t;
__constant int table[4] = {1, 2, 3, 4};
__attribute__((noinline)) float helper(__global const float *p, int n) { return p[n]; }
__kernel void tricky(__global item_t *items, __global const float *x, int n, float4 v) {
    __local int shared[64];
    size_t i = get_global_id(0);
    shared[get_local_id(0)] = table[i & 3];
    barrier(CLK_LOCAL_MEM_FENCE);
    switch (n) {
    case 1: items[i].a = shared[0]; break;
    case 5: items[i].b[1] = v; break;
    default: items[i].c = (char)(helper(x, n) + v.x); break;
    }
    atomic_add(&shared[0], 1);
    items[i].b[0].xy = vload2(i, x) > v.xy ? v.xy : v.zw;
}
"""


def llvm_walk(text: str) -> list[tuple[str, list[tuple[str, str, int]]]]:
    """Functions with (opcode, type, operand count) of each instruction, as LLVM reads them."""
    llvm = pytest.importorskip("llvmlite.binding", reason="llvmlite is not installed")
    module = llvm.parse_assembly(text)
    return [
        (
            function.name,
            [
                (instruction.opcode, str(instruction.type), len(list(instruction.operands)))
                for block in function.blocks
                for instruction in block.instructions
            ],
        )
        for function in module.functions
    ]


@pytest.mark.parametrize(
    "source",
    [*(path.read_text() for path in KERNELS), TRICKY],
    ids=[*(path.stem for path in KERNELS), "tricky"],
)
def test_functions_and_instructions_are_those_that_llvm_reads(source: str) -> None:
    text = frontend.compile_text(source)
    parsed = assembly.parse(text)
    expected = llvm_walk(text)
    assert [function.name.lstrip("@") for function in parsed.functions] == [n for n, _ in expected]
    for function, (_, instructions) in zip(parsed.functions, expected):
        mine = [instruction for block in function.blocks for instruction in block.instructions]
        assert [i.opcode for i in mine] == [opcode for opcode, _, _ in instructions]
        for instruction, (opcode, type_text, operands) in zip(mine, instructions):
            if opcode not in ("call", "br", "switch", "shufflevector"):
                assert len(instruction.operands) == operands, instruction.text
            assert instruction.type == type_text, instruction.text


def test_operands_are_told_apart_by_kind() -> None:
    module = frontend.compile_source(TRICKY)
    kinds = {
        operand.kind
        for function in module.functions
        for block in function.blocks
        for instruction in block.instructions
        for operand in instruction.operands
    }
    assert {"local", "constant", "global"} <= kinds


def test_source_lines_are_those_of_the_text() -> None:
    module = frontend.compile_source("__kernel void f(__global int *a)\n{\n\n  a[3] = 1;\n}")
    (store,) = [
        instruction
        for block in module.functions[0].blocks
        for instruction in block.instructions
        if instruction.opcode == "store"
    ]
    assert store.line == 4


def test_typed_pointers_of_older_llvm_are_read() -> None:
    text = """
define spir_kernel void @f(float addrspace(1)* nocapture %0, i32 %1) {
  %3 = sext i32 %1 to i64
  %4 = getelementptr inbounds float, float addrspace(1)* %0, i64 %3
  store float 1.0, float addrspace(1)* %4, align 4
  ret void
}
"""
    (function,) = assembly.parse(text).functions
    pointer, store = function.blocks[0].instructions[1:3]
    assert pointer.type == "float addrspace(1)*"
    assert store.operands[1].type == "float addrspace(1)*"


def test_types_of_a_target_are_read() -> None:
    module = frontend.compile_source(
        "__kernel void f(__global int *a, __local int *s)"
        "{ event_t e = async_work_group_copy(s, a, 64, 0); wait_group_events(1, &e); a[0] = s[1]; }"
    )
    types = {f.type for f in module.functions if "async_work_group_copy" in f.name}
    assert types == {'target("spirv.Event")'}


def test_an_unknown_instruction_is_an_error_that_shows_it() -> None:
    with pytest.raises(FrontEndError, match="frobnicate"):
        assembly.parse("define void @f() {\n  %1 = frobnicate i32 0\n  ret void\n}\n")


def test_one_kernel_of_several_can_be_taken_alone() -> None:
    module = frontend.compile_source(
        "float twice(float x) { return 2 * x; }"
        "__kernel void a(__global float *p) { p[0] = sin(p[0]); }"
        "__kernel void b(__global float *p) { p[0] = cos(p[0]); }"
    )
    names = [function.name for function in module.only("a").functions]
    assert "@a" in names
    assert "@b" not in names
    assert "@twice" in names
    assert not any("cos" in name for name in names)
