"""What a policy of the drop-in begins with: the model's answer, or what an earlier process came to.

The devices of its shares are the program's own one and the mirror, in this order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lb_runtime.dropin.decisions import RECALLED_TIMES, whole_at_home
from lb_runtime.shares.adaptive import Adaptive
from lb_runtime.shares.belief import Belief
from lb_runtime.shares.makespan import SplitCost
from lb_runtime.shares.observation import Observation, lower_median
from lb_runtime.shares.policy import Policy

if TYPE_CHECKING:
    from lb_runtime.history.known import Known
    from predictor.prediction import Prediction

PART_SECONDS = (2e-5, 1e-4)
"""What any part costs on each, until that is measured."""
SPLIT = SplitCost(fixed_seconds=1e-4)
NEXT_TO_NOTHING = 1e-3


def belief_of(prediction: Prediction, user_role: int) -> Belief:
    """The model's answer; `user_role` is the one that the program's device plays."""
    columns = [user_role, 1 - user_role]
    return Belief.of(
        prediction.log_seconds[:, columns],
        prediction.weights,
        fixed_seconds=PART_SECONDS,
        split=SPLIT,
    )


def policy_as_known(known: Known, user_share: float, groups: int) -> Policy:
    """A policy that goes on where an earlier process has ended, at the user's device's share then."""
    policy = Adaptive(_as_at(known, user_share), groups=groups)
    for seconds in known.alone_seconds[-RECALLED_TIMES:]:
        policy.learn(whole_at_home(seconds))
    for seconds in known.split_seconds[-RECALLED_TIMES:]:
        parts = tuple(seconds if share else 0.0 for share in (user_share, 1 - user_share))
        if seconds:
            policy.learn(Observation((user_share, 1 - user_share), parts, seconds))
    if known.code == "no-gain" or user_share in (0.0, 1.0):
        policy.rest()
    return policy


def _as_at(known: Known, user_share: float) -> Belief:
    """Both devices are as fast as makes that share the best one."""
    alone = max(lower_median(list(known.alone_seconds)), 1e-9)
    other = alone * max(user_share, NEXT_TO_NOTHING) / max(1 - user_share, NEXT_TO_NOTHING)
    return Belief.of(np.log([[alone, other]]), fixed_seconds=(0.0, 0.0))
