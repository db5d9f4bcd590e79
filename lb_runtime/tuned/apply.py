"""The shipped model, and the head that this machine's measurements added to it where there is one.

A head is looked for once, when the model is first needed, under the key of the device pair; without one the
shipped model answers alone. Whatever is wrong with the file of measurements is told in one line on standard
error, and changes nothing else.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lb_runtime.devices import DeviceInfo
from lb_runtime.launch import Launch
from lb_runtime.roles import DevicePair
from lb_runtime.tuned.machine import machine_of
from lb_runtime.tuned.measured import launch_numbers
from lb_runtime.tuned.store import read_head, store_path
from predictor.errors import ModelError
from predictor.predict import Predictor, prior
from predictor.prediction import Prediction
from predictor.program_graph import ProgramGraph
from predictor.tuned.features import LaunchNumbers, tuned_features
from predictor.tuned.head import HEAD_VERSION, Head


class Advice:
    """Predicts launches on one pair of devices. `head` is None where nothing was measured.

    Args:
        pair: the devices that play CPU and GPU; None asks the model alone.
        path: the file of measurements; else that of the user's data folder.
        predictor: the model; else the one that is shipped. Where that cannot be read, launches are said
            to be as launches in general are.
    """

    def __init__(
        self, pair: DevicePair | None, path: Path | None = None, predictor: Predictor | None = None
    ) -> None:
        self._pair = (pair.cpu, pair.gpu) if pair else None
        self._predictor = predictor
        self.head: Head | None = None
        self.note = ""
        try:
            self._predictor = predictor or Predictor.load()
        except ModelError as error:
            self.note = f"{error}; until then every kernel is taken to be like any other"
        else:
            if pair is not None:
                self.head, self.note = load_head(pair, self._predictor, path or store_path())
        if self.note and sys.stderr is not None:
            print(f"lb_runtime: {self.note}", file=sys.stderr)  # noqa: T201  # all that can be told

    def predict(
        self,
        graph: ProgramGraph,
        launch: Launch,
        *,
        transfers: bool,
        roles: tuple[DeviceInfo, DeviceInfo] | None = None,
    ) -> Prediction:
        """Both devices' times of a launch, from what was measured here or else from the model.

        With `transfers`, measured times include what is sent to a device and fetched from it. `roles` are
        the devices that run it, CPU and GPU, where they may be others than the pair's: of those nothing
        was measured.
        """
        return self.predict_numbers(
            graph, launch_numbers(launch), transfers=transfers, measured=roles in (None, self._pair)
        )

    def predict_numbers(
        self, graph: ProgramGraph, launch: LaunchNumbers, *, transfers: bool, measured: bool = True
    ) -> Prediction:
        """As `predict`; without `measured`, from the model alone."""
        if self._predictor is None:
            return prior()
        untuned = untuned_prediction(self._predictor, graph, launch)
        if self.head is None or not measured:
            return untuned
        features = tuned_features(graph, launch, untuned)
        return self.head.predict(features, float(launch.transfer_bytes) if transfers else None)


def load_head(pair: DevicePair, predictor: Predictor, path: Path) -> tuple[Head | None, str]:
    """The head for a pair and a model, None where there is none, and one line if something is wrong."""
    content, note = read_head(path, machine_of(pair), model_name(predictor))
    if content is None:
        return None, note
    try:
        return Head.from_bytes(content), ""
    except ModelError as error:
        return None, str(error)


def model_name(predictor: Predictor) -> str:
    """What a head is fitted to: another model, or other features, need another head."""
    return f"{HEAD_VERSION} {predictor.facts['sha256']}"


def untuned_prediction(
    predictor: Predictor, graph: ProgramGraph, launch: LaunchNumbers
) -> Prediction:
    """What the shipped model says of a launch."""
    return predictor.predict(
        graph, transfer_bytes=launch.transfer_bytes, work_group_size=launch.work_group_size
    )
