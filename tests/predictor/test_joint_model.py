"""The joint model: its forest and its process say what their sources say, and its spread is honest."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("sklearn", reason="training needs the extra `train`")

from sklearn.ensemble import ExtraTreesRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from predictor.errors import ModelError
from predictor.facts import KERNEL_FACTS, LAUNCH_FACTS
from predictor.joint import process
from predictor.joint.calibration import (
    ALTOGETHER,
    CLASSES,
    Calibration,
    LeftOut,
    Novelty,
    calibrate,
    spread,
    stretched,
)
from predictor.joint.fit import Table, fit, fit_uncalibrated, general_spread, suite_weights
from predictor.joint.forest import Forest
from predictor.joint.model import NORMAL, JointModel
from predictor.joint.store import from_bytes, to_bytes

KERNELS, SIZES = 24, 5
TREES = 10


def made_up(seed: int = 0, noise: float = 0.3) -> Table:
    """Launches whose times follow from two of the facts, the size and luck."""
    stream = np.random.default_rng(seed)
    facts = stream.normal(size=(KERNELS, len(KERNEL_FACTS))).astype(np.float32)
    kernel = np.repeat(np.arange(KERNELS), SIZES)
    transfer = np.exp2(stream.uniform(10, 26, kernel.size)).astype(np.int64)
    group = np.full(kernel.size, 64)
    launches = np.zeros((kernel.size, len(LAUNCH_FACTS)), np.float32)
    launches[:, 0], launches[:, 1] = np.log1p(transfer), np.log1p(group)
    cpu = 0.7 * launches[:, 0] + facts[kernel, 0]
    gpu = 0.5 * launches[:, 0] + facts[kernel, 1] + 2.0
    seconds = np.stack([cpu, gpu], 1) + noise * stream.normal(size=(kernel.size, 2)) - 12.0
    return Table(kernel, facts[kernel], launches, transfer, group, seconds, kernel % 3)


def said(model: JointModel, table: Table, row: int) -> tuple[float, float, float]:
    """Median share and interval of a row."""
    one = model.predict(
        table.kernels[row], int(table.transfer_bytes[row]), int(table.work_group_size[row])
    )
    return (one.median_share, *one.interval())


@pytest.fixture(scope="module")
def table() -> Table:
    return made_up()


@pytest.fixture(scope="module")
def model(table: Table) -> JointModel:
    return fit(table, seed=1, trees=TREES)


def test_the_forest_says_what_sklearn_says(table: Table) -> None:
    features = np.concatenate([table.kernels, table.launches], 1)
    cpu, gpu = table.log_seconds.T
    share = 1.0 / (1.0 + np.exp(cpu - gpu))
    grown = ExtraTreesRegressor(TREES, max_features=0.5, random_state=1).fit(
        features, share, sample_weight=suite_weights(table.suite)
    )
    forest = fit_uncalibrated(table, 1, TREES).forest
    other = features[::3] + np.float32(0.3)
    by_votes = np.array([forest.weights(row) @ share for row in other])
    assert by_votes == pytest.approx(grown.predict(other), abs=1e-6)


def test_the_votes_of_a_forest_are_weights(model: JointModel, table: Table) -> None:
    votes = model.forest.weights(np.concatenate([table.kernels[0], table.launches[0]]))
    assert votes.shape == (len(table),)
    assert votes.min() >= 0
    assert votes.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("change", [{"left": -1}, {"right": 10**6}, {"rows": 10**4}, {"roots": -1}])
def test_a_forest_that_leads_outside_is_refused(model: JointModel, change: dict[str, int]) -> None:
    ((name, value),) = change.items()
    broken = getattr(model.forest, name).copy()
    broken[0] = value
    with pytest.raises(ValueError, match="lead outside"):
        replace(model.forest, **{name: broken})


def test_a_forest_with_a_cycle_is_refused(model: JointModel) -> None:
    left = model.forest.left.copy()
    left[0] = 0
    with pytest.raises(ValueError, match="lead outside"):
        replace(model.forest, left=left)


def test_the_process_says_what_sklearn_says(table: Table) -> None:
    kernels, launches = table.kernels[:, :4], table.launches[:, :2]
    among = process.covariance(kernels, launches, kernels, launches)

    class Given(RBF):  # type: ignore[misc]
        """Our covariance; a row's only feature is its number."""

        def __call__(self, x: object, y: object = None, eval_gradient: bool = False) -> object:
            rows, others = np.ravel(x).astype(int), np.ravel(x if y is None else y).astype(int)
            return among[np.ix_(rows, others)]

        def diag(self, x: object) -> NDArray[np.float64]:
            return np.diag(among)[np.ravel(x).astype(int)]

    ours = process.condition(kernels[5:], launches[5:], table.log_seconds[5:])
    theirs = GaussianProcessRegressor(Given(), alpha=process.NOISE, optimizer=None)
    outputs = process.mean_and_share(table.log_seconds)[5:]
    number = np.arange(len(table))[:, None]
    theirs.fit(number[5:], (outputs - outputs.mean(0)) / outputs.std(0))
    means, deviations = theirs.predict(number[:5], return_std=True)
    for row in range(5):
        mean, variance = ours.predict(kernels[row], launches[row])
        assert mean == pytest.approx(means[row] * outputs.std(0) + outputs.mean(0), abs=1e-3)
        expected = (deviations[row] ** 2 + process.NOISE) * outputs.std(0) ** 2
        assert variance == pytest.approx(expected, rel=1e-2)


def test_far_from_all_kernels_the_process_knows_nothing(model: JointModel) -> None:
    kernel, launch = model.process.kernels[0], model.process.launches[0]
    _, near = model.process.predict(kernel, launch)
    mean, far = model.process.predict(kernel + np.float32(50), launch + np.float32(50))
    assert (far > 3 * near).all()
    assert mean == pytest.approx(model.process.centre, abs=1e-3)


def test_both_times_are_what_mean_and_difference_were_made_of() -> None:
    times = np.random.default_rng(0).normal(size=(7, 2))
    assert process.both_times(process.mean_and_difference(times)) == pytest.approx(times)
    by_share = process.mean_and_difference_of(process.mean_and_share(times))
    assert process.both_times(by_share) == pytest.approx(times)


def test_the_nodes_are_a_standard_normal_distribution() -> None:
    assert NORMAL.mean(0) == pytest.approx(np.zeros(2), abs=1e-9)
    assert NORMAL.std(0) == pytest.approx(np.ones(2))
    assert abs(np.corrcoef(NORMAL.T)[0, 1]) < 0.05
    assert np.mean(np.abs(NORMAL) < 1.2816) == pytest.approx(0.8, abs=0.05)


def test_the_model_learns_what_there_is_to_learn(model: JointModel) -> None:
    fresh = made_up(seed=0, noise=0.0)
    cpu, gpu = np.exp(fresh.log_seconds).T
    share = gpu / (cpu + gpu)
    errors = [abs(said(model, fresh, row)[0] - share[row]) for row in range(len(fresh))]
    assert np.mean(errors) < 0.5 * np.abs(share - share.mean()).mean()


def test_a_model_is_the_same_after_its_file(model: JointModel, table: Table) -> None:
    content = to_bytes(model)
    again = from_bytes(content, "model")
    assert to_bytes(again) == content
    for row in (0, 7):
        assert said(again, table, row) == said(model, table, row)


def test_the_same_seed_trains_the_same_model(table: Table) -> None:
    first, second, other = (to_bytes(fit_uncalibrated(table, seed, 2)) for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_a_file_is_read_without_pickle() -> None:
    file = io.BytesIO()
    np.savez(file, kernel_centre=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ModelError, match="is not a joint model"):
        from_bytes(file.getvalue(), "model")


@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x03\x04"])
def test_a_damaged_file_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(ModelError, match="is not a joint model") as caught:
        from_bytes(content, "model.npz")
    assert "\n" not in str(caught.value)


def test_a_file_that_was_cut_off_is_refused(model: JointModel) -> None:
    content = to_bytes(model)
    with pytest.raises(ModelError, match="is not a joint model"):
        from_bytes(content[: len(content) // 2], "model.npz")


def test_suites_count_alike_however_large() -> None:
    weights = suite_weights(np.array([0, 0, 0, 1]))
    assert weights[:3].sum() == pytest.approx(weights[3])


def normal_left_out(true_deviation: float, novelty: Novelty, count: int = 400) -> list[LeftOut]:
    """Launches that a model believes to have a deviation of 1."""
    stream = np.random.default_rng(1)
    samples = np.quantile(stream.normal(size=20000), np.linspace(0.005, 0.995, 100))
    return [
        LeftOut(novelty, float(true_deviation * stream.normal()), samples, np.full(100, 0.01))
        for _ in range(count)
    ]


def covered(launches: list[LeftOut], calibration: Calibration) -> float:
    """How many of the launches lie in the interval of 80 % after stretching."""
    inside = []
    for each in launches:
        factor = calibration.factor(each.novelty, each.samples, each.weights)
        samples = stretched(each.samples[:, None], each.weights, factor)[:, 0]
        low, high = np.quantile(samples, (0.1, 0.9))
        inside.append(low <= each.difference <= high)
    return float(np.mean(inside))


NOVELTIES = [Novelty(0.0, 0.0), Novelty(0.1, 0.0), Novelty(1.0, 0.0)]


@pytest.mark.parametrize("true_deviation", [0.5, 2.0])
@pytest.mark.parametrize("novelty", NOVELTIES)
def test_calibrated_intervals_hold_what_they_say(true_deviation: float, novelty: Novelty) -> None:
    launches = normal_left_out(true_deviation, novelty)
    assert covered(launches[200:], calibrate(launches[:200], 0.0)) == pytest.approx(0.8, abs=0.07)


@pytest.mark.parametrize("true_deviation", [0.5, 2.0])
def test_without_calibration_they_do_not(true_deviation: float) -> None:
    launches = normal_left_out(true_deviation, NOVELTIES[1])
    assert abs(covered(launches, Calibration()) - 0.8) > 0.1


def test_each_kind_of_novelty_is_calibrated_apart() -> None:
    sure, unsure = normal_left_out(0.5, NOVELTIES[0]), normal_left_out(2.0, NOVELTIES[2])
    factors = calibrate(sure + unsure, 0.0).factors
    assert factors[0] == pytest.approx(0.5, abs=0.1)
    assert factors[1] == 1.0
    assert factors[2] == pytest.approx(2.0, abs=0.4)


@pytest.mark.parametrize(
    ("novelty", "name"),
    [
        (Novelty(0.0, 5.0), "known"),
        (Novelty(0.1, 0.0), "like a known one"),
        (Novelty(1.0, 0.0), "unlike all known"),
        (Novelty(0.1, 1.0), "new altogether"),
        (Novelty(1.0, 1.0), "new altogether"),
    ],
)
def test_novelty_has_four_kinds(novelty: Novelty, name: str) -> None:
    assert CLASSES[novelty.number] == name


def test_what_is_new_altogether_is_as_uncertain_as_launches_in_general() -> None:
    weights = np.full(100, 0.01)
    sure = np.linspace(-0.1, 0.1, 100)
    calibration = Calibration(general_spread=3.0)
    factor = calibration.factor(Novelty(1.0, 1.0), sure, weights)
    assert spread(factor * sure, weights) == pytest.approx(3.0)
    assert calibration.factor(Novelty(1.0, 0.0), sure, weights) == 1.0
    assert calibration.factor(Novelty(1.0, 1.0), 100 * sure, weights) == 1.0


def test_the_general_spread_is_about_what_other_suites_have(table: Table) -> None:
    cpu, gpu = table.log_seconds.T
    within = spread(gpu - cpu, np.full(len(table), 1.0 / len(table)))
    shifted = table.log_seconds.copy()
    shifted[:, 1] += 5.0 * table.suite
    apart = replace(table, log_seconds=shifted)
    assert general_spread(table) == pytest.approx(within, rel=0.5)
    assert general_spread(apart) > 2 * within


def test_a_launch_like_none_is_called_new_altogether(model: JointModel, table: Table) -> None:
    known = model.novelty(table.kernels[0], table.launches[0])
    new = model.novelty(table.kernels[0] + 3, table.launches[0] + 3)
    assert known.number == 0
    assert new.number == ALTOGETHER


def test_the_models_prior_is_that_of_its_training_rows(model: JointModel, table: Table) -> None:
    general = model.prior()
    assert general.is_prior
    assert len(general.weights) == len(table)
    assert isinstance(model.forest, Forest)
