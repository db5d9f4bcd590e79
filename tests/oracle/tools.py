"""ProGraML's own graph builder and a compiler whose assembly it reads: fetched once into the cache folder.

`programl` 0.3.2 cannot be imported by the Pythons that this project supports, but its wheel holds the
program `llvm2graph-10`, which reads LLVM 10 assembly and wants the terminal library of older Debians.
Newer clangs write opaque pointers, which LLVM 10 does not know; clang 15, the one in `ziglang` 0.10.1, can
still be told not to. The project itself needs another `ziglang`, so both wheels are unpacked, not installed.
pip is asked rather than a server, so that the index, the proxy and the certificates are the user's.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from predictor.frontend import cache_folder

PROGRAML = "programl==0.3.2"
ZIGLANG = "ziglang==0.10.1.post1"
TERMINAL_LIBRARY = "libtinfo.so.5"
LIBRARY_VARIABLE = "LB_LIBTINFO5"
FETCH_SECONDS = 600


class ToolError(Exception):
    """A tool is not to be had; one line that says which, and what would help."""


@dataclass(frozen=True, slots=True)
class Tools:
    """`llvm2graph`: the program. `library_folder`: where it finds its library, empty for the system's.

    `zig`: the program that is a clang 15, too.
    """

    llvm2graph: Path
    library_folder: str
    zig: Path


def fetch_tools() -> Tools:
    """The tools, from the cache folder where they are there.

    Raises:
        ToolError: pip does not hand out a wheel, or the library is nowhere.
    """
    folder = cache_folder() / "oracle"
    folder.mkdir(parents=True, exist_ok=True)
    tools = Tools(
        _program(_programl_folder() or _unpacked_wheel(PROGRAML, folder), "llvm2graph-10"),
        _library_folder(folder),
        _program(_unpacked_wheel(ZIGLANG, folder), "zig"),
    )
    _run_once(tools)
    return tools


def _programl_folder() -> Path | None:
    """The package of the extra `programl`, where that is installed."""
    name, _, version = PROGRAML.partition("==")
    try:
        installed = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    return Path(str(installed.locate_file(name))) if installed.version == version else None


def _unpacked_wheel(requirement: str, folder: Path) -> Path:
    """The folder of a wheel's files; no dependencies, and nothing is installed."""
    unpacked = folder / requirement.replace("==", "-")
    if unpacked.is_dir():
        return unpacked
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", scratch]
        command += ["--no-deps", "--only-binary", ":all:", requirement]
        said = _run(
            command, f"pip does not hand out the wheel of {requirement}: is an index in reach?"
        )
        wheels = sorted(Path(scratch).glob("*.whl"))
        if not wheels:
            raise ToolError(f"pip leaves no wheel of {requirement}. Its last lines: {said}")
        content = Path(scratch) / "content"
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(content)
        _move(content, unpacked)
    return unpacked


def _program(folder: Path, name: str) -> Path:
    """The file of that name in a folder, made executable: wheels that are unzipped lose that."""
    found = next((path for path in sorted(folder.rglob(name)) if path.is_file()), None)
    if found is None:
        raise ToolError(f"{folder} holds no program {name}: remove the folder, and try again")
    if not os.access(found, os.X_OK):
        found.chmod(0o755)
    return found


def _library_folder(folder: Path) -> str:
    """A folder with the terminal library: named by the user, the system's, or of Debian's package."""
    named = os.environ.get(LIBRARY_VARIABLE, "")
    unpacked = folder / "libtinfo5"
    if named and not named.endswith(".deb"):
        return str(_holding(Path(named)))
    if not named and not unpacked.is_dir():
        try:
            ctypes.CDLL(TERMINAL_LIBRARY)
        except OSError:
            pass
        else:
            return ""
    if not unpacked.is_dir():
        missing = (
            f"{TERMINAL_LIBRARY} is missing, which llvm2graph-10 needs: install Debian's libtinfo5, "
            f"or name its .deb file or the library's folder by {LIBRARY_VARIABLE}"
        )
        if not shutil.which("dpkg-deb"):
            raise ToolError(f"{missing} (a .deb is opened by dpkg-deb, which is not here)")
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
            package = Path(named) if named else _debian_package(Path(scratch), missing)
            content = Path(scratch) / "content"
            _run(["dpkg-deb", "-x", str(package), str(content)], f"{package} cannot be opened")
            _move(content, unpacked)
    return str(_holding(unpacked))


def _debian_package(scratch: Path, missing: str) -> Path:
    if not shutil.which("apt-get"):
        raise ToolError(missing)
    _run(["apt-get", "download", "libtinfo5"], missing, scratch)
    found = sorted(scratch.glob("libtinfo5*.deb"))
    if not found:
        raise ToolError(missing)
    return found[0]


def _holding(folder: Path) -> Path:
    found = next(iter(sorted(folder.rglob(TERMINAL_LIBRARY))), None)
    if found is None:
        raise ToolError(
            f"{folder} holds no {TERMINAL_LIBRARY} ({LIBRARY_VARIABLE} names its folder)"
        )
    return found.parent


def _run_once(tools: Tools) -> None:
    """Both programs start here: a wheel may be of another processor, a library of another system."""
    environment = dict(os.environ, LD_LIBRARY_PATH=tools.library_folder)
    _run([str(tools.llvm2graph), "--version"], "llvm2graph-10 does not start", None, environment)
    _run([str(tools.zig), "version"], "zig 0.10.1 does not start")


def _move(content: Path, place: Path) -> None:
    try:
        content.rename(place)
    except OSError:
        # Another process was faster; what it put there is the same.
        if not place.is_dir():
            raise


def _run(
    command: list[str],
    complaint: str,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
) -> str:
    """Run a program; what it said last, or ToolError with the complaint and that."""
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=environment,
            timeout=FETCH_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{complaint} ({error})") from error
    said = " / ".join([line for line in done.stdout.splitlines() if line.strip()][-3:])
    if done.returncode:
        raise ToolError(f"{complaint} Its last lines: {said}")
    return said
