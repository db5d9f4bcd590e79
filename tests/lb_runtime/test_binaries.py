"""Drivers' binaries on disk: taken where they fit, done without where they are damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lb_runtime import binaries
from lb_runtime.binaries import Binary
from lb_runtime.contexts import OpenDevice, OpenPair, build_program
from lb_runtime.runtime import Runtime

SOURCE = "kernel void f(global int *a) { a[get_global_id(0)] = NUMBER; }"


@pytest.fixture
def device(intel_pair: OpenPair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OpenDevice:
    monkeypatch.setenv("LB_CACHE_DIR", str(tmp_path))
    device = intel_pair.devices[1]
    return OpenDevice(device.info, device.handle)


def entries(folder: Path) -> list[Path]:
    return sorted((folder / "binaries").glob("*"))


def test_a_program_is_built_once_for_each_text_and_options(
    device: OpenDevice, tmp_path: Path
) -> None:
    for number in ("1", "2", "1"):
        build_program(device.context, device.handle, "it", SOURCE, (f"-DNUMBER={number}",))
    assert len(entries(tmp_path)) == 2
    again = Binary(device.handle, SOURCE, ("-DNUMBER=1",))
    assert again.read()
    assert Binary(device.handle, SOURCE, ("-DNUMBER=3",)).read() is None


def test_a_binary_runs_as_its_text(
    intel_pair: OpenPair, device: OpenDevice, tmp_path: Path
) -> None:
    for _ in range(2):
        device = OpenDevice(device.info, device.handle)
        pair = OpenPair(intel_pair.pair, (intel_pair.devices[0], device), ())
        with Runtime(devices=pair) as runtime:
            content = np.zeros(1024, np.int32)
            runtime.run(SOURCE, "f", (1024,), (64,), content, options="-DNUMBER=7", cpu_share=0.5)
        assert (content == 7).all()
    assert len(entries(tmp_path)) == 1


@pytest.mark.parametrize("damage", [b"", b"too short", b"\0" * 4096])
def test_a_damaged_entry_is_done_without(device: OpenDevice, tmp_path: Path, damage: bytes) -> None:
    options = ("-DNUMBER=1",)
    build_program(device.context, device.handle, "it", SOURCE, options)
    (entry,) = entries(tmp_path)
    entry.write_bytes(damage)
    assert Binary(device.handle, SOURCE, options).read() is None
    build_program(device.context, device.handle, "it", SOURCE, options)
    # No byte is compared: the driver's binaries of one text differ, now and then by a few bytes in length.
    assert Binary(device.handle, SOURCE, options).read()
    assert entries(tmp_path) == [entry]


def test_what_includes_files_is_not_kept(device: OpenDevice, tmp_path: Path) -> None:
    (tmp_path / "number.h").write_text("#define NUMBER 1\n")
    options = (f"-I{tmp_path}",)
    source = '#include "number.h"\n' + SOURCE
    build_program(device.context, device.handle, "it", source, options)
    assert not entries(tmp_path)


def test_the_oldest_entries_go(
    device: OpenDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "MOST_ENTRIES", 2)
    for number in range(4):
        build_program(device.context, device.handle, "it", SOURCE, (f"-DNUMBER={number}",))
    assert len(entries(tmp_path)) == 2
    assert Binary(device.handle, SOURCE, ("-DNUMBER=3",)).read()
