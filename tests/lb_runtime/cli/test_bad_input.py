"""Wrong input ends in one clear line on standard error and a non-zero status, never in a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lb_runtime.cli.main import run

KERNELS = Path(__file__).parents[3] / "kernels"
SAXPY = str(KERNELS / "saxpy.cl")

ONE = "__kernel void one(__global int *a) { a[get_global_id(0)] = 1; }"
TWO = ONE + "__kernel void two(__global int *a, int n, __local int *s) { a[0] = n + s[0]; }"


@pytest.fixture
def one(tmp_path: Path) -> str:
    path = tmp_path / "one.cl"
    path.write_text(ONE)
    return str(path)


@pytest.fixture
def two(tmp_path: Path) -> str:
    path = tmp_path / "two.cl"
    path.write_text(TWO)
    return str(path)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an error; everything else fails the test."""
    status = run(list(arguments))
    printed = capsys.readouterr()
    assert status in (1, 2)
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("lb")
    return printed.err


@pytest.mark.parametrize("command", ["run", "explain", "predict", "graph"])
def test_a_missing_file(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert "nowhere.cl: no such file" in refused(capsys, command, "nowhere.cl")


def test_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "directory" in refused(capsys, "run", str(tmp_path))


def test_an_unknown_kernel_lists_those_that_there_are(
    capsys: pytest.CaptureFixture[str], two: str
) -> None:
    assert "which holds: one, two" in refused(capsys, "run", two, "--kernel", "three", "-g", "64")


def test_several_kernels_and_no_name(capsys: pytest.CaptureFixture[str], two: str) -> None:
    assert "name one of them" in refused(capsys, "run", two, "-g", "64")


def test_a_file_without_a_kernel(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "none.cl"
    path.write_text("int f(int x) { return x; }")
    assert "no kernel" in refused(capsys, "run", str(path), "-g", "64")


def test_a_source_that_does_not_compile_names_file_and_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "bad.cl"
    path.write_text("\n__kernel void f(__global int *a) { a[0] = missing; }")
    assert f"{path}:2:" in refused(capsys, "run", str(path), "-g", "64")


def test_a_buffer_that_is_too_small_for_the_range(
    capsys: pytest.CaptureFixture[str], one: str
) -> None:
    line = refused(capsys, "run", one, "-g", "128", "--arg", "a=zeros:int32:64")
    assert "argument a, which has 256 bytes" in line


def test_made_up_buffers_that_would_be_too_large(
    capsys: pytest.CaptureFixture[str], one: str
) -> None:
    line = refused(capsys, "run", one, "-g", "1G")
    assert "reaches 4,294,967,296 bytes of argument a" in line
    assert "a smaller -g" in line


def test_a_pipe_that_cannot_be_made_up(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "pipe.cl"
    path.write_text(
        "kernel void k(read_only pipe int p, global int *a) { a[get_global_id(0)] = 1; }"
    )
    line = refused(capsys, "run", str(path), "-g", "64", "--options", "-cl-std=CL2.0")
    assert "argument p" in line


def test_a_global_size_that_is_no_multiple_names_one_that_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "up to 1024" in refused(capsys, "run", SAXPY, "-g", "1000", "-l", "256")


@pytest.mark.parametrize("size", ["", "8xx", "-4", "1x2x3x4", "many"])
def test_a_size_that_is_none(capsys: pytest.CaptureFixture[str], one: str, size: str) -> None:
    refused(capsys, "run", one, f"--global={size}", "--arg", "a=zeros:int32:64")


def test_an_empty_range(capsys: pytest.CaptureFixture[str], one: str) -> None:
    assert "at least 1" in refused(capsys, "run", one, "-g", "0", "--arg", "a=zeros:int32:64")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("a", "expected NAME=SPEC"),
        ("b=3", "has no argument 'b'"),
        ("a=3", "is a buffer"),
        ("a=blah", "not a number"),
        ("a=rand:int32", "expected"),
        ("a=rand:what:64", "what"),
        ("a=zeros:int32:-3", "-3"),
        ("a=nowhere.npy", "no such file"),
        ("a=zeros:int32:99999999999999", "8 GiB"),
    ],
)
def test_a_wrong_argument(
    capsys: pytest.CaptureFixture[str], one: str, spec: str, said: str
) -> None:
    assert said in refused(capsys, "run", one, "-g", "64", "--arg", spec)


def test_a_fraction_for_an_integer(capsys: pytest.CaptureFixture[str], two: str) -> None:
    arguments = ["--arg", "a=zeros:int32:64", "--arg", "n=1.5", "--arg", "s=local:int:4"]
    line = refused(capsys, "run", two, "--kernel", "two", "-g", "64", *arguments)
    assert "whole number" in line


@pytest.mark.parametrize("share", ["1.5", "-0.1", "half", "nan"])
def test_a_share_that_is_none(capsys: pytest.CaptureFixture[str], one: str, share: str) -> None:
    refused(capsys, "run", one, "-g", "64", "--arg", "a=zeros:int32:64", f"--split={share}")


def test_an_unknown_device_lists_those_that_there_are(
    capsys: pytest.CaptureFixture[str], one: str
) -> None:
    arguments = ["--arg", "a=zeros:int32:64", "--split=0.5", "--cpu=nobody"]
    assert "0: " in refused(capsys, "run", one, "-g", "64", *arguments)


def test_a_local_size_that_no_device_takes(capsys: pytest.CaptureFixture[str], one: str) -> None:
    arguments = ["--arg", "a=zeros:int32:65536", "--split=0.5"]
    line = refused(capsys, "run", one, "-g", "65536", "-l", "65536", *arguments)
    assert "choose a smaller one" in line


def test_a_build_that_only_one_device_refuses(
    capsys: pytest.CaptureFixture[str], one: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lb_runtime.contexts import OpenDevice
    from lb_runtime.errors import BuildError

    build = OpenDevice._build
    built: list[str] = []

    def refuse_the_second(self: OpenDevice, *given: object) -> object:
        built.append(self.label)
        if len(built) > 1:
            raise BuildError(f"{self.label}: one.cl:1:1: error: not here", self.label)
        return build(self, *given)

    monkeypatch.setattr(OpenDevice, "_build", refuse_the_second)
    arguments = ["--arg", "a=zeros:int32:1024", "--split=0.5"]
    assert "error: not here" in refused(capsys, "run", one, "-g", "1024", *arguments)


def test_no_opencl_platform_at_all(one: str, tmp_path: Path) -> None:
    environment = dict(os.environ, OCL_ICD_VENDORS=str(tmp_path / "nowhere"))
    done = subprocess.run(
        [sys.executable, "-m", "lb_runtime.cli", "devices"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode == 0:
        pytest.skip("the loader finds platforms without OCL_ICD_VENDORS")
    assert done.returncode == 1
    assert "no OpenCL platform" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert "No such command" in refused(capsys, "frobnicate")


def test_a_damaged_launch_file_names_itself(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, one: str
) -> None:
    (tmp_path / "one.toml").write_text("[launch\n")
    assert "one.toml" in refused(capsys, "run", one)
