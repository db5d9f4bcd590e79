"""The thread that makes all calls to the mirror for a conductor, which need not wait for ever then.

Every call that may block the mirror's driver is made here, in a call that lets other Python threads run:
some of pyopencl's events wait, when they are dropped, with Python's lock held, and are never made.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread
from time import perf_counter
from typing import Any

import pyopencl as cl

from lb_runtime.dropin.mirror import Mirror

Job = Callable[[cl.CommandQueue], Any]
"""Something to do with the hand's queue on the mirror; it waits for what it enqueues."""


class Errand:
    """A job that was given to a hand: `result` or `error` once it is `done`; `ended` by the host's clock."""

    def __init__(self, job: Job) -> None:
        self.job: Job | None = job
        self.done = Event()
        self.result: Any = None
        self.error: Exception | None = None
        self.ended = 0.0


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
                    errand.result = errand.job(queue)
            except Exception as error:
                errand.error = error
            errand.job = None
            errand.ended = perf_counter()
            errand.done.set()
            del errand
