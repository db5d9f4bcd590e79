"""A real kernel's launch as a benchmark measures it: every launch begins with the same data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from lb_runtime.analysis.judge import written_arguments
from lb_runtime.analysis.verdict import Declined
from lb_runtime.arguments import HostValue, bind
from lb_runtime.bench.record import Span, short
from lb_runtime.execute import execute
from lb_runtime.images import host_arrays
from lb_runtime.kernel import Kernel
from lb_runtime.launch import Launch, NDRange
from lb_runtime.repeated import Ran, RepeatedLaunch
from lb_runtime.runtime import Runtime
from lb_runtime.shares.observation import Choice, Observation
from lb_runtime.shares.policy import Policy, PolicyName
from lb_runtime.verify import Snapshot, unsplit, verify_by_running


class LaunchSubject:
    """A kernel on two devices; see `measure.Subject`.

    Raises:
        LoadBalancerError: as `RepeatedLaunch`.
    """

    def __init__(
        self, runtime: Runtime, kernel: Kernel, nd_range: NDRange, given: Sequence[HostValue]
    ) -> None:
        bound, self._values = bind(kernel.facts, given)
        launch = Launch(kernel.name, nd_range, bound)
        self._runtime, self._kernel = runtime, kernel
        self._launch = RepeatedLaunch(runtime, kernel, launch, self._values)
        self._arrays = host_arrays(self._values)
        self._originals = {index: array.copy() for index, array in self._arrays.items()}
        written = written_arguments(kernel.facts, launch)
        self._written = [index for index in self._arrays if written[index]]

    @property
    def groups(self) -> int:
        """See `measure.Subject`."""
        return self._launch.groups

    @property
    def may_chunk(self) -> bool:
        """See `measure.Subject`."""
        return self._launch.may_chunk

    @property
    def has_data_dependent_loops(self) -> bool:
        """Whether loops end by data or by an id."""
        return self._launch.has_data_dependent_loops

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the launch is not split, in words; empty where it is."""
        verdict = self._launch.verdict
        return tuple(str(each) for each in verdict.reasons) if isinstance(verdict, Declined) else ()

    def policy(self, name: PolicyName) -> Policy:
        """See `measure.Subject`."""
        return self._launch.policy(name)

    def run(self, choice: Choice) -> Observation:
        """See `measure.Subject`."""
        self._restore()
        return self._launch.run(choice)

    def timeline(self) -> list[Span]:
        """See `measure.Subject`."""
        return [
            Span(
                each.device,
                each.group_stop - each.group_start,
                short(each.begin_seconds),
                short(each.end_seconds),
            )
            for each in self._last().timeline
        ]

    def check(self, choice: Choice) -> tuple[bool, str]:
        """See `measure.Subject`."""
        self.run(choice)
        ran = self._last()
        merged = {index: array.copy() for index, array in self._arrays.items()}

        def run_alone(device: int) -> Snapshot:
            self._restore()
            whole = unsplit(ran.plan, device, self._kernel.source, self._kernel.options)
            execute(whole, self._runtime.devices.devices, self._values, self._kernel.filename)
            return {index: array.copy() for index, array in self._arrays.items()}

        ownership = ran.execution.ownership
        found = verify_by_running(ran.plan, self._originals, merged, run_alone, ownership)
        return found.ok, found.text

    def _last(self) -> Ran:
        if self._launch.last is None:
            raise ValueError("no launch ran yet, expected one before")
        return self._launch.last

    def _restore(self) -> None:
        for index in self._written:
            np.copyto(self._arrays[index], self._originals[index])


def key_of(kernel: Kernel, nd_range: NDRange, given: Sequence[HostValue]) -> str:
    """A launch by what it is: the kernel's text, its options, its range and its numbers and sizes."""
    values = [
        (str(each.dtype), each.shape) if isinstance(each, np.ndarray) else repr(each)
        for each in given
    ]
    text = repr((kernel.source, kernel.options, kernel.name, nd_range, values))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
