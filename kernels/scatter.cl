// target[index[i]] = value[i]: where a work-item writes is known only from data. No index may occur
// twice, and elements of the target that no index names keep what they held.

__kernel void scatter(const uint n, __global const uint *restrict index,
                      __global const float *restrict value, __global float *restrict target)
{
    const uint i = get_global_id(0);
    if (i < n)
        target[index[i]] = value[i];
}
