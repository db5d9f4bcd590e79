"""The range of a launch follows the kernel: its required work-group size, its language version."""

from __future__ import annotations

import numpy as np
import pytest

from lb_runtime import LaunchError, Runtime
from lb_runtime.contexts import OpenPair
from lb_runtime.kernel import Kernel, launch_range, look_at

NEWER = ("-cl-std=CL3.0",)
SIZES = """
kernel {attribute} void sizes(global uint* out) {{
    size_t item = (get_global_id(2) * get_global_size(1) + get_global_id(1)) * get_global_size(0)
                + get_global_id(0);
    out[item] = get_local_size(0) + 100 * (get_local_size(1) + 100 * get_local_size(2))
              + 1000000 * (uint)(get_group_id(0) + get_group_id(1) + get_group_id(2));
}}
"""


def sizes(attribute: str) -> str:
    return SIZES.format(attribute=f"__attribute__(({attribute}))")


def requires(size: tuple[int, int, int], options: tuple[str, ...] = ()) -> Kernel:
    return look_at(sizes(f"reqd_work_group_size{size}"), options)


REQUIRED = [
    ((24,), (4, 1, 1), (4,)),
    ((24, 6), (4, 3, 1), (4, 3)),
    ((24, 6), (4, 1, 1), (4, 1)),
    ((24, 6, 4), (4, 3, 2), (4, 3, 2)),
]


@pytest.mark.parametrize(("global_size", "required", "local_size"), REQUIRED)
def test_a_required_size_is_taken_and_no_other(
    global_size: tuple[int, ...], required: tuple[int, int, int], local_size: tuple[int, ...]
) -> None:
    kernel = requires(required)
    assert launch_range(kernel, global_size, None, None).local_size == local_size
    assert launch_range(kernel, global_size, local_size, None).local_size == local_size
    wrong = (*local_size[:-1], local_size[-1] * 2)
    with pytest.raises(LaunchError, match="requires"):
        launch_range(kernel, global_size, wrong, None)
    with pytest.raises(LaunchError, match="requires"):
        launch_range(kernel, global_size, (*local_size, 1), None)


@pytest.mark.parametrize(
    ("global_size", "required"), [((24,), (4, 3, 1)), ((24,), (4, 1, 2)), ((24, 6), (4, 3, 2))]
)
def test_a_required_size_of_more_dimensions_is_refused(
    global_size: tuple[int, ...], required: tuple[int, int, int]
) -> None:
    with pytest.raises(LaunchError, match="requires work-groups of"):
        launch_range(requires(required), global_size, None, None)


def test_a_required_size_that_does_not_divide_needs_a_newer_language() -> None:
    with pytest.raises(LaunchError, match="not a multiple of local size 4"):
        launch_range(requires((4, 1, 1)), (22,), None, None)
    nd_range = launch_range(requires((4, 1, 1), NEWER), (22,), None, None)
    assert (nd_range.non_uniform, nd_range.last_local_size) == (True, (2,))


def test_a_hint_binds_nobody() -> None:
    kernel = look_at(sizes("work_group_size_hint(7, 1, 1)"))
    assert launch_range(kernel, (24,), None, None).local_size == (24,)
    assert launch_range(kernel, (24,), (8,), None).local_size == (8,)


@pytest.mark.parametrize(("global_size", "required", "local_size"), REQUIRED)
def test_a_split_runs_in_groups_of_the_required_size(
    pair: OpenPair,
    global_size: tuple[int, ...],
    required: tuple[int, int, int],
    local_size: tuple[int, ...],
) -> None:
    out = np.zeros(global_size[::-1], np.uint32)
    with Runtime(devices=pair) as runtime:
        source = sizes(f"reqd_work_group_size{required}")
        outcome = runtime.run(source, None, global_size, None, out, cpu_share=0.4)
    assert outcome.decision.is_split
    x, y, z = required
    places = np.indices(out.shape)[::-1]
    groups = sum(place // size for place, size in zip(places, local_size))
    assert np.array_equal(out, x + 100 * (y + 100 * z) + 1_000_000 * groups)


def test_a_missing_local_size_is_one_that_divides_in_every_language() -> None:
    for options in ((), NEWER):
        kernel = look_at(sizes("work_group_size_hint(64, 1, 1)"), options)
        nd_range = launch_range(kernel, (1000, 6), None, None)
        assert not nd_range.non_uniform
        assert nd_range.local_size == (250, 1)


def test_sizes_that_do_not_divide_are_refused_unless_the_language_allows_them() -> None:
    source = "kernel void k(global int* x) { x[get_global_id(0)] = 1; }"
    for options in ((), (*NEWER, "-cl-uniform-work-group-size")):
        with pytest.raises(LaunchError, match="round the global size up to 1024"):
            launch_range(look_at(source, options), (1000,), (256,), None)
    nd_range = launch_range(look_at(source, NEWER), (1000,), (256,), None)
    assert nd_range.groups == (4,)
