"""Judges and runs every source of the device mapping set that compiles as it is published.

Each kernel is given the launch that `lb explain` and `lb run` assume, judged, and, where it can be split,
run at several CPU shares and compared byte by byte with the unsplit launch. A driver that crashes or hangs
ends one child process, not the measurement. Where a split run is wrong, the unsplit launch is repeated on
each device alone; one that differs from itself is counted as `undefined`, not as wrong.

    python benchmarks/coverage.py --data ../shared/data/devmap --output benchmarks/results
    python benchmarks/coverage.py --only 16 --only 143     # some sources, nothing is written
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from threading import local
from time import perf_counter
from typing import Any

import click
from machine import describe_machine
from rich.console import Console
from rich.progress import track
from rich.table import Table

SHARES = (0.1, 0.37, 0.5, 0.9)
RIGHT = ("identical", "identical per device")
UNDEFINED = "undefined"
"""The unsplit launch on one device differs from itself: it reads what nobody wrote, or races."""
POISON = """
kernel void poison(global uint *seen, local uint *memory, uint value, uint count) {
    for (uint i = get_local_id(0); i < count; i += get_local_size(0)) memory[i] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    seen[get_global_id(0)] = memory[get_local_id(0)];
}
"""
POISON_BYTES = 256 << 10
"""So much local memory is filled, or all that the device has."""
POISON_VALUES = (0x3F800000, 0xC1200000, 0x42C80000, 0x7FC00000)
"""As floats 1, -10, 100 and NaN."""
ATOMICS = "global-atomic"
Row = dict[str, Any]


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    help="The folder of nvidia.csv; else LB_DEVMAP.",
)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.option("--run/--no-run", default=True, help="Run what can be split, too.")
@click.option("--halves", is_flag=True, help="Run on PoCL cut in two, whatever else there is.")
@click.option("--jobs", type=click.IntRange(1, 8), default=1, show_default=True)
@click.option("--limit", type=float, default=120.0, show_default=True, help="Seconds for a source.")
@click.option("--only", type=int, multiple=True, help="Sources by number; writes nothing.")
def main(
    data: Path | None,
    output: Path,
    run: bool,
    halves: bool,
    jobs: int,
    limit: float,
    only: tuple[int, ...],
) -> None:
    """Measure how many kernels can be split, and that splitting them changes no byte."""
    from predictor.datasets import devmap

    began = perf_counter()
    found = devmap.read("nvidia", data)
    names = {launch.kernel: launch.benchmark for launch in reversed(found.launches)}
    wanted = [number for number in range(len(found.sources)) if not only or number in only]
    tasks = [(number, found.sources[number], run, halves) for number in wanted]
    rows: list[Row] = []
    with ThreadPoolExecutor(jobs) as pool, contextlib.ExitStack() as children:
        crew = _Crew(limit, children)
        for row in track(pool.map(crew.ask, tasks), total=len(tasks), console=Console(stderr=True)):
            if not row.pop("does_not_compile", False):
                rows.append({"source": row["source"], "name": names[row["source"]], **row})
                if not sys.stderr.isatty():
                    runs = ", ".join(row.get("runs", {}).values())
                    click.echo(f"{row['source']}: {row.get('error') or runs}", err=True)
    summary = summarise(rows, run)
    show(rows, summary)
    if only:
        return
    document = {
        "machine": describe_machine(with_devices=False),
        "devices": next((row["devices"] for row in rows if row.get("devices")), None),
        "data_sha256": found.sha256,
        "seconds": round(perf_counter() - began, 1),
        "shares": SHARES,
        "summary": summary,
        "sources": [{k: v for k, v in row.items() if k != "devices"} for row in rows],
    }
    output.mkdir(parents=True, exist_ok=True)
    path = output / "coverage.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    click.echo(f"wrote {path}")


class _Crew:
    """A child process for each thread that asks; one that dies or takes too long is replaced."""

    def __init__(self, limit_seconds: float, children: contextlib.ExitStack) -> None:
        self._limit_seconds = limit_seconds
        self._mine = local()
        self._children = children

    def ask(self, task: tuple[int, str, bool, bool]) -> Row:
        """What a child found out about one source, as far as it got."""
        if getattr(self._mine, "process", None) is None:
            self._start()
        link: Connection = self._mine.link
        link.send(task)
        row: Row = {"source": task[0]}
        until = perf_counter() + self._limit_seconds
        doing = "judging"
        while True:
            try:
                if not link.poll(max(0.0, until - perf_counter())):
                    ended = "timed out"
                    break
                kind, value = link.recv()
            except (EOFError, ConnectionResetError):
                ended = "crashed"
                break
            if kind == "done":
                return row
            if kind == "row":
                row.update(value)
            elif kind == "doing":
                doing = value
            elif kind == "ran":
                row.setdefault("runs", {})[value[0]] = value[1]
        self._stop()
        if doing == "judging":
            row["error"] = ended
        else:
            row.setdefault("runs", {})[doing] = ended
        return row

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        self._mine.process, self._mine.link = process, mine
        self._children.callback(process.kill)

    def _stop(self) -> None:
        self._mine.process.kill()
        self._mine.process.join()
        self._mine.link.close()
        self._mine.process = None


def _serve(link: Connection) -> None:
    """Answer for one source after the other until nobody asks any more."""
    # Drivers print to the standard error of the process.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with tempfile.TemporaryDirectory() as folder:
        while True:
            try:
                number, source, run, halves = link.recv()
            except EOFError:
                return
            path = Path(folder) / f"source_{number}.cl"
            path.write_text(source)
            for message in _look(path, run, halves):
                link.send(message)
            link.send(("done", None))


def _look(path: Path, run: bool, halves: bool) -> Iterator[tuple[str, Any]]:
    """Judge one source, then run it; yields what is found as it is found."""
    from lb_runtime.cli.launches import choose_kernel, choose_launch
    from lb_runtime.errors import LoadBalancerError
    from lb_runtime.judged import judged
    from predictor.errors import CompileError

    try:
        choice = choose_kernel(path, None, None)
    except CompileError:
        yield "row", {"does_not_compile": True}
        return
    try:
        seconds = []
        for _ in range(3):
            began = perf_counter()
            chosen = choose_launch(choice, None, None, None, ())
            assumed = perf_counter()
            judged(choice.kernel, chosen.assumed.launch, 0.5)
            seconds.append((assumed - began, perf_counter() - assumed))
        explained, explain_seconds = _explain(path)
    except LoadBalancerError as error:
        yield "row", {"error": str(error)}
        return
    merges = [each["merge"] for each in explained.get("arguments", ())]
    yield (
        "row",
        {
            "splittable": explained["splittable"],
            "codes": list(dict.fromkeys(r["code"] for r in explained.get("reasons", ()))),
            "lines": [r["line"] for r in explained.get("reasons", ())],
            "dimension": explained.get("dimension"),
            "merges": dict(Counter(merge for merge in merges if merge)),
            "exact": explained["splittable"] and "difference" not in merges,
            "assumed": explained["assumed"]["options"],
            "notes": explained["assumed"]["notes"],
            "assume_ms": round(min(each[0] for each in seconds) * 1e3, 2),
            "judge_ms": round(min(each[1] for each in seconds) * 1e3, 2),
            "explain_ms": round(explain_seconds * 1e3, 2),
        },
    )
    if run and explained["splittable"]:
        yield from _runs(chosen, halves)


def _explain(path: Path) -> tuple[dict[str, Any], float]:
    """What `lb explain --json` says, and the seconds that it takes with a warm cache."""
    from lb_runtime.cli.main import run

    seconds = []
    for _ in range(2):
        printed = io.StringIO()
        began = perf_counter()
        with contextlib.redirect_stdout(printed):
            run(["explain", str(path), "--json"])
        seconds.append(perf_counter() - began)
    document: dict[str, Any] = json.loads(printed.getvalue())
    return document, min(seconds)


def _runs(chosen: Any, halves: bool) -> Iterator[tuple[str, Any]]:
    """Run one launch at every share, each compared with the unsplit launch."""
    from lb_runtime.errors import LoadBalancerError
    from lb_runtime.runtime import Runtime
    from lb_runtime.trial import Trial, run_trial

    pair = _pair(halves)
    yield "row", {"devices": [device.label for device in pair.devices]}
    with Runtime(devices=pair) as runtime:
        for share in SHARES:
            yield "doing", str(share)
            trial = Trial(
                chosen.choice.kernel,
                chosen.assumed.launch.nd_range,
                tuple(chosen.values(0)),
                share,
                wants_verification=True,
            )
            try:
                outcome = _outcome(run_trial(runtime, trial))
                if outcome.startswith("wrong") and not _repeats(runtime, trial):
                    outcome = UNDEFINED
            except LoadBalancerError as error:
                outcome = f"refused: {error}"
            yield "ran", (str(share), outcome)


def _outcome(result: Any) -> str:
    """How a run ended, in a word or two."""
    from lb_runtime.verify import Outcome

    verification = result.verification
    if verification is None:
        codes = [reason.code for reason in result.decision.reasons]
        return f"whole: {codes[0]}" if codes else "whole: one device takes it all"
    return {
        Outcome.IDENTICAL: RIGHT[0],
        Outcome.IDENTICAL_PER_DEVICE: RIGHT[1],
        Outcome.UNDEFINED: UNDEFINED,
        Outcome.WRONG: verification.text,
    }[verification.outcome]


def _repeats(runtime: Any, trial: Any) -> bool:
    """Whether each device leaves the same bytes each time that it runs the whole launch alone.

    Before each run its local memory is filled with something else, so that a kernel that reads local
    memory which nobody wrote is seen to.
    """
    import numpy as np

    from lb_runtime.arguments import bind
    from lb_runtime.execute import execute
    from lb_runtime.images import host_arrays
    from lb_runtime.launch import Launch
    from lb_runtime.verify import wavering

    kernel = trial.kernel
    bound, values = bind(kernel.facts, trial.values)
    launch = Launch(kernel.name, trial.nd_range, bound)
    arrays = host_arrays(values)
    originals = {index: array.copy() for index, array in arrays.items()}
    devices = runtime.devices.devices
    poison = cycle(POISON_VALUES)

    def run_alone(number: int) -> dict[int, Any]:
        for index, array in arrays.items():
            np.copyto(array, originals[index])
        _poison(devices[number], next(poison))
        execute(runtime.alone(kernel, launch, number), devices, values, kernel.filename)
        return {index: array.copy() for index, array in arrays.items()}

    return wavering(range(len(devices)), run_alone, len(POISON_VALUES)) is None


def _poison(device: Any, value: int) -> None:
    """Fill the local memory of a device, as far as a work-group gets at it, with one number."""
    import numpy as np
    import pyopencl as cl

    kernel = device.kernel(POISON, (), "poison")
    items = 64 * 64
    size_bytes = min(POISON_BYTES, device.handle.local_mem_size)
    seen = cl.Buffer(device.context, cl.mem_flags.READ_WRITE, 4 * items)
    kernel(
        device.queue,
        (items,),
        (64,),
        seen,
        cl.LocalMemory(size_bytes),
        np.uint32(value),
        np.uint32(size_bytes // 4),
    )
    device.queue.finish()


_PAIRS: dict[bool, Any] = {}


def _pair(halves: bool) -> Any:
    """The devices, opened once for each child."""
    from lb_runtime.contexts import open_pair
    from lb_runtime.devices import discover

    if halves not in _PAIRS:
        pocl = [str(each.index) for each in discover().devices if each.is_pocl] if halves else []
        _PAIRS[halves] = open_pair(*pocl[:1] * 2)
    return _PAIRS[halves]


def summarise(rows: Sequence[Row], run: bool) -> dict[str, Any]:
    """Totals over all sources."""
    judged = [row for row in rows if "error" not in row]
    eligible = [row for row in judged if ATOMICS not in row["codes"]]
    split = [row for row in eligible if row["splittable"]]
    exact = [row for row in split if row["exact"]]
    summary: dict[str, Any] = {
        "compiled": len(rows),
        "errors": [row["source"] for row in rows if "error" in row],
        "without_global_atomics": len(eligible),
        "splittable": len(split),
        "splittable_percent": _percent(split, eligible),
        "exact": len(exact),
        "exact_percent": _percent(exact, eligible),
        "declines": dict(Counter(row["codes"][0] for row in judged if not row["splittable"])),
        "median_ms": {
            key: round(median(row[f"{key}_ms"] for row in judged), 2) if judged else None
            for key in ("assume", "judge", "explain")
        },
        "max_ms": {
            key: max((row[f"{key}_ms"] for row in judged), default=None)
            for key in ("assume", "judge", "explain")
        },
        "over_200_ms": [row["source"] for row in judged if row["judge_ms"] > 200],
    }
    if run:
        outcomes = [outcome for row in rows for outcome in row.get("runs", {}).values()]
        summary["runs"] = len(outcomes)
        summary["outcomes"] = dict(Counter(outcome.partition(":")[0] for outcome in outcomes))
        summary["sources_run_right_at_every_share"] = sum(
            bool(row.get("runs")) and all(each in RIGHT for each in row["runs"].values())
            for row in rows
        )
        summary["sources_wrong"] = [
            row["source"]
            for row in rows
            if any(each.startswith("wrong") for each in row.get("runs", {}).values())
        ]
        summary["sources_with_another_outcome"] = [
            row["source"]
            for row in rows
            if any(each not in RIGHT for each in row.get("runs", {}).values())
        ]
    return summary


def _percent(part: Sequence[Row], whole: Sequence[Row]) -> float:
    return round(100 * len(part) / len(whole), 1) if whole else 0.0


def show(rows: Sequence[Row], summary: dict[str, Any]) -> None:
    """Print every source and the totals."""
    table = Table(title="the device mapping set at assumed launches", title_justify="left")
    for column in ("#", "kernel", "verdict", "merges", "ms", "runs"):
        table.add_column(column, justify="right" if column in "# ms" else "left")
    for row in rows:
        runs = Counter(outcome.partition(":")[0] for outcome in row.get("runs", {}).values())
        verdict = row.get("error") or (
            f"dimension {row['dimension']}" if row["splittable"] else ", ".join(row["codes"])
        )
        table.add_row(
            str(row["source"]),
            row["name"],
            verdict,
            ", ".join(f"{count} {merge}" for merge, count in row.get("merges", {}).items()),
            str(row.get("judge_ms", "")),
            ", ".join(f"{count} {outcome}" for outcome, count in runs.items()),
        )
    Console(width=160).print(table)
    click.echo(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
