"""pyopencl's own functions, as they were before anything was patched.

Everything behind `install` calls these, so that what the runtime does is not intercepted again. This
module must be imported before the first patch.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any

from pyopencl import _cl

get_platforms: Any = _cl.get_platforms
enqueue_nd_range_kernel: Any = _cl.enqueue_nd_range_kernel
enqueue_marker: Any = _cl._enqueue_marker_with_wait_list
enqueue_barrier: Any = _cl._enqueue_barrier_with_wait_list
read_buffer: Any = _cl._enqueue_read_buffer
write_buffer: Any = _cl._enqueue_write_buffer
read_buffer_rect: Any = _cl._enqueue_read_buffer_rect
write_buffer_rect: Any = _cl._enqueue_write_buffer_rect
migrate: Any = _cl.enqueue_migrate_mem_objects
set_arg: Any = _cl.Kernel.set_arg
set_arg_bytes: Any = vars(_cl.Kernel)["_set_arg_buf"]
profiling_info: Any = _cl.Event.get_profiling_info
queue_number: Any = _cl.CommandQueue.__dict__["int_ptr"].__get__
"""`queue_number(queue)`: its `cl_command_queue` as a number."""
kernel_number: Any = _cl.Kernel.__dict__["int_ptr"].__get__
"""`kernel_number(kernel)`: its `cl_kernel` as a number."""
kernel_of: Any = _cl.Kernel.from_int_ptr
queue_of: Any = _cl.CommandQueue.from_int_ptr
int_ptr: Any = _cl.MemoryObjectHolder.__dict__["int_ptr"].__get__
"""`int_ptr(memory_object)`: its `cl_mem` as a number."""


def load_drivers() -> None:
    """Have OpenCL's loader find its drivers, and let other threads run meanwhile.

    Drivers take 10 to 300 ms to load, and pyopencl's own call holds Python's lock for so long. The loader is
    the one that pyopencl is linked with, and looks once: what it finds is what all later calls get. Where it
    is not to be had, they look themselves.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(_cl.__file__).clGetPlatformIDs(0, None, ctypes.byref(ctypes.c_uint32()))
