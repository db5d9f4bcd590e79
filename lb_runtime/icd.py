"""Makes Intel's OpenCL driver from PyPI (`intel-opencl-rt`) visible to the OpenCL ICD loader.

The `.icd` file that the wheel ships names a folder of the machine it was built on, so the loader skips
the driver. The loader reads `OCL_ICD_VENDORS` at the first platform query: before it, we point the
variable at a folder of our own, which names the library by its absolute path. Entries of the system's
and of the environment's own vendor folders are carried over, and the loader of `pyopencl[pocl]` finds
PoCL beside itself whatever the variable says. A variable that the user has set is left alone.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import platformdirs

from lb_runtime.records import dataclass

INTEL_DRIVER = "intel-opencl-rt"
INTEL_DRIVER_NEEDS = "intel-cmplr-lib-rt"
INTEL_LIBRARY = "libintelocl.so"
VENDORS_VARIABLE = "OCL_ICD_VENDORS"
USER_VARIABLES = (VENDORS_VARIABLE, "OPENCL_VENDOR_PATH")


@dataclass(frozen=True, slots=True)
class DriverSetup:
    """What was done: the vendors folder now in use (None where nothing was set), and notes to show.

    `adds_intel` tells that Intel's driver would not have been found without this call.
    """

    vendors_folder: Path | None
    notes: tuple[str, ...]
    adds_intel: bool = False


def make_drivers_visible(
    environment: MutableMapping[str, str] | None = None, cache_folder: Path | None = None
) -> DriverSetup:
    """Point `OCL_ICD_VENDORS` at a folder that names Intel's driver, where it is installed.

    Call it before the first platform query of the process; calling it again changes nothing. A cache
    that cannot be written is reported as a note, since every other driver still works without it.
    """
    if environment is None and _done is not None:
        return _done
    variables = os.environ if environment is None else environment
    library = intel_library()
    if library is None:
        return DriverSetup(None, ())
    notes = _dependency_notes()
    folder = _vendors_folder(cache_folder)
    if variables.get(VENDORS_VARIABLE) == str(folder):
        return DriverSetup(folder, notes)
    if user_variable := _set_by_user(variables):
        note = (
            f"{INTEL_DRIVER} is installed, but {user_variable} is set: drivers are taken from there"
        )
        return DriverSetup(None, (*notes, note))
    entries = {"intel.icd": str(library), **carried_entries(_system_vendor_folders())}
    try:
        _write_entries(folder, entries)
    except OSError as error:
        note = f"{INTEL_DRIVER} is installed, but {folder} cannot be written ({error.strerror})"
        return DriverSetup(None, (*notes, note))
    variables[VENDORS_VARIABLE] = str(folder)
    return DriverSetup(folder, notes, not _is_intel_known(_system_vendor_folders()))


_done: DriverSetup | None = None


@contextmanager
def drivers_of_this_process() -> Iterator[DriverSetup]:
    """`make_drivers_visible` for this process alone: what it starts finds the environment as it was.

    The first platform query must be made inside the context.
    """
    global _done
    before = os.environ.get(VENDORS_VARIABLE)
    setup = make_drivers_visible()
    try:
        yield setup
    finally:
        _done = setup
        if before is None:
            os.environ.pop(VENDORS_VARIABLE, None)
        else:
            os.environ[VENDORS_VARIABLE] = before


def _is_intel_known(folders: Iterable[Path]) -> bool:
    """Whether a vendors folder names a copy of Intel's driver that is there."""
    for folder in folders:
        for path in folder.glob("*.icd"):
            try:
                target = Path(path.read_text().split("\n")[0].strip())
            except (OSError, UnicodeDecodeError):
                continue
            if target.name.startswith(INTEL_LIBRARY) and (
                not target.is_absolute() or target.exists()
            ):
                return True
    return False


def intel_library() -> Path | None:
    """The absolute path of `libintelocl.so` of the running environment, or None."""
    try:
        files = metadata.files(INTEL_DRIVER) or []
    except metadata.PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in files if file.name == INTEL_LIBRARY]
    found.append(Path(sys.prefix) / "lib" / INTEL_LIBRARY)
    return next((path.resolve() for path in found if path.is_file()), None)


def carried_entries(folders: Iterable[Path]) -> dict[str, str]:
    """The usable entries of existing vendor folders: new file name -> the library that it names.

    An entry is usable when it names a bare library (the linker finds it) or an absolute path that
    exists; another copy of Intel's CPU driver is left out, so that the device does not appear twice.
    """
    entries: dict[str, str] = {}
    libraries: set[str] = set()
    for folder in folders:
        for path in sorted(folder.glob("*.icd")):
            try:
                lines = path.read_text().split("\n")
            except (OSError, UnicodeDecodeError):
                continue
            library = lines[0].strip()
            target = Path(library)
            if os.sep in library and not (target.is_absolute() and target.exists()):
                continue
            if not library or library in libraries or target.name.startswith(INTEL_LIBRARY):
                continue
            libraries.add(library)
            entries[f"carried-{len(entries):02d}-{path.name}"] = library
    return entries


def _dependency_notes() -> tuple[str, ...]:
    try:
        metadata.distribution(INTEL_DRIVER_NEEDS)
    except metadata.PackageNotFoundError:
        advice = f"does not load without it: pip install {INTEL_DRIVER_NEEDS}"
        return (f"{INTEL_DRIVER} is installed without {INTEL_DRIVER_NEEDS}, and {advice}",)
    return ()


def _set_by_user(variables: Mapping[str, str]) -> str | None:
    return next((name for name in USER_VARIABLES if variables.get(name)), None)


def _system_vendor_folders() -> tuple[Path, ...]:
    return Path("/etc/OpenCL/vendors"), Path(sys.prefix) / "etc" / "OpenCL" / "vendors"


def _vendors_folder(cache_folder: Path | None) -> Path:
    """One folder per environment, since each environment has its own library."""
    cache = platformdirs.user_cache_path("lb_runtime") if cache_folder is None else cache_folder
    environment_hash = hashlib.sha256(os.fsencode(sys.prefix)).hexdigest()[:16]
    return cache / "icd" / environment_hash


def _write_entries(folder: Path, entries: Mapping[str, str]) -> None:
    """Make the folder hold exactly these `.icd` files; each is replaced in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, library in entries.items():
        path = folder / name
        content = library + "\n"
        if path.is_file() and path.read_text() == content:
            continue
        handle, temporary = tempfile.mkstemp(prefix=".new-", dir=folder)
        with os.fdopen(handle, "w") as file:
            file.write(content)
        Path(temporary).replace(path)
    for path in folder.glob("*.icd"):
        if path.name not in entries:
            path.unlink(missing_ok=True)
