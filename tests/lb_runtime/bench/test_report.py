"""The report: its numbers, and a page that needs nothing but itself."""

from __future__ import annotations

import builtins
import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from benched import SECONDS, bench, measured

from lb_runtime.bench.files import MissingPlotsError, write_report
from lb_runtime.bench.measure import ADAPTIVE, CUT
from lb_runtime.bench.record import Bench, Sample
from lb_runtime.bench.stats import efficiency, geometric_mean, interval, largest_speed_up
from lb_runtime.bench.summary import overall, summaries, summary_of


def test_efficiency_is_1_where_both_devices_give_all_their_speed() -> None:
    together = 1 / (1 / 0.3 + 1 / 0.1)
    assert efficiency(together, 0.3, 0.1) == pytest.approx(1.0)
    assert efficiency(0.1, 0.3, 0.1) == pytest.approx(1 / largest_speed_up(0.3, 0.1))
    assert largest_speed_up(0.2, 0.2) == pytest.approx(2.0)


def test_an_interval_holds_its_median_and_narrows_with_samples() -> None:
    few, many = interval([1.0, 2.0, 3.0]), interval([1.0, 2.0, 3.0] * 40)
    assert few.low <= few.median <= few.high
    assert many.high - many.low <= few.high - few.low
    assert interval([2.0]) == interval([2.0])
    with pytest.raises(ValueError, match="no samples"):
        interval([])


def test_a_geometric_mean_of_nothing_is_no_number() -> None:
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert math.isnan(geometric_mean([]))


def test_the_oracle_is_the_best_way_and_no_ratio_is_above_1_without_noise() -> None:
    summary = summary_of(measured())
    assert summary is not None
    together = 1 / sum(1 / each for each in SECONDS)
    assert summary.oracle_seconds == pytest.approx(together, rel=0.05)
    assert max(summary.ratios.values()) <= 1.02
    assert summary.ratios[ADAPTIVE] > 0.9
    assert len(summary.by_launch) == 4


def test_the_adaptive_policy_counts_from_its_fourth_launch_on() -> None:
    record = measured()
    slow = Sample("slow", (1.0, 0.0), (9.0, 0.0), 9.0)
    before = summary_of(record)
    record.rounds[ADAPTIVE][:3] = [slow] * 3
    after = summary_of(record)
    assert before is not None
    assert after is not None
    assert before.times[ADAPTIVE] == after.times[ADAPTIVE]
    assert after.by_launch[0] < 0.1


def test_means_are_over_kernels_that_are_split() -> None:
    found = summaries(bench())
    means = overall(found)
    assert [each.name for each in found] == ["one", "two"]
    assert means is not None
    assert means.kernels == 2
    assert means.efficiencies[CUT] == pytest.approx(found[0].efficiencies[CUT])
    assert overall([]) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(bench(), folder)
    return folder


def page(folder: Path) -> str:
    return (folder / "bench.html").read_text("utf-8")


PLOTS = {"efficiency"} | {
    f"{kernel}-{plot}" for kernel in ("one", "two") for plot in ("sweep", "shares", "timeline")
}


def test_the_page_refers_to_nothing_outside_of_itself(folder: Path) -> None:
    text = (
        page(folder)
        .replace("http://www.w3.org/2000/svg", "")
        .replace("http://www.w3.org/1999/xlink", "")
    )
    assert not re.search(r"https?:|//[a-z]|@import|<script|<link|<img|src=|data:", text)
    assert set(re.findall(r"""(?:href=["']|url\()(.)""", text)) == {"#"}


def test_the_page_is_well_formed_and_its_ids_are_its_own(folder: Path) -> None:
    root = ElementTree.fromstring(page(folder).removeprefix("<!DOCTYPE html>"))  # noqa: S314
    ids = [each.attrib["id"] for each in root.iter() if "id" in each.attrib]
    assert len(ids) == len(set(ids))
    for each in root.iter():
        for value in each.attrib.values():
            for target in re.findall(r"^#(.+)|url\(#(.+?)\)", value):
                assert (target[0] or target[1]) in ids


def test_the_page_holds_every_plot_with_words_for_it(folder: Path) -> None:
    root = ElementTree.fromstring(page(folder).removeprefix("<!DOCTYPE html>"))  # noqa: S314
    drawn = [each for each in root.iter() if each.attrib.get("role") == "img"]
    assert len(drawn) == len(PLOTS)
    assert all(len(each.attrib["aria-label"]) > 40 for each in drawn)
    assert {path.stem for path in folder.glob("*.png")} == PLOTS


def test_the_page_tells_what_was_not_split_as_text(folder: Path) -> None:
    assert "line 3: &lt;fences&gt; &amp; flags" in page(folder)


def test_the_page_can_be_made_again_from_the_json(folder: Path, tmp_path: Path) -> None:
    bench().write(tmp_path / "bench.json")
    write_report(Bench.read(tmp_path / "bench.json"), tmp_path)
    assert page(tmp_path) == page(folder)


def test_without_matplotlib_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingPlotsError, match="pip install 'lb-runtime\\[bench\\]'"):
        write_report(bench(), tmp_path)
