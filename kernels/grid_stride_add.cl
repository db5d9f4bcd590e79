// y += x with a grid-stride loop: any global size covers all n elements, each of them once.
// In place on purpose: an element that two work-items visit is added to twice.

__kernel void grid_stride_add(const uint n, __global const float *restrict x,
                              __global float *restrict y)
{
    for (size_t i = get_global_id(0); i < n; i += get_global_size(0))
        y[i] += x[i];
}
