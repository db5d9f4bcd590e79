"""Launches of our kernels that are large enough for two devices to gain: some 50 to 400 ms on one core."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """A launch beside the default one of a kernel: sizes in work-items, and SPECs by argument."""

    global_size: tuple[int, ...]
    local_size: tuple[int, ...] | None = None
    arguments: tuple[str, ...] = ()


def _size(
    global_size: tuple[int, ...], local_size: tuple[int, ...] | None = None, **arguments: object
) -> Size:
    return Size(global_size, local_size, tuple(f"{n}={spec}" for n, spec in arguments.items()))


_OPTIONS = 3 << 19
_ROWS = 1 << 19

LARGE = {
    "binomial_options": _size(
        (6144 * 64,),
        price="rand:float32:6144:5:30",
        strike="rand:float32:6144:1:100",
        years="rand:float32:6144:0.25:10",
        call="zeros:float32:6144",
    ),
    "bitonic_step": _size((1 << 23,), keys="rand:uint32:16M:0:4294967296"),
    "black_scholes": _size(
        (_OPTIONS,),
        n=_OPTIONS,
        price=f"rand:float32:{_OPTIONS}:5:30",
        strike=f"rand:float32:{_OPTIONS}:1:100",
        years=f"rand:float32:{_OPTIONS}:0.25:10",
        call=f"zeros:float32:{_OPTIONS}",
        put=f"zeros:float32:{_OPTIONS}",
    ),
    "group_reduction": _size(
        (1 << 19,), n=16000000, x="rand:float32:16000000", partial="zeros:float32:2048"
    ),
    "histogram": _size((1 << 25,), n=1 << 25, values="rand:uint8:32M"),
    # Rows differ in their work: lower groups can be shared out more evenly.
    "mandelbrot": _size(
        (2048, 1536),
        (64, 4),
        width=2048,
        height=1536,
        pixel_size=0.00146484375,
        iterations="zeros:int32:1536x2048",
    ),
    "matmul": _size(
        (768, 768),
        rows=768,
        columns=768,
        inner=512,
        a="rand:float32:768x512",
        b="rand:float32:512x768",
        c="zeros:float32:768x768",
    ),
    "monte_carlo_pi": _size((1 << 16,), samples=1024),
    "n_body": _size(
        (8192,),
        n=8192,
        positions="rand:float4:8192",
        velocities="rand:float4:8192:-0.1:0.1",
        new_positions="zeros:float4:8192",
    ),
    "rgb_to_gray": _size(
        (1 << 24,), pixels=1 << 24, colour="rand:uchar4:16M", gray="zeros:uint8:16M"
    ),
    "saxpy": _size((1 << 25,), n=1 << 25, x="rand:float32:32M", y="rand:float32:32M"),
    "scatter": _size(
        (1 << 23,),
        n=8000000,
        index="arange:uint32:8000000:15999999:-2",
        value="rand:float32:8000000",
        target="full:float32:16000000:-1",
    ),
    "sobel": _size(
        (4096, 3072),
        width=4096,
        height=3072,
        image="rand:uint8:3072x4096",
        edges="full:uint8:3072x4096:7",
    ),
    "spmv_csr": _size(
        (_ROWS,),
        rows=_ROWS,
        row_start=f"arange:int32:{_ROWS + 1}:0:32",
        columns=f"rand:int32:16M:0:{_ROWS}",
        values="rand:float32:16M:-1:1",
        x=f"rand:float32:{_ROWS}",
        y=f"zeros:float32:{_ROWS}",
    ),
    "stencil_3d": _size(
        (256, 256, 256),
        width=256,
        height=256,
        depth=256,
        grid="rand:float32:256x256x256",
        next="full:float32:256x256x256:-1",
    ),
    "transpose": _size(
        (4096, 3072),
        width=4096,
        height=3060,
        matrix="rand:float32:3060x4096",
        transposed="zeros:float32:4096x3060",
    ),
    "work_item_builtins": _size((192, 80, 80), record="full:int32:1228800x22:-1"),
}
"""Kernel file -> its launch; kernels that are not named are large enough by default."""
