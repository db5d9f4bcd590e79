"""One kernel launched again and again on the same host arrays, in whatever way a policy chooses.

Judging a cut takes milliseconds, so that plans are kept: of every cut that was run, up to a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from lb_runtime.analysis.reach import overreach
from lb_runtime.analysis.reasons import Reason
from lb_runtime.analysis.uneven import has_data_dependent_loops
from lb_runtime.analysis.verdict import Declined, Splittable, Verdict
from lb_runtime.checks import Value
from lb_runtime.chunked import CutError, execute_chunks
from lb_runtime.errors import BuildError, LaunchError, RaceError
from lb_runtime.execute import execute
from lb_runtime.execution import ChunkTiming, Execution
from lb_runtime.kernel import Kernel
from lb_runtime.launch import Launch
from lb_runtime.plan import Plan
from lb_runtime.runtime import CPU, GPU, Runtime
from lb_runtime.shares.adaptive import Adaptive
from lb_runtime.shares.belief import Belief
from lb_runtime.shares.chunks import Chunks, Prepared
from lb_runtime.shares.makespan import SplitCost
from lb_runtime.shares.observation import Choice, Observation, whole_on
from lb_runtime.shares.policy import Dynamic, Fixed, Policy, PolicyName, Predicted

PART_SECONDS = (5e-5, 5e-5)
"""What any part costs on each device until that is measured."""
SPLIT = SplitCost(fixed_seconds=1e-4)
FEWEST_CHUNKED = 8
"""With fewer work-groups there is nothing to even out."""
PLANS_KEPT = 256


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """A launch that ran: what was chosen, the plan of what the devices did, and how it went."""

    choice: Choice
    plan: Plan
    execution: Execution

    @property
    def shares(self) -> tuple[float, ...]:
        """The part of the work-groups that each device ran, [CPU, GPU]."""
        groups = [0, 0]
        for part in self.plan.parts:
            groups[part.device] += part.piece.groups
        return tuple(each / sum(groups) for each in groups)

    @property
    def timeline(self) -> tuple[ChunkTiming, ...]:
        """When each device ran which work-groups; a part that is no chunk counts as one."""
        if self.execution.chunks:
            return self.execution.chunks
        return tuple(
            ChunkTiming(
                timing.device,
                part.piece.group_start,
                part.piece.group_stop,
                timing.kernel_begin_seconds,
                timing.kernel_end_seconds,
            )
            for timing, part in zip(self.execution.parts, self.plan.parts)
        )


class RepeatedLaunch:
    """One kernel launched again and again on the same host arrays, in whatever way a policy chooses.

    Args:
        runtime: the devices and the model.
        kernel, launch: what is launched.
        values: one for each argument of the launch, as for `execute`; arrays are updated in place by
            every launch.

    Attributes:
        verdict: whether the launch can be cut; `Declined` with its reasons where it cannot, or turned
            out not to.
        groups: how many work-groups there are along the dimension that is cut: shares are multiples of
            one of them; 1 where the launch cannot be cut.
        last: the launch that ran last, None before the first.

    Raises:
        LaunchError: the launch is sure to leave a buffer.
        BuildError: a device refuses the user's own text.
    """

    def __init__(
        self, runtime: Runtime, kernel: Kernel, launch: Launch, values: Sequence[Value]
    ) -> None:
        if outside := overreach(kernel.facts, launch):
            raise LaunchError(str(outside))
        self.runtime, self.kernel, self.launch = runtime, kernel, launch
        self.values = tuple(values)
        self.last: Ran | None = None
        self.has_data_dependent_loops = has_data_dependent_loops(kernel.facts)
        self._whole: dict[int, Plan] = {}
        self._cuts: dict[int, Plan] = {}
        self._cutting_seconds = 0.0
        self._may_chunk = True
        self.verdict, plan = runtime.cut(kernel, launch, 0.5)
        self._middle: Plan | None = None
        self._dimension = 0
        if plan is not None and isinstance(self.verdict, Splittable) and len(plan.parts) > 1:
            self._dimension = self.verdict.dimension
            self._middle = plan
        self._build(plan)

    def _build(self, plan: Plan | None) -> None:
        """Build on both devices; what a device's compiler refuses of the adapted text is not split."""
        for device in self.runtime.devices.devices:
            device.program(self.kernel.source, self.kernel.options, self.kernel.filename)
            if self._middle is not None and plan is not None:
                try:
                    device.program(plan.source, plan.options, self.kernel.filename)
                except BuildError as error:
                    self._decline(Reason("built-ins", str(error)))

    def _decline(self, reason: Reason) -> None:
        self.verdict = Declined((reason,))
        self._middle = None
        self._cuts.clear()

    @property
    def groups(self) -> int:
        """See the class."""
        return self.launch.nd_range.groups[self._dimension] if self._middle is not None else 1

    @property
    def may_chunk(self) -> bool:
        """Whether launches can run in chunks."""
        return self._middle is not None and self._may_chunk and self.groups >= FEWEST_CHUNKED

    def belief(self) -> Belief:
        """What the model says of both devices' times, [CPU, GPU], tuned where `lb tune` ran.

        Raises:
            ModelError: the model file is missing, damaged or of another version.
        """
        times = self.runtime.times(self.kernel, self.launch)
        return Belief.of(times.log_seconds, times.weights, PART_SECONDS, SPLIT)

    def policy(self, name: PolicyName, share: float | None = None) -> Policy:
        """A policy for this launch. `share` is the CPU's for "fixed", which is predicted where none is given.

        Raises:
            LaunchError: the share is not in [0, 1].
            ModelError: as `belief`; a share that is given asks no model.
        """
        if share is not None and not 0 <= share <= 1:
            raise LaunchError(f"CPU share {share} given, expected a fraction from 0 to 1")
        if name == "fixed" and share is not None:
            return Fixed((share, 1.0 - share))
        belief = self.belief()
        if self._middle is None and name != "fixed":
            # There is nothing to choose but the device.
            best = belief.best()
            return Fixed(whole_on(CPU if best[CPU] >= 0.5 else GPU, 2), "single")
        if name == "adaptive":
            return Adaptive(
                belief,
                may_chunk=self.may_chunk,
                has_data_dependent_loops=self.has_data_dependent_loops,
                groups=self.groups,
            )
        return Dynamic(belief) if name == "dynamic" else Predicted(belief)

    def run(self, choice: Choice) -> Observation:
        """Run a launch as chosen and merge what it leaves; what was measured.

        A choice that cannot be had runs as the nearest one that can: chunks as one cut, and a cut as a
        whole launch on the device of the greater share. The observation says what really ran.

        Raises:
            ExecutionError: a device failed; the arrays hold what they held before.
        """
        if choice.is_chunked and self.may_chunk and choice.whole is None:
            try:
                return self._observe(choice, *self._in_chunks(choice))
            except (CutError, RaceError) as error:
                self._give_up(error)
        plan = self._plan(choice)
        try:
            return self._observe(choice, self._execute(plan), plan)
        except RaceError as error:
            self._decline(Reason("race", str(error)))
            plan = self._plan(choice)
            return self._observe(choice, self._execute(plan), plan)

    def _give_up(self, error: Exception) -> None:
        """Chunks did not work out: none are tried again; parts that race are not cut either."""
        if isinstance(error, RaceError):
            self._decline(Reason("race", str(error)))
        self._may_chunk = False

    def _execute(self, plan: Plan) -> Execution:
        devices = self.runtime.devices.devices
        return execute(plan, devices, self.values, self.kernel.filename)

    def _in_chunks(self, choice: Choice) -> tuple[Execution, Plan]:
        assert self._middle is not None  # noqa: S101  # `may_chunk` says so
        return execute_chunks(
            self._middle,
            Chunks(self.groups, choice.shares, choice.least),
            self._cut_at,
            self.runtime.devices.devices,
            self.values,
            self.kernel.filename,
            Prepared(tuple(self._cuts), self._cutting_seconds),
        )

    def _plan(self, choice: Choice) -> Plan:
        if choice.whole is None and self._middle is not None:
            cut = round(choice.shares[CPU] * self.groups)
            if 0 < cut < self.groups:
                try:
                    return self._cut_at(cut)
                except CutError:
                    pass
        return self._alone(CPU if choice.shares[CPU] >= 0.5 else GPU)

    def _alone(self, device: int) -> Plan:
        if device not in self._whole:
            infos = [each.info for each in self.runtime.devices.devices]
            nd_range = self.launch.nd_range
            if infos[device].cannot_run(nd_range) and not infos[1 - device].cannot_run(nd_range):
                return self._alone(1 - device)
            self._whole[device] = self._judged_whole(device)
        return self._whole[device]

    def _judged_whole(self, device: int) -> Plan:
        """The whole launch on one device from the user's own text; as a part is, sent what it needs alone."""
        if self._middle is not None:
            _, plan = self.runtime.cut(self.kernel, self.launch, 1.0 if device == CPU else 0.0)
            if plan is not None and [part.device for part in plan.parts] == [device]:
                return replace(plan, source=self.kernel.source, options=self.kernel.options)
        return self.runtime.alone(self.kernel, self.launch, device)

    def _cut_at(self, cut: int) -> Plan:
        """The plan for so many work-groups on the CPU. Raises `CutError` where there is none."""
        if cut not in self._cuts:
            began = perf_counter()
            _, plan = self.runtime.cut(self.kernel, self.launch, cut / self.groups)
            self._cutting_seconds = perf_counter() - began
            if plan is None:
                raise CutError(f"a cut after {cut} of {self.groups} work-groups is declined")
            while len(self._cuts) >= PLANS_KEPT:
                self._cuts.pop(next(iter(self._cuts)))
            self._cuts[cut] = plan
        return self._cuts[cut]

    def _observe(self, choice: Choice, execution: Execution, plan: Plan) -> Observation:
        self.last = Ran(choice, plan, execution)
        seconds = [0.0, 0.0]
        for timing in execution.parts:
            seconds[timing.device] += max(timing.busy_seconds, 1e-9)
        return Observation(
            self.last.shares,
            tuple(seconds),
            execution.total_seconds,
            execution.uploaded_bytes + execution.downloaded_bytes,
            is_chunked=bool(execution.chunks),
        )


__all__ = ["Ran", "RepeatedLaunch", "Verdict"]
