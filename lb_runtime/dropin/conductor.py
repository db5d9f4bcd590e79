"""The threads that carry out what was enqueued: one for each queue of the user's that has split launches.

A conductor takes tasks in the order of the program's calls. A task waits for what stood before it on the
user's queue, moves bytes, runs parts, waits for them, and then completes the user event that the user's
queue waits for. Whatever fails on the mirror is done again on the user's device: the event is completed
with an error only where that device itself fails, or where bytes were lost with the mirror.
"""

from __future__ import annotations

from collections import OrderedDict
from queue import SimpleQueue
from threading import Event, Thread
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyopencl as cl

from lb_runtime.dropin import raw
from lb_runtime.dropin.memories import Effect, Memory
from lb_runtime.dropin.mirror import Mirror, profiled_queue
from lb_runtime.memory.byte_map import Place
from lb_runtime.memory.merge import Bytes

if TYPE_CHECKING:
    from lb_runtime.dropin.world import World

Move = tuple[Memory, int, int]
"""Bytes `[start, stop)` of a memory."""

FAILED = -14
"""CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST: what a command ends with when what it waited for failed."""
KERNELS_KEPT = 256
GIVEN_UP_SECONDS = 2.0
"""A command of the program's that does not end for so long is not waited for at the end."""


class MirrorError(Exception):
    """The mirror failed in a way after which it is not used any more."""


class BytesLostError(Exception):
    """The only copy of some bytes was on a mirror that failed."""


class Task:
    """Something to do in order. `done` is set when it has ended, however it ended.

    `waits` are tasks of other conductors that touch the same memories and were enqueued before;
    `before` is what commands of the program's did to them since.
    """

    def __init__(self, user_event: cl.UserEvent | None) -> None:
        self.user_event = user_event
        self.waits: tuple[Task, ...] = ()
        self.before: list[Effect] = []
        self.conductor: Conductor | None = None
        self.done = Event()
        self.status = 0

    def run(self, conductor: Conductor) -> None:
        """Do it. Raises nothing that `status` could tell instead."""
        raise NotImplementedError

    def finish(self) -> None:
        """Let go of what waits for the task."""
        self.done.set()
        self.waits = ()
        self.conductor = None
        if self.user_event is not None:
            try:
                self.user_event.set_status(self.status)
            finally:
                self.user_event = None


class _Waiter:
    """Waits for one command of the mirror at a time, so that the conductor can stop waiting for it."""

    def __init__(self) -> None:
        self._given: SimpleQueue[tuple[cl.Event, Waiting] | None] = SimpleQueue()
        Thread(target=self._run, name="lb_runtime waiter", daemon=True).start()

    def post(self, event: cl.Event) -> Waiting:
        waiting = Waiting()
        self._given.put((event, waiting))
        return waiting

    def close(self) -> None:
        self._given.put(None)

    def _run(self) -> None:
        while (given := self._given.get()) is not None:
            event, waiting = given
            try:
                event.wait()
            except Exception as error:
                waiting.error = error
            waiting.ended = perf_counter()
            waiting.done.set()
            del event, given


class Waiting:
    """A command of the mirror that is being waited for; `ended` is when, by the host's clock."""

    def __init__(self) -> None:
        self.done = Event()
        self.error: Exception | None = None
        self.ended = 0.0


class Conductor:
    """The thread of one queue of the user's, with queues of ours on both devices."""

    def __init__(
        self, world: World, device: cl.Device, queue: cl.CommandQueue | None = None
    ) -> None:
        self.world = world
        self.device = device
        # Some drivers wait, in the call that releases a queue, until all of its commands have ended: a
        # program must not be the last to let go of a queue that waits for this thread.
        self.queue = queue
        self.last: Task | None = None
        self.tasks: SimpleQueue[Task | None] = SimpleQueue()
        self.is_closed = False
        self.waits_since: float | None = None
        """Since when it waits for commands of the program's own."""
        self._thread: Thread | None = None
        self._home: cl.CommandQueue | None = None
        self._away: cl.CommandQueue | None = None
        self._waiter: _Waiter | None = None
        self._kernels: OrderedDict[tuple[int, str], tuple[Any, cl.Kernel]] = OrderedDict()

    def put(self, task: Task) -> None:
        """Let a task be done after all that were put before."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="lb_runtime conductor", daemon=True)
            self._thread.start()
        self.last = task
        self.tasks.put(task)

    def close(self) -> None:
        """End the thread when it has done its tasks. Takes no lock."""
        self.is_closed = True
        self.tasks.put(None)

    def drain(self) -> None:
        """Wait until all tasks so far have ended, or one waits too long for the program itself."""
        last = self.last
        while last is not None and not last.done.wait(0.05):
            if self.is_stuck:
                return

    @property
    def is_stuck(self) -> bool:
        """Whether it waits for commands of the program's own, and long."""
        since = self.waits_since
        return since is not None and perf_counter() - since > GIVEN_UP_SECONDS

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the end of a thread that was closed; whether it came.

        A thread that waits for the program's own commands, and long, is given up sooner.
        """
        thread, stop = self._thread, perf_counter() + timeout_seconds
        while thread is not None and thread.is_alive() and perf_counter() < stop:
            thread.join(0.05)
            if self.is_stuck:
                break
        return thread is None or not thread.is_alive()

    def _run(self) -> None:
        while (task := self.tasks.get()) is not None:
            try:
                for other in task.waits:
                    other.done.wait()
                for memory, place, start, stop in task.before:
                    memory.actual.wrote(place, start, stop)
                task.before.clear()
                task.run(self)
            except Exception as error:
                task.status = FAILED
                self.world.story.fault("task", error)
            try:
                task.finish()
            except Exception as error:
                self.world.story.fault("signal", error)
            del task
        if self._waiter is not None:
            self._waiter.close()
        self._kernels.clear()
        self.queue = None

    # What tasks are made of

    @property
    def home(self) -> cl.CommandQueue:
        """Our queue on the user's device."""
        if self._home is None:
            self._home = profiled_queue(self.world.context, self.device)
        return self._home

    @property
    def mirror(self) -> Mirror:
        """The other device. Raises `MirrorError` where there is none any more."""
        mirror = self.world.mirror
        if mirror is None or self.world.is_lost:
            raise MirrorError("the other device is not used any more")
        return mirror

    @property
    def away(self) -> cl.CommandQueue:
        """Our queue on the mirror."""
        if self._away is None:
            self._away = self.mirror.queue()
        return self._away

    def forget_away(self) -> None:
        """Leave the mirror's queue, on which something may hang, for a new one."""
        self._away = None
        self._waiter = None

    def kernel(self, program: Any, name: str) -> cl.Kernel:
        """A kernel object of this thread's own, of a program."""
        key = id(program), name
        found = self._kernels.get(key)
        if found is None:
            found = self._kernels[key] = (program, cl.Kernel(program, name))
            if len(self._kernels) > KERNELS_KEPT:
                self._kernels.popitem(last=False)
        return found[1]

    def post(self, event: cl.Event) -> Waiting:
        """Begin to wait for a command of the mirror."""
        if self._waiter is None:
            self._waiter = _Waiter()
        return self._waiter.post(event)

    def wait(self, waiting: Waiting) -> None:
        """Wait for a command of the mirror. Raises `MirrorError` where it takes too long."""
        limit = self.world.settings.mirror_timeout_seconds
        if not waiting.done.wait(limit):
            self.forget_away()
            raise MirrorError(f"{self.mirror.label} has not answered for {limit:g} s")
        if waiting.error is not None:
            raise waiting.error

    def read_away(self, memory: Memory, start: int, stop: int) -> Bytes:
        """Bytes of the mirror's copy; shape: (stop - start,)."""
        content = np.empty(stop - start, np.uint8)
        buffer = memory.copy_on(self.mirror)
        event = raw.read_buffer(self.away, buffer, content, start, None, False)
        self.wait(self.post(event))
        return content

    def bring_home(self, moves: list[Move]) -> int:
        """Copy bytes from the mirror to the user's device; how many.

        Raises what the mirror fails with; `BytesLostError` where it is not used any more.
        """
        total = 0
        for memory, start, stop in moves:
            for begin, end in memory.actual.lacking(Place.USER, start, stop):
                if self.world.is_lost:
                    raise BytesLostError(
                        f"bytes [{begin}, {end}) of a buffer of {memory.size_bytes} were on the other "
                        "device, which failed"
                    )
                content = self.read_away(memory, begin, end)
                raw.write_buffer(self.home, memory.own, content, begin, None, True)
                memory.actual.copied(Place.USER, begin, end)
                total += end - begin
        return total

    def send(self, moves: list[Move], held: list[Bytes]) -> int:
        """Copy bytes from the user's device to the mirror, where they may still be on their way.

        `held` takes what must live until the mirror has done what is enqueued next. Returns how many.
        """
        total = 0
        for memory, start, stop in moves:
            for begin, end in memory.actual.lacking(Place.MIRROR, start, stop):
                content = np.empty(end - begin, np.uint8)
                raw.read_buffer(self.home, memory.own, content, begin, None, True)
                buffer = memory.copy_on(self.mirror)
                raw.write_buffer(self.away, buffer, content, begin, None, False)
                held.append(content)
                memory.actual.copied(Place.MIRROR, begin, end)
                total += end - begin
        return total


class PullTask(Task):
    """Brings bytes home that a command of the user's needs."""

    def __init__(
        self, user_event: cl.UserEvent | None, moves: list[Move], name: str = "the end"
    ) -> None:
        super().__init__(user_event)
        self.moves = moves
        self.name = name

    def run(self, conductor: Conductor) -> None:
        """Bring them home; where they are lost with the mirror, what waits for them fails."""
        world = conductor.world
        began = perf_counter()
        try:
            moved = conductor.bring_home(self.moves)
        except BytesLostError as error:
            world.story.fault("to-user", error)
            self.status = FAILED
            return
        except Exception as error:
            world.story.fault("to-user", error)
            # Once more, for a failure that passes; then all that can be had is brought home.
            try:
                moved = conductor.bring_home(self.moves)
            except Exception as again:
                world.lose_mirror(conductor, again)
                moved = 0
                if any(
                    memory.actual.lacking(Place.USER, start, stop)
                    for memory, start, stop in self.moves
                ):
                    self.status = FAILED
        finally:
            self.moves = []
        if moved:
            world.story.operation(self.name, moved)
            world.story.span("host", "bring home", began, perf_counter(), bytes=moved)
