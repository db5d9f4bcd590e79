"""`install` and `uninstall`: unmodified pyopencl programs on both devices. No other file patches pyopencl.

Patched are the enqueue of kernels, the methods that set arguments, the commands that read or write
buffers, and what hands out raw pointers. `uninstall` puts the very same objects back.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyopencl as cl
from pyopencl import _cl

from lb_runtime.dropin import raw
from lb_runtime.dropin.arguments import CUT, Unfit, buffer_ref, captured, is_buffer
from lb_runtime.dropin.calls import FOREIGN, note_call
from lb_runtime.dropin.conductor import IN_FLIGHT
from lb_runtime.dropin.kernels import KernelState
from lb_runtime.dropin.runtime import DropIn
from lb_runtime.dropin.touches import BLOCKING, COMMANDS, Touches, maps_for_writing, tied
from lb_runtime.dropin.world import BUSY, World
from lb_runtime.errors import BytesLostError
from lb_runtime.icd import drivers_of_this_process
from lb_runtime.settings import Settings
from lb_runtime.story import Story

if TYPE_CHECKING:
    from lb_runtime.story_report import Report

_LOCK = threading.RLock()
_MISSING = object()
SHORT_CALL, FULL_CALL = 4, 8
"""So many arguments an enqueue of a kernel has at least, and all together."""
REST_OF_CALL = (None, None, False, False)
"""What the others are where they are not given."""


class InstalledRuntime(DropIn):
    """The runtime that is installed; a context manager that uninstalls it at the end."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._patches: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> InstalledRuntime:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        uninstall()


_installed: InstalledRuntime | None = None
_last: InstalledRuntime | None = None


def load() -> None:
    """Import what is imported when it is needed, for a program that may have modules of these names."""
    from lb_runtime import contexts, roles, story_report, timeline  # noqa: F401
    from lb_runtime.dropin import judging, recall, split  # noqa: F401
    from lb_runtime.tuned import apply  # noqa: F401


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
        if runtime.settings.mode != "off":
            # Drivers take as long to load as what judges kernels: both are loaded at a time.
            runtime.load_ahead()
        with drivers_of_this_process() as setup:
            runtime.hides_intel = setup.adds_intel
            raw.load_drivers()
            with suppress(cl.Error):
                # The loader looks for drivers now, and never again.
                raw.get_platforms()
        if runtime.settings.mode != "off":
            _patch(runtime)
            runtime.warm_up()
        _installed = _last = runtime
        return runtime


def _end_as_interrupted() -> None:
    """Let the interpreter end by SIGINT, as it does after Ctrl-C.

    It forgets that when another thread runs a text (`exec`, as dataclasses do that are imported): it keeps
    only whether the last text that was run had ended of Ctrl-C. So one more does.
    """
    with suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")  # noqa: S102


def uninstall(*, at_exit: bool = False) -> None:
    """Put pyopencl's own objects back, once all bytes are on the user's devices. Idempotent.

    `at_exit` is for a program that has ended: nothing is waited for that nobody will see.
    """
    global _installed
    with _LOCK:
        runtime = _installed
        if runtime is None:
            return
        if not at_exit:
            runtime.stop()
        _installed = None
        _unpatch(runtime)
        runtime.close(at_exit=at_exit)
        if at_exit and getattr(sys, "last_type", None) is KeyboardInterrupt:
            # Imported behind this, what a report is made of would change the exit status.
            from lb_runtime import story_report  # noqa: F401

            _end_as_interrupted()


def report() -> Report:
    """What happened to the program's launches, since `install`; also after `uninstall`."""
    runtime = _installed or _last
    return Story().report() if runtime is None else runtime.report()


def enqueue_nd_range_kernel(
    queue: cl.CommandQueue,
    kernel: cl.Kernel,
    global_work_size: Sequence[int],
    local_work_size: Sequence[int] | None,
    global_work_offset: Sequence[int] | None = None,
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
        global_work_offset,  # type: ignore[arg-type]
        wait_for,
        g_times_l=g_times_l,
        allow_empty_ndrange=allow_empty_ndrange,
    )


# Patching


def _patch(runtime: InstalledRuntime) -> None:
    functions: dict[str, tuple[Any, Any]] = {
        "enqueue_nd_range_kernel": (raw.enqueue_nd_range_kernel, _launcher(runtime)),
        "get_platforms": (raw.get_platforms, _platforms(runtime)),
    }
    for name, touches in COMMANDS.items():
        original = getattr(_cl, name, None)
        if original is not None:
            functions[name] = original, _command(runtime, name, original, touches)
    for name in BLOCKING:
        original = getattr(_cl, name, None)
        if original is not None:
            functions[name] = original, _blocking(runtime, original)
    for name in dir(_cl):
        original = getattr(_cl, name)
        if "enqueue" in name and name not in functions and not isinstance(original, type):
            functions[name] = original, _noted(original)
    _replace_functions(runtime, functions)
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
    _replace(runtime, cl.Program, "build", _build(runtime, cl.Program.build))
    for name in ("get_sub_region", "__getitem__"):
        _replace(runtime, _cl.Buffer, name, _cutter(getattr(_cl.Buffer, name)))
    for released, name in (
        (_cl.MemoryMap, "release"),
        (_cl.SVMAllocation, "enqueue_release"),
        (_cl.PooledSVM, "enqueue_release"),
    ):
        _replace(runtime, released, name, _noted(getattr(released, name)))
    _replace(runtime, _cl.CommandQueue, "int_ptr", _queue_handle(_cl.CommandQueue.int_ptr))
    _replace(runtime, _cl.CommandQueue, "from_int_ptr", _queue_from_handle())
    _replace(runtime, _cl.Kernel, "int_ptr", _kernel_handle(runtime, _cl.Kernel.int_ptr))
    _replace(runtime, _cl.Kernel, "from_int_ptr", _kernel_from_handle(runtime))
    holder = _cl.MemoryObjectHolder
    _replace(runtime, holder, "int_ptr", _pointer(runtime, holder.__dict__["int_ptr"]))
    _replace(runtime, holder, "get_host_array", _host_array(runtime, holder.get_host_array))
    _replace(runtime, _cl.Image, "_custom_init", _image_of_buffer(runtime, _cl.Image._custom_init))


def _unpatch(runtime: InstalledRuntime) -> None:
    for holder, name, original in reversed(runtime._patches):
        if original is _MISSING:
            delattr(holder, name)
        else:
            setattr(holder, name, original)
    runtime._patches.clear()


def _replace(runtime: InstalledRuntime, holder: Any, name: str, patched: Any) -> None:
    runtime._patches.append((holder, name, vars(holder).get(name, _MISSING)))
    setattr(holder, name, patched)


def _replace_functions(runtime: InstalledRuntime, functions: Mapping[str, tuple[Any, Any]]) -> None:
    """Replace functions of `pyopencl._cl`, also where modules have imported them by name.

    `functions` are the original and what replaces it, by name.
    """
    by_identity = {id(original): (original, patched) for original, patched in functions.values()}
    for name, (_, patched) in functions.items():
        _replace(runtime, _cl, name, patched)
    for module in _modules():
        if module is _cl or module.__name__.startswith("lb_runtime"):
            continue
        names = list(vars(module).items())
        if by_identity.keys().isdisjoint([id(value) for _, value in names]):
            continue
        for key, value in names:
            found = by_identity.get(id(value))
            if found is not None and found[0] is value:
                _replace(runtime, module, key, found[1])


def _modules() -> Iterator[ModuleType]:
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType) and isinstance(getattr(module, "__dict__", None), dict):
            yield module


def _launcher(runtime: InstalledRuntime) -> Callable[..., Any]:
    original = raw.enqueue_nd_range_kernel
    launch = runtime.launch

    def enqueue_nd_range_kernel(*given: Any, **named: Any) -> Any:
        if len(given) == FULL_CALL and not named:
            call = given
        elif named or not SHORT_CALL <= len(given) <= FULL_CALL:
            try:
                call = _launch_call(*given, **named)
            except TypeError:
                # pyopencl says what is wrong with it.
                return original(*given, **named)
        else:
            call = given + REST_OF_CALL[len(given) - SHORT_CALL :]
        kernel = call[1]
        # The short way of a launch that is known to pass, and touches nothing that the mirror holds.
        state = getattr(kernel, "_lb_kernel", None)
        if state is not None and state[0] is runtime:
            known = state[1]
            try:
                code = known.quick_code(call[0], call[2], call[3], call[4])
            except Exception:
                # The long way meets it again, and tells.
                code = ""
            if code:
                event = original(*call)
                if IN_FLIGHT:
                    note_call()
                known.story.passed(code)
                return event
        return launch(*(call if named else _launch_call(*call)))

    enqueue_nd_range_kernel.__doc__ = original.__doc__
    return enqueue_nd_range_kernel


def _launch_call(
    queue: Any,
    kernel: Any,
    global_work_size: Any,
    local_work_size: Any,
    global_work_offset: Any = None,
    wait_for: Any = None,
    g_times_l: Any = False,
    allow_empty_ndrange: Any = False,
) -> tuple[Any, ...]:
    """All arguments of pyopencl's enqueue of kernels, under its own names, in its order."""
    return (
        queue,
        kernel,
        _as_tuple(global_work_size),
        _as_tuple(local_work_size),
        _as_tuple(global_work_offset),
        _sized(wait_for),
        g_times_l,
        allow_empty_ndrange,
    )


def _as_tuple(value: Any) -> Any:
    """Sizes in any sequence as a tuple, which can be compared; all else as it is."""
    is_sequence = type(value) is list or (isinstance(value, np.ndarray) and value.ndim == 1)
    return tuple(value) if is_sequence else _sized(value)


def _sized(value: Any) -> Any:
    """What can be looked at twice: an iterator as a tuple, all else as it is."""
    return tuple(value) if hasattr(value, "__next__") else value


def _command(
    runtime: InstalledRuntime, name: str, original: Any, touches: Callable[..., Touches]
) -> Callable[..., Any]:
    is_map = name == "enqueue_map_buffer"

    def command(queue: Any, *given: Any, **named: Any) -> Any:
        done: tuple[World, Touches] | None = None
        if BUSY:
            given = tuple(map(_sized, given))
            named = {key: _sized(value) for key, value in named.items()}
        if is_map:
            _expect_unmap(queue)
            _note_map(runtime, queue, *given, **named)
        if BUSY:
            done = runtime.command(name, touches, queue, *given, **named)
        try:
            result = original(queue, *given, **named)
        finally:
            note_call()
        if done is not None:
            done[0].after(*done[1])
        return tied(result) if IN_FLIGHT else result

    command.__name__ = name
    command.__doc__ = original.__doc__
    return command


def _blocking(runtime: InstalledRuntime, original: Any) -> Callable[..., Any]:
    def command(queue: Any, *given: Any, **named: Any) -> Any:
        _expect_unmap(queue)
        with suppress(TypeError, AttributeError):
            runtime.before_blocking(queue)
        try:
            return tied(original(queue, *given, **named))
        finally:
            note_call()

    command.__name__ = original.__name__
    command.__doc__ = original.__doc__
    return command


def _expect_unmap(queue: Any) -> None:
    """A mapping that is dropped is ended unseen, by a command on its queue."""
    if isinstance(queue, cl.CommandQueue):
        FOREIGN.add(raw.queue_number(queue))


def _noted(original: Any) -> Callable[..., Any]:
    """A command that touches no buffer: other commands may have to wait for it all the same."""
    is_map = original.__name__.endswith("_map_image")

    @functools.wraps(original)
    def command(*given: Any, **named: Any) -> Any:
        if is_map:
            _expect_unmap(named.get("queue", given[0] if given else None))
        try:
            return original(*given, **named)
        finally:
            note_call()

    return command


def _note_map(runtime: InstalledRuntime, queue: Any, *given: Any, **named: Any) -> None:
    """What is mapped for writing is written unseen."""
    try:
        buffer = named["buf"] if "buf" in named else given[0]
        flags = named["flags"] if "flags" in named else given[1]
        if maps_for_writing(flags) and is_buffer(buffer):
            runtime.untrack(buffer, queue)
    except BytesLostError:
        raise
    except Exception as error:
        # Arguments that do not fit are pyopencl's to tell.
        if not isinstance(error, TypeError | IndexError | AttributeError | cl.Error):
            runtime.tell("map", error)
        runtime.retreat()


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


def _state(runtime: InstalledRuntime, kernel: Any) -> KernelState | None:
    """What is known of a kernel; None, and none of its arguments is known, where that fails."""
    try:
        return runtime.kernel_state(kernel)
    except Exception as error:
        runtime.tell("capture", error)
        return None


def _setter(runtime: InstalledRuntime, original: Any, kind: str) -> Callable[..., Any]:
    def set_arguments(self: Any, given: Any) -> None:
        state = getattr(self, "_lb_kernel", None)
        known = state[1] if state is not None and state[0] is runtime else _state(runtime, self)
        if known is None:
            original(self, given)
            return
        try:
            original(self, given)
        except BaseException:
            known.pending.append(("unknown", None))
            raise
        known.pending.append((kind, given))
        if len(known.pending) > 64:
            known.take_over()

    return set_arguments


def _single(runtime: InstalledRuntime, name: str, original: Any) -> Callable[..., Any]:
    def set_argument(self: Any, *given: Any, **named: Any) -> None:
        known = _state(runtime, self)
        if known is None:
            original(self, *given, **named)
            return
        try:
            original(self, *given, **named)
        except BaseException:
            known.pending.append(("unknown", None))
            raise
        try:
            known.take_over()
            index, value = _index_and_value(*given, **named)
            if name == "_set_arg_buf":
                known.arguments[index] = bytes(memoryview(value).cast("B"))
            elif name == "_set_arg_svm":
                known.arguments[index] = Unfit("svm")
            elif name == "_set_arg_null":
                known.arguments[index] = Unfit("null-argument")
            else:
                known.arguments[index] = captured(value)
            known.changed()
        except Exception as error:
            runtime.tell("capture", error)
            known.pending.append(("unknown", None))

    return set_argument


def _index_and_value(arg_index: int, arg: Any = None, *_: Any, **named: Any) -> tuple[int, Any]:
    return arg_index, next(iter(named.values()), arg) if named else arg


def _build(runtime: InstalledRuntime, original: Any) -> Callable[..., Any]:
    @functools.wraps(original)
    def build(self: Any, *given: Any, **named: Any) -> Any:
        # pyopencl forgets it with the build.
        source = vars(self).get("_source")
        try:
            runtime.builds(self, source, given[0] if given else named.get("options"))
        except Exception as error:
            runtime.tell("build", error)
        built = original(self, *given, **named)
        try:
            runtime.built(self, source)
        except Exception as error:
            runtime.tell("build", error)
        return built

    return build


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


def _queue_handle(original: Any) -> property:
    def int_ptr(self: Any) -> Any:
        value = raw.queue_number(self)
        FOREIGN.add(value)
        return value

    return property(int_ptr, doc=getattr(original, "__doc__", None))


def _kernel_handle(runtime: InstalledRuntime, original: Any) -> property:
    def int_ptr(self: Any) -> Any:
        _give_out(runtime, self)
        return raw.kernel_number(self)

    return property(int_ptr, doc=getattr(original, "__doc__", None))


def _kernel_from_handle(runtime: InstalledRuntime) -> Any:
    @functools.wraps(raw.kernel_of)
    def from_int_ptr(*given: Any, **named: Any) -> Any:
        kernel = raw.kernel_of(*given, **named)
        _give_out(runtime, kernel)
        return kernel

    return staticmethod(from_int_ptr)


def _give_out(runtime: InstalledRuntime, kernel: Any) -> None:
    known = _state(runtime, kernel)
    if known is not None:
        known.give_out()


def _queue_from_handle() -> Any:
    @functools.wraps(raw.queue_of)
    def from_int_ptr(*given: Any, **named: Any) -> Any:
        queue = raw.queue_of(*given, **named)
        FOREIGN.add(raw.queue_number(queue))
        return queue

    return staticmethod(from_int_ptr)


def _cutter(original: Any) -> Callable[..., Any]:
    def cut(self: Any, *given: Any, **named: Any) -> Any:
        part = original(self, *given, **named)
        with suppress(cl.Error):
            CUT.add(buffer_ref(self).root)
        return part

    return cut


def _host_array(runtime: InstalledRuntime, original: Any) -> Callable[..., Any]:
    def get_host_array(self: Any, *given: Any, **named: Any) -> Any:
        _untrack_if_buffer(runtime, self)
        return original(self, *given, **named)

    return get_host_array


def _image_of_buffer(runtime: InstalledRuntime, original: Any) -> Callable[..., Any]:
    def _custom_init(self: Any, context: Any, flags: Any, form: Any, desc: Any, *more: Any) -> Any:
        buffer = getattr(desc, "buffer", None)
        if buffer is not None:
            _untrack_if_buffer(runtime, buffer)
        return original(self, context, flags, form, desc, *more)

    return _custom_init


def _untrack_if_buffer(runtime: InstalledRuntime, memory: Any) -> None:
    try:
        if is_buffer(memory):
            runtime.untrack(memory)
    except Exception as error:
        runtime.tell("untrack", error)


def _before_fork() -> None:
    """A child has this process's memory but none of its threads: bytes had better be where it finds them.

    Nothing is waited for that the program itself has to do first.
    """
    runtime = _installed
    if runtime is not None and os.getpid() == runtime.process:
        with suppress(Exception):
            for world in list(BUSY):
                world.bring_all_home()
                for conductor in list(world.conductors):
                    conductor.drain()


def _after_fork_in_child() -> None:
    """The child goes on with pyopencl as it is."""
    global _installed
    runtime, _installed = _installed, None
    if runtime is not None:
        BUSY.clear()
        _unpatch(runtime)


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
atexit.register(uninstall, at_exit=True)
