"""`lb graph`: a kernel's program graph as a summary, as JSON or in Graphviz' language."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from lb_runtime.cli.console import console
from lb_runtime.cli.launches import choose_kernel, kernel_options


@click.command("graph")
@kernel_options
@click.option(
    "--format",
    "style",
    type=click.Choice(["summary", "json", "dot"]),
    default="summary",
    show_default=True,
    help="What to print.",
)
def command(path: Path, name: str | None, build_options: str | None, style: str) -> None:
    """Show the ProGraML graph of a kernel."""
    choice = choose_kernel(path, name, build_options)
    graph, seconds = choice.kernel.graph, choice.kernel.seconds
    if style == "json":
        click.echo(graph.to_json())
        return
    if style == "dot":
        click.echo(graph.to_dot(), nl=False)
        return
    table = Table(title=f"{choice.kernel.name} in {path}", title_justify="left")
    table.add_column("part")
    table.add_column("count", justify="right")
    for part, count in graph.counts().items():
        table.add_row(part, f"{count:,}")
    table.add_row("functions", f"{len(graph.function_names):,}")
    console().print(table)
    click.echo(
        f"compiled in {seconds.compile * 1e3:.1f} ms, parsed in {seconds.parse * 1e3:.1f} ms, "
        f"graph built in {seconds.graph * 1e3:.1f} ms"
    )
