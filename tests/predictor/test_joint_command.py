"""`python -m predictor joint` judges by folds, goes on where it was stopped, and writes what loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("sklearn", reason="training needs the extra `train`")

from predictor.__main__ import main
from predictor.datasets.devmap import Devmap, read
from predictor.joint.evaluation import COLUMNS, classes_of, judge_folds, said_of, scores
from predictor.joint.fit import Table, table_of
from predictor.predict import Predictor
from predictor.prediction import Prediction
from predictor.program_graph import ProgramGraph

BODIES = ("a[i] = 1;", "a[i] += 2;", "a[i] = sin(a[i]);", "for (int j = 0; j < n; j++) a[i] += j;")
SIZES = (4, 8, 12)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve launches of four kernels in two suites."""
    path = tmp_path_factory.mktemp("data") / "nvidia.csv"
    rows = []
    for number, body in enumerate(BODIES):
        source = f"__kernel void A(__global float* a, int n) {{ int i = get_global_id(0); {body} }}"
        for size in SIZES:
            name = f"suite-{number % 2}.0-P{number}-A"
            cpu, gpu = size * (number + 1), size + 3 * number
            rows.append(f'{name},S,{1 << size},64,{cpu},{gpu},"{source}"\n')
    head = "benchmark,dataset,transfer,wgsize,runtime_cpu,runtime_gpu,src\n"
    path.write_text(head + "".join(rows))
    return path


@pytest.fixture(scope="module")
def devmap(data: Path) -> Devmap:
    return read("nvidia", data)


@pytest.fixture(scope="module")
def table(devmap: Devmap) -> Table:
    from predictor.datasets.devmap import compile_kernels

    return table_of(devmap, compile_kernels(devmap.sources))


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["joint", *words])
    return result.exit_code, result.output


def test_evaluate_prints_a_line_for_each_kind_and_writes_it(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "joint.json"
    words = f"evaluate --data {data} --seeds 1 --trees 3 --state {tmp_path} --output {output}"
    code, text = run(*words.split(), "--folds", "random", "--folds", "suite")
    assert code == 0, text
    assert sum(line.startswith("nvidia ") and "%" in line for line in text.splitlines()) == 2
    judged = json.loads(output.read_text())
    assert judged["seeds"] == 1
    assert set(judged["results"]["nvidia"]) == {"random", "suite"}
    assert judged["results"]["nvidia"]["random"]["rows"] == len(BODIES) * len(SIZES)


def test_evaluate_goes_on_where_it_was_stopped(
    devmap: Devmap, table: Table, tmp_path: Path
) -> None:
    first = judge_folds(devmap, table, "suite", 1, tmp_path, trees=3)
    kept = sorted(tmp_path.glob("*.npy"))
    assert len(kept) == 2
    marked = np.full_like(np.load(kept[0]), 0.25)
    np.save(kept[0], marked)
    again = judge_folds(devmap, table, "suite", 1, tmp_path, trees=3)
    assert (again == 0.25).all(1).sum() == len(marked)
    assert first.shape == again.shape == (len(table), len(COLUMNS))


def test_evaluate_refuses_a_state_of_another_form(
    data: Path, devmap: Devmap, table: Table, tmp_path: Path
) -> None:
    judge_folds(devmap, table, "suite", 1, tmp_path / "joint", trees=3)
    for path in (tmp_path / "joint").glob("*.npy"):
        np.save(path, np.zeros(3))
    words = f"evaluate --data {data} --seeds 1 --trees 3 --state {tmp_path} --folds suite"
    code, text = run(*words.split())
    assert code == 2
    assert "start with --fresh" in text
    assert run(*words.split(), "--fresh")[0] == 0


def test_scores_of_a_perfect_answer_are_perfect(devmap: Devmap, table: Table) -> None:
    label = np.array([launch.cpu_percentage for launch in devmap.launches])
    cpu, gpu = np.exp(table.log_seconds).T
    share = gpu / (cpu + gpu)
    said = np.zeros((len(table), len(COLUMNS)))
    said[:, 0], said[:, 1], said[:, 2], said[:, 3] = label / 100, share, share, share
    said[:, 4], said[:, 5] = classes_of(label), gpu < cpu
    perfect = scores(devmap, table, "suite", {1: said})
    assert perfect.mae == pytest.approx(0.0, abs=1e-9)
    assert (perfect.accuracy, perfect.mapping_error, perfect.coverage) == (1.0, 0.0, 1.0)
    assert perfect.felt.to_best.mean == pytest.approx(1.0)
    wrong = said.copy()
    wrong[:, 5] = 1.0 - wrong[:, 5]
    wrong[:, 2:4] = 2.0
    worse = scores(devmap, table, "suite", {1: wrong})
    assert worse.mapping_error > 0.5
    assert worse.coverage == 0.0


def test_classes_are_those_of_the_nearest_label() -> None:
    assert classes_of(np.array([0.0, 12.4, 12.6, 50.0, 87.6, 100.0])).tolist() == [0, 0, 1, 2, 4, 4]


def test_what_is_kept_of_a_prediction_stands_in_its_columns() -> None:
    kept = dict(zip(COLUMNS, said_of(Prediction(np.log([[1.0, 3.0]]), np.ones(1)))))
    assert kept["median"] == pytest.approx(0.75)
    assert kept["decision"] == pytest.approx(0.75)
    assert (kept["label"], kept["gpu"]) == (3.0, 0.0)


def test_train_writes_a_model_that_loads(
    data: Path, tmp_path: Path, graphs: list[ProgramGraph]
) -> None:
    output, judged = tmp_path / "model.npz", tmp_path / "joint.json"
    judged.write_text('{"results": {}}')
    words = f"train --data {data} --trees 3 --output {output} --evaluation {judged}"
    code, text = run(*words.split())
    assert code == 0, text
    predictor = Predictor.load(output)
    assert predictor.facts["data"]["rows"] == len(BODIES) * len(SIZES)
    assert predictor.facts["evaluation"] == {"results": {}}
    assert 0 <= predictor.cpu_fraction(graphs[0], transfer_bytes=1, work_group_size=1) <= 1


@pytest.mark.parametrize("words", ["evaluate --folds moon", "train", "evaluate --seeds 0"])
def test_a_wrong_command_line_is_refused(words: str) -> None:
    assert run(*words.split())[0] == 2


def test_a_data_set_that_is_missing_is_told_in_one_line(tmp_path: Path) -> None:
    code, text = run("evaluate", "--data", str(tmp_path / "none.csv"))
    assert code == 2
    assert text.startswith("error: no data set at")
