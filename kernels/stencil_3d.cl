// 7-point stencil over a 3-D grid, one cell per work-item. The cells of the outer faces are not
// written: they keep what they held.

__kernel void stencil_3d(const int width, const int height, const int depth, const float centre,
                         const float neighbour, __global const float *restrict grid,
                         __global float *restrict next)
{
    const int x = get_global_id(0);
    const int y = get_global_id(1);
    const int z = get_global_id(2);
    if (x < 1 || y < 1 || z < 1 || x >= width - 1 || y >= height - 1 || z >= depth - 1)
        return;

    const int row = width;
    const int plane = width * height;
    const int i = z * plane + y * row + x;
    next[i] = centre * grid[i]
        + neighbour * (grid[i - 1] + grid[i + 1] + grid[i - row] + grid[i + row]
                       + grid[i - plane] + grid[i + plane]);
}
