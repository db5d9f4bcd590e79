"""How each test of a run of pytest ended, and where two runs differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

PASSED = "passed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a test ended: passed, failed, error, skipped or xfailed; and why, where it did not pass."""

    kind: str
    why: str = ""


def read_outcomes(junit: Path) -> dict[str, Outcome]:
    """The outcome of each test, by `module::name[parameters]`, from the XML that pytest writes."""
    found = {}
    for case in ElementTree.parse(junit).iter("testcase"):  # noqa: S314 - written by our own pytest
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        # A test can pass and its teardown go wrong: then it is there twice, or has two children.
        told = [each for each in case if each.tag in ("failure", "error", "skipped")]
        for each in told:
            found[name] = Outcome(_kind(each), _first_line(each.get("message", "")))
        if not told:
            found.setdefault(name, Outcome(PASSED))
    return found


def differences(stock: Mapping[str, Outcome], ours: Mapping[str, Outcome]) -> list[str]:
    """One line for each test that ended otherwise than under stock pyopencl. Reasons may differ."""
    lines = []
    for name in [*stock, *(name for name in ours if name not in stock)]:
        was, is_now = stock.get(name), ours.get(name)
        if was is None or is_now is None or was.kind != is_now.kind:
            lines.append(f"{name}: stock {_told(was)}; with lb_runtime {_told(is_now)}")
    return lines


def _told(outcome: Outcome | None) -> str:
    if outcome is None:
        return "did not run"
    return f"{outcome.kind} ({outcome.why})" if outcome.why else outcome.kind


def _kind(element: ElementTree.Element) -> str:
    if element.tag == "skipped":
        return "xfailed" if element.get("type") == "pytest.xfail" else "skipped"
    return "failed" if element.tag == "failure" else "error"


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0][:200]
