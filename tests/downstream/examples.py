"""Runs pyopencl's own examples, with and without the drop-in, and makes what they print comparable.

Both runs draw the same random numbers (`seeded/sitecustomize.py`). Left out of a comparison are times, and
numbers made of times, of the two examples that print them; and on the error stream what compilers say, which
a driver says or not depending on what is in its cache.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from downstream.machine import Ended, Machine, joined, run

SEEDED = Path(__file__).parent / "seeded"
EXAMPLE_SECONDS = 600
TRIES = 3

_FLOAT = r"[-+.\dinfae]+"


class Splits(Enum):
    """Whether launches of an example are split when that is forced."""

    ALWAYS = "on any two devices"
    ON_ONE_COMPILER = (
        "its floats depend on how a compiler rounds; not split where that is to be exact"
    )
    NEVER = "its arguments are SVM, or its ranges are of one work-group"


@dataclass(frozen=True, slots=True)
class Example:
    """An example of pyopencl's, and what is known of it.

    `arguments` may hold "{device}", the device's number. `timed` are patterns of what in its output is a
    time. `may_die` tells that it frees SVM through a queue: on PoCL it often dies, after its last line
    (`downstream.suites`).
    """

    name: str
    splits: Splits
    arguments: tuple[str, ...] = ()
    timed: tuple[str, ...] = ()
    may_die: bool = False

    def __str__(self) -> str:
        return " ".join([self.name, *self.arguments])


_N_BODY_TIMES = (rf"\t(Mean|Median|Stddev|Min|Max|Variability):(\t{_FLOAT})+",)
_PI_TIMES = (
    rf"method done in {_FLOAT} s",
    rf"Itops {_FLOAT}",
    rf"LogItops {_FLOAT}",
    rf"^{_FLOAT}( {_FLOAT}){{9}}$",
)

_DEVICE = ("-d", "{device}")

EXAMPLES = (
    Example("demo", Splits.ALWAYS),
    Example("demo_array", Splits.ALWAYS),
    Example("demo_array_svm", Splits.NEVER, may_die=True),
    Example("demo_elementwise", Splits.NEVER),
    Example("demo_elementwise_complex", Splits.NEVER),
    Example("demo-struct-reduce", Splits.ALWAYS),
    Example("narray", Splits.ALWAYS),
    Example("svm", Splits.NEVER),
    Example("n-body", Splits.NEVER, _DEVICE, _N_BODY_TIMES),
    Example("n-body", Splits.ON_ONE_COMPILER, (*_DEVICE, "-n", "512", "-s", "0"), _N_BODY_TIMES),
    Example("pi-monte-carlo", Splits.ON_ONE_COMPILER, _DEVICE, _PI_TIMES),
    Example(
        "pi-monte-carlo", Splits.ALWAYS, (*_DEVICE, "-v", "INT32", "-i", "10000000"), _PI_TIMES
    ),
)
"""By default, n-body moves two bodies, which is one work-group, and pi-monte-carlo counts with floats.

n-body moves its bodies in place while others are still read, so that more than two of them go where the order
of work-items takes them, with or without us; with a time step of 0 they stay where they are.
"""


@dataclass(frozen=True, slots=True)
class Run:
    """How an example ended, what it printed without times, the files it left, and the drop-in's report."""

    ended: Ended
    output: str
    errors: str
    files: tuple[str, ...]
    report: dict[str, Any] | None


def run_example(
    example: Example, release: Path, machine: Machine, environment: dict[str, str]
) -> Run:
    """Run an example: by `python`, or by `python -m lb_runtime` where the environment asks for a drop-in.

    One that a signal may end, whoever runs it, is run until none does, `TRIES` times at most.
    """
    for _ in range(TRIES if example.may_die else 1):
        found = _run_once(example, release, machine, environment)
        if found.ended.status >= 0:
            break
    return found


def without_times(text: str, patterns: tuple[str, ...]) -> str:
    """The text with "(time)" for each match of a pattern, line by line."""
    for pattern in patterns:
        text = re.sub(pattern, "(time)", text, flags=re.M)
    return text


def without_compilers(errors: str) -> str:
    """The error stream without what compilers said: clang's counts, and pyopencl's warning that they did."""
    lines = errors.splitlines(keepends=True)
    kept, skip_next = [], False
    for line in lines:
        if skip_next:
            # The line of source that a warning shows.
            skip_next = False
        elif "CompilerWarning" in line:
            skip_next = True
        elif not re.match(r"\d+ (warning|error)s? generated\.", line):
            kept.append(line)
    return "".join(kept)


def _run_once(
    example: Example, release: Path, machine: Machine, environment: dict[str, str]
) -> Run:
    script = release / "examples" / f"{example.name}.py"
    arguments = [each.format(device=machine.place.overall) for each in example.arguments]
    with tempfile.TemporaryDirectory() as scratch:
        folder, report = Path(scratch) / "folder", Path(scratch) / "report.json"
        folder.mkdir()
        launcher = []
        if "LB_RUNTIME" in environment:
            launcher = ["-m", "lb_runtime", "--report-json", str(report)]
        seeded = joined(str(SEEDED), environment.get("PYTHONPATH", ""))
        ended = run(
            [sys.executable, *launcher, str(script), *arguments],
            folder=folder,
            environment=environment | {"PYTHONPATH": seeded},
            seconds=EXAMPLE_SECONDS,
        )
        return Run(
            ended,
            without_times(ended.output, example.timed),
            without_compilers(ended.errors),
            tuple(sorted(path.name for path in folder.iterdir())),
            json.loads(report.read_text("utf-8")) if report.exists() else None,
        )
