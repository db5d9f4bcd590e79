"""A driver that is loaded beside a program's takes none of its signal handlers away."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lb_runtime.contexts import OpenPair

PROGRAM = """
import numpy as np
import pyopencl as cl
import lb_runtime
from lb_runtime import contexts
from lb_runtime.settings import Settings

if MUTANT:
    from contextlib import nullcontext
    contexts.signals_kept = nullcontext
runtime = lb_runtime.install(Settings(force=True, share=0.5))
device = next(p for p in cl.get_platforms() if "Portable" in p.name).get_devices()[0]
context = cl.Context([device])
queue = cl.CommandQueue(context)
source = "kernel void f(global int *a, global const int *b) { int i = get_global_id(0); a[i] = a[i] / b[i]; }"
kernel = cl.Kernel(cl.Program(context, source).build(), "f")
flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
content = np.arange(65536, dtype=np.int32)
divisor = content % 7
a, b = (cl.Buffer(context, flags, hostbuf=each) for each in (content, divisor.astype(np.int32)))
kernel(queue, (65536,), (64,), a, b)
result = np.empty_like(content)
cl.enqueue_copy(queue, result, a)
usable = divisor != 0
assert (result[usable] == content[usable] // divisor[usable]).all()
report = runtime.report()
assert (report.split, report.faults) == (1, ()), report
print("survived")
"""


@pytest.mark.parametrize("is_mutant", [False, True])
def test_a_division_by_zero_is_survived_as_without_us(
    intel_pair: OpenPair, is_mutant: bool
) -> None:
    """PoCL's handler skips it. Without our care Intel's driver, opened as the mirror, ends the process."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"MUTANT = {is_mutant}\n{PROGRAM}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode == 0) != is_mutant, done.stderr
    assert ("survived" in done.stdout) != is_mutant
