"""What the tests with pyopencl's programs share: the release, the machine, and what stock pyopencl does."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from downstream.machine import Machine, this_machine
from downstream.outcomes import Outcome
from downstream.release import installed_version, release_folder
from downstream.suites import run_suite

Stock = Callable[[str], dict[str, Outcome]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """These tests fetch a release and take many minutes: they run where they are asked for."""
    if not config.getoption("--downstream"):
        skip = pytest.mark.skip(reason="runs pyopencl's own tests and examples: give --downstream")
        for item in items:
            if item.get_closest_marker("downstream"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def release() -> Path:
    """The folder with `test/` and `examples/` of the installed version of pyopencl."""
    return release_folder(installed_version())


@pytest.fixture(scope="session")
def machine() -> Machine:
    """The device that programs are told to use, and its mirror."""
    return this_machine()


@pytest.fixture(scope="session")
def stock(release: Path, machine: Machine, request: pytest.FixtureRequest) -> Stock:
    """How each test of a suite ends without the drop-in.

    pytest's cache keeps it from run to run, for as long as no package, driver or device changes;
    `--cache-clear` forgets it.
    """
    memory: dict[str, dict[str, Outcome]] = {}

    def outcomes(name: str) -> dict[str, Outcome]:
        if name in memory:
            return memory[name]
        key = f"downstream/{_fingerprint(machine, release / 'test' / f'{name}.py')}"
        # Without its cache plugin, pytest has no cache.
        cache: pytest.Cache | None = getattr(request.config, "cache", None)
        if cache is not None and (known := cache.get(key, None)):
            memory[name] = {test: Outcome(**outcome) for test, outcome in known.items()}
            return memory[name]
        suite = run_suite(name, release, machine, "stock")
        if any(ended.status not in (0, 1) for ended in suite.ended):
            pytest.fail(f"{name} does not run without lb_runtime: {suite.tail()}")
        memory[name] = suite.outcomes
        if cache is not None:
            cache.set(key, {test: asdict(outcome) for test, outcome in suite.outcomes.items()})
        return memory[name]

    return outcomes


def _fingerprint(machine: Machine, suite: Path) -> str:
    """A short hash of what a stock run depends on: packages, Python, the device, the tests."""
    packages = sorted(
        f"{package.name}={package.version}"
        for package in importlib.metadata.distributions()
        if package.name != "lb-runtime"
    )
    material = [sys.version, repr(machine.device), repr(machine.place), *packages]
    material.append(hashlib.sha256(suite.read_bytes()).hexdigest())
    return hashlib.sha256("\n".join(material).encode()).hexdigest()[:16]
