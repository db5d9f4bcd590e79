"""What numbers were measured on, for the results files of all benchmarks."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

ONE_CORE = {"POCL_MAX_PTHREAD_COUNT": "1", "CL_CONFIG_CPU_TBB_NUM_WORKERS": "1"}
"""The environment that holds each of two CPU platforms to one core: they do not take each other's."""


def describe_machine(*, with_devices: bool = True) -> dict[str, Any]:
    """The processor, the system and, unless that is told elsewhere, all OpenCL devices."""
    machine: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
    }
    if with_devices:
        from lb_runtime.devices import discover

        machine["devices"] = [
            f"{device.platform_name} {device.platform_version}: {device.name}"
            for device in discover().devices
        ]
    return machine


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
