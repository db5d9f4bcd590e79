"""Compares the graphs of OpenCL sources: this project's against ProGraML's, of the same assembly."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.comparison import difference
from oracle.drawing import ours, theirs, typed_assembly
from oracle.tools import Tools

from predictor.datasets.repair import repair
from predictor.errors import CompileError
from predictor.frontend import compile_source

AS_PUBLISHED, REPAIRED, REFUSED = "as published", "after repair", "refused by clang 15"


@dataclass(frozen=True, slots=True)
class Compared:
    """One source. `difference` is empty where both graphs are one; sizes are 0 where none was drawn."""

    name: str
    source: str
    nodes: int
    edges: int
    difference: str

    @property
    def is_equal(self) -> bool:
        """Both builders drew the same graph."""
        return self.nodes > 0 and not self.difference


def compare(name: str, source: str, tools: Tools) -> Compared:
    """Draw a source twice and compare; one that does not compile is repaired first (see `repair.py`).

    Raises FrontEndError where a builder cannot read what clang wrote.
    """
    state = AS_PUBLISHED
    try:
        text = typed_assembly(source, tools)
    except CompileError:
        state = REPAIRED
        try:
            text = typed_assembly(repair(source, compile_source).source, tools)
        except CompileError as error:
            return Compared(name, REFUSED, 0, 0, str(error))
    mine = ours(text)
    return Compared(
        name, state, len(mine.nodes), len(mine.edges), difference(mine, theirs(text, tools))
    )
