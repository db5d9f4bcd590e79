"""A forest of decision trees that says which training rows a launch resembles.

Each tree leads a launch to a leaf, and the training rows of that leaf share the tree's vote. The votes of
all trees are weights over the training rows: with what those rows were measured at they are a
distribution. Source: Meinshausen, "Quantile Regression Forests", JMLR 2006. The walk needs numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAF = -1


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Trees, laid out one after the other.

    Shapes:
        roots: int32 [trees], the first node of each tree.
        feature: int16 [nodes], which feature a node compares; LEAF at a leaf.
        threshold: float32 [nodes], go left where the feature is at most this.
        left, right: int32 [nodes], the next node; at a leaf, where its rows begin and end in `rows`.
        rows: int16 [trees * training rows], the training rows leaf by leaf.
        votes: float32 [training rows], how a leaf's vote is shared among its rows.
    Raises ValueError where an index leads outside, or a tree has a cycle.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    rows: NDArray[np.int16]
    votes: NDArray[np.float32]

    def __post_init__(self) -> None:
        nodes = len(self.feature)
        is_leaf = self.feature == LEAF
        inner, leaf = np.flatnonzero(~is_leaf), np.flatnonzero(is_leaf)
        lengths = {len(self.threshold), len(self.left), len(self.right), nodes}
        # Children stand behind their parent, so that every walk ends.
        is_sound = (
            len(lengths) == 1
            and len(self.roots) > 0
            and _within(self.roots, 0, nodes)
            and bool((self.feature[inner] >= 0).all())
            and bool((self.left[inner] > inner).all() and (self.right[inner] > inner).all())
            and _within(self.left[inner], 0, nodes)
            and _within(self.right[inner], 0, nodes)
            and _within(self.left[leaf], 0, len(self.rows))
            and _within(self.right[leaf], 1, len(self.rows) + 1)
            and bool((self.left[leaf] < self.right[leaf]).all())
            and _within(self.rows, 0, len(self.votes))
            and bool((self.votes > 0).all())
        )
        if not is_sound:
            raise ValueError("the arrays of a forest lead outside of it")

    def weights(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """How much each training row counts for a launch; they sum to 1.

        Shapes: features float32 [features]; result float64 [training rows].
        """
        node = self.roots.copy()
        walking = np.flatnonzero(self.feature[node] != LEAF)
        while walking.size:
            at = node[walking]
            goes_left = features[self.feature[at]] <= self.threshold[at]
            node[walking] = np.where(goes_left, self.left[at], self.right[at])
            walking = walking[self.feature[node[walking]] != LEAF]
        starts, ends = self.left[node], self.right[node]
        sizes = ends - starts
        offsets = np.repeat(starts - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
        rows = self.rows[offsets + np.arange(int(sizes.sum()))].astype(np.int64)
        votes = self.votes[rows].astype(np.float64)
        tree = np.repeat(np.arange(len(node)), sizes)
        votes /= np.bincount(tree, weights=votes)[tree] * len(node)
        return np.bincount(rows, weights=votes, minlength=len(self.votes)).astype(np.float64)


def _within(index: NDArray[np.generic], low: int, high: int) -> bool:
    return bool(np.all((index >= low) & (index < high)))  # type: ignore[operator]
