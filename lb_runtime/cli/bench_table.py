"""What `lb bench` prints: a row for each kernel, geometric means, and what could not be split."""

from __future__ import annotations

import click
from rich.table import Table

from lb_runtime.bench.measure import ADAPTIVE, CUT, DYNAMIC, PREDICTED, WAYS
from lb_runtime.bench.page import how
from lb_runtime.bench.record import Bench
from lb_runtime.bench.summary import KernelSummary, overall, summaries
from lb_runtime.cli.console import console

RATIOS = (
    "T*/T predicted",
    "T*/T adaptive",
    "over best device",
    "efficiency adaptive",
    "efficiency best",
    "CPU share",
    "how",
)


def show(bench: Bench) -> None:
    """Print a benchmark."""
    found = summaries(bench)
    times = Table(title="medians in ms, adaptive from the fourth launch on")
    ratios = Table(title="T* is the oracle's time: the best of one device, the best cut and chunks")
    for table, columns in ((times, WAYS), (ratios, RATIOS)):
        table.add_column("kernel", no_wrap=True)
        for column in columns:
            table.add_column(column, justify="right")
    for each in found:
        times.add_row(each.name, *_times(each))
        ratios.add_row(each.name, *_ratios(each))
    if found:
        console().print(times)
        console().print(ratios)
    means = overall(found)
    if means is not None:
        click.echo(
            f"geometric means over {means.kernels} kernels of T*/T: predicted "
            f"{means.ratios[PREDICTED]:.3f}, adaptive launches 1 to {len(means.by_launch)} "
            f"{', '.join(f'{each:.3f}' for each in means.by_launch)}, from then on "
            f"{means.ratios[ADAPTIVE]:.3f}"
        )
        click.echo(
            f"efficiency: adaptive {means.efficiencies[ADAPTIVE]:.3f}; least speed-up over the best "
            f"single device {means.worst_single:.3f} ({means.worst_kernel})"
        )
    for record in bench.kernels.values():
        if record.reasons:
            click.echo(f"{record.name}: not split: {record.reasons[0]}")
        for way in record.wrong:
            click.echo(f"{record.name}, {way}: {record.checks[way]}")


def _times(each: KernelSummary) -> list[str]:
    return [f"{each.times[way].median * 1e3:.1f}" if way in each.times else "-" for way in WAYS]


def _ratios(each: KernelSummary) -> list[str]:
    best = max(each.efficiencies[way] for way in (CUT, DYNAMIC) if way in each.efficiencies)
    return [
        f"{each.ratios[PREDICTED]:.3f}",
        f"{each.ratios[ADAPTIVE]:.3f}",
        f"{each.single:.3f}",
        f"{each.efficiencies[ADAPTIVE]:.3f}",
        f"{best:.3f}",
        f"{each.settled_share:.3f}",
        how(each),
    ]
