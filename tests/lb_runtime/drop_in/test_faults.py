"""Whatever fails, a launch completes on the user's device, the cause is told once, and the program goes on.

Each step of `drop_in_faults.STEPS` is made to fail, once and for ever, under programs whose bytes are known,
in processes of their own. `drop_in_faults.py`, run by itself, tries more calls and more programs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
from drop_in_faults import FEW_PROGRAMS, STEPS, WHENS, Trial, wrong

ROOT = Path(__file__).parents[3]
LIMIT_SECONDS = 300
STEPS_EACH = 8
"""Steps that share a process, which takes longer to start than to try one."""
TRIALS = len(WHENS) * len(FEW_PROGRAMS)


def child(code: str) -> tuple[list[Trial], str]:
    """The trials that a program prints that may use `drop_in_faults`; how it ended if not well."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import drop_in_faults as faults\n{code}"],
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
        )
    except subprocess.TimeoutExpired as error:
        # What was printed until then is bytes, whatever `text` says.
        printed, ending = (error.stdout or b"").decode(), f"no end within {LIMIT_SECONDS} s"
    else:
        printed = done.stdout
        ending = f"status {done.returncode}\n{done.stderr}" if done.returncode else ""
    return [Trial(**json.loads(line)) for line in printed.splitlines()], ending


@lru_cache
def of_group(number: int) -> dict[str, tuple[list[Trial], str]]:
    """What became of the steps of a group. After a crash or a hang the steps behind it are still tried."""
    names = list(STEPS)[STEPS_EACH * number : STEPS_EACH * (number + 1)]
    results = {}
    while names:
        found, ending = child(f"faults.main({names!r})")
        while names:
            name = names.pop(0)
            mine = [trial for trial in found if trial.step == name]
            is_last = ending and (len(mine) < TRIALS or not names)
            results[name] = mine, ending if is_last else ""
            if is_last:
                break
    return results


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_leaves_right_bytes_and_is_told(step: str) -> None:
    found, ending = of_group(list(STEPS).index(step) // STEPS_EACH)[step]
    assert not ending, f"after {len(found)} of {TRIALS} trials: {ending}"
    assert any(trial.failed for trial in found), f"{step} was never reached"
    assert not wrong(found, STEPS[step]), "\n".join(wrong(found, STEPS[step]))


def with_mutant(target: str, step: str) -> str:
    """What goes wrong in a step when a function of ours does nothing."""
    found, ending = child(f"faults.patch({target!r})\nfaults.main([{step!r}])")
    return "\n".join([*wrong(found, STEPS[step]), ending])


def test_a_launch_that_is_not_done_again_is_caught() -> None:
    assert "differ" in with_mutant("lb_runtime.dropin.split:LaunchTask._recover", "mirror-kernel")


def test_bytes_that_are_not_brought_home_are_caught() -> None:
    assert "differ" in with_mutant("lb_runtime.dropin.world:World.pull", "mirror-memory")


def test_a_cause_that_nobody_records_is_caught() -> None:
    found = with_mutant("lb_runtime.story:Story.fault", "memory")
    assert "the report does not tell the cause" in found
