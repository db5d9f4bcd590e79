"""Trains one system of the thesis: epochs over launches, the best validation epoch kept, resumable.

A batch has a fixed number of launches. They are taken kernel by kernel in a random order, so that the
launches of a kernel stand in one batch (in two, where the cut falls among them) and its graph is computed
once an epoch, however many launches share it. Every random choice of an epoch follows from the seed,
the fold and the epoch's number, so a run that was stopped and resumed ends as one that was not.

Loss, optimiser and learning rate are the thesis' (section 5.2.1); the epoch is chosen by its measure
for choosing. Unlike there the weights of that epoch are what is tested (its code tests the last),
percentages are learned in standard deviations from the mean of the training rows, and there is no dropout
inside the network's layers, only in the readout (see `SystemConfig`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from predictor.datasets.devmap import Devmap, Kernel
from predictor.datasets.examples import Examples, examples_of
from predictor.errors import ModelError
from predictor.features import FEATURE_VERSION, Vocabulary, encode
from predictor.judge import Split
from predictor.nn import checkpoint
from predictor.nn.pools import Pooling
from predictor.nn.system import System, SystemConfig
from predictor.nn.tables import Gnn, GraphSet
from predictor.tasks import Task, labels, measures, outputs

DISTINCT_PERCENTAGES = 85
"""The width of ProGraML's own readout for percentages: as many as the NVIDIA data set has."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained, and how; `fold` only tells random streams apart.

    `patience` is the number of epochs without a better validation after which a run ends;
    `layer_dropout` see `SystemConfig`.
    """

    task: Task
    gnn: Gnn = "programl"
    pooling: Pooling = "skips"
    extended_readout: bool = False
    epochs: int = 300
    patience: int = 300
    seed: int = 1
    fold: int = 0
    batch_rows: int = 32
    learning_rate: float = 1e-3
    layer_dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.patience < 1 or self.batch_rows < 2:
            raise ValueError("epochs and patience must be at least 1, batch_rows at least 2")


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a run after an epoch (numbered from 1).

    `score` and `best_score` are the validation's: the mean squared error, or one minus F1.
    """

    epoch: int
    loss: float
    score: float
    best_epoch: int
    best_score: float


def plain_examples(data: Devmap, kernels: list[Kernel | None]) -> Examples:
    """The launches whose kernel is known, their nodes read by ProGraML's own texts alone."""
    examples = examples_of(data, kernels)
    graphs = [kernel.graph for kernel in kernels if kernel is not None]
    texts = Vocabulary(tuple(sorted({text for graph in graphs for text in graph.node_texts})))
    tokens = texts.tokens()
    return replace(
        examples, vocabulary=texts, graphs=tuple(encode(graph, tokens) for graph in graphs)
    )


class SystemTraining:
    """One run. `step_epoch` advances it; `save` and `restore` move it to and from a file."""

    def __init__(self, examples: Examples, split: Split, plan: Plan, graphs: GraphSet) -> None:
        self.plan = plan
        self.epoch = self.best_epoch = 0
        self.best_score = (math.inf, math.inf)
        self._examples, self._split, self._graphs = examples, split, graphs
        self._labels = labels(plan.task, examples)
        trained = self._labels[split.train]
        self._middle, self._scale = float(trained.mean()), float(trained.std()) or 1.0
        torch.manual_seed(_stream(plan, 0))
        self.model = System(system_config(plan, examples, graphs))
        self.best = _copy(self.model)
        self._optimizer = torch.optim.Adam(self.model.parameters(), plan.learning_rate)

    @property
    def is_done(self) -> bool:
        """Whether the epochs or the patience have run out."""
        waited = self.epoch - self.best_epoch
        return self.epoch >= self.plan.epochs or waited >= self.plan.patience

    def step_epoch(self) -> Progress:
        """Trains for one epoch and validates."""
        self.epoch += 1
        seed = _stream(self.plan, self.epoch)
        torch.manual_seed(seed)
        losses = [self.step(rows) for rows in self.batches(np.random.default_rng(seed))]
        score = self._validate()
        if score < self.best_score:
            self.best, self.best_epoch, self.best_score = _copy(self.model), self.epoch, score
        return Progress(
            self.epoch, float(np.mean(losses)), score[0], self.best_epoch, self.best_score[0]
        )

    def step(self, rows: NDArray[np.int64]) -> float:
        """One step of the optimiser on some rows; gives their loss."""
        self.model.train()
        loss = self._loss(self.run(self.model, rows), rows)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
        return float(loss.detach())

    def predict(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """What the best epoch's model says of rows: percentages, or class numbers. Shapes: [rows]."""
        return self._said(self._outputs(self.best, rows))

    def save(self, path: Path) -> None:
        """Writes the whole state, atomically."""
        arrays = {
            **checkpoint.module_arrays(self.model, "model"),
            **checkpoint.module_arrays(self.best, "best"),
            **checkpoint.optimizer_arrays(self._optimizer),
        }
        best = self.best_score if self.best_epoch else None
        progress = {"epoch": self.epoch, "best_epoch": self.best_epoch, "best_score": best}
        checkpoint.save(path, arrays, {**progress, "run": self.identity()})

    def restore(self, path: Path) -> None:
        """Continues from what `save` wrote. Raises ModelError where it was another run."""
        arrays, facts = checkpoint.load(path)
        if facts["run"] != self.identity():
            raise ModelError(f"checkpoint {path} is of another run; start with --fresh")
        checkpoint.set_module(self.model, arrays, "model")
        checkpoint.set_module(self.best, arrays, "best")
        checkpoint.set_optimizer(self._optimizer, arrays)
        self.epoch, self.best_epoch = facts["epoch"], facts["best_epoch"]
        if self.best_epoch:
            self.best_score = (facts["best_score"][0], facts["best_score"][1])

    def identity(self) -> dict[str, Any]:
        """What must be equal for a checkpoint to be of this run."""
        return {
            "plan": asdict(self.plan),
            "model": asdict(self.model.config),
            "features": FEATURE_VERSION,
            "rows": [int(self._split.train.sum()), int(self._split.validation.sum())],
            "labels": float(self._labels.sum()),
        }

    def _validate(self) -> tuple[float, float]:
        """Smaller is better; the loss decides between equal measures."""
        rows = self._split.validation
        outputs = self._outputs(self.model, rows)
        loss = float(self._loss(outputs, rows))
        measured = measures(self.plan.task, self._labels[rows], self._said(outputs))
        return (measured["mse"] if self.plan.task == "regression" else 1.0 - measured["f1"], loss)

    def _outputs(self, model: System, rows: NDArray[np.int64]) -> torch.Tensor:
        model.eval()
        with torch.inference_mode():
            parts = np.array_split(rows, math.ceil(rows.size / 256))
            return torch.cat([self.run(model, part) for part in parts])

    def run(self, model: System, rows: NDArray[np.int64]) -> torch.Tensor:
        """A model's outputs for rows. Shapes: [rows, outputs]."""
        kernels, row_graph = np.unique(self._examples.kernel[rows], return_inverse=True)
        said: torch.Tensor = model(
            self._graphs.batch(kernels.tolist()),
            torch.from_numpy(row_graph),
            torch.from_numpy(self._examples.launch[rows]),
        )
        return said

    def _loss(self, outputs: torch.Tensor, rows: NDArray[np.int64]) -> torch.Tensor:
        true = torch.from_numpy(self._labels[rows])
        if self.plan.task == "regression":
            return functional.mse_loss(outputs.squeeze(1), (true - self._middle) / self._scale)
        return functional.cross_entropy(outputs, true)

    def _said(self, outputs: torch.Tensor) -> NDArray[Any]:
        if self.plan.task == "regression":
            return np.asarray(self._middle + self._scale * outputs.squeeze(1).numpy())
        return np.asarray(outputs.argmax(dim=1).numpy())

    def batches(self, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """The rows of each batch of an epoch.

        A last batch of one row, which has no norm, joins the one before.
        """
        rows = self._split.train
        place = random.permutation(int(self._examples.kernel.max()) + 1)
        rows = rows[np.argsort(place[self._examples.kernel[rows]], kind="stable")]
        cuts = list(range(self.plan.batch_rows, rows.size, self.plan.batch_rows))
        if cuts and rows.size - cuts[-1] == 1:
            del cuts[-1]
        yield from np.split(rows, cuts)


def graph_set(examples: Examples, plan: Plan) -> GraphSet:
    """The graphs as a plan's network and pooling read them; made once for all folds."""
    return GraphSet(
        examples.graphs, plan.gnn, sums=plan.pooling == "diff", nodes=plan.pooling == "topk"
    )


def system_config(plan: Plan, examples: Examples, graphs: GraphSet) -> SystemConfig:
    """The shape of a plan's model."""
    classes = outputs(plan.task)
    return SystemConfig(
        gnn=plan.gnn,
        pooling=plan.pooling,
        extended_readout=plan.extended_readout,
        vocabulary=len(examples.vocabulary),
        positions=graphs.positions,
        outputs=classes,
        gated=classes if classes > 1 else DISTINCT_PERCENTAGES,
        layer_dropout=plan.layer_dropout,
    )


def train_system(
    training: SystemTraining,
    *,
    state: Path | None = None,
    save_every: int = 10,
    advance: Callable[[Progress], object] = lambda progress: None,
) -> None:
    """A run from its last saved state, if there is one at `state`, to its end.

    Raises ModelError where `state` holds another run, or cannot be read.
    """
    if state is not None and state.exists():
        training.restore(state)
    while not training.is_done:
        progress = training.step_epoch()
        advance(progress)
        if state is not None and (training.epoch % save_every == 0 or training.is_done):
            training.save(state)


def _copy(model: System) -> System:
    copy = System(model.config)
    copy.load_state_dict(model.state_dict())
    return copy


def _stream(plan: Plan, epoch: int) -> int:
    sequence = np.random.SeedSequence((plan.seed, plan.fold, epoch))
    return int(sequence.generate_state(1)[0])
