"""`lb explain`: whether a kernel can be split, along which dimension, and how each argument takes part."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from lb_runtime.analysis.regions import Region
from lb_runtime.analysis.verdict import (
    ArgumentVerdict,
    AtomicZone,
    Declined,
    Footprint,
    Merge,
    Splittable,
    Verdict,
)
from lb_runtime.cli.console import console
from lb_runtime.cli.launches import (
    ChosenLaunch,
    Share,
    choose_kernel,
    choose_launch,
    judging_options,
    kernel_options,
    launch_options,
)
from lb_runtime.cli.reason_report import reason_as_json, reason_lines, values_as_json, values_line
from lb_runtime.judged import is_on, judged

ROLES = ("CPU", "GPU")
ROWS_SHOWN = 3
"""Of the `Rows` of a region so many are spelt out."""


@click.command("explain")
@kernel_options
@launch_options
@judging_options
@click.option(
    "--split",
    "share",
    type=Share(),
    default="0.5",
    show_default=True,
    help="The CPU share that byte counts are given for; auto is one half.",
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
    exact: bool | None,
    strict: bool | None,
    share: float | None,
    as_json: bool,
) -> None:
    """Say whether a kernel can be split, and why, argument by argument.

    No device is needed. What the command line and the default launch leave open is assumed.
    """
    choice = choose_kernel(path, name, build_options)
    chosen = choose_launch(choice, global_size, local_size, offset, specs)
    launch = chosen.assumed.launch
    kernel = choice.kernel
    share = 0.5 if share is None else share
    verdict, _ = judged(
        kernel,
        launch,
        share,
        exact=is_on("LB_EXACT", exact),
        strict=is_on("LB_STRICT", strict),
        known=chosen.assumed.verdict if share == 0.5 else None,
    )
    if as_json:
        click.echo(json.dumps(_as_json(chosen, verdict)))
        return
    nd_range = launch.nd_range
    click.echo(
        f"{launch.kernel_name}: global size {_sizes(nd_range.global_size)}, "
        f"local size {_sizes(nd_range.local_size)}, offset {_sizes(nd_range.offset)}"
    )
    chosen.tell()
    if isinstance(verdict, Declined):
        click.echo("not split:")
        for reason in verdict.reasons:
            for line in reason_lines(reason, path, kernel):
                click.echo(f"  {line}")
        click.echo(values_line(kernel, path))
        return
    click.echo(
        f"split along dimension {verdict.dimension}, "
        f"{nd_range.groups[verdict.dimension]} work-groups"
    )
    console().print(_table(verdict))
    click.echo(values_line(kernel, path))


def _table(verdict: Splittable) -> Table:
    table = Table()
    for column in ("argument", "type", "merge", "bytes to and from each part", "why"):
        table.add_column(column)
    for argument in verdict.arguments:
        moved = "\n".join(
            f"{ROLES[device]}: {_moved(argument, footprint)}"
            for device, footprint in zip(verdict.devices, argument.footprints)
        )
        if argument.boxes:
            moved = "\n".join(
                f"{ROLES[device]}: {_sizes(size)} pixels from {_sizes(origin)}, in and out"
                for device, (origin, size) in zip(verdict.devices, argument.boxes)
            )
        elif argument.kind == "image" and argument.merge is Merge.NONE:
            moved = "all pixels to each part"
        table.add_row(
            escape(argument.name),
            escape(argument.type_text),
            argument.merge.value if argument.merge else _by_value(argument),
            moved,
            _why(argument),
        )
    return table


def _moved(argument: ArgumentVerdict, footprint: Footprint) -> str:
    needs = footprint.needs
    leaves = footprint.leaves if argument.merge is not Merge.NONE else Region()
    text = f"{needs.size_bytes:,} in, {leaves.size_bytes:,} out"
    for what, region in (("in", needs), ("out", leaves)):
        if not region.is_range:
            text += f"\n  {what}: {_rows(region)}"
    return text


def _rows(region: Region) -> str:
    """A region that is not one range, in words."""
    shown = [
        f"{rows.count:,} rows of {rows.run:,}, {rows.pitch:,} apart, from byte {rows.start:,}"
        if rows.count > 1
        else f"bytes {rows.start:,} to {rows.stop - 1:,}"
        for rows in region.rows[:ROWS_SHOWN]
    ]
    more = len(region.rows) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _zone(zone: AtomicZone) -> str:
    sign = "" if zone.is_signed else "unsigned "
    return f"{zone.operation} of {sign}{zone.width_bytes * 8}-bit integers"


def _by_value(argument: ArgumentVerdict) -> str:
    return "local to each work-group" if argument.kind == "local" else "by value"


def _why(argument: ArgumentVerdict) -> str:
    zones = ", ".join(dict.fromkeys(_zone(zone) for zone in argument.zones))
    why = argument.reason or zones
    if not argument.line:
        return escape(why)
    return escape(f"line {argument.line}: {why or 'written here'}")


def _sizes(sizes: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in sizes)


def _as_json(chosen: ChosenLaunch, verdict: Verdict) -> dict[str, Any]:
    kernel, launch = chosen.choice.kernel, chosen.assumed.launch
    shown: dict[str, Any] = {
        "kernel": launch.kernel_name,
        "global_size": launch.nd_range.global_size,
        "local_size": launch.nd_range.local_size,
        "offset": launch.nd_range.offset,
        "assumed": chosen.as_json(),
        "splittable": isinstance(verdict, Splittable),
        **values_as_json(kernel),
    }
    if isinstance(verdict, Declined):
        shown["reasons"] = [reason_as_json(reason, kernel) for reason in verdict.reasons]
        return shown
    shown["dimension"] = verdict.dimension
    shown["arguments"] = [
        {
            "name": argument.name,
            "kind": argument.kind,
            "type": argument.type_text,
            "merge": argument.merge.name.lower() if argument.merge else None,
            "reason": argument.reason,
            "line": argument.line,
            "zones": [asdict(zone) for zone in argument.zones],
            "boxes": [
                {"role": ROLES[device], "origin": origin, "size": size}
                for device, (origin, size) in zip(verdict.devices, argument.boxes)
            ],
            "parts": [
                {
                    "role": ROLES[device],
                    **_region_as_json("needs", footprint.needs),
                    **_region_as_json("leaves", footprint.leaves),
                }
                for device, footprint in zip(verdict.devices, argument.footprints)
            ],
        }
        for argument in verdict.arguments
    ]
    return shown


def _region_as_json(name: str, region: Region) -> dict[str, Any]:
    """A region as its hull, the bytes in it, and its rows."""
    return {
        name: [region.start, region.stop],
        f"{name}_bytes": region.size_bytes,
        f"{name}_rows": [asdict(rows) for rows in region.rows],
    }
