"""What `lb run` prints: the predicted share, the real cut, each device's times, and what they add up to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from lb_runtime.cli.console import console
from lb_runtime.cli.reason_report import reason_as_json, reason_lines, values_as_json, values_line
from lb_runtime.runtime import Decision
from lb_runtime.trial import TrialResult, median_seconds

ROLES = ("CPU", "GPU")


def show(result: TrialResult, path: Path) -> None:
    """Print a trial for a reader."""
    decision = result.decision
    nd_range = decision.launch.nd_range
    click.echo(
        f"{decision.launch.kernel_name}  {_sizes(nd_range.global_size)} work-items "
        f"in groups of {_sizes(nd_range.local_size)}"
    )
    click.echo(result.why_devices)
    if decision.prediction:
        click.echo(
            f"predicted  CPU share {decision.prediction.cpu_fraction:.3f} "
            f"(graph {result.trial.kernel.seconds.total * 1e3:.1f} ms, "
            f"model {decision.prediction.seconds * 1e3:.1f} ms)"
        )
    else:
        click.echo(f"asked for  CPU share {decision.cpu_share:.3f}")
    click.echo(_cut(decision))
    kernel = result.trial.kernel
    for reason in decision.reasons:
        for line in reason_lines(reason, path, kernel):
            click.echo(f"  {line}")
    click.echo(values_line(kernel, path, [device.info for device in result.devices]))
    console().print(_times(result))
    typical = result.typical
    shorter = min(part.kernel_seconds for part in typical.parts)
    if decision.is_split:
        share = typical.overlap_seconds / shorter if shorter > 0 else 0.0
        click.echo(
            f"overlap    {_ms(typical.overlap_seconds)} with both devices at work "
            f"({min(share, 1.0):.0%} of the shorter part)"
        )
    repeated = f", median of {len(result.executions)}" if len(result.executions) > 1 else ""
    click.echo(
        f"total      {_ms(median_seconds(result.executions))}, merge {_ms(typical.merge_seconds)}"
        f"{repeated}"
    )
    _show_comparison(result)
    if result.trial.wants_verification:
        click.echo(f"verified   {_verified(result)}")


def _cut(decision: Decision) -> str:
    if not decision.is_split:
        where = ROLES[decision.plan.parts[0].device]
        why = "not split" if decision.reasons else "one device takes it all"
        return f"cut        {why}: the whole launch runs on the {where}"
    pieces = ", ".join(
        f"{ROLES[part.device]} groups {part.piece.group_start} to {part.piece.group_stop - 1}"
        for part in decision.plan.parts
    )
    return (
        f"cut        CPU share {decision.real_cpu_share:.3f}: "
        f"dimension {decision.plan.parts[0].piece.dimension}, {pieces}"
    )


def _times(result: TrialResult) -> Table:
    table = Table()
    table.add_column("part")
    table.add_column("device")
    for column in ("groups", "send", "kernel", "fetch", "bytes in", "bytes out"):
        table.add_column(column, justify="right")
    parts = result.decision.plan.parts
    for timing, part in zip(result.typical.parts, parts):
        table.add_row(
            ROLES[part.device],
            escape(result.devices[part.device].label),
            f"{part.piece.groups:,}",
            _ms(timing.upload_seconds),
            _ms(timing.kernel_seconds),
            _ms(timing.download_seconds),
            f"{timing.uploaded_bytes:,}",
            f"{timing.downloaded_bytes:,}",
        )
    return table


def _show_comparison(result: TrialResult) -> None:
    if not result.alone:
        return
    mine = median_seconds(result.executions)
    times = {device: median_seconds(runs) for device, runs in result.alone.items()}
    for device, seconds in times.items():
        click.echo(f"{ROLES[device]} alone  {_ms(seconds)} ({seconds / mine:.2f} times this run)")
    best = min(times.values())
    click.echo(f"speed-up   {best / mine:.2f} over the better device alone")


def _verified(result: TrialResult) -> str:
    verification = result.verification
    if verification is None:
        return "identical: one device ran the whole launch, nothing was split"
    if verification.mismatch is None:
        return verification.text
    name = result.trial.kernel.facts.parameters[verification.mismatch.argument].name
    return f"{verification.text} (argument {verification.mismatch.argument} is {name})"


def _sizes(sizes: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in sizes)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def as_json(result: TrialResult) -> dict[str, Any]:
    """A trial for a program to read; times in seconds."""
    decision = result.decision
    typical = result.typical
    kernel = result.trial.kernel
    shown: dict[str, Any] = {
        "kernel": kernel.name,
        "global_size": decision.launch.nd_range.global_size,
        "local_size": decision.launch.nd_range.local_size,
        "offset": decision.launch.nd_range.offset,
        "devices": {role: device.label for role, device in zip(ROLES, result.devices)},
        "why_devices": result.why_devices,
        "predicted_cpu_share": decision.prediction.cpu_fraction if decision.prediction else None,
        "asked_cpu_share": decision.cpu_share,
        "real_cpu_share": decision.real_cpu_share,
        "split": decision.is_split,
        "dimension": getattr(decision.verdict, "dimension", None),
        "reasons": [reason_as_json(reason, kernel) for reason in decision.reasons],
        **values_as_json(kernel, [device.info for device in result.devices]),
        "parts": [
            {
                "role": ROLES[part.device],
                "groups": [part.piece.group_start, part.piece.group_stop],
                "upload_seconds": timing.upload_seconds,
                "kernel_seconds": timing.kernel_seconds,
                "download_seconds": timing.download_seconds,
                "uploaded_bytes": timing.uploaded_bytes,
                "downloaded_bytes": timing.downloaded_bytes,
            }
            for timing, part in zip(typical.parts, decision.plan.parts)
        ],
        "overlap_seconds": typical.overlap_seconds,
        "merge_seconds": typical.merge_seconds,
        "total_seconds": [execution.total_seconds for execution in result.executions],
        "alone_seconds": {
            ROLES[device]: [run.total_seconds for run in runs]
            for device, runs in result.alone.items()
        },
        "seconds": {
            "look": kernel.seconds.total,
            "load_model": decision.prediction.load_seconds if decision.prediction else 0.0,
            "model": decision.prediction.seconds if decision.prediction else 0.0,
        },
    }
    if result.trial.wants_verification:
        shown["verified"] = result.verification.ok if result.verification else None
        shown["verification"] = _verified(result)
    return shown
