"""How a launch that is planned is carried out: a `Ready`, made of a plan and the programs that were built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lb_runtime.analysis.regions import Region
from lb_runtime.analysis.verdict import Merge
from lb_runtime.dropin.ready import Home, Ranges, Ready, Work, Written
from lb_runtime.memory.byte_map import Place
from lb_runtime.plan import MemoryPlan, Plan, memory_plans

MOST_RUNS = 64
"""A region of more runs than these is no set of ranges any more, but comes home at once."""


def make_ready(
    plan: Plan, places: Sequence[Place], programs: Mapping[Place, Any], cpu_share: float
) -> Ready:
    """The way of a plan's launch; `places[d]` is where device `d` of the plan is."""
    per_part = [(places[part.device], part, memory_plans(plan.launch, part)) for part in plan.parts]
    numbers = dict.fromkeys(each.memory for _, _, plans in per_part for each in plans)
    written = tuple(
        found
        for number in numbers
        if (
            found := _written(
                number,
                {
                    place: each
                    for place, _, plans in per_part
                    for each in plans
                    if each.memory == number
                },
            )
        )
    )
    together = {each.memory: each.hull for each in written if each.home is not Home.STAY}
    works = []
    for place, part, plans in per_part:
        needs = [(each.memory, _ranges(each.needs)) for each in plans if each.needs.rows]
        if place is Place.USER:
            # What comes together at home is looked at there, all of it.
            needs += [(number, (hull,)) for number, hull in together.items()]
            if any(each.home is Home.DIFFERENCE for each in written):
                # Should the parts turn out to race, the whole launch begins again, from home.
                needs += [
                    (each.memory, ranges) for each in written for ranges in each.leaves.values()
                ]
        works.append(Work(place, part.global_offset, part.global_size, tuple(needs)))
    if together and not any(work.place is Place.USER for work in works):
        raise ValueError("a memory comes together at home, but no part runs there")
    nd_range = plan.launch.nd_range
    user_groups = sum(part.piece.groups for place, part, _ in per_part if place is Place.USER)
    return Ready(
        plan.launch.kernel_name,
        nd_range.local_size,
        tuple(works),
        written,
        programs,
        cpu_share,
        nd_range.groups[plan.parts[0].piece.dimension],
        user_groups,
        plan.parts[0].piece.dimension,
        nd_range.offset,
        nd_range.global_size,
    )


def _written(number: int, plans: Mapping[Place, MemoryPlan]) -> Written | None:
    if all(each.merge is Merge.NONE for each in plans.values()):
        return None
    regions = {place: each.fetched for place, each in plans.items()}
    present = [region for region in regions.values() if region.rows]
    if not present:
        return None
    hull = min(region.start for region in present), max(region.stop for region in present)
    first = next(iter(plans.values()))
    if len(plans) == 1:
        home = Home.STAY
    elif first.merge is Merge.RANGE:
        few = all(_runs(region) <= MOST_RUNS for region in present)
        home = Home.STAY if few else Home.ROWS
    else:
        home = Home.DIFFERENCE if first.merge is Merge.DIFFERENCE else Home.ATOMIC
    leaves = {
        place: _ranges(region) if home is Home.STAY else ((region.start, region.stop),)
        for place, region in regions.items()
        if region.rows
    }
    region = regions.get(Place.MIRROR, Region())
    return Written(number, home, leaves, region, hull, first.zones)


def _runs(region: Region) -> int:
    return sum(rows.count for rows in region.rows)


def _ranges(region: Region) -> Ranges:
    """The bytes as ranges; all between the first and the last where these would be too many."""
    if _runs(region) > MOST_RUNS:
        return ((region.start, region.stop),)
    return tuple(
        sorted(
            (rows.start + number * rows.pitch, rows.start + number * rows.pitch + rows.run)
            for rows in region.rows
            for number in range(rows.count)
        )
    )
