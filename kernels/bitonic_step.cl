// One compare-and-exchange step of a bitonic sort, in place; a sort of 2^m keys launches it for
// stage 0 .. m-1 and, within a stage, for pass stage .. 0. One work-item per pair of keys, so half
// as many work-items as keys.

__kernel void bitonic_step(const uint stage, const uint pass, __global uint *restrict keys)
{
    const uint pair = get_global_id(0);
    const uint distance_items = 1u << pass;
    const uint low = (pair >> pass << (pass + 1)) + (pair & (distance_items - 1));
    const uint high = low + distance_items;
    const bool ascending = ((low >> (stage + 1)) & 1u) == 0;

    const uint first = keys[low];
    const uint second = keys[high];
    if ((first > second) == ascending) {
        keys[low] = second;
        keys[high] = first;
    }
}
