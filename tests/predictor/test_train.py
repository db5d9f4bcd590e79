"""Training learns, resumes to the same weights, and refuses what is not its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("torch_geometric", reason="training needs the extra `train`")
pytest.importorskip("sklearn", reason="training needs the extra `train`")
pytest.importorskip("onnx", reason="training needs the extra `train`")

from predictor.__main__ import main  # noqa: E402
from predictor.datasets.examples import Examples  # noqa: E402
from predictor.errors import ModelError  # noqa: E402
from predictor.evaluate import everything, splits  # noqa: E402
from predictor.judge import FoldResult, Split, judge, measure  # noqa: E402
from predictor.network import Network  # noqa: E402
from predictor.program_graph import ProgramGraph  # noqa: E402
from predictor.train import TrainingConfig, best_model, train  # noqa: E402

torch.set_num_threads(1)


def weights(model: Any) -> list[Any]:
    return [tensor.numpy() for tensor in model.state_dict().values()]


def test_training_lowers_the_error(examples: Examples) -> None:
    split = everything(len(examples), seed=0)
    errors: list[float] = []
    config = TrainingConfig(epochs=30, kernels_per_batch=2)
    train(examples, split, config, advance=lambda p: errors.append(p.training_mae))
    assert np.mean(errors[-3:]) < 0.6 * np.mean(errors[:3])


def test_a_last_batch_of_one_row_does_not_stop_training(examples: Examples) -> None:
    one_row_each = np.arange(0, len(examples), 4)
    for kept in (2, 3, 5):
        split = Split(one_row_each[:kept], one_row_each[:1], one_row_each[:0])
        train(examples, split, TrainingConfig(epochs=1, kernels_per_batch=2))


def test_a_resumed_run_ends_in_the_weights_of_one_that_was_not_stopped(
    examples: Examples, tmp_path: Path
) -> None:
    split = everything(len(examples), seed=0)
    config = TrainingConfig(epochs=4, kernels_per_batch=2)
    whole = train(examples, split, config)

    class StoppedError(Exception):
        pass

    def stop(progress: Any) -> None:
        if progress.epoch == 3:
            raise StoppedError

    state = tmp_path / "state.npz"
    with pytest.raises(StoppedError):
        train(examples, split, config, state=state, save_every=2, advance=stop)
    epochs: list[int] = []
    resumed = train(examples, split, config, state=state, advance=lambda p: epochs.append(p.epoch))
    assert epochs == [3, 4]
    assert resumed.best_epoch == whole.best_epoch
    for one, other in zip(weights(whole.best), weights(resumed.best), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(weights(whole.model), weights(resumed.model), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(weights(whole.best), weights(best_model(state)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_best_epoch_is_kept_and_not_the_last(examples: Examples) -> None:
    split = everything(len(examples), seed=0)
    seen: list[float] = []
    config = TrainingConfig(epochs=12, kernels_per_batch=2)
    training = train(examples, split, config, advance=lambda p: seen.append(p.validation_mae))
    assert training.best_mae == min(seen)
    said = training.predict(training.best, split.validation)
    error = np.abs(said - examples.percentage[split.validation]).mean()
    assert error == pytest.approx(training.best_mae, abs=1e-4)


def test_the_state_of_another_run_is_refused(examples: Examples, tmp_path: Path) -> None:
    split = everything(len(examples), seed=0)
    state = tmp_path / "state.npz"
    train(examples, split, TrainingConfig(epochs=1), state=state)
    with pytest.raises(ModelError, match="another run"):
        train(examples, split, TrainingConfig(epochs=1, seed=2), state=state)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half an archive"])
def test_a_damaged_state_is_refused_in_one_line(
    examples: Examples, tmp_path: Path, content: bytes
) -> None:
    state = tmp_path / "state.npz"
    state.write_bytes(content)
    with pytest.raises(ModelError, match="--fresh") as caught:
        train(examples, everything(len(examples), 0), TrainingConfig(epochs=1), state=state)
    assert "\n" not in str(caught.value)


def test_a_state_cannot_smuggle_a_pickle(examples: Examples, tmp_path: Path) -> None:
    state = tmp_path / "state.npz"
    np.savez(state, **{"facts.json": np.array([object()])})
    with pytest.raises(ModelError):
        train(examples, everything(len(examples), 0), TrainingConfig(epochs=1), state=state)


@pytest.mark.parametrize("protocol", ["random", "kernel"])
def test_folds_judge_each_row_once_and_never_train_on_it(protocol: str) -> None:
    kernel = np.repeat(np.arange(40), 5)
    folds = splits(kernel, protocol, 10, seed=3)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(200))
    for fold in folds:
        parts = (fold.train, fold.validation, fold.test)
        assert sorted(np.concatenate(parts)) == list(range(200))
        assert [part.size for part in parts] == [160, 20, 20]


def test_kernel_folds_share_no_kernel() -> None:
    kernel = np.repeat(np.arange(40), 5)
    for fold in splits(kernel, "kernel", 10, seed=3):
        parts = [set(kernel[part]) for part in (fold.train, fold.validation, fold.test)]
        assert not parts[0] & parts[1]
        assert not (parts[0] | parts[1]) & parts[2]


def test_members_leave_out_the_same_rows_and_validate_on_others() -> None:
    kernel = np.arange(100)
    first = splits(kernel, "random", 10, seed=3, member=0)
    second = splits(kernel, "random", 10, seed=3, member=1)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.test, other.test)
        assert set(one.validation) != set(other.validation)


def test_the_best_split_slows_nothing_down(examples: Examples) -> None:
    rows = np.arange(len(examples))
    cpu, gpu = examples.cpu_seconds, examples.gpu_seconds
    metrics = measure(examples, rows, 100 * gpu / (cpu + gpu))
    assert metrics.slow_down == pytest.approx(1.0)
    assert metrics.mae < 0.5


def test_all_on_one_device_slows_down_by_the_other_devices_part(examples: Examples) -> None:
    metrics = measure(examples, np.array([0]), np.array([100.0]))
    cpu, gpu = examples.cpu_seconds[0], examples.gpu_seconds[0]
    assert metrics.slow_down == pytest.approx((cpu + gpu) / gpu)


def test_members_are_averaged_row_by_row(examples: Examples) -> None:
    folds = splits(examples.kernel, "random", 3, seed=0)
    truth = examples.percentage
    members = [
        [
            FoldResult(i, 1, 0.0, tuple(fold.test), tuple(truth[fold.test] + off))
            for i, fold in enumerate(folds)
        ]
        for off in (6.0, -2.0)
    ]
    judgement = judge(examples, folds, members)
    assert judgement.pooled.mae == pytest.approx(2.0, abs=1e-3)
    assert [member.mae for member in judgement.members] == pytest.approx([6.0, 2.0], abs=1e-3)
    assert len(judgement.folds) == 3


@pytest.mark.slow
def test_commands_cross_validate_train_and_export(
    tmp_path: Path, graphs: list[ProgramGraph]
) -> None:
    rows = "".join(
        f'x,S,{1 << size},64,3,{kernel + 1},"__kernel void A(__global float* a) '
        f'{{ a[{kernel}] = a[get_global_id(0)]; }}"\n'
        for kernel in range(6)
        for size in (8, 12)
    )
    data = tmp_path / "nvidia.csv"
    data.write_text("benchmark,dataset,transfer,wgsize,runtime_cpu,runtime_gpu,src\n" + rows)
    common = [
        "--data",
        str(data),
        "--epochs",
        "2",
        "--members",
        "2",
    ]
    runner = CliRunner()
    metrics = tmp_path / "cv.json"
    result = runner.invoke(
        main,
        [
            "cross-validate",
            *common,
            "--state",
            str(tmp_path / "cv"),
            "--folds",
            "3",
            "--output",
            str(metrics),
        ],
    )
    assert result.exit_code == 0, result.output
    assert "all folds" in result.output
    assert "3 random folds of rows" in json.loads(metrics.read_text())["protocol_in_words"]
    assert json.loads(metrics.read_text())["metrics"]["pooled"]["rows"] == 12
    model = tmp_path / "model.onnx"
    result = runner.invoke(
        main,
        [
            "train",
            *common,
            "--state",
            str(tmp_path / "all"),
            "--evaluation",
            str(metrics),
            "--output",
            str(model),
        ],
    )
    assert result.exit_code == 0, result.output
    predictor = Network.load(model)
    assert 0 <= predictor.cpu_fraction(graphs[0], transfer_bytes=1, work_group_size=1) <= 1
    assert predictor.facts["data"]["rows_used"] == 12
    assert predictor.facts["evaluation"][0]["protocol"] == "random"


def test_starting_afresh_forgets_the_runs_own_state_and_nothing_else(
    tmp_path: Path,
) -> None:
    data = tmp_path / "nvidia.csv"
    kernel = '"__kernel void A(__global float* a) { a[0] = 1; }"'
    rows = "".join(f"x,S,{size},64,3,1,{kernel}\n" for size in range(6))
    data.write_text("benchmark,dataset,transfer,wgsize,runtime_cpu,runtime_gpu,src\n" + rows)
    folder = tmp_path / "state"
    common = ["cross-validate", "--data", str(data), "--members", "1", "--folds", "3"]
    runner = CliRunner()
    for seed in ("1", "2"):
        done = runner.invoke(
            main, [*common, "--epochs", "1", "--seed", seed, "--state", str(folder)]
        )
        assert done.exit_code == 0, done.output
    other = (folder / "seed-2" / "fold-0.npz").read_bytes()
    longer = [*common, "--epochs", "2", "--state", str(folder)]
    assert runner.invoke(main, longer).exit_code == 2
    assert runner.invoke(main, [*longer, "--fresh"]).exit_code == 0
    assert (folder / "seed-2" / "fold-0.npz").read_bytes() == other


@pytest.mark.parametrize(
    "arguments",
    [
        ["cross-validate", "--data", "/nowhere"],
        ["cross-validate", "--epochs", "0"],
        ["cross-validate", "--folds", "2"],
        ["train", "--dataset", "intel", "--output", "x.onnx"],
        ["train"],
        ["fly"],
    ],
)
def test_bad_input_ends_with_status_2_and_no_traceback(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert "rror: " in result.output
