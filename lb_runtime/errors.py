"""Every exception that lb_runtime raises, under one base class.

    LoadBalancerError
    ├── LaunchError            a launch that OpenCL would refuse (sizes, arguments)
    │   └── ArgumentError      an argument that does not fit the kernel's signature
    ├── KernelNotFoundError    the source holds no kernel of that name
    ├── DeviceError            no fitting OpenCL platform or device
    ├── BuildError             an OpenCL compiler refused the program
    ├── ExecutionError         a device failed while running a part
    │   ├── RaceError          parts left different values in one place
    │   └── BytesLostError     the only copy of some bytes was on a device that failed
    ├── KernelFileError        a .cl or .toml file that cannot be read or understood
    └── StoreError             measurements of another version, in use, or that cannot be written

Each message is one line: what was given, what was expected, what to do.
"""

from __future__ import annotations


class LoadBalancerError(Exception):
    """Base class of all errors of this package."""


class LaunchError(LoadBalancerError):
    """A launch that OpenCL would refuse: sizes, offsets or dimensions that do not fit."""


class ArgumentError(LaunchError):
    """An argument that does not fit the kernel's signature."""


class KernelNotFoundError(LoadBalancerError):
    """The source holds no kernel of the given name."""


class DeviceError(LoadBalancerError):
    """No OpenCL platform, or no device that fits what was asked for."""


class BuildError(LoadBalancerError):
    """An OpenCL compiler refused the program; `device_name` tells which."""

    def __init__(self, message: str, device_name: str) -> None:
        super().__init__(message)
        self.device_name = device_name


class ExecutionError(LoadBalancerError):
    """A device failed while it ran a part of a launch."""


class RaceError(ExecutionError):
    """Parts left different values in one place: the kernel has a data race. No host array changed."""


class BytesLostError(ExecutionError):
    """The only copy of some of a buffer's bytes was on a device that failed."""


class KernelFileError(LoadBalancerError):
    """A kernel file, or the launch file beside it, that cannot be read or understood."""


class StoreError(LoadBalancerError):
    """The file of this machine's measurements is of another version, in use, or cannot be written."""
