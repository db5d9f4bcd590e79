"""Trains one model: epochs over kernels, the best validation epoch kept, resumable at any epoch.

A batch is a few kernels with all their launches: each graph is computed once an epoch, however many
launches share it. Every random choice of an epoch follows from the seed, the fold and the epoch's
number alone, so a run that was stopped and resumed ends in the same weights as one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from predictor.datasets.examples import Examples
from predictor.errors import ModelError
from predictor.features import FEATURE_VERSION, MAX_POSITION
from predictor.judge import Split
from predictor.nn import checkpoint
from predictor.nn.model import ModelConfig, ShareModel
from predictor.nn.quotient import Quotient
from predictor.nn.unrolled import Unrolled


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """What a run depends on beside its data; `fold` only tells random streams apart.

    `warm_up` is the part of the run in which the learning rate rises; `average` is how much of the
    averaged weights stays at each step (an exponential moving average).
    """

    epochs: int = 100
    seed: int = 1
    fold: int = 0
    kernels_per_batch: int = 16
    learning_rate: float = 2e-3
    warm_up: float = 0.05
    weight_decay: float = 0.0
    largest_gradient: float = 5.0
    average: float = 0.998

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.kernels_per_batch < 1:
            raise ValueError("epochs and kernels_per_batch must be at least 1")


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a run after an epoch (numbered from 1); errors are in points."""

    epoch: int
    training_mae: float
    validation_mae: float
    best_epoch: int
    best_mae: float


@dataclass(frozen=True, slots=True)
class _Batch:
    unrolled: Unrolled
    row_graph: Tensor
    launch: Tensor
    percentage: Tensor


class Training:
    """One run. `step_epoch` advances it; `save` and `restore` move it to and from a file."""

    def __init__(self, examples: Examples, split: Split, config: TrainingConfig) -> None:
        self.config = config
        self.epoch = 0
        self._examples = examples
        self._split = split
        torch.manual_seed(_stream(config, 0))
        self.model = ShareModel(
            ModelConfig(vocabulary=len(examples.vocabulary), positions=MAX_POSITION + 1)
        )
        self.average = module_copy(self.model)
        self.best = module_copy(self.model)
        self.best_epoch = 0
        self.best_mae = math.inf
        shape = self.model.config
        self._quotient = Quotient(
            examples.graphs,
            steps=shape.steps,
            edge_types=shape.edge_types,
            bidirectional=shape.bidirectional,
        )
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        kernels = np.unique(examples.kernel[split.train]).size
        self._steps_per_epoch = math.ceil(kernels / config.kernels_per_batch)

    def step_epoch(self) -> Progress:
        """Trains for one epoch and validates."""
        self.epoch += 1
        seed = _stream(self.config, self.epoch)
        torch.manual_seed(seed)
        self.model.train()
        errors = []
        for number, rows in enumerate(self._shuffled(np.random.default_rng(seed))):
            step = (self.epoch - 1) * self._steps_per_epoch + number
            self._set_learning_rate(step)
            errors.append(self._step(self._batch(rows)))
            self._follow(step)
        validation = self._split.validation
        error = np.abs(
            self.predict(self.average, validation) - self._examples.percentage[validation]
        )
        mae = float(error.mean())
        if mae < self.best_mae:
            self.best, self.best_epoch, self.best_mae = module_copy(self.average), self.epoch, mae
        return Progress(self.epoch, float(np.mean(errors)), mae, self.best_epoch, self.best_mae)

    def predict(self, model: ShareModel, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """CPU percentages of rows of the examples. Shapes: [rows]."""
        model.eval()
        kernels = self._examples.kernel[rows]
        percentages = np.zeros(rows.size, dtype=np.float32)
        with torch.inference_mode():
            for chosen in np.array_split(np.unique(kernels), math.ceil(rows.size / 64)):
                places = np.flatnonzero(np.isin(kernels, chosen))
                if places.size:
                    batch = self._batch(rows[places])
                    said = model.run(batch.unrolled, batch.row_graph, batch.launch)
                    percentages[places] = said.mean(dim=0).numpy()
        return percentages

    def save(self, path: Path) -> None:
        """Writes the whole state, atomically."""
        arrays = {
            **checkpoint.module_arrays(self.model, "model"),
            **checkpoint.module_arrays(self.average, "average"),
            **checkpoint.module_arrays(self.best, "best"),
            **checkpoint.optimizer_arrays(self._optimizer),
        }
        progress = {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_mae": self.best_mae if self.best_epoch else None,
        }
        checkpoint.save(path, arrays, {**progress, "run": self._identity()})

    def restore(self, path: Path) -> None:
        """Continues from what `save` wrote. Raises ModelError where it was another run."""
        arrays, facts = checkpoint.load(path)
        if facts["run"] != self._identity():
            raise ModelError(f"checkpoint {path} is of another run; start with --fresh")
        checkpoint.set_module(self.model, arrays, "model")
        checkpoint.set_module(self.average, arrays, "average")
        checkpoint.set_module(self.best, arrays, "best")
        checkpoint.set_optimizer(self._optimizer, arrays)
        self.epoch, self.best_epoch = facts["epoch"], facts["best_epoch"]
        self.best_mae = facts["best_mae"] if self.best_epoch else math.inf

    def _identity(self) -> dict[str, Any]:
        """What must be equal for a checkpoint to be of this run."""
        return {
            "training": asdict(self.config),
            "model": asdict(self.model.config),
            "features": FEATURE_VERSION,
            "rows": [int(self._split.train.sum()), int(self._split.validation.sum())],
            "labels": float(self._examples.percentage.sum()),
        }

    def _step(self, batch: _Batch) -> float:
        said = self.model.run(batch.unrolled, batch.row_graph, batch.launch)
        loss = (said - batch.percentage).abs().mean()
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.largest_gradient)
        self._optimizer.step()
        return float(loss.detach())

    def _follow(self, step: int) -> None:
        """Moves the averaged weights; early steps count more, so that the start is forgotten."""
        keep = min(self.config.average, (1.0 + step) / (10.0 + step))
        with torch.no_grad():
            moving = self.average.state_dict().values()
            for target, value in zip(moving, self.model.state_dict().values(), strict=True):
                if target.dtype.is_floating_point:
                    target.lerp_(value, 1.0 - keep)
                else:
                    target.copy_(value)

    def _set_learning_rate(self, step: int) -> None:
        """Linear warm-up, then half a cosine down to 2 %."""
        done = step / (self.config.epochs * self._steps_per_epoch)
        rate = min(1.0, done / self.config.warm_up) if self.config.warm_up else 1.0
        rate *= 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * done))
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.learning_rate * rate

    def _shuffled(self, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """The rows of each batch; a last batch of one row, which has no norm, joins the one before."""
        rows = self._split.train
        size = self.config.kernels_per_batch
        kernels = random.permutation(np.unique(self._examples.kernel[rows]))
        batches = [
            rows[np.isin(self._examples.kernel[rows], kernels[start : start + size])]
            for start in range(0, kernels.size, size)
        ]
        if len(batches) > 1 and batches[-1].size == 1:
            batches[-2:] = [np.concatenate(batches[-2:])]
        yield from batches

    def _batch(self, rows: NDArray[np.int64]) -> _Batch:
        kernels, row_graph = np.unique(self._examples.kernel[rows], return_inverse=True)
        return _Batch(
            self._quotient.batch(kernels.tolist()),
            torch.from_numpy(row_graph),
            torch.from_numpy(self._examples.launch[rows]),
            torch.from_numpy(self._examples.percentage[rows]),
        )


def train(
    examples: Examples,
    split: Split,
    config: TrainingConfig,
    *,
    state: Path | None = None,
    save_every: int = 10,
    advance: Callable[[Progress], object] = lambda progress: None,
) -> Training:
    """A run from its last saved state, if there is one at `state`, to its end.

    Raises ModelError where `state` holds another run, or cannot be read.
    """
    training = Training(examples, split, config)
    if state is not None and state.exists():
        training.restore(state)
    while training.epoch < config.epochs:
        progress = training.step_epoch()
        advance(progress)
        if state is not None and (
            training.epoch % save_every == 0 or training.epoch == config.epochs
        ):
            training.save(state)
    return training


def best_model(state: Path) -> ShareModel:
    """The weights of the best validation epoch of a run. Raises ModelError where it is damaged."""
    arrays, facts = checkpoint.load(state)
    model = ShareModel(ModelConfig(**facts["run"]["model"]))
    checkpoint.set_module(model, arrays, "best")
    return model.eval()


def module_copy(model: ShareModel) -> ShareModel:
    """A model of its own with the same weights."""
    copy = ShareModel(model.config)
    copy.load_state_dict(model.state_dict())
    return copy


def _stream(config: TrainingConfig, epoch: int) -> int:
    sequence = np.random.SeedSequence((config.seed, config.fold, epoch))
    return int(sequence.generate_state(1)[0])
