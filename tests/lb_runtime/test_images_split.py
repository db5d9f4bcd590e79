"""Kernels on images, split: read ones go to every part, written ones come back box by box."""

from __future__ import annotations

import numpy as np
import pytest

from lb_runtime import Image, Runtime, Sampler
from lb_runtime.arguments import HostValue
from lb_runtime.contexts import OpenPair
from lb_runtime.kernel import launch_range, look_at
from lb_runtime.trial import Trial, run_trial

WIDTH, HEIGHT = 48, 32
SOURCE = """
__constant sampler_t nearest =
    CLK_NORMALIZED_COORDS_FALSE | CLK_ADDRESS_CLAMP_TO_EDGE | CLK_FILTER_NEAREST;
__kernel void blur(read_only image2d_t from, write_only image2d_t to, __global int *sums) {
    int2 at = (int2)(get_global_id(0), get_global_id(1));
    int4 sum = 0;
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++)
            sum += read_imagei(from, nearest, at + (int2)(dx, dy));
    write_imagei(to, (int2)(at.x, get_image_height(to) - 1 - at.y), sum);
    sums[at.y * get_global_size(0) + at.x] = sum.x + sum.w;
}
__kernel void sampled(read_only image2d_t from, sampler_t how, __global float *out) {
    int2 at = (int2)(get_global_id(0), get_global_id(1));
    out[at.y * get_global_size(0) + at.x] = read_imagef(from, how, convert_float2(at) + 0.5f).x;
}
__kernel void corner(write_only image2d_t to, int side) {
    int2 at = (int2)(get_global_id(0), get_global_id(1));
    if (at.x < side && at.y < side) write_imagei(to, at, (int4)(at.x, at.y, 7, 9));
}
"""


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 99, (HEIGHT, WIDTH, 4)).astype(np.int32)


def image(content: np.ndarray) -> Image:
    return Image(content, "RGBA", "SIGNED_INT32")


def identical(pair: OpenPair, name: str, *values: HostValue, share: float = 0.37) -> bool:
    kernel = look_at(SOURCE, (), name)
    nd_range = launch_range(kernel, (WIDTH, HEIGHT), (8, 4), None)
    trial = Trial(kernel, nd_range, values, share, wants_verification=True)
    result = run_trial(Runtime(devices=pair), trial)
    assert result.decision.is_split, result.decision.reasons
    assert result.verification is not None
    return result.verification.ok


@pytest.mark.parametrize("share", [0.1, 0.37, 0.5, 0.9])
def test_a_blur_of_an_image_leaves_the_same_pixels(pair: OpenPair, share: float) -> None:
    source, target = pixels(1), pixels(2)
    sums = np.zeros(WIDTH * HEIGHT, np.int32)
    assert identical(pair, "blur", image(source), image(target), sums, share=share)
    padded = np.pad(source, ((1, 1), (1, 1), (0, 0)), mode="edge")
    expected = sum(padded[dy : dy + HEIGHT, dx : dx + WIDTH] for dy in range(3) for dx in range(3))
    np.testing.assert_array_equal(target[::-1], expected)


def test_a_sampler_goes_to_every_part(pair: OpenPair) -> None:
    content = np.random.default_rng(3).random((HEIGHT, WIDTH, 4), np.float32)
    out = np.zeros(WIDTH * HEIGHT, np.float32)
    how = Sampler(normalized=False, addressing="CLAMP_TO_EDGE", filter="NEAREST")
    assert identical(pair, "sampled", Image(content, "RGBA", "FLOAT"), how, out)
    np.testing.assert_array_equal(out.reshape(HEIGHT, WIDTH), content[:, :, 0])


@pytest.mark.parametrize("side", [0, 3, 20, 32])
def test_pixels_that_no_part_writes_stay_as_they_were(pair: OpenPair, side: int) -> None:
    content = pixels(4)
    expected = content.copy()
    rows, columns = np.mgrid[:side, :side]
    expected[:side, :side] = np.stack(
        [columns, rows, np.full_like(rows, 7), np.full_like(rows, 9)], axis=-1
    )
    assert identical(pair, "corner", image(content), side)
    np.testing.assert_array_equal(content, expected)
