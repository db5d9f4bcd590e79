"""A plugin for the pytest that runs pyopencl's tests: `lb_runtime` is installed before any test module is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lb_runtime
from lb_runtime.settings import Settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lb-report", type=Path, required=True, help="where the report goes, as JSON")


def pytest_configure() -> None:
    lb_runtime.install(Settings.from_environment())


def pytest_unconfigure(config: pytest.Config) -> None:
    lb_runtime.uninstall()
    report: Path = config.getoption("--lb-report")
    report.write_text(json.dumps(lb_runtime.report().to_json()), "utf-8")
