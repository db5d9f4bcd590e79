// Black-Scholes prices of European call and put options, one option per work-item.

static float normal_cdf(const float x)
{
    return 0.5f * erfc(-x * M_SQRT1_2_F);
}

__kernel void black_scholes(const uint n, const float rate, const float volatility,
                            __global const float *restrict price,
                            __global const float *restrict strike,
                            __global const float *restrict years, __global float *restrict call,
                            __global float *restrict put)
{
    const uint i = get_global_id(0);
    if (i >= n)
        return;

    const float s = price[i];
    const float k = strike[i];
    const float t = years[i];
    const float spread = volatility * sqrt(t);
    const float d1 = (log(s / k) + (rate + 0.5f * volatility * volatility) * t) / spread;
    const float d2 = d1 - spread;
    const float discounted = k * exp(-rate * t);
    call[i] = s * normal_cdf(d1) - discounted * normal_cdf(d2);
    put[i] = discounted * normal_cdf(-d2) - s * normal_cdf(-d1);
}
