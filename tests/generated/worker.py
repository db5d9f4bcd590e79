"""A process that checks kernels, so that a driver which crashes over one takes only that process along.

Intel's compiler and PoCL both end the process over some kernels, split or not. A kernel over which the
process ends is run again, whole, in a fresh one: only if that crashes too, over the launch or over the
memory that it left broken, is that the driver's affair.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from types import TracebackType

from generated.check import Checked, Checker
from generated.kernels import INTEL, MIXED, POCL, Generated
from lb_runtime.contexts import OpenPair, open_pair
from lb_runtime.devices import discover

KERNELS_PER_PROCESS = 400
"""Drivers keep what they compiled for as long as the process lives."""
SECONDS_PER_KERNEL = 120.0
WHOLE_RUNS = 20
"""So often a kernel is run whole over which a process has ended."""


class Worker:
    """Checks kernels in a process of its own, one after the other."""

    def __init__(self) -> None:
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._served = 0

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def check(self, generated: Generated) -> Checked:
        """What `Checker.check` says, or that the process ended over the kernel."""
        checked = self._ask(generated, whole=False)
        if checked is not None:
            return checked
        if self._ask(generated, whole=True) is None or self._ends_badly():
            return Checked("", driver_crashed=True)
        return Checked("the process ended, or did not answer, though the whole launch runs")

    def _ask(self, generated: Generated, *, whole: bool) -> Checked | None:
        """The answer of the process; None where there is none."""
        if self._served >= KERNELS_PER_PROCESS:
            self.close()
        connection = self._connection or self._start()
        self._served += 1
        try:
            connection.send((generated, whole))
            if connection.poll(SECONDS_PER_KERNEL):
                answer = connection.recv()
                assert isinstance(answer, Checked)
                return answer
        except (EOFError, ConnectionError):
            pass
        self.close()
        return None

    def _ends_badly(self) -> bool:
        """Whether a process that is asked to end does so with a crash."""
        if self._connection is None or self._process is None:
            return True
        self._connection.close()
        self._process.join(SECONDS_PER_KERNEL)
        crashed = self._process.exitcode != 0
        self.close()
        return crashed

    def _start(self) -> Connection:
        spawn = multiprocessing.get_context("spawn")
        mine, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._connection, self._served = mine, 0
        return mine

    def close(self) -> None:
        """End the process; the next kernel starts another."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        self._process = self._connection = None


def _serve(connection: Connection) -> None:
    """Answer each kernel with what is found of it, until the other side hangs up."""
    checkers: dict[str, Checker] = {}
    while True:
        try:
            generated, whole = connection.recv()
        except EOFError:
            return
        pair = generated.pair
        if pair not in checkers:
            checkers[pair] = Checker(_opened(pair))
        if whole:
            # Memory that a driver breaks shows by and by.
            for _ in range(WHOLE_RUNS):
                checkers[pair].run_whole(generated)
            connection.send(Checked(""))
        else:
            connection.send(checkers[pair].check(generated))


def _opened(pair: str) -> OpenPair:
    """The devices of a kernel's pair, or what there is of them."""
    usable = [device for device in discover().devices if device.usable]
    index = {device.platform_name: str(device.index) for device in reversed(usable)}
    names = (POCL, INTEL) if pair == MIXED else (pair, pair)
    there = [index[name] for name in names if name in index] or [str(usable[0].index)]
    return open_pair(cpu=there[0], gpu=there[-1])
