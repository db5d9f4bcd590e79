"""Measures what is not measured yet, and keeps it as it comes: stopped anywhere, it goes on from there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lb_runtime.tuned.machine import Machine
from lb_runtime.tuned.measured import Measured, Row
from lb_runtime.tuned.store import Store
from lb_runtime.tuning.draft import Draft
from lb_runtime.tuning.measure import UnfitError
from lb_runtime.tuning.worker import Measurer
from lb_runtime.tuning.workload import Number, Random, Workload, Zeros

SPLIT_EVERY = 4
"""Of the launches that are long enough, each of this number is run split as well, at the best share."""
SPLIT_LEAST_SECONDS = 0.004
"""Where both devices together need less, what it costs to split at all is most of what is measured."""
PROBE_ITEMS, PROBE_ROUNDS = 1 << 16, 256
PROBE_SECONDS = 0.0144
"""What the slower device of the machine that sizes were chosen on takes for the probe."""
LEAST_SCALE, MOST_SCALE = 0.25, 64.0


def best_share(cpu_seconds: float, gpu_seconds: float) -> float:
    """The CPU share at which both devices finish together."""
    return gpu_seconds / (cpu_seconds + gpu_seconds)


def probe() -> Workload:
    """A kernel of plain arithmetic by whose time launches are sized."""
    source = """
__kernel void tuned(__global const float *in, __global float *out, int rounds) {
    size_t i = get_global_id(0);
    float x = in[i], y = x;
    for (int k = 0; k < rounds; k++) y = y * x + 0.5f;
    out[i] = y;
}
"""
    return Draft("probe", 0).workload(
        source,
        ((PROBE_ITEMS,), (64,)),
        Random("float32", PROBE_ITEMS),
        Zeros("float32", PROBE_ITEMS),
        Number(PROBE_ROUNDS),
    )


def scale_for(machine: Machine, store: Store, measurer: Measurer) -> float:
    """By how much the work of generated kernels is multiplied, found once for a machine.

    A power of two, so that one disturbed measurement hardly matters.
    """
    known = store.scale(machine)
    if known is not None:
        return known
    measured = measurer.measure(probe())
    slower = max(measured.cpu.kernel, measured.gpu.kernel)
    scale = 2.0 ** round(math.log2(PROBE_SECONDS / slower))
    scale = min(max(scale, LEAST_SCALE), MOST_SCALE)
    store.begin(machine, scale)
    return scale


def measure_all(
    store: Store,
    machine: Machine,
    workloads: Sequence[Workload],
    measurer: Measurer,
    advance: Callable[[Workload], object] = lambda _: None,
) -> None:
    """Measure the workloads that the store does not know, in their order; some of them split, too.

    Raises:
        StoreError: a measurement cannot be kept.
    """
    known = store.known(machine)
    split = store.splits(machine)
    rows = {row.workload: row.measured for row in store.rows(machine)}
    for number, workload in enumerate(workloads):
        advance(workload)
        key = workload.key
        try:
            if key not in known:
                rows[key] = measurer.measure(workload)
                store.add(machine, row_of(workload, rows[key]))
            if number % SPLIT_EVERY == 0 and key in rows and key not in split:
                cpu, gpu = rows[key].cpu.total, rows[key].gpu.total
                share = best_share(cpu, gpu)
                if share * cpu >= SPLIT_LEAST_SECONDS:
                    store.add_split(machine, key, measurer.measure_split(workload, share))
        except UnfitError as error:
            store.add_unfit(machine, key, str(error))


def row_of(workload: Workload, measured: Measured) -> Row:
    """A workload and its times, as they are kept."""
    return Row(
        workload.key,
        workload.family,
        workload.name,
        workload.source,
        workload.options,
        workload.kernel_name,
        measured,
    )
