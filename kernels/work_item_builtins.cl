// Records what every work-item built-in of OpenCL 1.2 (section 6.12.1) returns, for 1-D, 2-D and
// 3-D launches alike: per work-item get_work_dim(), then the other seven for each dimension below
// `dimensions`, which should be 3 (in a dimension beyond the launch's, sizes are 1 and ids 0). The
// dimension is a loop variable: here no compiler can take it for a constant.

__kernel void work_item_builtins(const uint dimensions, __global int *restrict record)
{
    const size_t x = get_global_id(0) - get_global_offset(0);
    const size_t y = get_global_id(1) - get_global_offset(1);
    const size_t z = get_global_id(2) - get_global_offset(2);
    const size_t item = (z * get_global_size(1) + y) * get_global_size(0) + x;

    __global int *field = record + item * (1 + 7 * dimensions);
    *field++ = get_work_dim();
    for (uint dimension = 0; dimension < dimensions; ++dimension) {
        *field++ = get_global_size(dimension);
        *field++ = get_global_id(dimension);
        *field++ = get_local_size(dimension);
        *field++ = get_local_id(dimension);
        *field++ = get_num_groups(dimension);
        *field++ = get_group_id(dimension);
        *field++ = get_global_offset(dimension);
    }
}
