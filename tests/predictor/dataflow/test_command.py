"""`python -m predictor dataflow`: trains, tests, writes results, and says what is wrong in one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("torch_geometric", reason="training needs the extra `train`")

from predictor.__main__ import main
from predictor.dataflow.analyses import ANALYSES
from tests.predictor.conftest import SOURCES


def table(path: Path, sources: Sequence[str]) -> Path:
    """A device mapping set in which each source is a program of its own."""
    rows = "".join(
        f's-1-p{number}-k,S,4,64,3,1,"{source}"\n' for number, source in enumerate(sources)
    )
    path.write_text("benchmark,dataset,transfer,wgsize,runtime_cpu,runtime_gpu,src\n" + rows)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return table(tmp_path / "nvidia.csv", SOURCES[:5])


@pytest.fixture
def repeating(tmp_path: Path) -> Path:
    """Kernels with a common subexpression each: calls with the same operand."""
    source = "__kernel void k(__global int *a) {{ barrier(1); a[{}] = 1; barrier(1); }}"
    return table(tmp_path / "repeating.csv", [source.format(number) for number in range(5)])


def call(tmp_path: Path, data: Path, *arguments: str, task: str = "reachability") -> Result:
    kernels = tmp_path / "kernels"
    kernels.mkdir(exist_ok=True)
    common = ["--task", task, "--data", str(data), "--kernels", str(kernels)]
    return CliRunner().invoke(
        main, ["dataflow", *common, "--state", str(tmp_path / "state"), *arguments]
    )


def test_a_task_is_trained_and_tested(tmp_path: Path, data: Path) -> None:
    output = tmp_path / "dataflow.json"
    output.write_text(json.dumps({"runs": [{"task": "datadep", "seed": 1}]}))
    trained = call(tmp_path, data, "train", "--epochs", "1")
    assert trained.exit_code == 0, trained.output
    assert "reachability-seed-1.npz: 1 epochs" in trained.output
    tested = call(tmp_path, data, "test", "--output", str(output))
    assert tested.exit_code == 0, tested.output
    assert "at most 30 steps" in tested.output
    runs = json.loads(output.read_text())["runs"]
    assert [run["task"] for run in runs] == ["reachability", "datadep"]
    assert set(runs[0]["test"]["all"]) == {"examples", "f1", "precision", "recall", "positives"}
    assert runs[0]["trivial"]["every node"]["recall"] == 1.0


@pytest.mark.parametrize("task", [task for task in ANALYSES if task != "reachability"])
def test_every_task_can_be_trained(tmp_path: Path, data: Path, repeating: Path, task: str) -> None:
    done = call(
        tmp_path,
        repeating if task == "subexpressions" else data,
        "train",
        "--epochs",
        "1",
        task=task,
    )
    assert done.exit_code == 0, done.output


def test_a_model_that_was_not_trained_is_asked_for(tmp_path: Path, data: Path) -> None:
    result = call(tmp_path, data, "test")
    assert result.exit_code == 2
    assert "run `dataflow --task reachability train` first" in result.output


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"runs": [{"seed": 1}]}'])
def test_results_of_another_make_are_not_overwritten(
    tmp_path: Path, data: Path, content: str
) -> None:
    output = tmp_path / "dataflow.json"
    output.write_text(content)
    result = call(tmp_path, data, "test", "--output", str(output))
    assert result.exit_code == 2
    assert "give another --output" in result.output
    assert output.read_text() == content


def test_another_length_of_run_is_another_run(tmp_path: Path, data: Path) -> None:
    assert call(tmp_path, data, "train", "--epochs", "1").exit_code == 0
    refused = call(tmp_path, data, "train", "--epochs", "2")
    assert refused.exit_code == 2
    assert "--fresh" in refused.output
    assert call(tmp_path, data, "train", "--epochs", "2", "--fresh").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["--task", "halting", "train"],
        ["--task", "liveness", "--data", "/nowhere", "train"],
        ["--task", "liveness", "--corpus", "/nowhere", "train"],
        ["--task", "liveness", "--kernels", "/nowhere", "train"],
        ["--task", "liveness", "train", "--epochs", "0"],
        ["--task", "liveness", "--seed", "-1", "test"],
    ],
)
def test_bad_input_ends_with_status_2_and_no_traceback(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, ["dataflow", *arguments])
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert "rror: " in result.output


def test_a_folder_that_is_no_corpus_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["dataflow", "--task", "liveness", "--corpus", str(tmp_path), "train"]
    )
    assert result.exit_code == 2
    assert "give the folder of the published corpus" in result.output
