"""How each task is trained: what differs from the defaults of `TrainingConfig`."""

from __future__ import annotations

from dataclasses import replace

from predictor.dataflow.training import TrainingConfig

_RECIPES = {
    "reachability": TrainingConfig(),
    "dominance": TrainingConfig(),
    "datadep": TrainingConfig(epochs=12),
    "liveness": TrainingConfig(),
    "subexpressions": TrainingConfig(
        epochs=72,
        nodes_per_batch=1200,
        far=64,
        grace=4,
        climb_at=0.9,
        marks_alike=True,
        read_bias=-5.0,
    ),
}


def recipe(task: str, seed: int, epochs: int | None = None) -> TrainingConfig:
    """The configuration of a task, with another number of epochs where one is given."""
    config = _RECIPES[task]
    return replace(config, seed=seed, epochs=epochs or config.epochs)
