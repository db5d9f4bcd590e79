"""Training learns, resumes to the same weights, and the network's shortcut changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("torch_geometric", reason="training needs the extra `train`")

from predictor.dataflow import corpus, training  # noqa: E402
from predictor.dataflow.batches import batch, encode  # noqa: E402
from predictor.dataflow.corpus import Labelled, Source  # noqa: E402
from predictor.dataflow.judging import Score, score, trivial  # noqa: E402
from predictor.dataflow.model import DataflowConfig, DataflowModel  # noqa: E402
from predictor.dataflow.training import Training, TrainingConfig  # noqa: E402
from predictor.errors import ModelError  # noqa: E402
from predictor.nn import checkpoint  # noqa: E402
from predictor.program_graph import DATA, INSTRUCTION, VARIABLE, ProgramGraph  # noqa: E402

torch.set_num_threads(1)
SHORT = TrainingConfig(
    epochs=3, batches_per_epoch=2, nodes_per_batch=60, roots_per_graph=2, validate_every=1
)


@pytest.fixture
def labelled(graphs: list[ProgramGraph]) -> list[Labelled]:
    sources = [Source(str(number), str(number), graph) for number, graph in enumerate(graphs)]
    return corpus.label(sources, "reachability", roots=8, seed=1)


def weights(training: Training) -> list[Any]:
    modules = (training.model, training.best)
    return [tensor.numpy() for module in modules for tensor in module.state_dict().values()]


def test_training_raises_the_f1(labelled: list[Labelled]) -> None:
    config = replace(SHORT, epochs=24, batches_per_epoch=6, validate_every=24)
    seen: list[float] = []
    run = Training("reachability", labelled, labelled, config)
    training.train(run, advance=lambda progress: seen.append(progress.training_f1))
    assert np.mean(seen[-3:]) > np.mean(seen[:3]) + 0.3


def test_a_resumed_run_ends_in_the_weights_of_one_that_was_not_stopped(
    labelled: list[Labelled], tmp_path: Path
) -> None:
    # One rung only, so that batches run freely from the first epoch on.
    whole = Training("reachability", labelled, labelled, SHORT)
    whole.rung = len(training.LADDER) - 1
    training.train(whole)
    stopped = Training("reachability", labelled, labelled, SHORT)
    stopped.rung = len(training.LADDER) - 1
    stopped.step_epoch()
    state = tmp_path / "state.npz"
    stopped.save(state)
    resumed = training.train(Training("reachability", labelled, labelled, SHORT), state=state)
    assert resumed.epoch == whole.epoch == 3
    assert (resumed.best_epoch, resumed.best_f1) == (whole.best_epoch, whole.best_f1)
    for one, other in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_ends_in_other_weights(labelled: list[Labelled]) -> None:
    one, other = (
        training.train(Training("reachability", labelled, labelled, replace(SHORT, seed=seed)))
        for seed in (1, 2)
    )
    assert any(not np.array_equal(a, b) for a, b in zip(weights(one), weights(other)))


def test_the_run_ends_when_validation_gets_no_better(labelled: list[Labelled]) -> None:
    run = Training("reachability", labelled, labelled, replace(SHORT, epochs=50, patience=2))
    run.rung = len(training.LADDER) - 1
    run.best_f1 = 1.0
    training.train(run)
    assert run.epoch == 2


def test_the_state_of_another_run_is_refused(labelled: list[Labelled], tmp_path: Path) -> None:
    state = tmp_path / "state.npz"
    Training("reachability", labelled, labelled, SHORT).save(state)
    with pytest.raises(ModelError, match="another run"):
        Training("reachability", labelled, labelled, replace(SHORT, seed=2)).restore(state)


def test_the_model_of_another_task_or_of_no_validation_is_refused(
    labelled: list[Labelled], tmp_path: Path
) -> None:
    state = tmp_path / "state.npz"
    Training("reachability", labelled, labelled, SHORT).save(state)
    with pytest.raises(ModelError, match="expected version 2 and task liveness"):
        training.load(state, "liveness")
    with pytest.raises(ModelError, match="without a validation"):
        training.load(state, "reachability")


def test_a_state_cannot_smuggle_a_pickle(tmp_path: Path) -> None:
    state = tmp_path / "state.npz"
    np.savez(state, **{"facts.json": np.array([object()])})
    with pytest.raises(ModelError):
        training.load(state, "liveness")


def test_what_is_loaded_is_the_best_validation(labelled: list[Labelled], tmp_path: Path) -> None:
    state = tmp_path / "state.npz"
    run = training.train(Training("reachability", labelled, labelled, SHORT), state=state)
    model, vocabulary, facts = training.load(state, "reachability")
    assert training.evaluate(model, vocabulary, labelled).within(None).f1 == run.best_f1
    assert facts["best_epoch"] == run.best_epoch
    arrays, _ = checkpoint.load(state)
    assert not np.array_equal(arrays["model/root"], arrays["best/root"]) or run.best_epoch == 3


def test_a_corpus_of_large_graphs_alone_is_refused(labelled: list[Labelled]) -> None:
    with pytest.raises(ModelError, match="at most 1 nodes"):
        Training("reachability", labelled, labelled, replace(SHORT, largest_graph=1))


def model_and_batch(graphs: list[ProgramGraph]) -> tuple[DataflowModel, Any]:
    torch.manual_seed(0)
    tokens = {text: 1 for graph in graphs for text in graph.node_texts}
    items = [(encode(graph, tokens), np.array([1, 2])) for graph in graphs[:3]]
    return DataflowModel(DataflowConfig(vocabulary=2)).eval(), batch(items)


def test_settling_gives_what_as_many_plain_steps_give(graphs: list[ProgramGraph]) -> None:
    model, prepared = model_and_batch(graphs)
    said, steps = model.settle(prepared, 500)
    assert 3 < steps < 500
    with torch.inference_mode():
        run, states = model.begin(prepared)
        for _ in range(steps):
            states = model.step(run, states)
        plain = model.read(run, states)[:, :, 0]
    np.testing.assert_allclose(said.numpy(), plain.numpy(), atol=2e-2)


def test_settling_stops_at_its_limit(graphs: list[ProgramGraph]) -> None:
    model, prepared = model_and_batch(graphs)
    said, steps = model.settle(prepared, 2)
    with torch.inference_mode():
        run, states = model.begin(prepared)
        for _ in range(2):
            states = model.step(run, states)
        np.testing.assert_allclose(
            said.numpy(), model.read(run, states)[:, :, 0].numpy(), atol=1e-5
        )
    assert steps == 2


def test_graphs_of_a_batch_do_not_touch(graphs: list[ProgramGraph]) -> None:
    model, together = model_and_batch(graphs)
    tokens = {text: 1 for graph in graphs for text in graph.node_texts}
    alone = batch([(encode(graphs[0], tokens), np.array([1, 2]))])
    nodes = len(graphs[0].node_types)
    first, _ = model.settle(together, 6)
    second, _ = model.settle(alone, 6)
    np.testing.assert_allclose(first[:nodes].numpy(), second.numpy(), atol=2e-2)


def test_nodes_with_the_roots_text_and_number_of_operands_are_marked_in_its_own_graph_alone(
    graphs: list[ProgramGraph],
) -> None:
    # No text is in the vocabulary, and yet two texts are not taken for one.
    pair = graphs[:2]
    roots = [np.array([0, len(graph.node_texts) - 1]) for graph in pair]
    made = batch([(encode(graph, {}), own) for graph, own in zip(pair, roots)])
    expected = [
        [kind == kinds_of(graph)[root] for root in own]
        for graph, own in zip(pair, roots)
        for kind in kinds_of(graph)
    ]
    assert made.alike.bool().tolist() == expected


def kinds_of(graph: ProgramGraph) -> list[tuple[str, int]]:
    """Each node's text and number of operands."""
    into = [
        int(target) for flow, target in zip(graph.edge_flows, graph.edge_index[1]) if flow == DATA
    ]
    return [(text, into.count(node)) for node, text in enumerate(graph.node_texts)]


def test_a_node_with_the_roots_text_and_another_operand_more_is_not_marked() -> None:
    # %0 goes into two calls: once alone, once twice.
    texts = ("load", "call", "call", "i32")
    graph = ProgramGraph(
        np.array([INSTRUCTION, INSTRUCTION, INSTRUCTION, VARIABLE], np.int8),
        texts,
        texts,
        np.zeros(4, np.int32),
        np.array([[0, 3, 3, 3], [3, 1, 2, 2]], np.int32),
        np.full(4, DATA, np.int8),
        np.array([0, 0, 0, 1], np.int32),
        ("f",),
    )
    made = batch([(encode(graph, {}), np.array([1, 2]))])
    assert made.alike.tolist() == [[0, 0], [1, 0], [0, 1], [0, 0]]


@pytest.mark.parametrize("compares", [True, False])
def test_a_model_that_compares_instructions_reads_what_is_marked(
    graphs: list[ProgramGraph], compares: bool
) -> None:
    torch.manual_seed(3)
    model = DataflowModel(DataflowConfig(9, marks_alike=compares)).eval()
    made = batch([(encode(graphs[0], {}), np.array([0]))])
    other = replace(made, alike=1.0 - made.alike)
    one, another = (model.begin(each)[1] for each in (made, other))
    assert torch.equal(one, another) != compares


def test_behind_a_closed_gate_a_model_for_rare_answers_says_no(graphs: list[ProgramGraph]) -> None:
    torch.manual_seed(3)
    model = DataflowModel(DataflowConfig(9, read_bias=-5.0)).eval()
    run, states = model.begin(batch([(encode(graphs[0], {}), np.array([0]))]))
    with torch.no_grad():
        at_first = model.read(run, states)
        model.read_gate.weight.zero_()
        model.read_gate.bias.fill_(-100.0)
        closed = model.read(run, states)
    assert -8.0 < float(at_first.min()) <= float(at_first.max()) < -2.0
    assert torch.equal(closed, torch.full_like(closed, -5.0))


def test_an_answer_depends_on_the_root_and_on_nothing_it_is_asked_for(
    labelled: list[Labelled],
) -> None:
    torch.manual_seed(0)
    vocabulary = training.vocabulary_of(labelled)
    model = DataflowModel(DataflowConfig(vocabulary=len(vocabulary))).eval()
    graph = labelled[2]
    denied = Labelled(
        graph.name, graph.graph, graph.roots, 0 * graph.until, graph.until, graph.hint, graph.steps
    )
    said = training.evaluate(model, vocabulary, [graph]).within(None)
    other = training.evaluate(model, vocabulary, [denied]).within(None)
    assert said.true_positives + said.false_positives == (
        other.true_positives + other.false_positives
    )


def test_scores_are_pooled_over_nodes() -> None:
    truth = np.array([[True, True, False, False]])
    found = score(np.array([[True, False, True, False]]), truth)
    assert (found.precision, found.recall, found.f1, found.positives) == (0.5, 0.5, 0.5, 0.5)
    pooled = found + score(truth, truth)
    assert pooled == Score(3, 1, 1, 3, 2)
    assert pooled.f1 == 0.75


def test_trivial_predictors_mark_every_node_or_the_root(labelled: list[Labelled]) -> None:
    scores = trivial(labelled)
    assert scores["every node"].recall == 1.0
    assert scores["every node"].precision == scores["every node"].positives
    assert scores["the root alone"].precision == 1.0
    assert scores["the root alone"].true_positives == sum(g.roots.size for g in labelled)
