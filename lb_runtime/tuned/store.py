"""Measurements and fitted heads on disk: one SQLite file in the data folder, for all device pairs.

Every measurement is committed as it comes, so that a run that is stopped loses at most the one under way.
A file that is damaged is moved aside, never written to and never trusted; one of another version is left
alone. A head is a few arrays as `.npz` without pickled objects, with its SHA-256 beside it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

from lb_runtime.errors import StoreError
from lb_runtime.folders import data_folder
from lb_runtime.tuned.machine import Machine
from lb_runtime.tuned.measured import Measured, Row, Seconds, SplitMeasured
from predictor.tuned.features import LaunchNumbers

APPLICATION = 0x6C62746E
"""What the file says it is, in its header (`PRAGMA application_id`): "lbtn"."""
VERSION = 1
WAIT_SECONDS = 5.0
READ_WAIT_SECONDS = 0.2
"""A runtime does without the head rather than wait for a `lb tune` that writes."""
_TABLES = """
CREATE TABLE machine (key TEXT PRIMARY KEY, facts TEXT NOT NULL, scale REAL NOT NULL);
CREATE TABLE measured (
    machine TEXT NOT NULL, workload TEXT NOT NULL, family TEXT NOT NULL, name TEXT NOT NULL,
    source TEXT NOT NULL, options TEXT NOT NULL, kernel TEXT NOT NULL, launch TEXT NOT NULL,
    cpu_kernel REAL NOT NULL, cpu_total REAL NOT NULL,
    gpu_kernel REAL NOT NULL, gpu_total REAL NOT NULL,
    PRIMARY KEY (machine, workload));
CREATE TABLE split (
    machine TEXT NOT NULL, workload TEXT NOT NULL, cpu_share REAL NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (machine, workload));
CREATE TABLE unfit (
    machine TEXT NOT NULL, workload TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (machine, workload));
CREATE TABLE head (
    machine TEXT NOT NULL, model TEXT NOT NULL, digest BLOB NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY (machine, model));
"""


def store_path() -> Path:
    """Where the file is, or would be."""
    return data_folder() / "tune.sqlite"


class Store:
    """An open store, for `lb tune`. `note` is one line where a damaged file was moved aside."""

    def __init__(self, connection: sqlite3.Connection, note: str = "") -> None:
        self._connection = connection
        self.note = note

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open a store, a new one where there is none or what is there is damaged.

        Raises:
            StoreError: it is of another version, in use, or cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        note = ""
        try:
            connection = _connected(path)
        except _DamagedError as damage:
            note = _set_aside(path, str(damage))
            try:
                connection = _connected(path)
            except _DamagedError as again:
                raise StoreError(f"{path} is damaged ({again}): remove it") from again
        return cls(connection, note)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def scale(self, machine: Machine) -> float | None:
        """By how much work is multiplied on this machine; None for one that was never measured."""
        found = self._one("SELECT scale FROM machine WHERE key = ?", machine.key)
        return None if found is None else float(found[0])

    def begin(self, machine: Machine, scale: float) -> None:
        """Keep a machine and its scale."""
        self._write(
            "INSERT OR REPLACE INTO machine VALUES (?, ?, ?)", machine.key, machine.facts, scale
        )

    def known(self, machine: Machine) -> frozenset[str]:
        """The keys of the workloads that need no measuring: those that were, and those that are unfit."""
        keys: set[str] = set()
        for table in ("measured", "unfit"):
            query = f"SELECT workload FROM {table} WHERE machine = ?"  # noqa: S608  # names of ours
            keys |= {row[0] for row in self._connection.execute(query, (machine.key,))}
        return frozenset(keys)

    def add(self, machine: Machine, row: Row) -> None:
        """Keep a measurement, on disk when this returns."""
        self._write(
            "INSERT OR REPLACE INTO measured VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            machine.key,
            row.workload,
            row.family,
            row.name,
            row.source,
            json.dumps(row.options),
            row.kernel_name,
            json.dumps(asdict(row.measured.launch)),
            row.measured.cpu.kernel,
            row.measured.cpu.total,
            row.measured.gpu.kernel,
            row.measured.gpu.total,
        )

    def add_unfit(self, machine: Machine, workload: str, reason: str) -> None:
        """Keep that the workload of this key cannot be measured here, so that it is not tried again."""
        self._write("INSERT OR REPLACE INTO unfit VALUES (?, ?, ?)", machine.key, workload, reason)

    def add_split(self, machine: Machine, workload: str, split: SplitMeasured) -> None:
        """Keep how long a split launch of the workload of this key took."""
        self._write(
            "INSERT OR REPLACE INTO split VALUES (?, ?, ?, ?)",
            machine.key,
            workload,
            split.cpu_share,
            split.seconds,
        )

    def rows(self, machine: Machine) -> list[Row]:
        """All measurements of a machine, always in the same order."""
        query = "SELECT * FROM measured WHERE machine = ? ORDER BY workload"
        return [
            Row(
                row[1],
                row[2],
                row[3],
                row[4],
                tuple(json.loads(row[5])),
                row[6],
                Measured(_launch(row[7]), Seconds(row[8], row[9]), Seconds(row[10], row[11])),
            )
            for row in self._connection.execute(query, (machine.key,))
        ]

    def splits(self, machine: Machine) -> dict[str, SplitMeasured]:
        """Split launches by the key of their workload."""
        query = "SELECT workload, cpu_share, seconds FROM split WHERE machine = ? ORDER BY workload"
        found = self._connection.execute(query, (machine.key,))
        return {row[0]: SplitMeasured(row[1], row[2]) for row in found}

    def forget(self, machine: Machine) -> None:
        """Remove all that is known of a machine."""
        with self._connection:
            for table in ("measured", "split", "unfit", "head"):
                self._connection.execute(
                    f"DELETE FROM {table} WHERE machine = ?",  # noqa: S608  # names of ours
                    (machine.key,),
                )
            self._connection.execute("DELETE FROM machine WHERE key = ?", (machine.key,))

    def keep_head(self, machine: Machine, model: str, content: bytes) -> None:
        """Keep a fitted head for one model; heads for other models of this machine go."""
        digest = hashlib.sha256(content).digest()
        with self._connection:
            self._connection.execute("DELETE FROM head WHERE machine = ?", (machine.key,))
            self._connection.execute(
                "INSERT INTO head VALUES (?, ?, ?, ?)", (machine.key, model, digest, content)
            )

    def _one(self, query: str, *values: object) -> tuple[float, ...] | None:
        found: tuple[float, ...] | None = self._connection.execute(query, values).fetchone()
        return found

    def _write(self, query: str, *values: object) -> None:
        try:
            with self._connection:
                self._connection.execute(query, values)
        except sqlite3.OperationalError as error:
            raise StoreError(f"the measurement cannot be kept: {error}") from error


def read_head(path: Path, machine: Machine, model: str) -> tuple[bytes | None, str]:
    """The head for a machine and a model, None where there is none; and one line if something is wrong.

    Nothing is raised: a runtime goes on without what it cannot read.
    """
    if not path.is_file():
        return None, ""
    try:
        with _reading(path) as connection:
            query = "SELECT digest, content FROM head WHERE machine = ? AND model = ?"
            found = connection.execute(query, (machine.key, model)).fetchone()
            others = connection.execute(
                "SELECT count(*) FROM head WHERE machine = ?", (machine.key,)
            ).fetchone()[0]
    except _DamagedError as damage:
        return None, _set_aside(path, str(damage))
    except StoreError as error:
        return None, str(error)
    except sqlite3.Error as error:
        return (
            None,
            f"{path} cannot be read now ({error}): this machine's measurements are not used",
        )
    if found is None:
        fit_again = "its measurements were fitted to another model: run `lb tune` to fit them again"
        return None, f"{path}: {fit_again}" if others else ""
    if hashlib.sha256(found[1]).digest() != found[0]:
        return None, _set_aside(path, "a checksum does not hold")
    return bytes(found[1]), ""


class _DamagedError(Exception):
    """The file is no store, or not whole."""


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that changes nothing; damage as `_DamagedError`, other versions as StoreError."""
    place = f"file:{quote(str(path.absolute()))}?mode=ro"
    with _damage_told():
        connection = sqlite3.connect(place, uri=True, timeout=READ_WAIT_SECONDS)
        try:
            _check(connection, path)
            yield connection
        finally:
            connection.close()


def _connected(path: Path) -> sqlite3.Connection:
    """A connection for writing, to a file that is whole; a new file gets its tables."""
    try:
        with _damage_told():
            connection = sqlite3.connect(path, timeout=WAIT_SECONDS)
            try:
                _make_whole(connection, path)
            except BaseException:
                connection.close()
                raise
            return connection
    except sqlite3.OperationalError as error:
        raise StoreError(f"{path} cannot be written ({error})") from error


def _make_whole(connection: sqlite3.Connection, path: Path) -> None:
    is_blank = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if is_blank and _header(connection) == (0, 0):
        with connection:
            connection.executescript(
                f"BEGIN; PRAGMA application_id = {APPLICATION}; "
                f"PRAGMA user_version = {VERSION}; {_TABLES} COMMIT;"
            )
    _check(connection, path)
    problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise _DamagedError(problem)


@contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError:
        # In use, or not to be opened: that is no damage.
        raise
    except sqlite3.DatabaseError as error:
        raise _DamagedError(str(error)) from error


def _header(connection: sqlite3.Connection) -> tuple[int, int]:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    return int(application), int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check(connection: sqlite3.Connection, path: Path) -> None:
    application, version = _header(connection)
    if application != APPLICATION:
        raise _DamagedError("it is no store of `lb tune`")
    if version != VERSION:
        raise StoreError(
            f"{path} is of version {version}, this program reads version {VERSION}: it is left alone; "
            "name another folder by LB_DATA_DIR, or remove the file"
        )


def _set_aside(path: Path, why: str) -> str:
    """Move a damaged file out of the way; one line that says so."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    try:
        path.rename(aside)
    except OSError as error:
        return f"{path} is damaged ({why}) and cannot be moved ({error.strerror}): remove it"
    return f"{path} was damaged ({why}) and is now {aside.name}: run `lb tune` to measure again"


def _launch(text: str) -> LaunchNumbers:
    numbers = json.loads(text)
    return LaunchNumbers(**{**numbers, "integers": tuple(numbers["integers"])})
