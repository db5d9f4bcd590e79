"""Measures in a process of its own: a driver that ends its process, or never returns, ends nothing else.

Compilers of drivers do abort on some kernels. Such a workload is unfit, and a new process goes on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol, cast

from lb_runtime.errors import DeviceError, LoadBalancerError
from lb_runtime.runtime import Runtime
from lb_runtime.tuned.measured import Measured, SplitMeasured
from lb_runtime.tuning.measure import Bench, UnfitError
from lb_runtime.tuning.workload import Workload
from predictor.errors import PredictorError

START_SECONDS = 60.0
MOST_SECONDS = 60.0
"""A workload that takes longer, compiling included, is given up."""


class Measurer(Protocol):
    """What measures workloads; raises UnfitError for one that cannot be measured here."""

    def measure(self, workload: Workload) -> Measured:
        """Time a workload on each device alone."""
        ...

    def measure_split(self, workload: Workload, cpu_share: float) -> SplitMeasured:
        """Time a workload that is cut at a share."""
        ...


@dataclass(frozen=True, slots=True)
class _Task:
    workload: Workload
    cpu_share: float | None


class Worker:
    """A `Measurer` in a child process, which is started when it is needed. For use in a `with`.

    Args:
        cpu, gpu: which devices play the roles, as for `lb_runtime.Runtime`.
    """

    def __init__(self, cpu: str | None, gpu: str | None) -> None:
        self._roles = cpu, gpu
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the child, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def measure(self, workload: Workload) -> Measured:
        """As `Bench.measure`. Raises UnfitError, also where the driver ends the process."""
        return cast(Measured, self._ask(_Task(workload, None)))

    def measure_split(self, workload: Workload, cpu_share: float) -> SplitMeasured:
        """As `Bench.measure_split`. Raises UnfitError, also where the driver ends the process."""
        return cast(SplitMeasured, self._ask(_Task(workload, cpu_share)))

    def _ask(self, task: _Task) -> object:
        connection = self._started()
        answer: object = None
        try:
            connection.send(task)
            if not connection.poll(MOST_SECONDS):
                raise UnfitError(f"it took longer than {MOST_SECONDS:.0f} s")
            answer = connection.recv()
        except (EOFError, ConnectionError) as error:
            raise UnfitError("a driver ended the process") from error
        finally:
            if answer is None:
                # Also after Ctrl-C: what the child would still answer is to no question.
                self.stop()
        if isinstance(answer, Exception):
            raise UnfitError(str(answer)) from answer
        return answer

    def _started(self) -> Connection:
        if self._connection is not None:
            return self._connection
        # Not a copy of this process: threads of drivers do not survive that.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, *self._roles), daemon=True)
        self._process.start()
        theirs.close()
        self._connection = ours
        try:
            answer = ours.recv() if ours.poll(START_SECONDS) else None
        except (EOFError, ConnectionError):
            answer = None
        if answer != "":
            self.stop()
            raise DeviceError(answer or "the devices cannot be opened: the process ended")
        return ours


def _work(connection: Connection, cpu: str | None, gpu: str | None) -> None:
    """The child: open the devices, then answer tasks until the parent is gone."""
    # Ctrl-C is the parent's to handle; it ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        runtime = Runtime(cpu, gpu)
    except LoadBalancerError as error:
        connection.send(str(error))
        return
    # Compilers of drivers write warnings there, which would tear the parent's progress bar.
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    connection.send("")
    bench = Bench(runtime)
    while True:
        try:
            task: _Task = connection.recv()
        except EOFError:
            return
        answer: object
        try:
            if task.cpu_share is None:
                answer = bench.measure(task.workload)
            else:
                answer = bench.measure_split(task.workload, task.cpu_share)
        except (LoadBalancerError, PredictorError, ValueError) as error:
            answer = UnfitError(str(error))
        runtime.close()
        connection.send(answer)
