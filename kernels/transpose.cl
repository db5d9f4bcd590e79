// Transpose of a row-major matrix through a tile in local memory, so that reads and writes both
// run along rows. The local size is TILE x TILE; the extra column keeps banks free of conflicts.

#ifndef TILE
#define TILE 16
#endif

__kernel void transpose(const int width, const int height, __global const float *restrict matrix,
                        __global float *restrict transposed)
{
    __local float tile[TILE][TILE + 1];
    const int local_x = get_local_id(0);
    const int local_y = get_local_id(1);

    const int x = get_group_id(0) * TILE + local_x;
    const int y = get_group_id(1) * TILE + local_y;
    if (x < width && y < height)
        tile[local_y][local_x] = matrix[y * width + x];
    barrier(CLK_LOCAL_MEM_FENCE);

    const int out_x = get_group_id(1) * TILE + local_x;
    const int out_y = get_group_id(0) * TILE + local_y;
    if (out_x < height && out_y < width)
        transposed[out_y * height + out_x] = tile[local_x][local_y];
}
