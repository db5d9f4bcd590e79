"""The other device: which one it is for a device of the user's, and its buffers."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock, RLock
from typing import TYPE_CHECKING

import pyopencl as cl

from lb_runtime.records import dataclass
from lb_runtime.settings import Settings

if TYPE_CHECKING:
    from lb_runtime.contexts import OpenDevice
    from lb_runtime.devices import DeviceInfo
    from lb_runtime.roles import DevicePair

CPU, GPU = 0, 1
MOST_OF_MEMORY = 0.8
"""The part of the mirror's memory that copies of the user's buffers may take."""


@dataclass(frozen=True, slots=True)
class NoMirror:
    """Why there is no other device: a reason's code, and one line."""

    code: str
    detail: str


class Mirror:
    """The open other device, and the role that the *user's* device plays beside it (`CPU` or `GPU`)."""

    def __init__(self, device: OpenDevice, user: DeviceInfo, user_role: int) -> None:
        self.device = device
        self.user = user
        self.user_role = user_role
        self._taken_bytes = 0
        self._lock = Lock()

    @property
    def label(self) -> str:
        """How reports name it."""
        return self.device.label

    def allocate(self, size_bytes: int) -> cl.Buffer:
        """A buffer of this size; its content is undefined.

        Raises `pyopencl.MemoryError` where the mirror's memory would be too full.
        """
        most = MOST_OF_MEMORY * self.device.info.global_memory_bytes
        with self._lock:
            if self._taken_bytes + size_bytes > most or size_bytes > self.spare_bytes / 2:
                raise cl.MemoryError(
                    f"{size_bytes} bytes more than the {self._taken_bytes} in use do not fit "
                    f"{self.label}"
                )
            self._taken_bytes += size_bytes
        try:
            return cl.Buffer(self.device.context, cl.mem_flags.READ_WRITE, size_bytes)
        except cl.Error:
            with self._lock:
                self._taken_bytes -= size_bytes
            raise

    @property
    def spare_bytes(self) -> float:
        """How much memory there is for copies of buffers: its own, or the host's where it uses that."""
        from lb_runtime.devices import DeviceKind

        own = self.device.info.global_memory_bytes - self._taken_bytes
        if self.device.info.kind is DeviceKind.GPU and not self.device.info.unified_memory:
            return own
        return min(own, available_bytes())

    def give_back(self, buffer: cl.Buffer) -> None:
        """Free a buffer that `allocate` gave."""
        with self._lock:
            self._taken_bytes -= buffer.size
        buffer.release()

    def queue(self) -> cl.CommandQueue:
        """A new in-order queue with profiling."""
        return profiled_queue(self.device.context, self.device.handle)


def profiled_queue(context: cl.Context, device: cl.Device) -> cl.CommandQueue:
    """A new in-order queue with profiling."""
    return cl.CommandQueue(context, device, cl.command_queue_properties.PROFILING_ENABLE)


def available_bytes() -> float:
    """How much memory the host can give without swapping; infinite where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "MemAvailable":
                return int(rest.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        return float("inf")
    return float("inf")


class Machine:
    """The machine's devices and the pair that settings choose, looked up and opened once.

    Threads may ask at the same time. What finds and opens devices is imported by the one that asks first:
    the program's own thread does not wait for that.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = RLock()
        self._handles: list[cl.Device] = []
        self._infos: tuple[DeviceInfo, ...] = ()
        self._pair: DevicePair | None = None
        self._open: dict[int, OpenDevice] = {}

    def look(self) -> DevicePair:
        """The pair. Raises `DeviceError` for a selector that fits no device, or where there is none."""
        from lb_runtime.devices import device_handles, discover
        from lb_runtime.roles import choose_pair, requested

        with self._lock:
            if self._pair is None:
                self._handles = device_handles()
                self._infos = discover().devices
                chosen = requested(self._settings.cpu, self._settings.gpu, os.environ)
                self._pair = choose_pair(self._infos, *chosen)
            return self._pair

    def mirror_of(self, device: cl.Device) -> Mirror | NoMirror:
        """The mirror of a device of the user's.

        The pair is chosen as for `lb run`; where the user's device is none of it, the pair's device of
        the other kind is taken. A device alone in its machine is its own mirror only where a split is
        forced.

        Raises:
            DeviceError: a selector that fits no device, or a device that cannot be opened.
        """
        from lb_runtime.contexts import OpenDevice
        from lb_runtime.roles import Cut

        pair = self.look()
        index = next((i for i, handle in enumerate(self._handles) if handle == device), None)
        if index is None:
            name = device.name.strip()
            return NoMirror("device-not-in-pair", f"{name} is a part of a device, or unknown")
        user = self._infos[index]
        if pair.cut is not Cut.NONE:
            if not self._settings.force or pair.cpu.index != index:
                return NoMirror("no-mirror", pair.why)
            return Mirror(OpenDevice(user, device, f"{user.label}, again"), user, GPU)
        if index == pair.cpu.index:
            other, role = pair.gpu, CPU
        elif index == pair.gpu.index or user.is_real_accelerator:
            other, role = pair.cpu, GPU
        else:
            other, role = pair.gpu, CPU
        return Mirror(self._opened(other), user, role)

    def _opened(self, info: DeviceInfo) -> OpenDevice:
        from lb_runtime.contexts import OpenDevice

        with self._lock:
            if info.index not in self._open:
                self._open[info.index] = OpenDevice(info, self._handles[info.index])
            return self._open[info.index]
