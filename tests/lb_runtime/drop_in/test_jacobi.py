"""`examples/jacobi.py`, which knows nothing of us: split, it leaves the same bytes and moves two rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lb_runtime.analysis.verdict import Merge, Splittable
from lb_runtime.arguments import bind
from lb_runtime.contexts import OpenPair
from lb_runtime.devices import discover
from lb_runtime.judged import judged
from lb_runtime.kernel import launch_range, look_at
from lb_runtime.launch import Launch

EXAMPLE = Path(__file__).parents[3] / "examples" / "jacobi.py"
COLUMNS, ROWS = 192, 104
ROW_BYTES = 4 * COLUMNS
"""Of a halo row: the frame's cells in it never change."""
LIMIT_SECONDS = 60
POCL = "Portable Computing Language"


def environment(**settings: str) -> dict[str, str]:
    """This process's variables without settings of ours, the program on PoCL, and these."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("LB_")}
    return {**others, "PYOPENCL_CTX": POCL, **settings}


def solved(folder: Path, iterations: int, *before: str, **settings: str) -> dict[str, Any]:
    """What the example prints, with its grid, and the report of a run under `lb exec`."""
    sizes = [f"--columns={COLUMNS}", f"--rows={ROWS}", f"--iterations={iterations}"]
    done = subprocess.run(
        [sys.executable, *before, str(EXAMPLE), *sizes, "--json", "--output=grid.npy"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=True,
        env=environment(**settings),
    )
    found: dict[str, Any] = json.loads(done.stdout)
    found["grid"] = np.load(folder / "grid.npy")
    if before:
        found["report"] = json.loads((folder / "report.json").read_text())
    return found


def split(folder: Path, iterations: int, gpu: str) -> dict[str, Any]:
    """The same with every launch split in the middle; the report must tell that all were."""
    exec_it = ("-m", "lb_runtime", "--report-json=report.json")
    settings = {"LB_FORCE": "1", "LB_SHARE": "0.5", "LB_CPU": POCL, "LB_GPU": gpu}
    found = solved(folder, iterations, *exec_it, **settings)
    assert found["report"]["split"] == found["report"]["launches"] == iterations
    assert found["report"]["faults"] == []
    return found


@pytest.mark.parametrize("gpu", [POCL, "Intel(R) OpenCL"])
def test_the_same_bytes_and_two_halo_rows_an_iteration(tmp_path: Path, gpu: str) -> None:
    if gpu not in {device.platform_name for device in discover().devices}:
        pytest.skip(f"platform {gpu} is not installed")
    stock = solved(tmp_path, 30)
    few, many = split(tmp_path, 10, gpu), split(tmp_path, 30, gpu)
    assert many["grid"].tobytes() == stock["grid"].tobytes()
    assert many["sha256"] == stock["sha256"]
    for way in ("bytes_to_mirror", "bytes_home"):
        moved = many["report"][way] - few["report"][way]
        # But for the cells at the edges, which nobody needs.
        assert 20 * (ROW_BYTES - 8) <= moved <= 20 * ROW_BYTES, way


FORGETS_HALOS = """
from lb_runtime.cli.main import main
from lb_runtime.memory.byte_map import ByteMap
lacking = ByteMap.lacking
ByteMap.lacking = lambda *given: [each for each in lacking(*given) if each[1] - each[0] > {}]
main({})
"""


def test_a_map_that_forgets_halo_rows_is_seen(tmp_path: Path) -> None:
    stock = solved(tmp_path, 10)
    sizes = [f"--columns={COLUMNS}", f"--rows={ROWS}", "--iterations=10", "--json"]
    arguments = ["exec", str(EXAMPLE), *sizes]
    checksums = {}
    for longest in (0, ROW_BYTES):
        done = subprocess.run(
            [sys.executable, "-c", FORGETS_HALOS.format(longest, arguments)],
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=True,
            env=environment(LB_FORCE="1", LB_SHARE="0.5", LB_CPU=POCL, LB_GPU=POCL),
        )
        checksums[longest] = json.loads(done.stdout)["sha256"]
    assert checksums[0] == stock["sha256"]
    assert checksums[ROW_BYTES] != stock["sha256"]


def test_splitting_it_needs_no_leave_to_differ(pair: OpenPair) -> None:
    """It can be split in exact mode, with exact ranges: the kernel was written for that."""
    sys.path.insert(0, str(EXAMPLE.parent))
    try:
        import jacobi  # type: ignore[import-not-found]  # an example, not a package
    finally:
        sys.path.remove(str(EXAMPLE.parent))
    kernel = look_at(jacobi.KERNEL, (), "jacobi")
    old, new = np.zeros((2, ROWS, COLUMNS), np.float32)
    bound, _ = bind(kernel.facts, (old, new, np.int32(COLUMNS), np.int32(ROWS)))
    rounded = tuple(-(-n // group) * group for n, group in zip((COLUMNS, ROWS), jacobi.GROUP))
    nd_range = launch_range(kernel, rounded, jacobi.GROUP, None)
    launch = Launch("jacobi", nd_range, bound)
    infos = [device.info for device in pair.devices]
    verdict, _ = judged(kernel, launch, 0.5, infos, exact=True)
    assert isinstance(verdict, Splittable)
    assert verdict.dimension == 1
    old_rows, new_rows = verdict.arguments[:2]
    assert (old_rows.merge, new_rows.merge) == (Merge.NONE, Merge.RANGE)
    parts = [footprint.leaves for footprint in new_rows.footprints]
    needed = [footprint.needs for footprint in old_rows.footprints]
    assert not parts[0].overlaps(parts[1])
    # A row further than its own, but for the cells at the edges.
    for reach in (needed[0].stop - parts[0].stop, parts[1].start - needed[1].start):
        assert 4 * (COLUMNS - 2) <= reach <= 4 * COLUMNS
