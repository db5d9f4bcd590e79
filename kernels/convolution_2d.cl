// 2-D convolution (as image filters have it: correlation) with a (2 * RADIUS + 1) squared mask, one
// pixel per work-item. Neighbours outside the image are the nearest pixel of the border.

#ifndef RADIUS
#define RADIUS 2
#endif

__kernel void convolution_2d(const int width, const int height,
                             __global const float *restrict image, __constant float *mask,
                             __global float *restrict result)
{
    const int x = get_global_id(0);
    const int y = get_global_id(1);
    if (x >= width || y >= height)
        return;

    float sum = 0.0f;
    for (int dy = -RADIUS; dy <= RADIUS; ++dy) {
        const int row = clamp(y + dy, 0, height - 1);
        for (int dx = -RADIUS; dx <= RADIUS; ++dx) {
            const int column = clamp(x + dx, 0, width - 1);
            const float weight = mask[(dy + RADIUS) * (2 * RADIUS + 1) + dx + RADIUS];
            sum += weight * image[row * width + column];
        }
    }
    result[y * width + x] = sum;
}
