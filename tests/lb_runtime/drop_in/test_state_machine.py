"""Random pyopencl programs leave the bytes that plain pyopencl leaves, every split forced.

A program is run by pyopencl and, call by call, by numpy (`tests/random_programs`); the runtime checks
itself after each call. `pytest --programs N` tries N programs that are not the same each time.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyopencl as cl
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test
from random_programs.kernels import BY_NAME, KERNELS, Kernel, Range
from random_programs.machine import ProgramMachine, random_bytes
from random_programs.world import Box, DifferenceError, Handle, Programs, World

import lb_runtime
from lb_runtime import judged
from lb_runtime.contexts import OpenPair
from lb_runtime.devices import device_handles
from lb_runtime.dropin.arguments import BufferRef
from lb_runtime.dropin.memories import Memory
from lb_runtime.dropin.touches import COMMANDS
from lb_runtime.dropin.world import World as ContextWorld
from lb_runtime.intercept import InstalledRuntime
from lb_runtime.memory.byte_map import ByteMap, Place
from lb_runtime.prelude import Adapted
from lb_runtime.settings import Mode, Settings

CI_PROGRAMS = 12
STEPS = 30


@dataclass(frozen=True)
class Setup:
    """Which device the program runs on, and how its launches are split."""

    user: int
    settings: Settings


def forced(pair: OpenPair, share: float, mode: Mode = "on") -> Settings:
    """Every launch split at a share."""
    cpu, gpu = (str(device.info.index) for device in pair.devices)
    return Settings(mode=mode, force=True, share=share, cpu=cpu, gpu=gpu)


PROGRAMS: dict[int, Programs] = {}


def programs_on(device: int) -> Programs:
    """A context on a device, by its index, with what was built in it before."""
    if device not in PROGRAMS:
        PROGRAMS[device] = Programs(cl.Context([device_handles()[device]]))
    return PROGRAMS[device]


@pytest.fixture(params=["one device twice", "PoCL beside Intel", "Intel beside PoCL"])
def setup(request: pytest.FixtureRequest) -> Setup:
    """Both drivers play the program's device and the other one; each share leaves both a part."""
    if request.param == "one device twice":
        pair = request.getfixturevalue("halves")
        return Setup(pair.devices[0].info.index, forced(pair, 0.5))
    pair = request.getfixturevalue("intel_pair")
    user = 0 if request.param.startswith("PoCL") else 1
    return Setup(pair.devices[user].info.index, forced(pair, 0.3 if user else 0.6))


@pytest.fixture
def halved(halves: OpenPair) -> Setup:
    """The program's device is the other one, too: there on any machine."""
    return Setup(halves.devices[0].info.index, forced(halves, 0.5))


@contextmanager
def installed(settings: Settings) -> Iterator[InstalledRuntime]:
    """The runtime, which must not have failed in anything at the end."""
    with lb_runtime.install(settings) as runtime:
        yield runtime
    assert not runtime.report().faults


def run_programs(
    setup: Setup,
    check: Callable[[], None],
    programs: int,
    *,
    derandomize: bool = True,
    phases: tuple[Phase, ...] = (Phase.generate, Phase.shrink),
) -> None:
    """Run random programs; the first that is wrong is made as short as can be, and fails."""

    class Machine(ProgramMachine):
        programs = programs_on(setup.user)
        check_runtime = staticmethod(check)

    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # Hypothesis gives it no types
        Machine,
        settings=settings(
            max_examples=programs,
            stateful_step_count=STEPS,
            derandomize=derandomize,
            phases=phases,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_random_programs_leave_the_bytes_of_plain_pyopencl(
    setup: Setup, request: pytest.FixtureRequest
) -> None:
    programs = request.config.getoption("--programs")
    with installed(setup.settings) as runtime:
        run_programs(setup, runtime._check, programs or CI_PROGRAMS, derandomize=not programs)
        assert runtime.report().split > runtime.report().launches / 8


@pytest.mark.parametrize("mode", ["off", "observe"])
def test_random_programs_leave_the_same_where_nothing_is_split(halved: Setup, mode: Mode) -> None:
    """What numpy says is what plain pyopencl does."""
    with installed(replace(halved.settings, mode=mode)) as runtime:
        run_programs(halved, runtime._check, CI_PROGRAMS)
        assert runtime.report().split == 0


# Programs that are the same each time.


def words(world: World, seed: int, count: int) -> Handle:
    return world.create(random_bytes(seed, 4 * count))


def three_times(world: World, kernel: Kernel) -> None:
    """Launch a kernel on what it left before, and on what the host wrote between."""
    if kernel.dimensions == 2:
        n, s, launched = 16, 6, Range((16, 6), (4, 2), (0, 0))
    else:
        # A loop over a grid goes round more than once.
        size = 40 if kernel.name.startswith("grid_") else 104
        n, s, launched = 100, 7, Range((size,), (8,), (0,))
    handles = [words(world, seed, kernel.words(n, s)) for seed, _ in enumerate(kernel.roles)]
    for round_ in range(3):
        world.launch(kernel.name, handles, n, s, launched)
        world.write(handles[0], 16 * round_, random_bytes(round_, 40))
        world.read(handles[-1], 8, 4 * (kernel.words(n, s) - 1))
    world.compare()


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_each_kernel_is_split_or_declined_as_stated(setup: Setup, kernel: Kernel) -> None:
    with installed(setup.settings) as runtime:
        three_times(World(programs_on(setup.user), runtime._check), kernel)
    (report,) = runtime.report().kernels
    assert report.launches == 3
    assert report.split == (3 if kernel.splits else 0), report.passed


EVENT_DROPPED = """
import faulthandler, sys
import numpy as np
import pyopencl as cl
import lb_runtime
from lb_runtime.devices import device_handles
from lb_runtime.settings import Settings

faulthandler.dump_traceback_later(60, exit=True)
user, way = int(sys.argv[1]), sys.argv[2]
context = cl.Context([device_handles()[user]])
queue = cl.CommandQueue(context)
with lb_runtime.install(Settings(force=True, share=0.5, cpu=str(user), gpu=str(user))) as runtime:
    kernel = cl.Program(context, '''
        kernel void slow(global uint* a) {
            uint i = get_global_id(0), sum = a[i];
            for (int j = 0; j < 30000; j++) sum = sum * 3 + i;
            a[i] = sum;
        }''').build().slow
    host = np.ones(4096, np.uint32)
    buffer = cl.Buffer(context, cl.mem_flags.COPY_HOST_PTR, hostbuf=host)
    for _ in range(10):
        kernel(queue, (4096,), (8,), buffer)
        if way == "read":
            cl.enqueue_copy(queue, host, buffer, is_blocking=False)
        else:
            cl.enqueue_copy(queue, buffer, host, is_blocking=False)
    queue.finish()
    assert runtime.report().split == 10
"""


@pytest.mark.parametrize("way", ["read", "write"])
def test_the_event_of_a_copy_behind_a_split_launch_may_be_dropped(halved: Setup, way: str) -> None:
    """Deleting it waits for the copy, by pyopencl's own code, which lets no other thread run meanwhile."""
    done = subprocess.run(
        [sys.executable, "-c", EVENT_DROPPED, str(halved.user), way],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


WHOLE = Range((256,), (8,), (0,))
BOX, REGION = Box((8, 2, 0), (64, 1024)), (40, 10, 1)
HOST_BOX = Box((0, 0, 0), (40, 400))


def read(world: World, here: Handle, other: Handle) -> None:
    world.read(here, 0, here.size)


def write(world: World, here: Handle, other: Handle) -> None:
    world.write(here, 100, random_bytes(5, 800))


def copy(world: World, here: Handle, other: Handle) -> None:
    world.copy(here, 0, other, 0, here.size)


def copy_into(world: World, here: Handle, other: Handle) -> None:
    world.copy(other, 0, here, 100, 800)


def read_box(world: World, here: Handle, other: Handle) -> None:
    world.read_box(here, BOX, 400, HOST_BOX, REGION)


def write_box(world: World, here: Handle, other: Handle) -> None:
    world.write_box(here, BOX, random_bytes(5, 400), HOST_BOX, REGION)


def copy_box(world: World, here: Handle, other: Handle) -> None:
    world.copy_box(here, BOX, other, BOX, REGION)


def copy_box_into(world: World, here: Handle, other: Handle) -> None:
    world.copy_box(other, BOX, here, BOX, REGION)


def fill(world: World, here: Handle, other: Handle) -> None:
    world.fill(here, random_bytes(5, 4), 100, 800)


def map_to_read(world: World, here: Handle, other: Handle) -> None:
    world.map(here, 0, here.size, cl.map_flags.READ, 0, blocking=True)
    world.unmap(random_bytes(5, here.size))


def from_image(world: World, here: Handle, other: Handle) -> None:
    world.through_image(other, 0, here, 100, (20, 10))


def to_image(world: World, here: Handle, other: Handle) -> None:
    world.through_image(here, 100, other, 0, (20, 10))


Command = Callable[[World, Handle, Handle], None]
EACH_COMMAND: list[tuple[str, Command]] = [
    ("_enqueue_read_buffer", read),
    ("_enqueue_write_buffer", write),
    ("_enqueue_copy_buffer", copy),
    ("_enqueue_copy_buffer", copy_into),
    ("_enqueue_read_buffer_rect", read_box),
    ("_enqueue_write_buffer_rect", write_box),
    ("_enqueue_copy_buffer_rect", copy_box),
    ("_enqueue_copy_buffer_rect", copy_box_into),
    ("_enqueue_fill_buffer", fill),
    ("enqueue_map_buffer", map_to_read),
    ("_enqueue_copy_image_to_buffer", from_image),
    ("_enqueue_copy_buffer_to_image", to_image),
]


def between_launches(setup: Setup, command: Command, *, checked: bool = True) -> None:
    """A command on a buffer of which each device holds a part, and a launch on what it left."""
    with lb_runtime.install(setup.settings) as runtime:
        world = World(programs_on(setup.user), runtime._check if checked else lambda: None)
        here, other = words(world, 1, 256), words(world, 2, 256)
        world.launch("in_place", [here], 256, 3, WHOLE)
        command(world, here, other)
        world.launch("in_place", [here], 256, 3, WHOLE)
        world.compare()
        assert runtime.report().split == 2


@pytest.mark.parametrize(("name", "command"), EACH_COMMAND)
def test_a_command_that_does_not_ask_the_map_is_caught(
    halved: Setup, name: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    between_launches(halved, command)
    monkeypatch.setitem(COMMANDS, name, lambda *given, **named: ([], []))
    with pytest.raises(DifferenceError):
        between_launches(halved, command)


def test_every_command_that_moves_bytes_has_such_a_program() -> None:
    """Migrating alone changes nothing that a program could see."""
    assert {name for name, _ in EACH_COMMAND} == set(COMMANDS) - {"enqueue_migrate_mem_objects"}


@pytest.mark.parametrize("name", ["grid_sums", "stamp", "tiles"])
def test_a_text_that_is_not_adapted_to_parts_is_caught(
    halved: Setup, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The naive splitter: an offset launch of the program's own text."""

    def naive(source: str, options: tuple[str, ...], *_: object) -> Adapted:
        return Adapted(source, options)

    monkeypatch.setattr(judged, "adapt", naive)
    with lb_runtime.install(halved.settings), pytest.raises(DifferenceError):
        three_times(World(programs_on(halved.user)), BY_NAME[name])


X_BYTES = 1028
"""The size of the buffer whose map forgets, which no other has."""


def in_place(world: World, x: Handle, index: Handle) -> None:
    world.launch("in_place", [x], 256, 3, WHOLE)


def declined(world: World, x: Handle, index: Handle) -> None:
    world.launch("volatile_add", [x], 256, 3, WHOLE)


def atomics(world: World, x: Handle, index: Handle) -> None:
    world.launch("histogram", [index, x], 256, 3, WHOLE)


def scattered(world: World, x: Handle, index: Handle) -> None:
    world.launch("shifted", [index, x], 256, 3, WHOLE)


def copy_from(world: World, x: Handle, index: Handle) -> None:
    world.copy(index, 0, x, 0, index.size)


STEPS_ON_X: list[tuple[Command, tuple[Place, ...]]] = [
    (in_place, (Place.USER, Place.MIRROR)),
    (write, (Place.USER,)),
    (in_place, (Place.USER, Place.MIRROR)),
    (fill, (Place.USER,)),
    (declined, (Place.USER,)),
    (copy_from, (Place.USER,)),
    (atomics, (Place.USER,)),
    (scattered, (Place.USER,)),
]
"""What writes the buffer, and where its newest bytes are afterwards."""


class Forgetful:
    """The map of what is where forgets what one place writes of the buffer of `X_BYTES` in one step."""

    def __init__(self, step: int, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        self.step = -1
        self.forgotten = 0
        begin, real = Memory.__init__, ByteMap.wrote
        actual: list[ByteMap] = []

        def begin_watched(memory: Memory, ref: BufferRef) -> None:
            begin(memory, ref)
            if memory.size_bytes == X_BYTES:
                actual.append(memory.actual)

        def wrote(byte_map: ByteMap, where: Place, start: int, stop: int) -> None:
            if self.step == step and where is place and any(byte_map is a for a in actual):
                self.forgotten += 1
            else:
                real(byte_map, where, start, stop)

        monkeypatch.setattr(Memory, "__init__", begin_watched)
        monkeypatch.setattr(ByteMap, "wrote", wrote)


def looked_at_after_each_write(setup: Setup, forgetful: Forgetful) -> None:
    """Both devices and the host write a buffer in turn; after each, both devices and the host read it."""
    with lb_runtime.install(setup.settings):
        world = World(programs_on(setup.user))
        x = world.create(random_bytes(1, X_BYTES))
        index, seen = words(world, 2, 256), words(world, 4, 256)
        for step, (command, _) in enumerate([(lambda *given: None, ()), *STEPS_ON_X]):
            forgetful.step = step - 1
            command(world, x, index)
            world.launch("gather", [x, index, seen], 256, 3, WHOLE)
            world.read(seen, 0, seen.size)
            world.read(x, 0, x.size)


def test_the_program_that_finds_what_was_forgotten_is_right_where_nothing_is(
    halved: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at_after_each_write(halved, Forgetful(-2, Place.USER, monkeypatch))


@pytest.mark.parametrize(
    ("step", "place"),
    [(step, place) for step, (_, places) in enumerate(STEPS_ON_X) for place in places],
)
def test_a_map_that_forgets_one_write_is_caught_by_the_bytes(
    halved: Setup, step: int, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgetful = Forgetful(step, place, monkeypatch)
    with pytest.raises(DifferenceError):
        looked_at_after_each_write(halved, forgetful)
    assert forgetful.forgotten


SEEN = (DifferenceError, Flaky)
"""What random programs end with that are wrong; a race that is lost now and then is told as flaky."""


def test_writes_of_the_host_that_nobody_notes_are_caught_by_random_programs(
    halved: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ContextWorld, "_wrote_at_home", lambda *given: None)
    with lb_runtime.install(halved.settings), pytest.raises(SEEN):
        run_programs(halved, lambda: None, 100, phases=(Phase.generate,))


def test_reads_that_bring_nothing_home_are_caught_by_random_programs(
    halved: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ContextWorld, "pull", lambda *given: None)
    with lb_runtime.install(halved.settings), pytest.raises(SEEN):
        run_programs(halved, lambda: None, 100, phases=(Phase.generate,))
