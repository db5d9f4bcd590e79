"""A benchmark as one HTML page: all plots inline, tables of their numbers, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from lb_runtime.bench.measure import ADAPTIVE, DYNAMIC, PREDICTED, WAYS, sweep_medians
from lb_runtime.bench.record import Bench, KernelRecord
from lb_runtime.bench.summary import FROM, KernelSummary, Overall, overall, summaries


@dataclass(frozen=True, slots=True)
class Drawing:
    """A plot as text of a page."""

    name: str
    words: str
    svg: str


STYLE = """
:root { color-scheme: light dark; --ink: #1d2125; --soft: #59636e; --paper: #fff; --card: #f6f8fa;
  --grid: #d8dde2; --link: #0550ae; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa5b1; --paper: #14181d;
  --card: #1c2229; --grid: #3a434d; --link: #79b8ff; } }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 76rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p { max-width: 48rem; } .soft { color: var(--soft); } a { color: var(--link); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .75rem;
  margin: 1.25rem 0; padding: 0; }
.facts div { background: var(--card); border-radius: .5rem; padding: .7rem .9rem; }
.facts dt { color: var(--soft); font-size: .85rem; } .facts dd { margin: 0; font-size: 1.5rem;
  font-weight: 600; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(32rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; background: var(--card); border-radius: .5rem; padding: .75rem; }
figure svg { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem;
  font-variant-numeric: tabular-nums; } caption { text-align: left; color: var(--soft); padding: .3rem 0; }
th, td { padding: .28rem .6rem; border-bottom: 1px solid var(--grid); text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { vertical-align: bottom; white-space: normal; }
.plots figure:only-child { max-width: 52rem; }
tfoot td, tfoot th { font-weight: 600; } details { margin: .6rem 0; } summary { cursor: pointer; }
"""


def page(bench: Bench, drawings: Sequence[Drawing]) -> str:
    """The whole page; the same benchmark and drawings make the same text."""
    found = summaries(bench)
    means = overall(found)
    by_name = {each.name: each for each in drawings}
    parts = [
        _head(bench),
        _facts(found, means),
        _plots(by_name, ["efficiency"]),
        _means(found, means),
    ]
    parts += [_kernel(bench.kernels[each.name], each, by_name) for each in found]
    parts.append(_others(bench, {each.name for each in found}))
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>lb bench</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _head(bench: Bench) -> str:
    setup = bench.setup
    held = ", each held to one core" if setup.get("one_core") else ""
    return (
        f"<h1>lb bench: one launch on two devices</h1>\n<p class='soft'>CPU: {_text(setup.get('cpu'))}. "
        f"GPU: {_text(setup.get('gpu'))}{held}. {_text(setup.get('rounds'))} launches of each way, which "
        "take turns in an order that is shuffled in each round; medians, with 95 % bootstrap intervals "
        f"(seed {_text(setup.get('seed'))}).</p>"
    )


def _facts(found: list[KernelSummary], means: Overall | None) -> str:
    if means is None:
        return "<p>No kernel was split and measured to its fourth launch.</p>"
    chunked = sum(each.is_chunked for each in found)
    facts = (
        ("predicted: T(oracle)/T", f"{means.ratios[PREDICTED]:.3f}"),
        (f"adaptive from launch {FROM}: T(oracle)/T", f"{means.ratios[ADAPTIVE]:.3f}"),
        ("efficiency, adaptive", f"{means.efficiencies[ADAPTIVE]:.3f}"),
        (f"least gain over one device ({means.worst_kernel})", f"{means.worst_single:.3f}"),
        ("kernels split, of them in chunks", f"{means.kernels}, {chunked}"),
    )
    shown = "".join(f"<div><dt>{_text(k)}</dt><dd>{_text(v)}</dd></div>" for k, v in facts)
    return (
        f"<dl class='facts'>{shown}</dl>\n<p>Means are geometric, over kernels. The oracle is the best of "
        "one device, the best cut of a sweep, and chunks. Efficiency is the speed-up over the faster "
        "device, divided by (1/T<sub>CPU</sub> + 1/T<sub>GPU</sub>) &#183; min(T<sub>CPU</sub>, "
        "T<sub>GPU</sub>).</p>"
    )


def _means(found: list[KernelSummary], means: Overall | None) -> str:
    if means is None:
        return ""
    times = _table(
        "Time of a launch in ms: median (95 % interval)",
        ("kernel", *WAYS, "oracle"),
        [
            (
                each.name,
                *(
                    f"{t.median * 1e3:.1f} ({t.low * 1e3:.1f}-{t.high * 1e3:.1f})" if t else "-"
                    for t in (each.times.get(way) for way in WAYS)
                ),
                each.oracle,
            )
            for each in found
        ],
    )
    launches = tuple(f"adaptive, launch {n}" for n in range(1, FROM + 1))
    ratios = _table(
        "T(oracle)/T, efficiency, and what the policy settled on",
        (
            "kernel", "predicted", *launches, f"adaptive, from {FROM}", "over best single device",
            "efficiency", "largest speed-up", "settled CPU share", "how",
        ),
        [
            (
                each.name,
                f"{each.ratios[PREDICTED]:.3f}",
                *(f"{value:.3f}" for value in each.by_launch),
                f"{each.ratios[ADAPTIVE]:.3f}",
                f"{each.single:.3f}",
                f"{each.efficiencies[ADAPTIVE]:.3f}",
                f"{each.largest_speed_up:.2f}",
                f"{each.settled_share:.3f}",
                how(each),
            )
            for each in found
        ],
        (
            "geometric mean",
            f"{means.ratios[PREDICTED]:.3f}",
            *(f"{value:.3f}" for value in means.by_launch),
            f"{means.ratios[ADAPTIVE]:.3f}",
            "",
            f"{means.efficiencies[ADAPTIVE]:.3f}",
            "", "", "",
        ),
    )  # fmt: skip
    return f"{ratios}\n{times}"


def how(each: KernelSummary) -> str:
    """What the adaptive policy settled on, in words."""
    if each.is_chunked:
        return "chunks"
    return "one cut" if 0.0 < each.settled_share < 1.0 else "one device"


def _kernel(record: KernelRecord, summary: KernelSummary, drawings: dict[str, Drawing]) -> str:
    names = [f"{record.name}-{each}" for each in ("sweep", "shares", "timeline")]
    loops = ", loops that end by data" if record.data_dependent_loops else ""
    swept = _table(
        "The sweep's medians",
        ("CPU share", "ms"),
        [(f"{share:.4f}", f"{each * 1e3:.2f}") for share, each in sweep_medians(record).items()],
    )
    launches = _table(
        "Launches of the adaptive policy",
        ("launch", "CPU share", "ms", "why"),
        [
            (str(n), f"{each.shares[0]:.3f}", f"{each.seconds * 1e3:.2f}", each.why)
            for n, each in enumerate(record.rounds[ADAPTIVE], start=1)
        ],
    )
    spans = _table(
        "When devices ran what, in the launches of the timeline",
        ("launch", "device", "work-groups", "from ms", "to ms"),
        [
            (
                "chunks" if way == DYNAMIC else way,
                ("CPU", "GPU")[span.device],
                str(span.groups),
                f"{span.begin_seconds * 1e3:.2f}",
                f"{span.end_seconds * 1e3:.2f}",
            )
            for way, spans in record.timelines.items()
            for span in spans
        ],
    )
    checks = "; ".join(f"{way}: {text}" for way, text in record.checks.items())
    dropped = (
        f", {record.dropped_rounds} disturbed rounds repeated" if record.dropped_rounds else ""
    )
    return (
        f"<h2 id='{_text(record.name)}'>{_text(record.name)}</h2>\n<p class='soft'>{_text(record.launch)}, "
        f"{record.groups} groups along the dimension that is cut{loops}{dropped}. Settled: "
        f"{how(summary)}, CPU share {summary.settled_share:.3f}.</p>\n{_plots(drawings, names)}\n"
        f"<details><summary>Numbers behind the plots</summary>\n{swept}\n{launches}\n{spans}\n"
        f"<p class='soft'>Bytes compared once for each way. {_text(checks)}</p></details>"
    )


def _others(bench: Bench, shown: set[str]) -> str:
    rows = [
        (each.name, each.reasons[0] if each.reasons else "not measured to the fourth launch")
        for each in bench.kernels.values()
        if each.name not in shown
    ]
    if not rows:
        return ""
    return f"<h2>Not split</h2>\n{_table('Kernels that ran whole', ('kernel', 'why'), rows)}"


def _plots(drawings: dict[str, Drawing], names: Iterable[str]) -> str:
    figures = [f"<figure>{drawings[name].svg}</figure>" for name in names if name in drawings]
    return f"<div class='plots'>{''.join(figures)}</div>" if figures else ""


def _table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], foot: Sequence[str] = ()
) -> str:
    titles = "".join(f"<th scope='col'>{_text(each)}</th>" for each in head)
    lines = "\n".join(_row(row) for row in rows)
    last = f"<tfoot>{_row(foot)}</tfoot>" if foot else ""
    return (
        f"<div class='scroll'><table><caption>{_text(caption)}</caption><thead><tr>{titles}</tr></thead>\n"
        f"<tbody>{lines}</tbody>{last}</table></div>"
    )


def _row(cells: Sequence[str]) -> str:
    first, *others = cells
    rest = "".join(f"<td>{_text(each)}</td>" for each in others)
    return f"<tr><th scope='row'>{_text(first)}</th>{rest}</tr>"


def _text(value: object) -> str:
    return escape(str(value))
