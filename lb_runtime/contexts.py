"""Open devices: a context, a queue, built programs and spare buffers for each device of a pair.

Each device has a context of its own, since contexts do not span platforms, and one in-order queue with
profiling. Programs are built once per (source, options).
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from threading import Lock
from typing import cast
from weakref import finalize

import pyopencl as cl

from lb_runtime.binaries import Binary
from lb_runtime.devices import DeviceInfo, device_handles, discover
from lb_runtime.errors import BuildError, DeviceError, KernelNotFoundError
from lb_runtime.own_contexts import OWN_CONTEXTS
from lb_runtime.records import dataclass
from lb_runtime.roles import Cut, DevicePair, choose_pair, requested
from lb_runtime.signals import signals_kept

_DRIVER_FILE_NAME = re.compile(r"\d+|<\w+>|(?:.*/)?(?:tempfile_\w+\.cl|CompileSource|input\.cl)")
"""What drivers call the text that they were given: no file of the user's."""

_CLANG_ERROR = re.compile(
    r"^(?P<file>[^\n]*?):(?P<line>\d+):(?P<column>\d+): (?:fatal )?error: (?P<text>.+)$",
    re.MULTILINE,
)
_POCL_ERROR = re.compile(
    r"^(?:fatal )?error: (?P<file>[^\n]*?):(?P<line>\d+):(?P<column>\d+): (?P<text>.+)$",
    re.MULTILINE,
)


class BufferPool:
    """Device buffers that are not in use, by size, so that repeated executions need not allocate."""

    def __init__(self, context: cl.Context) -> None:
        self._context = context
        self._free: dict[int, list[cl.Buffer]] = {}
        self._lock = Lock()

    def take(self, size_bytes: int) -> cl.Buffer:
        """A buffer of exactly `size_bytes`; its content is undefined."""
        with self._lock:
            free = self._free.get(size_bytes)
            if free:
                return free.pop()
        try:
            return cl.Buffer(self._context, cl.mem_flags.READ_WRITE, size_bytes)
        except cl.MemoryError:
            self.clear()
            return cl.Buffer(self._context, cl.mem_flags.READ_WRITE, size_bytes)

    def give_back(self, buffer: cl.Buffer) -> None:
        """Keep a buffer for the next `take`; no command may be using it any more."""
        with self._lock:
            self._free.setdefault(buffer.size, []).append(buffer)

    def clear(self) -> None:
        """Free every spare buffer."""
        with self._lock:
            spare = [buffer for free in self._free.values() for buffer in free]
            self._free.clear()
        for buffer in spare:
            buffer.release()


class OpenDevice:
    """A device that is ready to run kernels. `label` names it in messages."""

    def __init__(self, info: DeviceInfo, handle: cl.Device, label: str | None = None) -> None:
        self.info = info
        self.handle = handle
        self.label = info.label if label is None else label
        try:
            with signals_kept():
                self.context = cl.Context([handle])
                self.queue = cl.CommandQueue(
                    self.context, handle, cl.command_queue_properties.PROFILING_ENABLE
                )
        except cl.Error as error:
            raise DeviceError(f"{self.label} cannot be opened: {error}") from error
        number = self.context.int_ptr
        OWN_CONTEXTS.add(number)
        finalize(self, OWN_CONTEXTS.discard, number).atexit = False
        self.buffers = BufferPool(self.context)
        self._programs: dict[tuple[str, tuple[str, ...]], cl._cl._Program] = {}
        self._lock = Lock()

    def program(
        self, source: str, options: tuple[str, ...] = (), file_name: str = "<kernel>"
    ) -> cl._cl._Program:
        """The built program of this text and these options, from the cache where it was built before.

        Raises `BuildError` with the compiler's first error; `file_name` stands for the text in it.
        """
        key = (source, options)
        with self._lock:
            if key not in self._programs:
                self._programs[key] = self._build(source, options, file_name)
            return self._programs[key]

    def kernel(
        self, source: str, options: tuple[str, ...], name: str, file_name: str = "<kernel>"
    ) -> cl.Kernel:
        """A new kernel object, so that its arguments are the caller's own.

        Raises `BuildError`, or `KernelNotFoundError` when the program has no kernel of that name.
        """
        program = self.program(source, options, file_name)
        try:
            return cl.Kernel(program, name)
        except cl.Error as error:
            if "INVALID_KERNEL_NAME" not in str(error):
                raise BuildError(f"{self.label}: kernel {name!r}: {error}", self.label) from error
            names = ", ".join(_kernel_names(program)) or "none"
            raise KernelNotFoundError(
                f"no kernel {name!r} in {file_name}, which has: {names}"
            ) from error

    def _build(self, source: str, options: tuple[str, ...], file_name: str) -> cl._cl._Program:
        return build_program(self.context, self.handle, self.label, source, options, file_name)


def build_program(
    context: cl.Context,
    device: cl.Device,
    label: str,
    source: str,
    options: tuple[str, ...],
    file_name: str = "<kernel>",
) -> cl._cl._Program:
    """Build, or take the driver's binary from our cache on disk where the text was built before.

    pyopencl's own cache keeps a copy of each failing source in /tmp. The kernels' argument information is
    asked for, since `execute` checks arguments by it. Raises `BuildError` with the compiler's first error,
    in which `label` names the device.
    """
    if blank := next((option for option in options if any(map(str.isspace, option))), None):
        raise BuildError(
            f"build option {blank!r} holds a blank, which not every OpenCL driver takes: use a name "
            "without",
            label,
        )
    with signals_kept():
        return _built(context, device, label, source, options, file_name)


def _built(
    context: cl.Context,
    device: cl.Device,
    label: str,
    source: str,
    options: tuple[str, ...],
    file_name: str,
) -> cl._cl._Program:
    kept = Binary(device, source, options)
    if (found := kept.read()) is not None:
        with suppress(cl.Error):
            program = cl._cl._Program(context, [device], [found])
            program._build(b"", [device])
            return program
    program = cl._cl._Program(context, source)
    try:
        program._build(os.fsencode(" ".join((*options, "-cl-kernel-arg-info"))), [device])
    except cl.Error as error:
        try:
            log = program.get_build_info(device, cl.program_build_info.LOG)
        except cl.Error:
            log = ""
        message = first_build_error(str(log), file_name) or str(error)
        raise BuildError(f"{label}: {message}", label) from error
    with suppress(cl.Error):
        if not kept.is_kept:
            # Asked for its binary, PoCL compiles every kernel anew.
            return program
        # pyopencl declares bytes where OpenCL gives one binary for each device.
        binaries = cast(list[bytes], program.get_info(cl.program_info.BINARIES))
        kept.write(binaries[0])
    return program


@dataclass(frozen=True, slots=True)
class OpenPair:
    """The two roles, opened: `devices[0]` plays CPU, `devices[1]` plays GPU; notes for the user."""

    pair: DevicePair
    devices: tuple[OpenDevice, OpenDevice]
    notes: tuple[str, ...]


def open_pair(cpu: str | int | None = None, gpu: str | int | None = None) -> OpenPair:
    """Discover, give out the roles (selectors, else `LB_CPU` and `LB_GPU`, else by rule) and open both.

    Raises `DeviceError` when there is no device, or a selector does not fit.
    """
    found = discover()
    chosen = choose_pair(found.devices, *requested(cpu, gpu, os.environ))
    opened = open_devices(chosen)
    return OpenPair(opened.pair, opened.devices, found.notes + opened.notes)


def open_devices(pair: DevicePair) -> OpenPair:
    """Open the devices of a pair, cutting one device in two where the pair says so.

    A driver that refuses to cut its device gets two queues instead, and a note says so.
    """
    handles = device_handles()
    if pair.cut is Cut.NONE:
        return OpenPair(
            pair,
            (
                OpenDevice(pair.cpu, handles[pair.cpu.index]),
                OpenDevice(pair.gpu, handles[pair.gpu.index]),
            ),
            (),
        )
    whole = handles[pair.cpu.index]
    halves = [whole, whole]
    notes: tuple[str, ...] = ()
    if pair.cut is not Cut.QUEUES:
        try:
            halves = whole.create_sub_devices(_partition(pair))[:2]
        except cl.Error as error:
            notes = (
                f"{pair.cpu.label} cannot be cut ({error}): two queues on it are used instead",
            )
    first, second = (
        OpenDevice(pair.cpu, half, f"{pair.cpu.label}, half {number} of 2")
        for number, half in enumerate(halves, start=1)
    )
    return OpenPair(pair, (first, second), notes)


def first_build_error(log: str, file_name: str) -> str:
    """The first error of a build log as `file:line:column: error: text`; empty where there is none.

    A name that the driver gave to the text is replaced by `file_name`; names of includes stay.
    """
    found = [match for match in (_CLANG_ERROR.search(log), _POCL_ERROR.search(log)) if match]
    if found:
        first = min(found, key=lambda match: match.start())
        where = file_name if _DRIVER_FILE_NAME.fullmatch(first["file"]) else first["file"]
        return f"{where}:{first['line']}:{first['column']}: error: {first['text'].strip()}"
    lines = [line.strip() for line in log.splitlines()]
    named = [line.lower() for line in lines]
    for number, line in enumerate(lines):
        if "error" in named[number] or "option" in named[number]:
            following = lines[number + 1] if number + 1 < len(lines) else ""
            return f"{line} {following}".strip() if line.endswith(":") else line
    return ""


def _partition(pair: DevicePair) -> list[cl.device_partition_property]:
    """The properties for `clCreateSubDevices` that make two halves (OpenCL 1.2, section 4.3)."""
    half = pair.cpu.compute_units // 2
    # pyopencl declares enumeration members, but takes the counts among them as OpenCL does.
    values: list[object]
    if pair.cut is Cut.EQUALLY:
        values = [cl.device_partition_property.EQUALLY, half]
    else:
        values = [cl.device_partition_property.BY_COUNTS, half, pair.cpu.compute_units - half, 0]
    return values  # type: ignore[return-value]  # counts are among the members


def _kernel_names(program: cl._cl._Program) -> list[str]:
    names = str(program.get_info(cl.program_info.KERNEL_NAMES))
    return [name for name in names.split(";") if name]
