"""Fork, exit, garbage collection and sudden death with split work in flight: no crash, no hang.

Each program runs in a process of its own, with a limit on its time.
"""

from __future__ import annotations

import os
import platform
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
LIMIT_SECONDS = 60

BEGIN = """
import gc, os, sys, threading, time
import numpy as np
import pyopencl as cl
import lb_runtime
from drop_in_programs import ITEMS, PROGRAMS, Bench, pocl, repeated, swapped
from lb_runtime.settings import Settings

POCL = "Portable Computing Language"
lb_runtime.install(Settings(force=True, share=0.5, cpu=POCL, gpu=POCL))
"""

IN_FLIGHT = """
bench = Bench.on(pocl())
start = np.arange(ITEMS, dtype=np.int32)
buffer = bench.buffer(start)
gate = cl.UserEvent(bench.context)
kernel = bench.kernel("in_place")
LAUNCHES = 20
expected = start
for number in range(LAUNCHES):
    kernel(bench.queue, (ITEMS,), (64,), buffer, wait_for=[gate] if number == 0 else None)
    expected = expected * 3 + 1
bench.queue.flush()
"""
"""Launches that cannot begin before `gate` is complete."""


def run(
    program: str, *, limit: float = LIMIT_SECONDS, mode: str = "on", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. Raises `subprocess.TimeoutExpired` where it has none."""
    lines = BEGIN if mode == "on" else BEGIN.partition("POCL =")[0]
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", lines + program],
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
        env={**os.environ, "PYTHONPATH": str(TESTS), **variables},
    )


def check(done: subprocess.CompletedProcess[str], status: int = 0, output: str = "fine") -> None:
    assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert output in done.stdout, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    assert "Fatal" not in done.stderr, done.stderr


def test_the_launches_of_these_tests_are_in_flight_and_split() -> None:
    check(
        run(
            IN_FLIGHT
            + """
marker = cl.enqueue_marker(bench.queue)
assert marker.command_execution_status != cl.command_execution_status.COMPLETE
gate.set_status(cl.command_execution_status.COMPLETE)
bench.check(buffer, expected, "in place")
assert lb_runtime.report().split == LAUNCHES, lb_runtime.report().to_json()
print("fine")
"""
        )
    )


FIRST_USE = """
bench = Bench.on(pocl())
SOURCE = "kernel void ids(global int *a) { a[get_global_id(0)] = get_global_id(0); }"
ids = cl.Kernel(cl.Program(bench.context, SOURCE).build(), "ids")
other = cl.CommandQueue(bench.context)
expected = np.arange(1 << 21, dtype=np.int32)
for number in range(60):
    buffer = cl.Buffer(bench.context, cl.mem_flags.READ_WRITE, expected.nbytes)
    result = np.empty_like(expected)
    event = ids(bench.queue, expected.shape, (64,), buffer)
    cl.enqueue_copy(other, result, buffer, wait_for=[event])
    assert (result == expected).all()
print("fine")
"""
"""Each buffer's first commands are a split launch and a read, in two threads at a time."""
SLOW_ALLOCATION = {"MALLOC_PERTURB_": "85"}
"""The GNU C library fills what it allocates: where PoCL's threads meet there, they now do so surely."""


def test_a_buffer_may_be_read_while_a_launch_is_the_first_to_use_it() -> None:
    check(run(FIRST_USE, **SLOW_ALLOCATION))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="slows allocation by glibc's means")
def test_buffers_that_are_not_allocated_before_are_missed() -> None:
    """The mutant: PoCL is left to allocate in two threads."""
    mutant = (
        "from lb_runtime.dropin.conductor import Conductor\nConductor.allocate = lambda *_: None\n"
    )
    done = run(mutant + FIRST_USE, **SLOW_ALLOCATION)
    assert done.returncode != 0


# The end of a process


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("del bench, buffer, kernel; gc.collect()", 0),
        ("sys.stdout.flush(); os._exit(4)", 4),
    ],
    ids=["end", "exit", "collected", "at once"],
)
@pytest.mark.parametrize("is_open", [True, False], ids=["running", "stuck"])
def test_an_interpreter_ends_with_work_in_flight(ending: str, status: int, is_open: bool) -> None:
    """Work that can never begin must not be waited for, unless stock pyopencl waits for it as well."""
    program = (
        IN_FLIGHT
        + ("gate.set_status(cl.command_execution_status.COMPLETE)\n" if is_open else "")
        + f"print('fine')\n{ending}\n"
    )
    if not is_open:
        try:
            run(program, mode="off", limit=10)
        except subprocess.TimeoutExpired:
            pytest.skip("this driver waits at exit for what can never begin, without us too")
    check(run(program), status)


def test_an_exception_ends_a_program_as_ever() -> None:
    done = run(IN_FLIGHT + "gate.set_status(0)\nraise KeyError('mine')\n")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("KeyError: 'mine'")
    assert done.stderr.count("Traceback") == 1


def test_uninstalling_while_a_thread_launches_leaves_nothing_away() -> None:
    check(
        run(
            """
POCL = "Portable Computing Language"
failed, stop = [], threading.Event()

def work():
    try:
        bench = Bench.on(pocl())
        while not stop.is_set():
            repeated(bench)
            swapped(bench)
    except BaseException as error:
        failed.append(error)
        raise

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(8):
    time.sleep(0.15)
    lb_runtime.uninstall()
    time.sleep(0.02)
    lb_runtime.install(Settings(force=True, share=0.5, cpu=POCL, gpu=POCL))
stop.set()
for thread in threads:
    thread.join()
assert not failed
print("fine")
"""
        )
    )


# Fork


FORK = """
def child(action):
    sys.stdout.flush()
    number = os.fork()
    if number == 0:
        status = 9
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    return number

def wait(number):
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
"""


@pytest.mark.parametrize(
    "action",
    [
        "lambda: None",
        "lambda: gc.collect()",
        "lambda: lb_runtime.report().to_json()",
        "lambda: lb_runtime.uninstall()",
        "lambda: globals().pop('buffer') and gc.collect()",
    ],
    ids=["nothing", "collect", "report", "uninstall", "drop"],
)
def test_a_child_of_a_fork_ends_and_its_parent_goes_on(action: str) -> None:
    check(
        run(
            IN_FLIGHT
            + FORK
            + f"""
children = [child({action}) for _ in range(3)]
gate.set_status(cl.command_execution_status.COMPLETE)
children += [child({action}) for _ in range(3)]
assert [wait(number) for number in children] == [0] * 6
bench.check(buffer, expected, "in place")
repeated(Bench.on(pocl()))
print("fine")
"""
        )
    )


def test_a_forked_pool_works_beside_split_launches() -> None:
    """As programs load data: `multiprocessing` with its Linux default, children that use no OpenCL."""
    check(
        run(
            """
import multiprocessing

bench = Bench.on(pocl())
repeated(bench)
with multiprocessing.get_context("fork").Pool(2) as pool:
    for _ in range(3):
        found = pool.map_async(abs, range(-20, 0))
        repeated(bench)
        assert sum(found.get(timeout=30)) == 210
print("fine")
"""
        )
    )


# Garbage collection


def test_buffers_may_be_collected_while_launches_use_them() -> None:
    check(
        run(
            """
gc.set_threshold(7, 2, 2)
bench = Bench.on(pocl())
start = np.arange(ITEMS, dtype=np.int32)
for turn in range(30):
    one, other = bench.buffer(start), bench.buffer(start)
    bench.launch("in_place", one)
    bench.launch("straight", one, other)
    if turn % 3 == 0:
        gc.collect()
    del one
    bench.launch("in_place", other)
    if turn % 2:
        bench.check(other, ((start * 3 + 1) * 3 + start) * 3 + 1, f"turn {turn}")
    del other
bench.queue.finish()
print("fine")
"""
        )
    )


def test_a_context_may_be_collected_while_launches_are_in_flight() -> None:
    check(
        run(
            """
start = np.arange(ITEMS, dtype=np.int32)
for turn in range(8):
    bench = Bench.on(pocl())
    for _ in range(4):
        bench.launch("in_place", bench.buffer(start))
    del bench
    gc.collect()
repeated(Bench.on(pocl()))
print("fine")
"""
        )
    )


MANY_BUFFERS = """
bench = Bench.on(pocl())
kernel = bench.kernel("in_place")
size = 4 << 20
start = np.zeros(size, np.int32)

def turn():
    buffer = bench.buffer(start)
    kernel(bench.queue, (size,), (64,), buffer)
    bench.queue.finish()

def used():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") >> 20

for _ in range(60):
    turn()
before = used()
for _ in range(80):
    turn()
assert used() - before < 500, f"{used() - before} MiB more"
assert lb_runtime.report().split > 100
print("fine")
"""
"""2.5 GiB of buffers and of their copies after the first ones, of which one lives at a time."""


def test_memory_of_collected_buffers_is_given_back() -> None:
    check(run(MANY_BUFFERS))


def test_memory_that_is_never_given_back_is_caught() -> None:
    """Mutant: nobody looks for buffers that are gone."""
    mutant = """
from lb_runtime.dropin.world import World
World.sweep = lambda self: None
"""
    done = run(mutant + MANY_BUFFERS)
    assert done.returncode == 1
    assert "MiB more" in done.stderr


# Sudden death

TWO_THREADS = """
failed = []

def work(seed):
    try:
        bench = Bench.on(pocl())
        for _ in range(3):
            repeated(bench)
            swapped(bench)
    except BaseException as error:
        failed.append(error)
        raise

threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failed
print("fine")
"""


def test_two_threads_with_queues_of_their_own_come_to_an_end() -> None:
    check(run(TWO_THREADS))


@pytest.mark.slow
def test_a_program_killed_at_any_point_leaves_nothing_that_hangs() -> None:
    began = time.monotonic()
    check(run(TWO_THREADS))
    whole = time.monotonic() - began
    moments = random.Random(11)
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", BEGIN + TWO_THREADS],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        time.sleep(moments.uniform(0.02, whole))
        process.send_signal(signal.SIGKILL)
        # Its pipes are closed only when no child of it holds them any more.
        process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode in (-signal.SIGKILL, 0)
    check(run(TWO_THREADS))
