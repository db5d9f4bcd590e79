"""The verdict on a launch with the text that follows from it: one place for the library and `lb explain`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from lb_runtime.analysis.judge import judge
from lb_runtime.analysis.reasons import Reason
from lb_runtime.analysis.verdict import Declined, Splittable, Verdict
from lb_runtime.devices import DeviceInfo
from lb_runtime.kernel import Kernel
from lb_runtime.launch import Launch
from lb_runtime.prelude import Adapted, NotAdaptable, adapt
from lb_runtime.settings import flag


def is_on(name: str, given: bool | None) -> bool:
    """Whether a mode is on: as it was given, or as the environment variable of this name says.

    Raises:
        LoadBalancerError: the variable is set to something else than 1 (on), 0 or nothing (off).
    """
    return flag(os.environ, name) if given is None else given


def judged(
    kernel: Kernel,
    launch: Launch,
    cpu_share: float,
    devices: Sequence[DeviceInfo] = (),
    *,
    exact: bool = False,
    strict: bool = False,
    known: Verdict | None = None,
) -> tuple[Verdict, Adapted | None]:
    """Whether and how a launch can be cut at a CPU share, the text's own obstacles included.

    With `exact`, a launch whose values may depend on the device is declined; with `strict`, one in which
    work-groups may meet, for all that the analysis can tell.

    `devices` are those that the parts are for: each must be able to run the whole launch, so that what
    its part leaves can be held against it. Where none are given, that is not asked.

    `known` is what the accesses come to, where that was worked out before, for these shares, not strictly.

    The second value is the program in which work-item built-ins stay true inside each part, None for
    a launch that is declined.
    """
    verdict = known
    if verdict is None or strict:
        verdict = judge(kernel.facts, launch, (cpu_share, 1 - cpu_share), strict=strict)
    if not isinstance(verdict, Splittable):
        return verdict, None
    if devices:
        limits = [devices[index].cannot_run(launch.nd_range) for index in verdict.devices]
        if any(limits):
            reasons = (Reason("device-limit", why) for why in dict.fromkeys(limits) if why)
            return Declined(tuple(reasons)), None
    if exact and len(verdict.slices) > 1:
        taking_part = [devices[index] for index in verdict.devices] if devices else []
        if reason := dependence(kernel, taking_part):
            return Declined((reason,)), None
    adapted = adapt(kernel.source, kernel.options, launch.nd_range, kernel.facts.builtins)
    if isinstance(adapted, NotAdaptable):
        return Declined((Reason("built-ins", adapted.reason),)), None
    return verdict, adapted


def dependence(kernel: Kernel, devices: Sequence[DeviceInfo]) -> Reason | None:
    """What makes a kernel's values depend on which of these devices computes them, None for nothing.

    Without devices, they are taken to keep denormal floats.
    """
    if kernel.facts.device_dependence or all(device.keeps_denormals for device in devices):
        return kernel.facts.device_dependence
    return kernel.facts.denormals
