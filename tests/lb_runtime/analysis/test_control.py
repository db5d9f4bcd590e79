"""Dominators, loops and guards of functions that clang compiled."""

from __future__ import annotations

from lb_runtime.analysis.control import ControlFlow
from predictor.frontend import compile_source


def flow_of(body: str) -> ControlFlow:
    source = (
        f"kernel void k(global int *x, global int *y, int n) {{ int i = get_global_id(0); {body} }}"
    )
    return ControlFlow(compile_source(source).kernels()[0])


def block_with(flow: ControlFlow, opcode: str) -> str:
    return next(
        name
        for name, block in flow.blocks.items()
        if any(instruction.opcode == opcode for instruction in block.instructions)
    )


def test_a_guarded_store_has_the_edge_that_leads_to_it() -> None:
    flow = flow_of("if (x[i] > 3) y[i] = i;")
    (edge,) = flow.guards(block_with(flow, "store"))
    assert edge.source == flow.entry


def test_a_loop_keeps_the_guard_of_its_way_in() -> None:
    flow = flow_of("if (i < n) { int j = 0; do { y[j] = x[i]; j += x[j]; } while (j < n); }")
    sources = {edge.source for edge in flow.guards(block_with(flow, "store"))}
    assert flow.entry in sources


def test_what_follows_both_branches_has_no_guard() -> None:
    flow = flow_of("if (x[i] > 3) y[i] = i; else x[i + 1] = n; y[i + n] = 3;")
    last = next(name for name in flow.order if flow.blocks[name].instructions[-1].opcode == "ret")
    assert flow.guards(last) == ()


def test_dominance_is_what_every_way_passes() -> None:
    flow = flow_of("if (x[i] > 3) y[i] = i; else x[i + 1] = n; y[i + n] = 3;")
    for name in flow.order:
        assert flow.dominates(flow.entry, name)
        assert flow.dominates(name, name)
        assert name == flow.entry or not flow.dominates(name, flow.entry)


def test_every_block_of_a_nested_loop_knows_its_loops_from_the_outside_in() -> None:
    flow = flow_of("for (int a = 0; a < n; a++) for (int b = 0; b < x[a]; b++) y[b] += x[b];")
    inner = block_with(flow, "store")
    loops = flow.loops_of(inner)
    assert len(loops) == 2
    assert loops[1].blocks < loops[0].blocks
    assert inner in loops[1].blocks


def test_a_loop_without_an_exit_test_at_its_head_is_found() -> None:
    flow = flow_of("int j = i; do { y[j] = 1; j = x[j]; } while (j > 0);")
    (loop,) = flow.loops.values()
    assert block_with(flow, "store") in loop.blocks
    assert all(flow.dominates(loop.header, latch) for latch in loop.latches)


def test_edges_that_share_a_target_guard_nothing() -> None:
    flow = flow_of("switch (x[i]) { case 1: case 2: y[i] = 1; break; default: y[i] = 2; }")
    for name in flow.order:
        for edge in flow.guards(name):
            targets = flow.successors(edge.source)
            assert targets.count(targets[edge.position]) == 1


def deciders_of(body: str) -> int | None:
    """How many edges decide whether the block of the last store runs, None where that is not told."""
    flow = flow_of(body)
    stores = [
        name
        for name in flow.order
        if any(instruction.opcode == "store" for instruction in flow.blocks[name].instructions)
    ]
    edges = flow.deciders(stores[-1])
    return None if edges is None else len(edges)


def test_a_block_after_loops_and_joined_ways_runs_every_time() -> None:
    loop = "int s = 0; for (int j = 0; j < x[0]; j++) s += x[j] > 3 ? x[j] : x[j + 1] * x[s & 7];"
    assert deciders_of(loop + "y[i] = s;") == 0
    assert deciders_of("if (i >= n) return;" + loop + "y[i] = s;") == 1
    assert deciders_of("if (i < n) { x[i] = 1; if (i > 3) {" + loop + "y[i] = s; } }") == 2


def test_a_block_that_a_loop_may_leave_out_is_not_decided() -> None:
    assert deciders_of("for (int j = 0; j < n; j++) { if (x[j] == i) return; } y[i] = 1;") is None
    assert deciders_of("for (int j = 0; j < n; j++) y[j] = x[j];") is None


def test_a_loop_that_never_ends_leaves_nothing_decided() -> None:
    for body in ("for (;;) x[i]++; y[i] = 1;", "if (n) { for (;;) x[i] += y[i]; } y[i] = 1;"):
        flow = flow_of(body)
        for name in flow.order:
            assert flow.deciders(name) is None or name == flow.entry or not flow.loops_of(name)
