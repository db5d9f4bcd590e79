"""OpenCL C source and build options -> LLVM assembly, through the clang of one PyPI wheel.

clang runs as one process, piped both ways, and its output is kept in a disk cache whose keys are hashes
of everything that decides it: the text after inclusion, the options and the compiler. An entry carries
its own checksum and is put in place by rename, so that many processes may share the cache and a damaged
entry is rebuilt, never used.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from predictor import assembly, ir
from predictor.errors import CompileError, FrontEndError

CACHE_VERSION = 1
COMPILE_SECONDS = 60
CHECKSUM_BYTES = 32
"""Entries start with the SHA-256 digest of what follows."""

_BASE_OPTIONS = (
    "-x",
    "cl",
    "--target=spir64-unknown-unknown",
    "-cl-kernel-arg-info",
    "-gline-tables-only",
    "-w",
)
_DIAGNOSTIC = re.compile(
    r"^(?P<file>.*?):(?P<line>\d+):(?P<column>\d+): (?:fatal )?error: (?P<text>.*)$"
)
_PLAIN_ERROR = re.compile(r"^(?:.*?: )?(?:fatal )?error: (?P<text>.*)$")
_INCLUDES = re.compile(r"^[ \t]*(?:#|%:|\?\?=)[ \t]*(?:include|import)|__has_include|\\\r?$", re.M)
_LINE_MARKER = re.compile(r'^# \d+ "([^"<]+)"', re.M)
_KNOWN_FLAGS = frozenset(
    "-cl-single-precision-constant -cl-denorms-are-zero -cl-fp32-correctly-rounded-divide-sqrt "
    "-cl-strict-aliasing -cl-mad-enable -cl-no-signed-zeros -cl-unsafe-math-optimizations "
    "-cl-finite-math-only -cl-fast-relaxed-math -cl-uniform-work-group-size -w -Werror".split()
)


def compile_source(
    source: str,
    options: Sequence[str] = (),
    *,
    filename: str = "<kernel>",
    cache: bool = True,
) -> ir.Module:
    """Compile OpenCL C to a walkable module, from the disk cache where it is known.

    Args:
        source: the text of one OpenCL C translation unit.
        options: build options as for `clBuildProgram` (OpenCL 1.2 specification, section 5.6.4).
            `-D`, `-I` and `-cl-std` reach clang as they are; options of single vendors, which do not
            change the language, are dropped.
        filename: the name that errors give to the source.
        cache: False compiles anew and leaves the disk alone.

    Raises:
        CompileError: clang refused the source; the message is clang's first error, with its place.
        FrontEndError: clang cannot be run.
    """
    return assembly.parse(compile_text(source, options, filename=filename, cache=cache))


def compile_text(
    source: str,
    options: Sequence[str] = (),
    *,
    filename: str = "<kernel>",
    cache: bool = True,
) -> str:
    """Like `compile_source`, but return LLVM assembly as text."""
    flags = clang_options(options)
    compiled_text = source
    if cache and (_INCLUDES.search(source) or "-include" in flags):
        compiled_text = _clang(source, (*flags, "-E"), filename)
    entry = _entry(_key(compiled_text, flags))
    if cache and (known := _read(entry)) is not None:
        return known
    text = _clang(source, (*flags, "-O1", "-emit-llvm", "-S"), filename)
    if cache:
        _write(entry, text)
    return text


def preprocess(source: str, options: Sequence[str] = (), *, filename: str = "<kernel>") -> str:
    """The source after inclusion and macro expansion, with line markers.

    Raises:
        CompileError, FrontEndError: as `compile_source`.
    """
    return _clang(source, (*clang_options(options), "-E"), filename)


def included_text(source: str, options: Sequence[str] = (), *, filename: str = "<kernel>") -> str:
    """The source followed by the text of every file that it includes, in no special order.

    Raises:
        CompileError, FrontEndError: as `compile_source`.
    """
    if not _INCLUDES.search(source):
        return source
    marked = preprocess(source, options, filename=filename)
    names = dict.fromkeys(_LINE_MARKER.findall(marked))
    texts = [source]
    for name in names:
        path = Path(name)
        if path.is_file() and _ziglang_folder() not in path.parents:
            texts.append(path.read_text("utf-8", "replace"))
    return "\n".join(texts)


def split_options(options: str | Sequence[str]) -> tuple[str, ...]:
    """Build options as a list: a string is split as a shell does.

    Raises:
        FrontEndError: a quotation mark is not closed.
    """
    if not isinstance(options, str):
        return tuple(options)
    try:
        return tuple(shlex.split(options))
    except ValueError as error:
        raise FrontEndError(
            f"build options {options!r} given, but a quotation mark is open"
        ) from error


def clang_options(options: Sequence[str]) -> tuple[str, ...]:
    """The build options that reach clang, with the default language version where none is named."""
    kept: list[str] = []
    standard = "-cl-std=CL1.2"
    words = iter(options)
    for word in words:
        if word in ("-D", "-U", "-I", "-include"):
            value = next(words, None)
            if value is None:
                raise FrontEndError(f"build option {word} given last: expected a value after it")
            kept.extend((word, value) if word == "-include" else (word + value,))
        elif word.startswith("-cl-std="):
            standard = word
        elif word[:2] in ("-D", "-U", "-I") or word in _KNOWN_FLAGS:
            kept.append(word)
    return (*_BASE_OPTIONS, standard, *kept)


@functools.cache
def _ziglang_folder() -> Path:
    spec = importlib.util.find_spec("ziglang")
    if spec is None or not spec.submodule_search_locations:
        raise FrontEndError(
            "the OpenCL front end is missing: install it with `pip install ziglang==0.13.0`"
        )
    return Path(next(iter(spec.submodule_search_locations)))


@functools.cache
def compiler_version() -> str:
    """The version of the wheel that brings clang; a part of every cache key."""
    return importlib.metadata.version("ziglang")


def _clang(source: str, flags: Sequence[str], filename: str) -> str:
    """Run clang on `source` and return what it prints."""
    folder = _ziglang_folder()
    program = folder / ("zig.exe" if os.name == "nt" else "zig")
    command = [
        str(program),
        "clang",
        f"-isystem{folder / 'lib' / 'include'}",
        *flags,
        "-",
        "-o",
        "-",
    ]
    # Not before: it brings libraries of its own, which wait for a driver that is loading meanwhile.
    import subprocess

    environment = dict(os.environ, LC_ALL="C")
    try:
        done = subprocess.run(
            command,
            input=source.encode("utf-8", "surrogateescape"),
            capture_output=True,
            timeout=COMPILE_SECONDS,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        raise FrontEndError(f"clang did not finish {filename} in {COMPILE_SECONDS} s") from error
    except OSError as error:
        raise FrontEndError(
            f"clang cannot be run ({error.strerror}): reinstall with `pip install ziglang==0.13.0`"
        ) from error
    if done.returncode:
        raise _compile_error(done.stderr.decode("utf-8", "replace"), filename)
    return done.stdout.decode("utf-8", "replace")


def _compile_error(diagnostics: str, filename: str) -> CompileError:
    """Give clang's first error as an exception that names the user's file."""
    for line in diagnostics.splitlines():
        if match := _DIAGNOSTIC.match(line):
            place = filename if match["file"] in ("<stdin>", "-") else match["file"]
            return CompileError(match["text"], place, int(match["line"]), int(match["column"]))
        if match := _PLAIN_ERROR.match(line):
            return CompileError(match["text"], filename)
    first = diagnostics.strip().splitlines()[:1] or ["clang gave no message"]
    return CompileError(first[0], filename)


def _key(text: str, flags: Sequence[str]) -> str:
    material = "\0".join((str(CACHE_VERSION), compiler_version(), *flags, "", text))
    return hashlib.sha256(material.encode("utf-8", "surrogateescape")).hexdigest()


def cache_folder() -> Path:
    """Where compiled kernels are kept: `LB_CACHE_DIR`, or the user's cache folder."""
    named = os.environ.get("LB_CACHE_DIR")
    return (
        Path(named) if named else Path(platformdirs.user_cache_dir("lb-runtime", appauthor=False))
    )


def _entry(key: str) -> Path:
    return cache_folder() / "ir" / key[:2] / f"{key}.ll"


def _read(entry: Path) -> str | None:
    """The text of a cache entry, or None where there is none or its checksum does not hold."""
    try:
        content = entry.read_bytes()
    except OSError:
        return None
    digest, text = content[:CHECKSUM_BYTES], content[CHECKSUM_BYTES:]
    if not text or hashlib.sha256(text).digest() != digest:
        return None
    return text.decode("utf-8", "replace")


def _write(entry: Path, text: str) -> None:
    """Put an entry in place by rename; a cache that cannot be written is done without."""
    content = text.encode("utf-8")
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=entry.parent, prefix=".new-")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(content).digest() + content)
        Path(temporary).replace(entry)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
