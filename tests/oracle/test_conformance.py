"""This project's graphs are ProGraML's: the same assembly through both builders; only with --oracle."""

from __future__ import annotations

from pathlib import Path

import pytest
from oracle.comparison import difference
from oracle.conformance import AS_PUBLISHED, REFUSED, compare
from oracle.drawing import ours, theirs, typed_assembly
from oracle.tools import Tools

from predictor.datasets.devmap import read
from predictor.errors import DatasetError
from predictor.program_graph import _Builder

pytestmark = [pytest.mark.oracle, pytest.mark.slow]
KERNELS = sorted((Path(__file__).parents[2] / "kernels").glob("*.cl"))
COMPILE_AS_PUBLISHED = 190
"""So many of the 247 devmap sources compile as they are."""


def test_every_devmap_source_has_programls_graph(tools: Tools) -> None:
    try:
        sources = read("nvidia").sources
    except DatasetError as error:
        pytest.skip(str(error))
    compared = [compare(str(number), source, tools) for number, source in enumerate(sources)]
    different = [c for c in compared if not c.is_equal and c.source != REFUSED]
    assert not different, "\n".join(f"{c.name}: {c.difference}" for c in different)
    assert sum(c.source == AS_PUBLISHED for c in compared) == COMPILE_AS_PUBLISHED


@pytest.mark.parametrize("path", KERNELS, ids=[path.stem for path in KERNELS])
def test_every_kernel_of_ours_has_programls_graph(path: Path, tools: Tools) -> None:
    compared = compare(path.stem, path.read_text("utf-8"), tools)
    assert compared.is_equal, compared.difference


def test_a_builder_that_numbers_operands_from_one_is_caught(
    tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = typed_assembly(KERNELS[0].read_text("utf-8"), tools)
    right = _Builder._edge

    def wrong(self: _Builder, flow: int, source: int, target: int, position: int) -> None:
        right(self, flow, source, target, position + 1)

    monkeypatch.setattr(_Builder, "_edge", wrong)
    assert difference(ours(text), theirs(text, tools))
