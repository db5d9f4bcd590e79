"""How soon a second process splits its first launch of a kernel that an earlier process has launched.

    python benchmarks/second_process.py --repeat 9
    python benchmarks/second_process.py --repeat 9 --history off

The program is the solver of `examples/jacobi.py`, which waits for each launch. PoCL is its device and Intel's
driver the other one. Times are medians from the start of the interpreter; stages are told as they end.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIRST_LAUNCHES = 120
"""So many launches the first process makes: its share settles meanwhile."""
MOST_LAUNCHES = 5000


def main() -> None:
    """Run the first process, then the others, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=9, help="so many second processes")
    parser.add_argument("--side", type=int, default=2048, help="cells of a side of the grid")
    parser.add_argument("--history", choices=["on", "off"], default="on")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        child(arguments.side, arguments.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        start(arguments, folder, FIRST_LAUNCHES)
        runs = [start(arguments, folder, 1) for _ in range(arguments.repeat)]
    medians = {
        stage: statistics.median(run[stage] for run in runs)
        for stage in runs[0]
        if stage != "launches"
    }
    print(
        json.dumps(
            {
                "history": arguments.history,
                "side": arguments.side,
                "processes": len(runs),
                "median_seconds": {stage: round(value, 4) for stage, value in medians.items()},
                "launches": [run["launches"] for run in runs],
            }
        )
    )


def start(arguments: argparse.Namespace, folder: str, least: int) -> dict[str, float]:
    """One process: the seconds from its start to the end of each stage."""
    environment = {
        **os.environ,
        "LB_DATA_DIR": folder,
        "LB_HISTORY": arguments.history,
        "LB_CPU": "Portable Computing Language",
        "LB_GPU": "Intel",
        "PYOPENCL_CTX": "Portable",
        "LB_BENCHMARK_START": repr(time.time()),
    }
    command = [sys.executable, __file__, "--side", str(arguments.side), "--child", str(least)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"a process ended with {done.returncode}: {done.stderr}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def child(side: int, least: int) -> None:
    """Launch until one was split, and `least` times; prints when each stage ended."""
    began = float(os.environ["LB_BENCHMARK_START"])
    seconds = {"interpreter": time.time() - began}
    import numpy as np
    import pyopencl as cl

    seconds["numpy and pyopencl"] = time.time() - began
    from lb_runtime import intercept
    from lb_runtime.dropin.split import LaunchTask
    from lb_runtime.shares import guard

    seconds["lb_runtime"] = time.time() - began
    first: list[float] = []
    everywhere = LaunchTask._everywhere

    def noted(self: LaunchTask, *given: object) -> None:
        first.append(time.time() - began)
        everywhere(self, *given)  # type: ignore[arg-type]

    LaunchTask._everywhere = noted  # type: ignore[method-assign]
    if least > 1:
        # The first process keeps splitting on a busy machine, too: what is timed is how soon, not whether.
        guard.FIRST_MARGIN = guard.MARGIN = float("inf")
    intercept.install()
    seconds["installed"] = time.time() - began
    sys.path.insert(0, str(ROOT / "examples"))
    import jacobi

    context = cl.create_some_context(interactive=False)
    queue = cl.CommandQueue(context)
    kernel = cl.Kernel(cl.Program(context, jacobi.KERNEL).build(), "jacobi")
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    cells = np.zeros((side, side), np.float32)
    old, new = (cl.Buffer(context, flags, hostbuf=cells) for _ in range(2))
    queue.finish()
    seconds["built, with buffers"] = time.time() - began
    launches = 0
    while (not first or launches < least) and launches < MOST_LAUNCHES:
        kernel(queue, (side, side), jacobi.GROUP, old, new, np.int32(side), np.int32(side))
        old, new = new, old
        queue.finish()
        launches += 1
        seconds.setdefault("first launch", time.time() - began)
    if not first:
        sys.exit(f"none of {launches} launches was split: is Intel's driver installed?")
    print(json.dumps({**seconds, "first split begins": first[0], "launches": launches}))


if __name__ == "__main__":
    main()
