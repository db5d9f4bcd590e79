"""`python -m predictor evaluate` and `ablation`: their tables, their JSON, and what they refuse."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("torch_geometric", reason="training needs the extra `train`")
pytest.importorskip("sklearn", reason="training needs the extra `train`")

from predictor.__main__ import main
from predictor.ablation import rows

COLUMNS = (
    "benchmark dataset comp rational mem localmem coalesced atomic transfer wgsize "
    "runtime_cpu runtime_gpu src"
).split()
FAST = ["--gnn", "mlp", "--pooling", "mean", "--epochs", "2", "--batch", "8", "--fold-count", "2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("devmap")
    for name in ("nvidia", "amd"):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            for kernel in range(6):
                for size in range(4):
                    table.writerow(launch(kernel, size))
    return folder


def launch(kernel: int, size: int) -> dict[str, object]:
    operations = " + 1.0f" * kernel
    counts = dict.fromkeys(COLUMNS[2:8], 1 + kernel + size)
    return {
        "benchmark": f"suite-{1 + kernel % 2}.0-program{kernel}-k",
        "dataset": size,
        **counts,
        "transfer": 1 << (10 + size),
        "wgsize": 64,
        "runtime_cpu": 1.0 + size,
        "runtime_gpu": 2.5 + kernel,
        "src": "__kernel void k(__global float *a) {"
        f" a[get_global_id(0)] = a[get_global_id(0)]{operations}; }}",
    }


def call(command: str, data: Path, tmp_path: Path, *options: str) -> Result:
    state = ["--data", str(data), "--state", str(tmp_path / "state")]
    return CliRunner().invoke(main, [command, *state, *options])


@pytest.mark.parametrize("task", ["regression", "classification", "devmap"])
def test_a_system_is_judged_and_written(data: Path, tmp_path: Path, task: str) -> None:
    output = tmp_path / "out.json"
    done = call("evaluate", data, tmp_path, "--task", task, *FAST, "--output", str(output))
    assert done.exit_code == 0, done.output
    assert "mlp, mean pooling" in done.stdout
    facts = json.loads(output.read_text())
    assert facts["task"] == task
    assert facts["pooled"]["rows"] == 24
    assert facts["folds_run"] == 2


@pytest.mark.parametrize("kind", ["kernel", "program", "suite"])
def test_other_folds_and_several_seeds(data: Path, tmp_path: Path, kind: str) -> None:
    output = tmp_path / "out.json"
    options = ["--folds", kind, "--seeds", "2", *FAST, "--dataset", "amd", "--output", str(output)]
    done = call("evaluate", data, tmp_path, *options)
    assert done.exit_code == 0, done.output
    facts = json.loads(output.read_text())
    assert facts["seeds"] == [1, 2]
    assert facts["pooled"]["rows"] == 48
    assert facts["standard_deviation_over_seeds"]["mae"] > 0.0


def test_a_second_call_takes_up_the_first_and_fresh_forgets_it(data: Path, tmp_path: Path) -> None:
    first = call("evaluate", data, tmp_path, *FAST)
    kept = sorted((tmp_path / "state").rglob("*.json"))
    assert len(kept) == 2
    before = [path.stat().st_mtime_ns for path in kept]
    again = call("evaluate", data, tmp_path, *FAST)
    assert again.stdout == first.stdout
    assert [path.stat().st_mtime_ns for path in kept] == before
    fresh = call("evaluate", data, tmp_path, *FAST, "--fresh")
    assert fresh.stdout == first.stdout
    assert all(path.stat().st_mtime_ns > old for path, old in zip(kept, before))


@pytest.mark.parametrize("baseline", ["tree", "linear", "boosted"])
def test_a_baseline_is_judged(data: Path, tmp_path: Path, baseline: str) -> None:
    done = call("evaluate", data, tmp_path, "--baseline", baseline, "--fold-count", "3")
    assert done.exit_code == 0, done.output
    assert baseline in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--gnn", "mlp"], "choose another --pooling"),
        (["--seed", "1", "--seeds", "2"], "give one of them"),
        (["--folds", "planet"], "planet"),
        (["--epochs", "0"], "--epochs"),
        (["--batch", "1"], "--batch"),
        (["--folds", "kernel", "--fold-count", "50"], "--fold-count"),
        (["--dataset", "intel"], "intel"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_bad_input_ends_with_one_line(
    data: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    done = call("evaluate", data, tmp_path, *options)
    assert done.exit_code == 2
    assert words in done.stderr
    assert "Traceback" not in done.output


def test_a_data_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = call("evaluate", tmp_path / "none", tmp_path)
    assert done.exit_code == 2
    assert str(tmp_path / "none") in done.stderr


def test_a_damaged_state_is_named(data: Path, tmp_path: Path) -> None:
    call("evaluate", data, tmp_path, *FAST)
    for path in (tmp_path / "state").rglob("fold-1.json"):
        path.write_text("{")
    done = call("evaluate", data, tmp_path, *FAST)
    assert done.exit_code == 2
    assert "--fresh" in done.stderr


def test_counts_that_are_no_numbers_are_named(data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "nvidia.csv"
    broken.write_text((data / "nvidia.csv").read_text().replace(",0,1,1,", ",0,some,1,", 1))
    done = call("evaluate", broken, tmp_path, "--baseline", "tree")
    assert done.exit_code == 2
    assert "row 1" in done.stderr


def test_the_ablation_stands_beside_the_thesis_numbers(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    options = ["--only", "+ MLP", "--epochs", "2", "--batch", "8", "--fold-count", "3"]
    done = call("ablation", data, tmp_path, *options, "--short-folds", "2", "--output", str(output))
    assert done.exit_code == 0, done.output
    assert "(9.89)" in done.stdout
    assert "(0.772)" in done.stdout
    models = json.loads(output.read_text())["models"]
    assert [model["folds_run"] for model in models] == [2, 2]
    assert [model["epochs_at_most"] for model in models] == [2, 2]


def test_a_half_done_ablation_shows_the_folds_that_are_done(data: Path, tmp_path: Path) -> None:
    options = ["--only", "regression mean", "--epochs", "1", "--batch", "8", "--fold-count", "3"]
    done = call("ablation", data, tmp_path, *options, "--finished")
    assert done.stdout.strip() == ""
    call("ablation", data, tmp_path, *options[:1], "regression mean pooling + mlp", *options[2:])
    next((tmp_path / "state").rglob("fold-1.json")).unlink()
    done = call("ablation", data, tmp_path, *options, "--finished")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("Mean Pooling") == 1
    assert "| 2 | 1 |" in done.stdout


def test_the_ablation_trains_device_mapping_on_both_data_sets(data: Path, tmp_path: Path) -> None:
    options = ["--only", "devmap", "--epochs", "1", "--batch", "12", "--fold-count", "2"]
    done = call("ablation", data, tmp_path, *options)
    assert done.exit_code == 0, done.output
    assert "NVIDIA" in done.stdout
    assert "AMD" in done.stdout


def test_a_model_that_the_ablation_lacks_is_named(data: Path, tmp_path: Path) -> None:
    done = call("ablation", data, tmp_path, "--only", "transformer")
    assert done.exit_code == 2
    assert "'transformer'" in done.stderr


def test_the_ablation_lists_every_model_of_the_thesis() -> None:
    listed = [row for row in rows() if row.thesis]
    assert [row.task for row in listed].count("regression") == 12
    assert [row.task for row in listed].count("classification") == 12
    assert {row.dataset for row in listed if row.task == "devmap"} == {"nvidia", "amd"}
    assert [row.name for row in listed if row.final] == ["(Skips + Ext. Readout) + ProGraML"] * 2
