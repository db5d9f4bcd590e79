// Counts how often each byte value occurs: 256 bins, integer atomics on global memory.

__kernel void histogram(const uint n, __global const uchar *restrict values,
                        __global uint *restrict bins)
{
    const uint i = get_global_id(0);
    if (i < n)
        atomic_inc(&bins[values[i]]);
}
