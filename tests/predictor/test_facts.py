"""What is counted in a kernel is what its text says."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from predictor.addresses import Access, accesses
from predictor.facts import KERNEL_FACTS, LAUNCH_FACTS, kernel_facts, launch_facts
from predictor.frontend import compile_source
from predictor.loops import UNKNOWN_TRIPS, Loops, find_loops
from predictor.program_graph import ProgramGraph, build


def graph_of(body: str, parameters: str = "__global float* a, int n") -> ProgramGraph:
    return build(compile_source(f"__kernel void k({parameters}) {{ {body} }}"))


def fact(body: str, name: str, parameters: str = "__global float* a, int n") -> float:
    return float(kernel_facts(graph_of(body, parameters))[KERNEL_FACTS.index(name)])


def loops_of(body: str) -> Loops:
    return find_loops(graph_of(body))


def global_accesses(body: str) -> list[Access]:
    graph = graph_of(body, "__global float* a, __global const int* b, int n")
    return [access for access in accesses(graph) if access.space == 1]


def test_straight_code_has_no_loop() -> None:
    loops = loops_of("a[get_global_id(0)] = n;")
    assert (loops.count, loops.depth.max(), loops.runs.max()) == (0, 0, 1.0)


def test_a_loop_inside_a_loop_is_deeper() -> None:
    loops = loops_of("for (int i = 0; i < n; i++) for (int j = 0; j < n; j++) a[i * j] += a[j];")
    assert loops.count == 2
    assert loops.depth.max() == 2
    assert loops.runs.max() == UNKNOWN_TRIPS**2


def test_loops_one_after_the_other_are_not_nested() -> None:
    loops = loops_of(
        "for (int i = 0; i < n; i++) a[i] += a[2 * i];"
        "for (int i = 0; i < n; i++) a[3 * i] += sin(a[i]);"
    )
    assert (loops.count, loops.depth.max()) == (2, 1)


def test_a_constant_bound_counts() -> None:
    loops = loops_of("float s = 0; for (int i = 0; i < 700; i++) s += sin(a[i] * s); a[0] = s;")
    assert loops.constant.max() == 1
    assert loops.runs.max() == pytest.approx(700.0, abs=1)


def test_operations_in_loops_count_by_their_runs() -> None:
    inside = "float s = 0; for (int i = 0; i < 700; i++) s += sin(a[i] * s); a[0] = s;"
    assert fact(inside, "special runs") == pytest.approx(np.log1p(700), abs=0.01)
    assert fact(inside, "special operations") == pytest.approx(np.log1p(1), abs=0.01)


@pytest.mark.parametrize(
    ("body", "follows"),
    [
        ("a[get_global_id(0)] = 1;", {"id0"}),
        ("a[get_global_id(0) + n] = 1;", {"id0"}),
        ("a[get_global_id(0) * n] = 1;", {"id0 scaled"}),
        ("a[get_global_id(1) * n + get_global_id(0)] = 1;", {"id0", "other id"}),
        ("a[get_group_id(0)] = 1;", {"group"}),
        ("a[n] = 1;", set()),
        ("for (int i = 0; i < n; i++) a[i] = i;", {"loop"}),
    ],
)
def test_an_address_follows_from(body: str, follows: set[str]) -> None:
    (access,) = global_accesses(body)
    assert access.is_store
    assert access.size_bytes == 4
    assert set(access.follows) == follows


def test_an_address_from_loaded_data_says_so() -> None:
    loaded, stored = global_accesses("a[b[get_global_id(0)]] = 1;")
    assert (loaded.is_store, set(loaded.follows)) == (False, {"id0"})
    assert "loaded" in stored.follows


def test_an_access_is_as_wide_as_its_vector() -> None:
    found = global_accesses("*(__global float4*)a = ((__global float4*)a)[n];")
    assert [access.size_bytes for access in found] == [16, 16]


def test_accesses_are_told_apart_by_address_space() -> None:
    body = "t[get_local_id(0)] = a[0]; barrier(1); a[get_global_id(0)] = t[n];"
    assert fact(body, "local stores", "__global float* a, __local float* t, int n") > 0
    assert fact(body, "barrier operations", "__global float* a, __local float* t, int n") > 0
    assert fact("a[0] = n;", "local stores") == 0


def test_parameters_that_are_used_are_counted() -> None:
    assert fact("a[n] = 1;", "parameters") == 2
    assert fact("a[n] = 1;", "global parameters") == 1


def test_every_graph_gets_finite_facts(graphs: list[ProgramGraph]) -> None:
    for graph in graphs:
        facts = kernel_facts(graph)
        assert facts.shape == (len(KERNEL_FACTS),)
        assert np.isfinite(facts).all()
        launch = launch_facts(facts, 1 << 40, 0)
        assert launch.shape == (len(LAUNCH_FACTS),)
        assert np.isfinite(launch).all()


def test_names_are_not_used_twice() -> None:
    assert len(set(KERNEL_FACTS + LAUNCH_FACTS)) == len(KERNEL_FACTS) + len(LAUNCH_FACTS)


def test_idle_lanes_are_those_that_a_warp_has_left() -> None:
    kernel = kernel_facts(graph_of("a[0] = n;"))
    place = LAUNCH_FACTS.index("idle lanes")
    assert launch_facts(kernel, 1, 64)[place] == 0
    assert launch_facts(kernel, 1, 48)[place] == pytest.approx(0.25)


def test_facts_need_neither_torch_nor_sklearn_nor_onnx_runtime() -> None:
    program = (
        "import sys, predictor.predict;"
        "print([m for m in ('torch', 'sklearn', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
