"""What a kernel is seen to use its arguments for, from its IR alone."""

from __future__ import annotations

import pytest

from lb_runtime.analysis.usage import IndexUse, Role, Usage, Use, usage
from lb_runtime.kernel import look_at


def used(source: str) -> Usage:
    return usage(look_at(source).facts)


def role(body: str, parameters: str = "global int *x, global int *y, int n") -> Use:
    source = (
        f"kernel void k({parameters}) {{ int i = get_global_id(0), j = get_global_id(1); {body} }}"
    )
    found = used(source).scalars
    return found[max(found)]


ROLES = {
    "a guard": ("if (i < n) y[i] = x[i];", Use(Role.GUARD, 0)),
    "a guard of the second dimension": (
        "if (i < 64 && j < n) y[j * 64 + i] = 1;",
        Use(Role.GUARD, 1),
    ),
    "a guard that leaves out a margin": (
        "if (i > 0 && i < n - 1) y[i] = x[i - 1];",
        Use(Role.GUARD),
    ),
    "a guard of a loop with the range's stride": (
        "for (int k = i; k < n; k += get_global_size(0)) y[k] = x[k];",
        Use(Role.GUARD),
    ),
    "a guard of a loop that begins at a group's share": (
        "int s = 0; for (int k = get_group_id(0) * get_local_size(0) * 2; k < n; k += 64) s += x[k]; "
        "y[i] = s;",
        Use(Role.GUARD),
    ),
    "a guard of the items of a group": (
        "if (get_local_id(1) < n) y[i] = 1;",
        Use(Role.GROUP, 1),
    ),
    "a pitch": ("y[j * n + i] = x[i];", Use(Role.PITCH, 1)),
    "a loop's bound": (
        "int s = 0; for (int k = 0; k < n; k++) s += x[k]; y[i] = s;",
        Use(Role.COUNT),
    ),
    "a loop's bound beyond an id": (
        "int s = 0; for (int k = i; k < i + n; k++) s += x[k]; y[i] = s;",
        Use(Role.COUNT),
    ),
    "a width": ("y[i % n * 4 + i / n] = x[i];", Use(Role.WIDTH)),
    "an offset": ("y[i] = x[i + n];", Use(Role.OFFSET)),
    "a margin": ("y[i] = x[get_group_id(0) * (64 - n) + i];", Use(Role.MARGIN)),
    "a way back": ("y[i] = x[i * 2 - n];", Use(Role.BACK)),
    "a pitch that is gone back by": ("y[j * n + i] = x[(j * n + i) - n];", Use(Role.PITCH, 1)),
    "a shift": ("y[i >> n] = x[i];", Use(Role.SHIFT)),
    "a stride of a loop": (
        "int s = 0; for (int k = 0; k < 8; k++) s += x[k * n]; y[i] = s;",
        Use(Role.STRIDE),
    ),
    "a limit of data": ("if (x[i] < n) y[i] = 1;", Use(Role.LIMIT)),
    "a value": ("y[i] = n;", Use(Role.VALUE)),
}


@pytest.mark.parametrize(("body", "expected"), ROLES.values(), ids=ROLES)
def test_the_role_of_a_number(body: str, expected: Use) -> None:
    assert role(body) == expected


def test_a_role_is_seen_through_a_function_that_is_not_inlined() -> None:
    source = """
        __attribute__((noinline)) int place(int row, int pitch) { return row * pitch; }
        kernel void k(global int *y, int n) {
            y[place(get_global_id(1), n) + get_global_id(0)] = 1;
        }
    """
    assert used(source).scalars[1] == Use(Role.PITCH, 1)


def test_a_role_is_seen_through_private_memory() -> None:
    source = """
        kernel void k(global int *y, global int *order, int n) {
            int kept[4];
            for (int c = 0; c < 4; c++) kept[(c * n) & 3] = order[c];
            for (int c = 0; c < n; c++) y[kept[c & 3]] = c;
        }
    """
    assert used(source).indices[1] == (32, frozenset({IndexUse.READ, IndexUse.WRITTEN}))


INDICES = {
    "an index that is read through": ("y[i] = x[a[i]];", {0: {IndexUse.READ}}),
    "an index that is written through": ("y[a[i]] = i;", {0: {IndexUse.READ, IndexUse.WRITTEN}}),
    "row pointers": (
        "int s = 0; for (int k = a[i]; k < a[i + 1]; k++) s += x[k]; y[i] = s;",
        {0: {IndexUse.READ, IndexUse.START}},
    ),
    "starts and ends": (
        "int s = 0; for (int k = a[i]; k < b[i]; k++) s += x[k]; y[i] = s;",
        {0: {IndexUse.READ, IndexUse.START}, 1: {IndexUse.END}},
    ),
    "starts and counts": (
        "int s = 0; for (int k = a[i]; k < a[i] + b[i]; k++) s += x[k]; y[i] = s;",
        {0: {IndexUse.READ, IndexUse.START}, 1: {IndexUse.COUNT}},
    ),
    "a count": (
        "int s = 0; for (int k = 0; k < b[i]; k++) s += x[k]; y[i] = s;",
        {1: {IndexUse.COUNT}},
    ),
    "data that decides nothing": ("y[i] = a[i] + b[i];", {}),
}


@pytest.mark.parametrize(("body", "expected"), INDICES.values(), ids=INDICES)
def test_what_a_buffers_integers_lead_to(body: str, expected: dict[int, set[IndexUse]]) -> None:
    source = f"""kernel void k(global int *a, global int *b, global int *x, global int *y) {{
        int i = get_global_id(0); {body} }}"""
    assert {index: set(found) for index, (_, found) in used(source).indices.items()} == expected


def test_dimensions_are_those_whose_ids_are_asked_for() -> None:
    assert used("kernel void k(global int *y) { y[0] = 1; }").dimensions == 1
    assert used("kernel void k(global int *y) { y[get_group_id(2)] = 1; }").dimensions == 3
