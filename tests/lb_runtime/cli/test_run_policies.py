"""`lb run --policy` and `--launches`: launches that a policy shares out, what is told of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kernel_references import KERNELS

from lb_runtime.cli.main import run as lb
from lb_runtime.shares.policy import POLICY_NAMES

Captured = pytest.CaptureFixture[str]
SAXPY = [str(KERNELS / "saxpy.cl"), "-g", "65536", "--arg", "n=65536"]
SMALL = [*SAXPY, "--arg", "x=rand:float32:65536", "--arg", "y=rand:float32:65536"]
POCL = ["--cpu", "Portable", "--gpu", "Portable"]


def run(*options: str) -> int:
    return lb(["run", *SMALL, *POCL, *options])


def told(capsys: Captured, *options: str) -> dict[str, Any]:
    assert run("--json", *options) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def is_whole(report: dict[str, Any]) -> bool:
    """Whether one device happened to run the whole of the last launch, and the report says so."""
    return (
        report["verified"] is None
        and not report["split"]
        and "one device" in report["verification"]
    )


@pytest.mark.parametrize("policy", [each for each in POLICY_NAMES if each != "fixed"])
def test_a_policy_runs_so_many_launches_and_is_verified(capsys: Captured, policy: str) -> None:
    report = told(capsys, "--policy", policy, "--launches", "5", "--verify")
    assert len(report["launches"]) == 5
    assert report["policy"] == policy
    assert report["verified"] or is_whole(report)
    assert all(abs(sum(each["shares"]) - 1) < 1e-9 for each in report["launches"])


def test_chunks_are_verified_and_told(capsys: Captured) -> None:
    report = told(capsys, "--policy", "dynamic", "--launches", "2", "--verify", "--compare")
    assert report["verified"] or is_whole(report)
    assert all(each["chunked"] for each in report["launches"])
    assert len(report["timeline"]) > 2
    assert set(report["alone_seconds"]) == {"CPU", "GPU"}


def test_a_share_is_fixed(capsys: Captured) -> None:
    report = told(capsys, "--share", "0.25", "--launches", "3")
    assert report["policy"] == "fixed"
    assert [each["shares"] for each in report["launches"]] == [[0.25, 0.75]] * 3


def test_launches_alone_are_adaptive(capsys: Captured) -> None:
    assert told(capsys, "--launches", "2")["policy"] == "adaptive"


def test_one_line_tells_what_it_came_to(capsys: Captured) -> None:
    assert run("--policy", "dynamic", "--launches", "2", "--compare") == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("dynamic: ")]
    assert "in chunks after 2 launches" in line
    assert "the CPU alone" in line or "the GPU alone" in line


def test_a_kernel_that_cannot_be_split_tells_why(capsys: Captured) -> None:
    path = str(KERNELS / "prefix_sum_flags.cl")
    assert lb(["run", path, *POCL, "--launches", "2"]) == 0
    out = capsys.readouterr().out
    assert "[global-atomic]" in out
    assert "all on the" in out


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--policy", "adaptive", "--share", "0.3"), "--policy adaptive given beside a share"),
        (("--policy", "fixed"), "--policy fixed given without a share"),
        (("--launches", "3", "--repeat", "2"), "--repeat 2 given beside"),
        (("--policy", "magic"), "'magic' is not one of"),
        (("--launches", "0"), "0 is not in the range"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(
    capsys: Captured, options: tuple[str, ...], named: str
) -> None:
    assert run(*options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
