"""What `lb tune --report` tells: errors on held-out kernels, and whether split launches go as predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table as Shown

from lb_runtime.cli.console import console
from lb_runtime.tuned.measured import SplitMeasured
from lb_runtime.tuning.fitting import OWN_FAMILY, Table
from predictor.tuned.evaluation import by_chance, by_group, judge_held_out

HELD_OUT = {
    "a tenth of the kernels": "ten random parts, each predicted by a head fitted to the others",
    "a whole family": "each family of generated kernels predicted by a head fitted to the others",
    "kernels of the folder": "predicted by a head fitted to generated kernels alone",
}


def report(
    table: Table, splits: Mapping[str, SplitMeasured], advance: Callable[[], object] = lambda: None
) -> dict[str, Any]:
    """All figures, for JSON. Errors are in points of the CPU share."""
    is_own = np.array([family == OWN_FAMILY for family in table.families])
    folds = {"a tenth of the kernels": by_chance(len(table.rows))}
    if len(set(table.families) - {OWN_FAMILY}) > 1:
        folds["a whole family"] = np.where(is_own, -1, by_group(table.families))
    if is_own.any() and not is_own.all():
        folds["kernels of the folder"] = np.where(is_own, 0, -1)
    held_out = {
        name: {
            what: asdict(judged)
            for what, judged in judge_held_out(
                table.measured, table.untuned, numbers, advance
            ).items()
        }
        for name, numbers in folds.items()
    }
    return {
        "kernels": len(table.rows),
        "families": sorted(set(table.families)),
        "held_out": held_out,
        "by_family": _by_family(table, folds, held_out),
        "split": _split_facts(table, splits),
    }


def _by_family(
    table: Table, folds: Mapping[str, NDArray[np.int64]], held_out: dict[str, Any]
) -> dict[str, Any]:
    """Untuned and tuned error of each family that was held out; for the kernel and the whole launch."""
    numbers = folds.get("a whole family")
    if numbers is None:
        return {}
    names = {int(n): family for n, family in zip(numbers, table.families) if n >= 0}
    return {
        names[fold]: {
            what: judged["folds"][fold] for what, judged in held_out["a whole family"].items()
        }
        for fold in sorted(names)
    }


def _split_facts(table: Table, splits: Mapping[str, SplitMeasured]) -> dict[str, Any]:
    """How long split launches took, as a ratio to what both devices' own times say of them.

    Once with everything taken to shrink with a device's share, once with the kernels alone: what is sent
    and fetched has fixed costs, and two devices that copy at once wait for one memory.
    """
    shrinking: list[float] = []
    fixed: list[float] = []
    for row in table.rows:
        split = splits.get(row.workload)
        if split is None:
            continue
        cpu, gpu, mine = row.measured.cpu, row.measured.gpu, split.cpu_share
        parts = ((cpu, mine), (gpu, 1 - mine))
        shrinking.append(split.seconds / max(part * each.total for each, part in parts))
        fixed.append(
            split.seconds
            / max(part * each.kernel + each.total - each.kernel for each, part in parts)
        )
    return {
        "launches": len(shrinking),
        "all_shrinks": _ratios(shrinking),
        "kernels_shrink": _ratios(fixed),
    }


def _ratios(found: list[float]) -> dict[str, float] | None:
    if not found:
        return None
    low, high = np.quantile(found, (0.1, 0.9)).tolist()
    return {"median": median(found), "percentile_10": low, "percentile_90": high}


def show(facts: dict[str, Any]) -> None:
    """Print a report for a reader."""
    shown = Shown(
        title="Error of the CPU share on kernels that were held out, in points",
        title_justify="left",
    )
    for column, justify in (
        ("held out", "left"),
        ("time", "left"),
        ("kernels", "right"),
        ("untuned", "right"),
        ("constant", "right"),
        ("tuned", "right"),
        ("in 80 %", "right"),
        ("T/T(best)", "right"),
        ("was", "right"),
    ):
        shown.add_column(column, justify=justify)  # type: ignore[arg-type]  # rich wants literals
    for name, both in facts["held_out"].items():
        for what, judged in both.items():
            shown.add_row(
                name,
                what,
                str(judged["rows"]),
                *(f"{judged[key]:.1f}" for key in ("untuned", "constant", "tuned")),
                f"{judged['coverage']:.0%}",
                *(
                    f"{judged[key]['to_best']['mean']:.2f}"
                    for key in ("tuned_felt", "untuned_felt")
                ),
            )
    console().print(shown)
    split = facts["split"]
    if split["launches"]:
        console().print(
            f"{split['launches']} launches were really split at their best share. They took (median, and "
            "for four in five) "
            f"{_said(split['all_shrinks'])} times as long as both devices' own times say, "
            f"{_said(split['kernels_shrink'])} times where copies are taken not to shrink with the share"
        )


def _said(ratios: dict[str, float]) -> str:
    return (
        f"{ratios['median']:.2f} ({ratios['percentile_10']:.2f} to {ratios['percentile_90']:.2f})"
    )
