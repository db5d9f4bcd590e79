"""`lb explain`: whether a kernel can be split, along which dimension, and how each argument takes part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from lb_runtime.analysis.reasons import REASONS, Reason
from lb_runtime.analysis.verdict import ArgumentVerdict, Declined, Merge, Splittable, Verdict
from lb_runtime.cli.console import console
from lb_runtime.cli.launches import Share, choose_kernel, kernel_options, launch_options
from lb_runtime.cli.predict import launch_of
from lb_runtime.judged import judged
from lb_runtime.kernel import Kernel
from lb_runtime.launch import Launch

ROLES = ("CPU", "GPU")


@click.command("explain")
@kernel_options
@launch_options
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
    share: float | None,
    as_json: bool,
) -> None:
    """Say whether a kernel can be split, and why, argument by argument.

    No device is needed. What the command line and the default launch leave open is assumed.
    """
    choice = choose_kernel(path, name, build_options)
    launch, assumed = launch_of(choice, global_size, local_size, offset, specs)
    verdict, _ = judged(choice.kernel, launch, 0.5 if share is None else share)
    if as_json:
        click.echo(json.dumps(_as_json(choice.kernel, launch, verdict, assumed)))
        return
    nd_range = launch.nd_range
    click.echo(
        f"{launch.kernel_name}: global size {_sizes(nd_range.global_size)}, "
        f"local size {_sizes(nd_range.local_size)}, offset {_sizes(nd_range.offset)}"
    )
    if assumed:
        click.echo(f"assumed: {assumed}")
    if isinstance(verdict, Declined):
        click.echo("not split:")
        for reason in verdict.reasons:
            click.echo(f"  {_place(path, reason)}{reason.detail} [{reason.code}]")
            click.echo(f"    {REASONS[reason.code]}")
        return
    click.echo(
        f"split along dimension {verdict.dimension}, "
        f"{nd_range.groups[verdict.dimension]} work-groups"
    )
    console().print(_table(verdict))


def _table(verdict: Splittable) -> Table:
    table = Table()
    for column in ("argument", "type", "merge", "bytes to and from each part", "why"):
        table.add_column(column)
    for argument in verdict.arguments:
        moved = "\n".join(
            f"{ROLES[device]}: {footprint.needs.size_bytes:,} in, "
            f"{footprint.leaves.size_bytes if argument.merge is not Merge.NONE else 0:,} out"
            for device, footprint in zip(verdict.devices, argument.footprints)
        )
        table.add_row(
            escape(argument.name),
            escape(argument.type_text),
            argument.merge.value if argument.merge else _by_value(argument),
            moved,
            _why(argument),
        )
    return table


def _by_value(argument: ArgumentVerdict) -> str:
    return "local to each work-group" if argument.kind == "local" else "by value"


def _why(argument: ArgumentVerdict) -> str:
    if not argument.line:
        return escape(argument.reason)
    return escape(f"line {argument.line}: {argument.reason or 'written here'}")


def _place(path: Path, reason: Reason) -> str:
    return f"{path}:{reason.line}: " if reason.line else ""


def _sizes(sizes: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in sizes)


def _as_json(kernel: Kernel, launch: Launch, verdict: Verdict, assumed: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "kernel": kernel.name,
        "global_size": launch.nd_range.global_size,
        "local_size": launch.nd_range.local_size,
        "offset": launch.nd_range.offset,
        "assumed": assumed,
        "splittable": isinstance(verdict, Splittable),
    }
    if isinstance(verdict, Declined):
        shown["reasons"] = [
            {"code": r.code, "detail": r.detail, "line": r.line, "advice": REASONS[r.code]}
            for r in verdict.reasons
        ]
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
            "parts": [
                {
                    "role": ROLES[device],
                    "needs": [footprint.needs.start, footprint.needs.stop],
                    "leaves": [footprint.leaves.start, footprint.leaves.stop],
                }
                for device, footprint in zip(verdict.devices, argument.footprints)
            ],
        }
        for argument in verdict.arguments
    ]
    return shown
