"""Measuring goes on where it was stopped, and comes to the same store."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_devices import MadeUpDevices

from lb_runtime.tuned.machine import Machine
from lb_runtime.tuned.store import Store
from lb_runtime.tuning.campaign import SPLIT_EVERY, best_share, measure_all, scale_for
from lb_runtime.tuning.kernels import generated

MACHINE = Machine("{}")
WORKLOADS = generated(30)


def held(path: Path) -> list[str]:
    """All of a store, as text."""
    return list(Store.open(path)._connection.iterdump())


def run(path: Path, devices: MadeUpDevices) -> None:
    store = Store.open(path)
    try:
        scale_for(MACHINE, store, devices)
        measure_all(store, MACHINE, WORKLOADS, devices)
    finally:
        store.close()


def test_every_workload_is_measured_or_known_to_be_unfit(tmp_path: Path) -> None:
    run(tmp_path / "a", MadeUpDevices())
    store = Store.open(tmp_path / "a")
    assert store.known(MACHINE) == {w.key for w in WORKLOADS}
    unfit = {w.key for w in WORKLOADS if w.family == "stencil"}
    assert {row.workload for row in store.rows(MACHINE)} == {w.key for w in WORKLOADS} - unfit
    assert store.splits(MACHINE).keys() == {w.key for w in WORKLOADS[::SPLIT_EVERY]} - unfit


def test_launches_too_short_to_be_split_are_not(tmp_path: Path) -> None:
    short = MadeUpDevices(slowness=0.01)
    run(tmp_path / "a", short)
    assert not short.split


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 7, 20, 31])
def test_stopped_anywhere_and_resumed_the_store_is_the_same(tmp_path: Path, stop: int) -> None:
    run(tmp_path / "whole", MadeUpDevices())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", MadeUpDevices(stop))
    run(tmp_path / "stopped", MadeUpDevices())
    assert held(tmp_path / "stopped") == held(tmp_path / "whole")


def test_nothing_is_measured_twice(tmp_path: Path) -> None:
    first, second = MadeUpDevices(20), MadeUpDevices()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", first)
    run(tmp_path / "a", second)
    assert not set(first.measured) & set(second.measured)
    assert not set(first.split) & set(second.split)


def test_the_best_share_lets_both_devices_end_together() -> None:
    share = best_share(3.0, 1.0)
    assert share * 3.0 == pytest.approx((1 - share) * 1.0)


def test_a_slower_machine_gets_less_work(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "a")
    assert scale_for(MACHINE, store, MadeUpDevices(slowness=4.0)) < 1
    # It is found once: another measurement of the probe would make other kernels.
    devices = MadeUpDevices()
    scale_for(MACHINE, store, devices)
    assert not devices.measured
