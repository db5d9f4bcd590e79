// Blurs an image of four 8-bit channels with a square filter, one pixel per work-item. Beyond an edge
// the pixels of the edge are repeated. The filter has (2 * radius + 1)^2 weights that sum to 1.

__kernel void gaussian_blur(const int width, const int height, const int radius,
                            __global const uchar4 *restrict image,
                            __global const float *restrict weights,
                            __global uchar4 *restrict result)
{
    const int x = get_global_id(0);
    const int y = get_global_id(1);
    if (x >= width || y >= height)
        return;

    float4 sum = (float4)(0.0f);
    int at = 0;
    for (int down = -radius; down <= radius; ++down) {
        const int row = clamp(y + down, 0, height - 1) * width;
        for (int right = -radius; right <= radius; ++right) {
            const int column = clamp(x + right, 0, width - 1);
            sum += weights[at++] * convert_float4(image[row + column]);
        }
    }
    result[y * width + x] = convert_uchar4_sat_rte(sum);
}
