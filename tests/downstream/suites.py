"""Runs pyopencl's own test files, each in a process of its own, with and without the drop-in.

PoCL (3.0 at least) keeps the list that `clEnqueueSVMFree` is given and reads it when the command runs;
pyopencl has deleted it by then, and PoCL frees whatever stands there now. Of the runs that do that, about
half die, with or without us; at times, all of them. Those tests get a process of their own and the machine's
other driver; where PoCL is all there is, they are tried again when a signal ends them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from downstream.machine import Ended, Machine, joined, run
from downstream.outcomes import Outcome, read_outcomes

PLUGINS = Path(__file__).parent / "plugins"
SUITES = (
    "test_arrays_in_structs",
    "test_clrandom",
    "test_wrapper",
    "test_clmath",
    "test_algorithm",
    "test_array",
)
"""Shortest first."""
NEVER_SPLIT = {
    "test_arrays_in_structs": "its launches have one work-item",
    "test_clrandom": "the text of its kernels asks for macros of the compiler",
}
SUITE_SECONDS = 3600
SILENT_SECONDS = 300
"""A test that takes longer is not slow but stuck: where all threads stand is then printed."""


DYING = {"test_array": ("test_arrays_with_svm_allocators",)}
"""Tests that free SVM through a queue."""
TRIES = 6


@dataclass(frozen=True, slots=True)
class Suite:
    """What a run came to.

    `ended` tells how each process ended; `outcomes` lacks the tests of processes that did not live to tell;
    `reports` are those of the drop-in, one for each process that ended well.
    """

    ended: tuple[Ended, ...]
    outcomes: dict[str, Outcome]
    reports: tuple[dict[str, Any], ...]

    def counted(self, name: str) -> int:
        """The sum over all reports of one of their numbers: launches, split, ..."""
        return sum(report[name] for report in self.reports)

    def tail(self) -> str:
        """How the processes ended, for a message."""
        return "\n".join(each.tail() for each in self.ended)


def run_suite(name: str, release: Path, machine: Machine, mode: str) -> Suite:
    """Run `test/NAME.py` of a release; `mode` as for `Machine.environment`."""
    dying = DYING.get(name, ())
    others = [f"--deselect=test/{name}.py::{test}" for test in dying]
    runs = [run_pytest(f"{name}.py", others, release, machine, mode)]
    for test in dying:
        alive = machine.turned() if machine.device.is_pocl else machine
        for _ in range(TRIES):
            again = run_pytest(f"{name}.py::{test}", [], release, alive or machine, mode)
            if alive or again.ended[0].status >= 0:
                break
        if not alive and again.ended[0].status < 0:
            again = Suite((), {f"{name}::{test}": Outcome("killed")}, ())
        runs.append(again)
    return Suite(
        tuple(ended for each in runs for ended in each.ended),
        {test: outcome for each in runs for test, outcome in each.outcomes.items()},
        tuple(report for each in runs for report in each.reports),
    )


def run_pytest(
    selected: str, options: list[str], release: Path, machine: Machine, mode: str
) -> Suite:
    """Run what is selected of a release's `test/`, in one process, with more options for pytest."""
    environment = machine.environment(mode)
    with tempfile.TemporaryDirectory() as scratch:
        results, report = Path(scratch) / "results.xml", Path(scratch) / "report.json"
        command = [sys.executable, "-m", "pytest", selected, *options, f"--junitxml={results}"]
        # -v: a process that is killed leaves the name of the test that it was in.
        command += ["-v", "-p", "no:cacheprovider", "-W", "ignore"]
        command += ["-o", f"faulthandler_timeout={SILENT_SECONDS}"]
        if mode != "stock":
            environment["PYTHONPATH"] = joined(str(PLUGINS), environment.get("PYTHONPATH", ""))
            command += ["-p", "lb_installed", f"--lb-report={report}"]
        ended = run(
            command, folder=release / "test", environment=environment, seconds=SUITE_SECONDS
        )
        return Suite(
            (ended,),
            read_outcomes(results) if results.exists() else {},
            (json.loads(report.read_text("utf-8")),) if report.exists() else (),
        )
