"""`install` and `uninstall`: unmodified pyopencl programs on both devices. No other file patches pyopencl.

Patched are the enqueue of kernels, the methods that set arguments, the commands that read or write
buffers, and what hands out raw pointers. `uninstall` puts the very same objects back.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from math import prod
from types import ModuleType, TracebackType
from typing import Any

import pyopencl as cl
from pyopencl import _cl
from rich.console import Console

from lb_runtime.contexts import OWN_CONTEXTS
from lb_runtime.dropin import raw
from lb_runtime.dropin.arguments import (
    GONE,
    BufferRef,
    Captured,
    Unfit,
    buffer_ref,
    captured,
    is_buffer,
    packed,
)
from lb_runtime.dropin.conductor import Conductor
from lb_runtime.dropin.memories import is_closed_to_host
from lb_runtime.dropin.scout import Entry, Question, Scout
from lb_runtime.dropin.split import LaunchTask
from lb_runtime.dropin.touches import COMMANDS, Touches, maps_for_writing
from lb_runtime.dropin.world import BUSY, UNTRACKED, Touch, World
from lb_runtime.icd import drivers_of_this_process
from lb_runtime.settings import Settings
from lb_runtime.story import KernelStory, Story
from lb_runtime.story_report import Report
from lb_runtime.timeline import write_timeline

DRAIN_SECONDS = 60.0
"""How long the end waits for work in flight."""
EVENTS_KEPT = 1024
"""Of so many split launches on profiling queues the beginning is known."""
_LOCK = threading.RLock()
_MISSING = object()


class KernelState:
    """What is known of one `pyopencl.Kernel` object: its arguments, and its entry."""

    __slots__ = ("arguments", "entry", "name", "pending", "story")

    def __init__(self, name: str, story: KernelStory, count: int) -> None:
        self.name = name
        self.story = story
        self.entry: Entry | None = None
        self.pending: list[tuple[str, Any]] = []
        """Arguments as they were given since the last launch, not looked at yet."""
        self.arguments: list[Captured | None] = [None] * count

    def settle(self) -> None:
        """Take over what was set since the last launch, and let go of the objects."""
        arguments = self.arguments
        for kind, given in self.pending:
            if kind == "multi":
                for index, value in zip(given[::2], given[1::2]):
                    arguments[index] = captured(value)
            elif kind == "bytes":
                for index, value in zip(given[::2], given[1::2]):
                    arguments[index] = bytes(value)
            elif kind == "pack":
                for index, character, value in zip(given[::3], given[1::3], given[2::3]):
                    arguments[index] = packed(character, value)
            else:
                self.arguments = arguments = [None] * len(arguments)
        self.pending.clear()

    def forget(self) -> None:
        """Let go of the objects without a look: the arguments are not known from then on."""
        self.pending.clear()
        self.arguments = [None] * len(self.arguments)


class QueueState:
    """What is known of one queue of the program's."""

    def __init__(self, runtime: InstalledRuntime, queue: cl.CommandQueue, world: World) -> None:
        self.runtime = runtime
        self.world = world
        self.device = queue.device
        self.is_in_order = not (
            queue.properties & cl.command_queue_properties.OUT_OF_ORDER_EXEC_MODE_ENABLE
        )
        self.is_profiled = bool(queue.properties & cl.command_queue_properties.PROFILING_ENABLE)
        self._conductor: Conductor | None = None

    def conductor(self) -> Conductor:
        """The thread for this queue's work."""
        if self._conductor is None:
            self._conductor = Conductor(self.world, self.device)
            self.world.conductors.append(self._conductor)
        return self._conductor

    def __del__(self) -> None:
        # The queue's object is gone: its thread ends when its work is done.
        if self._conductor is not None:
            self._conductor.close()


class InstalledRuntime:
    """The runtime that is installed; a context manager that uninstalls it at the end."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.story = Story(tracing=settings.trace is not None)
        self.scout = Scout()
        self._worlds: dict[int, World] = {}
        self._lock = threading.Lock()
        self._patches: list[tuple[Any, str, Any]] = []
        self._process = os.getpid()
        self.hides_intel = False
        """Whether the program would not find Intel's driver without this runtime."""
        self.stamps: OrderedDict[int, tuple[cl.Event, list[int]]] = OrderedDict()
        """When split launches began, by the number of their event, which is kept: none gets it again."""

    def __enter__(self) -> InstalledRuntime:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        uninstall()

    def report(self) -> Report:
        """What happened so far."""
        return self.story.report()

    # What is known of the program's objects

    def queue_state(self, queue: Any) -> QueueState | None:
        """What is known of a queue; None for one of ours."""
        state = getattr(queue, "_lb_queue", None)
        if state is not None and state.runtime is self:
            return state
        number = queue.context.int_ptr
        if number in OWN_CONTEXTS:
            return None
        with self._lock:
            world = self._worlds.get(number)
            if world is None:
                world = World(queue.context, self.settings, self.story, self.scout)
                self._worlds[number] = world
            state = queue._lb_queue = QueueState(self, queue, world)
        return state

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
        program = kernel.program
        source = getattr(kernel, "_source", None) or program.source or ""
        if isinstance(source, bytes):
            source = source.decode("utf-8", "surrogateescape")
        options = program.get_build_info(queue.device, cl.program_build_info.OPTIONS) or ""
        key = (queue.device.int_ptr, source, options, state.name)
        entry = queue.world.entries.get(key)
        if entry is None:
            entry = queue.world.entries.setdefault(
                key,
                Entry(queue.world, queue.device, program, source, options, state.name, state.story),
            )
        state.entry = entry
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
        try:
            own = self.queue_state(queue)
            if own is not None:
                state = self.kernel_state(kernel)
                if GONE and own.world.memories:
                    own.world.sweep()
                state.settle()
                entry = self._entry(state, kernel, own)
                found = self._choose(entry, state, own, global_size, local_size, offset, g_times_l)
                if isinstance(found, str):
                    code = found
                else:
                    event = self._enqueue(own, queue, entry, found, wait_for)
        except Exception as error:
            self.story.fault("enqueue", error)
            code = "fault"
        if event is not None:
            return event
        writes: list[Touch] = []
        if own is not None and own.world.copied:
            writes = self._before_passing(own, queue, state)
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
        if own is not None and writes:
            own.world.after(writes)
        if state is not None:
            state.story.passed(code)
            if code == "first-launches" and state.entry is not None:
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
        given: list[Captured] = []
        for value in state.arguments:
            if value is None:
                return "arguments-unknown"
            if type(value) is Unfit:
                return value.code
            if type(value) is BufferRef and is_closed_to_host(value):
                return "host-access"
            given.append(value)
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
        question = Question(sizes, local, start, tuple(given))
        if not entry.is_looked_at and (code := self._look(entry, queue)):
            return code
        if entry.is_looked_at:
            decision = entry.decision(question)
            if decision is None:
                return "busy"
            if not decision.code:
                return "no-gain" if decision.rests else question
            if decision.code != "first-launches":
                return decision.code
        # Nothing is decided yet. Where launches wait for the device in any case, this one may be decided
        # on when its turn comes.
        shape = sizes, local, start
        if shape not in entry.shapes:
            entry.shapes.add(shape)
            return "first-launches"
        is_late = self.settings.mode == "on" and entry.queues_up
        return question if is_late else "first-launches"

    def _look(self, entry: Entry, queue: QueueState) -> str:
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
        entry.ask_look()
        return ""

    def _enqueue(
        self, own: QueueState, queue: Any, entry: Entry, question: Question, wait_for: Any
    ) -> Any:
        """Enqueue a launch of ours; the event of the program's queue that stands for it."""
        world = own.world
        with world.lock:
            memories = {}
            known: set[int] = set()
            for index, value in enumerate(question.given):
                if type(value) is BufferRef and value.root not in known:
                    known.add(value.root)
                    memories[index] = world.memory(value)
            conductor = own.conductor()
            user_event = cl.UserEvent(world.context)
            marker = raw.enqueue_marker(queue, wait_for)
            event = raw.enqueue_barrier(queue, [user_event])
            task = LaunchTask(user_event, marker, entry, question, memories)
            task.promise()
            for memory in memories.values():
                world.note(memory)
            world.enqueue(conductor, task, memories.values())
        if own.is_profiled:
            self.stamps[event.int_ptr] = (event, task.stamps)
            if len(self.stamps) > EVENTS_KEPT:
                self.stamps.popitem(last=False)
        return event

    def _before_passing(
        self, own: QueueState, queue: Any, state: KernelState | None
    ) -> list[Touch]:
        """Get ready for a kernel that runs as it is; what it may write."""
        world = own.world
        arguments = [] if state is None else state.arguments
        if state is None or any(value is None for value in arguments):
            everything = [
                (memory.ref, 0, memory.size_bytes) for memory in list(world.memories.values())
            ]
            world.before(queue, own.conductor, everything, "unknown kernel")
            return everything
        read_only = state.entry.read_only if state.entry is not None else frozenset()
        touched = [
            (index, (value, value.start_bytes, value.start_bytes + value.size_bytes))
            for index, value in enumerate(arguments)
            if type(value) is BufferRef
        ]
        world.before(queue, own.conductor, [touch for _, touch in touched], state.name)
        return [touch for index, touch in touched if index not in read_only]

    # Other commands

    def command(
        self, name: str, touches: Callable[..., Touches], queue: Any, *given: Any, **named: Any
    ) -> tuple[World, list[Touch]] | None:
        """Get ready for a command that reads or writes buffers; what it will have written, and where."""
        own = self.queue_state(queue)
        if own is None or not own.world.copied:
            return None
        if GONE:
            own.world.sweep()
        reads, writes = touches(*given, **named)
        own.world.before(queue, own.conductor, reads, name.removeprefix("_"))
        return own.world, writes

    def untrack(self, memory: Any, queue: Any = None) -> None:
        """From now on a buffer may be read and written unseen."""
        ref = buffer_ref(memory)
        UNTRACKED.add(ref.root)
        world = self._worlds.get(memory.get_info(cl.mem_info.CONTEXT).int_ptr)
        if world is None or ref.root not in world.memories:
            return
        own = None if queue is None else self.queue_state(queue)
        if own is not None:
            world.untrack(ref, queue, own.conductor)
        else:
            task = world.untrack(ref, None, world.any_conductor)
            if task is not None:
                task.done.wait(DRAIN_SECONDS)

    # The end

    def close(self, *, at_exit: bool = False) -> None:
        """Bring all bytes home (but for an interpreter that ends), and end all threads."""
        if os.getpid() != self._process:
            return
        self.scout.close(DRAIN_SECONDS)
        with self._lock:
            worlds = list(self._worlds.values())
        for world in worlds:
            if not world.close(DRAIN_SECONDS, is_needed=not at_exit):
                self.story.fault("close", TimeoutError("work in flight did not end in time"))
            BUSY.discard(world)
        if self.settings.trace is not None:
            write_timeline(self.settings.trace, *self.story.spans())
        if self.settings.report:
            self.report().render(Console(stderr=True))

    def _check(self) -> None:
        """Raise AssertionError unless every memory's maps hold together."""
        for world in list(self._worlds.values()):
            world._check()


_installed: InstalledRuntime | None = None
_last: InstalledRuntime | None = None


def install(settings: Settings | None = None) -> InstalledRuntime:
    """Let pyopencl programs of this process use both devices, from now on.

    Args:
        settings: how; what the environment says where none are given.

    Returns:
        The runtime, a context manager that uninstalls it. A second call changes nothing, and returns
        the runtime that is installed.

    Raises:
        LoadBalancerError: the environment holds a setting that cannot be understood.
    """
    global _installed, _last
    with _LOCK:
        if _installed is not None:
            return _installed
        runtime = InstalledRuntime(Settings.from_environment() if settings is None else settings)
        with drivers_of_this_process() as setup:
            runtime.hides_intel = setup.adds_intel
            with suppress(cl.Error):
                # The loader looks for drivers now, and never again.
                raw.get_platforms()
        if runtime.settings.mode != "off":
            _patch(runtime)
            if runtime.settings.share is None and not runtime.settings.force:
                runtime.scout.ask(runtime.scout.load_model, "model")
        _installed = _last = runtime
        return runtime


def uninstall() -> None:
    """Put pyopencl's own objects back, once all bytes are on the user's devices. Idempotent."""
    _uninstall(at_exit=False)


def _uninstall(*, at_exit: bool) -> None:
    global _installed
    with _LOCK:
        runtime = _installed
        if runtime is None:
            return
        _installed = None
        runtime.close(at_exit=at_exit)
        for holder, name, original in reversed(runtime._patches):
            if original is _MISSING:
                delattr(holder, name)
            else:
                setattr(holder, name, original)
        runtime._patches.clear()


def report() -> Report:
    """What happened to the program's launches, since `install`; also after `uninstall`."""
    runtime = _installed or _last
    return Story().report() if runtime is None else runtime.report()


def enqueue_nd_range_kernel(
    queue: cl.CommandQueue,
    kernel: cl.Kernel,
    global_work_size: Sequence[int],
    local_work_size: Sequence[int] | None,
    global_offset: Sequence[int] | None = None,
    wait_for: Sequence[cl.Event] | None = None,
    g_times_l: bool = False,
    allow_empty_ndrange: bool = False,
) -> cl.Event:
    """`pyopencl.enqueue_nd_range_kernel`, split where that can gain; the same arguments, event and errors.

    Installs the runtime on first use. Arguments that a kernel was given before are not known, and such a
    launch is passed on: call `install` first.
    """
    install()
    return cl.enqueue_nd_range_kernel(
        queue,
        kernel,
        global_work_size,  # type: ignore[arg-type]  # pyopencl takes sequences
        local_work_size,  # type: ignore[arg-type]
        global_offset,  # type: ignore[arg-type]
        wait_for,
        g_times_l=g_times_l,
        allow_empty_ndrange=allow_empty_ndrange,
    )


# Patching


def _patch(runtime: InstalledRuntime) -> None:
    _replace_everywhere(
        runtime, _cl, "enqueue_nd_range_kernel", _launcher(runtime), raw.enqueue_nd_range_kernel
    )
    _replace_everywhere(runtime, _cl, "get_platforms", _platforms(runtime), raw.get_platforms)
    for name, touches in COMMANDS.items():
        original = getattr(_cl, name, None)
        if original is not None:
            patched = _command(runtime, name, original, touches)
            _replace_everywhere(runtime, _cl, name, patched, original)
    for name, kind in (
        ("_set_arg_multi", "multi"),
        ("_set_arg_buf_multi", "bytes"),
        ("_set_arg_buf_pack_multi", "pack"),
    ):
        _replace(runtime, _cl.Kernel, name, _setter(runtime, getattr(_cl.Kernel, name), kind))
    for name in ("set_arg", "_set_arg_buf", "_set_arg_svm", "_set_arg_null"):
        _replace(runtime, _cl.Kernel, name, _single(runtime, name, getattr(_cl.Kernel, name)))
    _replace(
        runtime, _cl.Event, "get_profiling_info", _profiling(runtime, _cl.Event.get_profiling_info)
    )
    holder = _cl.MemoryObjectHolder
    _replace(runtime, holder, "int_ptr", _pointer(runtime, holder.__dict__["int_ptr"]))
    _replace(runtime, holder, "get_host_array", _host_array(runtime, holder.get_host_array))
    _replace(runtime, _cl.Image, "_custom_init", _image_of_buffer(runtime, _cl.Image._custom_init))


def _replace(runtime: InstalledRuntime, holder: Any, name: str, patched: Any) -> None:
    runtime._patches.append((holder, name, vars(holder).get(name, _MISSING)))
    setattr(holder, name, patched)


def _replace_everywhere(
    runtime: InstalledRuntime, holder: Any, name: str, patched: Any, original: Any
) -> None:
    """Replace a function also where modules have imported it by name."""
    _replace(runtime, holder, name, patched)
    for module in _modules():
        if module is holder or module.__name__.startswith("lb_runtime"):
            continue
        for key, value in list(vars(module).items()):
            if value is original:
                _replace(runtime, module, key, patched)


def _modules() -> Iterator[ModuleType]:
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType) and isinstance(getattr(module, "__dict__", None), dict):
            yield module


def _launcher(runtime: InstalledRuntime) -> Callable[..., Any]:
    original = raw.enqueue_nd_range_kernel
    launch = runtime.launch

    def enqueue_nd_range_kernel(
        queue: Any,
        kernel: Any,
        global_work_size: Any,
        local_work_size: Any,
        global_offset: Any = None,
        wait_for: Any = None,
        g_times_l: bool = False,
        allow_empty_ndrange: bool = False,
    ) -> Any:
        if not BUSY:
            # The short way of a kernel that is never split, while no byte is away.
            state = getattr(kernel, "_lb_kernel", None)
            if state is not None and state[0] is runtime:
                known = state[1]
                entry = known.entry
                if entry is not None and entry.code:
                    if known.pending:
                        known.forget()
                    event = original(
                        queue,
                        kernel,
                        global_work_size,
                        local_work_size,
                        global_offset,
                        wait_for,
                        g_times_l=g_times_l,
                        allow_empty_ndrange=allow_empty_ndrange,
                    )
                    known.story.passed(entry.code)
                    return event
        return launch(
            queue,
            kernel,
            global_work_size,
            local_work_size,
            global_offset,
            wait_for,
            g_times_l,
            allow_empty_ndrange,
        )

    enqueue_nd_range_kernel.__doc__ = original.__doc__
    return enqueue_nd_range_kernel


def _command(
    runtime: InstalledRuntime, name: str, original: Any, touches: Callable[..., Touches]
) -> Callable[..., Any]:
    is_map = name == "enqueue_map_buffer"

    def command(queue: Any, *given: Any, **named: Any) -> Any:
        done: tuple[World, list[Touch]] | None = None
        if is_map or BUSY:
            try:
                if is_map:
                    _note_map(runtime, queue, *given, **named)
                if BUSY:
                    done = runtime.command(name, touches, queue, *given, **named)
            except (TypeError, AttributeError):
                # The arguments do not fit: pyopencl says so.
                done = None
        result = original(queue, *given, **named)
        if done is not None:
            done[0].after(done[1])
        return result

    command.__name__ = name
    command.__doc__ = original.__doc__
    return command


def _note_map(
    runtime: InstalledRuntime, queue: Any, buf: Any, flags: Any, *_: Any, **__: Any
) -> None:
    if maps_for_writing(flags) and is_buffer(buf) and runtime.queue_state(queue) is not None:
        runtime.untrack(buf, queue)


def _platforms(runtime: InstalledRuntime) -> Callable[..., Any]:
    original = raw.get_platforms

    def get_platforms() -> Any:
        platforms = original()
        if not runtime.hides_intel:
            return platforms
        return [each for each in platforms if "Intel" not in each.name] or platforms

    get_platforms.__doc__ = original.__doc__
    get_platforms.unpatched = original  # type: ignore[attr-defined]  # for our own look at all devices
    return get_platforms


def _setter(runtime: InstalledRuntime, original: Any, kind: str) -> Callable[..., Any]:
    def set_arguments(self: Any, given: Any) -> None:
        state = getattr(self, "_lb_kernel", None)
        known = (
            state[1] if state is not None and state[0] is runtime else runtime.kernel_state(self)
        )
        try:
            original(self, given)
        except BaseException:
            known.pending.append(("unknown", None))
            raise
        known.pending.append((kind, given))
        if len(known.pending) > 64:
            known.settle()

    return set_arguments


def _single(runtime: InstalledRuntime, name: str, original: Any) -> Callable[..., Any]:
    def set_argument(self: Any, *given: Any, **named: Any) -> None:
        known = runtime.kernel_state(self)
        try:
            original(self, *given, **named)
        except BaseException:
            known.pending.append(("unknown", None))
            raise
        try:
            known.settle()
            index, value = _index_and_value(*given, **named)
            if name == "_set_arg_buf":
                known.arguments[index] = bytes(memoryview(value).cast("B"))
            elif name == "_set_arg_svm":
                known.arguments[index] = Unfit("svm")
            elif name == "_set_arg_null":
                known.arguments[index] = Unfit("null-argument")
            else:
                known.arguments[index] = captured(value)
        except Exception as error:
            runtime.story.fault("capture", error)
            known.pending.append(("unknown", None))

    return set_argument


def _index_and_value(arg_index: int, arg: Any = None, *_: Any, **named: Any) -> tuple[int, Any]:
    return arg_index, next(iter(named.values()), arg) if named else arg


def _profiling(runtime: InstalledRuntime, original: Any) -> Callable[..., Any]:
    info = cl.profiling_info

    def get_profiling_info(self: Any, param: Any) -> Any:
        value = original(self, param)
        if param not in (info.START, info.SUBMIT) or not runtime.stamps:
            return value
        known = runtime.stamps.get(self.int_ptr)
        # The barrier that stands for a split launch begins when the launch ends.
        return min(value, known[1][0]) if known and known[1] else value

    return get_profiling_info


def _pointer(runtime: InstalledRuntime, original: Any) -> property:
    def int_ptr(self: Any) -> Any:
        value = raw.int_ptr(self)
        _untrack_if_buffer(runtime, self)
        return value

    return property(int_ptr, doc=getattr(original, "__doc__", None))


def _host_array(runtime: InstalledRuntime, original: Any) -> Callable[..., Any]:
    def get_host_array(self: Any, *given: Any, **named: Any) -> Any:
        _untrack_if_buffer(runtime, self)
        return original(self, *given, **named)

    return get_host_array


def _image_of_buffer(runtime: InstalledRuntime, original: Any) -> Callable[..., Any]:
    def _custom_init(
        self: Any, context: Any, flags: Any, format: Any, desc: Any, *more: Any
    ) -> Any:  # noqa: A002  # pyopencl's name
        buffer = getattr(desc, "buffer", None)
        if buffer is not None:
            _untrack_if_buffer(runtime, buffer)
        return original(self, context, flags, format, desc, *more)

    return _custom_init


def _untrack_if_buffer(runtime: InstalledRuntime, memory: Any) -> None:
    try:
        if is_buffer(memory):
            runtime.untrack(memory)
    except Exception as error:
        runtime.story.fault("untrack", error)


def _before_fork() -> None:
    """A child has this process's memory but none of its threads: all bytes must be where it finds them."""
    runtime = _installed
    if runtime is None or os.getpid() != runtime._process:
        return
    for world in list(runtime._worlds.values()):
        task = world.bring_all_home()
        if task is not None:
            task.done.wait(DRAIN_SECONDS)


def _after_fork_in_child() -> None:
    """The child goes on with pyopencl as it is."""
    global _installed
    runtime, _installed = _installed, None
    if runtime is not None:
        BUSY.clear()
        for holder, name, original in reversed(runtime._patches):
            if original is _MISSING:
                delattr(holder, name)
            else:
                setattr(holder, name, original)
        runtime._patches.clear()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
atexit.register(_uninstall, at_exit=True)
