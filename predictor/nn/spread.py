"""Sums of rows along lists of edges, forwards and backwards, as one gather-and-add each.

Message passing spends its time, matrix products aside, in `index_select` of what is sent and
`index_add` of what arrives, which write and read an array with a row for each edge. Which rows meet
is known before training; with the edges listed by receiver, and for the gradient by sender,
`embedding_bag` adds them up without that array.
"""

# mypy: allow-subclassing-any
# A checker without torch sees no type for its base class.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Lists:
    """Edges from `senders` rows to `receivers` rows, listed both ways.

    Shapes:
        arriving: [edges], the sender of each edge, ordered by receiver
        arriving_start: [receivers], where each receiver's edges begin
        leaving, leaving_start: the same with senders and receivers exchanged
    """

    senders: int
    receivers: int
    arriving: Tensor
    arriving_start: Tensor
    leaving: Tensor
    leaving_start: Tensor


def lists(source: Tensor, target: Tensor, senders: int, receivers: int) -> Lists:
    """Lists of the edges from `source` to `target`. Shapes: both [edges]."""
    arriving, arriving_start = _listed(source, target, receivers)
    leaving, leaving_start = _listed(target, source, senders)
    return Lists(senders, receivers, arriving, arriving_start, leaving, leaving_start)


def spread(rows: Tensor, edges: Lists) -> Tensor:
    """The sum of the rows that are sent to each receiver.

    Shapes: [senders, width] to [receivers, width].
    """
    apply: Callable[..., Tensor] = _Spread.apply
    return apply(rows, edges)


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, edges: Lists) -> Tensor:
        ctx.edges = edges
        return _add(rows, edges.arriving, edges.arriving_start)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        edges: Lists = ctx.edges
        return _add(gradients[0].contiguous(), edges.leaving, edges.leaving_start), None


def _add(rows: Tensor, chosen: Tensor, start: Tensor) -> Tensor:
    if not chosen.numel():
        return rows.new_zeros((start.size(0), rows.size(1)))
    return functional.embedding_bag(chosen, rows, start, mode="sum")


def _listed(chosen: Tensor, by: Tensor, count: int) -> tuple[Tensor, Tensor]:
    arriving = torch.bincount(by, minlength=count)
    if not bool((by[1:] >= by[:-1]).all()):
        chosen = chosen[torch.argsort(by, stable=True)]
    return chosen, torch.cumsum(arriving, 0) - arriving
