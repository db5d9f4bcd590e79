// y = A * x for a sparse matrix in compressed sparse row form, one row per work-item. Row r's
// entries are those from row_start[r] up to, not including, row_start[r + 1].

__kernel void spmv_csr(const int rows, __global const int *restrict row_start,
                       __global const int *restrict columns, __global const float *restrict values,
                       __global const float *restrict x, __global float *restrict y)
{
    const int row = get_global_id(0);
    if (row >= rows)
        return;

    float sum = 0.0f;
    const int stop = row_start[row + 1];
    for (int entry = row_start[row]; entry < stop; ++entry)
        sum += values[entry] * x[columns[entry]];
    y[row] = sum;
}
