"""Kernel files: the text of a `.cl` file, and the default launch in the `.toml` file beside it.

[launch]
kernel = "saxpy"
global = [1048576]
local = [256]                  # optional: the runtime chooses
offset = [0]                   # optional: zeros
options = ["-D", "RADIUS=2"]   # optional: build options
[arguments]                    # one per kernel argument, in the order of the signature
a = 2.5
x = "rand:float32:1048576"     # a SPEC, as lb_runtime.cli.specs reads it
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lb_runtime.cli.specs import NumberSpec, Spec, parse_spec
from lb_runtime.errors import ArgumentError, KernelFileError, LaunchError
from lb_runtime.launch import NDRange, allows_non_uniform

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PathLike = str | Path

_LAUNCH_KEYS = ("kernel", "global", "local", "offset", "options")


@dataclass(frozen=True, slots=True)
class DefaultLaunch:
    """The launch that a kernel file suggests for itself.

    Sizes and offset are in work-items, one entry per dimension; a local size of None leaves the
    choice to the runtime. Raises LaunchError when the sizes do not fit together.
    """

    kernel: str
    global_size: tuple[int, ...]
    local_size: tuple[int, ...] | None
    offset: tuple[int, ...]
    options: tuple[str, ...]
    arguments: tuple[tuple[str, Spec], ...]

    def __post_init__(self) -> None:
        NDRange.of(
            self.global_size,
            self.local_size,
            self.offset,
            allow_non_uniform=allows_non_uniform(self.options),
        )


def read_source(path: PathLike) -> str:
    """The text of a kernel file; bytes that are not UTF-8 are taken as Latin-1.

    OpenCL C is ASCII outside comments, so the fallback changes nothing that a compiler sees. Raises
    KernelFileError for a missing file, a directory, or a file that may not be read.
    """
    content = _read_bytes(Path(path), "an OpenCL C source file, such as kernels/saxpy.cl")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def launch_path(kernel_path: PathLike) -> Path:
    """Where the default launch of a kernel file is, if it has one."""
    return Path(kernel_path).with_suffix(".toml")


def read_default_launch(kernel_path: PathLike) -> DefaultLaunch | None:
    """The default launch beside a kernel file, or None if there is no such file.

    Raises KernelFileError, naming file and key, when the file is there and cannot be understood.
    """
    path = launch_path(kernel_path)
    if not path.exists():
        return None
    content = _read_bytes(path, "a launch file")
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise KernelFileError(f"{path}: not UTF-8 ({error.reason}), expected TOML text") from None
    except tomllib.TOMLDecodeError as error:
        raise KernelFileError(f"{path}: not TOML: {error}") from None
    return _default_launch(path, document)


def _default_launch(path: Path, document: dict[str, Any]) -> DefaultLaunch:
    _refuse_unknown(path, "", document, ("launch", "arguments"))
    launch = _table(path, document, "launch")
    _refuse_unknown(path, "launch.", launch, _LAUNCH_KEYS)
    for key in ("kernel", "global"):
        if key not in launch:
            raise KernelFileError(f"{path}: launch.{key} is missing")
    if not isinstance(launch["kernel"], str) or not launch["kernel"]:
        raise _wrong(path, "launch.kernel", launch["kernel"], 'a name, such as "saxpy"')
    global_size = _sizes(path, "global", launch["global"])
    local_size = _sizes(path, "local", launch["local"]) if "local" in launch else None
    offset = _sizes(path, "offset", launch.get("offset", [0] * len(global_size)))
    options = launch.get("options", [])
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise _wrong(path, "launch.options", options, 'a list of texts, such as ["-D", "RADIUS=2"]')
    arguments = tuple(
        (name, _argument(path, name, given))
        for name, given in _table(path, document, "arguments").items()
    )
    try:
        return DefaultLaunch(
            launch["kernel"], global_size, local_size, offset, tuple(options), arguments
        )
    except LaunchError as error:
        raise KernelFileError(f"{path}: launch: {error}") from None


def _argument(path: Path, name: str, given: object) -> Spec:
    key = f"arguments.{name}"
    if isinstance(given, str):
        try:
            return parse_spec(given, path.parent)
        except ArgumentError as error:
            raise KernelFileError(f"{path}: {key}: {error}") from None
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return NumberSpec(given)
    raise _wrong(path, key, given, 'a number or a SPEC, such as "rand:float32:1M"')


def _table(path: Path, document: dict[str, Any], key: str) -> dict[str, Any]:
    if key not in document:
        raise KernelFileError(f"{path}: the table [{key}] is missing")
    table = document[key]
    if not isinstance(table, dict):
        raise _wrong(path, key, table, f"a table [{key}]")
    return table


def _sizes(path: Path, key: str, given: object) -> tuple[int, ...]:
    if isinstance(given, list) and all(type(size) is int for size in given):
        return tuple(given)
    raise _wrong(
        path, f"launch.{key}", given, "a list of 1 to 3 whole numbers, such as [1024, 768]"
    )


def _refuse_unknown(path: Path, prefix: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise KernelFileError(
                f"{path}: {prefix}{key} is not known, expected {', '.join(known)}"
            )


def _wrong(path: Path, key: str, given: object, expected: str) -> KernelFileError:
    return KernelFileError(f"{path}: {key} is {given!r}, expected {expected}")


def _read_bytes(path: Path, expected: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise KernelFileError(f"{path}: no such file, expected {expected}") from None
    except IsADirectoryError:
        raise KernelFileError(f"{path}: a directory, expected {expected}") from None
    except (OSError, ValueError) as error:
        raise KernelFileError(f"{path}: cannot be read ({error}), expected {expected}") from None
