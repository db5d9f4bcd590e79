"""Adds two vectors on both devices at once: the library in ten lines."""

import numpy as np

import lb_runtime

SOURCE = """
__kernel void vector_add(__global const float *a, __global const float *b, __global float *c) {
    size_t i = get_global_id(0);
    c[i] = a[i] + b[i];
}
"""

a = np.arange(1 << 20, dtype=np.float32)
b = np.ones_like(a)
c = np.empty_like(a)
with lb_runtime.Runtime() as runtime:
    outcome = runtime.run(SOURCE, "vector_add", a.shape, None, a, b, c)
assert np.array_equal(c, a + b)
print(f"{a.size} sums, CPU share {outcome.decision.real_cpu_share:.2f} of the work-items")
