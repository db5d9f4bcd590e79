"""A joint model as the bytes of a file: plain arrays (npz), read without pickle."""

from __future__ import annotations

import io
import zipfile

import numpy as np
from numpy.typing import NDArray

from predictor.errors import ModelError
from predictor.joint.calibration import Calibration
from predictor.joint.forest import Forest
from predictor.joint.model import JointModel, Standard
from predictor.joint.process import Process

JOINT_VERSION = 1
"""The version of the file's arrays and of what is made of them."""
_FOREST = ("roots", "feature", "threshold", "left", "right", "rows", "votes")
_PROCESS = ("kernels", "launches", "solved", "root", "centre", "scale")


def to_bytes(model: JointModel) -> bytes:
    """The file of a model; the same model gives the same bytes."""
    arrays: dict[str, NDArray[np.generic]] = {
        "kernel_centre": model.of_kernel.centre,
        "kernel_scale": model.of_kernel.scale,
        "launch_centre": model.of_launch.centre,
        "launch_scale": model.of_launch.scale,
        "log_seconds": model.log_seconds,
        "factors": np.array(model.calibration.factors),
        "general_spread": np.array(model.calibration.general_spread),
        **{f"forest_{name}": getattr(model.forest, name) for name in _FOREST},
        **{f"process_{name}": getattr(model.process, name) for name in _PROCESS},
    }
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def from_bytes(content: bytes, name: str) -> JointModel:
    """The model of a file's content. Raises ModelError, naming the file, where it is damaged."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        return JointModel(
            Standard(arrays["kernel_centre"], arrays["kernel_scale"]),
            Standard(arrays["launch_centre"], arrays["launch_scale"]),
            Forest(*(arrays[f"forest_{key}"] for key in _FOREST)),
            Process(*(arrays[f"process_{key}"] for key in _PROCESS)),
            Calibration(
                tuple(float(each) for each in arrays["factors"]), float(arrays["general_spread"])
            ),
            arrays["log_seconds"],
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{name} is not a joint model ({reason}); install it again") from error
