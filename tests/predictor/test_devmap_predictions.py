"""Every source of the device mapping set gives a fraction, or clang's own error with a line."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from predictor import frontend, program_graph
from predictor.errors import CompileError
from predictor.predict import Predictor

DATA = (
    Path(os.environ.get("LB_DEVMAP", Path(__file__).parents[3] / "shared" / "data" / "devmap"))
    / "nvidia.csv"
)


@pytest.mark.slow
def test_every_source_gives_a_fraction_or_an_error_with_a_line() -> None:
    if not DATA.exists():
        pytest.skip("the device mapping set is not there (set LB_DEVMAP to its folder)")
    csv.field_size_limit(1 << 30)
    with DATA.open(newline="") as file:
        sources = sorted({row["src"] for row in csv.DictReader(file)})
    predictor = Predictor.load()
    fractions, error_lines = 0, []
    for source in sources:
        try:
            module = frontend.compile_source(source)
        except CompileError as error:
            error_lines.append(error.line)
            continue
        fraction = predictor.cpu_fraction(
            program_graph.build(module), transfer_bytes=1 << 20, work_group_size=128
        )
        assert 0 <= fraction <= 1
        fractions += 1
    assert fractions >= 190
    assert all(line > 0 for line in error_lines)
