// Sobel edges of an 8-bit image: |gradient in x| + |gradient in y|, saturated to 255, one pixel per
// work-item. The outermost pixels have no full neighbourhood and are not written.

__kernel void sobel(const int width, const int height, __global const uchar *restrict image,
                    __global uchar *restrict edges)
{
    const int x = get_global_id(0);
    const int y = get_global_id(1);
    if (x < 1 || y < 1 || x >= width - 1 || y >= height - 1)
        return;

    __global const uchar *above = image + (y - 1) * width + x;
    __global const uchar *here = above + width;
    __global const uchar *below = here + width;
    const int across = above[1] + 2 * here[1] + below[1] - above[-1] - 2 * here[-1] - below[-1];
    const int down = below[-1] + 2 * below[0] + below[1] - above[-1] - 2 * above[0] - above[1];
    edges[y * width + x] = convert_uchar_sat(abs(across) + abs(down));
}
