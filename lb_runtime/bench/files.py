"""The files of a report: one page that needs nothing else, and every plot as a picture."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from lb_runtime.bench.page import Drawing, page
from lb_runtime.bench.plots import GRID, STYLE, TEXT, plots_of
from lb_runtime.bench.record import Bench
from lb_runtime.errors import LoadBalancerError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "bench.html"
PNG_DPI = 110


class MissingPlotsError(LoadBalancerError):
    """There is nothing to draw with."""


def write_report(bench: Bench, folder: Path, tell: Callable[[], None] = lambda: None) -> Path:
    """Write `bench.html` and a PNG for each plot into a folder; the page's path.

    The same benchmark makes the same page. `tell` is told each plot. Raises MissingPlotsError where
    matplotlib is missing, OSError where the folder cannot be written to.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise MissingPlotsError(
            "no plots and no page without matplotlib, the numbers are kept: pip install "
            f"'lb-runtime[bench]', then `lb bench --from` the bench.json in {folder}"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    drawings: list[Drawing] = []
    with rc_context(STYLE):
        for plot in plots_of(bench):
            plot.figure.savefig(folder / f"{plot.name}.png", dpi=PNG_DPI)
            drawings.append(Drawing(plot.name, plot.words, svg(plot.figure, plot.name, plot.words)))
            tell()
    target = folder / PAGE
    target.write_text(page(bench, drawings), "utf-8")
    return target


def svg(figure: Figure, name: str, words: str) -> str:
    """A figure as an element for a page: in the page's colours, ids of its own, nothing from elsewhere."""
    stream = BytesIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = text.replace(TEXT, "currentColor").replace(GRID, "var(--grid)")
    text = re.sub(r'\bid="', f'id="{name}.', text)
    text = re.sub(r'xlink:href="#', f'href="#{name}.', text)
    text = re.sub(r"url\(#", f"url(#{name}.", text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    view = re.search(r'viewBox="[^"]*"', text)
    inner = text[text.index(">") + 1 :]
    shown = _escaped(words)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {view[0] if view else ""} role="img" '
        f'aria-label="{shown}"><title>{shown}</title>{inner.strip()}'
    )


def _escaped(text: str) -> str:
    from html import escape

    return escape(text)
