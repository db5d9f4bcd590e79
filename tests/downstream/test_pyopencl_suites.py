"""pyopencl's own tests end as without the drop-in: split from the first launch on, and watched only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from downstream.machine import Machine
from downstream.outcomes import Outcome, differences
from downstream.suites import NEVER_SPLIT, SUITES, run_pytest, run_suite

pytestmark = [pytest.mark.downstream, pytest.mark.slow]


@pytest.mark.parametrize("mode", ["forced", "observe"])
@pytest.mark.parametrize("name", SUITES)
def test_every_test_of_pyopencl_ends_as_without_the_drop_in(
    name: str,
    mode: str,
    release: Path,
    machine: Machine,
    stock: Callable[[str], dict[str, Outcome]],
) -> None:
    expected = stock(name)
    suite = run_suite(name, release, machine, mode)
    changed = differences(expected, suite.outcomes)
    assert not changed, "\n".join([*changed, suite.tail()])
    assert all(ended.status in (0, 1) for ended in suite.ended), suite.tail()
    # A report is written at the very end: a process that dies after its last test leaves none.
    assert len(suite.reports) == len(suite.ended), suite.tail()
    assert not [fault for report in suite.reports for fault in report["faults"]]
    assert suite.counted("launches") > 0
    # Nothing is shown by a run that splits nothing.
    assert (suite.counted("split") > 0) == (mode == "forced" and name not in NEVER_SPLIT)


def test_the_tests_of_pyopencl_notice_a_write_that_is_forgotten(
    release: Path, machine: Machine
) -> None:
    forgets = ["-k", "test_sqrt", "-p", "lb_forgets"]
    mutant = run_pytest("test_clmath.py", forgets, release, machine, "forced")
    assert [outcome.kind for outcome in mutant.outcomes.values()] == ["failed"], mutant.tail()
    sound = run_pytest("test_clmath.py", forgets[:2], release, machine, "forced")
    assert [outcome.kind for outcome in sound.outcomes.values()] == ["passed"], sound.tail()
