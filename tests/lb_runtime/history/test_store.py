"""The history's file: nothing is lost, nothing is fatal, nothing grows without end."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lb_runtime.errors import StoreError
from lb_runtime.history import store as store_module
from lb_runtime.history.known import Key, Known
from lb_runtime.history.store import VERSION, Store
from lb_runtime.history.writer import History


def known(number: int = 0, *, used: float = 1.0, kernel: str = "k") -> Known:
    return Known(
        key=Key(kernel, "pair", f"bucket {number}"),
        kernel_name="f",
        code="split",
        cpu_share=0.25,
        alone_seconds=(0.5, 0.25),
        split_seconds=(0.125,),
        alone_launches=2,
        split_launches=1,
        to_mirror_bytes=7,
        home_bytes=9,
        used=used,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "history.sqlite"


def test_what_was_written_is_read(path: Path) -> None:
    Store(path).add([known(1), known(2), known(1, kernel="other")])
    assert Store(path).of_kernel("k", "pair") == {"bucket 1": known(1), "bucket 2": known(2)}
    assert Store(path).of_kernel("k", "another pair") == {}
    assert len(Store(path).everything()) == 3


def test_what_is_written_again_counts_together_and_is_the_newest(path: Path) -> None:
    Store(path).add([known()])
    newer = replace(known(), cpu_share=0.5, alone_seconds=(1.0, 2.0, 3.0, 4.0), split_seconds=())
    Store(path).add([replace(newer, used=3.0)])
    (found,) = Store(path).everything()
    assert (found.cpu_share, found.used) == (0.5, 3.0)
    assert found.alone_seconds == (0.25, 1.0, 2.0, 3.0, 4.0)
    assert found.split_seconds == (0.125,)
    assert (found.alone_launches, found.split_launches) == (4, 2)


def test_reading_makes_no_file(path: Path) -> None:
    assert Store(path).everything() == []
    assert not path.parent.exists()


def test_what_was_used_least_recently_goes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MOST_ROWS", 10)
    for start in range(0, 30, 5):
        Store(path).add([known(n, used=float(n)) for n in range(start, start + 5)])
    assert [each.used for each in Store(path).everything()] == [float(n) for n in range(29, 19, -1)]


def test_bytes_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MOST_BYTES", 100_000)
    text = "x" * 1500
    for start in range(0, 400, 20):
        Store(path).add(
            [
                replace(known(used=float(n)), key=Key("k", "pair", f"{n} {text}"))
                for n in range(start, start + 20)
            ]
        )
    assert path.stat().st_size < 100_000 + 3 * 20 * 2 * 1500
    assert Store(path).everything()[0].used == 399


def test_kernels_are_forgotten_one_by_one_or_all(path: Path) -> None:
    assert Store(path).remove() == 0
    Store(path).add([known(1), known(2), known(1, kernel="other")])
    assert Store(path).remove(["k"]) == 2
    assert [each.key.kernel for each in Store(path).everything()] == ["other"]
    assert Store(path).remove() == 1


# Many processes

PROCESS = """
import sys
from dataclasses import replace
from pathlib import Path
from lb_runtime.history.known import Key, Known
from lb_runtime.history.store import Store
path, me = Path(sys.argv[1]), sys.argv[2]
def known(bucket):
    return Known(Key("k", "pair", bucket), "f", "split", 0.5, (1.0,), (1.0,), 1, 1, 0, 0, 1.0)
"""


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    """Also of rows that are the same, and of a file that none of them has begun."""
    program = PROCESS + (
        "for n in range(15): Store(path, 30).add([known(f'{me} {n}'), known('shared')])\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(path), str(me)]) for me in range(4)
    ]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    found = {each.key.bucket: each for each in Store(path).everything()}
    assert len(found) == 4 * 15 + 1
    assert found["shared"].alone_launches == found["shared"].split_launches == 4 * 15


def test_a_writer_killed_in_the_middle_leaves_what_was_there(path: Path) -> None:
    """Its rows are in the file by then: the next reader takes them back."""
    Store(path).add([known(n) for n in range(50)])
    program = PROCESS + (  # noqa: S608  # the text of a program
        "import os, signal\n"
        "from lb_runtime.history import store\n"
        "def die(connection):\n"
        "    connection.execute('PRAGMA cache_spill = 1')\n"
        "    connection.execute('PRAGMA cache_size = 1')\n"
        "    connection.execute('UPDATE launch SET used = 77')\n"
        "    connection.executemany('INSERT INTO launch SELECT ?,pair,bucket,kernel_name,code,'\n"
        "        'cpu_share,alone_seconds,split_seconds,1,1,1,1,77 FROM launch WHERE kernel = ?',\n"
        "        [(str(n), 'k') for n in range(100)])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "store._keep_within_bounds = die\n"
        "Store(path).add([known('new')])\n"
    )
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", program, str(path), "0"], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() != before
    store = Store(path)
    assert sorted(each.key.bucket for each in store.everything()) == sorted(
        f"bucket {n}" for n in range(50)
    )
    assert store.notes == []
    store.add([known(99)])
    assert len(store.everything()) == 51


# Damage


def damaged_in_many_ways(content: bytes) -> list[bytes]:
    junk = bytes(range(256)) * 16
    return [
        junk,
        b"x" + content[1:],
        content[: len(content) // 2],
        content[:100],
        content[:4096] + junk[: len(content) - 4096] + content[4096 + len(junk) :],
        content[:200] + junk + content[200 + len(junk) :],
    ]


@pytest.mark.parametrize("way", range(6))
def test_a_damaged_file_is_set_aside_and_begun_anew(path: Path, way: int) -> None:
    Store(path).add([known(n) for n in range(200)])
    path.write_bytes(damaged_in_many_ways(path.read_bytes())[way])
    store = Store(path)
    store.everything()
    store.add([known(1000)])
    assert len(store.notes) == 1
    assert "damaged" in store.notes[0] or "no history" in store.notes[0]
    assert path.with_name("history.damaged.sqlite").exists()
    again = Store(path)
    assert known(1000) in again.everything()
    assert again.notes == []


def test_a_row_that_cannot_have_been_measured_is_left_out(path: Path) -> None:
    Store(path).add([known(n) for n in range(3)])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE launch SET cpu_share = 7.0 WHERE bucket = 'bucket 0'")
        connection.execute("UPDATE launch SET alone_seconds = '[NaN]' WHERE bucket = 'bucket 1'")
    connection.close()
    assert Store(path).everything() == [known(2)]


def make_old(path: Path) -> None:
    """A file of another version, in which shares are percentages of the GPU."""
    Store(path).add([known()])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE launch SET cpu_share = 0.75")
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()


def test_a_file_of_another_version_is_set_aside(path: Path) -> None:
    make_old(path)
    store = Store(path)
    assert store.everything() == []
    assert f"version {VERSION + 1}" in store.notes[0]
    assert path.with_name(f"history.version-{VERSION + 1}.sqlite").exists()


def test_without_the_version_check_an_old_file_would_be_misread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old(path)
    monkeypatch.setattr(store_module, "VERSION", VERSION + 1)
    assert [each.cpu_share for each in Store(path).everything()] == [0.75]


# Beside a program


def test_a_history_writes_in_the_background_and_at_the_end(path: Path) -> None:
    told: list[str] = []
    history = History(told.append, path)
    for _ in range(3):
        history.note(known())
    history.close(5.0)
    (found,) = Store(path).everything()
    assert found.alone_launches == 3 * known().alone_launches
    assert told == []


def test_a_history_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told: list[str] = []
    history = History(told.append, tmp_path / "file" / "history.sqlite")
    assert history.of_kernel("k", "pair") == {}
    history.note(known())
    history.close(5.0)
    assert len(told) == 1
    assert "not written" in told[0]


def test_a_history_in_use_for_too_long_is_done_without(path: Path) -> None:
    Store(path).add([known()])
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(StoreError, match="locked"):
            Store(path, 0.05).everything()
        with pytest.raises(StoreError, match="locked"):
            Store(path, 0.05).add([known(1)])
    finally:
        holder.close()
    assert Store(path).everything() == [known()]


def test_the_child_of_a_fork_writes_nothing(path: Path) -> None:
    history = History(lambda text: None, path)
    history._process = os.getpid() + 1
    history.note(known())
    history.close(5.0)
    assert not path.exists()
