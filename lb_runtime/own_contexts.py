"""The OpenCL contexts that this package opened: apart from what opens them, which the drop-in loads later."""

from __future__ import annotations

OWN_CONTEXTS: set[int] = set()
"""The contexts that this package opened (`cl_context` as a number): nothing in them is a program's own.

A number is taken out before its context goes: the driver may give it to a context of the program's next.
"""
