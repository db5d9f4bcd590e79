"""The way of a launch behind one object: look at the kernel, predict, judge, plan, execute.

A `Runtime` holds an open device pair, the predictor and what is known of the kernels that it has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from time import perf_counter
from types import TracebackType

from lb_runtime.analysis.judge import written_arguments
from lb_runtime.analysis.reach import overreach
from lb_runtime.analysis.reasons import Reason
from lb_runtime.analysis.verdict import Declined, Splittable, Verdict
from lb_runtime.arguments import HostValue, bind
from lb_runtime.checks import Value
from lb_runtime.contexts import OpenPair, open_pair
from lb_runtime.errors import BuildError, LaunchError, RaceError
from lb_runtime.execute import execute
from lb_runtime.execution import Execution
from lb_runtime.judged import is_on, judged
from lb_runtime.kernel import Kernel, launch_range, look_at
from lb_runtime.launch import Launch
from lb_runtime.plan import Plan, split_plan, whole_plan
from lb_runtime.standby import standby_of
from lb_runtime.tuned.apply import Advice
from predictor.frontend import split_options
from predictor.predict import Predictor
from predictor.prediction import Prediction as Times

CPU, GPU = 0, 1
"""The places of the two roles in a pair's devices, in shares and in plans."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The CPU fraction that the model answers, in [0, 1], and the seconds that asking took."""

    cpu_fraction: float
    load_seconds: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What is going to run: the share asked for, the verdict, and the plan that follows from both.

    `cpu_share` is what was asked for or predicted; `real_cpu_share` what the cut at a work-group edge
    makes of it, as a fraction of the work-items.
    """

    launch: Launch
    cpu_share: float
    prediction: Prediction | None
    verdict: Verdict
    plan: Plan

    @property
    def is_split(self) -> bool:
        """Whether more than one device takes part."""
        return len(self.plan.parts) > 1

    @property
    def real_cpu_share(self) -> float:
        """The fraction of the work-items that the CPU runs."""
        items = [(part.device, prod(part.global_size)) for part in self.plan.parts]
        mine = sum(count for device, count in items if device == CPU)
        return mine / sum(count for _, count in items)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why the launch was declined; empty where it was not."""
        return self.verdict.reasons if isinstance(self.verdict, Declined) else ()


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A launch that ran: what was decided, and how it went."""

    decision: Decision
    execution: Execution


class Runtime:
    """Runs kernels of OpenCL C text on numpy arrays, split across a CPU and a GPU.

    Args:
        cpu, gpu: an index or a part of a name, as for `lb devices`; else `LB_CPU` and `LB_GPU`; else
            the pair is chosen by rule.
        devices: an open pair to use instead.
        predictor: the model to ask; where none is given the one that is shipped, fitted to this pair by
            what `lb tune` measured, if it did.
        exact: split only kernels whose values are the same on every device; None asks `LB_EXACT`.
        strict: split only where no two work-groups can meet, whatever the data; None asks `LB_STRICT`.

    Raises:
        DeviceError: no device, or a choice that fits none or several.
        LoadBalancerError: `LB_EXACT` or `LB_STRICT` is neither 0 nor 1.
    """

    def __init__(
        self,
        cpu: str | int | None = None,
        gpu: str | int | None = None,
        *,
        devices: OpenPair | None = None,
        predictor: Predictor | None = None,
        exact: bool | None = None,
        strict: bool | None = None,
    ) -> None:
        self.exact = is_on("LB_EXACT", exact)
        self.strict = is_on("LB_STRICT", strict)
        self.devices = open_pair(cpu, gpu) if devices is None else devices
        self._predictor = predictor
        self._advice: Advice | None = None
        self._load_seconds = 0.0
        self._kernels: dict[tuple[str, tuple[str, ...], str | None], Kernel] = {}

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the spare device buffers and host memory. The runtime can be used on."""
        for device in self.devices.devices:
            device.buffers.clear()
            standby_of(device).staging.clear()

    def kernel(
        self,
        source: str,
        name: str | None = None,
        options: str | Sequence[str] = (),
        *,
        filename: str = "<kernel>",
    ) -> Kernel:
        """Look at a kernel, once for each text, options and name; always where files are included.

        Raises as `look_at`.
        """
        options = split_options(options)
        key = (source, options, name)
        known = self._kernels.get(key)
        if known is None or known.source != source:
            known = self._kernels[key] = look_at(source, options, name, filename=filename)
        return known

    def predict(self, kernel: Kernel, launch: Launch) -> Prediction:
        """Ask the model for the CPU fraction of a launch.

        Raises:
            ModelError: the model file is missing, damaged or of another version.
        """
        started, loaded = perf_counter(), self._load_seconds
        predicted = self.times(kernel, launch)
        seconds = perf_counter() - started - (self._load_seconds - loaded)
        return Prediction(predicted.cpu_fraction, self._load_seconds, seconds)

    def times(self, kernel: Kernel, launch: Launch) -> Times:
        """Ask the model for both devices' times of a launch, copies included: how likely which are.

        Raises:
            ModelError: as `predict`.
        """
        if self._advice is None:
            started = perf_counter()
            self._advice = Advice(self.devices.pair, predictor=self._predictor)
            self._load_seconds = perf_counter() - started
        # What is sent and fetched counts: every launch here begins and ends with host arrays.
        return self._advice.predict(kernel.graph, launch, transfers=True)

    def decide(self, kernel: Kernel, launch: Launch, cpu_share: float | None = None) -> Decision:
        """Choose the cut of a launch: at `cpu_share`, or where the model says if it is None.

        Raises:
            LaunchError: the share is not in [0, 1], or the launch is sure to leave a buffer.
            ModelError: as `predict`.
        """
        prediction = self.predict(kernel, launch) if cpu_share is None else None
        share = prediction.cpu_fraction if prediction else float(cpu_share or 0.0)
        if not 0 <= share <= 1:
            raise LaunchError(f"CPU share {share} given, expected a fraction from 0 to 1")
        if outside := overreach(kernel.facts, launch):
            raise LaunchError(str(outside))
        verdict, plan = self.cut(kernel, launch, share)
        if plan is not None and len(plan.parts) > 1:
            return Decision(launch, share, prediction, verdict, plan)
        device = self._whole_device(launch, share)
        return Decision(launch, share, prediction, verdict, self.alone(kernel, launch, device))

    def cut(self, kernel: Kernel, launch: Launch, cpu_share: float) -> tuple[Verdict, Plan | None]:
        """The verdict on a cut at a share, and the plan of the parts that are not empty.

        The plan is None for a launch that is declined.
        """
        infos = [device.info for device in self.devices.devices]
        verdict, adapted = judged(
            kernel, launch, cpu_share, infos, exact=self.exact, strict=self.strict
        )
        if adapted is None or not isinstance(verdict, Splittable):
            return verdict, None
        return verdict, split_plan(launch, verdict, adapted.source, adapted.options)

    def _whole_device(self, launch: Launch, share: float) -> int:
        """The device for a whole launch: that of the greater share, unless only the other one can."""
        wanted, other = (CPU, GPU) if share >= 0.5 else (GPU, CPU)
        unable = [device.info.cannot_run(launch.nd_range) for device in self.devices.devices]
        return other if unable[wanted] and not unable[other] else wanted

    def prepare(self, kernel: Kernel, decision: Decision) -> Decision:
        """Build what a decision needs; the same decision, or an unsplit one.

        A device's compiler may refuse the text in which built-ins are kept true though it takes the
        user's own: an include that replaces a built-in does that. Such a launch is not split.

        Raises:
            BuildError: a device refuses the user's own text.
        """
        plan = decision.plan
        for part in plan.parts:
            device = self.devices.devices[part.device]
            try:
                device.program(plan.source, plan.options, kernel.filename)
            except BuildError as error:
                if plan.source == kernel.source:
                    raise
                device.program(kernel.source, kernel.options, kernel.filename)
                declined = Declined((Reason("built-ins", str(error)),))
                whole = self.alone(kernel, decision.launch, part.device)
                return replace(decision, verdict=declined, plan=whole)
        return decision

    def alone(self, kernel: Kernel, launch: Launch, device: int) -> Plan:
        """The plan that runs a whole launch on one device, from the user's own text."""
        written = written_arguments(kernel.facts, launch)
        return whole_plan(launch, device, written, kernel.source, kernel.options)

    def run(
        self,
        source: str,
        name: str | None,
        global_size: tuple[int, ...],
        local_size: tuple[int, ...] | None,
        *arguments: HostValue,
        offset: tuple[int, ...] | None = None,
        options: str | Sequence[str] = (),
        cpu_share: float | None = None,
    ) -> Outcome:
        """Run a kernel, split where that is safe, and update the arrays that it writes in place.

        Args:
            source: OpenCL C.
            name: the kernel; None where the source holds just one.
            global_size: in work-items, as for `clEnqueueNDRangeKernel`.
            local_size: in work-items; None chooses one that divides.
            offset: in work-items; None for zeros.
            arguments: one per parameter: a C-contiguous numpy array for a buffer, a number by value,
                `LocalArgument(size_bytes)` for local memory.
            options: build options, for all compilers.
            cpu_share: the fraction of the work for the CPU; the model is asked where it is None.

        Raises:
            LoadBalancerError, PredictorError: one line that says what was given and what to do.
        """
        kernel = self.kernel(source, name, options)
        bound, values = bind(kernel.facts, arguments)
        nd_range = launch_range(kernel, global_size, local_size, offset)
        decision = self.decide(kernel, Launch(kernel.name, nd_range, bound), cpu_share)
        return self.carry_out(kernel, self.prepare(kernel, decision), values)

    def carry_out(self, kernel: Kernel, decision: Decision, values: Sequence[Value]) -> Outcome:
        """Execute a decision; a launch whose parts turn out to race is run again, whole.

        Raises:
            ExecutionError: a device failed.
        """
        devices = self.devices.devices
        try:
            return Outcome(decision, execute(decision.plan, devices, values, kernel.filename))
        except RaceError as error:
            declined = Declined((Reason("race", str(error)),))
            device = CPU if decision.cpu_share >= 0.5 else GPU
            whole = replace(
                decision, verdict=declined, plan=self.alone(kernel, decision.launch, device)
            )
            return Outcome(whole, execute(whole.plan, devices, values, kernel.filename))
