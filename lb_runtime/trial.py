"""Running one launch for a report: repeated from the same data, beside each device alone, and verified.

Repetitions are interleaved (split, CPU, GPU, split, ...), so that a machine that slows down slows all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from lb_runtime.arguments import HostValue, bind
from lb_runtime.contexts import OpenDevice
from lb_runtime.execute import execute
from lb_runtime.execution import Execution
from lb_runtime.images import host_arrays
from lb_runtime.kernel import Kernel
from lb_runtime.launch import Launch, NDRange
from lb_runtime.plan import Plan
from lb_runtime.runtime import Decision, Runtime
from lb_runtime.verify import Snapshot, Verification, unsplit, verify_by_running

LONG_SECONDS = 3.0
"""Beside a launch as long as this one, what compiling takes does not count."""


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What to run: a kernel, its range and values, and what to time and check beside it.

    `cpu_share` None asks the model. `alone` are the devices to time by themselves.
    """

    kernel: Kernel
    nd_range: NDRange
    values: tuple[HostValue, ...]
    cpu_share: float | None
    repeat: int = 1
    wants_verification: bool = False
    alone: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class TrialResult:
    """What was decided, how each repetition went, how each device did alone, and the verification.

    `verification` is None where none was asked for, and for a launch that was not split: it ran as the
    user's own, and there is nothing to hold it against.
    """

    trial: Trial
    devices: tuple[OpenDevice, ...]
    why_devices: str
    decision: Decision
    executions: tuple[Execution, ...]
    alone: dict[int, tuple[Execution, ...]]
    verification: Verification | None

    @property
    def typical(self) -> Execution:
        """The repetition whose total time is the median."""
        return typical(self.executions)


def typical(executions: Iterable[Execution]) -> Execution:
    """The execution whose total time is the (lower) median."""
    ordered = sorted(executions, key=lambda execution: execution.total_seconds)
    return ordered[(len(ordered) - 1) // 2]


def median_seconds(executions: Iterable[Execution]) -> float:
    """The median of the total times, in seconds."""
    return median(execution.total_seconds for execution in executions)


def run_trial(
    runtime: Runtime, trial: Trial, progress: Callable[[int], None] | None = None
) -> TrialResult:
    """Run a trial; the arrays in its values end up as the last split run left them.

    Each plan runs once before it is timed, since drivers compile in the first launch; a split launch
    that takes longer than `LONG_SECONDS` counts as timed at once. `progress` is told how many launches
    are done.

    Raises:
        LoadBalancerError, PredictorError: as `Runtime.run`.
    """
    kernel = trial.kernel
    bound, values = bind(kernel.facts, trial.values)
    launch = Launch(kernel.name, trial.nd_range, bound)
    decision = runtime.prepare(kernel, runtime.decide(kernel, launch, trial.cpu_share))
    arrays = host_arrays(values)
    originals = {index: array.copy() for index, array in arrays.items()}
    devices = runtime.devices.devices
    done = 0

    def once(plan: Plan) -> Execution:
        nonlocal done
        for index, array in arrays.items():
            np.copyto(array, originals[index])
        execution = execute(plan, devices, values, file_name=kernel.filename)
        done += 1
        if progress:
            progress(done)
        return execution

    alone_plans = {device: runtime.alone(kernel, launch, device) for device in trial.alone}
    executions: list[Execution] = []
    first = runtime.carry_out(kernel, decision, values)
    decision = first.decision
    if first.execution.total_seconds > LONG_SECONDS:
        executions.append(first.execution)
    for plan in alone_plans.values():
        once(plan)
    alone: dict[int, list[Execution]] = {device: [] for device in alone_plans}
    while len(executions) < trial.repeat:
        for device, plan in alone_plans.items():
            alone[device].append(once(plan))
        executions.append(once(decision.plan))
    verification = None
    if trial.wants_verification and decision.is_split:
        if alone_plans:
            # Others have run since, on the same arrays.
            executions[-1] = once(decision.plan)
        verification = _verify(decision, executions[-1], originals, arrays, once, kernel)
    return TrialResult(
        trial,
        devices,
        runtime.devices.pair.why,
        decision,
        tuple(executions),
        {device: tuple(runs) for device, runs in alone.items()},
        verification,
    )


def _verify(
    decision: Decision,
    execution: Execution,
    originals: dict[int, npt.NDArray[Any]],
    arrays: dict[int, npt.NDArray[Any]],
    once: Callable[[Plan], Execution],
    kernel: Kernel,
) -> Verification:
    """Compare what the last execution left with each used device's own unsplit result."""
    merged = {index: array.copy() for index, array in arrays.items()}

    def run_alone(device: int) -> Snapshot:
        once(unsplit(decision.plan, device, kernel.source, kernel.options))
        return {index: array.copy() for index, array in arrays.items()}

    found = verify_by_running(decision.plan, originals, merged, run_alone, execution.ownership)
    for index, array in arrays.items():
        np.copyto(array, merged[index])
    return found
