"""Runs OpenCL kernels on a CPU and a GPU at the same time, split where a model of the program graph says.

Names are imported when they are first used, but for errors and settings: some need a driver's library, and a
program that has this package installed launches without the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from lb_runtime.errors import (
    ArgumentError,
    BuildError,
    DeviceError,
    ExecutionError,
    KernelFileError,
    KernelNotFoundError,
    LaunchError,
    LoadBalancerError,
)
from lb_runtime.settings import Settings

if TYPE_CHECKING:
    from lb_runtime.images import Image, Sampler
    from lb_runtime.intercept import (
        InstalledRuntime,
        enqueue_nd_range_kernel,
        install,
        report,
        uninstall,
    )
    from lb_runtime.launch import LocalArgument, NDRange, Svm
    from lb_runtime.runtime import Decision, Outcome, Prediction, Runtime

__all__ = [
    "ArgumentError",
    "BuildError",
    "Decision",
    "DeviceError",
    "ExecutionError",
    "Image",
    "InstalledRuntime",
    "KernelFileError",
    "KernelNotFoundError",
    "LaunchError",
    "LoadBalancerError",
    "LocalArgument",
    "NDRange",
    "Outcome",
    "Prediction",
    "Runtime",
    "Sampler",
    "Settings",
    "Svm",
    "enqueue_nd_range_kernel",
    "install",
    "report",
    "uninstall",
]
_PLACES = {
    "images": ("Image", "Sampler"),
    "intercept": ("InstalledRuntime", "enqueue_nd_range_kernel", "install", "report", "uninstall"),
    "launch": ("LocalArgument", "NDRange", "Svm"),
    "runtime": ("Decision", "Outcome", "Prediction", "Runtime"),
}
"""The modules of names that are imported when they are first used."""


def __getattr__(name: str) -> object:
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"lb_runtime.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
