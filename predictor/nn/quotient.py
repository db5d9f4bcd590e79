"""Computes once what cannot differ: equal node states of a batch, step by step.

After `t` steps of message passing a node's state is a function of its token and of the tree of
edges that leads to it, `t` deep. Nodes with equal trees (the classes of Weisfeiler-Leman colour
refinement) have equal states, in one graph or in several. Early classes are few, and the data set
holds families of kernels that differ in a line or two; so a step over classes costs a fraction of
a step over nodes, and gives the same numbers (dropout is then shared within a class).

Classes are told apart by 64-bit hashes: among 10^6 nodes two classes collide with odds of 1e-7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from predictor.features import GraphArrays
from predictor.nn.unrolled import Pool, Step, Unrolled

_U64 = np.uint64


@dataclass(frozen=True, slots=True)
class _Level:
    """The classes of all nodes after one step.

    Shapes:
        of_node: [nodes], class of each node
        example: [classes], a node of each class
        members: per graph its distinct classes and their share of the graph's nodes
    """

    of_node: np.ndarray
    example: np.ndarray
    members: tuple[tuple[np.ndarray, np.ndarray], ...]


class Quotient:
    """All graphs of a data set, ready to give the tables of any batch of them."""

    def __init__(
        self,
        graphs: Sequence[GraphArrays],
        *,
        steps: int,
        edge_types: int,
        bidirectional: bool,
    ) -> None:
        sizes = np.array([graph.tokens.size for graph in graphs])
        self._sizes = sizes
        starts = np.concatenate(([0], np.cumsum(sizes)))
        self._starts = starts
        self._tokens = np.concatenate([graph.tokens for graph in graphs])
        source = np.concatenate(
            [graph.edge_index[0] + start for graph, start in zip(graphs, starts, strict=False)]
        )
        target = np.concatenate(
            [graph.edge_index[1] + start for graph, start in zip(graphs, starts, strict=False)]
        )
        types = np.concatenate([graph.edge_types for graph in graphs])
        positions = np.concatenate([graph.edge_positions for graph in graphs])
        if bidirectional:
            source, target = np.concatenate((source, target)), np.concatenate((target, source))
            types = np.concatenate((types, types + edge_types))
            positions = np.concatenate((positions, positions))
        order = np.argsort(target, kind="stable")
        self._source, self._types = source[order], types[order]
        self._positions = positions[order]
        arriving = np.bincount(target, minlength=self._tokens.size)
        self._first = np.concatenate(([0], np.cumsum(arriving)))
        self._levels = self._refine(steps, target[order], starts)

    def batch(self, graphs: Sequence[int]) -> Unrolled:
        """The tables for these graphs, which are numbered 0, 1, ... in the order given."""
        present = self._present(self._levels[0], graphs)
        rank = _ranks(present, self._levels[0].example.size)
        tokens = self._tokens[self._levels[0].example[present]]
        steps, pools = [], []
        for before, level in pairwise(self._levels):
            present = self._present(level, graphs)
            example = level.example[present]
            steps.append(self._step(example, before, rank))
            rank = _ranks(present, level.example.size)
            pools.append(self._pool(level, graphs, rank))
        sizes = _column(self._sizes[list(graphs)])
        return Unrolled(torch.from_numpy(tokens), tuple(steps), tuple(pools), sizes)

    def pool(self, step: int, graphs: Sequence[int]) -> Pool:
        """The weights by which the states after a step (0: the first states) become graphs."""
        level = self._levels[step]
        return self._pool(level, graphs, _ranks(self._present(level, graphs), level.example.size))

    def nodes(self, step: int, graphs: Sequence[int]) -> Tensor:
        """The state after a step of each node of these graphs, in their order. Shapes: [nodes]."""
        level = self._levels[step]
        rank = _ranks(self._present(level, graphs), level.example.size)
        places = [np.arange(self._starts[graph], self._starts[graph + 1]) for graph in graphs]
        return torch.from_numpy(rank[level.of_node[np.concatenate(places)]])

    def _refine(self, steps: int, target: np.ndarray, starts: np.ndarray) -> list[_Level]:
        labels = _mix(self._tokens.astype(_U64))
        kinds = _mix((self._types * 1_000_003 + self._positions + 1).astype(_U64))
        busy = np.flatnonzero(np.diff(self._first))
        levels = [_level(labels, starts)]
        for _ in range(steps):
            arrived = np.zeros_like(labels)
            sent = _mix(labels[self._source] ^ kinds)
            arrived[busy] = np.add.reduceat(sent, self._first[busy])
            labels = _mix(_mix(labels) + arrived)
            levels.append(_level(labels, starts))
        return levels

    def _step(self, example: np.ndarray, before: _Level, rank: np.ndarray) -> Step:
        first = self._first[example]
        count = self._first[example + 1] - first
        target = np.repeat(np.arange(example.size), count)
        within = np.arange(target.size) - np.repeat(np.cumsum(count) - count, count)
        edges = np.repeat(first, count) + within
        return Step(
            own=torch.from_numpy(rank[before.of_node[example]]),
            source=torch.from_numpy(rank[before.of_node[self._source[edges]]]),
            types=torch.from_numpy(self._types[edges]),
            target=torch.from_numpy(target),
            positions=torch.from_numpy(self._positions[edges]),
            scale=_column(1.0 / np.maximum(count, 1)),
        )

    @staticmethod
    def _present(level: _Level, graphs: Sequence[int]) -> np.ndarray:
        seen = np.zeros(level.example.size, dtype=bool)
        for graph in graphs:
            seen[level.members[graph][0]] = True
        return np.flatnonzero(seen)

    @staticmethod
    def _pool(level: _Level, graphs: Sequence[int], rank: np.ndarray) -> Pool:
        classes = [level.members[graph][0] for graph in graphs]
        shares = [level.members[graph][1] for graph in graphs]
        numbers = np.repeat(np.arange(len(graphs)), [members.size for members in classes])
        return Pool(
            state=torch.from_numpy(rank[np.concatenate(classes)]),
            graph=torch.from_numpy(numbers),
            weight=_column(np.concatenate(shares)),
        )


def _level(labels: np.ndarray, starts: np.ndarray) -> _Level:
    _, example, of_node = np.unique(labels, return_index=True, return_inverse=True)
    members = []
    for start, end in pairwise(starts):
        classes, counts = np.unique(of_node[start:end], return_counts=True)
        members.append((classes, counts / (end - start)))
    return _Level(of_node, example, tuple(members))


def _ranks(present: np.ndarray, classes: int) -> np.ndarray:
    ranks = np.zeros(classes, dtype=np.int64)
    ranks[present] = np.arange(present.size)
    return ranks


def _column(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)[:, None])


def _mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele et al., 2014): a bijection that scatters all bits."""
    mixed = values + _U64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> _U64(27))) * _U64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> _U64(31)))
