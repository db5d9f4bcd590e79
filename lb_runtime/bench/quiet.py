"""How much of the machine other processes take, and holding two CPU drivers to a core each."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lb_runtime.runtime import Runtime

ONE_CORE = {
    "POCL_MAX_PTHREAD_COUNT": "1",
    "POCL_AFFINITY": "1",
    "CL_CONFIG_CPU_TBB_NUM_WORKERS": "1",
}
"""What makes PoCL and Intel's CPU driver use one thread; to be set before a driver is loaded."""


def hold_threads(runtime: Runtime) -> None:
    """Hold the threads that drive the two devices to the first and the last core.

    PoCL keeps its thread on the first core, Intel's driver on the last one, where the thread that waits
    for a command helps with it.
    """
    from lb_runtime.standby import standby_of

    cores = sorted(os.sched_getaffinity(0))
    for device, core in zip(runtime.devices.devices, (cores[0], cores[-1])):
        standby_of(device).submit(partial(os.sched_setaffinity, 0, {core})).result()


class OtherProcesses:
    """Tells how much of the machine other processes took while something ran."""

    def __init__(self) -> None:
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._cores = os.cpu_count() or 1
        self.begin()

    def begin(self) -> None:
        """From now on."""
        self._all, self._ours, self._at = _busy(), time.process_time(), time.perf_counter()

    def part(self) -> float:
        """The part of all cores' time that other processes took since then; 0 where that is not known."""
        if not self._all:
            return 0.0
        taken = (_busy() - self._all) / self._ticks - (time.process_time() - self._ours)
        return max(0.0, taken / (self._cores * (time.perf_counter() - self._at)))


def _busy() -> int:
    """The clock ticks that all cores were busy since the system began; 0 where that is not told."""
    path = Path("/proc/stat")
    if not path.exists():
        return 0
    user, nice, system, _, _, irq, softirq, steal = map(int, path.read_text().split()[1:9])
    return user + nice + system + irq + softirq + steal
