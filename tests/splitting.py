"""Plans made by hand, so that executing them is tested apart from the analysis that makes real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lb_runtime.analysis.regions import Region, Rows
from lb_runtime.analysis.verdict import AtomicZone, Merge
from lb_runtime.arguments import buffer_arguments
from lb_runtime.checks import Value
from lb_runtime.contexts import OpenPair
from lb_runtime.execute import execute
from lb_runtime.execution import Execution
from lb_runtime.images import host_arrays
from lb_runtime.launch import (
    Argument,
    BufferArgument,
    Launch,
    LocalArgument,
    NDRange,
    ScalarArgument,
)
from lb_runtime.plan import BufferPlan, Part, Plan
from lb_runtime.prelude import Adapted, adapt
from lb_runtime.verify import Verification, unsplit, verify

Adapt = Callable[[str, NDRange], str]


@dataclass(frozen=True)
class Written:
    """How one argument is written: `group_bytes` per work-group of a range, or atomics in `zones`."""

    merge: Merge
    group_bytes: int = 0
    zones: tuple[AtomicZone, ...] = ()


def arguments_of(values: Sequence[Value]) -> tuple[Argument, ...]:
    """The arguments that a test's values stand for."""
    buffers = buffer_arguments(
        {
            index: value
            for index, value in enumerate(values)
            if isinstance(value, np.ndarray) and value.ndim
        }
    )
    return tuple(
        buffers[index]
        if index in buffers
        else value
        if isinstance(value, LocalArgument)
        else ScalarArgument(np.asarray(value)[()])
        for index, value in enumerate(values)
    )


def with_prelude(source: str, nd_range: NDRange) -> str:
    """The text that a split build gets."""
    adapted = adapt(source, (), nd_range, ())
    assert isinstance(adapted, Adapted)
    return adapted.source


def naive(source: str, nd_range: NDRange) -> str:
    """The mutant: an offset launch of the user's own text."""
    return source


def plan_of(
    source: str,
    name: str,
    nd_range: NDRange,
    values: Sequence[Value],
    shares: tuple[float, ...] = (0.37, 0.63),
    dimension: int = 0,
    written: Mapping[int, Written] | None = None,
    adapt_source: Adapt = with_prelude,
) -> Plan:
    """A plan that cuts one dimension by shares; `written` says how arguments merge (default: all NONE)."""
    launch = Launch(name, nd_range, arguments_of(values))
    parts = []
    for device, piece in enumerate(nd_range.cut(dimension, shares)):
        if not piece.groups:
            continue
        offset, size = nd_range.part(piece)
        buffers = []
        for index, argument in enumerate(launch.arguments):
            if not isinstance(argument, BufferArgument):
                continue
            how = (written or {}).get(index, Written(Merge.NONE))
            whole = Region.range(0, launch.memory_bytes[argument.memory])
            zones = Region.of(Rows(zone.start, zone.stop - zone.start) for zone in how.zones)
            leaves = {
                Merge.NONE: Region.range(0, 0),
                Merge.DIFFERENCE: whole,
                Merge.ATOMIC: zones,
                Merge.RANGE: Region.range(
                    min(piece.group_start * how.group_bytes, argument.size_bytes),
                    min(piece.group_stop * how.group_bytes, argument.size_bytes),
                ),
            }[how.merge]
            needs = leaves if how.merge in (Merge.RANGE, Merge.ATOMIC) else whole
            buffers.append(BufferPlan(index, how.merge, needs, leaves, how.zones))
        parts.append(Part(device, piece, offset, size, tuple(buffers)))
    return Plan(launch, tuple(parts), adapt_source(source, nd_range), ())


def arrays_of(values: Sequence[Value]) -> dict[int, npt.NDArray[Any]]:
    """Copies of the buffers and images' pixels among the values."""
    return {index: array.copy() for index, array in host_arrays(values).items()}


def run_and_verify(
    pair: OpenPair, plan: Plan, values: Sequence[Value], source: str
) -> tuple[Execution, Verification]:
    """Run each device alone, execute the split, both in place, and compare."""
    originals = arrays_of(values)
    alone = {}
    for device in {part.device for part in plan.parts}:
        execute(unsplit(plan, device, source, ()), pair.devices, values)
        alone[device] = arrays_of(values)
        for index, array in host_arrays(values).items():
            array[...] = originals[index]
    execution = execute(plan, pair.devices, values)
    return execution, verify(plan, originals, arrays_of(values), alone, execution.ownership)
