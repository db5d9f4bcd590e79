"""`lb predict`: the CPU fraction that the model answers for a launch, and where the time went."""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter

import click

from lb_runtime.cli.launches import (
    choose_kernel,
    choose_launch,
    kernel_options,
    launch_options,
)
from lb_runtime.kernel import Kernel
from predictor.predict import Predictor


@click.command("predict")
@kernel_options
@launch_options
@click.option(
    "--transfer-bytes",
    type=click.IntRange(min=0),
    help="Bytes moved to and from the GPU; else the size of all buffers.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    path: Path,
    name: str | None,
    build_options: str | None,
    global_size: tuple[int, ...] | None,
    local_size: tuple[int, ...] | None,
    offset: tuple[int, ...] | None,
    specs: tuple[str, ...],
    transfer_bytes: int | None,
    as_json: bool,
) -> None:
    """Predict the CPU fraction of a launch, running nothing.

    What the command line and the default launch leave open is assumed, as `lb run` does.
    """
    choice = choose_kernel(path, name, build_options)
    chosen = choose_launch(choice, global_size, local_size, offset, specs)
    launch = chosen.assumed.launch
    is_assumed = transfer_bytes is None and bool(chosen.assumed.made)
    if transfer_bytes is None:
        transfer_bytes = launch.transfer_bytes
    began = perf_counter()
    predictor = Predictor.load()
    loaded = perf_counter()
    fraction = predictor.cpu_fraction(
        choice.kernel.graph,
        transfer_bytes=transfer_bytes,
        work_group_size=launch.nd_range.group_items,
    )
    asked = perf_counter()
    times = _times(choice.kernel, loaded - began, asked - loaded)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "kernel": choice.kernel.name,
                    "cpu_fraction": fraction,
                    "transfer_bytes": transfer_bytes,
                    "transfer_bytes_assumed": is_assumed,
                    "assumed": chosen.as_json(),
                    "work_group_size": launch.nd_range.group_items,
                    "seconds": times,
                }
            )
        )
        return
    click.echo(f"{choice.kernel.name}: CPU fraction {fraction:.3f}")
    click.echo(f"  {transfer_bytes:,} bytes moved, work-groups of {launch.nd_range.group_items}")
    chosen.tell("  ")
    shown = ", ".join(f"{what} {seconds * 1e3:.1f} ms" for what, seconds in times.items())
    click.echo(f"  {shown}")


def _times(kernel: Kernel, load: float, model: float) -> dict[str, float]:
    seconds = kernel.seconds
    return {
        "compile": seconds.compile,
        "parse": seconds.parse,
        "graph": seconds.graph,
        "analysis": seconds.facts,
        "load model": load,
        "model": model,
    }
