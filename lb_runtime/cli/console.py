"""The console that tables are printed on, and what tells how far long work is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

WIDTH_WITHOUT_TERMINAL = 120
"""Columns where nothing tells how wide the reader's page is."""


def console() -> Console:
    """A console on standard output; wide enough for our tables where that is no terminal."""
    if sys.stdout is not None and sys.stdout.isatty():
        return Console()
    return Console(width=WIDTH_WITHOUT_TERMINAL)


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """A line on standard error that moves while work goes on, where a reader sits at a terminal.

    Yields a function that changes the text.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda _: None
        return
    with Console(stderr=True).status(text) as line:
        yield line.update


@contextmanager
def bar(text: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error, where a reader sits at a terminal.

    Yields a function to be called once for each of so many steps.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(text, total=total)
        yield lambda: progress.advance(task)
