"""The thread that makes all calls to the mirror for a conductor, which need not wait for ever then.

Every call that may block the mirror's driver is made here, in a call that lets other Python threads run:
some of pyopencl's events wait, when they are dropped, with Python's lock held, and are never made.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Lock, Thread
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pyopencl as cl

if TYPE_CHECKING:
    from lb_runtime.dropin.mirror import Mirror

Job = Callable[[cl.CommandQueue, "Errand"], Any]
"""Something to do with the hand's queue on the mirror; it waits for what it enqueues."""


class CancelledError(Exception):
    """A job that is not wanted any more."""


class Errand:
    """A job that was given to a hand: `result` or `error` once it is `done`; `ended` by the host's clock."""

    def __init__(self, job: Job) -> None:
        self.job: Job | None = job
        self.done = Event()
        self._lock = Lock()
        self._has_begun = False
        self._is_cancelled = False
        self.result: Any = None
        self.error: Exception | None = None
        self.ended = 0.0

    def begin(self) -> None:
        """To be called by the job before what cannot be taken back. Raises `CancelledError`."""
        with self._lock:
            if self._is_cancelled:
                raise CancelledError
            self._has_begun = True

    def cancel(self) -> bool:
        """Have the job not begin any more; False where it has."""
        with self._lock:
            self._is_cancelled = not self._has_begun
            return self._is_cancelled


class Hand:
    """Does jobs in order, on a queue of its own."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._given: SimpleQueue[Errand | None] = SimpleQueue()
        Thread(target=self._run, name="lb_runtime hand", daemon=True).start()

    def do(self, job: Job) -> Errand:
        """Have a job done after all those before."""
        errand = Errand(job)
        self._given.put(errand)
        return errand

    def close(self) -> None:
        """End the thread after the jobs so far."""
        self._given.put(None)

    def _run(self) -> None:
        queue: cl.CommandQueue | None = None
        while (errand := self._given.get()) is not None:
            try:
                if queue is None:
                    queue = self._mirror.queue()
                if errand.job is not None:
                    errand.result = errand.job(queue, errand)
            except Exception as error:
                errand.error = error
            errand.job = None
            errand.ended = perf_counter()
            errand.done.set()
            del errand
