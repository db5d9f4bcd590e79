// One time step of n bodies under gravity (G = 1), all pairs, one body per work-item.
// A position's fourth component is the body's mass; a velocity's fourth component is not used.
// Positions are read from one buffer and written to another, since every body reads all of them.

__kernel void n_body(const int n, const float time_step, const float softening,
                     __global const float4 *restrict positions,
                     __global float4 *restrict velocities,
                     __global float4 *restrict new_positions)
{
    const int i = get_global_id(0);
    if (i >= n)
        return;

    const float4 here = positions[i];
    float3 acceleration = (float3)(0.0f, 0.0f, 0.0f);
    for (int j = 0; j < n; ++j) {
        const float4 other = positions[j];
        const float3 towards = other.xyz - here.xyz;
        const float distance_squared = dot(towards, towards) + softening * softening;
        const float inverse = 1.0f / sqrt(distance_squared);
        acceleration += towards * (other.w * inverse * inverse * inverse);
    }

    float4 velocity = velocities[i];
    velocity.xyz += time_step * acceleration;
    velocities[i] = velocity;
    new_positions[i] = (float4)(here.xyz + time_step * velocity.xyz, here.w);
}
