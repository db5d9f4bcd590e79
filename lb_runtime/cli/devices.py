"""`lb devices`: every OpenCL device, the roles that are given out, and why."""

from __future__ import annotations

import json
import os

import click
from rich.table import Table

from lb_runtime.cli.console import console
from lb_runtime.devices import DeviceInfo, discover
from lb_runtime.roles import choose_pair, requested


def role_options(command: click.decorators.FC) -> click.decorators.FC:
    """`--cpu` and `--gpu`."""
    for role in ("gpu", "cpu"):
        command = click.option(
            f"--{role}",
            metavar="INDEX|NAME",
            help=f"The device that plays {role.upper()}: an index or a part of its name "
            f"[env: LB_{role.upper()}].",
        )(command)
    return command


@click.command("devices")
@role_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(cpu: str | None, gpu: str | None, as_json: bool) -> None:
    """Show the OpenCL devices, and which plays CPU and which GPU."""
    found = discover()
    pair = choose_pair(found.devices, *requested(cpu, gpu, os.environ))
    if as_json:
        shown = {
            "devices": [_facts(device) for device in found.devices],
            "cpu": pair.cpu.index,
            "gpu": pair.gpu.index,
            "cut": pair.cut.value,
            "why": pair.why,
            "notes": found.notes,
        }
        click.echo(json.dumps(shown))
        return
    table = Table(title="OpenCL devices", title_justify="left")
    for column, justify in (
        ("#", "right"),
        ("device", "left"),
        ("platform", "left"),
        ("type", "left"),
        ("units", "right"),
        ("memory", "right"),
        ("role", "left"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]  # rich wants literals
    for device in found.devices:
        roles = [
            role
            for role, chosen in (("CPU", pair.cpu), ("GPU", pair.gpu))
            if chosen.index == device.index
        ]
        table.add_row(
            str(device.index),
            device.name,
            f"{device.platform_name} {device.platform_version}",
            device.kind.value,
            str(device.compute_units),
            f"{device.global_memory_bytes / 2**30:.1f} GiB",
            " and ".join(roles) or device.unusable_because or "-",
        )
    console().print(table)
    click.echo(pair.why)
    for note in found.notes:
        click.echo(f"note: {note}")


def _facts(device: DeviceInfo) -> dict[str, object]:
    return {
        "index": device.index,
        "name": device.name,
        "platform": device.platform_name,
        "platform_version": device.platform_version,
        "type": device.kind.value,
        "compute_units": device.compute_units,
        "global_memory_bytes": device.global_memory_bytes,
        "driver_version": device.driver_version,
        "usable": device.usable,
        "unusable_because": device.unusable_because,
    }
