"""pyopencl's own examples print, unchanged, what they print without the drop-in, and exit with 0."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from downstream.examples import EXAMPLES, Example, Run, Splits, run_example
from downstream.machine import Machine

pytestmark = [pytest.mark.downstream, pytest.mark.slow]

Stock = Callable[[Example], Run]


@pytest.fixture(scope="session")
def stock_example(release: Path, machine: Machine) -> Stock:
    """What an example does without the drop-in."""
    known: dict[Example, Run] = {}

    def run(example: Example) -> Run:
        if example not in known:
            known[example] = run_example(example, release, machine, machine.environment("stock"))
        return known[example]

    return run


def compare(example: Example, machine: Machine, stock: Run, ours: Run) -> None:
    """Same exit status (0), same output, same files; and no fault on the way."""
    dies = example.may_die and machine.device.is_pocl
    for run in (stock, ours):
        assert run.ended.status == 0 or (dies and run.ended.status < 0), run.ended.tail()
    assert ours.output == stock.output
    assert ours.errors == stock.errors
    assert ours.files == stock.files
    assert ours.report is not None
    assert not ours.report["faults"]
    assert ours.report["launches"] > 0


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_split_on_one_compiler_prints_the_same(
    example: Example, release: Path, machine: Machine, stock_example: Stock
) -> None:
    environment = machine.environment("forced", alone=True)
    ours = run_example(example, release, machine, environment)
    compare(example, machine, stock_example(example), ours)
    assert (ours.report["split"] > 0) == (example.splits is not Splits.NEVER)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_split_over_two_devices_prints_the_same(
    example: Example, release: Path, machine: Machine, stock_example: Stock
) -> None:
    # What two compilers may round in two ways is asked for the way that keeps every bit.
    exact = example.splits is Splits.ON_ONE_COMPILER
    ours = run_example(example, release, machine, machine.environment("forced", exact=exact))
    compare(example, machine, stock_example(example), ours)
    assert (ours.report["split"] > 0) == (example.splits is Splits.ALWAYS)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_that_is_only_watched_prints_the_same(
    example: Example, release: Path, machine: Machine, stock_example: Stock
) -> None:
    ours = run_example(example, release, machine, machine.environment("observe"))
    compare(example, machine, stock_example(example), ours)
    assert ours.report["split"] == 0


@pytest.mark.parametrize("example", [each for each in EXAMPLES if each.may_die], ids=str)
@pytest.mark.parametrize("mode", ["forced", "observe"])
def test_an_example_that_dies_on_pocl_ends_well_on_another_driver(
    example: Example, mode: str, release: Path, machine: Machine
) -> None:
    other = machine.turned() if machine.device.is_pocl else machine
    if other is None:
        pytest.skip("PoCL is the only driver here")
    stock = run_example(example, release, other, other.environment("stock"))
    ours = run_example(example, release, other, other.environment(mode))
    compare(example, other, stock, ours)
