"""Why a launch is not split: one entry for each reason, with a stable code and what can be done.

Codes are printed by `lb explain` and may be relied on; texts may change.
"""

from __future__ import annotations

from lb_runtime.records import dataclass

REASONS: dict[str, str] = {
    "built-ins": "work-item built-ins cannot be kept true inside a part of this program",
    "crosses-parts": "one part would read what another writes; the kernel relies on a single device",
    "data-dependent": "data decides whether parts meet in one place; without --strict it is split",
    "device-dependent": "devices may compute this differently, which exact mode does not allow; without "
    "--exact (LB_EXACT) it is split",
    "device-enqueue": "the kernel enqueues kernels of its own, which only one device can do",
    "device-limit": "a device that cannot run the launch by itself takes no part in it",
    "device-text": "the source asks the compiler which device it is for, so parts could differ",
    "fine-grain": "devices may talk through fine-grained memory while a kernel runs; use other memory",
    "global-atomic": "atomics on global memory see one device only",
    "global-fence": "a fence on global memory orders work-groups, which two devices cannot see",
    "image": "images are split where they are only read, or written at pixels that each part has to itself",
    "indirect-call": "a call through a pointer hides what the kernel touches",
    "inline-assembly": "inline assembly hides what the kernel touches",
    "one-group": "the range has a single work-group in every dimension; use a smaller local size",
    "pipe": "pipes connect work-items through one device",
    "printf": "printed lines would come from two devices in another order",
    "program-variable": "a program-scope variable in global memory lives on one device only",
    "race": "parts left different values in one place: the kernel has a data race",
    "same-location": "several work-groups write different values to one place",
    "sub-groups": "devices form sub-groups of different sizes; use work-groups to have it split",
    "unknown-call": "a function without a body is given a global pointer; nothing is known of it",
    "unknown-pointer": "a global pointer that is computed or loaded may point into any buffer",
    "volatile": "volatile accesses to global memory may talk to other work-groups",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason: its code, what in this kernel gives rise to it, and the source line (0: none)."""

    code: str
    detail: str
    line: int = 0

    def __post_init__(self) -> None:
        if self.code not in REASONS:
            raise ValueError(f"reason {self.code!r} given, expected one of {', '.join(REASONS)}")

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        return f"{place}{self.detail} [{self.code}]: {REASONS[self.code]}"
