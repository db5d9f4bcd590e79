"""Fixtures that several test files share: the machine's devices, opened once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lb_runtime.contexts import OpenPair, open_pair
from lb_runtime.devices import discover


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--fuzz N`: how many generated kernels to try, other ones each time (`--hypothesis-seed` repeats).

    `--programs N`: the same for random programs that the drop-in runs.
    `--downstream`: run `tests/downstream`, too, which needs the extra of that name and many minutes.
    `--oracle`: compare graphs with ProGraML's own, whose builder and compiler (150 MB) are fetched once.
    """
    parser.addoption(
        "--oracle",
        action="store_true",
        help="fetch ProGraML's own graph builder and compare its graphs with this project's",
    )
    parser.addoption(
        "--downstream",
        action="store_true",
        help="fetch pyopencl's source release and run its tests and examples with the drop-in",
    )
    parser.addoption(
        "--fuzz",
        type=int,
        default=0,
        metavar="N",
        help="try N generated kernels, other ones each time, instead of the 200 that are always the same",
    )
    parser.addoption(
        "--programs",
        type=int,
        default=0,
        metavar="N",
        help="run N random pyopencl programs with the drop-in, other ones each time, instead of a few",
    )


@pytest.fixture(scope="session", autouse=True)
def data_folder_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What was measured on this machine changes no test, and no test changes what was measured."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("data") / "lb-runtime"
        patch.setenv("LB_DATA_DIR", str(folder))
        # For processes that are started without any variable of ours: the same folder.
        patch.setenv("XDG_DATA_HOME", str(folder.parent))
        folder.mkdir()
        yield


@pytest.fixture(autouse=True)
def no_history(data_folder_of_the_tests: None) -> None:
    """No test begins where another one has ended."""
    Path(os.environ["LB_DATA_DIR"], "history.sqlite").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def pair() -> OpenPair:
    """Whatever this machine has: two devices, or one cut in two."""
    return open_pair()


@pytest.fixture(scope="session")
def halves() -> OpenPair:
    """PoCL's device cut in two: the same compiler on both sides, so that every bit must agree."""
    pocl = next((d for d in discover().devices if d.is_pocl), None)
    if pocl is None:
        pytest.skip("PoCL is not installed")
    return open_pair(cpu=str(pocl.index), gpu=str(pocl.index))


@pytest.fixture(scope="session")
def intel_pair() -> OpenPair:
    """PoCL as the CPU and Intel's driver as the GPU: two compilers that do not share a line."""
    platforms = {device.platform_name for device in discover().devices}
    for wanted in ("Intel(R) OpenCL", "Portable Computing Language"):
        if wanted not in platforms:
            pytest.skip(f"platform {wanted} is not installed")
    return open_pair(cpu="Portable Computing Language", gpu="Intel(R) OpenCL")


@pytest.fixture(scope="session")
def non_uniform_halves() -> OpenPair:
    """A device that runs smaller last work-groups, cut in two."""
    able = next((d for d in discover().devices if d.usable and d.non_uniform_groups), None)
    if able is None:
        pytest.skip("no device here runs non-uniform work-groups")
    return open_pair(cpu=str(able.index), gpu=str(able.index))
