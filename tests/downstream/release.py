"""The source release of the installed pyopencl: fetched by pip, unpacked once into the cache folder.

pip is asked rather than a server, so that the index, the proxy and the certificates are the user's. Before
it hands out a source release, pip asks the release's build system for its metadata, which takes
scikit-build-core (of the extra `downstream`) and no compiler.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from predictor.frontend import cache_folder

FETCH_SECONDS = 300
KEPT_FOLDERS = ("test", "examples")
KEPT_FILES = ("LICENSE", "pyproject.toml")
"""The latter tells pytest the markers of the tests. The package is left out: the installed one is tested."""


class ReleaseError(Exception):
    """The source release is not to be had; one line, with what pip said last."""


def installed_version() -> str:
    """The version of pyopencl that runs here."""
    return importlib.metadata.version("pyopencl")


def release_folder(version: str) -> Path:
    """The folder with pyopencl's `test/` and `examples/`; fetched where it is not yet at hand.

    Raises:
        ReleaseError: it cannot be fetched, or does not hold what is expected.
    """
    folder = cache_folder() / "downstream" / f"pyopencl-{version}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
        unpacked = Path(scratch) / "unpacked"
        unpack(_download(version, Path(scratch)), unpacked)
        try:
            unpacked.rename(folder)
        except OSError:
            # Another process was faster; what it put there is the same.
            if not folder.is_dir():
                raise
    return folder


def unpack(archive: Path, folder: Path) -> None:
    """Write the kept files of a source release to a new folder.

    Raises:
        ReleaseError: the archive lacks tests or examples.
    """
    with tarfile.open(archive) as release:
        for member in release.getmembers():
            parts = PurePosixPath(member.name).parts[1:]
            if not member.isfile() or not parts or ".." in parts:
                continue
            if parts[0] in KEPT_FOLDERS or parts in [(name,) for name in KEPT_FILES]:
                content = release.extractfile(member)
                assert content is not None
                path = folder.joinpath(*parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    shutil.copyfileobj(content, file)
    for name in KEPT_FOLDERS:
        if not (folder / name).is_dir():
            raise ReleaseError(f"{archive.name} holds no folder {name}/")


def _download(version: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)]
    command += ["--no-deps", "--no-build-isolation", "--no-binary", "pyopencl"]
    done = subprocess.run(
        [*command, f"pyopencl=={version}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=FETCH_SECONDS,
        check=False,
    )
    found = sorted(folder.glob("pyopencl-*.tar.gz"))
    if done.returncode == 0 and found:
        return found[0]
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    advice = 'is the extra installed (pip install "lb-runtime[downstream]"), and an index in reach?'
    raise ReleaseError(
        f"pip does not hand out the source release of pyopencl {version}: {advice} "
        f"Its last lines: {' / '.join(lines[-3:])}"
    )
