"""Folds keep apart what they say they keep apart."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import KFold

from predictor.datasets.devmap import Devmap, Launch
from predictor.datasets.folds import KINDS, Kind, fold_numbers, programs, suites
from predictor.errors import DatasetError

PROGRAMS = 12
KERNELS_PER_PROGRAM = 3
LAUNCHES_PER_KERNEL = 4


def data_set() -> Devmap:
    launches = []
    for program in range(PROGRAMS):
        for kernel in range(KERNELS_PER_PROGRAM):
            for size in range(LAUNCHES_PER_KERNEL):
                name = f"amd-app-sdk-{program % 3}.0-P{program}-kernel_{kernel}-x"
                number = program * KERNELS_PER_PROGRAM + kernel
                launches.append(Launch(name, str(size), number, 1, 1, 1.0, 1.0))
    sources = tuple(str(n) for n in range(PROGRAMS * KERNELS_PER_PROGRAM))
    return Devmap("small", "", sources, tuple(launches))


DATA = data_set()


@pytest.mark.parametrize("kind", KINDS)
def test_every_launch_is_judged_in_one_of_the_folds(kind: Kind) -> None:
    numbers = fold_numbers(DATA, kind, seed=1)
    assert numbers.shape == (len(DATA.launches),)
    assert set(numbers.tolist()) == set(range(3 if kind == "suite" else 10))


def test_random_folds_are_those_of_the_thesis() -> None:
    numbers = fold_numbers(DATA, "random", seed=7)
    folds = KFold(10, shuffle=True, random_state=7).split(np.arange(len(DATA.launches)))
    for fold, (_, test) in enumerate(folds):
        assert np.flatnonzero(numbers == fold).tolist() == test.tolist()


def test_kernel_folds_part_no_source() -> None:
    numbers = fold_numbers(DATA, "kernel", seed=1)
    for kernel in range(len(DATA.sources)):
        mine = [n for n, launch in zip(numbers, DATA.launches) if launch.kernel == kernel]
        assert len(set(mine)) == 1


def test_program_folds_part_no_program() -> None:
    numbers = fold_numbers(DATA, "program", seed=1)
    names = programs(DATA)
    assert names[0] == "amd-app-sdk-0.0-P0"
    for name in set(names):
        assert len({n for n, other in zip(numbers, names) if other == name}) == 1


def test_suite_folds_are_the_suites_whatever_the_seed() -> None:
    numbers = fold_numbers(DATA, "suite", seed=1)
    assert set(suites(DATA)) == {f"amd-app-sdk-{number}.0" for number in range(3)}
    assert len(set(zip(numbers.tolist(), suites(DATA)))) == 3
    assert np.array_equal(numbers, fold_numbers(DATA, "suite", seed=2, folds=5))


@pytest.mark.parametrize("kind", ["random", "kernel", "program"])
def test_a_seed_makes_the_same_folds_and_another_seed_others(kind: Kind) -> None:
    first, again, other = (fold_numbers(DATA, kind, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_more_folds_than_units_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 2 to 12"):
        fold_numbers(DATA, "program", seed=1, folds=13)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="random, kernel, program, suite"):
        fold_numbers(DATA, "moon", seed=1)  # type: ignore[arg-type]


def test_a_benchmark_of_another_form_is_refused() -> None:
    odd = Devmap("odd", "", ("",), (Launch("mine", "", 0, 1, 1, 1.0, 1.0),))
    with pytest.raises(DatasetError, match="'mine' is not named"):
        fold_numbers(odd, "suite", seed=1)
