"""How soon a second process splits its first launch of a kernel that an earlier process has launched.

    python benchmarks/second_process.py --repeat 9

The program moves bodies by `kernels/n_body.cl`, which both devices together do faster, and waits for each
launch. PoCL is its device and Intel's driver the other one. It runs without the runtime, without its history,
and with both, in turns. Times are medians in milliseconds from the start of the interpreter; stages are told
as they end. How long the program waited meanwhile for its device's compiler is told apart.

All processes find the bytecode of what they import, as where packages are installed: the first one keeps it
in the temporary folder, also where `PYTHONDONTWRITEBYTECODE` is set, with which a source tree would be
compiled anew by each process (100 ms).
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
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIRST_LAUNCHES = 120
"""So many launches the first process makes: its share settles meanwhile."""
MOST_LAUNCHES = 5000


KINDS = {"none": "no runtime", "off": "LB_HISTORY=off", "on": "known kernel"}
"""What the processes have, as `--child` is told, and the heads of the table."""
STAGES = (
    "numpy and pyopencl",
    "lb_runtime",
    "installed",
    "built, with buffers",
    "first launch",
    "first split begins",
)
COMPILING, REST = "of this, building the program", "first split, but for that"
FIRST_PROCESSES = 5
"""A first process that found no gain in the end, on a busy machine, is followed by another first one."""


def main() -> None:
    """Run the first process, then the others in turns; prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=9, help="so many processes of each kind")
    parser.add_argument("--bodies", type=int, default=2048, help="so many bodies, a multiple of 64")
    parser.add_argument("--output", type=Path, default=Path(), help="where the JSON goes")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        kind, least = arguments.child
        child(arguments.bodies, int(least), kind)
        return
    # Not in the children: what it imports would count.
    from machine import describe_machine

    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        make_known(arguments.bodies, folder)
        for number in range(arguments.repeat):
            for kind, found in runs.items():
                found.append(start(arguments.bodies, folder, 1, kind))
            print(f"{number + 1} of {arguments.repeat}", end="\r", file=sys.stderr, flush=True)
    medians = {
        kind: {
            stage: round(statistics.median(run[stage] for run in found) * 1e3)
            for stage in (*STAGES, COMPILING, REST)
            if stage in found[0]
        }
        for kind, found in runs.items()
    }
    print("| | " + " | ".join(KINDS.values()) + " |\n" + "|---" * (len(KINDS) + 1) + "|")
    for stage in (*STAGES, COMPILING, REST):
        times = (str(medians[kind].get(stage, "")) for kind in KINDS)
        print(f"| {stage} | " + " | ".join(times) + " |")
    document = {
        "machine": describe_machine(),
        "bodies": arguments.bodies,
        "processes": arguments.repeat,
        "median_ms": {KINDS[kind]: found for kind, found in medians.items()},
        "runs": {KINDS[kind]: found for kind, found in runs.items()},
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "second_process.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"wrote {path}")


def make_known(bodies: int, folder: str) -> None:
    """Have a first process leave a history in which the launches are split."""
    from lb_runtime.history.store import Store

    path = Path(folder) / "history.sqlite"
    for _ in range(FIRST_PROCESSES):
        path.unlink(missing_ok=True)
        start(bodies, folder, FIRST_LAUNCHES, "on")
        if [each.code for each in Store(path).everything()] == ["split"]:
            return
    sys.exit(f"none of {FIRST_PROCESSES} first processes went on splitting: the cores are in use")


def start(bodies: int, folder: str, least: int, kind: str) -> dict[str, float]:
    """One process: the seconds from its start to the end of each stage."""
    environment = {
        **os.environ,
        "LB_DATA_DIR": folder,
        "LB_HISTORY": "on" if kind == "on" else "off",
        "LB_CPU": "Portable Computing Language",
        "LB_GPU": "Intel",
        "PYOPENCL_CTX": "Portable",
        "PYTHONPYCACHEPREFIX": str(Path(folder) / "bytecode"),
        "LB_BENCHMARK_START": repr(time.time()),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, __file__, "--bodies", str(bodies), "--child", kind, str(least)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"a process ended with {done.returncode}: {done.stderr}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def child(bodies: int, least: int, kind: str) -> None:
    """Launch until one was split, and `least` times; prints when each stage ended."""
    began = float(os.environ["LB_BENCHMARK_START"])
    seconds = {"interpreter": time.time() - began}
    import numpy as np
    import pyopencl as cl

    seconds["numpy and pyopencl"] = time.time() - began
    first: list[float] = []
    if kind != "none":
        from lb_runtime import intercept

        seconds["lb_runtime"] = time.time() - began
        intercept.install()
        seconds["installed"] = time.time() - began
    context = cl.create_some_context(interactive=False)
    queue = cl.CommandQueue(context)
    program = cl.Program(context, (ROOT / "kernels" / "n_body.cl").read_text())
    building = time.time()
    kernel = cl.Kernel(program.build(), "n_body")
    seconds[COMPILING] = time.time() - building
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    places = np.linspace(0, 1, 4 * bodies, dtype=np.float32)
    old, speeds, new = (cl.Buffer(context, flags, hostbuf=places) for _ in range(3))
    queue.finish()
    seconds["built, with buffers"] = time.time() - began
    if kind != "none":
        # Not before: what it imports would count as the program's own wait.
        note_splits(lambda: first.append(time.time() - began), is_forced=least > 1)
    launches = 0
    while launches < least or (kind != "none" and not first and launches < MOST_LAUNCHES):
        numbers = np.int32(bodies), np.float32(1e-3), np.float32(1e-2)
        kernel(queue, (bodies,), (64,), *numbers, old, speeds, new)
        old, new = new, old
        queue.finish()
        launches += 1
        seconds.setdefault("first launch", time.time() - began)
    if kind != "none":
        if not first:
            sys.exit(f"none of {launches} launches was split: is Intel's driver installed?")
        seconds["first split begins"] = first[0]
        seconds[REST] = first[0] - seconds[COMPILING]
    print(json.dumps({**seconds, "launches": launches}))


def note_splits(note: Callable[[], None], *, is_forced: bool) -> None:
    """Call `note` as each split launch begins; where it is forced, whatever a split gains."""
    from lb_runtime.dropin.split import LaunchTask
    from lb_runtime.shares import guard

    everywhere = LaunchTask._everywhere

    def noted(self: LaunchTask, *given: object) -> None:
        note()
        everywhere(self, *given)  # type: ignore[arg-type]

    LaunchTask._everywhere = noted  # type: ignore[method-assign]
    if is_forced:
        # The first process keeps splitting on a busy machine, too: what is timed is how soon, not whether.
        guard.FIRST_MARGIN = guard.MARGIN = float("inf")


if __name__ == "__main__":
    main()
