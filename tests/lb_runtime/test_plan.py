"""Plans as values."""

from __future__ import annotations

from lb_runtime.analysis.regions import Region
from lb_runtime.analysis.verdict import Merge
from lb_runtime.launch import BufferArgument, Launch, NDRange
from lb_runtime.plan import whole_plan


def test_a_whole_launch_touches_no_more_of_a_memory_than_it_is_given() -> None:
    """Of one memory a launch may be given two parts: what is beside them is in use elsewhere."""
    arguments = (
        BufferArgument(16, memory=0, start_bytes=32),
        BufferArgument(16, memory=0, start_bytes=96),
        BufferArgument(64, memory=1),
    )
    launch = Launch("k", NDRange((64,), (64,), (0,)), arguments)
    plan = whole_plan(launch, 1, (True, False, False), "", ())
    first, second, third = plan.parts[0].buffers
    both = Region.range(32, 48).union(Region.range(96, 112))
    assert first.needs == second.needs == both
    assert first.leaves == second.leaves == Region.range(32, 48)
    assert (third.merge, third.leaves) == (Merge.NONE, Region())
    assert third.needs == Region.range(0, 64)
