"""The committed model answers, and a model that cannot be trusted is refused in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from predictor import predict
from predictor.card import card_path
from predictor.errors import ModelError
from predictor.predict import Predictor
from predictor.program_graph import ProgramGraph


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the committed model and its card, to be damaged."""
    copy = tmp_path / "model.onnx"
    shutil.copyfile(predict.MODEL, copy)
    shutil.copyfile(card_path(predict.MODEL), card_path(copy))
    return copy


def test_every_graph_gets_a_fraction(predictor: Predictor, graphs: list[ProgramGraph]) -> None:
    for graph in graphs:
        for size in (0, 1, 1 << 20, 1 << 40):
            fraction = predictor.cpu_fraction(graph, transfer_bytes=size, work_group_size=64)
            assert 0.0 <= fraction <= 1.0


def test_the_launch_matters(predictor: Predictor, graphs: list[ProgramGraph]) -> None:
    said = {
        predictor.cpu_fraction(graphs[2], transfer_bytes=1 << size, work_group_size=64)
        for size in (8, 16, 24)
    }
    assert len(said) == 3


def test_the_kernel_matters(predictor: Predictor, graphs: list[ProgramGraph]) -> None:
    said = {
        predictor.cpu_fraction(graph, transfer_bytes=1 << 20, work_group_size=64)
        for graph in graphs
    }
    assert len(said) == len(graphs)


def test_the_same_launch_gets_the_same_fraction(
    predictor: Predictor, graphs: list[ProgramGraph]
) -> None:
    first, second = (
        predictor.cpu_fraction(graphs[0], transfer_bytes=4096, work_group_size=64) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize(("transfer", "group"), [(-1, 64), (64, -1)])
def test_negative_facts_are_refused(
    predictor: Predictor, graphs: list[ProgramGraph], transfer: int, group: int
) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        predictor.cpu_fraction(graphs[0], transfer_bytes=transfer, work_group_size=group)


def refused(model: Path, reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        Predictor.load(model)
    assert "\n" not in str(caught.value)


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.onnx", "cannot read the model")


def test_a_missing_card_is_refused(model: Path) -> None:
    card_path(model).unlink()
    refused(model, "cannot read the model's card")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"card_version": 1}'])
def test_a_card_that_is_none_is_refused(model: Path, text: str) -> None:
    card_path(model).write_text(text)
    refused(model, "is not a model's card")


@pytest.mark.parametrize("key", ["card_version", "feature_version"])
def test_a_card_of_another_version_is_refused(model: Path, key: str) -> None:
    facts = json.loads(card_path(model).read_text())
    facts[key] += 1
    card_path(model).write_text(json.dumps(facts))
    refused(model, "versions")


def test_a_model_that_its_card_does_not_describe_is_refused(model: Path) -> None:
    model.write_bytes(model.read_bytes() + b"\0")
    refused(model, "is not the file that its card describes")


def test_a_model_that_onnx_runtime_cannot_load_is_refused(model: Path) -> None:
    import hashlib

    model.write_bytes(b"no model")
    facts = json.loads(card_path(model).read_text())
    facts["sha256"] = hashlib.sha256(b"no model").hexdigest()
    card_path(model).write_text(json.dumps(facts))
    refused(model, "ONNX Runtime cannot load")


def test_the_committed_card_says_how_good_the_model_is(predictor: Predictor) -> None:
    random = predictor.facts["evaluation"][0]
    assert random["protocol"] == "random"
    assert random["folds"] == 10
    assert random["metrics"]["pooled"]["mae"] < random["metrics"]["mean_predictor"]["mae"] / 2


def test_importing_the_door_loads_neither_torch_nor_onnx_runtime() -> None:
    program = (
        "import sys, predictor.predict;"
        "print([m for m in ('torch', 'torch_geometric', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
