"""Times a workload on each device of a pair alone, and some workloads really split.

Times are the least of several launches, the devices in turns, after one launch each that nobody counts
(drivers compile in it): whatever else the machine does meanwhile only adds to them. What is timed is what
`lb_runtime.execute` does with a launch: send, run, fetch.
"""

from __future__ import annotations

import numpy as np

from lb_runtime.analysis.verdict import Splittable
from lb_runtime.arguments import bind
from lb_runtime.errors import LaunchError
from lb_runtime.execute import execute
from lb_runtime.images import host_arrays
from lb_runtime.judged import judged
from lb_runtime.kernel import Kernel, launch_range
from lb_runtime.launch import Launch
from lb_runtime.plan import Plan
from lb_runtime.runtime import CPU, GPU, Runtime
from lb_runtime.tuned.measured import Measured, Seconds, SplitMeasured, launch_numbers
from lb_runtime.tuning.workload import Workload

FEWEST, MOST = 5, 15
BUDGET_SECONDS = 0.08
"""A device is timed again until its launches took so long together, within FEWEST and MOST."""
SLOW_SECONDS = 1.0
"""A launch that takes longer is timed once."""


class UnfitError(LaunchError):
    """A workload that this machine does not take, or that cannot be split, so that no share fits it."""


class Bench:
    """Measures on a runtime's pair of devices."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def measure(self, workload: Workload) -> Measured:
        """Time a workload on each device alone.

        Raises:
            UnfitError: it cannot be split.
            LoadBalancerError, PredictorError: as `Runtime.run`.
        """
        prepared = _Prepared(self._runtime, workload)
        plans = [self._runtime.alone(prepared.kernel, prepared.launch, role) for role in (CPU, GPU)]
        once = [prepared.once(plan).total for plan in plans]
        times: list[list[Seconds]] = [[], []]
        while any(_wants_more(taken, first) for taken, first in zip(times, once)):
            for plan, taken, first in zip(plans, times, once):
                if _wants_more(taken, first):
                    taken.append(prepared.once(plan))
        least = [
            Seconds(min(t.kernel for t in taken), min(t.total for t in taken)) for taken in times
        ]
        return Measured(launch_numbers(prepared.launch), *least)

    def measure_split(self, workload: Workload, cpu_share: float) -> SplitMeasured:
        """Time a workload that is cut at a share; the share that the cut makes of it is told."""
        prepared = _Prepared(self._runtime, workload)
        runtime = self._runtime
        decision = runtime.decide(prepared.kernel, prepared.launch, cpu_share)
        decision = runtime.prepare(prepared.kernel, decision)
        prepared.once(decision.plan)
        seconds = min(prepared.once(decision.plan).total for _ in range(FEWEST))
        return SplitMeasured(decision.real_cpu_share, seconds)


def _wants_more(taken: list[Seconds], first: float) -> bool:
    if first > SLOW_SECONDS:
        return not taken
    return len(taken) < FEWEST or (
        len(taken) < MOST and sum(seconds.total for seconds in taken) < BUDGET_SECONDS
    )


class _Prepared:
    """A workload that was looked at, with its values; each run begins with the same data."""

    def __init__(self, runtime: Runtime, workload: Workload) -> None:
        self.kernel: Kernel = runtime.kernel(
            workload.source, workload.kernel_name, workload.options, filename=workload.name
        )
        bound, self._values = bind(self.kernel.facts, workload.values())
        nd_range = launch_range(self.kernel, workload.global_size, workload.local_size, None)
        self.launch = Launch(self.kernel.name, nd_range, bound)
        self._devices = runtime.devices.devices
        infos = [device.info for device in self._devices]
        verdict, _ = judged(self.kernel, self.launch, 0.5, infos)
        if not isinstance(verdict, Splittable) or len(verdict.slices) < 2:
            raise UnfitError(f"{workload.name} cannot be split")
        self._arrays = host_arrays(self._values)
        self._originals = {index: array.copy() for index, array in self._arrays.items()}

    def once(self, plan: Plan) -> Seconds:
        for index, array in self._arrays.items():
            np.copyto(array, self._originals[index])
        done = execute(plan, self._devices, self._values, self.kernel.filename)
        return Seconds(max(part.kernel_seconds for part in done.parts), done.total_seconds)
