"""A stranger's kernel just runs: what the command line leaves open is chosen, printed, and in range."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from lb_runtime.cli.main import run

STRANGERS = {
    "a guarded map": """kernel void k(global const float *x, global float *y, int n) {
        int i = get_global_id(0); if (i < n) y[i] = x[i] * 2; }""",
    "a matrix product": """kernel void k(global float *a, global float *b, global float *c, int n) {
        int i = get_global_id(0), j = get_global_id(1); float s = 0;
        for (int k = 0; k < n; k++) s += a[j * n + k] * b[k * n + i];
        c[j * n + i] = s; }""",
    "a stencil in three dimensions": """kernel void k(global float *x, global float *y, int w, int h, int d) {
        int i = get_global_id(0), j = get_global_id(1), k = get_global_id(2);
        if (i > 0 && j > 0 && k > 0 && i < w - 1 && j < h - 1 && k < d - 1) {
            int p = (k * h + j) * w + i; y[p] = x[p - w] + x[p + w] + x[p - w * h] + x[p + w * h]; } }""",
    "a sparse product": """kernel void k(global int *row, global int *col, global float *v,
            global float *x, global float *y, int n) {
        int i = get_global_id(0); if (i >= n) return; float s = 0;
        for (int p = row[i]; p < row[i + 1]; p++) s += v[p] * x[col[p]];
        y[i] = s; }""",
    "a scatter": """kernel void k(global uint *to, global uchar4 *x, global uchar4 *y) {
        uint i = get_global_id(0); y[to[i]] = x[i]; }""",
    "a reduction of each work-group": """kernel void k(global int *x, global int *y, local int *s) {
        int l = get_local_id(0); s[l] = x[get_global_id(0)];
        for (int k = get_local_size(0) / 2; k > 0; k /= 2) {
            barrier(CLK_LOCAL_MEM_FENCE); if (l < k) s[l] += s[l + k]; }
        if (l == 0) y[get_group_id(0)] = s[0]; }""",
    "a struct by value": """typedef struct { int n; float scale; } how;
        kernel void k(global float *y, how h) { int i = get_global_id(0); y[i] = h.scale * h.n + i; }""",
    "vectors by value": """kernel void k(global float4 *y, float4 a, int2 size) {
        int i = get_global_id(0), j = get_global_id(1);
        if (i < size.x && j < size.y) y[j * size.x + i] = a * i; }""",
    "no arguments to speak of": "kernel void k(global int *y) { y[get_global_id(0)] = 1; }",
}


@pytest.fixture(params=STRANGERS.values(), ids=STRANGERS)
def stranger(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "k.cl"
    path.write_text(request.param)
    return str(path)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    document: dict[str, Any] = json.loads(captured.out)
    return document


def test_a_strangers_kernel_runs_split_and_right(
    capsys: pytest.CaptureFixture[str], stranger: str
) -> None:
    found = shown(capsys, "run", stranger, "--split", "0.4", "--verify")
    assert found["split"]
    assert found["verified"]
    assert found["assumed"]["options"].startswith("-g ")


def test_it_runs_over_a_range_that_is_given(
    capsys: pytest.CaptureFixture[str], stranger: str
) -> None:
    size = "16x16x16" if "get_global_id(2)" in Path(stranger).read_text() else "32x32"
    found = shown(capsys, "run", stranger, "-g", size, "--split", "0.5", "--verify")
    assert found["verified"] is not False
    assert "-g" not in found["assumed"]["options"]


def test_all_commands_assume_the_same_launch(
    capsys: pytest.CaptureFixture[str], stranger: str
) -> None:
    ran = shown(capsys, "run", stranger, "--split", "0.5")
    explained = shown(capsys, "explain", stranger)
    predicted = shown(capsys, "predict", stranger)
    assert ran["assumed"] == explained["assumed"] == predicted["assumed"]
    assert ran["global_size"] == explained["global_size"]
    assert predicted["transfer_bytes_assumed"]


def test_what_is_printed_can_be_typed_in(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "k.cl"
    path.write_text(STRANGERS["a sparse product"])
    assumed = shown(capsys, "explain", str(path))
    again = shown(capsys, "explain", str(path), *shlex.split(assumed["assumed"]["options"]))
    assert not again["assumed"]["options"]
    assert again["arguments"] == assumed["arguments"]


def test_what_was_assumed_is_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "k.cl"
    path.write_text(STRANGERS["a guarded map"])
    for command in ("run", "explain", "predict"):
        assert run([command, str(path), "-g", "1024"]) == 0
        assert "assumed: --arg x=rand:float:1024 --arg y=rand:float:1024 --arg n=1024" in (
            capsys.readouterr().out
        )


def test_arguments_are_assumed_one_by_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "k.cl"
    path.write_text(STRANGERS["a guarded map"])
    found = shown(capsys, "run", str(path), "-g", "1024", "--arg", "n=100", "--verify")
    assert found["assumed"]["options"] == "--arg x=rand:float:100 --arg y=rand:float:100"


def test_nothing_is_assumed_where_everything_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    saxpy = Path(__file__).parents[3] / "kernels" / "saxpy.cl"
    found = shown(capsys, "run", str(saxpy), "-g", "65536")
    assert found["assumed"] == {"options": "", "notes": []}
    assert run(["run", str(saxpy), "-g", "65536"]) == 0
    assert "assumed" not in capsys.readouterr().out


def test_a_kernel_with_an_image_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "k.cl"
    path.write_text(
        """kernel void k(read_only image2d_t a, sampler_t s, global float4 *y, int w) {
            int2 p = (int2)(get_global_id(0), get_global_id(1));
            y[p.y * w + p.x] = read_imagef(a, s, p); }"""
    )
    found = shown(capsys, "run", str(path), "-g", "64x64", "--split", "0.5", "--verify")
    assert found["verified"] is not False
    assert "a=(64x64 pixels of RGBA FLOAT)" in found["assumed"]["options"]


DANGEROUS = {
    "a float decides": (
        "kernel void k(global int *o, float s) { int i = get_global_id(0); o[(int)(i * s * 100.0f)] = 1; }",
        "where o is written follows from floating-point numbers",
    ),
    "the kernel writes its indices": (
        "kernel void k(global int *o, global int *p) { int i = get_global_id(0); p[i] = i * 100; "
        "barrier(1); o[p[i]] = 1; }",
        "p holds indices, and the kernel writes it",
    ),
    "a pointer by way of a number": (
        "kernel void k(global int *o) { long a = (long)o; "
        "((global int *)(a + 4 * get_global_id(0)))[0] = 1; }",
        "a pointer is not followed, perhaps into o",
    ),
    "before the start": (
        "kernel void k(global int *o, global const int *a) { o[a[get_global_id(0)] - 5] = 1; }",
        "o may be touched 20 bytes before its start",
    ),
}


@pytest.mark.parametrize(("source", "why"), DANGEROUS.values(), ids=DANGEROUS)
def test_what_may_lead_outside_is_explained_but_not_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, source: str, why: str
) -> None:
    path = tmp_path / "k.cl"
    path.write_text(source)
    assert run(["run", str(path), "-g", "4096", "--split", "0.37"]) == 1
    captured = capsys.readouterr()
    assert why in captured.err
    assert "--arg" in captured.err
    assert captured.err.count("\n") == 1
    assert run(["explain", str(path), "-g", "4096"]) in (0, 1)
    assert capsys.readouterr().err == ""


def test_what_is_given_is_not_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "k.cl"
    path.write_text(DANGEROUS["a float decides"][0])
    given = ("--arg", "o=zeros:int32:500000")
    assert (
        shown(capsys, "run", str(path), "-g", "4096", *given)["assumed"]["options"] == "--arg s=1.0"
    )


def test_what_ids_alone_make_too_large_is_told_by_its_size(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "k.cl"
    path.write_text(
        "kernel void k(global int *o) { size_t i = get_global_id(0); o[i * i * i] = 1; }"
    )
    assert run(["run", str(path), "-g", "4096"]) == 1
    assert "reaches 274,676,629,504 bytes of argument o" in capsys.readouterr().err
