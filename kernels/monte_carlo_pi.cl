// Monte-Carlo estimate of pi: each work-item draws points in a square and counts those inside the
// quarter circle; pi is 4 * sum(counts) / (work-items * samples). Integer arithmetic throughout
// (coordinates of 15 bits), so that the counts are the same on every device.

// A full-period mix of 32 bits that makes neighbouring seeds unrelated.
static uint scramble(uint value)
{
    value ^= value >> 16;
    value *= 0x7feb352du;
    value ^= value >> 15;
    value *= 0x846ca68bu;
    value ^= value >> 16;
    return value;
}

__kernel void monte_carlo_pi(const uint samples, const uint seed, __global uint *restrict counts)
{
    const uint item = get_global_id(0);
    // A xorshift generator never leaves zero, so it must not start there.
    uint state = scramble(item + scramble(seed)) | 1u;
    uint inside = 0;
    for (uint sample = 0; sample < samples; ++sample) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        const uint x = state & 0x7fffu;
        const uint y = state >> 17;
        inside += x * x + y * y < 0x40000000u ? 1u : 0u;
    }
    counts[item] = inside;
}
