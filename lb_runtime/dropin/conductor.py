"""The threads that carry out what was enqueued: one for each queue of the user's that has split launches.

A conductor takes tasks in the order of the program's calls. A task waits for what stood before it on the
user's queue, moves bytes, runs parts, waits for them, and then completes the user event that the user's
queue waits for. Whatever fails on the mirror is done again on the user's device. The event is completed with
an error only where a command of the program's that the task waits for has failed: PoCL 3.0 ends the process
for such an event that nobody holds. Bytes that are lost are told by the next call that reads them.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Lock, Thread
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyopencl as cl

from lb_runtime.dropin import copies, raw
from lb_runtime.dropin.hand import Errand, Hand, Job
from lb_runtime.dropin.memories import Effect, Memory
from lb_runtime.dropin.mirror import Mirror, profiled_queue
from lb_runtime.errors import BytesLostError
from lb_runtime.memory.byte_map import Place
from lb_runtime.memory.merge import Bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lb_runtime.analysis.regions import Rows
    from lb_runtime.dropin.world import World

Move = tuple[Memory, int, int]
"""Bytes `[start, stop)` of a memory."""
Piece = tuple[Memory, int, Bytes]
"""Bytes to be written into a memory from a byte on."""

FAILED = -14
"""CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST: what a command ends with when what it waited for failed."""
KERNELS_KEPT = 256
SIGNALS = 5
"""So often the program's queue is told that it may go on, where telling fails."""
ATTEMPTS = 3
"""So often bytes are brought home; before the last time the mirror is given up."""
GIVEN_UP_SECONDS = 2.0
"""A command of the program's that does not end for so long is not waited for at the end."""


IN_FLIGHT: set[Task] = set()
"""Tasks that have not ended: queues of the program's may wait for them."""


class MirrorError(Exception):
    """The mirror failed in a way after which it is not used any more."""


class Task:
    """Something to do in order. `done` is set when it has ended, however it ended.

    `waits` are tasks of other conductors that touch the same memories and were enqueued before;
    `before` is what commands of the program's did to them since.
    """

    def __init__(self, user_event: cl.UserEvent | None) -> None:
        self.user_event = user_event
        self.waits: tuple[Task, ...] = ()
        self.before: list[Effect] = []
        self.replaced: list[tuple[Memory, Task | None]] = []
        """What was the last task of each memory, while this one is being handed over."""
        self.conductor: Conductor | None = None
        self.done = Event()
        self.is_put = False
        self.status = 0

    def run(self, conductor: Conductor) -> None:
        """Do it. Raises nothing that `status` could tell instead."""
        raise NotImplementedError

    def ended(self, conductor: Conductor) -> None:
        """Called when it is done and nobody waits for it any more. Raises nothing."""

    def finish(self, world: World | None = None) -> None:
        """Let go of what waits for the task."""
        self.done.set()
        IN_FLIGHT.discard(self)
        self.waits = ()
        self.conductor = None
        event, self.user_event = self.user_event, None
        for attempt in range(SIGNALS):
            if event is None:
                return
            try:
                event.set_status(self.status)
            except Exception as error:
                # The program's queue waits for nothing else: it must come.
                if world is not None:
                    world.tell("signal", error)
                sleep(0.001 * attempt)
            else:
                return

    def give_up(self, world: World, error: Exception) -> None:
        """The task failed in every way: what it was to write must not be read."""


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
        self._home_lock = Lock()
        self._allocates_late = "portable computing language" in device.platform.name.lower()
        self._hand: Hand | None = None
        self.is_ended = False
        """Whether the interpreter ends: tasks are let go, since nobody will see what they did."""
        self._kernels: OrderedDict[tuple[int, str], tuple[Any, cl.Kernel]] = OrderedDict()

    def put(self, task: Task) -> None:
        """Let a task be done after all that were put before."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="lb_runtime conductor", daemon=True)
            self._thread.start()
        self.last = task
        IN_FLIGHT.add(task)
        task.is_put = True
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
    def is_idle(self) -> bool:
        """Whether nothing waits to be done."""
        return self.tasks.empty()

    @property
    def has_ended(self) -> bool:
        """Whether it was closed, and has done all that it was given."""
        return self.is_closed and (self._thread is None or not self._thread.is_alive())

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
            if self.is_stuck or (self.is_ended and self.waits_since is not None):
                break
        return thread is None or not thread.is_alive()

    def _run(self) -> None:
        while (task := self.tasks.get()) is not None:
            if not self.is_ended:
                self._do(task)
            task.finish(self.world)
            if not self.is_ended:
                task.ended(self)
            del task
        if self._hand is not None:
            self._hand.close()
        self._kernels.clear()
        self.queue = None

    def _do(self, task: Task) -> None:
        try:
            for other in task.waits:
                other.done.wait()
            for memory, place, start, stop in task.before:
                memory.actual.wrote(place, start, stop)
            task.before.clear()
            task.run(self)
        except Exception as error:
            self.world.tell("task", error)
            task.give_up(self.world, error)

    # What tasks are made of

    @property
    def home(self) -> cl.CommandQueue:
        """Our queue on the user's device."""
        with self._home_lock:
            if self._home is None:
                self._home = profiled_queue(self.world.context, self.device)
            return self._home

    def allocate(self, memories: Iterable[Memory]) -> None:
        """Have the user's device give buffers their memory, before two threads use them.

        PoCL (3.0 at least) allocates a buffer at the enqueue of the first command that uses it, and takes
        no lock for that: where two threads enqueue their first commands at a time, one allocates it again,
        and either the process dies or what the other command wrote is lost.
        """
        if not self._allocates_late:
            return
        new = [memory for memory in memories if not memory.is_allocated]
        if new:
            raw.migrate(self.home, [memory.own for memory in new])
            for memory in new:
                memory.is_allocated = True

    @property
    def mirror(self) -> Mirror:
        """The other device. Raises `MirrorError` where there is none any more."""
        mirror = self.world.mirror
        if mirror is None or self.world.is_lost:
            raise MirrorError("the other device is not used any more")
        return mirror

    def forget_hand(self) -> None:
        """Leave the thread that may wait for the mirror for ever, and take a new one next time."""
        if self._hand is not None:
            self._hand.close()
        self._hand = None

    def kernel(self, program: Any, name: str) -> cl.Kernel:
        """A kernel object of this thread's own, of a program."""
        key = id(program), name
        found = self._kernels.get(key)
        if found is None:
            found = self._kernels[key] = (program, cl.Kernel(program, name))
            if len(self._kernels) > KERNELS_KEPT:
                self._kernels.popitem(last=False)
        return found[1]

    def away(self, job: Job) -> Errand:
        """Have something done on the mirror."""
        if self._hand is None:
            self._hand = Hand(self.mirror)
        return self._hand.do(job)

    def wait(self, errand: Errand) -> Any:
        """What came of it. Raises its error, and `MirrorError` where it takes too long."""
        limit = self.world.settings.mirror_timeout_seconds
        if not errand.done.wait(limit):
            self.forget_hand()
            raise MirrorError(f"{self.world.row(Place.MIRROR)} has not answered for {limit:g} s")
        if errand.error is not None:
            raise errand.error
        return errand.result

    def read_rows_away(self, memory: Memory, rows: Rows) -> Bytes:
        """Runs of the mirror's copy; shape: (count, run)."""
        mirror = self.mirror

        def read(queue: cl.CommandQueue, _: Errand) -> Bytes:
            return copies.read_rows(queue, memory.copy_on(mirror), rows)

        content: Bytes = self.wait(self.away(read))
        return content

    def fetch(self, moves: list[Move]) -> Fetch | None:
        """Begin to read what the user's device lacks of these bytes; None where it lacks nothing.

        Raises `BytesLostError` where the mirror is not used any more.
        """
        pieces: list[Piece] = []
        for memory, start, stop in moves:
            for begin, end in memory.actual.lacking(Place.USER, start, stop):
                if self.world.is_lost:
                    raise BytesLostError(
                        f"bytes [{begin}, {end}) of a buffer of {memory.size_bytes} were on the other "
                        "device, which failed"
                    )
                pieces.append((memory, begin, np.empty(end - begin, np.uint8)))
        return Fetch(pieces, self.away(_reading(self.mirror, pieces))) if pieces else None

    def put_home(self, fetch: Fetch) -> list[cl.Event]:
        """Wait for what was begun, and write it to the user's device, on our queue there.

        The events must be kept until a later command of that queue has ended: they wait when dropped.
        """
        self.wait(fetch.errand)
        events: list[cl.Event] = []
        for memory, start, content in fetch.pieces:
            events.append(raw.write_buffer(self.home, memory.own, content, start, None, False))
            memory.actual.copied(Place.USER, start, start + content.size)
        return events

    def bring_home(self, moves: list[Move]) -> int:
        """Copy bytes from the mirror to the user's device; how many. They are there on return.

        Raises what the mirror fails with; `BytesLostError` where it is not used any more.
        """
        fetch = self.fetch(moves)
        if fetch is None:
            return 0
        events = self.put_home(fetch)
        self.home.finish()
        events.clear()
        return fetch.size_bytes

    def to_send(self, moves: list[Move]) -> list[Piece]:
        """The bytes of the user's device that the mirror lacks of these."""
        return [
            (memory, begin, copies.read(self.home, memory.own, begin, end))
            for memory, start, stop in moves
            for begin, end in memory.actual.lacking(Place.MIRROR, start, stop)
        ]


class Fetch(NamedTuple):
    """Bytes that are being read from the mirror."""

    pieces: list[Piece]
    errand: Errand

    @property
    def size_bytes(self) -> int:
        """How many."""
        return sum(content.nbytes for _, _, content in self.pieces)


def _reading(mirror: Mirror, pieces: list[Piece]) -> Job:
    def read(queue: cl.CommandQueue, _: Errand) -> None:
        events = [
            raw.read_buffer(queue, memory.copy_on(mirror), content, start, None, False)
            for memory, start, content in pieces
        ]
        events[-1].wait()

    return read


class PullTask(Task):
    """Brings bytes home that a command of the user's needs."""

    def __init__(
        self, user_event: cl.UserEvent | None, moves: list[Move], name: str = "the end"
    ) -> None:
        super().__init__(user_event)
        self.moves = moves
        self.name = name

    def run(self, conductor: Conductor) -> None:
        """Bring them home, as far as the mirror still has them."""
        world = conductor.world
        began = perf_counter()
        moved = 0
        for attempt in range(ATTEMPTS):
            try:
                moved += conductor.bring_home(self.moves)
            except BytesLostError as error:
                self.give_up(world, error)
                return
            except Exception as error:
                world.tell("to-user", error)
                if attempt == ATTEMPTS - 2:
                    world.lose_mirror(conductor, error)
                elif attempt == ATTEMPTS - 1:
                    self.give_up(world, error)
                    return
            else:
                break
        if moved:
            with suppress(Exception):
                world.story.operation(self.name, moved)
                world.story.span("host", "bring home", began, perf_counter(), bytes=moved)

    def give_up(self, world: World, error: Exception) -> None:
        """What was to come home is lost."""
        for memory, start, stop in self.moves:
            if memory.actual.lacking(Place.USER, start, stop):
                world.lose_bytes(memory, error)
