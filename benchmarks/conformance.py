"""Compares this project's program graphs with ProGraML's own, source by source, from the same assembly.

ProGraML's builder (`llvm2graph-10` of the wheel programl 0.3.2) and a compiler whose assembly it reads are
fetched once into the cache folder, about 150 MB; see `tests/oracle/`.

    python benchmarks/conformance.py --data DEVMAP --output benchmarks/results
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from machine import describe_machine
from rich.console import Console
from rich.progress import track
from rich.table import Table

from predictor.datasets.devmap import read

if TYPE_CHECKING:
    from oracle.conformance import Compared

ROOT = Path(__file__).parents[1]


@click.command()
@click.option(
    "--data", type=click.Path(exists=True, path_type=Path), help="The folder of nvidia.csv."
)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="For the results.")
def main(data: Path | None, output: Path | None) -> None:
    """Draw every source of the device mapping set and of `kernels/` twice, and compare."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from oracle.conformance import compare
    from oracle.tools import PROGRAML, ZIGLANG, ToolError, fetch_tools

    console = Console(stderr=True)
    devmap = read("nvidia", data)
    named = [(f"devmap {number}", source) for number, source in enumerate(devmap.sources)]
    named += [
        (path.name, path.read_text("utf-8")) for path in sorted((ROOT / "kernels").glob("*.cl"))
    ]
    try:
        tools = fetch_tools()
    except ToolError as error:
        raise click.ClickException(str(error)) from error
    compared = [
        compare(name, source, tools) for name, source in track(named, "graphs", console=console)
    ]
    Console().print(_table(compared))
    for one in compared:
        if one.difference:
            print(f"{one.name}: {one.source}: {one.difference}")
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        results = {
            "machine": describe_machine(with_devices=False),
            "data": {"name": "devmap nvidia", "sha256": devmap.sha256},
            "tools": [PROGRAML, ZIGLANG],
        }
        (output / "conformance.json").write_text(_text(results, compared), "utf-8")


def _text(results: dict[str, Any], compared: list[Compared]) -> str:
    """As JSON, a line for each source."""
    rows = [json.dumps(asdict(one) | {"equal": one.is_equal}) for one in compared]
    head = json.dumps(results, indent=1).removesuffix("\n}")
    return head + ',\n "compared": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n"


def _table(compared: list[Compared]) -> Table:
    table = Table("sources", "compared", "equal", "nodes", "edges")
    for group in ("devmap", "kernels"):
        members = [c for c in compared if c.name.startswith("devmap") == (group == "devmap")]
        for state, count in Counter(c.source for c in members).items():
            chosen = [c for c in members if c.source == state]
            equal = sum(c.is_equal for c in chosen)
            nodes, edges = sum(c.nodes for c in chosen), sum(c.edges for c in chosen)
            table.add_row(f"{group}, {state}", str(count), str(equal), f"{nodes:,}", f"{edges:,}")
    return table


if __name__ == "__main__":
    main()
