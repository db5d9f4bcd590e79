"""`lb predict`: the CPU fraction that the model answers for a launch, and where the time went."""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter

import click

from lb_runtime.analysis.assumptions import assumed_launch, assumed_range
from lb_runtime.arguments import checked
from lb_runtime.cli.launches import (
    KernelChoice,
    choose_kernel,
    choose_range,
    choose_specs,
    kernel_options,
    launch_options,
)
from lb_runtime.kernel import Kernel, launch_range
from lb_runtime.launch import Launch
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

    Buffers whose sizes are not given are taken to hold one element per work-item.
    """
    choice = choose_kernel(path, name, build_options)
    launch, assumed = launch_of(choice, global_size, local_size, offset, specs)
    if transfer_bytes is None:
        transfer_bytes = launch.transfer_bytes
    else:
        assumed = ""
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
                    "transfer_bytes_assumed": bool(assumed),
                    "work_group_size": launch.nd_range.group_items,
                    "seconds": times,
                }
            )
        )
        return
    click.echo(f"{choice.kernel.name}: CPU fraction {fraction:.3f}")
    click.echo(f"  {transfer_bytes:,} bytes moved, work-groups of {launch.nd_range.group_items}")
    if assumed:
        click.echo(f"  assumed: {assumed}")
    shown = ", ".join(f"{what} {seconds * 1e3:.1f} ms" for what, seconds in times.items())
    click.echo(f"  {shown}")


def launch_of(
    choice: KernelChoice,
    global_size: tuple[int, ...] | None,
    local_size: tuple[int, ...] | None,
    offset: tuple[int, ...] | None,
    specs: tuple[str, ...],
) -> tuple[Launch, str]:
    """The launch that options and default launch describe; and what had to be assumed, or nothing."""
    kernel = choice.kernel
    facts = kernel.facts
    chosen = choose_specs(choice, specs)
    known = {
        parameter.name: checked(parameter, chosen[parameter.name].materialise(0, position))
        for position, parameter in enumerate(facts.parameters)
        if parameter.name in chosen
    }
    assumed = []
    if global_size is None and choice.default is None:
        nd_range = assumed_range(facts, local_size, offset)
        assumed.append("a million work-items")
    else:
        nd_range = launch_range(kernel, *choose_range(choice, global_size, local_size, offset))
    missing = [p.name for p in facts.parameters if p.name not in known and p.kind == "buffer"]
    if missing:
        assumed.append(f"one element per work-item in {', '.join(missing)}")
    return assumed_launch(facts, nd_range, known), "; ".join(assumed)


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
