"""Sub-groups are as large as each device makes them: what they tell is no part of a split launch."""

from __future__ import annotations

import pytest

from lb_runtime.kernel import look_at

NEWER = ("-cl-std=CL3.0",)


@pytest.mark.parametrize(
    "expression",
    [
        "get_sub_group_id()",
        "get_sub_group_size()",
        "get_max_sub_group_size()",
        "get_num_sub_groups()",
        "get_enqueued_num_sub_groups()",
        "get_sub_group_local_id()",
        "sub_group_all(x[0])",
        "sub_group_broadcast(x[0], 0u)",
        "sub_group_reduce_add(x[0])",
        "sub_group_scan_exclusive_max(x[0])",
        "(sub_group_barrier(CLK_LOCAL_MEM_FENCE), 1)",
    ],
)
def test_a_kernel_that_uses_sub_groups_is_declined_with_its_line(expression: str) -> None:
    source = f"kernel void k(global int* x) {{\n  x[get_global_id(0)] = {expression};\n}}"
    (reason,) = look_at(source, NEWER).facts.reasons
    assert (reason.code, reason.line) == ("sub-groups", 2)


def test_work_group_functions_and_the_users_own_names_are_not_sub_groups() -> None:
    source = """
    __attribute__((noinline)) int my_sub_group(int x) { return x * 3; }
    kernel void k(global int* x) {
        int i = get_global_id(0);
        x[i] = my_sub_group(x[i]) + work_group_reduce_add(x[i]);
    }"""
    assert look_at(source, NEWER).facts.reasons == ()
