"""How good marks are: counts over nodes, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictor.dataflow.corpus import Labelled


@dataclass(frozen=True, slots=True)
class Score:
    """Nodes by what is true and what was said; pooled over examples, as in ProGraML's paper."""

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    true_negatives: int = 0
    examples: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
            self.true_negatives + other.true_negatives,
            self.examples + other.examples,
        )

    @property
    def precision(self) -> float:
        """The part of the marked nodes that is rightly marked; 1 where none is marked."""
        marked = self.true_positives + self.false_positives
        return self.true_positives / marked if marked else 1.0

    @property
    def recall(self) -> float:
        """The part of the nodes to mark that is marked; 1 where there are none."""
        wanted = self.true_positives + self.false_negatives
        return self.true_positives / wanted if wanted else 1.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 1 where nothing is to be marked, and nothing is."""
        wrong = self.false_positives + self.false_negatives
        counted = 2 * self.true_positives + wrong
        return 2 * self.true_positives / counted if counted else 1.0

    @property
    def positives(self) -> float:
        """The part of all nodes that is to be marked."""
        wanted = self.true_positives + self.false_negatives
        nodes = wanted + self.false_positives + self.true_negatives
        return wanted / nodes if nodes else 0.0

    def facts(self) -> dict[str, Any]:
        """As JSON writes it, rounded to what means something."""
        names = ("f1", "precision", "recall", "positives")
        return {
            "examples": self.examples,
            **{name: round(getattr(self, name), 5) for name in names},
        }


@dataclass(frozen=True, slots=True)
class Found:
    """What a model marked, judged root by root.

    `scores` holds for each root the round in which its answer is complete, and the score; `most_steps` is
    the largest number of steps that a graph took to settle.
    """

    scores: tuple[tuple[int, Score], ...]
    most_steps: int

    def within(self, steps: int | None) -> Score:
        """The pooled score of the roots that need at most so many steps; of all where it is None."""
        chosen = (score for needed, score in self.scores if steps is None or needed <= steps)
        return sum(chosen, Score())


def score(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Score:
    """What was said against the truth. Shapes: bool [roots, nodes] both."""
    return Score(
        int((said & truth).sum()),
        int((said & ~truth).sum()),
        int((~said & truth).sum()),
        int((~said & ~truth).sum()),
        len(truth),
    )


def trivial(labelled: Sequence[Labelled]) -> dict[str, Score]:
    """What two predictors reach that look at nothing: every node is marked; the root alone is."""
    scores = {"every node": Score(), "the root alone": Score()}
    for graph in labelled:
        truth = graph.marked
        roots = np.zeros_like(truth)
        roots[np.arange(graph.roots.size), graph.roots] = True
        scores["every node"] += score(np.ones_like(truth), truth)
        scores["the root alone"] += score(roots, truth)
    return scores
