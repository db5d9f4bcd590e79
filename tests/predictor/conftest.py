"""A small data set: a few kernels, each launched with several sizes."""

from __future__ import annotations

import pytest

from predictor.datasets.devmap import Devmap, Launch, compile_kernels
from predictor.datasets.examples import Examples, examples_of
from predictor.frontend import compile_source
from predictor.program_graph import ProgramGraph, build

SOURCES = (
    "__kernel void add(__global float* a, __global const float* b) {"
    " size_t i = get_global_id(0); a[i] += b[i]; }",
    "__kernel void add2(__global float* a, __global const float* b) {"
    " size_t i = get_global_id(0); a[i] += b[i] + b[i + 1]; }",
    "__kernel void sum(__global float* a, int n) {"
    " float s = 0; for (int i = 0; i < n; i++) s += exp(a[i]); a[get_global_id(0)] = s; }",
    "__kernel void tile(__global float* a, __local float* t) {"
    " int l = get_local_id(0); t[l] = a[get_global_id(0)]; barrier(1);"
    " a[get_global_id(0)] = l > 0 ? t[l - 1] : sqrt(t[l]); }",
    "__kernel void cond(__global int* a, int n) {"
    " switch (a[n]) { case 1: a[0] = 2; break; case 5: a[1] = 3; break; default: a[2] = n; } }",
    "__kernel void empty(void) {}",
)


@pytest.fixture(scope="session")
def graphs() -> list[ProgramGraph]:
    return [build(compile_source(source)) for source in SOURCES]


@pytest.fixture(scope="session")
def examples() -> Examples:
    launches = tuple(
        Launch(
            f"kernel {kernel}", str(size), kernel, 1 << size, 64, 1e-3, 1e-3 * (1 + kernel) / size
        )
        for kernel in range(len(SOURCES))
        for size in (4, 8, 12, 16)
    )
    data = Devmap("small", "", SOURCES, launches)
    return examples_of(data, compile_kernels(SOURCES))
