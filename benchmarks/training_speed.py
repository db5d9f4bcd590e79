"""Times an epoch of the thesis' best regression model, with its own code and with ours, in turns.

Its best model is ProGraML's network with skips pooling and the extended readout. Both codes get the same
graphs, launches, batch size and number of optimiser steps, and one thread; before the timing both
get the same weights, and their outputs and gradients are compared (dropout off). An epoch holds all that
a user waits for: batches are put together, forwards, backwards, Adam.

    python benchmarks/training_speed.py --thesis PATH --output benchmarks/results

PATH is a checkout of github.com/igabirondo16/pyg_programl. Packages that its training loop imports but
an epoch does not use (pandas, tqdm, torchtnt) are replaced by empty ones where they are missing.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import click
import numpy as np
from machine import describe_machine
from rich.console import Console
from rich.progress import Progress

UNUSED = {"pandas": (), "tqdm": (), "torchtnt.utils.flops": ("FlopTensorDispatchMode",)}
MODEL = "models.programl_load_balancing.PROGRAML_load_balancing.PROGRAML_load_balancing"


@click.command()
@click.option(
    "--thesis", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True
)
@click.option("--data", type=click.Path(path_type=Path), help="nvidia.csv, or its folder.")
@click.option("--batch", "batches", type=click.IntRange(min=2), multiple=True, default=(32, 256))
@click.option("--repeat", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path))
def main(
    thesis: Path, data: Path | None, batches: tuple[int, ...], repeat: int, output: Path | None
) -> None:
    """Time epochs of both codes in turns; what the file holds of other batch sizes stays there."""
    import torch

    from predictor.datasets import devmap
    from predictor.systems import plain_examples

    torch.set_num_threads(1)
    theirs = Thesis(thesis)
    read = devmap.read("nvidia", data)
    examples = plain_examples(read, devmap.compile_kernels(read.sources))
    differences = theirs.compare(examples)
    click.echo(f"largest difference of outputs and gradients: {differences}")
    entries = [time_both(theirs, examples, batch, repeat) for batch in batches]
    facts = {
        "machine": describe_machine(with_devices=False),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "launches": len(examples),
        "kernels": len(examples.graphs),
        "nodes": sum(int(graph.tokens.size) for graph in examples.graphs),
        "nodes_over_launches": int(sum(examples.graphs[k].tokens.size for k in examples.kernel)),
        "largest_relative_difference": differences,
        "epochs": entries,
    }
    for entry in entries:
        click.echo(
            f"batches of {entry['batch']}: {entry['steps']} steps, thesis "
            f"{median(entry['thesis_seconds']):.2f} s, ours {median(entry['our_seconds']):.2f} s, "
            f"ratio {entry['median_ratio']} ({entry['smallest_ratio']} to {entry['largest_ratio']})"
        )
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        path = output / "training_speed.json"
        if path.exists():
            measured = json.loads(path.read_text())["epochs"]
            entries += [entry for entry in measured if entry["batch"] not in batches]
            facts["epochs"] = sorted(entries, key=lambda entry: int(entry["batch"]))
        path.write_text(json.dumps(facts, indent=1) + "\n")
        click.echo(f"wrote {path}")


def time_both(theirs: Thesis, examples: Any, batch: int, repeat: int) -> dict[str, Any]:
    """Epochs of both codes in turns, after one of each that is not counted."""
    training = our_training(examples, batch)
    loop = theirs.loop(examples, batch)
    our_steps = sum(1 for _ in training.batches(np.random.default_rng(0)))
    seconds: dict[str, list[float]] = {"thesis": [], "ours": []}
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(f"batches of {batch}", total=repeat + 1)
        for number in range(repeat + 1):
            began = perf_counter()
            loop()
            middle = perf_counter()
            rows = training.batches(np.random.default_rng(number))
            for chosen in rows:
                training.step(chosen)
            ended = perf_counter()
            if number:
                seconds["thesis"].append(middle - began)
                seconds["ours"].append(ended - middle)
            bar.advance(task)
    ratios = [a / b for a, b in zip(seconds["thesis"], seconds["ours"], strict=True)]
    return {
        "batch": batch,
        "steps": our_steps,
        "thesis_steps": -(-len(examples) // batch),
        "thesis_seconds": [round(one, 3) for one in seconds["thesis"]],
        "our_seconds": [round(one, 3) for one in seconds["ours"]],
        "median_ratio": round(median(ratios), 2),
        "smallest_ratio": round(min(ratios), 2),
        "largest_ratio": round(max(ratios), 2),
    }


def our_training(examples: Any, batch: int) -> Any:
    """A run of ours over all launches."""
    from predictor.judge import Split
    from predictor.systems import Plan, SystemTraining, graph_set

    plan = Plan("regression", extended_readout=True, batch_rows=batch, layer_dropout=0.3)
    rows = np.arange(len(examples))
    return SystemTraining(
        examples, Split(rows, rows[:1], rows[:0]), plan, graph_set(examples, plan)
    )


class Thesis:
    """The thesis' model and training loop, over our graphs in its form."""

    def __init__(self, checkout: Path) -> None:
        sys.path.insert(0, str(checkout / "src"))
        stood_in = [one for name, given in UNUSED.items() for one in _stand_in(name, given)]
        try:
            self._model = importlib.import_module(MODEL).ProgramlLoadBalancingModel
            self._utilities = importlib.import_module("utils.utils_regression").UtilsRegression
        except ImportError as error:
            raise click.UsageError(f"{checkout} is no checkout of pyg_programl: {error}") from error
        finally:
            for name in stood_in:
                del sys.modules[name]

    def model(self, examples: Any) -> Any:
        """Its best model, with its own defaults."""
        return self._model(
            vocab_size=len(examples.vocabulary),
            hidden_size=64,
            edge_type_count=3,
            use_edge_bias=True,
            dropout_rate_linear_layer=0.3,
            dropout_rate_update_layer=0.3,
            num_classes=85,
            output_dropout=0.3,
            aux_features_dim=2,
            graph_x_layer_size=192,
            use_forward_and_backward_edges=False,
            discretize_problem=False,
            pooling_method="skips",
            extended_readout=True,
        )

    def loop(self, examples: Any, batch: int) -> Any:
        """A function that trains for one epoch, with its own loop."""
        import torch
        from torch_geometric.loader import DataLoader

        model = self.model(examples)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        graphs = [self.launch(examples, row) for row in range(len(examples))]
        sampler = torch.utils.data.SubsetRandomSampler(range(len(graphs)))
        loader = DataLoader(graphs, batch_size=batch, sampler=sampler)
        criterion = torch.nn.MSELoss()
        return lambda: self._utilities.train(None, model, loader, criterion, optimizer, "cpu")

    def launch(self, examples: Any, row: int) -> Any:
        """A launch as the thesis' data set gives it."""
        import torch
        from torch_geometric.data import HeteroData

        graph = examples.graphs[examples.kernel[row]]
        data = HeteroData()
        data["nodes"].x = torch.from_numpy(graph.tokens)
        for number, name in enumerate(("control", "data", "call")):
            chosen = graph.edge_types == number
            data["nodes", name, "nodes"].edge_index = torch.from_numpy(graph.edge_index[:, chosen])
            data["nodes", name, "nodes"].edge_attr = torch.from_numpy(graph.edge_positions[chosen])
        data.y = float(examples.percentage[row])
        data["transfer_bytes_log1p"], data["wgsize_log1p"] = map(float, examples.launch[row])
        return data

    def compare(self, examples: Any) -> dict[str, float]:
        """The largest differences, with the same weights and without dropout, over their largest size."""
        import torch
        from torch_geometric.data import Batch

        training = our_training(examples, 64)
        ours = training.model.eval()
        model = self.model(examples).eval()
        model.load_state_dict(self._weights(ours, model))
        rows = np.arange(0, len(examples), 11)
        theirs = model(Batch.from_data_list([self.launch(examples, row) for row in rows]))
        said = training.run(ours, rows).squeeze(1)
        torch.autograd.backward((theirs**2).sum())
        torch.autograd.backward((said**2).sum())
        gradients = [
            (ours.network.embedding.weight, model.node_embeddings.embedding_layer.weight),
            (ours.network.layers[0].messages.weight, model.mp1.linear_net.linear_layer.weight),
            (ours.network.layers[0].gate.weight, model.mp1.pos_transform.linear_layer.weight),
            (ours.network.layers[1].cell_state.weight, model.mp2.gru.gru_layer.weight_hh),
            (ours.readout[3].weight, model.readout.feed_forward[3].weight),
        ]
        return {
            "outputs": _difference(said, theirs),
            "gradients": max(_difference(one.grad, other.grad) for one, other in gradients),
        }

    @staticmethod
    def _weights(ours: Any, model: Any) -> dict[str, Any]:
        """Our weights under its names; its launch facts stand in the other order."""
        import torch

        state = dict(model.state_dict())
        mine = ours.state_dict()
        state["node_embeddings.embedding_layer.weight"] = mine["network.embedding.weight"]
        for number, layer in enumerate(("mp1", "mp2")):
            prefix = f"network.layers.{number}"
            for kind in ("weight", "bias"):
                state[f"{layer}.linear_net.linear_layer.{kind}"] = mine[f"{prefix}.messages.{kind}"]
                state[f"{layer}.pos_transform.linear_layer.{kind}"] = mine[f"{prefix}.gate.{kind}"]
                state[f"{layer}.gru.gru_layer.{kind}_ih"] = mine[f"{prefix}.cell_input.{kind}"]
                state[f"{layer}.gru.gru_layer.{kind}_hh"] = mine[f"{prefix}.cell_state.{kind}"]
        order = torch.arange(mine["norm.weight"].numel())
        order[-2:] = order[-2:].flip(0)
        for kind in ("weight", "bias", "running_mean", "running_var"):
            state[f"readout.batch_normalization.{kind}"] = mine[f"norm.{kind}"][order]
        for number in (0, 3, 6):
            for kind in ("weight", "bias"):
                state[f"readout.feed_forward.{number}.{kind}"] = mine[f"readout.{number}.{kind}"]
        state["readout.feed_forward.0.weight"] = mine["readout.0.weight"][:, order]
        return state


def _difference(one: Any, other: Any) -> float:
    return float(((one - other).abs().max() / other.abs().max()).detach())


def _stand_in(name: str, attributes: tuple[str, ...]) -> list[str]:
    """Puts an empty module where there is none of that name, and names what it put there."""
    try:
        importlib.import_module(name)
    except ImportError:
        parts = name.split(".")
        names = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
        new = [one for one in names if one not in sys.modules]
        sys.modules.update({one: types.ModuleType(one) for one in new})
        for attribute in attributes:
            setattr(sys.modules[name], attribute, type(attribute, (), {}))
        return new
    return []


if __name__ == "__main__":
    main()
