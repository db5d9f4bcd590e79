"""A kernel and one launch of it as a row of numbers, for heads that are fitted to measurements.

Beside the facts of `facts.py`, as parts of what runs, stand what the shipped model predicts, the hot spot
of the kernel, and what a runtime knows of a launch: work-items, bytes, arguments by value. The form is
versioned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.facts import FACTS_VERSION, KERNEL_FACTS, kernel_facts
from predictor.prediction import Prediction
from predictor.program_graph import ProgramGraph
from predictor.tuned.hot_spot import HOT_FACTS, HOT_VERSION, hot_facts
from predictor.tuned.trips import log_trips

TUNED_VERSION = f"2.{FACTS_VERSION}.{HOT_VERSION}"
_PARTS = "special division branch float integer vector barrier call global local private constant".split()
"""Of what runs, the part that is of this kind."""
_ANY = "barrier local private".split()
_PLAIN = (
    "deepest",
    "constant loops",
    "in loops",
    "double share",
    "part coalesced",
    *(name for name in KERNEL_FACTS if name.startswith("part by ")),
    "instructions",
    "blocks",
    "floats per byte",
    "integers per byte",
)
_OPCODES = "select phi sext trunc".split()
TUNED_FEATURES = (
    "predicted share",
    "predicted ratio",
    "predicted spread",
    *(f"{name} part" for name in _PARTS),
    *(f"any {name}" for name in _ANY),
    "special, finely",
    *_PLAIN,
    "any loop",
    "open loops",
    "widest",
    "bytes per run",
    "narrow",
    "vectors",
    "comparisons",
    *(f"opcode {name} part" for name in _OPCODES),
    "group",
    "items",
    "bytes per item",
    "transfer",
    "trips",
    "work",
    "work in bytes",
    "work of an item",
    "largest integer",
    "integers",
    "dimensions",
    *(f"hot {name}" for name in HOT_FACTS),
)


@dataclass(frozen=True, slots=True)
class LaunchNumbers:
    """What a launch is to the predictor.

    `integers` holds the value of each parameter of the kernel, None for all that are no whole number.
    """

    transfer_bytes: int
    work_group_size: int
    items: int
    dimensions: int
    integers: tuple[int | None, ...]

    def __post_init__(self) -> None:
        if min(self.transfer_bytes, self.work_group_size, self.items) < 0:
            raise ValueError(f"{self}: bytes and sizes must not be negative")


def tuned_features(
    graph: ProgramGraph, launch: LaunchNumbers, predicted: Prediction
) -> NDArray[np.float64]:
    """The row of a launch, named by `TUNED_FEATURES`. Shapes: float64 [features]."""
    facts = dict(zip(KERNEL_FACTS, kernel_facts(graph).astype(np.float64).tolist()))

    def count(name: str) -> float:
        """A count, which is kept as log1p."""
        return float(np.expm1(facts[name]))

    runs = max(count("runs"), 1.0)
    instructions = max(count("instructions"), 1.0)
    parts = {name: count(f"{name} runs") / runs for name in _PARTS}
    items = float(np.log(max(launch.items, 1)))
    transfer = float(np.log1p(launch.transfer_bytes))
    integers = [abs(value) for value in launch.integers if value is not None]
    trips = log_trips(graph, launch.integers)
    ratios = predicted.log_seconds[:, 0] - predicted.log_seconds[:, 1]
    ratio = float(ratios @ predicted.weights)
    values = [
        predicted.median_share,
        ratio,
        float(np.sqrt(((ratios - ratio) ** 2) @ predicted.weights)),
        *parts.values(),
        *(float(facts[f"{name} runs"] > 0) for name in _ANY),
        float(np.log1p(100.0 * parts["special"])),
        *(facts[name] for name in _PLAIN),
        float(facts["deepest"] > 0),
        max(facts["deepest"] - facts["constant loops"], 0.0),
        float(np.log1p(facts["widest access"])),
        facts["global bytes"] - facts["runs"],
        float(facts["widest access"] < 4),
        count("type vector") / max(count("nodes"), 1.0),
        (count("opcode icmp") + count("opcode fcmp")) / instructions,
        *(count(f"opcode {name}") / instructions for name in _OPCODES),
        float(np.log1p(launch.work_group_size)),
        items,
        transfer - items,
        transfer,
        trips,
        items + facts["runs"] + trips,
        items + facts["global bytes"] + trips,
        facts["runs"] + trips,
        float(np.log1p(max(integers, default=0))),
        float(len(integers)),
        float(launch.dimensions),
        *hot_facts(graph).tolist(),
    ]
    return np.array(values)
