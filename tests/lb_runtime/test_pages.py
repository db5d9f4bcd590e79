"""What nobody writes is read by CPU devices where it is; what is written never is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from splitting import Written, plan_of

import lb_runtime.execute as execute_module
import lb_runtime.parts as parts_module
from lb_runtime.analysis.verdict import Merge
from lb_runtime.contexts import OpenPair
from lb_runtime.devices import DeviceKind
from lb_runtime.errors import ExecutionError
from lb_runtime.execute import execute
from lb_runtime.execution import Execution
from lb_runtime.launch import NDRange
from lb_runtime.memory.pages import PAGE_BYTES, on_page, reads_in_place
from lb_runtime.plan import Plan

SOURCE = """
kernel void twice(global const int* x, global int* y) {
    int i = get_global_id(0);
    y[i] = 2 * x[i] + y[i];
}"""
COUNT = 8192

Arrays = tuple[np.ndarray[tuple[int, ...], np.dtype[np.int32]], ...]


def arrays(offset_bytes: int) -> Arrays:
    """Two arrays that begin so many bytes after a page."""
    found = []
    for start in (5, 9):
        raw = on_page(np.empty(COUNT * 4 + PAGE_BYTES, np.uint8))
        array = raw[offset_bytes : offset_bytes + COUNT * 4].view(np.int32)
        array[:] = np.arange(start, start + COUNT, dtype=np.int32)
        found.append(array)
    return tuple(found)


def plan(given: Arrays) -> Plan:
    return plan_of(
        SOURCE,
        "twice",
        NDRange.of((COUNT,), (64,)),
        list(given),
        written={1: Written(Merge.RANGE, 256)},
    )


def run(pair: OpenPair, given: Arrays) -> Execution:
    x, y = (array.copy() for array in given)
    execution = execute(plan(given), pair.devices, list(given))
    assert np.array_equal(given[0], x)
    assert np.array_equal(given[1], 2 * x + y)
    return execution


def test_an_array_on_a_page_is_not_sent_to_cpu_devices(halves: OpenPair) -> None:
    on, off = run(halves, arrays(0)), run(halves, arrays(64))
    # The plan of this test sends all of `x` to both, and to each its part of `y`.
    assert off.uploaded_bytes == 3 * COUNT * 4
    assert on.uploaded_bytes == COUNT * 4


def test_either_drivers_devices_read_in_place(intel_pair: OpenPair) -> None:
    assert run(intel_pair, arrays(0)).uploaded_bytes == COUNT * 4


def test_what_is_changed_between_launches_is_seen(pair: OpenPair) -> None:
    given = arrays(0)
    run(pair, given)
    given[0][:] = given[0][::-1].copy()
    run(pair, given)


def test_a_gpu_never_reads_in_place(halves: OpenPair) -> None:
    info = halves.devices[0].info
    content = on_page(np.zeros(PAGE_BYTES, np.uint8))
    assert reads_in_place(info, content)
    assert not reads_in_place(replace(info, kind=DeviceKind.GPU), content)
    assert not reads_in_place(replace(info, unified_memory=False), content)
    assert not reads_in_place(info, on_page(np.zeros(2 * PAGE_BYTES, np.uint8))[64:])
    assert not reads_in_place(info, content[:100])


def fails(*given: object) -> None:
    raise ExecutionError("a part failed")


@pytest.mark.parametrize("is_right", [True, False])
def test_a_launch_that_fails_leaves_the_arrays_and_sharing_what_is_written_is_caught(
    halves: OpenPair, monkeypatch: pytest.MonkeyPatch, is_right: bool
) -> None:
    given = arrays(0)
    before = given[1].copy()
    right = parts_module.OnDevice.open
    if not is_right:
        # The mutant takes every memory for one that is only read.
        monkeypatch.setattr(parts_module.OnDevice, "open", lambda end, memories: right(end, ()))
        monkeypatch.setattr(parts_module.OnDevice, "fetch", lambda *_: parts_module.Traffic())
    monkeypatch.setattr(execute_module, "merge_all", fails)
    with pytest.raises(ExecutionError, match="a part failed"):
        execute(plan(given), halves.devices, list(given))
    assert np.array_equal(given[1], before) == is_right


def test_an_array_is_placed_on_a_page_with_its_content() -> None:
    array = np.arange(30, dtype=np.float32).reshape(5, 6)
    placed = on_page(array)
    assert placed.ctypes.data % PAGE_BYTES == 0
    assert np.array_equal(placed, array)
    assert placed.dtype == array.dtype
    assert on_page(placed) is placed
    assert on_page(array.T).flags.c_contiguous
