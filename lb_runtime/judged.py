"""The verdict on a launch with the text that follows from it: one place for the library and `lb explain`."""

from __future__ import annotations

from lb_runtime.analysis.judge import judge
from lb_runtime.analysis.reasons import Reason
from lb_runtime.analysis.verdict import Declined, Splittable, Verdict
from lb_runtime.kernel import Kernel
from lb_runtime.launch import Launch
from lb_runtime.prelude import Adapted, NotAdaptable, adapt


def judged(kernel: Kernel, launch: Launch, cpu_share: float) -> tuple[Verdict, Adapted | None]:
    """Whether and how a launch can be cut at a CPU share, the text's own obstacles included.

    The second value is the program in which work-item built-ins stay true inside each part, None for
    a launch that is declined.
    """
    verdict = judge(kernel.facts, launch, (cpu_share, 1 - cpu_share))
    if not isinstance(verdict, Splittable):
        return verdict, None
    adapted = adapt(kernel.source, kernel.options, launch.nd_range, kernel.facts.builtins)
    if isinstance(adapted, NotAdaptable):
        return Declined((Reason("built-ins", adapted.reason),)), None
    return verdict, adapted
