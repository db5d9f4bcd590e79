"""Which launches are judged together: four ways to divide a data set into folds.

What a model may know of a launch that it is judged on differs: another launch of the same source
(random), another kernel of the same program (kernel), another program of the same suite (program), or
nothing of the suite at all (suite).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from predictor.datasets.devmap import Devmap
from predictor.errors import DatasetError

Kind = Literal["random", "kernel", "program", "suite"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_BENCHMARK = re.compile(r"(?P<program>(?P<suite>.+?-\d[\d.]*)-[^-]+)-.+")


def fold_numbers(devmap: Devmap, kind: Kind, seed: int, folds: int = 10) -> NDArray[np.int64]:
    """The fold of each launch of a data set; the launches of fold n are judged by a model of the rest.

    `random` shuffles launches, `kernel` sources with all launches of each, `program` benchmark programs
    (a source that two programs share stays with each of them); `suite` makes a fold of each suite, in
    the order of their names, whatever the seed and the number of folds. Random folds are those of
    scikit-learn's `KFold(folds, shuffle=True, random_state=seed)`, as in the thesis.

    Shapes: int64 [launches].
    Raises ValueError for an unknown kind or too many folds, DatasetError for a benchmark whose name is
    not SUITE-VERSION-PROGRAM-KERNEL.
    """
    units = _units(devmap, kind)
    count = int(units.max()) + 1
    if kind == "suite":
        return units
    if not 2 <= folds <= count:
        raise ValueError(f"{folds} folds of {count} units asked for, expected 2 to {count}")
    order = np.arange(count)
    np.random.RandomState(seed).shuffle(order)
    fold_of_unit = np.empty(count, np.int64)
    for fold, members in enumerate(np.array_split(order, folds)):
        fold_of_unit[members] = fold
    return fold_of_unit[units]


def suites(devmap: Devmap) -> tuple[str, ...]:
    """The suite (name and version) of each launch."""
    return tuple(_parts(launch.benchmark)["suite"] for launch in devmap.launches)


def programs(devmap: Devmap) -> tuple[str, ...]:
    """The program (suite, version and name) of each launch."""
    return tuple(_parts(launch.benchmark)["program"] for launch in devmap.launches)


def _units(devmap: Devmap, kind: Kind) -> NDArray[np.int64]:
    """Numbers from 0 of what is never parted. Shapes: int64 [launches]."""
    if kind == "random":
        return np.arange(len(devmap.launches), dtype=np.int64)
    if kind == "kernel":
        return _numbered([launch.kernel for launch in devmap.launches])
    if kind == "program":
        return _numbered(programs(devmap))
    if kind == "suite":
        return _numbered(suites(devmap))
    raise ValueError(f"no folds of kind {kind!r}; there are {', '.join(KINDS)}")


def _numbered(names: Sequence[object]) -> NDArray[np.int64]:
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def _parts(benchmark: str) -> re.Match[str]:
    found = _BENCHMARK.fullmatch(benchmark)
    if found is None:
        raise DatasetError(f"benchmark {benchmark!r} is not named SUITE-VERSION-PROGRAM-KERNEL")
    return found
