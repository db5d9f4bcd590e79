"""Images of a launch: those that are read are every part's, those that are written fall into boxes.

A part writes the pixels of a box at most; where the parts' boxes share none, each brings its own back.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from lb_runtime.analysis.accesses import ImageAccess
from lb_runtime.analysis.facts import KernelFacts
from lb_runtime.analysis.forms import Span
from lb_runtime.analysis.reasons import Reason
from lb_runtime.analysis.verdict import ArgumentVerdict, Merge
from lb_runtime.launch import ImageArgument, Launch

if TYPE_CHECKING:
    from lb_runtime.images import Box


def judge_images(
    kernel: KernelFacts, launch: Launch, parts: Sequence[Sequence[ImageAccess]]
) -> dict[int, ArgumentVerdict] | Reason:
    """The verdict on each image argument by its number, or why the parts cannot go apart."""
    verdicts: dict[int, ArgumentVerdict] = {}
    for index, (parameter, argument) in enumerate(zip(kernel.parameters, launch.arguments)):
        if not isinstance(argument, ImageArgument):
            continue
        facts = parameter.name, parameter.kind, parameter.type_text
        same = {
            other
            for other, given in enumerate(launch.arguments)
            if isinstance(given, ImageArgument) and given.memory == argument.memory
        }
        mine = [[access for access in part if access.argument in same] for part in parts]
        writes = [[access for access in part if access.is_write] for part in mine]
        if not any(writes):
            verdicts[index] = ArgumentVerdict(*facts, Merge.NONE)
            continue
        first = next(access for part in writes for access in part)
        read = next((access for part in mine for access in part if not access.is_write), None)
        if read is not None:
            detail = f"image {parameter.name} is read here and written in line {first.line}"
            return Reason("image", detail, read.line)
        boxes: list[Box] = []
        for part in writes:
            box = _box(part, argument.shape)
            if box is None:
                detail = f"it is not told which pixels of {parameter.name} are written"
                return Reason("image", detail, first.line)
            boxes.append(box)
        # Few kernels have images.
        from lb_runtime.images import boxes_overlap

        if any(boxes_overlap(one, other) for one, other in combinations(boxes, 2)):
            detail = f"parts may write the same pixels of {parameter.name}"
            return Reason("image", detail, first.line)
        verdicts[index] = ArgumentVerdict(*facts, Merge.RANGE, line=first.line, boxes=tuple(boxes))
    return verdicts


def _box(accesses: Sequence[ImageAccess], shape: tuple[int, ...]) -> Box | None:
    """The pixels that may be written; None where that is not known."""
    hull: list[Span] = []
    for access in accesses:
        if len(access.coordinates) < len(shape):
            return None
        # Where a vector of four gives three coordinates, the last is not looked at.
        spans = access.coordinates[: len(shape)]
        hull = [one.hull(other) for one, other in zip(hull, spans)] if hull else list(spans)
    origin = tuple(min(max(span.low, 0), size) for span, size in zip(hull, shape))
    stop = tuple(min(max(span.high + 1, 0), size) for span, size in zip(hull, shape))
    if not hull or any(low >= high for low, high in zip(origin, stop)):
        return (0,) * len(shape), (0,) * len(shape)
    return origin, tuple(high - low for low, high in zip(origin, stop))
