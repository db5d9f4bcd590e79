// Prices of European call options by a binomial tree (Cox, Ross and Rubinstein 1979), one option per
// work-group. The values of a tree's level lie in local memory, twice: the level that is read and the
// one before it, which is written. `levels` holds 2 * (steps + 1) numbers.

__kernel void binomial_options(const int steps, const float rate, const float volatility,
                               __global const float *restrict price,
                               __global const float *restrict strike,
                               __global const float *restrict years, __global float *restrict call,
                               __local float *levels)
{
    const int option = get_group_id(0);
    const int lane = get_local_id(0);
    const int lanes = get_local_size(0);

    const float step_years = years[option] / (float)steps;
    const float spread = volatility * sqrt(step_years);
    const float up = exp(spread);
    const float down = 1.0f / up;
    const float growth = exp(rate * step_years);
    const float up_weight = (growth - down) / ((up - down) * growth);
    const float down_weight = (up - growth) / ((up - down) * growth);

    __local float *level = levels;
    __local float *before = levels + steps + 1;
    for (int node = lane; node <= steps; node += lanes) {
        const float end = price[option] * exp(spread * (float)(2 * node - steps));
        level[node] = fmax(end - strike[option], 0.0f);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int last = steps - 1; last >= 0; --last) {
        for (int node = lane; node <= last; node += lanes)
            before[node] = up_weight * level[node + 1] + down_weight * level[node];
        barrier(CLK_LOCAL_MEM_FENCE);
        __local float *const read = level;
        level = before;
        before = read;
    }
    if (lane == 0)
        call[option] = level[0];
}
