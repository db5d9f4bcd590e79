"""Images that parts read are sent whole; boxes of those that they write become one image again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from splitting import run_and_verify, with_prelude

import lb_runtime.merging as merging_module
from lb_runtime.analysis.verdict import Merge
from lb_runtime.arguments import HostValue, bind
from lb_runtime.contexts import OpenPair
from lb_runtime.errors import ArgumentError, ExecutionError, LaunchError
from lb_runtime.execute import execute
from lb_runtime.images import Box, Image, Sampler, boxes_overlap, image_type
from lb_runtime.kernel import look_at
from lb_runtime.launch import ImageArgument, Launch, NDRange, SamplerArgument
from lb_runtime.memory.merge import Bytes
from lb_runtime.plan import ImagePlan, Part, Plan
from lb_runtime.verify import Outcome

NEAREST = Sampler(False, "CLAMP_TO_EDGE", "NEAREST")
SHIFTED = """
kernel void shifted(read_only image2d_t a, write_only image2d_t b, sampler_t s, uint add) {
    int2 at = (int2)(get_global_id(0), get_global_id(1));
    write_imageui(b, at, read_imageui(a, s, at + (int2)(1, 2)) + add);
}"""
WIDTH, HEIGHT = 48, 36


def ramp(width: int = WIDTH, height: int = HEIGHT, order: str = "RGBA") -> Image:
    """An image in which every channel of every pixel is another number."""
    shape = (height, width, 4) if order == "RGBA" else (height, width)
    return Image(np.arange(prod(shape), dtype=np.uint32).reshape(shape), order, "UNSIGNED_INT32")


def filled(value: int, order: str = "RGBA") -> Image:
    image = ramp(order=order)
    image.pixels[...] = value
    return image


def plan_of_images(
    source: str,
    values: Sequence[HostValue],
    nd_range: NDRange,
    dimension: int,
    written: Mapping[int, int] | None = None,
    shares: tuple[float, ...] = (0.37, 0.63),
) -> tuple[Plan, list[HostValue]]:
    """A plan that cuts one dimension by shares, and the values as the kernel takes them.

    Work-item `i` along the dimension writes the pixels `i` along axis `written[argument]` of an image.
    """
    kernel = look_at(source)
    arguments, bound = bind(kernel.facts, values)
    launch = Launch(kernel.name, nd_range, arguments)
    parts = []
    for device, piece in enumerate(nd_range.cut(dimension, shares)):
        offset, size = nd_range.part(piece)
        images = []
        for index, argument in enumerate(arguments):
            if not isinstance(argument, ImageArgument):
                continue
            if not argument.is_written:
                images.append(ImagePlan(index, Merge.NONE))
                continue
            axis = (written or {}).get(index, dimension)
            origin, box = [0] * len(argument.shape), list(argument.shape)
            origin[axis], box[axis] = offset[dimension], size[dimension]
            images.append(ImagePlan(index, Merge.RANGE, tuple(origin), tuple(box)))
        parts.append(Part(device, piece, offset, size, (), tuple(images)))
    return Plan(launch, tuple(parts), with_prelude(source, nd_range), ()), list(bound)


@pytest.fixture(params=["pair", "intel_pair"])
def each_pair(request: pytest.FixtureRequest) -> OpenPair:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]  # fixtures are Any


def shifted(image: Image, add: int) -> np.ndarray:
    """What the kernel makes of an image: the pixel one to the right and two below, plus a number."""
    rows = np.minimum(np.arange(HEIGHT) + 2, HEIGHT - 1)
    columns = np.minimum(np.arange(WIDTH) + 1, WIDTH - 1)
    return image.pixels[np.ix_(rows, columns)] + np.uint32(add)


@pytest.mark.parametrize("dimension", [0, 1])
@pytest.mark.parametrize("order", ["RGBA", "R"])
def test_boxes_of_two_devices_become_one_image(
    each_pair: OpenPair, dimension: int, order: str
) -> None:
    source, target = ramp(order=order), filled(7, order)
    nd_range = NDRange.of((WIDTH, HEIGHT), (4, 4))
    given = [source, target, NEAREST, 5]
    plan, values = plan_of_images(SHIFTED, given, nd_range, dimension)
    execution, verification = run_and_verify(each_pair, plan, values, SHIFTED)
    assert verification.outcome is Outcome.IDENTICAL
    assert np.array_equal(target.pixels, shifted(source, 5))
    # The image that is read goes to both devices, each box to its own and back.
    assert execution.uploaded_bytes == 3 * source.pixels.nbytes
    assert execution.downloaded_bytes == source.pixels.nbytes


def test_pixels_that_no_item_writes_are_kept(pair: OpenPair) -> None:
    source = """
    kernel void some(read_only image2d_t a, write_only image2d_t b, sampler_t s) {
        int2 at = (int2)(get_global_id(0), get_global_id(1));
        if ((at.x + at.y) % 3 == 0) write_imageui(b, at, read_imageui(a, s, at));
    }"""
    image, target = ramp(), filled(7)
    nd_range = NDRange.of((WIDTH, HEIGHT), (4, 4))
    plan, values = plan_of_images(source, [image, target, NEAREST], nd_range, 1)
    assert run_and_verify(pair, plan, values, source)[1].outcome is Outcome.IDENTICAL
    at = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) % 3 == 0
    assert np.array_equal(target.pixels, np.where(at[..., None], image.pixels, 7))


def test_a_filtered_image_of_floats_is_read_by_both_devices(each_pair: OpenPair) -> None:
    source = """
    kernel void halfway(read_only image2d_t a, write_only image2d_t b, sampler_t s) {
        int2 at = (int2)(get_global_id(0), get_global_id(1));
        float2 between = convert_float2(at) + (float2)(1.0f, 0.5f);
        write_imagef(b, at, read_imagef(a, s, between));
    }"""
    pixels = np.arange(HEIGHT * WIDTH * 4, dtype=np.float32).reshape(HEIGHT, WIDTH, 4)
    image = Image(pixels, "RGBA", "FLOAT")
    target = Image(np.zeros_like(pixels), "RGBA", "FLOAT")
    linear = Sampler(False, "CLAMP_TO_EDGE", "LINEAR")
    nd_range = NDRange.of((WIDTH, HEIGHT), (4, 4))
    plan, values = plan_of_images(source, [image, target, linear], nd_range, 1)
    assert run_and_verify(each_pair, plan, values, source)[1].ok
    expected = (pixels[:, :-1] + pixels[:, 1:]) / 2
    assert np.allclose(target.pixels[:, :-1], expected)


SHAPES = {
    "image1d_t": ("at.x", (24,)),
    "image1d_array_t": ("at.xy", (24, 6)),
    "image2d_t": ("at.xy", (24, 6)),
    "image2d_array_t": ("at", (24, 6, 5)),
    "image3d_t": ("at", (24, 6, 5)),
}


@pytest.mark.parametrize("type_text", SHAPES)
def test_images_of_all_shapes_are_read(each_pair: OpenPair, type_text: str) -> None:
    coordinates, shape = SHAPES[type_text]
    source = f"""
    kernel void gather(read_only {type_text} a, sampler_t s, write_only image2d_t b) {{
        int i = get_global_id(0);
        int4 at = (int4)(i % 24, i / 24 % 6, i / 144, 0);
        write_imageui(b, (int2)(i, 0), read_imageui(a, s, {coordinates}));
    }}"""
    items = prod(shape)
    pixels = np.arange(items * 4, dtype=np.uint32).reshape(*reversed(shape), 4)
    target = Image(np.zeros((1, items, 4), np.uint32), "RGBA", "UNSIGNED_INT32")
    given = [Image(pixels, "RGBA", "UNSIGNED_INT32"), NEAREST, target]
    plan, values = plan_of_images(source, given, NDRange.of((items,), (4,)), 0)
    assert run_and_verify(each_pair, plan, values, source)[1].outcome is Outcome.IDENTICAL
    assert np.array_equal(target.pixels.reshape(-1, 4), pixels.reshape(-1, 4))


@pytest.mark.parametrize("type_text", ["image1d_t", "image1d_array_t", "image2d_array_t"])
def test_images_of_other_shapes_are_written(each_pair: OpenPair, type_text: str) -> None:
    coordinates, shape = SHAPES[type_text]
    source = f"""
    kernel void mark(write_only {type_text} b) {{
        int4 at = (int4)(get_global_id(0), get_global_id(1), get_global_id(2), 0);
        write_imageui(b, {coordinates}, convert_uint4(at) + 1);
    }}"""
    pixels = np.zeros((*reversed(shape), 4), np.uint32)
    nd_range = NDRange.of(shape, (2,) * len(shape) if type_text != "image2d_array_t" else (2, 2, 1))
    for dimension in range(len(shape)):
        pixels[...] = 9
        given = [Image(pixels, "RGBA", "UNSIGNED_INT32")]
        plan, values = plan_of_images(source, given, nd_range, dimension)
        assert run_and_verify(each_pair, plan, values, source)[1].outcome is Outcome.IDENTICAL
        assert np.array_equal(pixels[..., 0], np.broadcast_to(np.arange(1, 25), shape[::-1]))


def test_one_image_that_is_read_and_written_is_one_on_the_device(pair: OpenPair) -> None:
    source = """
    kernel void add(read_only image2d_t a, write_only image2d_t b, sampler_t s) {
        int2 at = (int2)(get_global_id(0), get_global_id(1));
        write_imageui(b, at, read_imageui(a, s, at) + 1);
    }"""
    image = ramp()
    before = image.pixels.copy()
    nd_range = NDRange.of((WIDTH, HEIGHT), (4, 4))
    plan, values = plan_of_images(source, [image, image, NEAREST], nd_range, 1)
    execution = execute(plan, pair.devices, values)
    assert np.array_equal(image.pixels, before + 1)
    assert execution.uploaded_bytes == 2 * before.nbytes


def simple(dimension: int = 1) -> tuple[Plan, list[HostValue]]:
    nd_range = NDRange.of((WIDTH, HEIGHT), (4, 4))
    return plan_of_images(SHIFTED, [ramp(), filled(7), NEAREST, 5], nd_range, dimension)


@pytest.mark.parametrize("dimension", [0, 1])
def test_boxes_that_are_written_back_elsewhere_are_caught(
    pair: OpenPair, dimension: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, values = simple(dimension)
    assert run_and_verify(pair, plan, values, SHIFTED)[1].ok
    right = merging_module.box_view

    def one_pixel_early(content: Bytes, argument: ImageArgument, box: Box) -> np.ndarray:
        origin = list(box[0])
        origin[dimension] = max(0, origin[dimension] - 1)
        return right(content, argument, (tuple(origin), box[1]))

    monkeypatch.setattr(merging_module, "box_view", one_pixel_early)
    verification = run_and_verify(pair, plan, values, SHIFTED)[1]
    assert not verification.ok
    assert verification.mismatch is not None
    assert verification.mismatch.argument == 1


def with_boxes(plan: Plan, boxes: Sequence[Box]) -> Plan:
    """The same plan whose parts leave these boxes of argument 1."""
    parts = []
    for part, (origin, size) in zip(plan.parts, boxes, strict=True):
        images = (part.images[0], ImagePlan(1, Merge.RANGE, origin, size))
        parts.append(replace(part, images=images))
    return replace(plan, parts=tuple(parts))


def test_pixels_that_a_part_writes_beside_its_box_are_caught(pair: OpenPair) -> None:
    plan, values = simple()
    rows = plan.parts[0].images[1].size[1]
    boxes = [((0, 0), (WIDTH, rows - 1)), ((0, rows), (WIDTH, HEIGHT - rows))]
    assert not run_and_verify(pair, with_boxes(plan, boxes), values, SHIFTED)[1].ok


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        ([((0, 0), (48, 20)), ((0, 19), (48, 17))], "overlap"),
        ([((0, 0), (48, 20)), ((0, 20), (48, 17))], "but a part leaves"),
        ([((0, 0), (48, 20)), ((0,), (48,))], "but a part leaves"),
        ([((0, -1), (48, 20)), ((0, 20), (48, 16))], "but a part leaves"),
    ],
)
def test_boxes_that_cannot_be_merged_are_refused(
    pair: OpenPair, boxes: list[Box], said: str
) -> None:
    plan, values = simple()
    with pytest.raises(ExecutionError, match=said):
        execute(with_boxes(plan, boxes), pair.devices, values)


def test_a_part_must_say_what_it_leaves_of_every_image(pair: OpenPair) -> None:
    plan, values = simple()
    parts = tuple(replace(part, images=part.images[:1]) for part in plan.parts)
    with pytest.raises(ExecutionError, match="every image"):
        execute(replace(plan, parts=parts), pair.devices, values)


def test_boxes_overlap_only_where_they_share_a_pixel() -> None:
    box = ((2, 3), (4, 5))
    assert boxes_overlap(box, ((5, 7), (9, 9)))
    assert not boxes_overlap(box, ((6, 3), (4, 5)))
    assert not boxes_overlap(box, ((2, 8), (4, 5)))
    assert not boxes_overlap(box, ((3, 4), (0, 2)))


def test_a_format_that_a_device_lacks_is_refused(pair: OpenPair) -> None:
    source = """
    kernel void f(write_only image2d_t b) {
        write_imagef(b, (int2)(get_global_id(0), 0), (float4)(1.0f));
    }"""
    image = Image(np.zeros((1, 8, 4), np.int32), "BGRA", "SIGNED_INT32")
    plan, values = plan_of_images(source, [image], NDRange.of((8,), (2,)), 0)
    with pytest.raises(LaunchError, match="channel order BGRA and channel type SIGNED_INT32"):
        execute(plan, pair.devices, values)


def test_images_and_samplers_are_bound_to_their_parameters() -> None:
    arguments, _ = bind(look_at(SHIFTED).facts, [ramp(), filled(7), NEAREST, 5])
    assert arguments[:3] == (
        ImageArgument((WIDTH, HEIGHT), 16, 0, False),
        ImageArgument((WIDTH, HEIGHT), 16, 1, True),
        SamplerArgument(),
    )
    launch = Launch("shifted", NDRange.of((4, 4)), arguments)
    assert launch.transfer_bytes == 2 * WIDTH * HEIGHT * 16


@pytest.mark.parametrize(
    ("position", "value", "said"),
    [
        (0, np.zeros((4, 4)), r"argument a \(image2d_t\) takes an image"),
        (0, NEAREST, "takes an image"),
        (0, Image(np.zeros((2, 2, 2, 4), np.uint32), "RGBA", "UNSIGNED_INT32"), "of 2 sizes"),
        (0, Image(np.zeros((2, 2, 4), np.uint32), "R", "UNSIGNED_INT32"), "of 2 sizes"),
        (2, 3, "argument s .* takes a sampler"),
        (3, NEAREST, "add is a number by value"),
    ],
)
def test_a_value_that_does_not_fit_names_its_parameter(
    position: int, value: HostValue, said: str
) -> None:
    given: list[HostValue] = [ramp(), filled(7), NEAREST, 5]
    given[position] = value
    with pytest.raises(ArgumentError, match=said):
        bind(look_at(SHIFTED).facts, given)


def test_images_that_share_some_pixels_are_refused() -> None:
    pixels = np.zeros((9, 4, 4), np.uint32)
    one, other = (Image(each, "RGBA", "UNSIGNED_INT32") for each in (pixels[:8], pixels[1:]))
    with pytest.raises(ArgumentError, match="0 and 1 are images that share some pixels"):
        bind(look_at(SHIFTED).facts, [one, other, NEAREST, 5])
    source = "kernel void f(read_only image2d_t a, global uint* x) { x[0] = get_image_width(a); }"
    with pytest.raises(ArgumentError, match="a and x share memory"):
        bind(look_at(source).facts, [one, pixels[3:]])


@pytest.mark.parametrize(
    ("pixels", "order", "kind", "said"),
    [
        (np.zeros((4, 4), np.float32), "RGBX", "FLOAT", "channel order 'RGBX'"),
        (np.zeros((4, 4), np.float32), "R", "DOUBLE", "channel type 'DOUBLE'"),
        (np.zeros((4, 4)), "R", "FLOAT", "pixels of float64"),
        ([[1.0]], "R", "FLOAT", "pixels of list"),
        (np.zeros((4, 4), np.float32)[:, ::2], "R", "FLOAT", "C-contiguous"),
        (np.zeros((0, 4), np.float32), "R", "FLOAT", "without pixels"),
        (np.zeros((4, 3), np.float32), "RGBA", "FLOAT", "expected 4 along the last axis"),
    ],
)
def test_pixels_that_are_no_image_are_refused(
    pixels: np.ndarray, order: str, kind: str, said: str
) -> None:
    with pytest.raises(ArgumentError, match=said):
        Image(pixels, order, kind)


@pytest.mark.parametrize(("addressing", "filter_"), [("WRAP", "LINEAR"), ("NONE", "CUBIC")])
def test_a_sampler_that_there_is_not_is_refused(addressing: str, filter_: str) -> None:
    with pytest.raises(ArgumentError, match="expected one of"):
        Sampler(False, addressing, filter_)


@pytest.mark.parametrize(
    ("type_text", "expected"),
    [
        ("read_only image1d_t", (1, False, False)),
        ("write_only image2d_t", (2, False, True)),
        ("read_only image2d_array_t", (2, True, False)),
        ("write_only image1d_array_t", (1, True, True)),
        ("read_only image3d_t", (3, False, False)),
        ("read_only image1d_buffer_t", None),
        ("sampler_t", None),
    ],
)
def test_a_parameters_type_tells_which_images_it_takes(
    type_text: str, expected: tuple[int, bool, bool] | None
) -> None:
    facts = look_at(f"kernel void f({type_text} a, global int* x) {{ x[0] = 1; }}").facts
    assert image_type(facts.parameters[0].llvm_type) == expected


def test_an_image_given_where_a_buffer_goes_never_reaches_the_driver(pair: OpenPair) -> None:
    plan, values = simple()
    source = "kernel void shifted(global int* a, write_only image2d_t b, sampler_t s, uint add) {}"
    with pytest.raises(ArgumentError, match="argument 0 of shifted is a buffer, but an image"):
        execute(replace(plan, source=source), pair.devices, values)
