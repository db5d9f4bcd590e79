"""The generated kernels are the same everywhere, differ, and can all be split."""

from __future__ import annotations

import pytest

from lb_runtime.analysis.verdict import Splittable
from lb_runtime.arguments import bind
from lb_runtime.judged import judged
from lb_runtime.kernel import launch_range, look_at
from lb_runtime.launch import Launch
from lb_runtime.tuning.kernels import DEFAULT_COUNT, FAMILIES, MIXTURE, generated
from lb_runtime.tuning.workload import Workload

MOST_BYTES = 128 << 20
FEW = generated(75, 1 / 64)


def test_the_same_kernels_are_made_each_time() -> None:
    assert [w.key for w in generated(60)] == [w.key for w in generated(60)]
    # Pinned: another key means that what was measured of this kernel is forgotten.
    assert generated(1)[0].key == "9b98822e7bd436446d78d5f9"


def test_more_kernels_begin_with_the_fewer_ones() -> None:
    assert generated(40) == generated(80)[:40]


def test_no_two_launches_are_the_same_and_few_texts_are() -> None:
    made = generated()
    assert len(made) == DEFAULT_COUNT >= 200
    assert len({w.key for w in made}) == DEFAULT_COUNT
    assert len({w.source for w in made}) > 0.9 * DEFAULT_COUNT


def test_every_family_is_there() -> None:
    assert {w.family for w in generated(75)} == {*FAMILIES, MIXTURE}


def test_work_follows_the_scale() -> None:
    slow, fast = (sum(w.global_size[0] for w in generated(60, s)) for s in (1.0, 4.0))
    assert fast > 1.5 * slow


@pytest.mark.parametrize("workload", FEW, ids=[w.name for w in FEW])
def test_every_kernel_compiles_and_can_be_split(workload: Workload) -> None:
    kernel = look_at(workload.source, workload.options, workload.kernel_name)
    arguments, _ = bind(kernel.facts, workload.values())
    nd_range = launch_range(kernel, workload.global_size, workload.local_size, None)
    launch = Launch(kernel.name, nd_range, arguments)
    verdict, _ = judged(kernel, launch, 0.5)
    assert isinstance(verdict, Splittable)
    assert len(verdict.slices) == 2
    assert launch.transfer_bytes < MOST_BYTES
