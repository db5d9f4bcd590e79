// Inclusive prefix sum in one pass: each work-group waits for the sum that its predecessor
// publishes. Groups talk to each other, so a launch of it must never be split across devices.
//
// Groups take their place from a ticket, not from get_group_id: whoever a group waits for has then
// already started, in whatever order a device starts its groups. A status word holds the flag (top
// bit) and the sum (31 bits) together, because OpenCL 1.2 orders no two global writes between
// groups. Statuses and tickets left by an earlier launch over the same input do no harm. The local
// size must be a power of two; the sums must stay below 2^31.

#define READY 0x80000000u

__kernel void prefix_sum_flags(const uint n, __global const uint *restrict values,
                               __global uint *restrict sums, volatile __global uint *status,
                               volatile __global uint *ticket, __local uint *scratch)
{
    __local uint group;
    __local uint before;
    const uint lane = get_local_id(0);
    const uint lanes = get_local_size(0);
    if (lane == 0)
        group = atomic_inc(ticket) % (uint)get_num_groups(0);
    barrier(CLK_LOCAL_MEM_FENCE);

    const uint i = group * lanes + lane;
    scratch[lane] = i < n ? values[i] : 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint distance = 1; distance < lanes; distance *= 2) {
        const uint addend = lane >= distance ? scratch[lane - distance] : 0;
        barrier(CLK_LOCAL_MEM_FENCE);
        scratch[lane] += addend;
        barrier(CLK_LOCAL_MEM_FENCE);
    }

    if (lane == 0) {
        uint previous = READY;
        if (group > 0) {
            do {
                previous = atomic_or(&status[group - 1], 0u);
            } while ((previous & READY) == 0);
        }
        before = previous & ~READY;
        atomic_xchg(&status[group], READY | (before + scratch[lanes - 1]));
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (i < n)
        sums[i] = before + scratch[lane];
}
