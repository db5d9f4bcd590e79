"""Where the history's file is: apart from what reads it, since looking for it needs no database."""

from __future__ import annotations

from pathlib import Path

from lb_runtime.folders import data_folder


def history_path() -> Path:
    """Where the file is, or would be."""
    return data_folder() / "history.sqlite"
