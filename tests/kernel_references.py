"""What each shipped kernel computes, in numpy, and a small launch of each for quick tests.

A reference takes the materialised arguments by name, as they are before the launch, plus
`global_size`, `local_size` and `offset`, and returns the expected content of every buffer that the
kernel writes. It computes in double precision where the kernel has floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lb_runtime.cli.kernel_file import DefaultLaunch, read_default_launch
from lb_runtime.cli.specs import Number, NumberSpec, Spec, parse_spec

KERNELS = Path(__file__).parent.parent / "kernels"

Arguments = dict[str, Any]
Buffers = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a float may be off; integers are compared exactly."""

    relative: float = 0.0
    absolute: float = 0.0


@dataclass(frozen=True, slots=True)
class SmallLaunch:
    """What a small launch of a kernel changes in its default one; None and unnamed stay."""

    global_size: tuple[int, ...] | None = None
    local_size: tuple[int, ...] | None = None
    offset: tuple[int, ...] | None = None
    options: tuple[str, ...] | None = None
    arguments: dict[str, Number | str] = field(default_factory=dict)


def default_launch(stem: str) -> DefaultLaunch:
    """The default launch of `kernels/STEM.cl`; KeyError if it has none."""
    launch = read_default_launch(KERNELS / f"{stem}.cl")
    if launch is None:
        raise KeyError(f"kernels/{stem}.toml is missing")
    return launch


def small_launch(stem: str) -> DefaultLaunch:
    """The launch of `SMALL`, or the default one for a kernel that is not named there."""
    launch = default_launch(stem)
    small = SMALL.get(stem, SmallLaunch())
    unknown = small.arguments.keys() - dict(launch.arguments).keys()
    assert not unknown, f"SMALL[{stem!r}] names {unknown}, which the kernel does not have"
    return replace(
        launch,
        global_size=small.global_size or launch.global_size,
        local_size=small.local_size or launch.local_size,
        offset=small.offset or launch.offset,
        options=small.options or launch.options,
        arguments=tuple(
            (name, _spec(small.arguments[name]) if name in small.arguments else spec)
            for name, spec in launch.arguments
        ),
    )


def materialise(launch: DefaultLaunch, seed: int = 0) -> Arguments:
    """A launch's arguments by name, in order, followed by its sizes: what a reference takes."""
    values: Arguments = {
        name: spec.materialise(seed, position)
        for position, (name, spec) in enumerate(launch.arguments)
    }
    return {
        **values,
        "global_size": launch.global_size,
        "local_size": launch.local_size,
        "offset": launch.offset,
    }


def _spec(given: Number | str) -> Spec:
    return parse_spec(given) if isinstance(given, str) else NumberSpec(given)


def _saxpy(given: Arguments) -> Buffers:
    return {"y": given["a"] * given["x"].astype(np.float64) + given["y"]}


def _grid_stride_add(given: Arguments) -> Buffers:
    return {"y": given["x"] + given["y"]}


def _mandelbrot(given: Arguments) -> Buffers:
    """In float32, operation by operation: a count near the border of the set hangs on each bit."""
    step = np.float32(given["pixel_size"])
    real = np.float32(given["left"]) + step * np.arange(given["width"], dtype=np.float32)
    imaginary = np.float32(given["bottom"]) + step * np.arange(given["height"], dtype=np.float32)
    real, imaginary = np.meshgrid(real, imaginary)
    x, y = np.zeros_like(real), np.zeros_like(real)
    counts = np.zeros(real.shape, np.int32)
    inside = np.ones(real.shape, bool)
    for _ in range(given["max_iterations"]):
        xx, yy = x * x, y * y
        inside &= xx + yy <= 4
        counts += inside
        y = np.where(inside, np.float32(2) * x * y + imaginary, y)
        x = np.where(inside, xx - yy + real, x)
    return {"iterations": counts}


def _n_body(given: Arguments) -> Buffers:
    positions = given["positions"].astype(np.float64)
    velocities = given["velocities"].astype(np.float64)
    towards = positions[None, :, :3] - positions[:, None, :3]
    squared = (towards**2).sum(axis=2) + given["softening"] ** 2
    acceleration = (towards * (positions[None, :, 3] / squared**1.5)[:, :, None]).sum(axis=1)
    velocities[:, :3] += given["time_step"] * acceleration
    positions[:, :3] += given["time_step"] * velocities[:, :3]
    return {"velocities": velocities, "new_positions": positions}


def _black_scholes(given: Arguments) -> Buffers:
    price, strike, years = (given[name].astype(np.float64) for name in ("price", "strike", "years"))
    rate, volatility = given["rate"], given["volatility"]
    erfc = np.vectorize(math.erfc, otypes=[np.float64])

    def cdf(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(0.5 * erfc(-x / math.sqrt(2)))

    spread = volatility * np.sqrt(years)
    d1 = (np.log(price / strike) + (rate + volatility**2 / 2) * years) / spread
    d2 = d1 - spread
    discounted = strike * np.exp(-rate * years)
    return {
        "call": price * cdf(d1) - discounted * cdf(d2),
        "put": discounted * cdf(-d2) - price * cdf(-d1),
    }


def _binomial_options(given: Arguments) -> Buffers:
    price, strike, years = (given[name].astype(np.float64) for name in ("price", "strike", "years"))
    steps = given["steps"]
    step_years = years / steps
    up = np.exp(given["volatility"] * np.sqrt(step_years))
    growth = np.exp(given["rate"] * step_years)
    chance = (growth - 1 / up) / (up - 1 / up)
    ends = price[:, None] * up[:, None] ** np.arange(-steps, steps + 1, 2)
    values = np.maximum(ends - strike[:, None], 0)
    for _ in range(steps):
        later = chance[:, None] * values[:, 1:] + (1 - chance[:, None]) * values[:, :-1]
        values = later / growth[:, None]
    return {"call": values[:, 0]}


def _gaussian_blur(given: Arguments) -> Buffers:
    radius = given["radius"]
    weights = given["weights"].astype(np.float64).reshape(2 * radius + 1, 2 * radius + 1)
    image = given["image"].view(np.uint8).reshape(given["height"], given["width"], 4)
    padded = np.pad(image, [(radius, radius), (radius, radius), (0, 0)], mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, weights.shape, axis=(0, 1))
    sums = np.einsum("yxcij,ij->yxc", windows.astype(np.float64), weights)
    return {"result": np.rint(sums).clip(0, 255).astype(np.uint8)}


def _matmul(given: Arguments) -> Buffers:
    return {"c": given["a"].astype(np.float64) @ given["b"].astype(np.float64)}


def _convolution_2d(given: Arguments) -> Buffers:
    mask = given["mask"].astype(np.float64)
    radius = mask.shape[0] // 2
    padded = np.pad(given["image"].astype(np.float64), radius, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, mask.shape)
    return {"result": np.einsum("yxij,ij->yx", windows, mask)}


def _stencil_3d(given: Arguments) -> Buffers:
    grid = given["grid"].astype(np.float64)
    expected = given["next"].astype(np.float64)
    inner = (slice(1, -1),) * 3
    around = sum(np.roll(grid, shift, axis)[inner] for axis in range(3) for shift in (-1, 1))
    expected[inner] = given["centre"] * grid[inner] + given["neighbour"] * around
    return {"next": expected}


def _transpose(given: Arguments) -> Buffers:
    return {"transposed": np.ascontiguousarray(given["matrix"].T)}


def _group_reduction(given: Arguments) -> Buffers:
    """Element i belongs to work-item i modulo the global size, hence to that item's group."""
    (total,), (local,) = given["global_size"], given["local_size"]
    groups = np.arange(given["n"]) % total // local
    sums = np.bincount(groups, weights=given["x"], minlength=total // local)
    return {"partial": sums}


def _histogram(given: Arguments) -> Buffers:
    return {"bins": given["bins"] + np.bincount(given["values"], minlength=256).astype(np.uint32)}


def _spmv_csr(given: Arguments) -> Buffers:
    products = given["values"].astype(np.float64) * given["x"][given["columns"]]
    running = np.concatenate([[0.0], np.cumsum(products)])
    return {"y": running[given["row_start"][1:]] - running[given["row_start"][:-1]]}


def _scramble(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    value = value ^ (value >> np.uint32(16))
    value = value * np.uint32(0x7FEB352D)
    value = value ^ (value >> np.uint32(15))
    value = value * np.uint32(0x846CA68B)
    return np.asarray(value ^ (value >> np.uint32(16)))


def _monte_carlo_pi(given: Arguments) -> Buffers:
    items = np.arange(given["global_size"][0], dtype=np.uint32)
    seed = _scramble(np.array([given["seed"]], np.uint32))
    state = _scramble(items + seed) | np.uint32(1)
    counts = np.zeros_like(items)
    for _ in range(given["samples"]):
        state ^= state << np.uint32(13)
        state ^= state >> np.uint32(17)
        state ^= state << np.uint32(5)
        x, y = state & np.uint32(0x7FFF), state >> np.uint32(17)
        counts += x * x + y * y < 1 << 30
    return {"counts": counts}


def _bitonic_step(given: Arguments) -> Buffers:
    """Pairs lie `1 << pass` apart; runs of `2 << stage` keys ascend and descend in turn."""
    pairs = given["keys"].reshape(-1, 2, 1 << given["pass"])
    low = np.arange(given["keys"].size).reshape(pairs.shape)[:, 0]
    ascending = (low >> (given["stage"] + 1)) % 2 == 0
    least, most = pairs.min(axis=1), pairs.max(axis=1)
    ordered = np.stack([np.where(ascending, least, most), np.where(ascending, most, least)], 1)
    return {"keys": ordered.reshape(-1)}


def _work_item_builtins(given: Arguments) -> Buffers:
    """The seven fields per dimension in the order of the source; beyond the range, 1s and 0s."""
    used = len(given["global_size"])
    sizes, locals_, offsets = (
        (*given[name], *(beyond,) * (given["dimensions"] - used))
        for name, beyond in (("global_size", 1), ("local_size", 1), ("offset", 0))
    )
    # The slowest dimension comes first in an array's shape, and last in OpenCL's.
    places = np.indices(sizes[::-1]).reshape(3, -1)[::-1]
    columns = [np.full(places.shape[1], used)]
    for place, size, local, offset in zip(places, sizes, locals_, offsets, strict=True):
        fields = (
            *(size, place + offset, local, place % local),
            *(size // local, place // local, offset),
        )
        columns.extend(np.broadcast_to(value, places.shape[1]) for value in fields)
    return {"record": np.stack(columns, axis=1).astype(np.int32)}


def _prefix_sum_flags(given: Arguments) -> Buffers:
    (local,), (total,) = given["local_size"], given["global_size"]
    sums = np.cumsum(given["values"], dtype=np.uint32)
    ends = np.minimum(np.arange(local, total + 1, local), given["n"]) - 1
    return {
        "sums": sums,
        "status": sums[ends] | np.uint32(1 << 31),
        "ticket": given["ticket"] + np.uint32(total // local),
    }


def _rgb_to_gray(given: Arguments) -> Buffers:
    red, green, blue, _ = np.moveaxis(given["colour"].astype(np.uint32), -1, 0)
    return {"gray": ((77 * red + 150 * green + 29 * blue + 128) >> 8).astype(np.uint8)}


def _sobel(given: Arguments) -> Buffers:
    image = given["image"].astype(np.int32)
    smooth_down = image[:-2] + 2 * image[1:-1] + image[2:]
    smooth_across = image[:, :-2] + 2 * image[:, 1:-1] + image[:, 2:]
    across = smooth_down[:, 2:] - smooth_down[:, :-2]
    down = smooth_across[2:] - smooth_across[:-2]
    expected = given["edges"].copy()
    expected[1:-1, 1:-1] = np.minimum(np.abs(across) + np.abs(down), 255)
    return {"edges": expected}


def _scatter(given: Arguments) -> Buffers:
    expected = given["target"].copy()
    expected[given["index"]] = given["value"]
    return {"target": expected}


REFERENCES: dict[str, Callable[[Arguments], Buffers]] = {
    "binomial_options": _binomial_options,
    "bitonic_step": _bitonic_step,
    "black_scholes": _black_scholes,
    "convolution_2d": _convolution_2d,
    "gaussian_blur": _gaussian_blur,
    "grid_stride_add": _grid_stride_add,
    "group_reduction": _group_reduction,
    "histogram": _histogram,
    "mandelbrot": _mandelbrot,
    "matmul": _matmul,
    "matmul_tiled": _matmul,
    "monte_carlo_pi": _monte_carlo_pi,
    "n_body": _n_body,
    "prefix_sum_flags": _prefix_sum_flags,
    "rgb_to_gray": _rgb_to_gray,
    "saxpy": _saxpy,
    "scatter": _scatter,
    "sobel": _sobel,
    "spmv_csr": _spmv_csr,
    "stencil_3d": _stencil_3d,
    "transpose": _transpose,
    "work_item_builtins": _work_item_builtins,
}

# Kernels that are not named here must agree exactly.
TOLERANCES: dict[str, Tolerance] = {
    "binomial_options": Tolerance(1e-4, 2e-4),
    "black_scholes": Tolerance(1e-5, 2e-5),
    "convolution_2d": Tolerance(1e-5),
    "group_reduction": Tolerance(1e-5),
    "matmul": Tolerance(1e-5),
    "matmul_tiled": Tolerance(1e-5),
    "n_body": Tolerance(1e-5, 1e-6),
    "saxpy": Tolerance(1e-6),
    "spmv_csr": Tolerance(1e-5, 1e-6),
    "stencil_3d": Tolerance(1e-6),
}

# Sizes that leave a remainder wherever the kernel allows one.
SMALL: dict[str, SmallLaunch] = {
    "binomial_options": SmallLaunch(
        (512,),
        (8,),
        arguments={
            "steps": 37,
            "price": "rand:float32:64:5:30",
            "strike": "rand:float32:64:1:100",
            "years": "rand:float32:64:0.25:10",
            "call": "zeros:float32:64",
            "levels": "local:float32:76",
        },
    ),
    "bitonic_step": SmallLaunch(
        (4096,), (64,), arguments={"stage": 6, "pass": 4, "keys": "rand:uint32:8K:0:1000"}
    ),
    "black_scholes": SmallLaunch(
        (2048,),
        (64,),
        arguments={
            "n": 2000,
            "price": "rand:float32:2000:5:30",
            "strike": "rand:float32:2000:1:100",
            "years": "rand:float32:2000:0.25:10",
            "call": "zeros:float32:2000",
            "put": "zeros:float32:2000",
        },
    ),
    "convolution_2d": SmallLaunch(
        (48, 64),
        (16, 4),
        options=("-D", "RADIUS=3"),
        arguments={
            "width": 45,
            "height": 61,
            "image": "rand:float32:61x45",
            "mask": "rand:float32:7x7",
            "result": "zeros:float32:61x45",
        },
    ),
    "gaussian_blur": SmallLaunch(
        (48, 64),
        (16, 4),
        arguments={
            "width": 45,
            "height": 61,
            "radius": 2,
            "image": "rand:uint8x4:61x45",
            # Odd weights, so that no sum lies halfway between two numbers.
            "weights": "arange:float32:25:0.0101:0.0023",
            "result": "zeros:uint8x4:61x45",
        },
    ),
    "grid_stride_add": SmallLaunch(
        (256,),
        (32,),
        arguments={"n": 3001, "x": "rand:float32:3001", "y": "rand:float32:3001"},
    ),
    "group_reduction": SmallLaunch(
        (1024,),
        (64,),
        arguments={
            "n": 5001,
            "x": "rand:float32:5001",
            "partial": "zeros:float32:16",
            "scratch": "local:float32:64",
        },
    ),
    "histogram": SmallLaunch(
        (8192,),
        (64,),
        arguments={"n": 8001, "values": "rand:uint8:8001", "bins": "full:uint32:256:5"},
    ),
    "mandelbrot": SmallLaunch(
        (112, 80),
        (16, 8),
        arguments={
            "width": 101,
            "height": 75,
            "max_iterations": 100,
            "pixel_size": 0.03,
            "iterations": "zeros:int32:75x101",
        },
    ),
    "matmul": SmallLaunch(
        (48, 64),
        (8, 8),
        arguments={
            "rows": 61,
            "columns": 43,
            "inner": 37,
            "a": "rand:float32:61x37",
            "b": "rand:float32:37x43",
            "c": "zeros:float32:61x43",
        },
    ),
    "matmul_tiled": SmallLaunch(
        (48, 64),
        (8, 8),
        options=("-D", "TILE=8"),
        arguments={
            "rows": 61,
            "columns": 43,
            "inner": 37,
            "a": "rand:float32:61x37",
            "b": "rand:float32:37x43",
            "c": "zeros:float32:61x43",
        },
    ),
    "monte_carlo_pi": SmallLaunch(
        (1024,), (32,), arguments={"samples": 100, "counts": "zeros:uint32:1024"}
    ),
    "n_body": SmallLaunch(
        (256,),
        (16,),
        arguments={
            "n": 250,
            "positions": "rand:float4:250",
            "velocities": "rand:float4:250:-0.1:0.1",
            "new_positions": "zeros:float4:250",
        },
    ),
    "prefix_sum_flags": SmallLaunch(
        (2048,),
        (64,),
        arguments={
            "n": 2000,
            "values": "rand:uint32:2000:0:256",
            "sums": "zeros:uint32:2000",
            "status": "zeros:uint32:32",
            "scratch": "local:uint32:64",
        },
    ),
    "rgb_to_gray": SmallLaunch(
        (4096,),
        (64,),
        arguments={"pixels": 4001, "colour": "rand:uchar4:4001", "gray": "zeros:uint8:4001"},
    ),
    "saxpy": SmallLaunch(
        (4096,),
        (64,),
        arguments={"n": 4001, "x": "rand:float32:4001", "y": "rand:float32:4001"},
    ),
    "scatter": SmallLaunch(
        (4096,),
        (64,),
        arguments={
            "n": 4001,
            "index": "arange:uint32:4001:8001:-2",
            "value": "rand:float32:4001",
            "target": "full:float32:8002:-1",
        },
    ),
    "sobel": SmallLaunch(
        (112, 80),
        (16, 8),
        arguments={
            "width": 101,
            "height": 75,
            "image": "rand:uint8:75x101",
            "edges": "full:uint8:75x101:7",
        },
    ),
    "spmv_csr": SmallLaunch(
        (1024,),
        (32,),
        arguments={
            "rows": 1001,
            "row_start": "arange:int32:1002:0:7",
            "columns": "rand:int32:7007:0:1001",
            "values": "rand:float32:7007:-1:1",
            "x": "rand:float32:1001",
            "y": "zeros:float32:1001",
        },
    ),
    "stencil_3d": SmallLaunch(
        (24, 20, 16),
        (8, 4, 2),
        arguments={
            "width": 23,
            "height": 18,
            "depth": 15,
            "grid": "rand:float32:15x18x23",
            "next": "full:float32:15x18x23:-1",
        },
    ),
    "transpose": SmallLaunch(
        (96, 64),
        (8, 8),
        options=("-D", "TILE=8"),
        arguments={
            "width": 91,
            "height": 61,
            "matrix": "rand:float32:61x91",
            "transposed": "zeros:float32:91x61",
        },
    ),
    "work_item_builtins": SmallLaunch(
        (24, 12, 10), (4, 3, 2), (5, 7, 11), arguments={"record": "full:int32:2880x22:-1"}
    ),
}
