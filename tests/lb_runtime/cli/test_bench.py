"""`lb bench` from the command line, on real devices and tiny launches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benched import bench
from kernel_references import KERNELS

from lb_runtime.bench import files
from lb_runtime.bench.measure import WAYS
from lb_runtime.cli.main import run as lb

Captured = pytest.CaptureFixture[str]
SIZES = ["-g", "65536", "--arg", "n=65536"]
ARRAYS = ["--arg", "x=rand:float32:65536", "--arg", "y=rand:float32:65536"]
SAXPY = ["--kernel", str(KERNELS / "saxpy.cl"), *SIZES, *ARRAYS]
POCL = ["--cpu", "Portable", "--gpu", "Portable"]


def measured(folder: Path, *options: str) -> int:
    return lb(
        ["bench", *SAXPY, *POCL, "--quick", "--rounds", "5", "--output", str(folder), *options]
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    assert measured(folder) == 0
    return folder


def kernels(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "bench.json").read_text("utf-8"))["kernels"]
    return found


def test_a_kernel_is_measured_in_all_ways_and_its_bytes_are_right(folder: Path) -> None:
    (kernel,) = kernels(folder)
    assert kernel["is_done"]
    assert set(kernel["rounds"]) == set(WAYS) == set(kernel["checks"])
    assert all(text.startswith("identical") for text in kernel["checks"].values())
    assert set(kernel["timelines"]) == {"best cut", "dynamic"}
    assert (folder / "bench.html").is_file()
    assert (folder / "saxpy-sweep.png").is_file()


def test_what_is_in_the_file_is_not_measured_again(folder: Path, capsys: Captured) -> None:
    before = kernels(folder)
    assert measured(folder, "--json") == 0
    assert kernels(folder) == before
    told = json.loads(capsys.readouterr().out)
    assert told["overall"]["kernels"] == 1


def test_other_options_do_not_go_on_with_a_file(folder: Path, capsys: Captured) -> None:
    assert measured(folder, "--seed", "7") == 2
    error = capsys.readouterr().err
    assert "was measured with seed 0, not 7" in error
    assert error.count("\n") == 1


def test_the_report_can_be_made_of_the_json_alone(folder: Path, tmp_path: Path) -> None:
    given = ["--from", str(folder / "bench.json"), "--output", str(tmp_path)]
    assert lb(["bench", *given]) == 0
    assert (tmp_path / "bench.html").read_text("utf-8") == (folder / "bench.html").read_text(
        "utf-8"
    )


def test_a_table_tells_every_kernel(tmp_path: Path, capsys: Captured) -> None:
    bench().write(tmp_path / "bench.json")
    assert lb(["bench", "--from", str(tmp_path / "bench.json")]) == 0
    out = capsys.readouterr().out
    assert "geometric means over 2 kernels" in out
    assert "flags: not split: line 3" in out


def test_wrong_bytes_are_told_and_set_the_status(tmp_path: Path, capsys: Captured) -> None:
    wrong = bench()
    wrong.kernels["one"].wrong = ("dynamic",)
    wrong.kernels["one"].checks["dynamic"] = "wrong: element 3"
    wrong.write(tmp_path / "bench.json")
    assert lb(["bench", "--from", str(tmp_path / "bench.json")]) == 1
    assert "one, dynamic: wrong: element 3" in capsys.readouterr().out


def test_options_of_one_launch_need_one_kernel(capsys: Captured) -> None:
    assert lb(["bench", "-g", "64"]) == 2
    assert "give one --kernel" in capsys.readouterr().err


def test_missing_plots_cost_a_line_and_leave_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def none_there(*_: object) -> None:
        raise files.MissingPlotsError("no plots without matplotlib")

    monkeypatch.setattr("lb_runtime.cli.bench.write_report", none_there)
    assert measured(tmp_path) == 2
    assert "no plots without matplotlib" in capsys.readouterr().err
    assert kernels(tmp_path)[0]["is_done"]


def test_ctrl_c_keeps_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    from lb_runtime.bench.subject import LaunchSubject

    real, calls = LaunchSubject.run, []

    def stopped(self: LaunchSubject, choice: Any) -> Any:
        calls.append(choice)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return real(self, choice)

    monkeypatch.setattr(LaunchSubject, "run", stopped)
    assert measured(tmp_path) == 130
    assert "the same command goes on" in capsys.readouterr().err
    (kernel,) = kernels(tmp_path)
    assert sum(len(samples) for samples in kernel["sweep"].values()) >= 10
    assert not kernel["is_done"]
    assert measured(tmp_path) == 0
    (after,) = kernels(tmp_path)
    assert after["is_done"]
    assert all(
        samples == after["sweep"][share][: len(samples)]
        for share, samples in kernel["sweep"].items()
    )
