"""Running one launch many times for a report, as a policy chooses, each time from the same data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from lb_runtime.arguments import HostValue, bind
from lb_runtime.execute import execute
from lb_runtime.images import host_arrays
from lb_runtime.kernel import Kernel
from lb_runtime.launch import Launch, NDRange
from lb_runtime.repeated import Ran, RepeatedLaunch
from lb_runtime.runtime import CPU, GPU, Runtime
from lb_runtime.shares.observation import Choice, Observation, whole_on
from lb_runtime.shares.policy import PolicyName
from lb_runtime.verify import Snapshot, Verification, unsplit, verify_by_running

LAST = 5
"""The median of so many launches is what a launch takes in the end."""


@dataclass(frozen=True, slots=True)
class Step:
    """One launch of a series: what was chosen, and what was measured."""

    choice: Choice
    observation: Observation


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Launches that ran one after the other.

    `alone` has the median seconds of a whole launch by device, for those that ran whole, in the series or
    for a comparison. `verification` is None where none was asked for, and where one device ran the last
    launch whole: there is nothing to hold it against.
    """

    launch: RepeatedLaunch
    policy: PolicyName
    steps: tuple[Step, ...]
    last: Ran
    alone: dict[int, float]
    verification: Verification | None
    wants_verification: bool = False

    @property
    def seconds(self) -> float:
        """What a launch takes in the end: the median of the last ones that were chosen as the last was."""
        final = self.steps[-1].choice
        kind = (final.is_chunked, final.whole)
        alike = [
            step.observation.total_seconds
            for step in self.steps
            if (step.choice.is_chunked, step.choice.whole) == kind
        ]
        return median(alike[-LAST:])


def run_series(
    runtime: Runtime,
    kernel: Kernel,
    nd_range: NDRange,
    given: Sequence[HostValue],
    policy: PolicyName,
    share: float | None = None,
    launches: int = 1,
    *,
    compares: bool = False,
    verifies: bool = False,
    progress: Callable[[Step], None] | None = None,
) -> Series:
    """Launch a kernel so many times; its arrays end up as one launch leaves them.

    Each device runs the launch whole once before, unmeasured, since drivers compile in the first launch.
    `share` is the CPU's for the policy "fixed". With `compares` each device is timed alone afterwards, with
    `verifies` the last choice runs once more and is compared byte by byte. `progress` is told each launch.

    Raises:
        LoadBalancerError, PredictorError: as `Runtime.run`.
    """
    bound, values = bind(kernel.facts, given)
    launch = RepeatedLaunch(runtime, kernel, Launch(kernel.name, nd_range, bound), values)
    arrays = host_arrays(values)
    originals = {index: array.copy() for index, array in arrays.items()}

    def restore() -> None:
        for index, array in arrays.items():
            np.copyto(array, originals[index])

    def once(choice: Choice) -> Observation:
        restore()
        return launch.run(choice)

    chooses = launch.policy(policy, share)
    for device in (CPU, GPU):
        once(Choice(whole_on(device, 2)))
    steps = []
    for _ in range(launches):
        choice = chooses.choose()
        step = Step(choice, once(choice))
        chooses.learn(step.observation)
        steps.append(step)
        if progress:
            progress(step)
    times: dict[int, list[float]] = {CPU: [], GPU: []}
    for step in steps:
        if step.observation.whole is not None:
            times[step.observation.whole].append(step.observation.total_seconds)
    if compares:
        for _ in range(min(LAST, launches)):
            for device in (CPU, GPU):
                taken = once(Choice(whole_on(device, 2))).total_seconds
                times[device].append(taken)
    once(steps[-1].choice)
    last = launch.last
    verification = None
    if verifies and last is not None and len(last.plan.parts) > 1:
        merged = {index: array.copy() for index, array in arrays.items()}
        plan = last.plan

        def run_alone(device: int) -> Snapshot:
            restore()
            whole = unsplit(plan, device, kernel.source, kernel.options)
            execute(whole, runtime.devices.devices, values, kernel.filename)
            return {index: array.copy() for index, array in arrays.items()}

        ownership = last.execution.ownership
        verification = verify_by_running(plan, originals, merged, run_alone, ownership)
        for index, array in arrays.items():
            np.copyto(array, merged[index])
    if last is None:
        raise ValueError(f"{launches} launches given, expected one or more")
    return Series(
        launch,
        policy,
        tuple(steps),
        last,
        {device: median(each) for device, each in times.items() if each},
        verification,
        verifies,
    )
