"""The history beside a running program: asked once for each kernel, told in passing, written in batches.

Whoever tells something only puts it into a dictionary; a thread writes what has gathered. Nothing is
raised: a program goes on without a history that cannot be read or written, and one line tells why.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from lb_runtime.history.place import history_path

if TYPE_CHECKING:
    from lb_runtime.history.known import Key, Known
    from lb_runtime.history.store import Store

BATCH_SECONDS = 1.0
"""What is told within this time is written at once."""
READ_WAIT_SECONDS = 0.2
"""A program starts without the history rather than wait longer for others that write."""
MOST_WAITING = 1024
"""While so many values wait to be written, others are not taken."""
ATTEMPTS = 3
"""So often in a row a batch may fail to be written before no more are taken."""


class History:
    """The history of one process: a file, the user's own where no path is given."""

    def __init__(self, tell: Callable[[str], None], path: Path | None = None) -> None:
        """`tell` is given lines for the user; any thread may call it."""
        self._tell = tell
        self._path = path
        self._process = os.getpid()
        self._lock = Lock()
        self._file_lock = Lock()
        self._waiting: dict[Key, Known] = {}
        self._is_told = Event()
        self._is_closing = Event()
        self._thread: Thread | None = None
        self._failures = 0
        self._has_told = False

    def of_kernel(self, kernel: str, pair: str) -> dict[str, Known]:
        """What is known of a kernel's launches on a pair of devices, by bucket; nothing if in doubt."""
        store: Store | None = None
        try:
            store = self._store(READ_WAIT_SECONDS)
            return store.of_kernel(kernel, pair)
        except Exception as error:
            self._tell(f"the history is not used: {error}")
            return {}
        finally:
            self._tell_notes(store)

    @property
    def is_there(self) -> bool:
        """Whether there is a file that may know something."""
        try:
            return self._file.exists()
        except OSError:
            # Whoever asks it something is told why not.
            return False

    @property
    def _file(self) -> Path:
        return self._path or history_path()

    def note(self, known: Known) -> None:
        """Have something written, soon; any thread may call this, which waits for nothing."""
        if os.getpid() != self._process or self._failures >= ATTEMPTS:
            return
        with self._lock:
            earlier = self._waiting.get(known.key)
            if earlier is None and len(self._waiting) >= MOST_WAITING:
                return
            self._waiting[known.key] = known if earlier is None else known.after(earlier)
            if self._thread is None and not self._is_closing.is_set():
                self._thread = Thread(target=self._run, name="lb_runtime history", daemon=True)
                self._thread.start()
        self._is_told.set()

    def close(self, timeout_seconds: float) -> None:
        """Write what is left. In the child of a fork, that is the parent's business."""
        if os.getpid() != self._process:
            return
        self._is_closing.set()
        self._is_told.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        self._flush()

    def _run(self) -> None:
        while not self._is_closing.is_set():
            self._is_told.wait()
            self._is_closing.wait(BATCH_SECONDS)
            self._is_told.clear()
            self._flush()

    def _flush(self) -> None:
        with self._file_lock:
            with self._lock:
                batch, self._waiting = self._waiting, {}
            if not batch:
                return
            store: Store | None = None
            try:
                store = self._store()
                store.add(batch.values())
                self._failures = 0
            except Exception as error:
                self._put_back(batch)
                if not self._has_told and (self._failures == ATTEMPTS or self._is_closing.is_set()):
                    self._has_told = True
                    self._tell(f"the history is not written: {error}")
            finally:
                self._tell_notes(store)

    def _put_back(self, batch: dict[Key, Known]) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= ATTEMPTS:
                self._waiting.clear()
                return
            for key, known in batch.items():
                later = self._waiting.get(key)
                self._waiting[key] = known if later is None else later.after(known)
        self._is_told.set()

    def _store(self, wait_seconds: float | None = None) -> Store:
        # Not every Python has the database; and who has no history need not load it.
        from lb_runtime.history.store import Store

        return Store(self._file) if wait_seconds is None else Store(self._file, wait_seconds)

    def _tell_notes(self, store: Store | None) -> None:
        for note in () if store is None else store.notes:
            self._tell(note)
