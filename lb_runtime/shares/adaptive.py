"""Shares that begin where a prediction says, follow what launches show, and never lose for long.

The first launch takes the shares of the smallest expected loss. From then on each device's curve and
the price of a split say which shares end first; they move only where that gains more than `DEAD_BAND`,
so that they settle. A device of which nothing is known yet is tried where what it may bring over the
next launches is worth more than the try. Single devices that could be as fast as the plan are measured
once, whole; the guard compares measured times, and falls back.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lb_runtime.shares.belief import Belief
from lb_runtime.shares.curve import Curve
from lb_runtime.shares.guard import FIRST_REST, LONGEST_REST, Guard
from lb_runtime.shares.makespan import Makespan
from lb_runtime.shares.observation import Choice, Observation, lower_median, whole_on
from lb_runtime.shares.policy import in_chunks
from lb_runtime.shares.price import SplitPrice

DEAD_BAND = 0.02
"""Shares move where the launch is expected to become shorter by more than this part."""
HORIZON = 8
"""What trying an unknown device costs is weighed against what it brings in so many launches, or in as
many as there were: a kernel that was launched often will be."""
PROBES = 0.01, 0.03
"""Shares that show what unknown devices are and, if they are slow, cost little."""
TRUST = 1.25
"""A single device that is expected to take more than so many times the plan's time is not measured.

All of a range takes a device at least as long as its part of it: parts that end together are longer than
no single device by more than the price of the split.
"""
FIRST_TRUST, FIRST_LAUNCHES = 2.5, 4
"""The same within the first launches, since devices may hinder one another. One is measured in any case."""
FIRST_COMPARED = 2
"""Launches after which single devices are measured: before, parts tell little of them."""
DOUBTFUL = 1.3
"""A single device whose parts promise a time shorter by this factor is measured twice."""
NEAR, NEAR_LAUNCHES = 1.1, 3
"""Of a device that is so near to the plan, so many launches are needed to tell which is faster."""
AGAIN = 1024
"""After so many launches a single device that could be as fast is measured again."""
RETRY_LOSS = 1.25
"""A split that is expected to take more than so many times the single device's time is not retried."""
RETRY_PART = 0.01
"""But for one that costs no more than this part of the launches that rested: some times are disturbed."""
CHUNKS_JUDGED_BY = 2
CHUNKS_GAIN = 0.02
"""Chunks must save this part of what one cut takes: each costs a launch."""
UNSTEADY, UNSTEADY_LAUNCHES = 0.1, 9
"""Parts of one cut that end so far from each other, in the median of so many launches, do not take what
their shares say: devices' speeds vary from launch to launch, and chunks may follow them."""
UNSTEADY_JUDGED_BY = 5
"""There so many launches are compared: each says little."""


class Adaptive:
    """See `Policy`.

    Args:
        belief: what is known before the first launch.
        may_chunk: whether launches of this kernel can be run in chunks.
        has_data_dependent_loops: whether the kernel's work-items are known to differ in their work.
        groups: how many work-groups can be shared out, so that shares are whole ones; 0 for any share.
    """

    def __init__(
        self,
        belief: Belief,
        *,
        may_chunk: bool = False,
        has_data_dependent_loops: bool = False,
        groups: int = 0,
    ) -> None:
        self._belief = belief
        self._groups = groups
        self._curves = [Curve(float(fixed)) for fixed in belief.fixed_seconds]
        self._price = SplitPrice(belief.split)
        self._guard = Guard()
        self._may_chunk = may_chunk
        self._is_uneven = has_data_dependent_loops
        self._apart: deque[float] = deque(maxlen=UNSTEADY_LAUNCHES)
        self._judged_by = CHUNKS_JUDGED_BY
        self._chunked: deque[float] = deque(maxlen=5)
        self._cut: deque[float] = deque(maxlen=5)
        self._plan = belief.best()
        self._whole_rest = FIRST_REST
        self._whole_left = FIRST_REST
        self._drifts = 0
        self._number = 0
        self._cut_again = 0
        self._retried_beside: int | None = None
        self._doubted = self._plan
        self._choice = self._chunks_or_cut(self._plan, "predicted")

    def choose(self) -> Choice:
        """See `Policy`."""
        return self._choice

    def learn(self, observation: Observation) -> None:
        """See `Policy`."""
        self._number += 1
        whole = observation.whole
        if whole is not None:
            self._curves[whole].learn(1.0, observation.total_seconds)
            self._guard.whole()
            self._whole_left -= 1
        else:
            if self._retried_beside is not None:
                self._forget_rested(observation, self._retried_beside)
            for curve, share, seconds in zip(self._curves, observation.shares, observation.seconds):
                if share > 0.0:
                    curve.learn(share, seconds)
                    if curve.is_in_doubt:
                        self._doubted = observation.shares
            self._price.learn(observation)
            self._judge(observation)
        if (drifts := sum(each.drifts for each in self._curves)) != self._drifts:
            self._drifts = drifts
            self._guard.begin_again()
        self._is_uneven |= any(each.is_uneven for each in self._curves)
        if not self._is_uneven and self._is_unsteady:
            self._is_uneven, self._judged_by = True, UNSTEADY_JUDGED_BY
        self._choice = self._decide()

    def rest(self) -> None:
        """Try no split for a while: it is known that none gains."""
        self._guard.rest()
        self._choice = self._decide()

    def skip(self) -> int:
        """See `Policy`. Skipped are those that one device takes until a split is tried again."""
        if self._choice.why != "single":
            return 0
        skipped = max(self._guard.left, self._whole_left if max(self._plan) == 1.0 else 0)
        self._guard.whole(skipped)
        self._whole_left -= skipped
        self._choice = self._decide()
        return skipped

    def _judge(self, observation: Observation) -> None:
        """Keep what the guard and the choice between chunks and one cut compare."""
        (self._chunked if observation.is_chunked else self._cut).append(observation.total_seconds)
        is_planned = _are_alike(observation.shares, self._plan)
        if observation.is_chunked or is_planned:
            self._guard.split(observation.total_seconds)
        if is_planned and not observation.is_chunked:
            taken = [each for each in observation.seconds if each > 0.0]
            self._apart.append(1.0 - min(taken) / max(taken))

    @property
    def _is_unsteady(self) -> bool:
        """Whether parts that should end together do not."""
        is_known = len(self._apart) == UNSTEADY_LAUNCHES
        return is_known and lower_median(list(self._apart)) > UNSTEADY

    def _forget_rested(self, observation: Observation, single: int) -> None:
        """Forget what was known of devices that a retry has brought back: it is old."""
        for device, fixed in enumerate(self._belief.fixed_seconds.tolist()):
            if device != single and observation.shares[device] > 0.0:
                self._drifts -= self._curves[device].drifts
                self._curves[device] = Curve(fixed)
        self._retried_beside = None

    def _measured_single(self) -> float | None:
        wholes = [each.seconds(1.0) for each in self._curves if each.whole_launches]
        return min(wholes, default=None)

    def _decide(self) -> Choice:
        devices = len(self._curves)
        if not all(each.is_known for each in self._curves):
            return self._explore()
        model = Makespan(tuple(self._curves), self._price.cost, self._groups)
        single = self._best_single(model)
        alone = Choice(whole_on(single, devices), why="single")
        if self._guard.rests or self._guard.loses_moving(self._measured_single()):
            return alone
        if any(each.is_in_doubt for each in self._curves):
            # Its last launch may have been disturbed: the same once more tells. What was chosen last need
            # not be the same, nor have that device take part: launches overlap.
            return self._chunks_or_cut(self._doubted, "doubt")
        plan = model.best()
        if (unsure := self._unmeasured(model, plan)) is not None:
            return Choice(whole_on(unsure, devices), why="compare")
        is_shifting = any(each.is_shifting for each in self._curves)
        if self._gains(model, plan):
            self._move(plan)
        elif not is_shifting and self._guard.loses(self._measured_single()):
            return alone
        if max(self._plan) == 1.0:
            if (retry := self._retry(model, single)) is None:
                return Choice(self._plan, why="single")
            self._move(retry)
            self._retried_beside = single
            return Choice(retry, why="retry")
        return self._chunks_or_cut(self._plan, "measured")

    def _gains(self, model: Makespan, plan: tuple[float, ...]) -> bool:
        """Whether moving to a plan is worth it; away from a split always where it is no faster."""
        is_given_up = max(self._plan) < 1.0 and max(plan) == 1.0
        gain = math.log(model.seconds(self._plan) / model.seconds(plan))
        return gain > (0.0 if is_given_up else DEAD_BAND)

    def _move(self, plan: tuple[float, ...]) -> None:
        if plan != self._plan:
            self._plan = plan
            self._guard.moved()
            if self._number >= self._cut_again:
                self._cut.clear()
                self._cut_again = 2 * self._number

    def _explore(self) -> Choice:
        """While a device is unknown: the smallest loss, over launches to come where it stays unknown."""
        measured = {
            device: curve.seconds(1.0)
            for device, curve in enumerate(self._curves)
            if curve.is_known
        }
        hidden = [device for device in range(len(self._curves)) if device not in measured]
        belief = self._belief.given(measured).doubted(hidden)
        candidates = _in_groups(
            np.concatenate([_probes(measured, hidden), belief.candidates()]), self._groups
        )
        losses = belief.losses(candidates)
        stays_hidden = (candidates[:, hidden] == 0.0).any(1)
        losses[stays_hidden] *= 1.0 + max(HORIZON, self._number)
        self._move(belief.choose(candidates, losses))
        return self._chunks_or_cut(self._plan, "explore")

    def _best_single(self, model: Makespan) -> int:
        """The fastest single device, of those that were measured if any was."""
        measured = [device for device, each in enumerate(self._curves) if each.whole_launches]
        if not measured:
            return model.best_whole()
        return min(measured, key=lambda device: self._curves[device].seconds(1.0))

    def _unmeasured(self, model: Makespan, plan: tuple[float, ...]) -> int | None:
        """A device that could be as fast alone as the plan is, of which too few launches were whole."""
        if self._number < FIRST_COMPARED:
            return None
        if self._measured_single() is None:
            return model.best_whole()
        taken = model.seconds(plan)
        trust = FIRST_TRUST if self._number < FIRST_LAUNCHES else TRUST
        by_time = sorted((each.whole_guess, number) for number, each in enumerate(self._curves))
        for seconds, device in by_time:
            curve = self._curves[device]
            if plan[device] == 1.0 or seconds >= trust * taken:
                continue
            is_doubtful = curve.seconds(1.0) > DOUBTFUL * seconds and seconds < TRUST * taken
            needed = NEAR_LAUNCHES if seconds < NEAR * taken else 1 + is_doubtful
            if curve.whole_launches < needed or curve.whole_age > AGAIN:
                return device
        return None

    def _retry(self, model: Makespan, single: int) -> tuple[float, ...] | None:
        """A split to try though the model keeps to one device, None for none now; rarer each time.

        Where the model has a device take nothing, its part is what should cost no more than that.
        """
        if self._whole_left > 0:
            return None
        worth = max(RETRY_LOSS, RETRY_PART * self._whole_rest)
        self._whole_rest = min(LONGEST_REST, 2 * self._whole_rest)
        self._whole_left = self._whole_rest
        most = worth * self._curves[single].seconds(1.0)
        split = model.best_split()
        if split is None:
            count = len(self._curves) - 1
            parts = [
                0.0 if device == single else min(curve.share_in(most), 0.5) / count
                for device, curve in enumerate(self._curves)
            ]
            parts[single] = 1.0 - sum(parts)
            split = tuple(parts)
        is_split = sum(share > 0.0 for share in split) > 1
        return split if is_split and model.seconds(split) < most * 1.01 else None

    def _chunks_or_cut(self, plan: tuple[float, ...], why: str) -> Choice:
        """One cut, or chunks where work-items differ in their work and chunks are faster."""
        if max(plan) == 1.0 or not (self._may_chunk and self._is_uneven):
            return Choice(plan, why=why)
        if len(self._chunked) < self._judged_by:
            return in_chunks(self._belief, self._curves, "uneven")
        if len(self._cut) < self._judged_by:
            return Choice(plan, why=why)
        gain = 1.0 - lower_median(list(self._chunked)) / lower_median(list(self._cut))
        if gain > CHUNKS_GAIN:
            return in_chunks(self._belief, self._curves, "uneven")
        return Choice(plan, why=why)


def _probes(measured: Mapping[int, float], hidden: Sequence[int]) -> NDArray[np.float64]:
    """Shares by which unknown devices show what they are at little cost. Shapes: [probes, devices]."""
    fastest = min(measured, key=lambda device: measured[device], default=None)
    if fastest is None:
        return np.empty((0, len(hidden)))
    probes = np.zeros((len(PROBES), len(measured) + len(hidden)))
    probes[:, hidden] = np.array(PROBES)[:, None] / len(hidden)
    probes[:, fastest] = 1.0 - np.array(PROBES)
    return probes


def _in_groups(shares: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """Shares of whole work-groups: a device that takes part gets one at least, or it stays unknown.

    Where there are too few for that the greatest share takes all. As they are where `groups` is 0.
    Shapes: [candidates, devices] to the same.
    """
    if not groups:
        return shares
    rows, greatest = np.arange(len(shares)), shares.argmax(1)
    counts = np.maximum(np.rint(shares * groups), shares > 0.0)
    counts[rows, greatest] += groups - counts.sum(1)
    too_few = counts[rows, greatest] < 1.0
    counts[too_few] = groups * np.eye(shares.shape[1])[greatest[too_few]]
    return counts / groups


def _are_alike(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether shares are the same but for work-groups that cannot be cut."""
    return all(abs(mine - theirs) < 0.05 for mine, theirs in zip(one, other))
