"""What is kept of each open device between launches: a thread that drives it, host memory, and kernels.

Starting a thread, touching fresh memory and making a kernel object (0.3 ms in pyopencl) would otherwise be
paid for in every launch, one after the other, while the devices wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import TypeVar
from weakref import WeakKeyDictionary

import pyopencl as cl

from lb_runtime.contexts import OpenDevice
from lb_runtime.memory.staging import Staging

Result = TypeVar("Result")

KERNELS_KEPT = 256


class Standby:
    """One device's thread, its memory for results and its kernels.

    The thread starts when it is first needed. A kernel object has one set of arguments: it is for the
    device's thread alone.
    """

    def __init__(self) -> None:
        self.staging = Staging()
        self._kernels: dict[tuple[str, tuple[str, ...], str], cl.Kernel] = {}
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lb-device")

    def kernel(
        self,
        device: OpenDevice,
        source: str,
        options: tuple[str, ...],
        name: str,
        file_name: str = "<kernel>",
    ) -> cl.Kernel:
        """The kernel object of this program and name. Raises as `OpenDevice.kernel`."""
        key = (source, options, name)
        known = self._kernels.get(key)
        if known is None:
            known = device.kernel(source, options, name, file_name)
            while len(self._kernels) >= KERNELS_KEPT:
                self._kernels.pop(next(iter(self._kernels)))
            self._kernels[key] = known
        return known

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """Run something on the device's thread, after what it was given before."""
        return self._threads.submit(call)


_standbys: WeakKeyDictionary[OpenDevice, Standby] = WeakKeyDictionary()
_lock = Lock()


def standby_of(device: OpenDevice) -> Standby:
    """A device's standby, as long as the device is there."""
    with _lock:
        if device not in _standbys:
            _standbys[device] = Standby()
        return _standbys[device]


def at_once(
    devices: Sequence[OpenDevice], calls: Mapping[int, Callable[[], Result]]
) -> dict[int, Result]:
    """Run a call on the thread of each device (by number), and wait for all of them.

    The first error, by device, is raised once all have ended.
    """
    runs = {number: standby_of(devices[number]).submit(call) for number, call in calls.items()}
    try:
        wait(runs.values())
    finally:
        # Also after Ctrl-C: the calls read the user's arrays.
        wait(runs.values())
    return {number: run.result() for number, run in runs.items()}
