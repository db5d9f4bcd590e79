"""Runs a Python program inside this interpreter as `python` would have run it by itself.

The program finds what it would find there: `sys.argv`, `sys.path`, a `__main__` module of its own (which
the children of `multiprocessing` import again), its exit status and its own traceback. Whoever calls
`Program.run` lets everything that comes out of it go on to the interpreter, which then ends as it would
have: with the status of a `SystemExit`, by the signal of a Ctrl-C, or with a traceback and status 1. Only
the traceback is touched: frames that stand between the interpreter and the program, or between the program
and pyopencl, are left out of it.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import os
import runpy
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import cast

STAND_INS = tuple(
    f"{Path(__file__).parent}{os.sep}{name}" for name in ("intercept.py", f"dropin{os.sep}")
)
"""Where the functions lie that stand in for those of pyopencl: a file, and all files of a folder."""


class Kind(Enum):
    """What `python` is given to run."""

    SCRIPT = "a file, or a folder or archive that holds a __main__.py"
    MODULE = "a module's name (-m)"
    COMMAND = "the text itself (-c)"


@dataclass(frozen=True, slots=True)
class Program:
    """A Python program with its arguments.

    Args:
        kind: what `target` is.
        target: a path, a module's name or a program's text.
        arguments: what the program finds in `sys.argv` behind its own name.
    """

    kind: Kind
    target: str
    arguments: tuple[str, ...] = ()

    def unreadable(self) -> str:
        """Why a script cannot be opened; empty where it can. Modules are looked for when they run."""
        if self.kind is not Kind.SCRIPT or Path(self.target).is_dir():
            return ""
        try:
            Path(self.target).open("rb").close()
        except OSError as error:
            return f"can't open file {self.target!r}: {error.strerror}"
        return ""

    def run(self, load: Callable[[], None] = lambda: None) -> None:
        """Run it to its end in this thread, the main one. Raises whatever the program lets out.

        `load` is called before modules of the program's take the names of some that are loaded: it imports
        what will be wanted of those later.
        """
        main = _new_main()
        try:
            self._run(main, load)
        except SystemExit:
            raise
        except BaseException:
            _trim_the_traceback()
            raise

    def _run(self, main: ModuleType, load: Callable[[], None]) -> None:
        if self.kind is Kind.MODULE:
            _set_first(Path.cwd(), load)
            sys.argv = ["-m", *self.arguments]
            _run_as_main(self.target, alters_argv=True)
            return
        if self.kind is Kind.COMMAND:
            _set_first("", load)
            sys.argv = ["-c", *self.arguments]
            exec(compile(self.target, "<string>", "exec", dont_inherit=True), vars(main))  # noqa: S102  # it is what was asked for
            return
        sys.argv = [self.target, *self.arguments]
        if Path(self.target).is_dir() or zipfile.is_zipfile(self.target):
            _set_first(_absolute(self.target), load)
            _run_as_main("__main__", alters_argv=False)
            return
        _set_first(Path(os.path.realpath(self.target)).parent, load)
        path = _absolute(self.target)
        main.__file__ = path
        main.__cached__ = None  # type: ignore[attr-defined]  # as the interpreter does
        loader = importlib.machinery.SourceFileLoader("__main__", path)
        main.__loader__ = loader
        exec(_code(loader, path), vars(main))  # noqa: S102  # it is what was asked for


def _new_main() -> ModuleType:
    """A `__main__` module as a starting interpreter has it, in the place of the present one."""
    main = ModuleType("__main__")
    # `exec` would set the dictionary there, the interpreter sets the module.
    vars(main)["__builtins__"] = builtins
    vars(main)["__annotations__"] = {}
    main.__loader__ = importlib.machinery.BuiltinImporter
    sys.modules["__main__"] = main
    return main


@dataclass(slots=True)
class _Names:
    """What `import` found before a program ran: its path, and the modules whose names were given up."""

    path: list[str]
    modules: dict[str, ModuleType]


_before: _Names | None = None


def _set_first(path: str | Path, load: Callable[[], None]) -> None:
    """Let the program's own place stand first in `sys.path`, instead of ours."""
    global _before
    if sys.flags.isolated or getattr(sys.flags, "safe_path", False):
        return
    before = list(sys.path)
    if any(True for _ in _namesakes([str(path)])):
        load()
    sys.path[0] = str(path)
    _before = _Names(before, _forget_namesakes([str(path)]))


def take_names_back() -> None:
    """Let `import` find again what it found before the program ran. For when the program is over."""
    if _before is not None:
        sys.path[:] = _before.path
        _forget_namesakes(_before.path)
        sys.modules.update(_before.modules)


def _forget_namesakes(path: list[str]) -> dict[str, ModuleType]:
    """Let `import` find the modules on a path, also where others of the same names are loaded.

    Whoever has imported those keeps them; only their names are free again. Returns them by name.
    """
    forgotten = {}
    for name in list(_namesakes(path)):
        for each in [n for n in sys.modules if n == name or n.startswith(name + ".")]:
            forgotten[each] = sys.modules.pop(each)
    return forgotten


def _namesakes(path: list[str]) -> Iterator[str]:
    """The names of modules that are loaded, and of others on a path."""
    for name in {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names:
        found = importlib.machinery.PathFinder.find_spec(name, path)
        if found is None or found.origin is None or name == "__main__":
            continue
        if found.origin != getattr(sys.modules.get(name), "__file__", None):
            yield name


def _absolute(path: str) -> str:
    """As the interpreter writes `__file__`: absolute, but with the dots and links that were given."""
    return path if path.startswith(os.sep) else f"{Path.cwd()}{os.sep}{path}"


def _code(loader: importlib.machinery.SourceFileLoader, path: str) -> CodeType:
    """The compiled script, from its text or from a `.pyc` file; nothing is written beside it."""
    if path.endswith(".pyc"):
        compiled = importlib.machinery.SourcelessFileLoader("__main__", path)
        return cast(CodeType, compiled.get_code("__main__"))
    return compile(loader.get_data(path), path, "exec", dont_inherit=True)


def _run_as_main(name: str, *, alters_argv: bool) -> None:
    """What `python -m` itself calls: runs in the `__main__` module, and exits where it finds nothing."""
    runpy._run_module_as_main(name, alters_argv)  # type: ignore[attr-defined]  # not in its stubs


def _trim_the_traceback() -> None:
    """Let the interpreter print the error that is under way without frames of ours.

    The program's own hook is called with it, if it has set one. `sys.excepthook` is changed here, at the last
    moment, so that a program that looks at it finds what it has set itself.
    """
    hook = sys.excepthook

    def without_ours(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        sys.excepthook = hook
        error = _without_frames(error, set())
        hook(kind, error, error.__traceback__)

    sys.excepthook = without_ours


def _without_frames(error: BaseException, seen: set[int]) -> BaseException:
    """The error with the frames of this package taken out of its traceback and of those it came from."""
    if id(error) in seen:
        return error
    seen.add(id(error))
    error.__traceback__ = _trimmed(error.__traceback__)
    for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        if isinstance(other, BaseException):
            _without_frames(other, seen)
    return error


def _trimmed(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback from the program's first frame on, and without the frames that stand in for pyopencl."""
    entries = []
    while traceback is not None:
        entries.append(traceback)
        traceback = traceback.tb_next
    codes = [entry.tb_frame.f_code for entry in entries]
    began = max((n + 1 for n, code in enumerate(codes) if code in _STARTERS), default=0)
    kept = [e for e in entries[began:] if not _stands_in(e.tb_frame.f_code)]
    for entry, following in zip(kept, (*kept[1:], None)):
        entry.tb_next = following
    return kept[0] if kept else None


def _stands_in(code: CodeType) -> bool:
    return code.co_filename.startswith(STAND_INS)


_STARTERS = (Program._run.__code__, _run_as_main.__code__, _code.__code__)
"""The functions of this file that a program is called from."""
