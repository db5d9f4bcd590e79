"""The rooms of the house: which may import which, what the doors show, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lb_runtime

ROOT = Path(__file__).parents[1]

ROOMS = [
    "predictor.errors",
    "predictor.ir",
    "predictor.type_grammar",
    "predictor.instruction_reader",
    "predictor.assembly",
    "predictor.frontend",
    "predictor.program_graph",
    "predictor.features",
    "predictor.loops",
    "predictor.addresses",
    "predictor.facts",
    "predictor.prediction",
    "predictor.card",
    "predictor.network",
    "predictor.joint",
    "predictor.predict",
    "predictor.felt",
    "predictor.tuned",
    "predictor.datasets",
    "predictor.joint.fit",
    "predictor.joint.evaluation",
    "predictor.judge",
    "predictor.side_by_side",
    "predictor.nn",
    "predictor.dataflow",
    "predictor.train",
    "predictor.evaluate",
    "predictor.export",
    "predictor.tasks",
    "predictor.systems",
    "predictor.cross_validation",
    "predictor.baselines",
    "predictor.ablation",
    "predictor.commands",
    "predictor.__main__",
    "predictor",
    "lb_runtime.errors",
    "lb_runtime.records",
    "lb_runtime.folders",
    "lb_runtime.settings",
    "lb_runtime.program",
    "lb_runtime.launch",
    "lb_runtime.shares",
    "lb_runtime.images",
    "lb_runtime.analysis",
    "lb_runtime.prelude",
    "lb_runtime.plan",
    "lb_runtime.icd",
    "lb_runtime.devices",
    "lb_runtime.roles",
    "lb_runtime.binaries",
    "lb_runtime.own_contexts",
    "lb_runtime.signals",
    "lb_runtime.contexts",
    "lb_runtime.memory",
    "lb_runtime.checks",
    "lb_runtime.plan_checks",
    "lb_runtime.execution",
    "lb_runtime.merging",
    "lb_runtime.standby",
    "lb_runtime.parts",
    "lb_runtime.execute",
    "lb_runtime.chunked",
    "lb_runtime.verify",
    "lb_runtime.kernel",
    "lb_runtime.judged",
    "lb_runtime.arguments",
    "lb_runtime.tuned",
    "lb_runtime.runtime",
    "lb_runtime.repeated",
    "lb_runtime.series",
    "lb_runtime.bench",
    "lb_runtime.trial",
    "lb_runtime.passes",
    "lb_runtime.timeline",
    "lb_runtime.story_report",
    "lb_runtime.story",
    "lb_runtime.history",
    "lb_runtime.dropin",
    "lb_runtime.intercept",
    "lb_runtime.tuning",
    "lb_runtime.cli",
    "lb_runtime.__main__",
    "lb_runtime",
]
"""From the foundation up: a module imports its own room and rooms that stand before it."""

ANALYSIS = [
    "reasons",
    "regions",
    "verdict",
    "layout",
    "control",
    "forms",
    "values",
    "atomics",
    "arithmetic",
    "functions",
    "vectors",
    "guards",
    "pointers",
    "loops",
    "frame",
    "written",
    "exact_builtins",
    "value_flow",
    "exactness",
    "device_text",
    "facts",
    "uneven",
    "accesses",
    "image_boxes",
    "footprints",
    "replay",
    "meets",
    "judge",
    "origins",
    "usage",
    "strides",
    "rough",
    "extents",
    "made_up",
    "guesses",
    "attempts",
    "assumptions",
    "reach",
]

RUNTIME_NEEDS_NO = {"torch", "torch_geometric", "sklearn", "onnx", "llvmlite"}


def modules() -> dict[str, Path]:
    """Every module of both packages by its dotted name."""
    found = {}
    for package in ("predictor", "lb_runtime"):
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room_of(name: str) -> str:
    """The longest room name that a module's name begins with."""
    rooms = [room for room in ROOMS if name == room or name.startswith(room + ".")]
    return max(rooms, key=len)


def imports_of(path: Path, known: set[str]) -> set[str]:
    """The modules of ours that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return {name for name in found if name.split(".")[0] in ("predictor", "lb_runtime")}


def test_every_module_stands_in_a_room() -> None:
    for name in modules():
        room = room_of(name)
        assert room not in ("predictor", "lb_runtime") or name == room, f"{name} has no room"


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_go_to_rooms_that_stand_before(name: str) -> None:
    known = modules()
    mine = ROOMS.index(room_of(name))
    for imported in imports_of(known[name], set(known)):
        theirs = ROOMS.index(room_of(imported))
        assert theirs <= mine, f"{name} imports {imported}, which stands above it"


def test_the_analysis_room_has_no_cycle() -> None:
    known = modules()
    order = [f"lb_runtime.analysis.{name}" for name in ANALYSIS]
    inside = {name for name in known if name.startswith("lb_runtime.analysis.")}
    assert inside == set(order)
    for name in order:
        for imported in imports_of(known[name], set(known)) & inside:
            assert order.index(imported) < order.index(name), f"{name} imports {imported}"


def test_predictor_never_imports_lb_runtime() -> None:
    known = modules()
    for name, path in known.items():
        if name.startswith("predictor"):
            assert not {i for i in imports_of(path, set(known)) if i.startswith("lb_runtime")}


def test_importing_lb_runtime_loads_no_torch() -> None:
    code = "import lb_runtime, sys; print(' '.join(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not RUNTIME_NEEDS_NO & set(done.stdout.split())


def test_judging_brings_few_libraries_of_its_own() -> None:
    """They would wait for a driver that is loading, and the first launch for them."""
    code = (
        "import sys; from lb_runtime import intercept; import json, fcntl; before = set(sys.modules); "
        "from lb_runtime import contexts, kernel; from lb_runtime.analysis import judge; "
        "from lb_runtime.dropin import judging, recall, split; from lb_runtime.history import store; "
        "found = {name: sys.modules[name] for name in set(sys.modules) - before}; "
        "print(' '.join(n for n, m in found.items() if str(getattr(m, '__file__', '')).endswith('.so')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.split()


def test_predicting_loads_no_torch() -> None:
    code = (
        "import sys; from predictor import frontend, program_graph; "
        "from predictor.predict import Predictor; "
        "graph = program_graph.build(frontend.compile_source("
        "'__kernel void f(__global int *a) { a[get_global_id(0)] = 1; }')); "
        "Predictor.load().cpu_fraction(graph, transfer_bytes=4, work_group_size=1); "
        "print(' '.join(m for m in sys.modules if '.' not in m))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not RUNTIME_NEEDS_NO & set(done.stdout.split())


def test_the_door_of_lb_runtime_is_sorted_and_opens() -> None:
    assert lb_runtime.__all__ == sorted(lb_runtime.__all__)
    for name in lb_runtime.__all__:
        assert getattr(lb_runtime, name) is not None


@pytest.mark.parametrize("command", ["explain", "graph", "predict"])
def test_looking_at_a_kernel_loads_no_driver(command: str) -> None:
    code = (
        f"import lb_runtime.cli.main, lb_runtime.cli.{command}, sys; "
        "sys.exit('pyopencl' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
