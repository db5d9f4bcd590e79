// Escape-time iteration counts of the Mandelbrot set, one pixel per work-item.
// Contraction is off: a fused multiply-add rounds once where two operations round twice, and near
// the border of the set that one bit decides the count. So every device gives the same counts.

#pragma OPENCL FP_CONTRACT OFF

__kernel void mandelbrot(const int width, const int height, const int max_iterations,
                         const float left, const float bottom, const float pixel_size,
                         __global int *restrict iterations)
{
    const int column = get_global_id(0);
    const int row = get_global_id(1);
    if (column >= width || row >= height)
        return;

    const float real = left + pixel_size * (float)column;
    const float imaginary = bottom + pixel_size * (float)row;
    float x = 0.0f;
    float y = 0.0f;
    int count = 0;
    while (count < max_iterations) {
        const float xx = x * x;
        const float yy = y * y;
        if (xx + yy > 4.0f)
            break;
        y = 2.0f * x * y + imaginary;
        x = xx - yy + real;
        ++count;
    }
    iterations[row * width + column] = count;
}
