"""`lb tune` measures, stops, goes on, and reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_up_devices import MadeUpDevices

from lb_runtime.cli import tune
from lb_runtime.cli.main import STOPPED, run

KERNELS = Path(__file__).parents[3] / "kernels"


class Devices(MadeUpDevices):
    """In the place of the process that measures."""

    def __enter__(self) -> Devices:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Devices:
    """What `lb tune` measures with; without the kernels of this checkout."""
    made = Devices()
    monkeypatch.setenv("LB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(tune, "Worker", lambda cpu, gpu: made)
    monkeypatch.setattr(tune, "KERNELS_FOLDER", tmp_path / "none")
    return made


def test_tune_measures_fits_and_tells_where(
    devices: Devices, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["tune", "--count", "30"]) == 0
    out = capsys.readouterr().out
    assert "fitted to 28 kernels (2 could not be measured)" in out
    assert "tune.sqlite" in out


def test_tune_says_which_devices_it_measures(
    devices: Devices, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["tune", "--count", "25"])
    out = capsys.readouterr().out
    assert out.startswith("CPU: ")
    assert "\nGPU: " in out


def test_tune_that_was_stopped_goes_on(
    devices: Devices, capsys: pytest.CaptureFixture[str]
) -> None:
    devices.stops_at = 9
    assert run(["tune", "--count", "30"]) == STOPPED
    assert "done and kept: run `lb tune` to go on" in capsys.readouterr().err
    before = list(devices.measured)
    devices.stops_at = -1
    assert run(["tune", "--count", "30", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measured"] == 28
    assert len(set(devices.measured)) == len(devices.measured) > len(before)


def test_tune_again_measures_everything_anew(devices: Devices) -> None:
    run(["tune", "--count", "25"])
    first = len(devices.measured)
    run(["tune", "--count", "25"])
    assert len(devices.measured) == first
    run(["tune", "--count", "25", "--again"])
    assert len(devices.measured) == 2 * first


def test_tune_measures_the_kernels_of_a_folder(devices: Devices, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("saxpy.cl", "saxpy.toml"):
        (folder / name).write_bytes((KERNELS / name).read_bytes())
    (folder / "no_launch.cl").write_text("__kernel void f() {}")
    assert run(["tune", "--count", "25", "--kernels", str(folder)]) == 0
    assert devices.measured[-1] == "saxpy.cl"


def test_a_folder_without_kernels_is_one_clear_error(
    devices: Devices, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["tune", "--kernels", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_report_compares_before_and_after(
    devices: Devices, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["tune", "--count", "45", "--json"])
    capsys.readouterr()
    assert run(["tune", "--report", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kernels"] == 43
    assert set(facts["held_out"]) == {"a tenth of the kernels", "a whole family"}
    judged = facts["held_out"]["a whole family"]["kernel"]
    assert {"untuned", "constant", "tuned", "coverage"} <= set(judged)
    assert facts["split"]["launches"] > 4
    assert run(["tune", "--report"]) == 0
    assert "a whole family" in capsys.readouterr().out


def test_a_report_without_measurements_is_a_wrong_command_line(
    devices: Devices, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["tune", "--report"]) == 2
    assert "run `lb tune` first" in capsys.readouterr().err


def test_a_report_on_other_devices_says_what_to_do(
    devices: Devices, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["tune", "--count", "25"])
    capsys.readouterr()
    monkeypatch.setenv("CL_CONFIG_CPU_TBB_NUM_WORKERS", "17")
    assert run(["tune", "--report"]) == 1
    assert "0 kernels were measured on this pair" in capsys.readouterr().err


def test_tune_tells_of_a_damaged_file_and_begins_anew(
    devices: Devices, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tune.sqlite").write_bytes(b"damaged" * 1000)
    assert run(["tune", "--count", "25"]) == 0
    assert "damaged" in capsys.readouterr().err
