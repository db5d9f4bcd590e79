"""Whatever launches report, a policy answers with shares that can be run."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from share_games import belief_of

from lb_runtime.shares.adaptive import Adaptive
from lb_runtime.shares.observation import Observation, checked_shares
from lb_runtime.shares.policy import Dynamic, Policy

times = st.floats(1e-9, 1e6)


@st.composite
def observations(draw: st.DrawFn, devices: int) -> Observation:
    groups = draw(st.lists(st.integers(0, 64), min_size=devices, max_size=devices))
    if not sum(groups):
        groups[draw(st.integers(0, devices - 1))] = 1
    shares = tuple(each / sum(groups) for each in groups)
    seconds = tuple(draw(times) if share else 0.0 for share in shares)
    # A host clock and a device's clock may disagree: the total may be less than a part.
    return Observation(
        shares, seconds, draw(times), draw(st.integers(0, 10**12)), draw(st.booleans())
    )


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 4), st.booleans(), st.sampled_from([0, 1, 7, 512]))
def test_every_choice_can_be_run(
    data: st.DataObject, devices: int, may_chunk: bool, groups: int
) -> None:
    believed = belief_of(*(1.0 + each for each in range(devices)))
    policies: list[Policy] = [
        Adaptive(believed, may_chunk=may_chunk, groups=groups),
        Dynamic(believed),
    ]
    for observation in data.draw(st.lists(observations(devices), max_size=40)):
        for policy in policies:
            policy.learn(observation)
            choice = policy.choose()
            assert len(checked_shares(choice.shares)) == devices
            assert may_chunk or not choice.is_chunked or policy is policies[1]


@pytest.mark.parametrize("devices", [1, 3])
def test_a_launch_reported_over_and_over_is_no_reason_to_stop(devices: int) -> None:
    policy = Adaptive(belief_of(*[1.0] * devices))
    for _ in range(300):
        shares = policy.choose().shares
        policy.learn(Observation(shares, tuple(2.0 * share for share in shares), 2.0 * max(shares)))
    assert max(policy.choose().shares) <= 1.05 / devices
