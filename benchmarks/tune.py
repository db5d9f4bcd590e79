"""Runs `lb tune` on PoCL and Intel's CPU driver, one core each, and keeps its report and all times.

What was measured is kept in a folder, so that a run that is stopped goes on where it was.

    python benchmarks/tune.py --state FOLDER --output benchmarks/results
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from machine import ONE_CORE, describe_machine

CPU, GPU = "Portable Computing Language", "Intel(R) OpenCL"
COLUMNS = "family name cpu_kernel cpu_total gpu_kernel gpu_total".split()


@click.command()
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--report-only", is_flag=True, help="Measure nothing more.")
def main(state: Path, output: Path, report_only: bool) -> None:
    """Measure, fit, and write `tune.json`."""
    if not report_only:
        _lb(state, [])
    report = json.loads(_lb(state, ["--report", "--json"]))
    rounded: dict[str, Any] = _rounded({"machine": describe_machine(), **report})
    head = json.dumps(rounded, indent=1).removesuffix("\n}")
    rows = [json.dumps(dict(zip(COLUMNS, row))) for row in _measured(state)]
    text = head + ',\n "measured_seconds": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n"
    output.mkdir(parents=True, exist_ok=True)
    (output / "tune.json").write_text(text, "utf-8")


def _lb(state: Path, options: Sequence[str]) -> str:
    """What `lb tune` prints, on the pair; its progress stays visible."""
    command = [sys.executable, "-m", "lb_runtime.cli", "tune", "--cpu", CPU, "--gpu", GPU]
    environment = dict(os.environ, LB_DATA_DIR=str(state), **ONE_CORE)
    done = subprocess.run(
        [*command, *options], stdout=subprocess.PIPE, text=True, env=environment, check=False
    )
    if done.returncode:
        raise click.ClickException(f"lb tune ended with status {done.returncode}")
    return done.stdout


def _measured(state: Path) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(state / "tune.sqlite")
    query = f"SELECT {', '.join(COLUMNS)} FROM measured ORDER BY family, name"  # noqa: S608  # our names
    rows = connection.execute(query).fetchall()
    connection.close()
    return [(*row[:2], *(float(f"{seconds:.4g}") for seconds in row[2:])) for row in rows]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
