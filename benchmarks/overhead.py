"""What a kernel launch costs the program that enqueues it: stock pyopencl, and with the drop-in installed.

Two processes make the same calls, one of them with the drop-in, in blocks that take turns (stock, installed,
stock, ...), so that a machine that slows down slows both. Passes are measured once the drop-in has made up
its mind about the kernel, splits (`force`) with launches waiting and with the queue empty. A launch's time
is that of the call that enqueues it; the work on the devices is none of it: but for the empty queue, the
launches of a block wait behind an event until all are enqueued. Each CPU platform is held to one
core, and so is the thread that enqueues; those of the drivers and of the drop-in are not.

    python benchmarks/overhead.py --output benchmarks/results
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles
from time import monotonic, perf_counter, sleep
from typing import TYPE_CHECKING, Any

import click
from machine import ONE_CORE, describe_machine
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    import pyopencl as cl

SOURCE = """
kernel void scale(global const float *in, global float *out, float by, int count) {
    int i = get_global_id(0);
    if (i < count) out[i] = in[i] * by;
}
"""
ITEMS = 8192
GROUP = 64
READY_SECONDS = 60.0
"""So long may the drop-in take to make up its mind about a kernel."""
SETTLING_SECONDS = 2.0
UNCOUNTED = 3
"""So many blocks of each process go before those that count."""
ASKED = 20
"""So many launches in a row must go the way that is measured before it is."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured: one of the calls of `calls`, how the drop-in is set, and what its launches come to.

    `way` is "split" or the code of a pass. `waits` empties the queue after each call.
    """

    name: str
    call: str
    settings: dict[str, Any]
    way: str
    waits: bool = False


ON: dict[str, Any] = {}
FORCED = {"force": True, "share": 0.5}
CASES = (
    Case("passed: kernel(...)", "call", ON, "too-small"),
    Case("passed: set_args and enqueue", "enqueue", ON, "too-small"),
    Case("passed: array + array", "add", ON, "too-small"),
    Case("observed: kernel(...)", "call", {"mode": "observe"}, "observing"),
    Case("split: kernel(...)", "call", FORCED, "split"),
    Case("split: set_args and enqueue", "enqueue", FORCED, "split"),
    Case("split, queue empty: kernel(...)", "call", FORCED, "split", waits=True),
    Case("split, queue empty: set_args and enqueue", "enqueue", FORCED, "split", waits=True),
)


@click.command()
@click.option("--blocks", type=click.IntRange(min=2), default=60, show_default=True)
@click.option(
    "--launches", type=click.IntRange(min=1), default=200, show_default=True, help="In a block."
)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path())
def main(blocks: int, launches: int, output: Path) -> None:
    """Measure the host's time for a launch, stock and installed."""
    os.environ.update(ONE_CORE)
    rows = []
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("measuring", total=len(CASES))
        for case in CASES:
            progress.update(task, description=case.name)
            # A call that is followed by a wait takes as long as the launch: fewer will do.
            rows.append(measure(case, blocks, launches // 5 + 1 if case.waits else launches))
            progress.advance(task)
    document = {
        "machine": describe_machine(),
        "environment": ONE_CORE,
        "blocks": blocks,
        "launches": launches,
        "cases": rows,
    }
    show(rows)
    output.mkdir(parents=True, exist_ok=True)
    path = output / "overhead.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    click.echo(f"wrote {path}")


def measure(case: Case, blocks: int, launches: int) -> dict[str, Any]:
    """Blocks of stock and installed launches in turn: microseconds of one, and what became of them."""
    with _process(case, is_installed=False) as stock, _process(case, is_installed=True) as ours:
        times: tuple[list[float], list[float]] = ([], [])
        for number in range(UNCOUNTED + blocks):
            for connection, found in zip((stock, ours), times):
                connection.send(launches)
                microseconds = _received(connection, case)
                if number >= UNCOUNTED:
                    found.append(microseconds)
        ours.send(0)
        ways = _received(ours, case)
    return {
        "case": case.name,
        "stock_microseconds": _spread(times[0]),
        "installed_microseconds": _spread(times[1]),
        "difference_microseconds": _spread([more - less for less, more in zip(*times)]),
        "ratio": round(median(times[1]) / median(times[0]), 3),
        "ways": ways,
    }


@contextmanager
def _process(case: Case, *, is_installed: bool) -> Iterator[Connection]:
    """A process that runs a block of so many launches for each number it is sent."""
    mine, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_work, args=(theirs, case, is_installed), daemon=True)
    process.start()
    theirs.close()
    try:
        yield mine
    finally:
        mine.close()
        process.join(timeout=READY_SECONDS)
        process.kill()


def _received(connection: Connection, case: Case) -> Any:
    try:
        found = connection.recv()
    except EOFError:
        raise click.ClickException(f"{case.name}: the process ended too early") from None
    if isinstance(found, str):
        raise click.ClickException(f"{case.name}: {found}")
    return found


def _work(connection: Connection, case: Case, is_installed: bool) -> None:
    """Answer each number with the microseconds of a launch, 0 with what became of the launches."""
    warnings.simplefilter("ignore")
    queue, made = calls()
    call = made[case.call]
    try:
        if is_installed:
            _wait_until_decided(case, call, queue)
        _hold_to_one_core()
        before = _ways(queue)
        while True:
            launches = connection.recv()
            if launches:
                timed = _each_call if case.waits else _all_calls
                connection.send(timed(call, queue, launches))
            else:
                connection.send(dict(_ways(queue) - before))
    except RuntimeError as error:
        connection.send(str(error))
    except EOFError:
        return


def _hold_to_one_core() -> None:
    """Let this thread run on one core, the same in both processes: that is not what is measured."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def calls() -> tuple[cl.CommandQueue, dict[str, Callable[[], object]]]:
    """A program's queue, on PoCL where that is there, and the calls to measure on it, by name."""
    import numpy as np

    from lb_runtime.devices import device_handles, discover

    devices = discover().devices
    home = next((device for device in devices if device.is_pocl), devices[0])
    import pyopencl as cl
    import pyopencl.array as cl_array

    queue = cl.CommandQueue(cl.Context([device_handles()[home.index]]))
    program = cl.Program(queue.context, SOURCE).build()
    kernel = cl.Kernel(program, "scale")
    host = np.arange(ITEMS, dtype=np.float32)
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    source, target = (cl.Buffer(queue.context, flags, hostbuf=host) for _ in range(2))
    by, count = np.float32(2.5), np.int32(ITEMS)
    one, two = (cl_array.to_device(queue, host) for _ in range(2))

    def call() -> object:
        return kernel(queue, (ITEMS,), (GROUP,), source, target, by, count)

    def enqueue() -> object:
        kernel.set_args(source, target, by, count)
        return cl.enqueue_nd_range_kernel(queue, kernel, (ITEMS,), (GROUP,))

    def add() -> object:
        return one + two

    return queue, {"call": call, "enqueue": enqueue, "add": add}


def _wait_until_decided(case: Case, call: Callable[[], object], queue: cl.CommandQueue) -> None:
    """Install the drop-in and launch until launches go the way that is to be measured.

    Raises `RuntimeError` where they do not, with what becomes of them.
    """
    from lb_runtime import install
    from lb_runtime.settings import Settings

    install(Settings(**case.settings))
    until = monotonic() + READY_SECONDS
    while monotonic() < until:
        before = _ways(queue)
        for _ in range(ASKED):
            call()
        went = _ways(queue) - before
        if went[case.way] == ASKED:
            # What is loaded in the background meanwhile is no part of a launch.
            sleep(SETTLING_SECONDS)
            return
    raise RuntimeError(f"launches went {dict(went)}, expected {case.way!r}")


def _ways(queue: cl.CommandQueue) -> Counter[str]:
    """How many launches were split, and how many passed for which reason."""
    from lb_runtime import report

    queue.finish()
    ways: Counter[str] = Counter()
    for kernel in report().kernels:
        ways["split"] += kernel.split
        for each in kernel.passed:
            ways[each.code] += each.launches
    return ways


def _all_calls(call: Callable[[], object], queue: cl.CommandQueue, launches: int) -> float:
    """Microseconds of one of so many calls in a row, which the queue begins to run when all are made.

    Otherwise what is measured is how often the driver's thread had fallen asleep.
    """
    import pyopencl as cl

    gate = cl.UserEvent(queue.context)
    cl.enqueue_barrier(queue, wait_for=[gate])
    gc.disable()
    try:
        began = perf_counter()
        for _ in range(launches):
            call()
        took = perf_counter() - began
    finally:
        gc.enable()
        gate.set_status(cl.command_execution_status.COMPLETE)
    queue.finish()
    return took / launches * 1e6


def _each_call(call: Callable[[], object], queue: cl.CommandQueue, launches: int) -> float:
    """The median of the microseconds of so many calls, each into an empty queue."""
    times = []
    gc.disable()
    try:
        for _ in range(launches):
            began = perf_counter()
            event = call()
            times.append(perf_counter() - began)
            queue.finish()
            del event
    finally:
        gc.enable()
    return median(times) * 1e6


def _spread(values: list[float]) -> dict[str, float]:
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return {"low": round(low, 2), "median": round(middle, 2), "high": round(high, 2)}


def show(rows: list[dict[str, Any]]) -> None:
    """Print the cases as a table."""
    table = Table(
        title="host time of a launch, microseconds: medians of blocks (quartiles)",
        title_justify="left",
    )
    for column in ("launch", "stock", "installed", "more", "ratio"):
        table.add_column(column, justify="left" if column == "launch" else "right")
    for row in rows:
        more = row["difference_microseconds"]
        table.add_row(
            row["case"],
            f"{row['stock_microseconds']['median']:.2f}",
            f"{row['installed_microseconds']['median']:.2f}",
            f"{more['median']:.2f} ({more['low']:.2f} to {more['high']:.2f})",
            f"{row['ratio']:.2f}",
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
