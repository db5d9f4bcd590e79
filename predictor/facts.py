"""A kernel and a launch as a row of numbers, for models that read tables.

What a graph neural network would have to learn from little data is counted here: operations by their
kind, once as they stand and once by how often loops run them, accesses by address space and by what
their addresses follow from, and ratios of these. Needs nothing but a program graph, at prediction
time too. The form is versioned: a model names the version it was trained on.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from predictor.addresses import FOLLOWS, Access, accesses
from predictor.features import specific_texts
from predictor.loops import Loops, find_loops
from predictor.program_graph import DATA, INSTRUCTION, VARIABLE, ProgramGraph

FACTS_VERSION = 1
_COUNTED = tuple(
    "load store getelementptr fmul fadd fsub fdiv fneg add sub mul shl or and select phi br icmp fcmp "
    "sext zext trunc fpext fptrunc sitofp extractelement insertelement shufflevector alloca".split()
)
"""Opcodes that are counted one by one."""
_CALLED = (
    "llvm.fmuladd get_global_id get_local_id get_group_id get_local_size barrier llvm.lifetime"
).split()
_KINDS: dict[str, tuple[str, ...]] = {
    "float": ("fmul", "fadd", "fsub", "fneg", "call llvm.fmuladd", "call mad", "call fma"),
    "integer": ("add", "sub", "mul", "shl", "lshr", "ashr", "and", "or", "xor", "icmp", "select"),
    "division": ("fdiv", "sdiv", "udiv", "srem", "urem", "frem"),
    "branch": ("br", "switch"),
    "barrier": ("call barrier",),
    "special": tuple(
        f"call {name}"
        for name in (
            "exp exp2 exp10 log log2 log10 sin cos tan pow pown powr sqrt rsqrt native_exp native_log "
            "native_sin native_cos native_sqrt native_rsqrt hypot atan atan2 acos asin cbrt tanh"
        ).split()
    ),
    "atomic": ("atomicrmw", "cmpxchg", "call atom_add", "call atom_min", "call atom_xchg"),
    "vector": ("extractelement", "insertelement", "shufflevector"),
    "call": ("call",),
}
_TYPES = ("double", "float", "i64", "i32", "i1", "ptr", "ptr addrspace(1)", "ptr addrspace(3)")
_SPACES = {0: "private", 1: "global", 2: "constant", 3: "local"}
_WARP = 32


def _names() -> tuple[str, ...]:
    return (
        "nodes",
        "instructions",
        "blocks",
        "loops",
        "deepest",
        "constant loops",
        "in loops",
        "in deep loops",
        "greatest runs",
        *(f"opcode {name}" for name in _COUNTED),
        *(f"callee {name}" for name in _CALLED),
        *(f"{kind} operations" for kind in _KINDS),
        *(f"{kind} runs" for kind in _KINDS),
        *(f"type {name}" for name in _TYPES),
        "type vector",
        *(f"{space} {what}" for space in _SPACES.values() for what in ("loads", "stores", "runs")),
        "global bytes",
        "widest access",
        *(f"global by {name}" for name in FOLLOWS),
        "global by nothing",
        *(f"part by {name}" for name in FOLLOWS),
        "part coalesced",
        "parameters",
        "global parameters",
        "double share",
        "floats per byte",
        "integers per byte",
        "special per byte",
        "local per global",
        "private per global",
        "branches per run",
        "runs",
    )


KERNEL_FACTS = _names()
LAUNCH_FACTS = (
    "transfer",
    "group",
    "idle lanes",
    "transfer per runs",
    "transfer per group",
    "runs of group",
)


def kernel_facts(graph: ProgramGraph) -> NDArray[np.float32]:
    """The facts of a kernel, named by `KERNEL_FACTS`; counts as log1p. Shapes: float32 [facts]."""
    loops = find_loops(graph)
    texts = specific_texts(graph)
    is_instruction = graph.node_types == INSTRUCTION
    plain = Counter(text for text, chosen in zip(texts, is_instruction) if chosen)
    plain.update(graph.node_texts[n] for n, text in enumerate(texts) if text == "call")
    weighted: Counter[str] = Counter()
    for node, text in enumerate(texts):
        if is_instruction[node]:
            weighted[text] += float(loops.runs[node])  # type: ignore[assignment]
    log = np.log1p
    kinds = {kind: sum(plain[t] for t in members) for kind, members in _KINDS.items()}
    runs = {kind: sum(weighted[t] for t in members) for kind, members in _KINDS.items()}
    types = Counter(
        text for text, kind in zip(graph.node_texts, graph.node_types) if kind == VARIABLE
    )
    total = float(loops.runs[is_instruction].sum())
    memory = _memory(accesses(graph), loops)
    values = [
        log(len(texts)),
        log(int(is_instruction.sum())),
        log(plain["br"] + plain["switch"] + plain["ret"]),
        log(loops.count),
        int(loops.depth.max()),
        int(loops.constant.max()),
        float((loops.depth[is_instruction] > 0).mean()),
        float((loops.depth[is_instruction] > 1).mean()),
        log(float(loops.runs.max())),
        *(log(plain[name]) for name in _COUNTED),
        *(log(plain[f"call {name}"]) for name in _CALLED),
        *(log(kinds[kind]) for kind in _KINDS),
        *(log(runs[kind]) for kind in _KINDS),
        *(log(types[name]) for name in _TYPES),
        log(sum(count for name, count in types.items() if name.startswith("<"))),
        *memory.values(),
        *_parameters(graph),
        types["double"] / max(types["double"] + types["float"], 1),
        log(runs["float"]) - memory["global bytes"],
        log(runs["integer"]) - memory["global bytes"],
        log(runs["special"]) - memory["global bytes"],
        memory["local runs"] - memory["global runs"],
        memory["private runs"] - memory["global runs"],
        runs["branch"] / max(total, 1.0),
        log(total),
    ]
    return np.array(values, np.float32)


def launch_facts(
    kernel: NDArray[np.float32], transfer_bytes: int, work_group_size: int
) -> NDArray[np.float32]:
    """The facts of a launch, named by `LAUNCH_FACTS`, of a kernel with these facts.

    Shapes: kernel float32 [kernel facts]; result float32 [launch facts].
    """
    transfer, group = np.log1p(transfer_bytes), np.log1p(work_group_size)
    runs = float(kernel[KERNEL_FACTS.index("runs")])
    lanes = -(-work_group_size // _WARP) * _WARP
    idle = 1.0 - work_group_size / lanes if lanes else 0.0
    values = [transfer, group, idle, transfer - runs, transfer - group, runs + group]
    return np.array(values, np.float32)


def _memory(found: list[Access], loops: Loops) -> dict[str, float]:
    """The facts from the loads and stores, by name, in the order of `KERNEL_FACTS`."""
    values: dict[str, float] = {}
    for space, name in _SPACES.items():
        mine = [access for access in found if access.space == space]
        stores = sum(access.is_store for access in mine)
        values[f"{name} loads"] = np.log1p(len(mine) - stores)
        values[f"{name} stores"] = np.log1p(stores)
        values[f"{name} runs"] = np.log1p(sum(loops.runs[access.node] for access in mine))
    outer = [access for access in found if access.space in (1, 2)]
    runs = {access.node: float(loops.runs[access.node]) for access in outer}
    all_runs = max(sum(runs.values()), 1.0)
    values["global bytes"] = np.log1p(sum(runs[a.node] * a.size_bytes for a in outer))
    values["widest access"] = max((access.size_bytes for access in outer), default=0)
    by = {name: sum(runs[a.node] for a in outer if name in a.follows) for name in FOLLOWS}
    values.update({f"global by {name}": np.log1p(by[name]) for name in FOLLOWS})
    nothing = sum(runs[a.node] for a in outer if not a.follows)
    values["global by nothing"] = np.log1p(nothing)
    values.update({f"part by {name}": by[name] / all_runs for name in FOLLOWS})
    coalesced = sum(
        runs[a.node]
        for a in outer
        if "id0" in a.follows and not a.follows & {"id0 scaled", "loaded"}
    )
    values["part coalesced"] = coalesced / all_runs
    return values


def _parameters(graph: ProgramGraph) -> list[float]:
    """How many formal parameters are used, and how many of them point to global memory.

    A parameter is a variable that no instruction gives.
    """
    made = set(graph.edge_index[1, graph.edge_flows == DATA].tolist())
    free = [
        graph.node_texts[node]
        for node in np.flatnonzero(graph.node_types == VARIABLE).tolist()
        if node not in made
    ]
    return [float(len(free)), float(free.count("ptr addrspace(1)"))]
