// The sum of each work-group's share of x: a grid-stride loop per work-item, then a tree in local
// memory, then one partial sum per work-group. The local size must be a power of two.

__kernel void group_reduction(const uint n, __global const float *restrict x,
                              __global float *restrict partial, __local float *scratch)
{
    const uint lane = get_local_id(0);
    float sum = 0.0f;
    for (uint i = get_global_id(0); i < n; i += get_global_size(0))
        sum += x[i];
    scratch[lane] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);

    for (uint half_items = get_local_size(0) / 2; half_items > 0; half_items /= 2) {
        if (lane < half_items)
            scratch[lane] += scratch[lane + half_items];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (lane == 0)
        partial[get_group_id(0)] = scratch[0];
}
