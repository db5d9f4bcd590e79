"""Runs a generated kernel whole and split, and says in which byte the two differ, if in any.

A kernel that is not split passes when nothing was said of it that is not so: that it leaves a buffer,
or that it cannot write what it writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from slice_oracle import SliceOracle, bound_launch

from generated.kernels import NAME, Generated
from lb_runtime.analysis.judge import judge, written_arguments
from lb_runtime.analysis.reach import overreach
from lb_runtime.analysis.verdict import Declined, Splittable, Verdict
from lb_runtime.contexts import OpenPair
from lb_runtime.errors import LoadBalancerError
from lb_runtime.execute import execute
from lb_runtime.execution import Execution
from lb_runtime.judged import dependence
from lb_runtime.kernel import Kernel, look_at
from lb_runtime.launch import Launch
from lb_runtime.plan import Plan, split_plan, whole_plan
from lb_runtime.prelude import Adapted, adapt
from lb_runtime.verify import verify, wavering
from predictor.errors import PredictorError

Array = npt.NDArray[Any]

WHOLE_RUNS = 8
"""So often the whole launch runs on each device where a split one leaves other bytes.

Intel's compiler loses the guard of a few loops; work-items that must not write then race.
"""


@dataclass(frozen=True)
class Checked:
    """What was said of a launch, and what is wrong with that; `fault` is empty where nothing is.

    `codes` are those of a launch that was declined, `merges` the names of the ways in which a split
    one's buffers merge, `dimension` is where it is cut, -1 where it is not. `drivers_disagree` tells that the
    devices leave different bytes when each runs the whole launch, and each part those of its own device,
    `driver_crashed` that a driver ends the process over the whole launch already, `driver_wavers` that the
    whole launch leaves other bytes each time on one device, so that no split can leave the same.
    """

    fault: str
    codes: tuple[str, ...] = ()
    merges: tuple[str, ...] = ()
    dimension: int = -1
    parts: int = 1
    drivers_disagree: bool = False
    driver_crashed: bool = False
    driver_wavers: bool = False

    @property
    def is_split(self) -> bool:
        """Whether the launch really ran in several parts."""
        return self.parts > 1


class Checker:
    """Checks kernels on one pair of devices.

    Where the devices have different compilers, only kernels on which these agree can be checked.
    """

    def __init__(self, pair: OpenPair) -> None:
        self._devices = pair.devices
        self.is_mixed = len({device.info.platform_name for device in pair.devices}) > 1
        self._reference = len(pair.devices) - 1 if self.is_mixed else 0
        self._oracle = SliceOracle(pair.devices[self._reference])

    def check(self, generated: Generated) -> Checked:
        """Run a kernel whole and split, and compare all bytes."""
        try:
            kernel = look_at(generated.source, generated.options, NAME, cache=False)
            launch, values = bound_launch(
                kernel,
                generated.values(),
                generated.global_size,
                generated.local_size,
                generated.offset,
            )
            return self._checked(generated, kernel, launch, values)
        except (LoadBalancerError, PredictorError) as error:
            return Checked(f"{type(error).__name__}: {error}")
        finally:
            for device in self._devices:
                device.buffers.clear()

    def run_whole(self, generated: Generated) -> None:
        """Run a kernel whole, on every device that it is for, as any host program would."""
        kernel = look_at(generated.source, generated.options, NAME, cache=False)
        launch, values = bound_launch(
            kernel,
            generated.values(),
            generated.global_size,
            generated.local_size,
            generated.offset,
        )
        for device in sorted({*generated.devices, self._reference}):
            self._whole(device, kernel, launch, values)

    def _checked(
        self, generated: Generated, kernel: Kernel, launch: Launch, values: list[Any]
    ) -> Checked:
        if outside := overreach(kernel.facts, launch):
            return Checked(f"the launch is said to leave a buffer: {outside}")
        verdict = judge(kernel.facts, launch, generated.shares)
        adapted = adapt(kernel.source, kernel.options, launch.nd_range, kernel.facts.builtins)
        if isinstance(verdict, Splittable) and isinstance(adapted, Adapted):
            self._build(generated, adapted)
        originals = _arrays(values)
        expected = self._whole(self._reference, kernel, launch, values)
        written = written_arguments(kernel.facts, launch)
        for index, original in originals.items():
            if not written[index] and original.tobytes() != expected[index].tobytes():
                return Checked(f"argument {index} is written, but said not to be")
        strict = judge(kernel.facts, launch, generated.shares, strict=True)
        if isinstance(strict, Splittable) and strict != verdict:
            if isinstance(verdict, Declined):
                return Checked(f"declined, but split where proof is asked for: {_told(strict)}")
            if len(strict.slices) > 1 and (
                fault := self._oracle.faults(kernel, launch, values, strict)
            ):
                return Checked(f"slices of the strict verdict: {fault}; {_told(strict)}")
        if isinstance(verdict, Declined):
            codes = tuple(dict.fromkeys(reason.code for reason in verdict.reasons))
            return Checked("", codes=codes)
        if not isinstance(adapted, Adapted):
            return Checked("", codes=("built-ins",))
        parts = len(verdict.slices)
        disagrees = False
        if parts > 1:
            shared_out = tuple(generated.devices[share] for share in verdict.devices)
            split = replace(verdict, devices=shared_out)
            plan = split_plan(launch, split, adapted.source, adapted.options)
            got, execution = self._run(plan, values)
            if difference := _difference(expected, got):
                alone = {n: self._whole(n, kernel, launch, values) for n in set(split.devices)}
                found = verify(plan, originals, got, alone, execution.ownership)
                # Each part may leave what its own device leaves, where compilers do not agree.
                if not self.is_mixed or not found.ok or not found.device_dependent_bytes:
                    devices = {*split.devices, self._reference}
                    run_alone = partial(self._whole, kernel=kernel, launch=launch, values=values)
                    if wavering(devices, run_alone, WHOLE_RUNS) is not None:
                        return Checked("", driver_wavers=True)
                    return Checked(f"split: {difference}; {found.text}; {_told(verdict)}")
                disagrees = True
                if dependence(kernel, [device.info for device in self._devices]) is None:
                    return Checked(f"devices should agree, but: {found.text}; {difference}")
            if fault := self._oracle.faults(kernel, launch, values, verdict):
                return Checked(f"slices: {fault}; {_told(verdict)}")
        merges = {a.merge.name for a in verdict.arguments if a.merge is not None}
        return Checked(
            "",
            merges=tuple(sorted(merges)),
            dimension=verdict.dimension,
            parts=parts,
            drivers_disagree=disagrees,
        )

    def _build(self, generated: Generated, adapted: Adapted) -> None:
        """Build what a split needs at once, on devices whose compilers do not wait for each other."""
        wanted = [(self._devices[self._reference], generated.source, generated.options)]
        wanted += [
            (self._devices[number], adapted.source, adapted.options)
            for number in sorted(set(generated.devices))
        ]
        if self.is_mixed:
            with ThreadPoolExecutor(max_workers=len(wanted)) as threads:
                for build in [
                    threads.submit(device.program, source, options)
                    for device, source, options in wanted
                ]:
                    build.result()

    def _whole(
        self, device: int, kernel: Kernel, launch: Launch, values: list[Any]
    ) -> dict[int, Array]:
        """What the whole launch leaves in each array, from the user's own text on one device."""
        plan = whole_plan(launch, device, (True,) * len(values), kernel.source, kernel.options)
        return self._run(plan, values)[0]

    def _run(self, plan: Plan, values: Sequence[Any]) -> tuple[dict[int, Array], Execution]:
        """What a plan leaves in each array, and how that went; the values are as before afterwards."""
        originals = _arrays(values)
        try:
            execution = execute(plan, self._devices, values)
            return _arrays(values), execution
        finally:
            for index, original in originals.items():
                values[index][...] = original


def _arrays(values: Sequence[Any]) -> dict[int, Array]:
    """Copies of the arrays among the values, by index."""
    return {i: v.copy() for i, v in enumerate(values) if isinstance(v, np.ndarray) and v.ndim}


def _difference(expected: dict[int, Array], got: dict[int, Array]) -> str:
    """The first element that differs; empty where none does."""
    for index, wanted in expected.items():
        if wanted.tobytes() == got[index].tobytes():
            continue
        wrong = np.flatnonzero(
            wanted.view(np.uint8).reshape(wanted.size, -1)
            != got[index].view(np.uint8).reshape(wanted.size, -1)
        )
        element = int(wrong[0]) // wanted.dtype.itemsize
        return (
            f"argument {index}, element {element} is {got[index][element]}, whole {wanted[element]} "
            f"({wrong.size} bytes differ)"
        )
    return ""


def _told(verdict: Verdict) -> str:
    """What a verdict says, short."""
    if not isinstance(verdict, Splittable):
        return str(verdict)
    merges = {a.name: a.merge.name for a in verdict.arguments if a.merge is not None}
    return f"cut along {verdict.dimension} into {verdict.slices}, merged by {merges}"
