"""Installing and uninstalling: the very same objects come back, whoever imported them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyopencl as cl
import pytest
from pyopencl import _cl

import lb_runtime
from lb_runtime.contexts import OpenPair
from lb_runtime.errors import LoadBalancerError
from lb_runtime.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore::pyopencl.CompilerWarning")

SOURCE = "kernel void twice(global int *a) { a[get_global_id(0)] *= 2; }"
ITEMS = 4096
FORCED = Settings(force=True, share=0.5)


@pytest.fixture(autouse=True)
def _uninstalled() -> Iterator[None]:
    yield
    lb_runtime.uninstall()


@pytest.fixture
def queue(halves: OpenPair) -> cl.CommandQueue:
    return cl.CommandQueue(cl.Context([halves.devices[0].handle]))


@pytest.fixture
def forced(halves: OpenPair) -> Settings:
    one = str(halves.devices[0].info.index)
    return Settings(force=True, share=0.5, cpu=one, gpu=one)


def state() -> dict[tuple[str, str], int]:
    """Every attribute of every module and class of pyopencl, by identity."""
    holders: dict[str, Any] = {
        name: module
        for name, module in sys.modules.items()
        if name.split(".")[0] == "pyopencl" and isinstance(module, ModuleType)
    }
    holders |= {
        f"{name}.{key}": value
        for name, module in list(holders.items())
        for key, value in vars(module).items()
        if isinstance(value, type) and value.__module__.split(".")[0] == "pyopencl"
    }
    return {
        (name, key): id(value)
        for name, holder in holders.items()
        for key, value in vars(holder).items()
        if key not in ("__warningregistry__", "__dict__", "__weakref__")
    }


def doubled(queue: cl.CommandQueue, times: int = 4) -> np.ndarray[Any, Any]:
    """What a few launches leave of the numbers from 0 on."""
    content = np.arange(ITEMS, dtype=np.int32)
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    buffer = cl.Buffer(queue.context, flags, hostbuf=content)
    program = cl.Program(queue.context, SOURCE).build(cache_dir=False)
    kernel = cl.Kernel(program, "twice")
    for _ in range(times):
        kernel(queue, (ITEMS,), (64,), buffer)
    cl.enqueue_copy(queue, content, buffer)
    return content


def test_uninstall_leaves_every_attribute_as_it_was(queue: cl.CommandQueue) -> None:
    doubled(queue)
    before = state()
    lb_runtime.install(FORCED)
    during = state()
    assert sum(during[key] != before.get(key) for key in during) > 20
    doubled(queue)
    lb_runtime.uninstall()
    assert state() == before


def test_forgetting_to_put_one_object_back_is_seen(
    queue: cl.CommandQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above bites."""
    doubled(queue)
    before = state()
    original = _cl._enqueue_copy_buffer
    runtime = lb_runtime.install(FORCED)
    runtime._patches = [each for each in runtime._patches if each[2] is not original]
    lb_runtime.uninstall()
    changed = {key for key, value in state().items() if before.get(key) != value}
    assert ("pyopencl._cl", "_enqueue_copy_buffer") in changed
    monkeypatch.undo()
    for module in list(sys.modules.values()):
        for key, value in list(getattr(module, "__dict__", {}).items()):
            if key == "_enqueue_copy_buffer" and value is not original:
                setattr(module, key, original)


def test_a_context_manager_installs_for_its_body(queue: cl.CommandQueue, forced: Settings) -> None:
    original = cl.enqueue_nd_range_kernel
    with lb_runtime.install(forced) as runtime:
        assert cl.enqueue_nd_range_kernel is not original
        assert (doubled(queue) == np.arange(ITEMS) * 16).all()
        runtime._check()
    assert cl.enqueue_nd_range_kernel is original
    report = runtime.report()
    assert report.split == 4
    assert not report.faults


def test_installing_twice_is_installing_once(forced: Settings) -> None:
    original = cl.enqueue_nd_range_kernel
    first = lb_runtime.install(forced)
    assert lb_runtime.install(Settings(mode="observe")) is first
    lb_runtime.uninstall()
    lb_runtime.uninstall()
    assert cl.enqueue_nd_range_kernel is original


def test_off_touches_nothing(queue: cl.CommandQueue) -> None:
    before = state()
    with lb_runtime.install(Settings(mode="off")) as runtime:
        assert state() == before
        doubled(queue)
    assert runtime.report().launches == 0


def test_observing_splits_nothing_and_says_so(queue: cl.CommandQueue, forced: Settings) -> None:
    settings = Settings(mode="observe", force=True, share=0.5, cpu=forced.cpu, gpu=forced.gpu)
    with lb_runtime.install(settings) as runtime:
        assert (doubled(queue) == np.arange(ITEMS) * 16).all()
    report = runtime.report()
    assert (report.launches, report.split) == (4, 0)
    assert {each.code for kernel in report.kernels for each in kernel.passed} == {"observing"}


def test_functions_that_were_imported_by_name_are_replaced_and_put_back(
    queue: cl.CommandQueue, forced: Settings
) -> None:
    program = ModuleType("somebodys_program")
    original = program.launch = cl.enqueue_nd_range_kernel  # type: ignore[attr-defined]
    sys.modules[program.__name__] = program
    try:
        with lb_runtime.install(forced):
            assert program.launch is cl.enqueue_nd_range_kernel  # type: ignore[attr-defined]
            assert program.launch is not original  # type: ignore[attr-defined]
        assert program.launch is original  # type: ignore[attr-defined]
    finally:
        del sys.modules[program.__name__]


def test_threads_may_install_and_uninstall_while_others_launch(
    halves: OpenPair, forced: Settings
) -> None:
    original = cl.enqueue_nd_range_kernel
    wrong: list[object] = []
    stop = threading.Event()

    def launch() -> None:
        queue = cl.CommandQueue(cl.Context([halves.devices[0].handle]))
        try:
            while not stop.is_set():
                if not (doubled(queue) == np.arange(ITEMS) * 16).all():
                    wrong.append("bytes")
        except Exception as error:
            wrong.append(error)

    def switch() -> None:
        try:
            for _ in range(15):
                lb_runtime.install(forced)
                lb_runtime.uninstall()
        except Exception as error:
            wrong.append(error)

    launchers = [threading.Thread(target=launch, daemon=True) for _ in range(2)]
    switchers = [threading.Thread(target=switch, daemon=True) for _ in range(2)]
    for thread in (*launchers, *switchers):
        thread.start()
    for thread in switchers:
        thread.join(100)
        assert not thread.is_alive()
    stop.set()
    for thread in launchers:
        thread.join(100)
        assert not thread.is_alive()
    lb_runtime.uninstall()
    assert not wrong
    assert cl.enqueue_nd_range_kernel is original


def test_the_explicit_function_installs_and_splits(
    queue: cl.CommandQueue, forced: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = cl.Program(queue.context, SOURCE).build(cache_dir=False)
    kernel = cl.Kernel(program, "twice")
    content = np.arange(ITEMS, dtype=np.int32)
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    buffer = cl.Buffer(queue.context, flags, hostbuf=content)
    kernel.set_args(buffer)
    for name, value in (("LB_FORCE", "1"), ("LB_SHARE", "0.5")):
        monkeypatch.setenv(name, value)
    for name, choice in (("LB_CPU", forced.cpu), ("LB_GPU", forced.gpu)):
        monkeypatch.setenv(name, str(choice))
    # What was set before the runtime was there is not known: the launch is passed on.
    event = lb_runtime.enqueue_nd_range_kernel(queue, kernel, (ITEMS,), (64,))
    assert isinstance(event, cl.Event)
    kernel.set_args(buffer)
    lb_runtime.enqueue_nd_range_kernel(queue, kernel, (ITEMS,), (64,), wait_for=[event]).wait()
    cl.enqueue_copy(queue, content, buffer)
    assert (content == np.arange(ITEMS) * 4).all()
    report = lb_runtime.report()
    assert (report.launches, report.split) == (2, 1)
    with pytest.raises(cl.LogicError):
        lb_runtime.enqueue_nd_range_kernel(queue, kernel, (ITEMS,), (63,))


def test_a_setting_that_cannot_be_understood_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LB_RUNTIME", "perhaps")
    with pytest.raises(
        LoadBalancerError, match="LB_RUNTIME is 'perhaps', expected off, observe or on"
    ):
        lb_runtime.install()


def test_only_one_file_patches_pyopencl() -> None:
    root = Path(lb_runtime.__file__).parent
    patching = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if "setattr(" in path.read_text() and "holder" in path.read_text()
    }
    assert patching == {"intercept.py"}


def test_this_is_patched_and_nothing_else(forced: Settings) -> None:
    with lb_runtime.install(forced) as runtime:
        patched = {
            f"{holder.__name__.removeprefix('pyopencl.').removeprefix('_cl.')}.{name}"
            for holder, name, _ in runtime._patches
            if getattr(holder, "__name__", "").startswith(("pyopencl._cl", "Program"))
            or isinstance(holder, type)
        }
    assert {name for name in patched if not name.startswith("_cl.")} == {
        "Buffer.__getitem__",
        "Buffer.get_sub_region",
        "CommandQueue.from_int_ptr",
        "CommandQueue.int_ptr",
        "Event.get_profiling_info",
        "Image._custom_init",
        "Kernel._set_arg_buf",
        "Kernel._set_arg_buf_multi",
        "Kernel._set_arg_buf_pack_multi",
        "Kernel._set_arg_multi",
        "Kernel._set_arg_null",
        "Kernel._set_arg_svm",
        "Kernel.from_int_ptr",
        "Kernel.int_ptr",
        "Kernel.set_arg",
        "MemoryMap.release",
        "MemoryObjectHolder.get_host_array",
        "MemoryObjectHolder.int_ptr",
        "PooledSVM.enqueue_release",
        "Program.build",
        "SVMAllocation.enqueue_release",
    }
    assert {
        "_cl.enqueue_nd_range_kernel",
        "_cl._enqueue_read_buffer",
        "_cl.get_platforms",
    } <= patched


def test_a_kernel_whose_program_is_gone_is_split_on_intel_too(intel_pair: OpenPair) -> None:
    """Intel's kernels do not keep their program: asked for it, they name one that is gone."""
    context = cl.Context([intel_pair.devices[1].handle])
    queue = cl.CommandQueue(context)
    with lb_runtime.install(FORCED) as runtime:
        assert (doubled(queue) == np.arange(ITEMS) * 16).all()
        kernel = cl.Kernel(cl.Program(context, SOURCE).build(cache_dir=False), "twice")
        buffer = cl.Buffer(context, cl.mem_flags.READ_WRITE, 4 * ITEMS)
        kernel(queue, (ITEMS,), (64,), buffer).wait()
    report = runtime.report()
    assert (report.launches, report.split) == (5, 5)
    assert not report.faults


def test_a_buffer_outlives_its_program_object_in_a_sub_buffer(
    intel_pair: OpenPair, halves: OpenPair
) -> None:
    """Drivers differ in whether a sub-buffer counts as a reference to its buffer."""
    for device in (intel_pair.devices[1].handle, halves.devices[0].handle):
        context = cl.Context([device])
        queue = cl.CommandQueue(context)
        with lb_runtime.install(FORCED) as runtime:
            kernel = cl.Kernel(cl.Program(context, SOURCE).build(cache_dir=False), "twice")
            content = np.arange(ITEMS, dtype=np.int32)
            flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
            buffer = cl.Buffer(context, flags, hostbuf=content)
            part = buffer[0 : 4 * ITEMS : 1]
            kernel(queue, (ITEMS,), (64,), buffer)
            del buffer
            queue.finish()
            # Another buffer is made and split: what belongs to the first one might be freed.
            doubled(queue)
            cl.enqueue_copy(queue, content, part)
            assert (content == np.arange(ITEMS) * 2).all()
            runtime._check()


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("place", [2, 3, 4, 5])
def test_sizes_and_events_may_be_given_as_iterators(
    queue: cl.CommandQueue, forced: Settings, place: int, force: bool
) -> None:
    """They can be looked at once only, and pyopencl takes them."""
    with lb_runtime.install(forced if force else Settings(mode="observe")):
        kernel = cl.Kernel(cl.Program(queue.context, SOURCE).build(cache_dir=False), "twice")
        content = np.arange(ITEMS + 64, dtype=np.int32)
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        buffer = cl.Buffer(queue.context, flags, hostbuf=content)
        kernel.set_args(buffer)
        call: list[Any] = [queue, kernel, (ITEMS,), (64,), (64,), [cl.enqueue_marker(queue)]]
        call[place] = iter(call[place])
        cl.enqueue_nd_range_kernel(*call)
        found = np.empty_like(content)
        cl.enqueue_copy(queue, found, buffer)
        assert (found[:64] == content[:64]).all()
        assert (found[64:] == 2 * content[64:]).all()


def test_a_kernel_whose_handle_is_given_out_is_not_split(
    queue: cl.CommandQueue, forced: Settings
) -> None:
    """Others may set its arguments unseen."""
    with lb_runtime.install(forced) as runtime:
        kernel = cl.Kernel(cl.Program(queue.context, SOURCE).build(cache_dir=False), "twice")
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        content = np.arange(ITEMS, dtype=np.int32)
        one, other = (cl.Buffer(queue.context, flags, hostbuf=content) for _ in range(2))
        kernel(queue, (ITEMS,), (64,), one)
        again = cl.Kernel.from_int_ptr(kernel.int_ptr)
        again.set_arg(0, other)
        cl.enqueue_nd_range_kernel(queue, kernel, (ITEMS,), (64,))
        cl.enqueue_nd_range_kernel(queue, again, (ITEMS,), (64,))
        for buffer, times in ((one, 2), (other, 4)):
            found = np.empty_like(content)
            cl.enqueue_copy(queue, found, buffer)
            assert (found == times * content).all()
        (story,) = runtime.report().kernels
        assert story.split == 1
        assert {each.code for each in story.passed} == {"arguments-unknown", "no-source"}
