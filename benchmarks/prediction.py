"""How long a prediction takes: facts of the graph, and the model with its decision, on one core.

OMP_NUM_THREADS=1 python benchmarks/prediction.py --output benchmarks/results
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

import click
import numpy as np
from machine import describe_machine

from predictor.datasets.devmap import compile_kernels, read
from predictor.facts import kernel_facts
from predictor.predict import MODEL, Predictor
from predictor.prediction import Prediction

REPEATS = 5


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="The CSV files' folder.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path())
def main(data: Path | None, output: Path) -> None:
    """Time each part for every source of the device mapping set; the best of five of each."""
    began = perf_counter()
    predictor = Predictor.load()
    load = perf_counter() - began
    kernels = compile_kernels(read("nvidia", data).sources)
    graphs = [kernel.graph for kernel in kernels if kernel is not None]
    model = predictor._model
    parts: dict[str, list[float]] = {"facts": [], "model": [], "decision": []}
    for graph in graphs:
        facts = kernel_facts(graph)
        said = model.predict(facts, 1 << 20, 128)
        parts["facts"].append(best(partial(kernel_facts, graph)))
        parts["model"].append(best(partial(model.predict, facts, 1 << 20, 128)))
        parts["decision"].append(best(partial(decided, said)))
    both = np.add(parts["model"], parts["decision"])
    result = {
        "machine": describe_machine(with_devices=False),
        "kernels": len(graphs),
        "model_bytes": MODEL.stat().st_size,
        "load_ms": round(1e3 * load, 1),
        **{f"{name}_ms": summary(np.array(times)) for name, times in parts.items()},
        "model_and_decision_ms": summary(both),
    }
    text = json.dumps(result, indent=1)
    click.echo(text)
    output.mkdir(parents=True, exist_ok=True)
    (output / "prediction.json").write_text(text + "\n")


def decided(said: Prediction) -> tuple[float, tuple[float, float]]:
    """What a runtime asks of a prediction."""
    return said.cpu_fraction, said.interval()


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls."""
    times = []
    for _ in range(REPEATS):
        began = perf_counter()
        work()
        times.append(perf_counter() - began)
    return min(times)


def summary(seconds: np.ndarray) -> dict[str, float]:
    """Median, 90th percentile and most, in ms."""
    values = np.quantile(1e3 * seconds, (0.5, 0.9, 1.0))
    return dict(zip(("median", "percentile_90", "most"), (round(float(v), 3) for v in values)))


if __name__ == "__main__":
    main()
