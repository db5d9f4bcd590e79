"""Relaxes a grid inside a fixed frame by Jacobi's method: five-point sums, two buffers that are swapped.

A plain pyopencl program. It knows nothing of lb_runtime; run it by itself, or on two devices:

    python examples/jacobi.py
    lb exec --report examples/jacobi.py --iterations 1000

A sum times a constant leaves a compiler nothing to fuse, so that every device computes the same bytes.
`PYOPENCL_CTX` chooses the device, as for every pyopencl program.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from time import perf_counter

import numpy as np
import pyopencl as cl

KERNEL = """
kernel void jacobi(global const float *old, global float *next, int columns, int rows) {
    int x = get_global_id(0);
    int y = get_global_id(1);
    if (x >= columns || y >= rows) return;
    int here = y * columns + x;
    if (x == 0 || y == 0 || x == columns - 1 || y == rows - 1) {
        next[here] = old[here];
        return;
    }
    next[here] = 0.2f * (old[here] + old[here - 1] + old[here + 1]
                         + old[here - columns] + old[here + columns]);
}
"""
GROUP = (8, 8)


def main() -> None:
    """Read the command line, solve, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--columns", type=positive, default=2048)
    parser.add_argument("--rows", type=positive, default=2048)
    parser.add_argument("--iterations", type=positive, default=200)
    parser.add_argument("--repeat", type=positive, default=1, help="solve so many times")
    parser.add_argument("--output", type=Path, help="write the grid to this .npy file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()

    context = cl.create_some_context(interactive=False)
    queue = cl.CommandQueue(context)
    program = cl.Program(context, KERNEL).build()
    kernel = cl.Kernel(program, "jacobi")
    shape = arguments.rows, arguments.columns
    start = np.random.default_rng(0).random(shape, np.float32)

    seconds = []
    for _ in range(arguments.repeat):
        grid, took = solve(queue, kernel, start, arguments.iterations)
        seconds.append(took)
    if arguments.output:
        np.save(arguments.output, grid)
    checksum = hashlib.sha256(grid.tobytes()).hexdigest()
    if arguments.json:
        device = queue.device.name.strip()
        print(json.dumps({"device": device, "sha256": checksum, "seconds": seconds}))
    else:
        print(f"sha256 {checksum}")
        print("seconds " + " ".join(f"{each:.4f}" for each in seconds))


def positive(text: str) -> int:
    """A whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} given, expected at least 1")
    return value


def solve(
    queue: cl.CommandQueue, kernel: cl.Kernel, start: np.ndarray, iterations: int
) -> tuple[np.ndarray, float]:
    """The grid after so many iterations, and the seconds that these took on the device.

    Shapes: `start` and the result are `(rows, columns)` of float32; the cells at the edges stay as they are.
    """
    height, width = start.shape
    global_size = tuple(-(-n // group) * group for n, group in zip((width, height), GROUP))
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    old, new = (cl.Buffer(queue.context, flags, hostbuf=start) for _ in range(2))
    queue.finish()
    began = perf_counter()
    for _ in range(iterations):
        kernel(queue, global_size, GROUP, old, new, np.int32(width), np.int32(height))
        old, new = new, old
    queue.finish()
    took = perf_counter() - began
    grid = np.empty_like(start)
    cl.enqueue_copy(queue, grid, old)
    return grid, took


if __name__ == "__main__":
    main()
