"""Holding each of two CPU platforms to a core of its own, so that neither takes the other's time.

The variables below make each use one thread, and PoCL keep that on core 0; Intel's driver keeps its on the
last core, but a thread that waits for a command there helps with it. So the threads that drive the devices
are held to these cores, too.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from machine import ONE_CORE

from lb_runtime.runtime import Runtime
from lb_runtime.standby import standby_of

PINNED = {**ONE_CORE, "POCL_AFFINITY": "1"}
"""The environment that must be set before a driver is loaded."""
PLATFORMS = {"cpu": "Portable Computing Language", "gpu": "Intel"}
"""What plays CPU and GPU here."""


def open_on_two_cores() -> Runtime:
    """PoCL as the CPU on the first core, Intel's driver as the GPU on the last one."""
    for name, value in PINNED.items():
        os.environ[name] = value
    cores = sorted(os.sched_getaffinity(0))
    runtime = Runtime(**PLATFORMS)
    for device, core in zip(runtime.devices.devices, (cores[0], cores[-1])):
        standby_of(device).submit(lambda core=core: os.sched_setaffinity(0, {core})).result()
    return runtime


SINES, SINE_ROUNDS = 1 << 14, 200
"""What shows whether two cores are two: about 2 ms on each."""


class TwoCores:
    """Tells how much more two cores do than one: a host may run both on one core of its own."""

    def __init__(self) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self._threads = [ThreadPoolExecutor(1) for _ in range(2)]
        for thread, core in zip(self._threads, (cores[0], cores[-1])):
            thread.submit(os.sched_setaffinity, 0, {core}).result()
        self._angles = np.linspace(0.0, 6.0, SINES, dtype=np.float32)

    def __enter__(self) -> TwoCores:
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.shutdown()

    def measure(self) -> float:
        """2 where both cores compute at once as fast as one alone, 1 where that takes twice as long."""
        alone = [thread.submit(self._compute).result() for thread in self._threads]
        both = [thread.submit(self._compute) for thread in self._threads]
        return sum(alone) / max(each.result() for each in both)

    def _compute(self) -> float:
        """The seconds that some milliseconds' arithmetic takes, without the interpreter's lock."""
        found = np.empty_like(self._angles)
        begin = time.perf_counter()
        for _ in range(SINE_ROUNDS):
            np.sin(self._angles, out=found)
        return time.perf_counter() - begin


class Others:
    """Tells how much of the machine other processes took while something ran."""

    def __init__(self) -> None:
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._cores = len(os.sched_getaffinity(0))
        self.begin()

    def begin(self) -> None:
        """From now on."""
        self._all, self._ours, self._at = self._busy(), time.process_time(), time.perf_counter()

    def part(self) -> float:
        """The part of all cores' time that other processes took since then; 0 where that is not known."""
        taken = self._busy() - self._all - (time.process_time() - self._ours)
        return max(0.0, taken / self.capacity()) if self._all else 0.0

    def capacity(self) -> float:
        """The seconds that all cores had since then."""
        return self._cores * (time.perf_counter() - self._at)

    def _busy(self) -> float:
        """The seconds that all cores were busy since the system began."""
        path = Path("/proc/stat")
        if not path.exists():
            return 0.0
        user, nice, system, _, _, irq, softirq, steal = map(int, path.read_text().split()[1:9])
        return (user + nice + system + irq + softirq + steal) / self._ticks
