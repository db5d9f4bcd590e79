"""The hand-made features of Grewe et al. (CGO 2013), as the data set's files give them for each launch.

Known faults of the files: `coalesced` is above `mem` in half of the rows, `atomic` is always 0.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from predictor.datasets.devmap import locate
from predictor.errors import DatasetError

COLUMNS = ("comp", "rational", "mem", "localmem", "coalesced", "atomic", "transfer", "wgsize")
"""Counts of the source's operations and accesses, bytes transferred, items of a work-group."""


def counts(name: str, path: Path | None = None) -> NDArray[np.float64]:
    """The columns of `COLUMNS` of each launch of a data set, in the order of its file.

    Shapes: [launches, 8]. Raises DatasetError where the file lacks one, or a value is no number.
    """
    file = locate(name, path)
    reader = csv.DictReader(file.read_text("utf-8").splitlines(keepends=True))
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise DatasetError(f"{file} lacks the columns {', '.join(missing)} of hand-made features")
    read = []
    for line, row in enumerate(reader, 1):
        try:
            values = [float(row[column]) for column in COLUMNS]
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{file}, row {line}: {error}") from error
        if not all(math.isfinite(value) and value >= 0.0 for value in values):
            raise DatasetError(f"{file}, row {line}: {values} are not counts")
        read.append(values)
    return np.array(read)


def combined(counted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Grewe's four features, from what `counts` gives.

    Bytes transferred by operations, coalesced accesses by accesses, local accesses by accesses times
    the work-group's items, and computations by accesses. Shapes: [launches, 8] to [launches, 4].
    """
    comp, _, mem, local, coalesced, _, transfer, items = counted.T
    memory = np.maximum(mem, 1.0)
    operations = np.maximum(comp + mem, 1.0)
    return np.stack(
        (transfer / operations, coalesced / memory, local / memory * items, comp / memory), axis=1
    )


def simple(counted: NDArray[np.float64]) -> NDArray[np.float64]:
    """All columns on a logarithmic scale. Shapes: [launches, 8] to [launches, 8]."""
    return np.log1p(counted)
