"""Labelled graphs to train and judge on: the device mapping kernels and kernels of one's own.

A program (a benchmark, with all its kernels) is wholly in the training, the validation or the test part:
kernels of one program often differ in a line. Programs that share a source count as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from predictor.dataflow.analyses import ANALYSES, answer
from predictor.datasets import devmap, folds
from predictor.errors import DatasetError
from predictor.frontend import compile_source
from predictor.program_graph import ProgramGraph, build

PARTS = ("train", "validation", "test")
RATIO = (3, 1, 1)
"""Training, validation and test kernels (ICML 2021, appendix B)."""
TEST_ROOTS = 10
"""Roots of a graph of `n` nodes that are judged: n / 10, at most so many (ICML 2021, appendix B)."""
ROOTS: dict[str, int | None] = {"train": 64, "validation": 2, "test": None}
"""Roots of a graph that each part holds; None is as many as the paper judges."""


@dataclass(frozen=True, slots=True)
class Source:
    """One graph of a corpus, and the program that it belongs to."""

    name: str
    program: str
    graph: ProgramGraph


@dataclass(frozen=True, slots=True)
class Labelled:
    """A graph with the marks of an analysis for some roots.

    Shapes:
        roots: int64 [roots], nodes.
        since, until, hint: int32 [roots, nodes], see `analyses.Marks`.
        steps: int64 [roots], the round in which each root's answer is complete.
    """

    name: str
    graph: ProgramGraph
    roots: NDArray[np.int64]
    since: NDArray[np.int32]
    until: NDArray[np.int32]
    hint: NDArray[np.int32]
    steps: NDArray[np.int64]

    @property
    def marked(self) -> NDArray[np.bool_]:
        """The answers. Shapes: bool [roots, nodes]."""
        return answer(self.since, self.until)


def own_sources(
    data: Path | None = None,
    kernels: Iterable[Path] = (),
    advance: Callable[[], object] = lambda: None,
) -> list[Source]:
    """The graphs of the device mapping set, and of kernel files (each a program of its own).

    `data` is as for `devmap.read`. Raises DatasetError where the set is missing, CompileError where a
    kernel file does not compile.
    """
    table = devmap.read("nvidia", data)
    programs = programs_of_sources(table)
    compiled = devmap.compile_kernels(table.sources, advance)
    sources = [
        Source(f"{programs[number]}/{number}", programs[number], kernel.graph)
        for number, kernel in enumerate(compiled)
        if kernel is not None
    ]
    for path in sorted(kernels):
        graph = build(compile_source(path.read_text("utf-8"), filename=str(path)))
        sources.append(Source(path.name, path.name, graph))
    return sources


def split(sources: Sequence[Source], seed: int) -> dict[str, list[Source]]:
    """Whole programs to the three parts, shuffled, until each part has its share of the kernels.

    Raises DatasetError where there are fewer programs than parts.
    """
    by_program: dict[str, list[Source]] = {}
    for source in sources:
        by_program.setdefault(source.program, []).append(source)
    names = sorted(by_program)
    if len(names) < len(PARTS):
        raise DatasetError(
            f"a corpus of {len(names)} programs given, expected at least {len(PARTS)} to divide it"
        )
    parts: dict[str, list[Source]] = {part: [] for part in PARTS}
    for name in np.random.default_rng(seed).permutation(names).tolist():
        # The part that lacks most of its share, so that no part is left empty.
        part = min(PARTS, key=lambda p: (len(parts[p]) / RATIO[PARTS.index(p)], PARTS.index(p)))
        parts[part].extend(by_program[name])
    return parts


def label(
    sources: Iterable[Source],
    task: str,
    *,
    roots: int | None,
    seed: int,
    advance: Callable[[], object] = lambda: None,
) -> list[Labelled]:
    """The marks of an analysis for at most `roots` sampled roots of each graph.

    None means a tenth of the nodes, rounded up, at most TEST_ROOTS. Graphs without a root are left out.
    """
    labelled = []
    for number, source in enumerate(sources):
        analysis = ANALYSES[task](source.graph)
        eligible = np.array(analysis.roots(), np.int64)
        nodes = len(source.graph.node_types)
        count = min(eligible.size, roots or min(-(-nodes // 10), TEST_ROOTS))
        if count:
            random = np.random.default_rng((seed, number))
            chosen = np.sort(random.choice(eligible, count, replace=False))
            marks = [analysis.run(root) for root in chosen.tolist()]
            labelled.append(
                Labelled(
                    source.name,
                    source.graph,
                    chosen,
                    np.stack([m.since for m in marks]),
                    np.stack([m.until for m in marks]),
                    np.stack([m.hint for m in marks]),
                    np.array([m.steps for m in marks], np.int64),
                )
            )
        advance()
    return labelled


def programs_of_sources(table: devmap.Devmap) -> list[str]:
    """The program of each source; programs that share a source go by the first one's name."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    first: dict[int, str] = {}
    for launch, program in zip(table.launches, folds.programs(table)):
        known = first.setdefault(launch.kernel, program)
        leader[find(program)] = find(known)
    return [find(first[number]) for number in range(len(table.sources))]
