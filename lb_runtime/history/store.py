"""The history's file: SQLite, one row for each kind of launch, for all processes of a user at once.

Connections are short: opened for one reading or one batch, so that no lock outlives it and a fork inherits
none. A rollback journal is used, which, unlike a write-ahead log, also works on a network file system; a
writer that is killed leaves a journal that the next one who opens the file rolls back. A file that is
damaged, or of another version, is moved aside and a new one begun.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from lb_runtime.errors import StoreError
from lb_runtime.history.known import Key, Known

APPLICATION = 0x6C626869
"""What the file says it is, in its header (`PRAGMA application_id`): "lbhi"."""
VERSION = 1
MOST_ROWS = 4096
MOST_BYTES = 8 << 20
"""What the rows may take; a file can be larger by one batch."""
EVICTED_PART = 8
"""Where rows take too much, an eighth of them goes at a time."""
WAIT_SECONDS = 2.0
"""For other processes that write."""

_TABLE = """CREATE TABLE launch (
    kernel TEXT NOT NULL, pair TEXT NOT NULL, bucket TEXT NOT NULL,
    kernel_name TEXT NOT NULL, code TEXT NOT NULL, cpu_share REAL,
    alone_seconds TEXT NOT NULL, split_seconds TEXT NOT NULL,
    alone_launches INTEGER NOT NULL, split_launches INTEGER NOT NULL,
    to_mirror_bytes INTEGER NOT NULL, home_bytes INTEGER NOT NULL,
    used REAL NOT NULL,
    PRIMARY KEY (kernel, pair, bucket)) WITHOUT ROWID"""
_INDEX = "CREATE INDEX launch_by_use ON launch (used)"
_ONE = "SELECT * FROM launch WHERE kernel = ? AND pair = ? AND bucket = ?"
_REMOVE_ONE = "DELETE FROM launch WHERE kernel = ? AND pair = ? AND bucket = ?"

_T = TypeVar("_T")


class Store:
    """One history file. `notes` are lines for the user: what was moved aside, and why."""

    def __init__(self, path: Path, wait_seconds: float = WAIT_SECONDS) -> None:
        self.path = path
        self.notes: list[str] = []
        self._wait_seconds = wait_seconds
        self._is_checked = False

    def of_kernel(self, kernel: str, pair: str) -> dict[str, Known]:
        """What is known of a kernel's launches on a pair of devices, by bucket.

        Raises:
            StoreError: the file is in use for too long, or cannot be read.
        """

        def read(connection: sqlite3.Connection) -> dict[str, Known]:
            query = "SELECT * FROM launch WHERE kernel = ? AND pair = ?"
            rows = connection.execute(query, (kernel, pair)).fetchall()
            return {known.key.bucket: known for known in map(_known, rows) if known is not None}

        return self._read(read, {})

    def everything(self) -> list[Known]:
        """All that is known, what was used last first. Raises as `of_kernel`."""

        def read(connection: sqlite3.Connection) -> list[Known]:
            rows = connection.execute("SELECT * FROM launch ORDER BY used DESC").fetchall()
            return [known for known in map(_known, rows) if known is not None]

        return self._read(read, [])

    def add(self, found: Iterable[Known]) -> None:
        """Count these values together with what is there, all or nothing, and keep within the bounds.

        Raises:
            StoreError: the file is in use for too long, or cannot be written.
        """

        def write(connection: sqlite3.Connection) -> None:
            for each in found:
                rows = connection.execute(_ONE, _place(each)).fetchall()
                earlier = _known(rows[0]) if rows else None
                connection.execute(
                    "INSERT OR REPLACE INTO launch VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                    _row(each if earlier is None else each.after(earlier)),
                )
            _keep_within_bounds(connection)

        found = list(found)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write(write)

    def remove(self, kernels: Sequence[str] | None = None) -> int:
        """Forget the launches of these kernels (their hashes), or all; how many there were.

        Raises as `add`.
        """

        def write(connection: sqlite3.Connection) -> int:
            if kernels is None:
                return connection.execute("DELETE FROM launch").rowcount
            query = "DELETE FROM launch WHERE kernel = ?"
            return sum(connection.execute(query, (kernel,)).rowcount for kernel in kernels)

        return self._write(write) if self.path.exists() else 0

    def _read(self, work: Callable[[sqlite3.Connection], _T], nothing: _T) -> _T:
        if not self.path.exists():
            return nothing

        def read(connection: sqlite3.Connection) -> _T:
            return nothing if _is_blank(connection) else work(connection)

        return self._with_file("rw", read)

    def _write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        def write(connection: sqlite3.Connection) -> _T:
            # A damaged file is recovered from where it does least harm: before it is written to.
            if not self._is_checked:
                _check_quickly(connection)
                self._is_checked = True
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                if _is_blank(connection):
                    _make(connection)
                return work(connection)

        return self._with_file("rwc", write)

    def _with_file(self, mode: str, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do something with the file; once more with a new one where it turns out to be damaged."""
        try:
            try:
                return self._with_connection(mode, work)
            except _UnfitError as unfit:
                self._set_aside(unfit)
                return self._with_connection("rwc", work)
        except _UnfitError as unfit:
            raise StoreError(f"{self.path} {unfit}: remove it") from unfit
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self.path}: {error}") from error

    def _with_connection(self, mode: str, work: Callable[[sqlite3.Connection], _T]) -> _T:
        place = f"file:{quote(str(self.path.absolute()))}?mode={mode}"
        try:
            with closing(
                sqlite3.connect(place, uri=True, timeout=self._wait_seconds, isolation_level=None)
            ) as connection:
                # Losing the last batch when the power fails does no harm.
                connection.execute("PRAGMA synchronous = NORMAL")
                # A row of which bytes are damaged is no reason to do without the others.
                connection.text_factory = lambda text: text.decode("utf-8", "replace")
                _check(connection)
                return work(connection)
        except sqlite3.OperationalError:
            # In use, or not to be opened: that is no damage.
            raise
        except sqlite3.DatabaseError as error:
            raise _UnfitError(f"is damaged ({error})", "damaged") from error

    def _set_aside(self, unfit: _UnfitError) -> None:
        """Move the file out of the way, unless another process has done so by now."""
        aside = self.path.with_suffix(f".{unfit.suffix}.sqlite")
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                self._with_connection("rw", _check_quickly)
                return
            except _UnfitError:
                pass
            self.path.replace(aside)
            # A journal that stayed would be rolled back into the new file.
            journal = self.path.with_name(f"{self.path.name}-journal")
            with suppress(FileNotFoundError):
                journal.replace(aside.with_name(f"{aside.name}-journal"))
        self.notes.append(f"{self.path} {unfit}: it is now {aside.name}, and a new one was begun")


class _UnfitError(Exception):
    """The file cannot be used; `suffix` goes into the name that it gets."""

    def __init__(self, why: str, suffix: str) -> None:
        super().__init__(why)
        self.suffix = suffix


def _check(connection: sqlite3.Connection) -> None:
    """Raise `_UnfitError` unless the file is a history of this version, or blank."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application == version == 0 and _is_blank(connection):
        return
    if application != APPLICATION:
        raise _UnfitError("is no history", "damaged")
    if version != VERSION:
        raise _UnfitError(
            f"is of version {version}, and version {VERSION} is used", f"version-{version}"
        )
    query = "SELECT sql FROM sqlite_master WHERE name = 'launch'"
    if connection.execute(query).fetchone() != (_TABLE,):
        raise _UnfitError("is damaged (it has no table of launches)", "damaged")


def _check_quickly(connection: sqlite3.Connection) -> None:
    problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise _UnfitError(f"is damaged ({problem})", "damaged")


def _is_blank(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0)


def _make(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute(_TABLE)
    connection.execute(_INDEX)


def _keep_within_bounds(connection: sqlite3.Connection) -> None:
    """Let the rows go that were used least recently, where there are too many or they take too much."""
    rows = connection.execute("SELECT count(*) FROM launch").fetchone()[0]
    _evict(connection, rows - MOST_ROWS)
    while _taken_bytes(connection) > MOST_BYTES and _evict(connection, rows // EVICTED_PART + 1):
        pass


def _evict(connection: sqlite3.Connection, rows: int) -> int:
    oldest = "SELECT kernel, pair, bucket FROM launch ORDER BY used LIMIT ?"
    keys = connection.execute(oldest, (max(0, rows),)).fetchall()
    connection.executemany(_REMOVE_ONE, keys)
    return len(keys)


def _taken_bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _place(known: Known) -> tuple[str, str, str]:
    return known.key.kernel, known.key.pair, known.key.bucket


def _row(known: Known) -> tuple[object, ...]:
    return (
        *_place(known),
        known.kernel_name,
        known.code,
        known.cpu_share,
        json.dumps(known.alone_seconds),
        json.dumps(known.split_seconds),
        known.alone_launches,
        known.split_launches,
        known.to_mirror_bytes,
        known.home_bytes,
        known.used,
    )


def _known(row: Sequence[object]) -> Known | None:
    """What a row says; None where it says nothing that can have been measured."""
    kernel, pair, bucket, name, code, share, alone, split, *rest = row
    try:
        return Known(
            Key(kernel, pair, bucket),  # type: ignore[arg-type]  # checked in construction
            name,  # type: ignore[arg-type]
            code,  # type: ignore[arg-type]
            share,  # type: ignore[arg-type]
            tuple(json.loads(alone)),  # type: ignore[arg-type]
            tuple(json.loads(split)),  # type: ignore[arg-type]
            *rest,  # type: ignore[arg-type]
        )
    except (TypeError, ValueError):
        return None
