"""What `lb run` prints of launches that a policy shared out: the shares they went through, what it gained."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import click

from lb_runtime.analysis.verdict import Declined
from lb_runtime.cli.reason_report import reason_as_json, reason_lines
from lb_runtime.cli.run_report import ROLES
from lb_runtime.series import Series, Step
from lb_runtime.shares.observation import Choice

NEAR = 0.005
"""Shares that are nearer than this are told as one."""


def show(series: Series, path: Path, why_devices: str) -> None:
    """Print a series for a reader."""
    launch = series.launch
    nd_range = launch.launch.nd_range
    sizes = ["x".join(str(n) for n in each) for each in (nd_range.global_size, nd_range.local_size)]
    click.echo(f"{launch.kernel.name}  {sizes[0]} work-items in groups of {sizes[1]}")
    click.echo(why_devices)
    if isinstance(launch.verdict, Declined):
        for reason in launch.verdict.reasons:
            for line in reason_lines(reason, path, launch.kernel):
                click.echo(f"  {line}")
    for first, last, steps in _runs(series.steps):
        numbers = f"launch {first}" if first == last else f"launches {first} to {last}"
        times = sorted(step.observation.total_seconds for step in steps)
        milliseconds = " to ".join(f"{t * 1e3:.2f}" for t in dict.fromkeys((times[0], times[-1])))
        click.echo(f"  {numbers:18}  {_how(steps[-1])}, {milliseconds} ms ({steps[-1].choice.why})")
    click.echo(outcome(series))
    if series.wants_verification:
        click.echo(f"verified   {_verified(series)}")


def _verified(series: Series) -> str:
    if series.verification is None:
        return "identical: one device ran the whole of the last launch, nothing was split"
    return series.verification.text


def outcome(series: Series) -> str:
    """One line: what it came to."""
    count = len(series.steps)
    text = (
        f"{series.policy}: {_how(series.steps[-1])} after {count} launch{'es' * (count > 1)}, "
        f"{series.seconds * 1e3:.2f} ms a launch"
    )
    if not series.alone:
        return text
    best = min(series.alone, key=lambda device: series.alone[device])
    last = series.steps[-1].observation
    if last.whole == best and not last.is_chunked:
        was_split = any(step.observation.whole is None for step in series.steps)
        return f"{text}; no split was faster" if was_split else text
    beside = f"the {ROLES[best]} alone ({series.alone[best] * 1e3:.2f} ms)"
    ratio = series.alone[best] / series.seconds
    return (
        f"{text}: {ratio:.2f} times as fast as {beside}"
        if ratio >= 1
        else f"{text}: slower than {beside}"
    )


def _how(step: Step) -> str:
    seen = step.observation
    how = " in chunks" if seen.is_chunked else ""
    if seen.whole is not None:
        return f"all on the {ROLES[seen.whole]}{how}"
    return f"CPU share {seen.shares[0]:.3f}{how}"


def _runs(steps: tuple[Step, ...]) -> list[tuple[int, int, list[Step]]]:
    """Launches that were chosen alike, together: the first and the last one's number, from 1 on."""
    found: list[tuple[int, int, list[Step]]] = []
    groups = groupby(enumerate(steps, start=1), key=lambda each: _kind(each[1].choice))
    for _, group in groups:
        numbered = list(group)
        found.append((numbered[0][0], numbered[-1][0], [step for _, step in numbered]))
    return found


def _kind(choice: Choice) -> tuple[bool, int, str]:
    return (
        choice.is_chunked,
        -1 if choice.is_chunked else round(choice.shares[0] / NEAR),
        choice.why,
    )


def as_json(series: Series, why_devices: str) -> dict[str, Any]:
    """A series for a program to read; times in seconds, shares as [CPU, GPU]."""
    launch = series.launch
    reasons = launch.verdict.reasons if isinstance(launch.verdict, Declined) else ()
    shown: dict[str, Any] = {
        "kernel": launch.kernel.name,
        "global_size": launch.launch.nd_range.global_size,
        "local_size": launch.launch.nd_range.local_size,
        "why_devices": why_devices,
        "policy": series.policy,
        "split": len(series.last.plan.parts) > 1,
        "may_chunk": launch.may_chunk,
        "data_dependent_loops": launch.has_data_dependent_loops,
        "reasons": [reason_as_json(reason, launch.kernel) for reason in reasons],
        "launches": [
            {
                "why": step.choice.why,
                "chunked": step.observation.is_chunked,
                "shares": step.observation.shares,
                "seconds": step.observation.seconds,
                "total_seconds": step.observation.total_seconds,
                "moved_bytes": step.observation.moved_bytes,
            }
            for step in series.steps
        ],
        "seconds": series.seconds,
        "alone_seconds": {ROLES[device]: each for device, each in series.alone.items()},
        "timeline": [
            {
                "role": ROLES[span.device],
                "groups": [span.group_start, span.group_stop],
                "begin_seconds": span.begin_seconds,
                "end_seconds": span.end_seconds,
            }
            for span in series.last.timeline
        ],
        "outcome": outcome(series),
    }
    if series.wants_verification:
        shown["verified"] = series.verification.ok if series.verification else None
        shown["verification"] = _verified(series)
    return shown
