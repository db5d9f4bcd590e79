"""All that is known of one OpenCL context of the user's: its memories, its mirror, its queues.

`lock` is held while the effect of one call of the program is worked out and enqueued, and never while
anything is waited for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from threading import Lock, RLock
from time import perf_counter
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pyopencl as cl

from lb_runtime.dropin import raw
from lb_runtime.dropin.arguments import CUT, KNOWN, BufferRef
from lb_runtime.dropin.conductor import Conductor, MirrorError, Move, PullTask, Task
from lb_runtime.dropin.entry import Entry
from lb_runtime.dropin.memories import Memory
from lb_runtime.dropin.mirror import Mirror, NoMirror
from lb_runtime.dropin.scout import Scout
from lb_runtime.errors import BytesLostError, ExecutionError, LoadBalancerError
from lb_runtime.memory.byte_map import Place
from lb_runtime.settings import Settings
from lb_runtime.story import Story

if TYPE_CHECKING:
    from collections.abc import Callable

    from lb_runtime.dropin.runtime import QueueState

Touch = tuple[BufferRef, int, int]
"""Bytes `[start, stop)` of the memory that a buffer is (or is a part of)."""
UNTRACKED: set[int] = set()
"""The roots of buffers that programs may reach in ways that are not seen."""
BUSY: set[World] = set()
"""The worlds in which a mirror may hold bytes."""
FAILURES_BORNE = 8
"""After so many failures the mirror is not used any more."""
NOTING_ATTEMPTS = 3
USES_AT_HOME = 16
"""After so many commands at home in a row that read a buffer, the mirror's copy of it is forgotten."""
LONGEST_WAIT_SECONDS = 60.0
"""For bytes that somebody needs at once."""


class World:
    """One context of the user's."""

    def __init__(self, context: cl.Context, settings: Settings, story: Story, scout: Scout) -> None:
        # A reference of ours, so that the number of the context is not given to another one.
        self.number: int = context.int_ptr
        self.context: cl.Context = cl.Context.from_int_ptr(self.number)
        self.settings = settings
        self.story = story
        self.scout = scout
        self.lock = RLock()
        self.memories: dict[int, Memory] = {}
        self.copied: set[int] = set()
        """The roots of the memories of which the mirror may hold bytes."""
        self.mirror: Mirror | None = None
        self.no_mirror: NoMirror | None = None
        self.is_lost = False
        self.entries: dict[tuple[int, str, str, str], Entry] = {}
        self.programs: dict[tuple[int, str, tuple[str, ...]], Any] = {}
        self._mirror_lock = Lock()
        self._is_asked = False
        self._failures = 0
        self.conductors: list[Conductor] = []
        self.queues: WeakSet[QueueState] = WeakSet()
        """What is known of the program's queues, as long as these live."""

    # The other device

    def find_mirror(self, device: cl.Device) -> None:
        """Choose and open the other device, once."""
        with self._mirror_lock:
            if self.mirror is not None or self.no_mirror is not None:
                return
            try:
                found = self.scout.machine.mirror_of(device)
            except LoadBalancerError as error:
                found = NoMirror("no-mirror", str(error))
            except Exception as error:
                self.tell("mirror", error)
                found = NoMirror("no-mirror", str(error))
            if isinstance(found, Mirror):
                self.mirror = found
            else:
                self.no_mirror = found

    def ask_mirror(self, device: cl.Device) -> None:
        """Have the other device found, beside the program."""
        if not self._is_asked:
            self._is_asked = True
            self.scout.ask(lambda: self.find_mirror(device))

    def row(self, place: Place) -> str:
        """How reports and timelines name a device."""
        mirror = self.mirror
        if mirror is None:
            return "the user's device" if place is Place.USER else "the other device"
        return mirror.user.label if place is Place.USER else mirror.label

    # Memories

    def memory(self, ref: BufferRef) -> Memory:
        """The memory of a buffer of the program's, which is alive."""
        found = self.memories.get(ref.root)
        if found is None:
            found = self.memories[ref.root] = Memory(ref)
            KNOWN.add(ref.root)
            if ref.root in UNTRACKED:
                found.is_tracked = False
        return found

    def sweep(self) -> bool:
        """Free the memories to which only we refer; whether some of them are still in use."""
        is_in_use = False
        with self.lock:
            for root, memory in list(self.memories.items()):
                if memory.holders > 0:
                    continue
                if memory.is_in_use:
                    is_in_use = True
                    continue
                if root in CUT and not memory.planned.is_home:
                    # A sub-buffer may live on, whether or not the driver counts it.
                    self._bring_home([(memory, 0, memory.size_bytes)])
                    memory.planned.copied(Place.USER, 0, memory.size_bytes)
                    is_in_use = True
                    continue
                del self.memories[root]
                KNOWN.discard(root)
                self.copied.discard(root)
                UNTRACKED.discard(root)
                CUT.discard(root)
                memory.free()
            if not self.copied:
                BUSY.discard(self)
        return is_in_use

    def note(self, memory: Memory) -> None:
        """Keep `copied` true after a change of the memory's planned map.

        A memory that a task still touches stays in: the task may lose it, and whoever reads it is told.
        """
        if memory.planned.is_plain and not memory.lost_because and not memory.is_in_use:
            self.copied.discard(memory.root)
            if not self.copied:
                BUSY.discard(self)
        else:
            self.copied.add(memory.root)
            BUSY.add(self)

    def relax(self) -> None:
        """Find the memories of which, as it turned out, the mirror holds nothing."""
        with self.lock:
            for root in list(self.copied):
                memory = self.memories[root]
                memory.settle()
                if not memory.is_in_use and memory.actual.is_plain:
                    memory.planned.wrote(Place.USER, 0, memory.size_bytes)
                    self.note(memory)

    # What the program's own commands do

    def before(
        self,
        queue: cl.CommandQueue,
        conductor: Callable[[], Conductor],
        reads: Iterable[Touch],
        name: str,
    ) -> None:
        """Get ready for a command on the user's device that reads these bytes.

        What may be on the mirror alone is brought home first: a barrier on the queue waits for it.
        """
        with self.lock:
            moves = []
            for memory, start, stop in list(self._known(reads)):
                if memory.lost_because:
                    raise BytesLostError(memory.lost_because)
                if memory.planned.is_home and not memory.is_in_use:
                    self._let_go(memory)
                    continue
                lacking = memory.planned.lacking(Place.USER, start, stop)
                moves += [(memory, begin, end) for begin, end in lacking]
                last = memory.last
                is_coming = not lacking and isinstance(last, PullTask) and memory.is_in_use
                if is_coming and last is not None and last.conductor is not conductor():
                    # On their way home, but for another queue.
                    moves.append((memory, start, stop))
            if moves:
                self.pull(queue, conductor(), moves, name)

    def _let_go(self, memory: Memory) -> None:
        """Forget the mirror's copies of bytes that are all at home, once commands at home go on using them.

        A launch that passes is looked at no longer than the mirror holds something that it touches.
        """
        memory.uses_at_home += 1
        if memory.uses_at_home >= USES_AT_HOME:
            self._wrote_at_home(memory, 0, memory.size_bytes)

    def after(self, reads: Sequence[Touch], writes: Sequence[Touch]) -> None:
        """A command that reads and writes these bytes on the user's device was enqueued.

        Raises `BytesLostError` where it has read what turned out to be lost, and `ExecutionError` where
        what it wrote cannot be noted.
        """
        for _ in range(NOTING_ATTEMPTS):
            try:
                self._note_touches(reads, writes)
            except BytesLostError:
                raise
            except Exception as error:
                # Noted again, it is the same.
                self.tell("note", error)
            else:
                return
        raise ExecutionError(
            "it cannot be noted what a command wrote, so that the other device's copies cannot be trusted: "
            "see lb_runtime.report()"
        )

    def _note_touches(self, reads: Sequence[Touch], writes: Sequence[Touch]) -> None:
        with self.lock:
            for memory, _, _ in self._known(reads):
                if memory.lost_because:
                    # What was computed from lost bytes is as lost: writing them does not make them good.
                    raise BytesLostError(memory.lost_because)
            for memory, start, stop in self._known(writes):
                self._wrote_at_home(memory, start, stop)

    def lose_bytes(self, memory: Memory, error: Exception) -> None:
        """Some bytes of a memory are lost: whoever reads it is told."""
        self.tell("bytes-lost", error)
        memory.lost_because = f"{error}: the results of earlier launches are lost"
        self.note(memory)

    def tell(self, step: str, error: BaseException) -> None:
        """Remember a failure for the report; never fails itself."""
        with suppress(Exception):
            self.story.fault(step, error)

    def retreat(self) -> None:
        """After a failure of ours: bring all bytes home, wait for that, and begin anew from there."""
        stop = perf_counter() + LONGEST_WAIT_SECONDS
        self.bring_all_home()
        with self.lock:
            memories = [self.memories[root] for root in self.copied]
        for memory in memories:
            # Whatever is on its way may have been noted as done by the call that failed.
            last = memory.last
            if last is not None and not last.done.wait(max(0.0, stop - perf_counter())):
                raise ExecutionError(
                    "bytes that are on the other device did not come home in time: see "
                    "lb_runtime.report()"
                )
        with self.lock:
            for memory in memories:
                missing = memory.actual.lacking(Place.USER, 0, memory.size_bytes)
                if not memory.is_in_use and not memory.lost_because and not missing:
                    self._wrote_at_home(memory, 0, memory.size_bytes)

    def _known(self, touches: Iterable[Touch]) -> Iterator[Move]:
        """Those of the touched bytes of which the mirror may hold some."""
        for ref, start, stop in touches:
            memory = self.memories.get(ref.root)
            if memory is not None and ref.root in self.copied:
                begin, end = max(0, start), min(stop, memory.size_bytes)
                if begin < end:
                    yield memory, begin, end

    def _wrote_at_home(self, memory: Memory, start: int, stop: int) -> None:
        if start == 0 and stop == memory.size_bytes:
            memory.lost_because = ""
        memory.planned.wrote(Place.USER, start, stop)
        memory.later(Place.USER, start, stop)
        self.note(memory)

    def pull(
        self, queue: cl.CommandQueue, conductor: Conductor, moves: list[Move], name: str
    ) -> None:
        """Bring bytes home, and let the queue wait for them."""
        event = cl.UserEvent(self.context)
        task = PullTask(event, moves, name)
        self.gate(queue, event, conductor, task, [memory for memory, _, _ in moves])
        for memory, start, stop in moves:
            memory.planned.copied(Place.USER, start, stop)
            self.note(memory)

    def gate(
        self,
        queue: cl.CommandQueue,
        user_event: cl.UserEvent,
        conductor: Conductor,
        task: Task,
        memories: Iterable[Memory],
    ) -> cl.Event:
        """Let a queue of the program's wait for a task, and hand the task over; the queue's event.

        If that fails, nothing waits.
        """
        event: cl.Event | None = None
        try:
            event = raw.enqueue_barrier(queue, [user_event])
            self.enqueue(conductor, task, memories)
        except BaseException as error:
            if event is not None and task.is_put:
                # It is on its way.
                self.tell("gate", error)
                return event
            for memory, last in task.replaced:
                memory.last = last
            effects = list(task.before)
            task.finish()
            for memory, place, start, stop in effects:
                memory.later(place, start, stop)
            raise
        return event

    def enqueue(self, conductor: Conductor, task: Task, memories: Iterable[Memory]) -> None:
        """Hand a task over; from now on whatever touches these memories comes after it."""
        waits: list[Task] = []
        touched = dict.fromkeys(memories)
        conductor.allocate(touched)
        for memory in touched:
            last = memory.last
            if last is not None and not last.done.is_set() and last.conductor is not conductor:
                waits.append(last)
            task.replaced.append((memory, last))
            task.before += memory.take_later()
            memory.last = task
            memory.uses_at_home = 0
        task.conductor = conductor
        task.waits = tuple(waits)
        conductor.put(task)
        task.replaced.clear()

    def any_conductor(self) -> Conductor:
        """A thread that takes tasks: one of a queue that the program still has, or a new one."""
        with self.lock:
            self.conductors[:] = [each for each in self.conductors if not each.is_closed]
            if not self.conductors:
                self.conductors.append(Conductor(self, self.context.devices[0]))
            return self.conductors[0]

    def bring_all_home(self) -> Task | None:
        """Have every byte brought home; the task that does it, None where there is nothing to do.

        The maps do not rely on it: whoever reads bytes before the task has ended waits for them.
        """
        with self.lock:
            moves = [
                (memory, start, stop)
                for root in self.copied
                for memory in (self.memories[root],)
                for start, stop in memory.planned.lacking(Place.USER, 0, memory.size_bytes)
            ]
            return self._bring_home(moves) if moves else None

    def come_home(self, timeout_seconds: float) -> bool:
        """Have every byte at home for whatever the program does next; whether it is.

        Where launches of ours wait for something that the program has not done yet, its queues wait for the
        bytes instead of this call.
        """
        task = self.bring_all_home()
        stop = perf_counter() + timeout_seconds
        while task is not None and not task.done.wait(0.02):
            if perf_counter() > stop:
                return False
            if any(each.is_stuck for each in list(self.conductors)):
                self._let_queues_wait()
                break
        return True

    def _let_queues_wait(self) -> None:
        with self.lock:
            event = cl.UserEvent(self.context)
            memories = [self.memories[root] for root in self.copied]
            task = PullTask(event, [(memory, 0, memory.size_bytes) for memory in memories])
            for number in {each.number for each in list(self.queues)}:
                queue = raw.queue_of(number, True)
                raw.enqueue_barrier(queue, [event])
                queue.flush()
            self.enqueue(self.any_conductor(), task, memories)

    def _bring_home(self, moves: list[Move]) -> Task:
        task = PullTask(None, moves)
        self.enqueue(self.any_conductor(), task, [memory for memory, _, _ in moves])
        return task

    def untrack(self, ref: BufferRef, queue: Any, conductor: Callable[[], Conductor]) -> None:
        """From now on the program may read and write a buffer unseen: its bytes stay at home.

        They are there for what is enqueued on the queue next; without one, they are there on return.
        """
        task = None
        with self.lock:
            UNTRACKED.add(ref.root)
            memory = self.memories.get(ref.root)
            if memory is None:
                return
            memory.is_tracked = False
            moves = [
                (memory, start, stop)
                for start, stop in memory.planned.lacking(Place.USER, 0, memory.size_bytes)
            ]
            if moves and queue is not None:
                self.pull(queue, conductor(), moves, "untrack")
            elif moves or memory.is_in_use:
                task = self._bring_home([(memory, 0, memory.size_bytes)])
        if task is not None:
            task.done.wait(LONGEST_WAIT_SECONDS)
        with self.lock:
            self._wrote_at_home(memory, 0, memory.size_bytes)

    # When the mirror fails

    def count_failure(self, conductor: Conductor, error: Exception) -> None:
        """Give the mirror up where it is hopeless, or has failed too often.

        That a buffer does not fit it says nothing of the next one.
        """
        if isinstance(error, cl.MemoryError):
            return
        self._failures += 1
        if isinstance(error, MirrorError) or self._failures >= FAILURES_BORNE:
            self.lose_mirror(conductor, error)

    def lose_mirror(self, conductor: Conductor, error: Exception) -> None:
        """Use the mirror no more; what only it holds is brought home, as far as it still answers."""
        with self.lock:
            if self.is_lost:
                return
            self.tell("mirror-lost", error)
            conductor.forget_hand()
            away: list[Move] = []
            for memory in self.memories.values():
                memory.settle()
                away += [
                    (memory, start, stop)
                    for start, stop in memory.actual.lacking(Place.USER, 0, memory.size_bytes)
                    if not memory.is_later(start, stop)
                ]
        for move in away:
            try:
                conductor.bring_home([move])
            except Exception as again:
                self.tell("bytes-lost", again)
                break
        with self.lock:
            self.is_lost = True

    # The end

    def close(self, timeout_seconds: float, *, at_exit: bool = False) -> bool:
        """End the threads; whether they ended in time.

        What waits for something that the program itself has not done is not waited for; nor is, where the
        interpreter ends, what nobody will see.
        """
        with self.lock:
            conductors = list(self.conductors)
            self.conductors.clear()
        for conductor in conductors:
            conductor.is_ended = at_exit
            if not conductor.is_closed:
                conductor.close()
        ended = [conductor.join(timeout_seconds) for conductor in conductors]
        return all(ended)

    def _check(self) -> None:
        """Raise AssertionError unless all maps hold together."""
        with self.lock:
            for root, memory in self.memories.items():
                memory._check()
                if not memory.planned.is_plain and root not in self.copied:
                    raise AssertionError("a memory with bytes away is not listed")
