"""The plots of a report, as matplotlib figures: what each shows, and in words for who cannot see it.

Colours are those of Okabe and Ito (2008), which people of all kinds of colour vision tell apart; text and
grid have one colour each, which the page replaces by its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lb_runtime.bench.measure import ADAPTIVE, CPU_ONLY, CUT, DYNAMIC, GPU_ONLY, PREDICTED
from lb_runtime.bench.record import Bench, KernelRecord, Sample
from lb_runtime.bench.stats import interval
from lb_runtime.bench.summary import FROM, KernelSummary, overall, summaries, summary_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT, GRID = "#2a2b2c", "#d4d5d6"
BLUE, ORANGE, GREEN, PINK, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"
DEVICES = ("CPU", "GPU")
DEVICE_COLOURS = (BLUE, ORANGE)
SIZE = (7.2, 3.6)
"""Inches; 72 units each on the page."""
STYLE: Any = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": GRID,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "svg.fonttype": "path",
    "svg.hashsalt": "lb bench",
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure, the name of its file, and what it shows in words."""

    name: str
    words: str
    figure: Figure


def plots_of(bench: Bench) -> Iterator[Plot]:
    """All plots of a benchmark, one after the other: over all kernels, then three of each.

    Raises ImportError where matplotlib is missing.
    """
    found = summaries(bench)
    if found:
        yield efficiencies(found)
    for record in bench.kernels.values():
        summary = summary_of(record)
        if summary is not None:
            yield sweep(record, summary)
            yield shares(record)
            if record.timelines:
                yield timelines(record)


def _figure(height: float = SIZE[1]) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE[0], height), layout="constrained")
    return figure, figure.add_subplot()


def efficiencies(found: list[KernelSummary]) -> Plot:
    """A bar for each kernel under the adaptive policy, marks for the best cut, chunks and the prediction."""
    figure, axes = _figure(1.5 + 0.34 * (len(found) + 1))
    means = overall(found)
    rows = [(each.name, each.efficiencies) for each in found]
    if means is not None:
        rows.append(("geometric mean", means.efficiencies))
    for place, (name, values) in enumerate(rows):
        value = values[ADAPTIVE]
        bold = name == "geometric mean"
        axes.barh(place, value, 0.66, color=BLUE if bold else SKY, zorder=2)
        axes.text(
            0.012,
            place,
            f"{value:.2f}",
            va="center",
            color="white" if bold else "#101112",
            zorder=5,
            weight="bold",
        )
        for way, mark, colour in (
            (CUT, "D", ORANGE),
            (DYNAMIC, "o", GREEN),
            (PREDICTED, "|", "#8f63c7"),
        ):
            if way in values:
                axes.plot(
                    values[way],
                    place,
                    mark,
                    color=colour,
                    markersize=7,
                    zorder=4,
                    mew=2.2 if mark == "|" else 0.8,
                    markeredgecolor=colour if mark == "|" else "white",
                    label={CUT: "best cut", DYNAMIC: "chunks", PREDICTED: "predicted"}[way]
                    if place == len(rows) - 1
                    else None,
                )
    axes.axvline(1.0, color=TEXT, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlim(0, max(1.08, *(value + 0.04 for _, values in rows for value in values.values())))
    axes.set_xlabel("efficiency: speed-up over the faster device / largest possible")
    axes.set_title("Bars: adaptive, from the fourth launch on")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    text = ", ".join(f"{name} {values[ADAPTIVE]:.2f}" for name, values in rows)
    return Plot(
        "efficiency", f"Bars of the adaptive policy's efficiency by kernel: {text}.", figure
    )


def sweep(record: KernelRecord, summary: KernelSummary) -> Plot:
    """Time over the CPU's share with its interval, both devices alone, the predicted and settled share."""
    from matplotlib.transforms import blended_transform_factory

    figure, axes = _figure()
    points = sorted((float(share), _milliseconds(each)) for share, each in record.sweep.items())
    xs = [share for share, _ in points]
    axes.fill_between(
        xs, [p[1] for _, p in points], [p[2] for _, p in points], color=SKY, alpha=0.35, lw=0
    )
    axes.plot(xs, [p[0] for _, p in points], "-o", color=BLUE, markersize=3.5, lw=1.6)
    top = max(p[2] for _, p in points)
    low = min(p[0] for _, p in points)
    if top > 6 * low:
        axes.set_yscale("log")
        _plain_ticks(axes)
    else:
        axes.set_ylim(0, top * 1.08)
    axes.plot(
        [0],
        [summary.times[GPU_ONLY].median * 1e3],
        "s",
        color=ORANGE,
        markersize=8,
        label="GPU alone",
        zorder=4,
    )
    axes.plot(
        [1],
        [summary.times[CPU_ONLY].median * 1e3],
        "s",
        color=PINK,
        markersize=8,
        label="CPU alone",
        zorder=4,
    )
    over = blended_transform_factory(axes.transData, axes.transAxes)
    settled = "in chunks" if summary.is_chunked else "settled"
    marks: list[tuple[float, str, str, Any]] = [(summary.settled_share, settled, GREEN, "-")]
    if record.predicted_share is not None:
        marks.append((record.predicted_share, "predicted", "#8f63c7", (0, (4, 3))))
    for row, (share, text, colour, line) in enumerate(marks):
        axes.axvline(share, color=colour, lw=1.8, linestyle=line, zorder=1)
        axes.text(
            share,
            1.02 + 0.085 * row,
            f"{text} {share:.2f}",
            color=colour,
            transform=over,
            ha="left" if share < 0.1 else "right" if share > 0.9 else "center",
            va="bottom",
            weight="bold",
        )
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("the CPU's share of the work-groups")
    axes.set_ylabel("time of a launch, ms")
    axes.set_title("Time by share, median and 95 % interval", pad=14 + 15 * len(marks))
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False
    )
    words = (
        f"{record.name}: time of a launch over the CPU's share. GPU alone {points_ms(summary, GPU_ONLY)}, "
        f"CPU alone {points_ms(summary, CPU_ONLY)}, best cut "
        f"{points_ms(summary, CUT)} at share {record.best_share or 0:.2f}; predicted share "
        f"{record.predicted_share or 0:.2f}, settled share {summary.settled_share:.2f}"
        f"{' in chunks' if summary.is_chunked else ''}."
    )
    return Plot(f"{record.name}-sweep", words, figure)


def points_ms(summary: KernelSummary, way: str) -> str:
    """A way's median in words."""
    return f"{summary.times[way].median * 1e3:.1f} ms" if way in summary.times else "not measured"


def shares(record: KernelRecord) -> Plot:
    """The CPU's share in each launch of the adaptive policy, by how it ran."""
    figure, axes = _figure()
    samples = record.rounds[ADAPTIVE]
    numbers = range(1, len(samples) + 1)
    axes.plot(numbers, [each.shares[0] for each in samples], color=GRID, lw=1.2, zorder=1)
    for kind, mark, colour in (
        ("one cut", "o", BLUE),
        ("chunks", "D", GREEN),
        ("one device", "s", ORANGE),
    ):
        mine = [(n, each.shares[0]) for n, each in zip(numbers, samples) if _kind(each) == kind]
        if mine:
            axes.plot(*zip(*mine), mark, color=colour, markersize=6, label=kind, zorder=3)
    if record.best_share is not None:
        axes.axhline(record.best_share, color=TEXT, lw=1.0, linestyle=(0, (4, 3)), zorder=1)
        axes.text(
            1.005,
            record.best_share,
            "best cut\nof sweep",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=9,
        )
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlim(0.5, len(samples) + 0.5)
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("launch of the adaptive policy")
    axes.set_ylabel("the CPU's share")
    axes.set_title("Shares over launches")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    told = ", ".join(f"{each.shares[0]:.2f} {_kind(each)}" for each in samples)
    return Plot(
        f"{record.name}-shares", f"{record.name}: the CPU's share by launch: {told}.", figure
    )


def timelines(record: KernelRecord) -> Plot:
    """When each device ran what: one launch in one cut, one in chunks."""
    figure, axes = _figure(1.1 + 0.95 * len(record.timelines))
    lanes: list[str] = []
    told = []
    end = 0.0
    for way in (CUT, DYNAMIC):
        spans = record.timelines.get(way)
        if spans is None:
            continue
        for device in (0, 1):
            mine = [span for span in spans if span.device == device]
            axes.barh(
                [len(lanes)] * len(mine),
                [(span.end_seconds - span.begin_seconds) * 1e3 for span in mine],
                0.62,
                [span.begin_seconds * 1e3 for span in mine],
                color=DEVICE_COLOURS[device],
                edgecolor="white",
                linewidth=0.8,
                zorder=2,
            )
            last = max((span.end_seconds * 1e3 for span in mine), default=0.0)
            end = max(end, last)
            groups = sum(span.groups for span in mine)
            count = f"{len(mine)} chunks, " if way == DYNAMIC else ""
            axes.annotate(
                f"{count}{groups} groups",
                (last, len(lanes)),
                (5, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
            lanes.append(f"{DEVICES[device]}, {'chunks' if way == DYNAMIC else 'one cut'}")
            told.append(f"{lanes[-1]}: {groups} groups to {last:.1f} ms")
    axes.set_yticks(range(len(lanes)), lanes)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlim(0, end * 1.4 or 1.0)
    axes.set_xlabel("ms from the beginning of the launch")
    axes.set_title("Kernels of one launch on both devices")
    return Plot(f"{record.name}-timeline", f"{record.name}: {'; '.join(told)}.", figure)


def _plain_ticks(axes: Axes) -> None:
    """1, 2, 5, 10, ... on a logarithmic axis, as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _kind(sample: Sample) -> str:
    if sample.observation.whole is not None:
        return "one device"
    return "chunks" if sample.is_chunked else "one cut"


def _milliseconds(samples: list[Sample]) -> tuple[float, float, float]:
    found = interval([each.seconds for each in samples])
    return found.median * 1e3, found.low * 1e3, found.high * 1e3


__all__ = ["FROM", "GRID", "STYLE", "TEXT", "Plot", "plots_of"]
