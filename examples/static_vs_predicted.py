"""Times kernels at static CPU shares of 0, 10, ..., 100 % and at the predicted one, side by side.

All shares are timed in one interleaved run (0 %, 10 %, ..., predicted, 0 %, ...), so that a machine that
slows down slows all of them. A table is printed; a picture and a JSON file are written.

    python examples/static_vs_predicted.py kernels/n_body.cl kernels/mandelbrot.cl
    python examples/static_vs_predicted.py --one-core-each --output benchmarks/results kernels/*.cl

`--one-core-each` holds each of two CPU platforms to one core, so that they do not take each other's.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    from lb_runtime import Runtime

STATIC_SHARES = tuple(percent / 100 for percent in range(0, 101, 10))
ONE_CORE = {"POCL_MAX_PTHREAD_COUNT": "1", "CL_CONFIG_CPU_TBB_NUM_WORKERS": "1"}


@click.command()
@click.argument("kernels", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--repeat", type=click.IntRange(min=1), default=9, show_default=True)
@click.option("--cpu", help="The device that plays CPU: an index or a part of its name.")
@click.option("--gpu", help="The device that plays GPU: an index or a part of its name.")
@click.option("--one-core-each", is_flag=True, help="Hold each CPU platform to one core.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Folder for static_vs_predicted.png and .json; the current one by default.",
)
def main(
    kernels: tuple[Path, ...],
    repeat: int,
    cpu: str | None,
    gpu: str | None,
    one_core_each: bool,
    output: Path,
) -> None:
    """Compare static splits with the predicted one, on kernels that have a default launch."""
    if one_core_each:
        os.environ.update(ONE_CORE)
    folder = Path(__file__).parents[1] / "kernels"
    kernels = kernels or tuple(
        folder / f"{name}.cl" for name in ("n_body", "matmul_tiled", "convolution_2d", "mandelbrot")
    )
    from lb_runtime import LoadBalancerError, Runtime
    from predictor.errors import PredictorError

    results = []
    try:
        with Runtime(cpu, gpu) as runtime, Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("timing", total=len(kernels) * (repeat + 1))
            for path in kernels:
                progress.update(task, description=path.stem)
                results.append(sweep(runtime, path, repeat, lambda: progress.advance(task)))
            machine = describe_machine(runtime, one_core_each)
    except (LoadBalancerError, PredictorError) as error:
        raise click.ClickException(str(error)) from None
    show(results)
    output.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine, "repeat": repeat, "kernels": results}
    (output / "static_vs_predicted.json").write_text(json.dumps(document, indent=1) + "\n")
    draw(results, output / "static_vs_predicted.png")
    click.echo(f"wrote {output / 'static_vs_predicted.json'} and .png")


def sweep(runtime: Runtime, path: Path, repeat: int, advance: Callable[[], None]) -> dict[str, Any]:
    """Time one kernel at every static share and at the predicted one; seconds per repetition."""
    import numpy as np

    from lb_runtime.arguments import bind
    from lb_runtime.cli.launches import choose_kernel, choose_launch
    from lb_runtime.execute import execute
    from lb_runtime.launch import Launch

    chosen = choose_launch(choose_kernel(path, None, None), None, None, None, ())
    kernel = chosen.choice.kernel
    bound, values = bind(kernel.facts, chosen.values(0))
    launch = Launch(kernel.name, chosen.assumed.launch.nd_range, bound)
    originals = [np.copy(value) if isinstance(value, np.ndarray) else None for value in values]
    shares = [*STATIC_SHARES, None]
    decisions = [runtime.prepare(kernel, runtime.decide(kernel, launch, share)) for share in shares]
    seconds: list[list[float]] = [[] for _ in decisions]
    for repetition in range(repeat + 1):
        for decision, times in zip(decisions, seconds):
            for value, original in zip(values, originals):
                if original is not None:
                    np.copyto(value, original)
            execution = execute(decision.plan, runtime.devices.devices, values)
            if repetition:
                # The first round builds programs and warms caches up.
                times.append(execution.total_seconds)
        advance()
    predicted = decisions[-1]
    return {
        "kernel": kernel.name,
        "global_size": launch.nd_range.global_size,
        "local_size": launch.nd_range.local_size,
        "splits": any(decision.is_split for decision in decisions),
        "reasons": [str(reason) for decision in decisions[5:6] for reason in decision.reasons],
        "static": [
            {"cpu_share": share, "seconds": times} for share, times in zip(STATIC_SHARES, seconds)
        ],
        "predicted": {
            "cpu_share": predicted.cpu_share,
            "real_cpu_share": predicted.real_cpu_share,
            "seconds": seconds[-1],
        },
    }


def summary(result: dict[str, Any]) -> dict[str, float]:
    """Medians of one kernel: each device alone, the best static share, the predicted share."""
    medians = {entry["cpu_share"]: median(entry["seconds"]) for entry in result["static"]}
    best_share = min(medians, key=medians.__getitem__)
    return {
        "gpu": medians[0.0],
        "cpu": medians[1.0],
        "best_share": best_share,
        "best": medians[best_share],
        "predicted": median(result["predicted"]["seconds"]),
    }


def show(results: list[dict[str, Any]]) -> None:
    """Print a table: median milliseconds, and the predicted split against the others."""
    table = Table(title="static and predicted splits, median ms", title_justify="left")
    for column in (
        "kernel",
        "CPU alone",
        "GPU alone",
        "best static",
        "at share",
        "predicted",
        "at share",
        "vs better device",
        "vs best static",
    ):
        table.add_column(column, justify="left" if column == "kernel" else "right")
    for result in results:
        s = summary(result)
        table.add_row(
            result["kernel"],
            *(f"{s[key] * 1e3:.2f}" for key in ("cpu", "gpu", "best")),
            f"{s['best_share']:.0%}",
            f"{s['predicted'] * 1e3:.2f}",
            f"{result['predicted']['real_cpu_share']:.1%}",
            f"{min(s['cpu'], s['gpu']) / s['predicted']:.2f} x",
            f"{s['best'] / s['predicted']:.2f} x",
        )
    Console(width=120).print(table)


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Draw each kernel's sweep, with the predicted share marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    columns = min(2, len(results))
    rows = -(-len(results) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(5.5 * columns, 3.6 * rows), squeeze=False)
    for axis in axes.flat[len(results) :]:
        axis.set_visible(False)
    for result, axis in zip(results, axes.flat):
        shares = [100 * entry["cpu_share"] for entry in result["static"]]
        times = [[1e3 * s for s in entry["seconds"]] for entry in result["static"]]
        middle = [median(each) for each in times]
        axis.fill_between(shares, [min(t) for t in times], [max(t) for t in times], alpha=0.2)
        axis.plot(shares, middle, marker="o", label="static shares (median, range)")
        axis.plot(
            [100 * result["predicted"]["real_cpu_share"]],
            [1e3 * median(result["predicted"]["seconds"])],
            marker="*",
            markersize=15,
            linestyle="none",
            color="tab:red",
            label="predicted share",
        )
        axis.set_title(result["kernel"])
        axis.set_xlabel("CPU share of the work-items, %")
        axis.set_ylabel("time, ms")
        axis.set_ylim(bottom=0)
        axis.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def describe_machine(runtime: Runtime, one_core_each: bool) -> dict[str, Any]:
    """What the numbers were measured on."""
    cpu, gpu = runtime.devices.devices
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "cpu": f"{cpu.info.platform_name} {cpu.info.platform_version}: {cpu.info.name}",
        "gpu": f"{gpu.info.platform_name} {gpu.info.platform_version}: {gpu.info.name}",
        "one_core_each": one_core_each,
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
