"""How the drop-in behaves: one frozen value, built by a program, by `lb exec` or from the environment.

    LB_RUNTIME=off|observe|on    what is done with launches
    LB_SHARE=0.25                the CPU's share of the work, instead of a predicted or measured one
    LB_FORCE=1                   split from the first launch on, however small (for tests)
    LB_POLICY=NAME               adaptive (the default), predicted, dynamic or fixed: how shares are chosen
    LB_CPU, LB_GPU               the devices: an index or a part of a name
    LB_EXACT=1, LB_STRICT=1      ask more of a kernel before it is split
    LB_HISTORY=off               learn nothing from earlier processes, and keep nothing for later ones
    LB_REPORT=1                  a report on standard error when the drop-in ends
    LB_TRACE=FILE                a timeline for Perfetto and chrome://tracing

A variable that is unset or empty leaves the default.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

from lb_runtime.errors import LoadBalancerError
from lb_runtime.records import dataclass

Name = TypeVar("Name", bound=str)
Mode = Literal["off", "observe", "on"]
MODES: tuple[Mode, ...] = ("off", "observe", "on")
Policy = Literal["adaptive", "predicted", "dynamic", "fixed"]
POLICIES: tuple[Policy, ...] = ("adaptive", "predicted", "dynamic", "fixed")


@dataclass(frozen=True, slots=True)
class Settings:
    """What `lb_runtime.install` is to do.

    Args:
        mode: "off" leaves pyopencl as it is; "observe" judges and counts launches, and splits none;
            "on" splits those that can gain.
        share: the CPU's share of every split launch, a fraction in [0, 1]; None for a share that is
            predicted and then measured.
        policy: how shares are chosen: "adaptive" begins at the prediction and follows what is measured;
            "predicted" stays there; "dynamic" hands out chunks where that is safe; "fixed" keeps to `share`,
            as all do where one is given.
        force: split from the first launch on, analysed by the calling thread, down to one work-group,
            whether or not a gain is to be had. It is for tests.
        min_seconds: a launch that the user's device runs in less is too small to be split.
        mirror_timeout_seconds: the other device counts as lost when it is silent for longer.
        cpu, gpu: which device plays which role, as for `lb devices`; None for the choice by rule.
        exact: split only kernels whose values are the same on every device.
        strict: split only where no two work-groups can meet, whatever the data.
        history: whether launches begin where earlier processes ended, and later ones begin where this one
            ends; a share that is given, or `force`, leaves the history alone.
        trace: the file that a timeline is written to; None for no timeline.
        report: whether a report goes to standard error when the drop-in ends.

    Raises:
        LoadBalancerError: a value that is none of those, in one line.
    """

    mode: Mode = "on"
    share: float | None = None
    policy: Policy = "adaptive"
    force: bool = False
    min_seconds: float = 0.001
    mirror_timeout_seconds: float = 30.0
    cpu: str | None = None
    gpu: str | None = None
    exact: bool = False
    strict: bool = False
    history: bool = True
    trace: Path | None = None
    report: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise LoadBalancerError(
                f"mode {self.mode!r} given, expected off (pyopencl as it is), observe (nothing is "
                "split) or on"
            )
        if self.policy not in POLICIES:
            raise LoadBalancerError(
                f"policy {self.policy!r} given, expected adaptive, predicted, dynamic or fixed"
            )
        if self.policy == "fixed" and self.share is None:
            raise LoadBalancerError(
                "policy 'fixed' given without a share, expected one too: --share, or LB_SHARE"
            )
        if self.share is not None and not 0 <= self.share <= 1:
            raise LoadBalancerError(
                f"CPU share {self.share} given, expected a fraction from 0 to 1, or None for the "
                "predicted one"
            )
        # A comparison that a NaN fails, too.
        if not 0 <= self.min_seconds < math.inf:
            raise LoadBalancerError(
                f"min_seconds is {self.min_seconds}, expected seconds, 0 or more"
            )
        if not 0 < self.mirror_timeout_seconds < math.inf:
            raise LoadBalancerError(
                f"mirror_timeout_seconds is {self.mirror_timeout_seconds}, expected seconds, more than 0"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """What the variables at the top of this file say; `os.environ` where none are given.

        Raises:
            LoadBalancerError: a variable that cannot be understood, in one line that names it.
        """
        known = os.environ if environment is None else environment
        settings = cls(
            force=flag(known, "LB_FORCE"),
            exact=flag(known, "LB_EXACT"),
            strict=flag(known, "LB_STRICT"),
            report=flag(known, "LB_REPORT"),
            history=_one_of(known, "LB_HISTORY", ("on", "off"), "on") == "on",
            cpu=_text(known, "LB_CPU"),
            gpu=_text(known, "LB_GPU"),
        )
        if trace := _text(known, "LB_TRACE"):
            settings = replace(settings, trace=Path(trace))
        share = _text(known, "LB_SHARE")
        return replace(
            settings,
            mode=_one_of(known, "LB_RUNTIME", MODES, settings.mode),
            share=None if share is None else _fraction("LB_SHARE", share),
            policy=_one_of(known, "LB_POLICY", POLICIES, settings.policy),
        )


def _one_of(environment: Mapping[str, str], name: str, known: Sequence[Name], unset: Name) -> Name:
    value = environment.get(name, "").strip()
    for each in known:
        if value.lower() == each:
            return each
    if value:
        raise LoadBalancerError(
            f"environment variable {name} is {value!r}, expected {', '.join(known[:-1])} or {known[-1]}: "
            "set it to one of these, or unset it"
        )
    return unset


def flag(environment: Mapping[str, str], name: str) -> bool:
    """Whether a variable says on: 1 for on; 0, nothing or unset for off.

    Raises:
        LoadBalancerError: it says something else.
    """
    value = environment.get(name, "").strip()
    if value not in ("", "0", "1"):
        raise LoadBalancerError(
            f"environment variable {name} is {value!r}, expected 1 for on, or 0 for off: set it to "
            "one of both, or unset it"
        )
    return value == "1"


def _text(environment: Mapping[str, str], name: str) -> str | None:
    return environment.get(name, "").strip() or None


def _fraction(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise LoadBalancerError(
            f"environment variable {name} is {text!r}, expected the CPU's share as a fraction from 0 "
            "to 1: set it to one, or unset it for the predicted share"
        )
    return value
