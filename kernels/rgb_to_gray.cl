// Luma of 8-bit RGBA pixels by ITU-R BT.601, in fixed point (weights of 8 bits that sum to 256),
// one pixel per work-item.

__kernel void rgb_to_gray(const uint pixels, __global const uchar4 *restrict colour,
                          __global uchar *restrict gray)
{
    const uint i = get_global_id(0);
    if (i >= pixels)
        return;

    const uint4 rgba = convert_uint4(colour[i]);
    gray[i] = (uchar)((77u * rgba.x + 150u * rgba.y + 29u * rgba.z + 128u) >> 8);
}
