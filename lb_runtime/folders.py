"""Where this package keeps what it learned on this machine: apart from caches, which may be thrown away."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

DATA_VARIABLE = "LB_DATA_DIR"


def data_folder() -> Path:
    """The folder for measurements: `LB_DATA_DIR`, or the user's data folder. It need not exist."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named) if named else Path(platformdirs.user_data_dir("lb-runtime", appauthor=False))
