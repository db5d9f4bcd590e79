"""Host memory that a CPU device reads where it is, instead of a copy of it.

A buffer may be made of the host's own memory (CL_MEM_USE_HOST_PTR, OpenCL 1.2, section 5.2.1). A driver may
copy it all the same; those of CPUs do not where it begins at a page. Only what no part writes is shared so:
what is written gets memory of its own, since a launch that fails leaves the host's as it was.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lb_runtime.devices import DeviceInfo, DeviceKind
from lb_runtime.memory.merge import Bytes

PAGE_BYTES = 4096


def shares_memory(device: DeviceInfo) -> bool:
    """Whether a device's buffers lie in the host's memory, so that mapping one copies nothing."""
    return device.kind is DeviceKind.CPU and device.unified_memory


def reads_in_place(device: DeviceInfo, content: Bytes) -> bool:
    """Whether a device reads these bytes of the host without copying them; not fewer than a page."""
    is_on_page = content.size >= PAGE_BYTES and content.ctypes.data % PAGE_BYTES == 0
    return is_on_page and shares_memory(device)


def on_page(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array of the same content, shape and type that begins at a page; itself where it does."""
    if array.ctypes.data % PAGE_BYTES == 0 and array.flags.c_contiguous:
        return array
    raw = np.empty(array.nbytes + PAGE_BYTES, np.uint8)
    start = -raw.ctypes.data % PAGE_BYTES
    placed = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    placed[...] = array
    return placed
