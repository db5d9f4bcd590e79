"""Runs OpenCL kernels on a CPU and a GPU at the same time, split where a model of the program graph says.

Names that need a driver's library are imported when they are first used.
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
from lb_runtime.images import Image, Sampler
from lb_runtime.launch import LocalArgument, NDRange, Svm
from lb_runtime.settings import Settings

if TYPE_CHECKING:
    from lb_runtime.intercept import (
        InstalledRuntime,
        enqueue_nd_range_kernel,
        install,
        report,
        uninstall,
    )
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
_DROP_IN = ("InstalledRuntime", "enqueue_nd_range_kernel", "install", "report", "uninstall")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "lb_runtime.intercept" if name in _DROP_IN else "lb_runtime.runtime"
    return getattr(import_module(module), name)
