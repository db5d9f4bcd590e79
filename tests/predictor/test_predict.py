"""The committed model answers with a distribution, and one that cannot be trusted is refused in a line."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from predictor import predict
from predictor.card import card_path
from predictor.errors import ModelError
from predictor.predict import Predictor, prior
from predictor.program_graph import ProgramGraph


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the committed model and its card, to be damaged."""
    copy = tmp_path / "model.npz"
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
        predictor.predict(graphs[2], transfer_bytes=1 << size, work_group_size=64).median_share
        for size in (8, 16, 24)
    }
    assert len(said) == 3


def test_the_kernel_matters(predictor: Predictor, graphs: list[ProgramGraph]) -> None:
    said = {
        predictor.predict(graph, transfer_bytes=1 << 20, work_group_size=64).median_share
        for graph in graphs
    }
    assert len(said) > len(graphs) / 2


def test_the_fraction_is_the_predictions_decision(
    predictor: Predictor, graphs: list[ProgramGraph]
) -> None:
    said = predictor.predict(graphs[0], transfer_bytes=1 << 20, work_group_size=64)
    fraction = predictor.cpu_fraction(graphs[0], transfer_bytes=1 << 20, work_group_size=64)
    assert said.cpu_fraction == fraction
    assert not said.is_prior


def test_a_kernel_like_none_that_was_measured_gets_an_interval_as_wide_as_the_prior(
    predictor: Predictor, graphs: list[ProgramGraph]
) -> None:
    low, high = predictor.predict(graphs[4], transfer_bytes=12345, work_group_size=17).interval()
    prior_low, prior_high = prior().interval()
    assert high - low > 0.8 * (prior_high - prior_low)


def test_the_prior_is_how_the_training_data_were(predictor: Predictor) -> None:
    trained = predictor._model.prior()
    assert prior().interval() == pytest.approx(trained.interval(), abs=0.05)
    assert prior().median_share == pytest.approx(trained.median_share, abs=0.05)
    for (_, mine, _), (_, theirs, _) in zip(prior().seconds(), trained.seconds()):
        assert np.log(mine) == pytest.approx(np.log(theirs), abs=0.7)


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


@pytest.mark.parametrize("key", ["card_version", "joint_version", "facts_version"])
def test_a_card_of_another_version_is_refused(model: Path, key: str) -> None:
    facts = json.loads(card_path(model).read_text())
    facts[key] += 1
    card_path(model).write_text(json.dumps(facts))
    refused(model, "versions")


def test_a_model_that_its_card_does_not_describe_is_refused(model: Path) -> None:
    model.write_bytes(model.read_bytes() + b"\0")
    refused(model, "is not the file that its card describes")


def test_a_model_that_is_none_is_refused(model: Path) -> None:
    model.write_bytes(b"no model")
    facts = json.loads(card_path(model).read_text())
    facts["sha256"] = hashlib.sha256(b"no model").hexdigest()
    card_path(model).write_text(json.dumps(facts))
    refused(model, "is not a joint model")


def test_the_committed_card_says_how_good_the_model_is(predictor: Predictor) -> None:
    judged = predictor.facts["evaluation"]["results"]["nvidia"]
    assert set(judged) == {"random", "kernel", "program", "suite"}
    assert judged["random"]["mae"] < judged["random"]["mean_mae"] / 3
    assert judged["suite"]["macro_mae"] < judged["suite"]["mean_macro_mae"]


def test_the_committed_file_is_small() -> None:
    assert predict.MODEL.stat().st_size < 5_000_000
