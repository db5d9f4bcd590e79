"""What the subcommands print when all is well."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lb_runtime.cli.main import run

KERNELS = Path(__file__).parents[3] / "kernels"
SAXPY = str(KERNELS / "saxpy.cl")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(list(arguments)) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_run_splits_at_the_predicted_share_and_verifies(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "run", SAXPY, "-g", "65536", "--verify")
    assert "predicted  CPU share" in out
    assert "verified   identical" in out


def test_run_splits_at_a_given_share(capsys: pytest.CaptureFixture[str]) -> None:
    shown = json.loads(printed(capsys, "run", SAXPY, "-g", "65536", "--split", "25%", "--json"))
    assert shown["split"]
    assert shown["real_cpu_share"] == 0.25
    assert [part["role"] for part in shown["parts"]] == ["CPU", "GPU"]
    assert shown["predicted_cpu_share"] is None


@pytest.mark.parametrize(("share", "role"), [("cpu", "CPU"), ("gpu", "GPU"), ("0", "GPU")])
def test_run_on_one_device_alone(capsys: pytest.CaptureFixture[str], share: str, role: str) -> None:
    shown = json.loads(printed(capsys, "run", SAXPY, "-g", "65536", "--split", share, "--json"))
    assert [part["role"] for part in shown["parts"]] == [role]
    assert not shown["split"]


def test_run_compares_with_each_device_alone(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["-g", "65536", "--split", "0.5", "--compare", "--repeat", "3"]
    shown = json.loads(printed(capsys, "run", SAXPY, *arguments, "--json"))
    assert {role: len(times) for role, times in shown["alone_seconds"].items()} == {
        "CPU": 3,
        "GPU": 3,
    }
    assert "speed-up" in printed(capsys, "run", SAXPY, *arguments)


def test_repeating_starts_from_the_same_data_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    # saxpy adds to its own output: the third run would differ if it began where the second ended.
    arguments = ["-g", "65536", "--split", "0.5", "--repeat", "3", "--verify", "--json"]
    assert json.loads(printed(capsys, "run", SAXPY, *arguments))["verified"]


def test_a_declined_kernel_runs_whole_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(KERNELS / "prefix_sum_flags.cl")
    out = printed(capsys, "run", path, "--split", "0.5", "--verify")
    assert "not split" in out
    assert "[global-atomic]" in out
    assert "prefix_sum_flags.cl:" in out


def test_an_argument_may_come_from_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.ones(1024, np.float32))
    arguments = ["-g", "1024", "--arg", f"x={tmp_path / 'x.npy'}", "--arg", "y=zeros:float32:1024"]
    out = printed(capsys, "run", SAXPY, *arguments, "--arg", "n=1024", "--split", "0.5", "--verify")
    assert "identical" in out


@pytest.mark.parametrize(
    ("wavers", "text"), [(None, "verified   wrong"), (1, "verified   cannot be verified: device 1")]
)
@pytest.mark.parametrize("options", [[], ["--policy", "fixed", "--launches", "2"]])
def test_a_result_that_is_not_confirmed_is_status_one(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    wavers: int | None,
    text: str,
) -> None:
    from lb_runtime import verify
    from lb_runtime.verify import Mismatch, Outcome, Verification

    wrong = Verification(Outcome.WRONG, 0, Mismatch(2, 4, 1, "1.0", "2.0", 4))
    monkeypatch.setattr(verify, "verify", lambda *_: wrong)
    monkeypatch.setattr(verify, "wavering", lambda *_: wavers)
    assert run(["run", SAXPY, "-g", "65536", "--split", "0.5", "--verify", *options]) == 1
    assert text in capsys.readouterr().out


def test_explain_tells_dimension_merge_and_line(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "explain", str(KERNELS / "transpose.cl"))
    assert "split along dimension 0" in out
    assert "written range" in out


def test_explain_tells_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "explain", str(KERNELS / "prefix_sum_flags.cl"))
    assert "not split" in out
    assert "[global-atomic]" in out


def test_explain_in_json_has_codes_and_parts(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(KERNELS / "prefix_sum_flags.cl")
    declined = json.loads(printed(capsys, "explain", path, "--json"))
    assert declined["reasons"][0]["code"] == "global-atomic"
    split = json.loads(printed(capsys, "explain", SAXPY, "--json"))
    merges = {argument["name"]: argument["merge"] for argument in split["arguments"]}
    assert merges["x"] == "none"
    assert merges["y"] == "range"


def test_explain_needs_no_launch(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "f.cl"
    path.write_text("__kernel void f(__global int *a, int n) { a[get_global_id(0)] = n; }")
    assert "assumed" in printed(capsys, "explain", str(path))


def test_predict_prints_the_fraction_and_the_times(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "predict", SAXPY, "-g", "1048576", "-l", "256")
    assert "CPU fraction" in out
    assert "model" in out
    shown = json.loads(printed(capsys, "predict", SAXPY, "-g", "1048576", "-l", "256", "--json"))
    assert 0 <= shown["cpu_fraction"] <= 1
    assert set(shown["seconds"]) >= {"compile", "graph", "model"}


def test_predict_says_how_sure_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "predict", SAXPY, "-g", "1048576", "-l", "256")
    assert all(words in out for words in ("in 80 % of cases", "GPU alone", "the best split's time"))
    shown = json.loads(printed(capsys, "predict", SAXPY, "-g", "1048576", "-l", "256", "--json"))
    for device in ("CPU", "GPU"):
        low, high = shown["device_seconds"][device]["80%"]
        assert low <= shown["device_seconds"][device]["median"] <= high
    assert shown["slow_down"] >= 1
    assert 0 <= shown["split_gains_probability"] <= 1


@pytest.mark.parametrize("style", ["summary", "json", "dot"])
def test_graph_has_three_formats(capsys: pytest.CaptureFixture[str], style: str) -> None:
    out = printed(capsys, "graph", SAXPY, "--format", style)
    if style == "json":
        assert json.loads(out)["nodes"][0]["text"] == "[external]"
    else:
        assert ("digraph" in out) == (style == "dot")


def test_devices_tells_roles_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    shown = json.loads(printed(capsys, "devices", "--json"))
    indices = {device["index"] for device in shown["devices"]}
    assert {shown["cpu"], shown["gpu"]} <= indices
    assert shown["why"]
    assert "platform" in printed(capsys, "devices")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "--help")
    assert all(name in out for name in ("devices", "explain", "graph", "predict", "run"))
