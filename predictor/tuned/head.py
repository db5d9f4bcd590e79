"""A head: from a launch's features to both devices' times on the machine that was measured.

Two Gaussian processes say how long the kernel takes, one for the mean of both log times, one for their
difference; what is sent and fetched adds a time by its bytes. How far the answer may be off is taken from the
kernels that were held out while it was fitted, so that its intervals hold what they promise for new kernels.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.errors import ModelError
from predictor.joint.calibration import needed_factor, stretched
from predictor.joint.model import NORMAL
from predictor.joint.process import both_times, mean_and_difference
from predictor.prediction import Prediction, quantiles
from predictor.tuned.features import TUNED_VERSION
from predictor.tuned.measured import Measurements
from predictor.tuned.process import Covariance, HeldOut, chosen_covariance
from predictor.tuned.transfers import fit_transfers

HEAD_VERSION = f"2/{TUNED_VERSION}"
FEWEST_ROWS = 20
LARGEST_STANDARD = 4.0
INTERVAL = 0.8
LEAST_STRETCH, MOST_STRETCH = 0.05, 10.0
_EVENLY = np.full(len(NORMAL), 1.0 / len(NORMAL))


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A fitted head.

    Shapes, for r rows of f features (those that vary):
        chosen: int64 [f], the features that it reads.
        centre, scale: float64 [f], by which features are standardised.
        rows: float64 [r, f], standardised.
        covariances: float64 [2, 3], length, linear part and noise; of the mean and of the difference.
        solved: float64 [2, r], the inverse of the covariance times the values.
        inverses: float64 [2, r, r].
        values_centre, deviations: float64 [2]; deviations turn relative variances into log seconds.
        correlation: float64 [1], of the errors of mean and difference.
        transfers: float64 [2, 2], for CPU and GPU the fixed seconds and the seconds per byte.
        stretches: float64 [2], by how much spreads are stretched without and with transfers.
    """

    chosen: NDArray[np.int64]
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    rows: NDArray[np.float64]
    covariances: NDArray[np.float64]
    solved: NDArray[np.float64]
    inverses: NDArray[np.float64]
    values_centre: NDArray[np.float64]
    deviations: NDArray[np.float64]
    correlation: NDArray[np.float64]
    transfers: NDArray[np.float64]
    stretches: NDArray[np.float64]

    def __post_init__(self) -> None:
        r, f = self.rows.shape
        shapes = [
            (self.chosen, (f,)),
            (self.centre, (f,)),
            (self.scale, (f,)),
            (self.covariances, (2, 3)),
            (self.solved, (2, r)),
            (self.inverses, (2, r, r)),
            (self.values_centre, (2,)),
            (self.deviations, (2,)),
            (self.correlation, (1,)),
            (self.transfers, (2, 2)),
            (self.stretches, (2,)),
        ]
        if any(array.shape != shape for array, shape in shapes):
            raise ValueError(f"the arrays of a head of {r} rows of {f} features do not fit")
        if not all(bool(np.isfinite(array).all()) for array, _ in shapes):
            raise ValueError("a head holds numbers that are not finite")

    def predict(self, features: NDArray[np.float64], transfer_bytes: float | None) -> Prediction:
        """Both devices' times of a launch; those of the kernel alone where no bytes are given.

        Shapes: float64 [features], see `tuned_features`.
        """
        row = _standardised(features[self.chosen], self.centre, self.scale)
        mean, variance = np.empty(2), np.empty(2)
        for output, setting in enumerate(self.covariances):
            covariance = Covariance(*setting.tolist())
            between = covariance.between(row[None], self.rows)[0]
            mean[output] = between @ self.solved[output] + self.values_centre[output]
            left = covariance.own(row) - between @ self.inverses[output] @ between
            variance[output] = max(left, covariance.noise / 2.0)
        return self._prediction(mean, variance, transfer_bytes)

    def _prediction(
        self,
        mean: NDArray[np.float64],
        variance: NDArray[np.float64],
        transfer_bytes: float | None,
    ) -> Prediction:
        plain = self._outputs(mean, variance, transfer_bytes)
        stretch = float(self.stretches[0 if transfer_bytes is None else 1])
        return Prediction(both_times(stretched(plain, _EVENLY, stretch)), _EVENLY.copy())

    def _outputs(
        self,
        mean: NDArray[np.float64],
        variance: NDArray[np.float64],
        transfer_bytes: float | None,
    ) -> NDArray[np.float64]:
        """Samples of mean and difference of both log times, not stretched yet. Shapes: [samples, 2]."""
        spread = np.sqrt(variance) * self.deviations
        with_mean = float(self.correlation[0])
        first = with_mean * NORMAL[:, 1] + np.sqrt(1.0 - with_mean**2) * NORMAL[:, 0]
        outputs: NDArray[np.float64] = mean + spread * np.stack([first, NORMAL[:, 1]], 1)
        if transfer_bytes is None:
            return outputs
        extra = self.transfers[:, 0] + self.transfers[:, 1] * transfer_bytes
        return mean_and_difference(np.log(np.exp(both_times(outputs)) + extra))

    def to_bytes(self) -> bytes:
        """The head as `.npz`, without pickled objects."""
        file = io.BytesIO()
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        np.savez(file, version=np.frombuffer(HEAD_VERSION.encode(), np.uint8), **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Head:
        """A head that `to_bytes` wrote. Raises ModelError where it is damaged or of another version."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                version = file["version"].astype(np.uint8).tobytes().decode("utf-8", "replace")
                if version != HEAD_VERSION:
                    raise ModelError(
                        f"the head of this machine's measurements is of version {version!r}, this "
                        f"program reads {HEAD_VERSION!r}: run `lb tune` again"
                    )
                return cls(**{name: file[name] for name in _ARRAYS})
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ModelError(
                f"the head of this machine's measurements is damaged ({error}): run `lb tune` again"
            ) from error


_ARRAYS = tuple(Head.__dataclass_fields__)


def fit_head(measured: Measurements) -> Head:
    """Fit a head; the same measurements give the same head.

    Raises ModelError where there are fewer than `FEWEST_ROWS` measurements.
    """
    if len(measured) < FEWEST_ROWS:
        raise ModelError(
            f"{len(measured)} measured launches are too few to fit a head to, expected at least "
            f"{FEWEST_ROWS}: run `lb tune` without interrupting it so early"
        )
    deviation = measured.features.std(0)
    chosen = np.flatnonzero(deviation > 1e-6)
    centre, scale = measured.features[:, chosen].mean(0), 1.0 / deviation[chosen]
    rows = _standardised(measured.features[:, chosen], centre, scale)
    outputs = mean_and_difference(np.log(measured.kernel_seconds))
    values_centre = outputs.mean(0)
    values = outputs - values_centre
    fitted = [chosen_covariance(rows, values[:, k], measured.groups) for k in (0, 1)]
    inverses = np.stack(
        [
            np.linalg.inv(cov.between(rows, rows) + cov.noise * np.eye(len(rows)))
            for cov, _ in fitted
        ]
    )
    errors = [
        (values[:, k] - out.mean) / np.sqrt(out.variance) for k, (_, out) in enumerate(fitted)
    ]
    extra = measured.total_seconds - measured.kernel_seconds
    head = Head(
        chosen,
        centre,
        scale,
        rows,
        np.array([[cov.length, cov.linear, cov.noise] for cov, _ in fitted]),
        np.stack([inverses[k] @ values[:, k] for k in (0, 1)]),
        inverses,
        values_centre,
        np.array([float(np.sqrt(np.mean(error**2))) for error in errors]),
        np.clip([float(np.corrcoef(errors[0], errors[1])[0, 1])], -0.99, 0.99),
        np.stack([fit_transfers(extra[:, k], measured.transfer_bytes) for k in (0, 1)]),
        np.ones(2),
    )
    return _calibrated(head, measured, [out for _, out in fitted])


def _calibrated(head: Head, measured: Measurements, left_out: list[HeldOut]) -> Head:
    """The head with spreads that hold `INTERVAL` of the rows, each said by what knows not its group."""
    stretches = []
    for transfers in (False, True):
        seconds = measured.total_seconds if transfers else measured.kernel_seconds
        differences = mean_and_difference(np.log(seconds))[:, 1]
        needed = []
        for row, difference in enumerate(differences):
            mean = np.array([out.mean[row] for out in left_out]) + head.values_centre
            variance = np.array([out.variance[row] for out in left_out])
            given = float(measured.transfer_bytes[row]) if transfers else None
            samples = head._outputs(mean, variance, given)[:, 1]
            needed.append(needed_factor(float(difference), samples, _EVENLY))
        found = quantiles(np.array(needed), np.full(len(needed), 1.0 / len(needed)), (INTERVAL,))
        stretches.append(min(max(float(found[0]), LEAST_STRETCH), MOST_STRETCH))
    arrays = {name: getattr(head, name) for name in _ARRAYS}
    return Head(**{**arrays, "stretches": np.array(stretches)})


def _standardised(
    features: NDArray[np.float64], centre: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    plain: NDArray[np.float64] = np.clip(
        (features - centre) * scale, -LARGEST_STANDARD, LARGEST_STANDARD
    )
    return plain
