"""The file of measurements: kept as they come, moved aside when damaged, never mixed up."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from lb_runtime.errors import StoreError
from lb_runtime.tuned.machine import Machine
from lb_runtime.tuned.measured import Measured, Row, Seconds, SplitMeasured
from lb_runtime.tuned.store import Store, read_head
from predictor.tuned.features import LaunchNumbers

HERE, THERE = Machine('{"driver": "1"}'), Machine('{"driver": "2"}')
ROW = Row(
    "key",
    "stream",
    "stream 0",
    "__kernel void f() {}",
    ("-DN=1",),
    "f",
    Measured(LaunchNumbers(1024, 64, 4096, 1, (3, -4)), Seconds(1e-3, 2e-3), Seconds(3e-3, 5e-3)),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "tune.sqlite"


def filled(path: Path) -> None:
    store = Store.open(path)
    store.begin(HERE, 2.0)
    store.add(HERE, ROW)
    store.add_unfit(HERE, "other", "a driver ended the process")
    store.add_split(HERE, "key", SplitMeasured(0.25, 1e-3))
    store.keep_head(HERE, "model", b"content")
    store.close()


def test_what_was_kept_is_read_again(path: Path) -> None:
    filled(path)
    store = Store.open(path)
    assert store.rows(HERE) == [ROW]
    assert store.known(HERE) == {"key", "other"}
    assert store.splits(HERE) == {"key": SplitMeasured(0.25, 1e-3)}
    assert store.scale(HERE) == 2.0
    assert store.note == ""
    assert read_head(path, HERE, "model") == (b"content", "")


def test_another_driver_is_another_machine(path: Path) -> None:
    filled(path)
    store = Store.open(path)
    assert store.rows(THERE) == []
    assert store.known(THERE) == frozenset()
    assert store.scale(THERE) is None
    assert read_head(path, THERE, "model") == (None, "")


def test_a_head_for_another_model_is_not_used_and_told(path: Path) -> None:
    filled(path)
    content, note = read_head(path, HERE, "newer model")
    assert content is None
    assert "lb tune" in note
    assert "\n" not in note


def test_without_a_file_nothing_is_said_and_none_is_made(path: Path) -> None:
    assert read_head(path, HERE, "model") == (None, "")
    assert not path.exists()


def test_a_measurement_is_on_disk_when_it_was_added(path: Path) -> None:
    store = Store.open(path)
    store.add(HERE, ROW)
    assert Store.open(path).rows(HERE) == [ROW]


def test_measured_again_replaces(path: Path) -> None:
    store = Store.open(path)
    store.add(HERE, ROW)
    store.add(HERE, replace(ROW, name="again"))
    assert [row.name for row in store.rows(HERE)] == ["again"]


def test_one_machine_can_be_forgotten(path: Path) -> None:
    filled(path)
    store = Store.open(path)
    store.add(THERE, ROW)
    store.forget(HERE)
    assert store.known(HERE) == frozenset()
    assert store.scale(HERE) is None
    assert read_head(path, HERE, "model") == (None, "")
    assert store.rows(THERE) == [ROW]


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database " * 300)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6000])


def scrambled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:] = bytes(byte ^ 0x5A for byte in content[100:])
    path.write_bytes(content)


def another_programs(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE something (a)")
    connection.close()


@pytest.mark.parametrize("damage", [garbage, cut, scrambled, another_programs])
def test_a_runtime_sets_a_damaged_file_aside_in_one_line(path: Path, damage: object) -> None:
    filled(path)
    damage(path)  # type: ignore[operator]
    content, note = read_head(path, HERE, "model")
    assert content is None
    assert "damaged" in note
    assert "\n" not in note
    assert not path.exists()
    assert path.with_name("tune.sqlite.damaged-1").exists()
    assert read_head(path, HERE, "model") == (None, "")


@pytest.mark.parametrize("damage", [garbage, cut, scrambled, another_programs])
def test_tuning_sets_a_damaged_file_aside_and_begins_anew(path: Path, damage: object) -> None:
    filled(path)
    damage(path)  # type: ignore[operator]
    store = Store.open(path)
    assert "tune.sqlite.damaged-1" in store.note
    assert store.rows(HERE) == []
    store.add(HERE, ROW)
    assert Store.open(path).rows(HERE) == [ROW]


def test_damaged_files_do_not_replace_each_other(path: Path) -> None:
    for number in (1, 2):
        filled(path)
        garbage(path)
        assert f"damaged-{number}" in read_head(path, HERE, "model")[1]


def test_a_head_whose_checksum_does_not_hold_is_not_used(path: Path) -> None:
    filled(path)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE head SET content = x'00'")
    connection.close()
    content, note = read_head(path, HERE, "model")
    assert content is None
    assert "checksum" in note


def test_a_file_of_another_version_is_left_alone(path: Path) -> None:
    filled(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    content, note = read_head(path, HERE, "model")
    assert content is None
    assert "version 99" in note
    with pytest.raises(StoreError, match="version 99"):
        Store.open(path)
    assert path.read_bytes() == before


def test_a_file_in_use_is_neither_waited_for_nor_moved(path: Path) -> None:
    filled(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    content, note = read_head(path, HERE, "model")
    other.close()
    assert content is None
    assert "locked" in note
    assert path.exists()
    assert read_head(path, HERE, "model") == (b"content", "")


def test_a_folder_that_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "tune.sqlite").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        Store.open(tmp_path / "tune.sqlite")
