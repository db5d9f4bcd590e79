"""From what a store holds to a head for the shipped model, and to the report on both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lb_runtime.kernel import look_at
from lb_runtime.tuned.apply import untuned_prediction
from lb_runtime.tuned.measured import Row
from lb_runtime.tuning.kernels import MIXTURE
from predictor.predict import Predictor
from predictor.prediction import Prediction
from predictor.tuned.features import tuned_features
from predictor.tuned.measured import Measurements

OWN_FAMILY = "kernels"
"""The family of kernels that were not generated: those of a folder."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The rows of a store with what the shipped model says of each, ready to be fitted to.

    `families` are as the rows', `groups` in `measured` set every mixture and every kernel that was not
    generated apart: no other is made after it.
    """

    rows: tuple[Row, ...]
    measured: Measurements
    untuned: tuple[Prediction, ...]

    @property
    def families(self) -> tuple[str, ...]:
        """The family of each row."""
        return tuple(row.family for row in self.rows)


def table_of(
    rows: Sequence[Row], predictor: Predictor, advance: Callable[[], object] = lambda: None
) -> Table:
    """Look at each row's kernel, and ask the shipped model.

    Raises PredictorError, as `look_at`.
    """
    features, untuned = [], []
    for row in rows:
        graph = look_at(row.source, row.options, row.kernel_name).graph
        untuned.append(untuned_prediction(predictor, graph, row.measured.launch))
        features.append(tuned_features(graph, row.measured.launch, untuned[-1]))
        advance()
    measured = Measurements(
        np.array(features),
        np.array([[row.measured.cpu.kernel, row.measured.gpu.kernel] for row in rows]),
        np.array([[row.measured.cpu.total, row.measured.gpu.total] for row in rows]),
        np.array([float(row.measured.launch.transfer_bytes) for row in rows]),
        tuple(_group(row) for row in rows),
    )
    return Table(tuple(rows), measured, tuple(untuned))


def _group(row: Row) -> str:
    return row.name if row.family in (MIXTURE, OWN_FAMILY) else row.family
