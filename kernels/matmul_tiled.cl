// C = A * B, row-major, through TILE x TILE tiles in local memory: A is rows x inner, B is
// inner x columns. The local size is TILE x TILE; no matrix size needs to be a multiple of TILE.

#ifndef TILE
#define TILE 16
#endif

__kernel void matmul_tiled(const int rows, const int columns, const int inner,
                           __global const float *restrict a, __global const float *restrict b,
                           __global float *restrict c)
{
    __local float a_tile[TILE][TILE];
    __local float b_tile[TILE][TILE];
    const int x = get_local_id(0);
    const int y = get_local_id(1);
    const int column = get_global_id(0);
    const int row = get_global_id(1);

    float sum = 0.0f;
    for (int start = 0; start < inner; start += TILE) {
        const bool a_inside = row < rows && start + x < inner;
        const bool b_inside = start + y < inner && column < columns;
        a_tile[y][x] = a_inside ? a[row * inner + start + x] : 0.0f;
        b_tile[y][x] = b_inside ? b[(start + y) * columns + column] : 0.0f;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int k = 0; k < TILE; ++k)
            sum += a_tile[y][k] * b_tile[k][x];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (row < rows && column < columns)
        c[row * columns + column] = sum;
}
