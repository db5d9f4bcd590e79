"""The runtime that `install` puts behind pyopencl: what it does with each call of the program's.

Nothing is patched here: `intercept` calls this.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from math import prod
from queue import Empty
from time import sleep
from typing import TYPE_CHECKING, Any

import numpy as np
import pyopencl as cl

from lb_runtime.dropin import raw
from lb_runtime.dropin.arguments import GONE, BufferRef, Captured, Unfit, buffer_ref
from lb_runtime.dropin.calls import FOREIGN, is_last, note_call, note_ours
from lb_runtime.dropin.conductor import IN_FLIGHT, Conductor
from lb_runtime.dropin.entry import Entry, Question
from lb_runtime.dropin.kernels import KernelState
from lb_runtime.dropin.memories import Memory, is_closed_to_host
from lb_runtime.dropin.scout import Scout
from lb_runtime.dropin.touches import Touches
from lb_runtime.dropin.world import BUSY, UNTRACKED, Touch, World
from lb_runtime.errors import BytesLostError
from lb_runtime.history.writer import History
from lb_runtime.own_contexts import OWN_CONTEXTS
from lb_runtime.settings import Settings
from lb_runtime.story import Story

if TYPE_CHECKING:
    from lb_runtime.dropin.split import LaunchTask
    from lb_runtime.story_report import Report

DRAIN_SECONDS = 60.0
"""How long the end waits for work in flight."""
HISTORY_SECONDS = 3.0
"""How long the end waits for what is being written to the history."""
PASSING = ("first-launches", "timing", "no-gain", "busy", "fault", "arguments-unknown")
"""The codes that do not stay."""
MOST_IN_FLIGHT = 4096
"""While more launches than these wait for us, others pass."""
PROGRAMS_KEPT = 256
PROGRAMS_AHEAD = 8
"""So many programs are looked at before a kernel of theirs is launched; more are many small ones."""
SWEEP_SECONDS = 0.005
EVENTS_KEPT = 1024
"""Of so many split launches on profiling queues the beginning is known."""


class QueueState:
    """What is known of one queue of the program's."""

    def __init__(self, runtime: DropIn, queue: cl.CommandQueue, world: World) -> None:
        self.runtime = runtime
        self.world = world
        self.device = queue.device
        self.is_in_order = not (
            queue.properties & cl.command_queue_properties.OUT_OF_ORDER_EXEC_MODE_ENABLE
        )
        self.is_profiled = bool(queue.properties & cl.command_queue_properties.PROFILING_ENABLE)
        self.number: int = raw.queue_number(queue)
        self._last: tuple[LaunchTask, object] | None = None
        self._conductor: Conductor | None = None

    def conductor(self) -> Conductor:
        """The thread for this queue's work; the queue must be alive."""
        if self._conductor is None:
            queue = raw.queue_of(self.number, True)
            self._conductor = Conductor(self.world, self.device, queue)
            self.world.conductors[:] = [
                each for each in self.world.conductors if not each.has_ended
            ]
            self.world.conductors.append(self._conductor)
        return self._conductor

    def last(self) -> LaunchTask | None:
        """A launch of ours that has not ended and that the next call comes right behind; None for others."""
        if self._last is None or self._last[0].done.is_set() or self.number in FOREIGN:
            return None
        task, token = self._last
        return task if is_last(token) else None

    def enqueued(self, task: LaunchTask) -> None:
        """Note a launch of ours."""
        self._last = task, note_ours()

    def __del__(self) -> None:
        # The queue's object is gone: its thread ends when its work is done.
        if self._conductor is not None:
            self._conductor.close()


class DropIn:
    """What stands behind pyopencl while it is installed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.story = Story(tracing=settings.trace is not None)
        # What does not follow the times says nothing about what gains.
        is_free = settings.policy == "adaptive" and settings.share is None and not settings.force
        learns = settings.history and settings.mode == "on" and is_free
        self.history = History(self.story.note) if learns else None
        self.scout = Scout(settings, self.history)
        self.worlds: dict[int, World] = {}
        self._lock = threading.Lock()
        self.process = os.getpid()
        self.programs: deque[Any] = deque(maxlen=PROGRAMS_KEPT)
        """Programs that were built: Intel's kernels do not keep theirs alive to be asked for."""
        self._ahead = 0
        self._sweeper: threading.Thread | None = None
        self.is_closing = False
        self.hides_intel = False
        """Whether the program would not find Intel's driver without this runtime."""
        self.stamps: OrderedDict[int, tuple[cl.Event, list[int]]] = OrderedDict()
        """When split launches began, by the number of their event, which is kept: none gets it again."""

    def report(self) -> Report:
        """What happened so far."""
        return self.story.report()

    # What is known of the program's objects

    def queue_state(self, queue: Any) -> QueueState | None:
        """What is known of a queue; None for one of ours."""
        state: QueueState | None = getattr(queue, "_lb_queue", None)
        if state is not None and state.runtime is self:
            return state
        number = queue.context.int_ptr
        if number in OWN_CONTEXTS:
            return None
        with self._lock:
            if self._sweeper is None:
                self._sweeper = threading.Thread(
                    target=self._sweep, name="lb_runtime sweeper", daemon=True
                )
                self._sweeper.start()
            world = self._world(queue.context)
            state = queue._lb_queue = QueueState(self, queue, world)
            queue._lb_out_of_order = not state.is_in_order
            world.queues.add(state)
        return state

    def _world(self, context: cl.Context) -> World:
        """What is known of a context; to be called with the lock held."""
        world = self.worlds.get(context.int_ptr)
        if world is None:
            self._forget_worlds()
            world = World(context, self.settings, self.story, self.scout)
            self.worlds[context.int_ptr] = world
        return world

    def _forget_worlds(self) -> None:
        """Let go of contexts of which the program has no queue and no buffer with bytes elsewhere."""
        for number, world in list(self.worlds.items()):
            if not world.queues:
                world.sweep()
                if not world.memories and not any(not each.is_closed for each in world.conductors):
                    del self.worlds[number]

    def kernel_state(self, kernel: Any) -> KernelState:
        """What is known of a kernel object."""
        state = getattr(kernel, "_lb_kernel", None)
        if state is None or state[0] is not self:
            name = kernel.function_name
            story = self.story.kernel(name)
            state = kernel._lb_kernel = (self, KernelState(name, story, kernel.num_args))
        return state[1]

    def _entry(self, state: KernelState, kernel: Any, queue: QueueState) -> Entry:
        entry = state.entry
        if entry is not None and entry.world is queue.world:
            return entry
        try:
            program = kernel.program
            source = getattr(kernel, "_source", None) or program.source or ""
            if isinstance(source, bytes):
                source = source.decode("utf-8", "surrogateescape")
            options = program.get_build_info(queue.device, cl.program_build_info.OPTIONS) or ""
        except Exception as error:
            # Made from a binary, linked, or gone: not every driver's answer is one that pyopencl can give.
            program, source, options = None, "", ""
            state.story.declined("no-source", f"the driver does not tell the source: {error}")
        entry = self._entry_of(queue.world, queue.device, program, source, options, state.name)
        state.entry = entry
        return entry

    def _entry_of(
        self,
        world: World,
        device: cl.Device,
        program: Any,
        source: str,
        options: str,
        name: str,
    ) -> Entry:
        key = (device.int_ptr, source, options, name)
        entry = world.entries.get(key)
        if entry is None:
            story = self.story.kernel(name)
            made = Entry(world, device, program, source, options, name, story)
            entry = world.entries.setdefault(key, made)
        return entry

    # Launches

    def launch(
        self,
        queue: Any,
        kernel: Any,
        global_size: Any,
        local_size: Any,
        offset: Any,
        wait_for: Any,
        g_times_l: bool,
        allow_empty: bool,
    ) -> Any:
        """One kernel enqueue of the program's: split, or passed on as it is."""
        event, code, state, own = None, "fault", None, None
        is_known = False
        failure: Exception | None = None
        try:
            own = self.queue_state(queue)
            if own is not None:
                state = self.kernel_state(kernel)
                state.shape = None
                state.rests = 0
                way = state.way(queue, global_size, local_size, offset)
                state.take_over()
                is_known = True
                entry = self._entry(state, kernel, own)
                found = self._choose(entry, state, own, global_size, local_size, offset, g_times_l)
                if isinstance(found, Question):
                    event = self._enqueue(own, queue, entry, found, wait_for)
                    code = "buffer-gone"
                else:
                    code = found
                if event is None and code not in PASSING:
                    state.remember(way, code)
                elif code == "no-gain" and state.rests > 1:
                    state.remember(way, code, state.rests - 1)
        except Exception as error:
            failure = error
            if state is not None and not is_known:
                state.forget()
        if event is not None:
            return event
        touched = self._before_passing(own, queue, state)
        event = raw.enqueue_nd_range_kernel(
            queue,
            kernel,
            global_size,
            local_size,
            offset,
            wait_for,
            g_times_l=g_times_l,
            allow_empty_ndrange=allow_empty,
        )
        note_call()
        if failure is not None:
            # A call that pyopencl accepts: the failure is ours.
            self.tell("enqueue", failure)
        if own is not None and (touched[0] or touched[1]):
            own.world.after(*touched)
        if state is not None:
            state.story.passed(code)
            if state.entry is not None and state.shape is not None:
                state.entry.shapes.add(state.shape)
                if code == "first-launches":
                    state.entry.passed(event)
        return event

    def _choose(
        self,
        entry: Entry,
        state: KernelState,
        queue: QueueState,
        global_size: Any,
        local_size: Any,
        offset: Any,
        g_times_l: bool,
    ) -> str | Question:
        """What is to be run by us; or the code for passing the launch on as it is."""
        world = queue.world
        if entry.code:
            return entry.code
        if world.is_lost:
            return "mirror-lost"
        if not queue.is_in_order:
            return "out-of-order-queue"
        if len(IN_FLIGHT) > MOST_IN_FLIGHT:
            return "busy"
        given: list[Captured] = []
        for value in state.arguments:
            if value is None:
                return "arguments-unknown"
            if type(value) is Unfit:
                return value.code
            if type(value) is BufferRef:
                if is_closed_to_host(value):
                    return "host-access"
                if value.context != world.number:
                    return "invalid-launch"
            given.append(value)
        if not _are_sizes(global_size, local_size, offset):
            return "invalid-launch"
        sizes = tuple(map(int, global_size))
        local = None if local_size is None else tuple(map(int, local_size))
        start = None if offset is None else tuple(map(int, offset))
        if g_times_l:
            if local is None:
                return "invalid-launch"
            sizes = tuple(a * b for a, b in zip(sizes, local))
            if start is not None:
                start = tuple(a * b for a, b in zip(start, local))
        if not prod(sizes):
            return "empty-range"
        if local is not None and not prod(local):
            return "invalid-launch"
        question = Question(sizes, local, start, tuple(given))
        state.shape = sizes, local, start
        # What OpenCL refuses, it is to refuse itself.
        is_accepted = self.settings.force or state.shape in entry.shapes
        if not entry.is_looked_at and (code := self._look(entry, queue, question) or entry.code):
            return code
        if entry.is_looked_at:
            decision = entry.decision(question)
            if decision is None:
                return "too-varied"
            if not decision.code and is_accepted:
                state.rests = decision.rest()
                return "no-gain" if state.rests else question
            if decision.code not in ("", "first-launches"):
                return decision.code
        # Nothing is decided yet. Where launches wait for the device in any case, this one may be decided
        # on when its turn comes.
        if is_accepted and self.settings.mode == "on" and entry.queues_up:
            entry.undecided += 1
            return question
        return "first-launches"

    def _look(self, entry: Entry, queue: QueueState, question: Question) -> str:
        """Have a kernel looked at and the other device found; why its launches pass, or nothing."""
        world = queue.world
        if world.no_mirror is not None:
            entry.story.declined(world.no_mirror.code, world.no_mirror.detail)
            entry.code = world.no_mirror.code
            return entry.code
        if self.settings.force:
            world.find_mirror(queue.device)
            entry.look()
            return "" if world.mirror is not None else "no-mirror"
        if world.mirror is None:
            world.ask_mirror(queue.device)
        entry.ask_look(question)
        return ""

    def _enqueue(
        self, own: QueueState, queue: Any, entry: Entry, question: Question, wait_for: Any
    ) -> Any:
        """Enqueue a launch of ours; the event of the program's queue that stands for it."""
        # Imported by the thread that judges, before there is a launch to split.
        from lb_runtime.dropin.split import LaunchTask

        world = own.world
        with world.lock:
            if self.is_closing:
                return None
            memories: dict[int, Memory] = {}
            known: set[int] = set()
            for index, value in enumerate(question.given):
                if type(value) is BufferRef and value.root not in known:
                    known.add(value.root)
                    try:
                        memories[index] = world.memory(value)
                    except cl.Error:
                        return None
            conductor = own.conductor()
            user_event = cl.UserEvent(world.context)
            follows = None if wait_for else own.last()
            marker = raw.enqueue_marker(queue, wait_for) if follows is None else None
            task = LaunchTask(user_event, marker, entry, question, memories, follows)
            try:
                task.promise()
            finally:
                for memory in memories.values():
                    world.note(memory)
            event = world.gate(queue, user_event, conductor, task, memories.values())
            own.enqueued(task)
        if own.is_profiled:
            self.stamps[event.int_ptr] = (event, task.stamps)
            if len(self.stamps) > EVENTS_KEPT:
                self.stamps.popitem(last=False)
        return event

    def _before_passing(
        self, own: QueueState | None, queue: Any, state: KernelState | None
    ) -> Touches:
        """Get ready for a kernel that runs as it is; what it may read and write.

        Raises what bringing bytes home raises: a kernel must not run on old ones.
        """
        if own is None:
            # A queue of ours, or one that could not be asked.
            context = getattr(queue, "context", None)
            if BUSY and context is not None and context.int_ptr not in OWN_CONTEXTS:
                self.retreat()
            return [], []
        world = own.world
        if not world.copied:
            return [], []
        try:
            world.relax()
            touched = self._touched(world, state)
            if touched[0]:
                name = "a kernel" if state is None else state.name
                world.before(queue, own.conductor, touched[0], name)
        except BytesLostError:
            raise
        except Exception as error:
            self.tell("before", error)
            self.retreat()
            return [], []
        return touched

    def _touched(self, world: World, state: KernelState | None) -> Touches:
        """What a kernel may read and write of what the mirror has bytes of; all where that is not known."""
        arguments = [] if state is None else state.arguments
        if state is None or None in arguments:
            everything: list[Touch] = [
                (memory.ref, 0, memory.size_bytes) for memory in list(world.memories.values())
            ]
            return everything, everything
        read_only = state.entry.read_only if state.entry is not None else frozenset()
        touched = [
            (index, (value, value.start_bytes, value.start_bytes + value.size_bytes))
            for index, value in enumerate(arguments)
            if type(value) is BufferRef and value.root in world.copied
        ]
        writes = [touch for index, touch in touched if index not in read_only]
        return [touch for _, touch in touched], writes

    def retreat(self) -> None:
        """After a failure of ours: all bytes of all contexts come home, now."""
        for world in list(BUSY):
            world.retreat()

    def tell(self, step: str, error: BaseException) -> None:
        """Remember a failure for the report; never fails itself."""
        with suppress(Exception):
            self.story.fault(step, error)

    # Other commands

    def command(
        self, name: str, touches: Callable[..., Touches], queue: Any, *given: Any, **named: Any
    ) -> tuple[World, Touches] | None:
        """Get ready for a command that reads or writes buffers; what it reads and writes, and where.

        Raises `BytesLostError`, and `ExecutionError` where bytes cannot be brought home in any way.
        """
        try:
            own = self.queue_state(queue)
            if own is None or not own.world.copied:
                return None
            touched = touches(*given, **named)
            own.world.before(queue, own.conductor, touched[0], name.removeprefix("_"))
        except BytesLostError:
            raise
        except Exception as error:
            # Arguments that do not fit are pyopencl's to tell.
            if not isinstance(error, TypeError | AttributeError):
                self.tell("command", error)
            self.retreat()
            return None
        return own.world, touched

    def before_blocking(self, queue: Any) -> None:
        """Get ready for a call that may wait inside the driver with Python's lock held.

        Threads of ours need that lock: what they have to do is done before.
        """
        own = self.queue_state(queue)
        if own is not None:
            for conductor in list(own.world.conductors):
                conductor.drain()

    def _sweep(self) -> None:
        """A thread: free what belongs to buffers that the program has let go of."""
        while not self.is_closing:
            # The end puts something there too.
            GONE.get()
            is_in_use = True
            while is_in_use and not self.is_closing:
                sleep(SWEEP_SECONDS)
                with suppress(Empty):
                    while True:
                        GONE.get_nowait()
                with self._lock:
                    worlds = list(self.worlds.values())
                try:
                    found = [world.sweep() for world in worlds]
                    is_in_use = any(found)
                except Exception as error:
                    self.tell("sweep", error)
                    break

    def load_ahead(self) -> None:
        """Have at hand what judges and splits launches, beside the program."""
        if not self.settings.force:
            self.scout.ask(self.scout.load_judging)

    def warm_up(self) -> None:
        """Have the devices and the model at hand before the first launch, beside the program."""
        if self.settings.force:
            return
        if self.settings.share is None and (self.history is None or not self.history.is_there):
            # Importing is for this thread: done by another one while the program ends of Ctrl-C, it
            # would change the exit status.
            import lb_runtime.tuned.apply  # noqa: F401

            self.scout.ask(self.scout.load_model, "model")
        self.scout.ask(self._look_at_machine, "builder")

    def _look_at_machine(self) -> None:
        # Whoever needs a device is told what is wrong.
        with suppress(Exception):
            self.scout.machine.look()

    def builds(self, program: Any, source: Any, options: Any) -> None:
        """A program of the user's is to be built: its kernels are looked at while the driver compiles."""
        context = vars(program).get("_context")
        if context is None or not self._looks_ahead(source):
            return
        device = context.devices[0]
        text: str | None = None
        with suppress(Exception):
            # What pyopencl will ask the driver for: `built` asks what it was.
            text = program._process_build_options(context, options)[0].decode()
        self.scout.ask(lambda: self.scout.look_before(source, text, device), "builder")

    def built(self, program: Any, source: Any) -> None:
        """A program of the user's was built, from this source."""
        inner = program._prg
        device = inner.get_info(cl.program_info.CONTEXT).devices[0]
        if "Intel" in device.platform.name:
            self.programs.append(inner)
        if not self._looks_ahead(source):
            return
        self._ahead += 1
        self.scout.ask(lambda: self._look_ahead(inner, source, device), "builder")

    def _look_ahead(self, program: Any, source: str, device: cl.Device) -> None:
        """Look at the kernels of a program, and decide on those of their launches that are known."""
        for options, name in self.scout.look_ahead(program, source, device):
            try:
                context = program.get_info(cl.program_info.CONTEXT)
                if self.is_closing or context.int_ptr in OWN_CONTEXTS:
                    return
                with self._lock:
                    world = self._world(context)
                world.find_mirror(device)
                self._entry_of(world, device, program, source, options, name).decide_ahead()
            except Exception as error:
                self.tell("ahead", error)

    def _looks_ahead(self, source: Any) -> bool:
        """Whether the kernels of a program are looked at before one is launched."""
        is_text = isinstance(source, str)
        return is_text and not self.settings.force and self._ahead < PROGRAMS_AHEAD

    def untrack(self, memory: Any, queue: Any = None) -> None:
        """From now on a buffer may be read and written unseen."""
        ref = buffer_ref(memory)
        UNTRACKED.add(ref.root)
        world = self.worlds.get(memory.get_info(cl.mem_info.CONTEXT).int_ptr)
        if world is None:
            return
        # Known from now on, so that the note goes when the buffer goes.
        world.memory(ref)
        own = None if queue is None else self.queue_state(queue)
        if own is not None:
            world.untrack(ref, queue, own.conductor)
        else:
            world.untrack(ref, None, world.any_conductor)

    # The end

    def stop(self) -> None:
        """Take no more launches, and bring all bytes home."""
        self.is_closing = True
        with self._lock:
            worlds = list(self.worlds.values())
        for world in worlds:
            if not world.come_home(DRAIN_SECONDS):
                self.story.fault("close", TimeoutError("bytes did not come home in time"))

    def close(self, *, at_exit: bool) -> None:
        """End all threads, and write what was asked for."""
        self.is_closing = True
        if self._sweeper is not None:
            GONE.put(None)
            self._sweeper.join(DRAIN_SECONDS)
        self.scout.close(DRAIN_SECONDS)
        with self._lock:
            worlds = list(self.worlds.values())
        for world in worlds:
            if not world.close(DRAIN_SECONDS, at_exit=at_exit):
                self.story.fault("close", TimeoutError("work in flight did not end in time"))
            BUSY.discard(world)
        if self.history is not None:
            self._keep_history(self.history, worlds)
        if self.settings.trace is not None:
            from lb_runtime.timeline import write_timeline

            write_timeline(self.settings.trace, *self.story.spans())
        if self.settings.report:
            from rich.console import Console

            self.report().render(Console(stderr=True))

    def _keep_history(self, history: History, worlds: list[World]) -> None:
        """Have written what is known at the end, also of launches whose share has not settled."""
        try:
            for world in worlds:
                for entry in list(world.entries.values()):
                    for decision in list(entry.decisions.values()):
                        decision.note()
            history.close(HISTORY_SECONDS)
        except Exception as error:
            self.tell("history", error)

    def _check(self) -> None:
        """Raise AssertionError unless every memory's maps hold together."""
        for world in list(self.worlds.values()):
            world._check()


def _are_sizes(*given: Any) -> bool:
    """Whether these are sizes as OpenCL takes them; what else pyopencl makes of others is its business."""
    return all(
        each is None or all(isinstance(size, int | np.integer) and size >= 0 for size in each)
        for each in given
    )
