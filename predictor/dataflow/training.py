"""Trains one task's model: the analysis' own rounds are the target of the network's steps.

After `t` steps the network is asked for what `t` rounds of the analysis have marked, and for the set
that the analysis looks through on its way (the hint; targets both, inputs never). It starts with few
steps and is given more once it does well. From then on most batches first run on freely, for up to
`far` steps without a gradient, and learn a few steps from there: a step must hold its fixed point for
as long as the largest graph needs. (ProGraML's training looks at the last of 30 steps alone.)

An epoch is a fixed number of batches. Each of its random choices follows from the seed and the epoch's
number, so that a run that was stopped and resumed ends in the same weights as one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from predictor.dataflow.analyses import NEVER
from predictor.dataflow.batches import Batch, batch, encode
from predictor.dataflow.corpus import Labelled
from predictor.dataflow.judging import Found, Score, score
from predictor.dataflow.model import DataflowConfig, DataflowModel
from predictor.errors import ModelError
from predictor.features import Vocabulary
from predictor.nn import checkpoint

STATE_VERSION = 2
LADDER = (4, 8, 16)
"""How many steps are learned from the start, one rung after the other."""
SLACK = 16
"""Steps that even the smallest graph may take."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """What a run depends on beside its data.

    A node whose mark came or went less than `grace` rounds ago may be said to be either.
    An epoch's F1 of `climb_at` or more leads to the next rung of the ladder.
    `free_share` of the batches run freely before they learn, once the ladder is climbed. Validation
    is every `validate_every` epochs; `patience` validations without a better F1 end the run.
    `marks_alike` and `read_bias` are of the model.
    """

    epochs: int = 24
    seed: int = 1
    batches_per_epoch: int = 25
    nodes_per_batch: int = 800
    roots_per_graph: int = 4
    largest_graph: int = 400
    learning_rate: float = 5e-3
    largest_gradient: float = 1.0
    free_share: float = 0.6
    far: int = 120
    learned_steps: int = 6
    climb_at: float = 0.97
    grace: int = 0
    validate_every: int = 6
    patience: int = 4
    marks_alike: bool = False
    read_bias: float = 0.0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batches_per_epoch, self.roots_per_graph) < 1:
            raise ValueError("epochs, batches_per_epoch and roots_per_graph must be at least 1")


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a run after an epoch (numbered from 1); training F1 is of answer and hint."""

    epoch: int
    steps: int
    training_f1: float
    best_epoch: int
    best_f1: float


class Training:
    """One run. `step_epoch` advances it; `save` and `restore` move it to and from a file."""

    def __init__(
        self,
        task: str,
        train: Sequence[Labelled],
        validation: Sequence[Labelled],
        config: TrainingConfig,
    ) -> None:
        self.task, self.config = task, config
        self.epoch = self.rung = self.best_epoch = self.waited = 0
        self.best_f1 = -1.0
        largest = config.largest_graph
        self._train = [graph for graph in train if len(graph.graph.node_types) <= largest]
        self._validation = [g for g in validation if len(g.graph.node_types) <= largest]
        if not self._train or not self._validation:
            raise ModelError(
                f"no graph of at most {largest} nodes with a root to train and validate on; "
                "give a larger corpus"
            )
        self.vocabulary = vocabulary_of(self._train)
        tokens = self.vocabulary.tokens()
        self._encoded = [encode(graph.graph, tokens) for graph in self._train]
        torch.manual_seed(_stream(config, 0))
        self.model = DataflowModel(
            DataflowConfig(
                len(self.vocabulary), marks_alike=config.marks_alike, read_bias=config.read_bias
            )
        )
        self.best = self.model
        self._keep()
        self._optimizer = torch.optim.Adam(self.model.parameters(), config.learning_rate)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or validation has not got better for long."""
        return self.epoch >= self.config.epochs or self.waited >= self.config.patience

    def step_epoch(self) -> Progress:
        """Trains for one epoch, validates where it is time, and climbs the ladder."""
        self.epoch += 1
        random = np.random.default_rng(_stream(self.config, self.epoch))
        reached = [self._step(random, number) for number in range(self.config.batches_per_epoch)]
        f1 = sum(reached, Score()).f1
        climbing = self.rung < len(LADDER) - 1
        if climbing and f1 >= self.config.climb_at:
            self.rung += 1
        if self.epoch % self.config.validate_every == 0 or self.epoch == self.config.epochs:
            validated = evaluate(self.model, self.vocabulary, self._validation).within(None).f1
            better = validated > self.best_f1
            self.waited = 0 if climbing or better else self.waited + 1
            # Of equals the later one, which has practised longer.
            if validated >= self.best_f1:
                self.best_f1, self.best_epoch = validated, self.epoch
                self._keep()
        return Progress(self.epoch, LADDER[self.rung], f1, self.best_epoch, self.best_f1)

    def save(self, path: Path) -> None:
        """Writes the whole state, atomically."""
        arrays = {
            **checkpoint.module_arrays(self.model, "model"),
            **checkpoint.module_arrays(self.best, "best"),
            **checkpoint.optimizer_arrays(self._optimizer),
        }
        facts = {
            "version": STATE_VERSION,
            "task": self.task,
            "model": asdict(self.model.config),
            "texts": self.vocabulary.texts,
            "epoch": self.epoch,
            "rung": self.rung,
            "best_epoch": self.best_epoch,
            "best_f1": self.best_f1,
            "waited": self.waited,
            "run": self._identity(),
        }
        checkpoint.save(path, arrays, facts)

    def restore(self, path: Path) -> None:
        """Continues from what `save` wrote. Raises ModelError where it was another run."""
        arrays, facts = checkpoint.load(path)
        if facts.get("version") != STATE_VERSION or facts.get("run") != self._identity():
            raise ModelError(f"checkpoint {path} is of another run; start with --fresh")
        checkpoint.set_module(self.model, arrays, "model")
        checkpoint.set_module(self.best, arrays, "best")
        checkpoint.set_optimizer(self._optimizer, arrays)
        self.epoch, self.rung, self.waited = facts["epoch"], facts["rung"], facts["waited"]
        self.best_epoch, self.best_f1 = facts["best_epoch"], facts["best_f1"]

    def _identity(self) -> dict[str, Any]:
        """What must be equal for a checkpoint to be of this run."""
        return {
            "task": self.task,
            "training": asdict(self.config),
            "model": asdict(self.model.config),
            "examples": [sum(g.roots.size for g in part) for part in self._parts()],
            "marks": [sum(int(g.marked.sum()) for g in part) for part in self._parts()],
        }

    def _parts(self) -> tuple[list[Labelled], list[Labelled]]:
        return self._train, self._validation

    def _keep(self) -> None:
        self.best = DataflowModel(self.model.config)
        self.best.load_state_dict(self.model.state_dict())

    def _step(self, random: np.random.Generator, number: int) -> Score:
        """One batch; returns how well its last step did."""
        chosen = self._choose(random)
        free, steps = self._lengths(random)
        prepared = batch([(self._encoded[index], roots) for index, _, roots in chosen])
        logits = self._run(prepared, free, steps)
        truth, counted = self._targets(chosen, free, steps)
        # Marks are few: the loss is per mark, so that it does not vanish in graphs full of zeros.
        loss = binary_cross_entropy_with_logits(logits, truth, weight=counted, reduction="sum")
        loss = loss / (truth * counted).sum().clamp(min=steps * prepared.selector.sum())
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.largest_gradient)
        self._set_learning_rate((self.epoch - 1) * self.config.batches_per_epoch + number)
        self._optimizer.step()
        said, last, wanted = logits[-1] > 0, counted[-1] > 0, truth[-1] > 0
        return score((said & last).numpy(), (wanted & last).numpy())

    def _choose(
        self, random: np.random.Generator
    ) -> list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Graphs until the batch is full: their numbers, and their roots by row and by node."""
        chosen = []
        nodes = 0
        for index in random.permutation(len(self._train)).tolist():
            graph = self._train[index]
            rows = random.choice(graph.roots.size, self.config.roots_per_graph)
            chosen.append((index, rows, graph.roots[rows]))
            nodes += len(graph.graph.node_types)
            if nodes >= self.config.nodes_per_batch:
                break
        return chosen

    def _lengths(self, random: np.random.Generator) -> tuple[int, int]:
        """How many steps to run freely, and how many to learn after them."""
        top = LADDER[self.rung]
        if self.rung == len(LADDER) - 1 and random.random() < self.config.free_share:
            far = math.exp(random.uniform(math.log(4.0), math.log(self.config.far)))
            return int(far), self.config.learned_steps
        return 0, top if random.random() < 0.5 else int(random.integers(top // 2, top + 1))

    def _run(self, prepared: Batch, free: int, steps: int) -> Tensor:
        """The logits of the learned steps. Shapes: [steps, nodes, roots, 2]."""
        with torch.no_grad():
            run, states = self.model.begin(prepared)
            for _ in range(free):
                states = self.model.step(run, states)
        run, start = self.model.begin(prepared)
        states = states if free else start
        logits = []
        for _ in range(steps):
            states = self.model.step(run, states)
            logits.append(self.model.read(run, states))
        return torch.stack(logits)

    def _targets(
        self, chosen: list[tuple[int, NDArray[np.int64], NDArray[np.int64]]], free: int, steps: int
    ) -> tuple[Tensor, Tensor]:
        """Answer and hint after each of the learned steps, and what of it counts.

        A mark that came or went in the last `grace` rounds does not count.

        Shapes: float32 [steps, nodes, roots, 2] both.
        """
        since, until, hint = (
            np.concatenate([getattr(self._train[index], name)[rows].T for index, rows, _ in chosen])
            for name in ("since", "until", "hint")
        )
        begin = np.stack((since, hint), axis=2)
        end = np.stack((until, np.full_like(until, NEVER)), axis=2)
        rounds = np.arange(free + 1, free + steps + 1)[:, None, None, None]
        truth = (begin <= rounds) & (rounds < end)
        earlier = rounds - self.config.grace
        settled = truth == ((begin <= earlier) & (earlier < end))
        settled |= truth & (begin == 0)
        return (
            torch.from_numpy(truth.astype(np.float32)),
            torch.from_numpy(settled.astype(np.float32)),
        )

    def _set_learning_rate(self, step: int) -> None:
        """A short linear warm-up, then straight down to a twentieth."""
        done = step / (self.config.epochs * self.config.batches_per_epoch)
        rate = min(1.0, (step + 1) / 30) * (1.0 - 0.95 * done)
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.learning_rate * rate


def train(
    training: Training,
    *,
    state: Path | None = None,
    advance: Callable[[Progress], object] = lambda progress: None,
) -> Training:
    """A run from its last saved state, if there is one at `state`, to its end.

    Raises ModelError where `state` holds another run, or cannot be read.
    """
    if state is not None and state.exists():
        training.restore(state)
    while not training.finished:
        progress = training.step_epoch()
        if state is not None and (
            training.epoch % training.config.validate_every == 0 or training.finished
        ):
            training.save(state)
        advance(progress)
    return training


def vocabulary_of(labelled: Sequence[Labelled]) -> Vocabulary:
    """The ProGraML texts of graphs, in alphabetical order."""
    return Vocabulary(
        tuple(sorted({text for graph in labelled for text in graph.graph.node_texts}))
    )


def load(path: Path, task: str) -> tuple[DataflowModel, Vocabulary, dict[str, Any]]:
    """The weights of the best validation of a run, the texts that it knows, and how it was trained.

    Raises ModelError where the file is damaged, of another version or of another task.
    """
    arrays, facts = checkpoint.load(path)
    if facts.get("version") != STATE_VERSION or facts.get("task") != task:
        raise ModelError(
            f"checkpoint {path} is of version {facts.get('version')} and task {facts.get('task')}, "
            f"expected version {STATE_VERSION} and task {task}; train it first"
        )
    if not facts["best_epoch"]:
        raise ModelError(f"checkpoint {path} is of a run without a validation yet; train on")
    model = DataflowModel(DataflowConfig(**facts["model"]))
    checkpoint.set_module(model, arrays, "best")
    about = {name: facts[name] for name in ("epoch", "best_epoch", "best_f1")}
    about["training_examples"], about["validation_examples"] = facts["run"]["examples"]
    return model.eval(), Vocabulary(tuple(facts["texts"])), about


def evaluate(
    model: DataflowModel,
    vocabulary: Vocabulary,
    labelled: Sequence[Labelled],
    advance: Callable[[Labelled], object] = lambda graph: None,
) -> Found:
    """The scores of all roots of all graphs, each graph run until it settles.

    No more steps are made than a graph has nodes (and SLACK more). `advance` is called after each graph.
    """
    tokens = vocabulary.tokens()
    scores: list[tuple[int, Score]] = []
    most_steps = 0
    for graph in labelled:
        encoded = encode(graph.graph, tokens)
        logits, steps = model.settle(batch([(encoded, graph.roots)]), encoded.tokens.size + SLACK)
        said = (logits > 0).numpy().T
        scores.extend(
            (int(needed), score(one[None], truth[None]))
            for needed, one, truth in zip(graph.steps, said, graph.marked)
        )
        most_steps = max(most_steps, steps)
        advance(graph)
    return Found(tuple(scores), most_steps)


def _stream(config: TrainingConfig, epoch: int) -> int:
    return int(np.random.SeedSequence((config.seed, epoch)).generate_state(1)[0])
