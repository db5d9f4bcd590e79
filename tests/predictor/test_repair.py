"""Stripped kernels compile after repair, and whole ones are left alone."""

from __future__ import annotations

import pytest

from predictor.datasets.repair import repair
from predictor.errors import CompileError
from predictor.frontend import compile_source
from predictor.program_graph import build

WHOLE = "__kernel void A(__global float* a) { a[get_global_id(0)] = 1.0f; }"


def test_a_source_that_compiles_is_left_alone() -> None:
    repaired = repair(WHOLE, compile_source)
    assert repaired.source == WHOLE
    assert repaired.changes == ()


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("__kernel void A(__global int* a) { a[0] = N; }", "defined constant N"),
        (
            "__kernel void A(__global int* a) { B(a, 2); }",
            "declared function B of 2 arguments",
        ),
        ("__kernel void A(__global float* a) { a[0] = B(a[1]); }", "B returns float"),
        ("__kernel void A(__global float* a) { a[C(1)] = 0; }", "C returns int"),
        ("__kernel void A(__global float* a) { a[0] = __clc_fabs(a[1]); }", "__clc_fabs is fabs"),
        (
            "__kernel void A(__global float* a, int b) { a[b] = A(b); }",
            "renamed kernel A, which calls another A",
        ),
        ("__kernel void A(__global float* a) { float4 v = 0; a[0] = vx; }", "vx is v.x"),
        (
            "__kernel void A(__global int* a) { int b = 1; a[0] = a(b)*2]; }",
            "line 1: a( is a[(",
        ),
        (
            "__kernel void A(__global int* a) { if (a[0]) { __local int t[4]; t[0] = a[1]; } }",
            "moved to the kernel's top: __local int t[4];",
        ),
    ],
)
def test_each_kind_of_loss_is_repaired(source: str, change: str) -> None:
    if "__local" in source:
        source = source.replace("__local int t[4]; ", "\n__local int t[4];\n")
    repaired = repair(source, compile_source)
    assert change in repaired.changes
    compile_source(repaired.source)


def test_a_stripped_function_is_a_call_in_the_graph() -> None:
    repaired = repair("__kernel void A(__global float* a) { a[0] = B(a[1], 2); }", compile_source)
    graph = build(compile_source(repaired.source))
    assert "; undefined function" in graph.node_texts
    assert "call" in graph.node_texts


def test_a_function_called_with_several_types_is_repaired() -> None:
    source = "__kernel void A(__global float* a) { B(a, 1); B(1.0f, 2); }"
    compile_source(repair(source, compile_source).source)


def test_line_numbers_stay_those_of_the_source() -> None:
    with pytest.raises(CompileError) as caught:
        repair("__kernel void A(__global int* a) {\n a[0] = N;\n $ }", compile_source)
    assert caught.value.line == 3


def test_what_no_rule_knows_is_reported_as_clang_says_it() -> None:
    with pytest.raises(CompileError, match="expected"):
        repair("__kernel void A( {", compile_source)
