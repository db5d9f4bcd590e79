"""Predicts every distinct source of the device mapping set: each gives a fraction or clang's error.

Compilation, graph and prediction are timed apart, after import, with nothing in the disk cache.

    python benchmarks/predict_devmap.py ../shared/data/devmap/nvidia.csv --output benchmarks/results
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table


@click.command()
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path())
def main(data: Path, output: Path) -> None:
    """Time `lb predict` over all sources of DATA."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LB_CACHE_DIR"] = folder
        rows = measure(data)
    fractions = [row for row in rows if "cpu_fraction" in row]
    errors = Counter("with a line" if row["line"] else "no line" for row in rows if "error" in row)
    totals = [row["total_ms"] for row in fractions]
    summary = {
        "sources": len(rows),
        "fractions": len(fractions),
        "clang_errors": dict(errors),
        "median_ms": {
            key: round(median(row[f"{key}_ms"] for row in fractions), 2)
            for key in ("compile", "parse", "graph", "model", "total")
        },
        "total_ms_90th_percentile": round(quantiles(totals, n=10)[-1], 2),
    }
    table = Table(title="median ms per source, cold cache", title_justify="left")
    for column in summary["median_ms"]:
        table.add_column(column, justify="right")
    table.add_row(*(f"{value:.2f}" for value in summary["median_ms"].values()))
    Console().print(table)
    click.echo(json.dumps(summary))
    output.mkdir(parents=True, exist_ok=True)
    path = output / "predict_devmap.json"
    path.write_text(json.dumps({"summary": summary, "sources": rows}, indent=1) + "\n")
    click.echo(f"wrote {path}")


def measure(data: Path) -> list[dict[str, object]]:
    """One entry per distinct source: its fraction and times in milliseconds, or clang's error."""
    from predictor import assembly, frontend, program_graph
    from predictor.errors import CompileError
    from predictor.predict import Predictor

    csv.field_size_limit(1 << 30)
    with data.open(newline="") as file:
        first_rows = {row["src"]: row for row in reversed(list(csv.DictReader(file)))}
    predictor = Predictor.load()
    warm = program_graph.build(frontend.compile_source("__kernel void f() {}"))
    predictor.cpu_fraction(warm, transfer_bytes=1, work_group_size=1)
    entries: list[dict[str, object]] = []
    for source, row in track(first_rows.items(), console=Console(stderr=True)):
        entry: dict[str, object] = {"benchmark": row["benchmark"]}
        entries.append(entry)
        began = perf_counter()
        try:
            text = frontend.compile_text(source)
        except CompileError as error:
            entry.update(error=error.message, line=error.line)
            continue
        compiled = perf_counter()
        module = assembly.parse(text)
        parsed = perf_counter()
        graph = program_graph.build(module)
        built = perf_counter()
        fraction = predictor.cpu_fraction(
            graph,
            transfer_bytes=int(float(row["transfer"])),
            work_group_size=int(float(row["wgsize"])),
        )
        ended = perf_counter()
        entry.update(
            cpu_fraction=round(fraction, 4),
            nodes=len(graph.node_types),
            compile_ms=round((compiled - began) * 1e3, 3),
            parse_ms=round((parsed - compiled) * 1e3, 3),
            graph_ms=round((built - parsed) * 1e3, 3),
            model_ms=round((ended - built) * 1e3, 3),
            total_ms=round((ended - began) * 1e3, 3),
        )
    return entries


if __name__ == "__main__":
    main()
