// C = A * B, row-major, one element of C per work-item: A is rows x inner, B is inner x columns.

__kernel void matmul(const int rows, const int columns, const int inner,
                     __global const float *restrict a, __global const float *restrict b,
                     __global float *restrict c)
{
    const int column = get_global_id(0);
    const int row = get_global_id(1);
    if (row >= rows || column >= columns)
        return;

    float sum = 0.0f;
    for (int k = 0; k < inner; ++k)
        sum += a[row * inner + k] * b[k * columns + column];
    c[row * columns + column] = sum;
}
