"""The policies by which launches are shared out, behind one small protocol.

A policy belongs to one kernel at one size on one set of devices. It is asked before a launch and told
after one; launches may overlap, so that an answer may be given several times before something new is
told. No policy looks at a clock or a device.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol, get_args

from lb_runtime.errors import LaunchError
from lb_runtime.shares.belief import Belief
from lb_runtime.shares.curve import Curve
from lb_runtime.shares.observation import Choice, Observation, checked_shares

PolicyName = Literal["fixed", "predicted", "adaptive", "dynamic"]
POLICY_NAMES: tuple[PolicyName, ...] = get_args(PolicyName)
LARGEST_OVERHEAD = 0.1
UNMEASURED = 4096
"""So many launches at a time run unmeasured where the shares stay as they are."""


class Policy(Protocol):
    """Chooses how launches run, and learns from those that have ended."""

    def choose(self) -> Choice:
        """How to run the next launch. Asking changes nothing."""
        ...

    def learn(self, observation: Observation) -> None:
        """Learn from a launch that has ended, whatever chose its shares."""
        ...

    def skip(self) -> int:
        """How many launches may run as chosen without being measured; they count as if they had."""
        ...


class Fixed:
    """The same shares for all launches."""

    def __init__(self, shares: tuple[float, ...], why: str = "fixed") -> None:
        self._choice = Choice(checked_shares(shares), why=why)

    def choose(self) -> Choice:
        """See `Policy`."""
        return self._choice

    def learn(self, observation: Observation) -> None:
        """There is nothing to learn."""

    def skip(self) -> int:
        """See `Policy`."""
        return UNMEASURED


class Predicted(Fixed):
    """The shares of the smallest expected loss under a prediction, for all launches."""

    def __init__(self, belief: Belief) -> None:
        super().__init__(belief.best(), "predicted")


class Dynamic:
    """Chunks for all launches, handed out by the speeds that devices were believed or seen to have."""

    def __init__(self, belief: Belief) -> None:
        self._belief = belief
        self._curves = [Curve(float(fixed)) for fixed in belief.fixed_seconds]

    def choose(self) -> Choice:
        """See `Policy`."""
        return in_chunks(self._belief, self._curves, "dynamic")

    def learn(self, observation: Observation) -> None:
        """See `Policy`."""
        for curve, share, seconds in zip(self._curves, observation.shares, observation.seconds):
            if share > 0.0:
                curve.learn(share, seconds)

    def skip(self) -> int:
        """See `Policy`."""
        return 0


def in_chunks(belief: Belief, curves: list[Curve], why: str) -> Choice:
    """Chunks by the devices' speeds, measured where they were, else as believed.

    No chunk is so small that what any part costs is more than `LARGEST_OVERHEAD` of it.
    """
    measured = {device: curve.seconds(1.0) for device, curve in enumerate(curves) if curve.is_known}
    given = belief.given(measured)
    seconds = [math.exp(each) for each in given.weights @ given.log_seconds]
    total = sum(1.0 / each for each in seconds)
    least = tuple(
        min(1.0, fixed / (LARGEST_OVERHEAD * each))
        for fixed, each in zip(belief.fixed_seconds.tolist(), seconds)
    )
    return Choice(tuple(1.0 / each / total for each in seconds), True, why, least)


def checked_policy(name: str) -> PolicyName:
    """The policy of that name. Raises LaunchError where there is none."""
    for known in POLICY_NAMES:
        if name == known:
            return known
    raise LaunchError(f"policy {name!r} given, expected one of {', '.join(POLICY_NAMES)}")
