from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from share_games import USUAL, belief_of, even

from lb_runtime.errors import LaunchError, LoadBalancerError
from lb_runtime.shares.comparison import compare, follow, policies
from lb_runtime.shares.makespan import Cost, SplitCost
from lb_runtime.shares.observation import Choice
from lb_runtime.shares.recorded import Model, Recorded, beliefs, predictions
from lb_runtime.shares.simulate import main
from lb_runtime.shares.simulated import Truth
from predictor.datasets.devmap import COLUMNS
from predictor.datasets.devmap import read as read_devmap

ROWS = 24


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Launches of 12 kernels, whose times go with their bytes."""
    path = tmp_path_factory.mktemp("devmap") / "machine.csv"
    stream = np.random.default_rng(1)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in range(ROWS):
            transfer = 10 ** stream.uniform(4, 8)
            cpu, gpu = transfer * 1e-6 * np.exp(0.5 * stream.standard_normal(2))
            writer.writerow(
                {
                    "benchmark": f"suite-1.0-program{row % 4}-kernel{row % 12}",
                    "dataset": "default",
                    "transfer": int(transfer),
                    "wgsize": 64,
                    "runtime_cpu": cpu,
                    "runtime_gpu": gpu,
                    "src": f"kernel {row % 12}",
                }
            )
    return path


def run(*options: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(option) for option in options])
    return result.exit_code, result.output


def test_the_same_seed_gives_the_same_numbers(data: Path, tmp_path: Path) -> None:
    found = []
    for name in ("one.json", "two.json"):
        output = ("--output", tmp_path / name)
        options = ("--dataset", data, "--prior", "neighbours", "--launches", "2", *output)
        assert run(*options)[0] == 0
        (facts,) = json.loads((tmp_path / name).read_text())["runs"]
        found.append((facts["modelled"], facts["free"]))
    assert found[0] == found[1]


def test_runs_of_other_options_are_kept_and_those_of_the_same_replaced(
    data: Path, tmp_path: Path
) -> None:
    output = tmp_path / "facts.json"
    options = ("--dataset", data, "--policies", "fixed", "--prior", "nothing", "--output", output)
    for seed in (1, 2, 1):
        assert run(*options, "--seed", str(seed))[0] == 0
    runs = json.loads(output.read_text())["runs"]
    assert [each["seed"] for each in runs] == [2, 1]


def test_a_file_that_holds_something_else_is_not_overwritten(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "notes.json"
    output.write_text("[1, 2]")
    status, told = run("--dataset", data, "--prior", "nothing", "--output", output)
    assert status == 2
    assert "is no file of simulated runs" in told
    assert output.read_text() == "[1, 2]"


def test_learning_comes_nearer_to_the_best_than_any_fixed_share(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "facts.json"
    assert run("--dataset", data, "--prior", "neighbours", "--output", output)[0] == 0
    means = {
        (line["policy"], line["after"]): line["mean"]
        for line in json.loads(output.read_text())["runs"][0]["modelled"]["even"]
    }
    fixed = min(means[name, 0] for name in ("CPU only", "GPU only", "equal shares", "predicted"))
    assert 1.0 <= means["adaptive", 8] < fixed
    assert means["adaptive", 0] == means["predicted", 0]


def test_a_prior_has_seen_no_launch_of_the_kernels_that_it_judges(data: Path) -> None:
    launches = read_devmap("nvidia", data)
    seconds = np.array([[each.cpu_seconds, each.gpu_seconds] for each in launches.launches])
    recorded = Recorded("file", ("CPU", "GPU"), launches, seconds)
    said = predictions(recorded, "nothing", "kernel", 1)
    for row, belief in enumerate(beliefs(recorded, said, Model.free())):
        kernel = launches.launches[row].kernel
        own = [each for each, launch in enumerate(launches.launches) if launch.kernel == kernel]
        for mine in np.log(seconds[own]):
            assert not np.isclose(belief.log_seconds, mine).all(1).any()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--dataset", "nowhere.csv"), "nowhere.csv"),
        (("--policies", "clever"), "expected one of fixed, predicted, adaptive, dynamic"),
        (("--dataset", "both", "--prior", "joint"), "expected neighbours or nothing"),
    ],
)
def test_bad_input_gives_one_line_and_status_2(options: tuple[str, ...], told: str) -> None:
    if "both" in options and _lacks_data():
        pytest.skip("the device mapping set is not here")
    status, output = run(*options)
    assert status == 2
    assert told in output
    assert "Traceback" not in output


def _lacks_data() -> bool:
    from predictor.datasets.devmap import locate
    from predictor.errors import DatasetError

    try:
        locate("nvidia")
    except DatasetError:
        return True
    return False


def test_three_devices_are_simulated_as_two_are() -> None:
    truths = [even(1.0, 2.0, 4.0), even(5.0, 1.0, 1.0)]
    believed = [belief_of(2.0, 2.0, 2.0)] * 2
    made = policies(["fixed", "adaptive"], ["A", "B", "C"], may_chunk=False)
    lines = compare(truths, believed, made, (8,), USUAL, seed=1)
    names = {line.policy: line.mean for line in lines}
    assert names["adaptive"] < 1.06 < min(names["A only"], names["B only"], names["C only"])


def test_following_a_load_is_counted_in_launches() -> None:
    found = follow([even(1.0, 1.0)] * 3, [belief_of(1.0, 1.0)] * 3, USUAL, seed=1)
    assert found is not None
    assert found.rows == 3
    assert max(found.median) <= 5
    assert follow([even(1.0, 500.0)], [belief_of(1.0, 1.0)], USUAL, seed=1) is None


def test_the_best_time_of_uneven_work_is_that_of_the_best_cut() -> None:
    profile = tuple(1.0 + each for each in range(32))
    truth = Truth((Cost(0.0, 1.0), Cost(0.0, 2.0)), SplitCost(), profile=profile)
    cuts = [truth.seconds(Choice((cut / 200, 1.0 - cut / 200))) for cut in range(201)]
    assert truth.best_seconds == pytest.approx(min(cuts), rel=0.02)
    assert truth.best_seconds <= min(cuts) + 1e-9


def test_a_profile_of_three_devices_is_refused() -> None:
    with pytest.raises(LaunchError, match="one or two devices"):
        Truth((Cost(0.0, 1.0),) * 3, profile=(1.0, 2.0))


def test_a_prior_of_two_devices_is_refused_for_three(data: Path) -> None:
    launches = read_devmap("nvidia", data)
    three = Recorded("file", ("A", "B", "C"), launches, np.ones((ROWS, 3)))
    with pytest.raises(LoadBalancerError, match="3 devices"):
        predictions(three, "joint", "kernel", 1)


@pytest.mark.parametrize("module", ["adaptive", "chunks", "simulate"])
def test_importing_the_policies_loads_no_learning_library(module: str) -> None:
    code = (
        f"import lb_runtime.shares.{module}, sys; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'sklearn', 'pyopencl')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
