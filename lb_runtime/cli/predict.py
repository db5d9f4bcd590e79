"""`lb predict`: the CPU fraction that the model answers for a launch, how sure it is, and its time."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from lb_runtime.cli.launches import (
    choose_kernel,
    choose_launch,
    kernel_options,
    launch_options,
)
from lb_runtime.devices import discover
from lb_runtime.errors import DeviceError
from lb_runtime.kernel import Kernel
from lb_runtime.roles import DevicePair, choose_pair, requested
from lb_runtime.tuned.apply import Advice
from lb_runtime.tuned.measured import launch_numbers
from lb_runtime.tuned.store import store_path
from predictor.prediction import Prediction


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
    advice = Advice(_pair())
    loaded = perf_counter()
    numbers = replace(launch_numbers(launch), transfer_bytes=transfer_bytes)
    predicted = advice.predict_numbers(choice.kernel.graph, numbers, transfers=True)
    fraction, (low, high) = predicted.cpu_fraction, predicted.interval()
    asked = perf_counter()
    times = _times(choice.kernel, loaded - began, asked - loaded)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "kernel": choice.kernel.name,
                    "cpu_fraction": fraction,
                    "best_share": {"median": predicted.median_share, "80%": [low, high]},
                    "device_seconds": _device_seconds(predicted),
                    "slow_down": predicted.expected_slow_down,
                    "split_gains_probability": predicted.split_probability,
                    "measured_here": advice.head is not None,
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
    click.echo(
        f"  best share {predicted.median_share:.2f}, in 80 % of cases {low:.2f} to {high:.2f}"
    )
    for device, each in _device_seconds(predicted).items():
        low, high = each["80%"]
        click.echo(
            f"  {device} alone {_readable(each['median'])}, in 80 % of cases "
            f"{_readable(low)} to {_readable(high)}"
        )
    click.echo(f"  {_decision(predicted)}")
    click.echo(f"  {_source(advice, predicted)}")
    click.echo(f"  {transfer_bytes:,} bytes moved, work-groups of {launch.nd_range.group_items}")
    chosen.tell("  ")
    shown = ", ".join(f"{what} {seconds * 1e3:.1f} ms" for what, seconds in times.items())
    click.echo(f"  {shown}")


def _decision(predicted: Prediction) -> str:
    """What to do, and how far from the best that is expected to be."""
    fraction = predicted.cpu_fraction
    expected = f"expected to take {predicted.expected_slow_down:.2f} times the best split's time"
    if fraction in (0.0, 1.0):
        return f"do not split: the {'GPU' if fraction == 0.0 else 'CPU'} alone, {expected}"
    return (
        f"give the CPU {fraction:.1%} of the work: {expected}, and to beat the faster device with "
        f"probability {predicted.split_probability:.0%}"
    )


def _device_seconds(predicted: Prediction) -> dict[str, dict[str, Any]]:
    """Each device's time for the whole launch: its median and the interval of 80 %."""
    return {
        device: {"median": median, "80%": [low, high]}
        for device, (low, median, high) in zip(("CPU", "GPU"), predicted.seconds())
    }


def _readable(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def _pair() -> DevicePair | None:
    """The devices that a launch would run on, where anything was measured on any; else nobody asks."""
    if not store_path().is_file():
        return None
    try:
        return choose_pair(discover().devices, *requested(None, None, os.environ))
    except DeviceError:
        return None


def _source(advice: Advice, predicted: Prediction) -> str:
    if predicted.is_prior:
        return "no model: as launches in general are"
    if advice.head is None:
        return "by the shipped model; `lb tune` fits it to this machine"
    return "by the model and what `lb tune` measured on this machine"


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
