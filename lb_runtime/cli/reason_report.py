"""How reasons and the promise on values are told, by `lb run` and by `lb explain`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lb_runtime.analysis.reasons import REASONS, Reason
from lb_runtime.devices import DeviceInfo
from lb_runtime.judged import dependence
from lb_runtime.kernel import Kernel

EXCERPT_CHARACTERS = 100
_OTHER_LINES = re.compile(r"^[ \t]*#[ \t]*(?:include|import|line|\d)", re.MULTILINE)
"""Where a source has these, a line number may be one of another file."""


def excerpt(kernel: Kernel, line: int) -> str:
    """The text of a source line, cut short where it is long; empty where it may be another file's."""
    lines = kernel.source.splitlines()
    is_mine = not _OTHER_LINES.search(kernel.source) and "-include" not in kernel.options
    if not is_mine or not 0 < line <= len(lines):
        return ""
    text = " ".join(lines[line - 1].split())
    return text if len(text) <= EXCERPT_CHARACTERS else text[: EXCERPT_CHARACTERS - 3] + "..."


def reason_lines(reason: Reason, path: Path, kernel: Kernel) -> list[str]:
    """A reason for a reader: place, detail and code; the source line's text; what can be done."""
    place = f"{path}:{reason.line}: " if reason.line else ""
    shown = [f"{place}{reason.detail} [{reason.code}]"]
    if text := excerpt(kernel, reason.line):
        shown.append(f"  > {text}")
    return [*shown, f"  {REASONS[reason.code]}"]


def reason_as_json(reason: Reason, kernel: Kernel) -> dict[str, Any]:
    """A reason for a program; `source` is the source line's text, or empty."""
    return {
        "code": reason.code,
        "detail": reason.detail,
        "line": reason.line,
        "source": excerpt(kernel, reason.line),
        "advice": REASONS[reason.code],
    }


def values_line(kernel: Kernel, path: Path, devices: Sequence[DeviceInfo] = ()) -> str:
    """Whether values depend on the device that computes them: on which of `devices`, or of all."""
    reason = dependence(kernel, devices)
    if reason is not None:
        place = f"{path}:{reason.line}: " if reason.line else ""
        return f"values     may differ between devices ({place}{reason.detail})"
    if kernel.facts.denormals is None or devices:
        return f"values     the same on {'both devices' if devices else 'every device'}"
    return "values     the same on every device that keeps denormal floats"


def values_as_json(kernel: Kernel, devices: Sequence[DeviceInfo] = ()) -> dict[str, Any]:
    """`exact` tells that values do not depend on the device; else the reason is given."""
    reason = dependence(kernel, devices)
    denormals = kernel.facts.denormals
    return {
        "exact": reason is None,
        "device_dependence": reason_as_json(reason, kernel) if reason else None,
        "denormals": reason_as_json(denormals, kernel) if denormals else None,
    }
