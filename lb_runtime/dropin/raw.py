"""pyopencl's own functions, as they were before anything was patched.

Everything behind `install` calls these, so that what the runtime does is not intercepted again. This
module must be imported before the first patch; it holds references only.
"""

from __future__ import annotations

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
