"""Measurements belong to devices, their drivers and what those are held to."""

from __future__ import annotations

from dataclasses import replace

from lb_runtime.contexts import OpenPair
from lb_runtime.tuned.machine import machine_of


def test_the_same_pair_is_the_same_machine(pair: OpenPair) -> None:
    assert machine_of(pair.pair, {}).key == machine_of(pair.pair, {"HOME": "elsewhere"}).key


def test_another_driver_version_is_another_machine(pair: OpenPair) -> None:
    newer = replace(pair.pair, gpu=replace(pair.pair.gpu, driver_version="99.9"))
    assert machine_of(newer, {}).key != machine_of(pair.pair, {}).key


def test_a_driver_that_is_held_to_one_core_is_another_machine(pair: OpenPair) -> None:
    held = machine_of(pair.pair, {"POCL_MAX_PTHREAD_COUNT": "1"})
    assert held.key != machine_of(pair.pair, {}).key


def test_the_place_in_the_list_of_devices_does_not_matter(pair: OpenPair) -> None:
    if pair.pair.cpu.index == pair.pair.gpu.index:
        moved = replace(
            pair.pair,
            cpu=replace(pair.pair.cpu, index=7),
            gpu=replace(pair.pair.gpu, index=7),
        )
    else:
        moved = replace(pair.pair, cpu=replace(pair.pair.cpu, index=7))
    assert machine_of(moved, {}).key == machine_of(pair.pair, {}).key
