"""The other device: which one it is for a device of the user's, and its buffers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from threading import Lock

import pyopencl as cl

from lb_runtime.contexts import OpenDevice
from lb_runtime.devices import DeviceInfo, device_handles, discover
from lb_runtime.roles import Cut, choose_pair, requested
from lb_runtime.settings import Settings

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
            if self._taken_bytes + size_bytes > most:
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


def find_mirror(device: cl.Device, settings: Settings) -> Mirror | NoMirror:
    """The mirror of a device of the user's.

    The pair is chosen as for `lb run`; where the user's device is none of it, the pair's device of the
    other kind is taken. A device alone in its machine is its own mirror only where a split is forced.

    Raises:
        DeviceError: a selector that fits no device, or a device that cannot be opened.
    """
    handles = device_handles()
    infos = discover().devices
    index = next((number for number, handle in enumerate(handles) if handle == device), None)
    if index is None:
        return NoMirror(
            "device-not-in-pair", f"{device.name.strip()} is a part of a device, or unknown"
        )
    user = infos[index]
    pair = choose_pair(infos, *requested(settings.cpu, settings.gpu, os.environ))
    if pair.cut is not Cut.NONE:
        if not settings.force or pair.cpu.index != index:
            return NoMirror("no-mirror", pair.why)
        return Mirror(OpenDevice(user, device, f"{user.label}, again"), user, GPU)
    if index == pair.cpu.index:
        other, role = pair.gpu, CPU
    elif index == pair.gpu.index or user.is_real_accelerator:
        other, role = pair.cpu, GPU
    else:
        other, role = pair.gpu, CPU
    return Mirror(OpenDevice(other, handles[other.index]), user, role)
