"""`lb exec PROGRAM` ends as `python PROGRAM` does: the same output, errors, exit status and traceback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from lb_runtime import program
from lb_runtime.errors import LoadBalancerError
from lb_runtime.settings import Settings

LB = str(Path(sysconfig.get_path("scripts")) / "lb")
EXEC: dict[str, list[str]] = {
    "lb exec": [LB, "exec"],
    "python -m lb_runtime": [sys.executable, "-m", "lb_runtime"],
}
LIMIT_SECONDS = 60
ADDRESS = re.compile(r"0x[0-9a-f]{6,}")

LOOKS = """
import sys
def spec(): return __spec__ and (__spec__.name, __spec__.origin, type(__spec__.loader))
print(__name__, globals().get("__file__"), __package__, __doc__, __builtins__, spec(), __loader__)
print(sorted(name for name in globals() if name.startswith("__")))
print(sys.argv, sys.path[0], len(sys.path), sys.modules["__main__"].__dict__ is globals())
print(sys.excepthook is sys.__excepthook__, sys.flags.optimize)
"""

ENDS = """
import atexit, os, signal, sys, threading, time

def deep(number):
    if number:
        deep(number - 1)
    try:
        {}["missing"]
    except KeyError as error:
        raise ValueError("two\\nlines") from error

def hook(kind, error, traceback):
    names = []
    while traceback:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    print("the program's own hook", kind, error, names)

print("begins")
exec(sys.argv[1])
"""


def environment(**settings: str) -> dict[str, str]:
    """This process's variables without settings of ours, and with these."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("LB_")}
    return {**others, **settings}


def ran(
    command: Sequence[str], folder: Path, stdin: str = "", **settings: str
) -> tuple[int, str, str]:
    """The status, the output and the errors of a command, addresses taken out."""
    done = subprocess.run(
        command,
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
        env=environment(**settings),
    )
    return done.returncode, ADDRESS.sub("0x", done.stdout), ADDRESS.sub("0x", done.stderr)


def as_python(
    folder: Path, *arguments: str, mode: str = "off", entry: str = "lb exec", stdin: str = ""
) -> tuple[int, str, str]:
    """What a program does under us, once that is shown to be what it does under python."""
    expected = ran([sys.executable, *arguments], folder, stdin)
    found = ran([*EXEC[entry], "--mode", mode, *arguments], folder, stdin)
    assert found == expected
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Programs in all forms that python takes."""
    (tmp_path / "looks.py").write_text(LOOKS)
    (tmp_path / "ends.py").write_text(ENDS)
    for package in ("package", "inner"):
        (tmp_path / package).mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "__main__.py").write_text(LOOKS)
    (tmp_path / "package" / "looks.py").write_text(LOOKS)
    (tmp_path / "inner" / "looks.py").write_text(LOOKS)
    (tmp_path / "link.py").symlink_to(Path("inner", "looks.py"))
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        archive.writestr("__main__.py", LOOKS)
    return tmp_path


@pytest.mark.parametrize("entry", EXEC)
@pytest.mark.parametrize(
    "arguments",
    [
        "looks.py",
        "./looks.py a --report -m",
        "inner/../looks.py --",
        "link.py",
        "package",
        "./package x",
        "archive x",
        "-m package x",
        "-m package.looks -c",
        "-c import(sys);print(sys.argv,sys.path[0],sorted(globals())) --mode on",
    ],
)
def test_a_program_finds_what_it_finds_under_python(
    folder: Path, entry: str, arguments: str
) -> None:
    given = [word.replace("import(sys)", "import sys") for word in arguments.split()]
    status, printed, _ = as_python(folder, *given, entry=entry)
    assert status == 0
    assert printed


def test_a_compiled_file(folder: Path) -> None:
    compile_it = "import py_compile; py_compile.compile('ends.py', 'compiled.pyc')"
    subprocess.run([sys.executable, "-c", compile_it], cwd=folder, check=True)
    as_python(folder, "compiled.pyc", "sys.exit(9)")


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("pass", 0),
        ("sys.exit()", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('why')", 1),
        ("sys.exit(300)", 44),
        ("sys.exit((1, 2))", 1),
        ("os._exit(7)", 7),
        ("deep(3)", 1),
        ("sys.excepthook = hook; deep(1)", 1),
        ("raise OSError(32, 'Broken pipe')", 1),
        ("raise EOFError('no more')", 1),
        ("import click; raise click.exceptions.Exit(5)", 1),
        ("from lb_runtime import LaunchError; raise LaunchError('not ours to tell')", 1),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(30)", -signal.SIGINT),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)", -signal.SIGTERM),
        ("atexit.register(print, 'last'); atexit.register(deep, 0); sys.exit(4)", 4),
        ("threading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start(); deep(0)", 1),
        ("if os.fork() == 0: print('child'); sys.exit(6)\nprint(os.wait()[1] >> 8)", 0),
        ("print(repr(sys.stdin.read()))", 0),
    ],
)
def test_a_program_ends_as_under_python(folder: Path, ending: str, status: int) -> None:
    assert as_python(folder, "ends.py", ending, mode="on", stdin="some\nlines")[0] == status


@pytest.mark.parametrize(
    "text", ["x = 1\ndef f(:\n", "# coding: latin-1\nx = '\xe9'\nprint(ascii(x))\n", "\ufeff1 / 0"]
)
def test_a_text_that_python_reads_in_its_own_way(folder: Path, text: str) -> None:
    coding = "latin-1" if "latin" in text else "utf-8"
    (folder / "text.py").write_bytes(text.encode(coding))
    as_python(folder, "text.py")


@pytest.mark.parametrize("given", [["-m", "ends", "deep(1)"], ["-c", "1 / 0"], ["-m", "nowhere"]])
def test_modules_and_texts_that_fail(folder: Path, given: list[str]) -> None:
    status, _, told = as_python(folder, *given, entry="python -m lb_runtime")
    assert status == 1
    assert told


def test_children_of_multiprocessing_find_the_programs_functions(folder: Path) -> None:
    (folder / "pools.py").write_text(
        "import multiprocessing\n"
        "class Held:\n"
        "    def __init__(self, value): self.value = value\n"
        "def square(held): return held.value ** 2\n"
        "if __name__ == '__main__':\n"
        "    for how in ('spawn', 'fork'):\n"
        "        with multiprocessing.get_context(how).Pool(2) as pool:\n"
        "            print(how, pool.map(square, [Held(3), Held(4)]))\n"
    )
    assert as_python(folder, "pools.py", mode="on")[1] == "spawn [9, 16]\nfork [9, 16]\n"


def test_the_programs_own_modules_stand_before_ours(folder: Path) -> None:
    (folder / "predictor.py").write_text("WHOSE = 'the program'\n")
    (folder / "click.py").write_text("WHOSE = 'the program'\n")
    (folder / "imports.py").write_text(
        "import click, predictor\nprint(click.WHOSE, predictor.WHOSE)\n"
    )
    assert as_python(folder, "imports.py", mode="on")[0] == 0


def test_without_that_a_program_finds_ours(folder: Path) -> None:
    (folder / "predictor.py").write_text("WHOSE = 'the program'\n")
    code = (
        "import predictor.errors\n"
        "from lb_runtime import program\n"
        "{}\n"
        "program._set_first({!r}, lambda: None)\n"
        "import predictor\n"
        "print(hasattr(predictor, 'WHOSE'))\n"
    )
    mutant = "program._forget_namesakes = lambda folder: None"
    for change, found in (("", "True"), (mutant, "False")):
        command = [sys.executable, "-c", code.format(change, str(folder))]
        assert ran(command, folder / "inner") == (0, f"{found}\n", "")


OPENCL = """import warnings

warnings.simplefilter("ignore")
import sys
import numpy as np
import pyopencl as cl
context = cl.create_some_context(interactive=False)
queue = cl.CommandQueue(context)
program = cl.Program(context, "kernel void f(global int *a) { a[get_global_id(0)] = 1; }").build()
kernel = program.f
buffer = cl.Buffer(context, cl.mem_flags.READ_WRITE, 400)
def fail():
    exec(sys.argv[1])
try:
    fail()
except cl.Error as error:
    raise RuntimeError("and what came of it") from error
"""


@pytest.mark.parametrize(
    "call",
    [
        "kernel(queue, (100,), (33,), buffer)",
        "kernel(queue, (100,), None, buffer, buffer)",
        "kernel.set_args(buffer); cl.enqueue_nd_range_kernel(queue, kernel, (100,), (33,))",
        "kernel.set_arg(5, buffer)",
        "cl.enqueue_copy(queue, np.zeros(200, np.int32), buffer)",
        "cl.enqueue_fill(queue, buffer, np.int32(1), 0, 401)",
    ],
)
def test_errors_of_opencl_show_no_frame_of_ours(folder: Path, call: str) -> None:
    (folder / "opencl.py").write_text(OPENCL)
    status, _, told = as_python(folder, "opencl.py", call, mode="on")
    assert status == 1
    assert "fail()" in told


def test_frames_of_ours_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The traceback is trimmed by the two rules, and by nothing else."""
    called = program.Program(program.Kind.COMMAND, "1 / 0")
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(sys, "excepthook", print)
    monkeypatch.setattr(program, "_set_first", lambda path, load: None)
    with pytest.raises(ZeroDivisionError) as caught:
        called.run()
    names = [entry.name for entry in caught.traceback]
    assert names[-3:] == ["run", "_run", "<module>"]
    kept = program._trimmed(caught.value.__traceback__)
    assert kept is not None
    assert kept.tb_frame.f_code.co_name == "<module>"
    assert kept.tb_next is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["nowhere.py"], "can't open file 'nowhere.py': No such file or directory"),
        ([], "Missing argument 'PROGRAM'"),
        (["--reprot", "looks.py"], "'--reprot'"),
        (["-m", "-c", "looks.py"], "-m and -c given"),
        (["--mode", "fast", "looks.py"], "'fast' is not one of"),
        (["--share", "2", "looks.py"], "expected auto, cpu, gpu, a CPU share from 0 to 1"),
        (["--trace", "nowhere/trace.json", "looks.py"], "there is no folder"),
        (["--report-json", ".", "looks.py"], "is a directory"),
    ],
)
def test_a_wrong_command_line_is_one_line(folder: Path, given: list[str], told: str) -> None:
    status, printed, errors = ran([LB, "exec", *given], folder)
    assert (status, printed, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("lb exec: error: ")
    assert told in errors


def test_a_wrong_variable_is_one_line_and_the_program_does_not_begin(folder: Path) -> None:
    status, printed, errors = ran([LB, "exec", "looks.py"], folder, LB_RUNTIME="maybe")
    assert (status, printed, errors.count("\n")) == (1, "", 1)
    assert "LB_RUNTIME is 'maybe', expected off, observe or on" in errors


LAUNCHES = """
import sys
import numpy as np
import pyopencl as cl
context = cl.create_some_context(interactive=False)
queue = cl.CommandQueue(context)
text = "kernel void twice(global int *a) { a[get_global_id(0)] *= 2; }"
program = cl.Program(context, text).build()
kernel = program.twice
host = np.arange(4096, dtype=np.int32)
buffer = cl.Buffer(context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=host)
for _ in range(3):
    kernel(queue, host.shape, (64,), buffer)
cl.enqueue_copy(queue, host, buffer)
print(host.sum())
exec(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("ending", "status"),
    [("pass", 0), ("sys.exit(3)", 3), ("1 / 0", 1), ("raise KeyboardInterrupt", -signal.SIGINT)],
)
def test_the_report_comes_however_the_program_ends(folder: Path, ending: str, status: int) -> None:
    (folder / "launches.py").write_text(LAUNCHES)
    options = ["--report", "--report-json", "report.json"]
    command = [LB, "exec", *options, "launches.py", ending]
    found, printed, errors = ran(command, folder, LB_FORCE="1", LB_SHARE="0.5")
    assert (found, printed) == (status, f"{8 * 4096 * 4095 // 2}\n")
    told = json.loads((folder / "report.json").read_text())
    assert [(each["name"], each["launches"]) for each in told["kernels"]] == [("twice", 3)]
    summary = next(line for line in errors.splitlines() if line.startswith("lb-runtime: "))
    assert summary.startswith(f"lb-runtime: 3 launches, {told['split']} split")
    assert told["split"] == 3
    if ending == "1 / 0":
        assert errors.index("ZeroDivisionError") < errors.index("lb-runtime: ")


@pytest.mark.parametrize(
    ("mutant", "status"),
    [("", -signal.SIGINT), ("intercept._end_as_interrupted = lambda: None", 1)],
)
def test_ctrl_c_ends_it_by_the_signal_though_a_thread_of_ours_runs_a_text(
    folder: Path, mutant: str, status: int
) -> None:
    (folder / "ends.py").write_text(f"""
import atexit, sys, threading, time
from lb_runtime import intercept
from lb_runtime.dropin.scout import Scout
has_run = threading.Event()
atexit.register(has_run.wait, 10)
def runs_a_text_once_the_program_is_over(scout):
    while not hasattr(sys, "last_type"):
        time.sleep(0.01)
    exec("pass")
    has_run.set()
Scout.load_judging = runs_a_text_once_the_program_is_over
{mutant}
intercept.install()
raise KeyboardInterrupt
""")
    found, _, errors = ran([sys.executable, "ends.py"], folder)
    assert errors.endswith("KeyboardInterrupt\n")
    assert found == status


def test_a_report_comes_though_the_program_has_modules_of_the_same_names(folder: Path) -> None:
    (folder / "launches.py").write_text(LAUNCHES)
    for name in ("predictor", "rich"):
        (folder / f"{name}.py").write_text("WHOSE = 'the program'\n")
    ending = "import predictor, rich; print(predictor.WHOSE, rich.WHOSE)"
    command = [LB, "exec", "--report", "launches.py", ending]
    status, printed, errors = ran(command, folder, LB_FORCE="1", LB_SHARE="0.5")
    assert status == 0
    assert printed.endswith("the program the program\n")
    assert "lb-runtime: 3 launches, 3 split" in errors


def test_the_variables_are_heard_and_the_command_line_goes_before_them(folder: Path) -> None:
    (folder / "launches.py").write_text(LAUNCHES)
    settings = {"LB_RUNTIME": "observe", "LB_FORCE": "1", "LB_SHARE": "0.5", "LB_REPORT": "1"}
    command = [LB, "exec", "--report-json", "report.json"]
    _, _, errors = ran([*command, "launches.py", "pass"], folder, **settings)
    assert errors.count("lb-runtime: 3 launches, 0 split") == 1
    ran([*command, "--mode", "on", "launches.py", "pass"], folder, **settings)
    assert json.loads((folder / "report.json").read_text())["split"] == 3


def test_a_child_that_the_program_forks_reports_nothing(folder: Path) -> None:
    ending = "if os.fork() == 0: sys.exit(0)\nos.wait()"
    _, _, errors = ran([LB, "exec", "--report", "ends.py", ending], folder)
    assert errors.count("lb-runtime: ") == 1


def test_a_mode_that_is_off_says_that_there_is_no_report(folder: Path) -> None:
    status, _, errors = ran([LB, "exec", "--mode", "off", "--report", "looks.py"], folder)
    assert status == 0
    assert errors == "lb exec: the mode is off: there will be no report\n"


def test_a_trace_is_written_where_the_program_began(folder: Path) -> None:
    (folder / "launches.py").write_text(LAUNCHES)
    ending = "import os; os.chdir('inner')"
    command = [LB, "exec", "--trace", "trace.json", "launches.py", ending]
    ran(command, folder, LB_FORCE="1", LB_SHARE="0.5")
    assert json.loads((folder / "trace.json").read_text())["traceEvents"]


# Settings


def test_nothing_set_leaves_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()
    assert Settings.from_environment({"LB_SHARE": " ", "LB_RUNTIME": ""}) == Settings()


def test_every_variable_is_read() -> None:
    given = {
        "LB_RUNTIME": "Observe",
        "LB_SHARE": "0.25",
        "LB_POLICY": "Fixed",
        "LB_HISTORY": "off",
        "LB_FORCE": "1",
        "LB_CPU": "pocl",
        "LB_GPU": "0",
        "LB_EXACT": "1",
        "LB_STRICT": "1",
        "LB_REPORT": "1",
        "LB_TRACE": "out.json",
    }
    assert Settings.from_environment(given) == Settings(
        mode="observe",
        share=0.25,
        policy="fixed",
        history=False,
        force=True,
        cpu="pocl",
        gpu="0",
        exact=True,
        strict=True,
        report=True,
        trace=Path("out.json"),
    )


def test_a_fixed_policy_without_a_share_is_refused() -> None:
    with pytest.raises(LoadBalancerError, match="policy 'fixed' given without a share, expected"):
        Settings(policy="fixed")
    assert Settings(policy="fixed", share=0.5).share == 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LB_RUNTIME", "yes"),
        ("LB_POLICY", "static"),
        ("LB_HISTORY", "0"),
        ("LB_SHARE", "1.5"),
        ("LB_SHARE", "-0.1"),
        ("LB_SHARE", "nan"),
        ("LB_SHARE", "half"),
        ("LB_FORCE", "yes"),
        ("LB_EXACT", "2"),
        ("LB_STRICT", "on"),
        ("LB_REPORT", "true"),
    ],
)
def test_a_variable_that_cannot_be_understood_is_named(name: str, value: str) -> None:
    with pytest.raises(LoadBalancerError, match=f"^environment variable {name} is {value!r}, exp"):
        Settings.from_environment({name: value})


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "fast"},
        {"share": 1.01},
        {"share": float("nan")},
        {"min_seconds": -1.0},
        {"min_seconds": float("nan")},
        {"mirror_timeout_seconds": 0.0},
        {"mirror_timeout_seconds": float("inf")},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(LoadBalancerError) as caught:
        Settings(**wrong)  # type: ignore[arg-type]  # that is the test
    assert "\n" not in str(caught.value)
