"""What `lb explain` and `lb run` tell of reasons, of regions, and of values that depend on the device."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lb_runtime.analysis.regions import Region, Rows
from lb_runtime.cli.explain import _rows
from lb_runtime.cli.main import run
from lb_runtime.cli.reason_report import excerpt
from lb_runtime.kernel import look_at

ADD = "__kernel void f(__global float *a) {\n  size_t i = get_global_id(0);\n  a[i] = a[i] + 1.5f;\n}\n"
FUSED = ADD.replace("a[i] + 1.5f", "a[i] * a[i]   + 1.5f")
WHOLE = '__kernel void f(__global int *a) {\n  a[get_global_id(0)] = 1;\n  printf("hello");\n}\n'
INTEGERS = "__kernel void f(__global int *a) { a[get_global_id(0)] += 1; }"
COLUMNS = """
__kernel void f(__global const int *a, __global int *b, int rows, int columns) {
  int column = get_global_id(0);
  for (int row = 0; row < rows; row++) b[row * columns + column] = a[row * columns + column] + 1;
}
"""
HISTOGRAM = """
__kernel void f(__global const uint *a, __global uint *b) {
  atomic_add(&b[a[get_global_id(0)] & 15], 1u);
}
"""


def written(tmp_path: Path, source: str) -> str:
    path = tmp_path / "f.cl"
    path.write_text(source)
    return str(path)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(list(arguments)) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    shown: dict[str, object] = json.loads(printed(capsys, "explain", *arguments, "--json"))
    return shown


def test_explain_names_the_instruction_that_depends_on_the_device(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = written(tmp_path, FUSED)
    out = printed(capsys, "explain", path, "-g", "1024")
    assert f"may differ between devices ({path}:3: fmuladd: " in out.replace("\n", " ")
    assert "split along dimension 0" in out


def test_explain_tells_that_values_are_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = printed(capsys, "explain", written(tmp_path, ADD), "-g", "1024")
    assert "the same on every device that keeps denormal floats" in out
    out = printed(capsys, "explain", written(tmp_path, INTEGERS), "-g", "1024")
    assert "the same on every device\n" in out


def test_explain_in_json_has_the_dependence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shown = explained(capsys, written(tmp_path, FUSED), "-g", "1024")
    assert shown["splittable"] is True
    assert shown["exact"] is False
    dependence = shown["device_dependence"]
    assert isinstance(dependence, dict)
    assert dependence["line"] == 3
    assert dependence["source"] == "a[i] = a[i] * a[i] + 1.5f;"
    same = explained(capsys, written(tmp_path, ADD), "-g", "1024")
    assert same["exact"] is True
    assert same["device_dependence"] is None


@pytest.mark.parametrize("way", ["option", "environment"])
def test_exact_declines_with_the_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "environment":
        monkeypatch.setenv("LB_EXACT", "1")
    options = ("--exact",) if way == "option" else ()
    path = written(tmp_path, FUSED)
    out = printed(capsys, "explain", path, "-g", "1024", *options)
    assert "not split" in out
    assert f"{path}:3: fmuladd" in out
    assert "[device-dependent]" in out
    assert "> a[i] = a[i] * a[i] + 1.5f;" in out
    assert explained(capsys, path, "-g", "1024", *options)["splittable"] is False
    assert explained(capsys, written(tmp_path, ADD), *options)["splittable"] is True


def test_run_in_exact_mode_runs_such_a_kernel_whole(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = written(tmp_path, FUSED)
    arguments = ["-g", "1024", "-l", "64", "--arg", "a=rand:float32:1024", "--split", "0.5"]
    shown = json.loads(printed(capsys, "run", path, *arguments, "--json"))
    assert shown["split"] is True
    assert shown["exact"] is False
    shown = json.loads(printed(capsys, "run", path, *arguments, "--exact", "--json"))
    assert shown["split"] is False
    assert [reason["code"] for reason in shown["reasons"]] == ["device-dependent"]
    out = printed(capsys, "run", path, *arguments, "--exact")
    assert "values     may differ between devices" in out
    out = printed(capsys, "run", written(tmp_path, ADD), *arguments, "--exact", "--verify")
    assert "values     the same on both devices" in out
    assert "identical" in out


def test_strict_declines_what_data_decides(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = (
        "__kernel void f(__global const int *p, __global int *a) "
        "{ int i = get_global_id(0); a[p[i]] = i; }"
    )
    path = written(tmp_path, source)
    assert explained(capsys, path, "-g", "1024")["splittable"] is True
    assert explained(capsys, path, "-g", "1024", "--strict")["splittable"] is False
    arguments = ["-g", "64", "-l", "8", "--arg", "p=arange:int32:64", "--arg", "a=zeros:int32:64"]
    for options, split in (((), True), (("--strict",), False)):
        shown = printed(capsys, "run", path, *arguments, "--split", "0.5", "--json", *options)
        assert json.loads(shown)["split"] is split


@pytest.mark.parametrize("command", ["explain", "run"])
@pytest.mark.parametrize("name", ["LB_EXACT", "LB_STRICT"])
def test_a_wrong_variable_is_one_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    command: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(name, "maybe")
    arguments = ["-g", "1024", "--arg", "a=rand:float32:1024"]
    assert run([command, written(tmp_path, ADD), *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert f"{name} is 'maybe'" in captured.err


def test_a_reason_comes_with_code_line_source_and_advice(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = written(tmp_path, WHOLE)
    (reason,) = explained(capsys, path)["reasons"]  # type: ignore[misc]  # a list in JSON
    assert reason["code"] == "printf"
    assert reason["line"] == 3
    assert reason["source"] == 'printf("hello");'
    assert reason["advice"]
    out = printed(capsys, "explain", path)
    assert f"{path}:3: printf is called [printf]" in out
    assert '> printf("hello");' in out


def test_no_line_of_an_included_file_is_passed_off_as_the_sources(tmp_path: Path) -> None:
    (tmp_path / "own.h").write_text("float half_of(float x) {\n return x / 3; }\n")
    source = '#include "own.h"\n' + ADD.replace("+ 1.5f", "+ half_of(a[i])")
    kernel = look_at(source, (f"-I{tmp_path}",))
    assert kernel.facts.device_dependence is not None
    assert excerpt(kernel, kernel.facts.device_dependence.line) == ""
    assert excerpt(look_at(ADD), 3) == "a[i] = a[i] + 1.5f;"
    assert excerpt(look_at(ADD), 0) == excerpt(look_at(ADD), 99) == ""


def test_a_long_line_is_cut_short() -> None:
    source = ADD.replace("1.5f;", "1.5f; " + "a[i] = 1.5f; " * 20)
    assert len(excerpt(look_at(source), 3)) == 100


def test_explain_in_json_has_the_bytes_and_rows_of_each_part(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = written(tmp_path, COLUMNS)
    arguments = ["-g", "256", "-l", "16", "--arg", "rows=8", "--arg", "columns=256"]
    arguments += ["--arg", "a=zeros:int32:8x256", "--arg", "b=zeros:int32:8x256"]
    shown = explained(capsys, path, *arguments, "--split", "0.25")
    by_name = {argument["name"]: argument for argument in shown["arguments"]}  # type: ignore[attr-defined]
    for part in by_name["b"]["parts"]:
        for what in ("needs", "leaves"):
            rows = part[f"{what}_rows"]
            assert part[f"{what}_bytes"] == sum(each["run"] * each["count"] for each in rows)
            assert part[what] == [
                min(each["start"] for each in rows),
                max(
                    each["start"] + each["pitch"] * (each["count"] - 1) + each["run"]
                    for each in rows
                ),
            ]
    cpu, gpu = by_name["b"]["parts"]
    assert cpu["leaves_bytes"] + gpu["leaves_bytes"] == 8 * 256 * 4
    assert cpu["leaves_rows"] == [{"start": 0, "run": 256, "pitch": 1024, "count": 8}]
    out = printed(capsys, "explain", path, *arguments, "--split", "0.25")
    assert "8 rows of 256, 1,024 apart" in " ".join(out.replace("│", " ").split())


def test_explain_tells_the_zones_of_an_atomic_merge(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = written(tmp_path, HISTOGRAM)
    arguments = ["-g", "1024", "--arg", "a=zeros:uint32:1024", "--arg", "b=zeros:uint32:16"]
    shown = explained(capsys, path, *arguments)
    by_name = {argument["name"]: argument for argument in shown["arguments"]}  # type: ignore[attr-defined]
    assert by_name["b"]["merge"] == "atomic"
    (zone,) = by_name["b"]["zones"]
    assert zone["operation"] == "add"
    assert zone["width_bytes"] == 4
    assert by_name["a"]["zones"] == []


def test_a_region_of_many_rows_is_told_in_a_few_words() -> None:
    region = Region.of([Rows(start, 4) for start in range(0, 60, 10)])
    assert _rows(region) in (
        "6 rows of 4, 10 apart, from byte 0",
        "bytes 0 to 3; bytes 10 to 13; bytes 20 to 23; and 3 more",
    )
    assert _rows(Region.of([Rows(8, 4, 16, 3)])) == "3 rows of 4, 16 apart, from byte 8"


def test_the_pixels_that_each_part_moves_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "copy.cl"
    path.write_text(
        "__kernel void copy(read_only image2d_t from, write_only image2d_t to)"
        "{ int2 at = (int2)(get_global_id(0), get_global_id(1));"
        " write_imagei(to, at, read_imagei(from, at)); }"
    )
    options = ("explain", str(path), "-g", "64x64", "-l", "8x8")
    to = json.loads(printed(capsys, *options, "--json"))["arguments"][1]
    assert to["boxes"] == [
        {"role": "CPU", "origin": [0, 0], "size": [64, 32]},
        {"role": "GPU", "origin": [0, 32], "size": [64, 32]},
    ]
    out = printed(capsys, *options)
    assert "64x32 pixels from 0x32" in out
    assert "all pixels to each part" in out
