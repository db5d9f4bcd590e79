"""Which device pair measurements belong to: other devices, drivers or limits run kernels otherwise."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from lb_runtime.devices import DeviceInfo
from lb_runtime.roles import DevicePair

LIMITS = ("POCL_MAX_PTHREAD_COUNT", "POCL_AFFINITY", "CL_CONFIG_CPU_TBB_NUM_WORKERS")
"""Variables by which drivers on the processor are held to a part of it, which no query tells."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A pair of devices as measurements know it. `facts` is JSON for the reader; `key` its hash."""

    facts: str

    @property
    def key(self) -> str:
        """What is equal exactly where measurements carry over."""
        return hashlib.sha256(self.facts.encode()).hexdigest()[:24]


def machine_of(pair: DevicePair, environment: Mapping[str, str] | None = None) -> Machine:
    """The machine that a pair of devices is; `os.environ` where no variables are given."""
    known = os.environ if environment is None else environment
    facts = {
        "cpu": _device(pair.cpu),
        "gpu": _device(pair.gpu),
        "cut": pair.cut.value,
        "limits": {name: known[name] for name in LIMITS if known.get(name)},
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
    }
    return Machine(json.dumps(facts, sort_keys=True))


def _device(info: DeviceInfo) -> dict[str, str | int]:
    return {
        "platform": info.platform_name,
        "platform_version": info.platform_version,
        "device": info.name,
        "driver": info.driver_version,
        "compute_units": info.compute_units,
    }
