"""ProGraML's builder, where it is asked for and to be had."""

from __future__ import annotations

import pytest
from oracle.tools import ToolError, Tools, fetch_tools


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """These tests fetch two large wheels: they run where they are asked for."""
    if not config.getoption("--oracle"):
        skip = pytest.mark.skip(reason="fetches ProGraML's own graph builder: give --oracle")
        for item in items:
            if item.get_closest_marker("oracle"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def tools() -> Tools:
    """`llvm2graph-10` and the compiler whose assembly it reads."""
    try:
        return fetch_tools()
    except ToolError as error:
        pytest.skip(str(error))
