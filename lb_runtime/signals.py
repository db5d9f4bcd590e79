"""Keeping a program's signal handlers while a driver is loaded that would put its own in their place.

PoCL has a handler for SIGFPE, with which kernels survive a division by zero; Intel's driver replaces it, and
others, when a context is made or a program is built. Python does not see handlers that C code installs.
"""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_SIZE_BYTES = 512
"""More than a `struct sigaction` has on any Linux."""


@contextmanager
def signals_kept() -> Iterator[None]:
    """Put back, at the end, every signal's handler that stood at the beginning, where the system can."""
    library = _library()
    if library is None:
        yield
        return
    kept: dict[int, ctypes.Array[ctypes.c_char]] = {}
    for each in signal.valid_signals():
        action = ctypes.create_string_buffer(_SIZE_BYTES)
        if library.sigaction(int(each), None, action) == 0:
            kept[int(each)] = action
    try:
        yield
    finally:
        for number, action in kept.items():
            now = ctypes.create_string_buffer(_SIZE_BYTES)
            if library.sigaction(number, None, now) == 0 and now.raw != action.raw:
                library.sigaction(number, action, None)


def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        library.sigaction.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    except (OSError, AttributeError):
        return None
    return library
