"""`lb history`: what earlier launches on this machine came to, as tables or JSON, and how to forget it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from statistics import median
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from lb_runtime.cli.console import console
from lb_runtime.history.known import Known
from lb_runtime.history.place import history_path
from lb_runtime.history.store import Store

HASH_CHARACTERS = 10
"""So much of a kernel's hash is shown."""


@click.group("history")
def command() -> None:
    """Show or clear what was learned about launches on this machine.

    It is kept in the user's data folder (LB_DATA_DIR names another); LB_HISTORY=off leaves it alone.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(as_json: bool) -> None:
    """List all launches that are known, what was used last first."""
    found = _everything()
    if as_json:
        click.echo(json.dumps(_as_json(found)))
        return
    if not found:
        click.echo(f"nothing is known yet ({history_path()})")
        return
    table = Table(title="launches that are known", title_justify="left")
    table.add_column("kernel", overflow="fold")
    table.add_column("hash", no_wrap=True)
    table.add_column("global size", overflow="fold")
    table.add_column("decision", no_wrap=True)
    for column in ("CPU share", "alone", "split", "timed"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("last used", no_wrap=True)
    for each in found:
        table.add_row(
            Text(each.kernel_name),
            each.key.kernel[:HASH_CHARACTERS],
            _sizes(each, "global"),
            each.code,
            "-" if each.cpu_share is None else f"{each.cpu_share:.3f}",
            _milliseconds(each.alone_seconds),
            _milliseconds(each.split_seconds),
            f"{each.alone_launches + each.split_launches:,}",
            _moment(each.used),
        )
    console().print(table)


@command.command("show")
@click.argument("kernel", metavar="KERNEL")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(kernel: str, as_json: bool) -> None:
    """Show all that is known of KERNEL: a name, or the beginning of a hash."""
    found = _chosen(_everything(), kernel)
    if as_json:
        click.echo(json.dumps(_as_json(found)))
        return
    for each in found:
        click.echo(f"{each.kernel_name}  {each.key.kernel}")
        for role, device in _devices(each):
            click.echo(f"  {role}: {device}")
        click.echo(f"  launch: {each.key.bucket}")
        share = "" if each.cpu_share is None else f", CPU share {each.cpu_share:.4f}"
        click.echo(f"  decision: {each.code}{share}; last used {_moment(each.used)}")
        for name, times, launches in (
            ("alone", each.alone_seconds, each.alone_launches),
            ("split", each.split_seconds, each.split_launches),
        ):
            shown = ", ".join(f"{seconds * 1e3:.3f}" for seconds in times) or "-"
            click.echo(f"  {name}: last {shown} ms; {launches:,} timed")
        click.echo(
            f"  last split: {each.to_mirror_bytes:,} bytes to the other device, "
            f"{each.home_bytes:,} bytes home"
        )


@command.command("export")
@click.argument("path", metavar="[FILE]", type=click.File("w", encoding="utf-8"), default="-")
def export_command(path: Any) -> None:
    """Write all that is known as JSON, to FILE or to standard output."""
    path.write(json.dumps(_as_json(_everything()), indent=1) + "\n")


@command.command("clear")
@click.argument("kernel", metavar="[KERNEL]", required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear_command(kernel: str | None, yes: bool) -> None:
    """Forget KERNEL (a name, or the beginning of a hash), or everything."""
    found = _everything()
    if kernel is not None:
        found = _chosen(found, kernel)
    what = f"{len(found):,} launches" if kernel is None else f"{len(found):,} launches of {kernel}"
    if not yes:
        click.confirm(f"forget {what}?", abort=True, err=True)
    kernels = None if kernel is None else sorted({each.key.kernel for each in found})
    store = Store(history_path())
    removed = store.remove(kernels)
    _tell(store)
    click.echo(f"{removed:,} launches forgotten")


def _everything() -> list[Known]:
    store = Store(history_path())
    found = store.everything()
    _tell(store)
    return found


def _tell(store: Store) -> None:
    for note in store.notes:
        click.echo(f"lb history: {note}", err=True)


def _chosen(found: Sequence[Known], kernel: str) -> list[Known]:
    """The launches of a kernel. Raises a usage error where there are none."""
    chosen = [each for each in found if each.kernel_name == kernel] or [
        each for each in found if kernel and each.key.kernel.startswith(kernel)
    ]
    if not chosen:
        raise click.UsageError(
            f"kernel {kernel!r} given, expected a kernel's name or the beginning of its hash: "
            "`lb history list` shows those that are known"
        )
    return chosen


def _as_json(found: Sequence[Known]) -> list[dict[str, Any]]:
    shown = []
    for each in found:
        facts = asdict(each)
        key = facts.pop("key")
        shown.append(
            {
                "kernel": key["kernel"],
                **facts,
                "launch": _parsed(key["bucket"]),
                "devices": _parsed(key["pair"]),
            }
        )
    return shown


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _sizes(known: Known, name: str) -> str:
    launch = _parsed(known.key.bucket)
    sizes = launch.get(name) if isinstance(launch, dict) else None
    return "x".join(map(str, sizes)) if isinstance(sizes, list) else "-"


def _devices(known: Known) -> list[tuple[str, str]]:
    pair = _parsed(known.key.pair)
    if not isinstance(pair, dict) or "own" not in pair:
        return [("devices", known.key.pair)]
    rows = []
    for role, title in (
        ("own", f"program's device ({pair['own_role']})"),
        ("other", "other device"),
    ):
        each = pair[role]
        rows.append(
            (
                title,
                f"{each['name']} ({each['platform']}, driver {each['driver_version']}, "
                f"{each['compute_units']} units)",
            )
        )
    return rows


def _milliseconds(times: Sequence[float]) -> str:
    return f"{median(times) * 1e3:.3f} ms" if times else "-"


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, OSError, ValueError):
        return "-"
