"""Work-items that are replayed touch what they touch on a device, and meet where they do."""

from __future__ import annotations

import numpy as np
import pytest
from slice_oracle import bound_launch

from lb_runtime.analysis.accesses import Access, slice_accesses
from lb_runtime.analysis.meets import Meetings
from lb_runtime.analysis.replay import WorkItem
from lb_runtime.contexts import OpenPair
from lb_runtime.kernel import Kernel, look_at
from lb_runtime.launch import Launch, Slice
from lb_runtime.runtime import Runtime

N = 24

PLACES = {
    "guards": "if (i > 3 && (i < 17 || i == 20)) y[2 * i + 1] = 1;",
    "unsigned guards": "if ((uint)(i - 5) < 7u) y[i] = 1;",
    "joined ways": "int a = i % 3 ? i + 1 : i * 2; if (a < 30) a += 2; y[a] = 1;",
    "division and bits": "y[(i / 3 * 4 + i % 3) ^ 1] = 1;",
    "shifts": "y[(i << 1 | 1) & 31] = 1;",
    "narrow integers": "uchar c = i * 20; short s = -i; y[c / 8 + (s & 3)] = 1;",
    "minima and maxima": "y[max(min(i * 2, 30), 6)] = 1;",
    "switches": "switch (i & 3) { case 0: y[i] = 1; break; case 2: y[i + 9] = 1; break; default: y[9] = 1; }",
    "structs": "((global S *)y)[i / 2].b[i & 1] = 1;",
    "vectors": "vstore2((int2)(1, 1), i, y);",
    "functions": "put(y, i * 2);",
    "after a loop": "int s = 0; for (int j = 0; j < x[0]; j++) s += x[j]; if (i > 5) y[i] = 1 | s;",
    "after a loop that data ends": "int s = 0; while (x[s]) s++; y[2 * i] = 1 | s;",
    "groups": "y[get_group_id(0) * 4 + get_local_size(0) - 1 - get_local_id(0) + get_num_groups(0)] = 1;",
}  # fmt: skip

SOURCE = (
    "typedef struct {{ int a; int b[2]; }} S;"
    "void __attribute__((noinline)) put(global int *p, int k) {{ if (k != 6) p[k + 1] = 1; }}"
    "kernel void k(global int *x, global int *y, int n) {{ int i = get_global_id(0); {body} }}"
)


def all_accesses(kernel: Kernel, launch: Launch) -> tuple[Access, ...]:
    return slice_accesses(kernel.facts, launch, Slice(0, 0, launch.nd_range.groups[0])).accesses


@pytest.mark.parametrize("name", PLACES)
def test_a_replayed_work_item_touches_what_it_does_on_a_device(name: str, pair: OpenPair) -> None:
    source = SOURCE.format(body=PLACES[name])
    kernel = look_at(source)
    x, y = np.zeros(8, np.int32), np.zeros(3 * N, np.int32)
    launch, _ = bound_launch(kernel, (x, y, N), (N,), (4,))
    expected = set()
    for number in range(N):
        item = WorkItem((number,), (4,), (0,))
        for access in all_accesses(kernel, launch):
            place = item.place(access, {})
            if place is not None and item.makes(access, {}):
                if place.argument == 0:
                    continue
                expected |= set(range(place.byte // 4, (place.byte + access.size_bytes) // 4))
    with Runtime(devices=pair) as runtime:
        runtime.run(source, None, (N,), (4,), x, y, N, cpu_share=1.0)
    assert set(np.flatnonzero(y)) == expected


LOOP = "for (int j = 0; j < 5; j++) { if (j == 3) continue; y[i * 5 + j] = 1; }"


def test_iterations_of_loops_are_replayed() -> None:
    kernel = look_at(SOURCE.format(body=LOOP))
    y = np.zeros(5 * N, np.int32)
    launch, _ = bound_launch(kernel, (np.zeros(8, np.int32), y, N), (N,), (4,))
    (access,) = [a for a in all_accesses(kernel, launch) if a.is_write]
    (header,) = access.site.frame.flow.loops
    item = WorkItem((7,), (4,), (0,))
    made = [j for j in range(8) if item.makes(access, {f":{header}": j})]
    assert made == [0, 1, 2, 4]
    place = item.place(access, {f":{header}": 4})
    assert place is not None
    assert place.byte == 4 * (7 * 5 + 4)


@pytest.mark.parametrize(
    "body",
    [
        "if (x[i]) y[i] = 1;",
        "y[x[i]] = 1;",
        "for (int j = 0; j < x[i]; j++) y[i] = j;",
        "int j = 0; while (x[j]) j++; y[i] = 1; y[j] = 2;",
    ],
)
def test_what_data_decides_is_not_known(body: str) -> None:
    kernel = look_at(SOURCE.format(body=body))
    launch, _ = bound_launch(kernel, (np.zeros(N, np.int32), np.zeros(N, np.int32), N), (N,), (4,))
    item = WorkItem((7,), (4,), (0,))
    writes = [a for a in all_accesses(kernel, launch) if a.is_write]
    loops = {f":{header}": 0 for header in writes[-1].site.frame.flow.loops}
    assert not item.makes(writes[-1], loops) or item.place(writes[-1], loops) is None


def test_meetings_give_up_after_so_many_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = look_at(SOURCE.format(body="y[0] = i;"))
    launch, _ = bound_launch(kernel, (np.zeros(N, np.int32), np.zeros(N, np.int32), N), (N,), (4,))
    parts = [
        slice_accesses(kernel.facts, launch, Slice(0, *ends)).accesses for ends in ((0, 2), (2, 6))
    ]
    assert Meetings(launch).are_shown(parts[0][0], parts[1][0])
    monkeypatch.setattr("lb_runtime.analysis.meets.MAX_TRIES", 0)
    assert not Meetings(launch).are_shown(parts[0][0], parts[1][0])
