"""How kernel files and the launch files beside them are read, and how bad ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from lb_runtime.cli.kernel_file import DefaultLaunch, read_default_launch, read_source
from lb_runtime.cli.specs import FileSpec, NumberSpec, parse_spec
from lb_runtime.errors import KernelFileError, LaunchError

WHOLE = """
[launch]
kernel = "blur"
global = [64, 32]
local = [8, 4]
offset = [0, 8]
options = ["-D", "RADIUS=2"]
[arguments]
width = 64
weight = -0.5
image = "rand:float32:64x32"
mask = "mask.npy"
"""

SMALLEST = '[launch]\nkernel = "k"\nglobal = [64]\n[arguments]\n'


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "blur.cl"
    path.write_text("__kernel void blur() {}\n")
    return path


def launch(kernel: Path, toml: str) -> DefaultLaunch:
    kernel.with_suffix(".toml").write_text(toml)
    found = read_default_launch(kernel)
    assert found is not None
    return found


def refusal(kernel: Path, toml: str) -> str:
    """The message after the file's name, which every message starts with."""
    with pytest.raises(KernelFileError) as caught:
        launch(kernel, toml)
    start = f"{kernel.with_suffix('.toml')}: "
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(start)


def test_source_is_the_text_of_the_file(kernel: Path) -> None:
    assert read_source(kernel) == "__kernel void blur() {}\n"
    assert read_source(str(kernel)) == read_source(kernel)


def test_source_that_is_not_utf_8_is_read_as_latin_1(kernel: Path) -> None:
    kernel.write_bytes(b"// caf\xe9\n")
    assert read_source(kernel) == "// café\n"


def test_source_loses_a_byte_order_mark_that_no_opencl_compiler_knows(kernel: Path) -> None:
    kernel.write_bytes(b"\xef\xbb\xbf__kernel")
    assert read_source(kernel) == "__kernel"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("absent.cl", "no such file"), ("", "a directory"), ("blur.cl/x.cl", "cannot be read")],
)
def test_source_that_cannot_be_read_is_refused_by_name(
    kernel: Path, name: str, complaint: str
) -> None:
    path = kernel.parent / name
    with pytest.raises(KernelFileError, match=complaint) as caught:
        read_source(path)
    assert str(caught.value).startswith(str(path))
    assert "expected" in str(caught.value)


def test_a_name_with_a_nul_byte_is_refused() -> None:
    with pytest.raises(KernelFileError, match="cannot be read"):
        read_source("a\0b.cl")


def test_a_kernel_without_a_launch_file_has_no_default_launch(kernel: Path) -> None:
    assert read_default_launch(kernel) is None


def test_a_whole_launch_file_is_read(kernel: Path) -> None:
    assert launch(kernel, WHOLE) == DefaultLaunch(
        kernel="blur",
        global_size=(64, 32),
        local_size=(8, 4),
        offset=(0, 8),
        options=("-D", "RADIUS=2"),
        arguments=(
            ("width", NumberSpec(64)),
            ("weight", NumberSpec(-0.5)),
            ("image", parse_spec("rand:float32:64x32")),
            ("mask", FileSpec(kernel.parent / "mask.npy")),
        ),
    )


def test_local_size_offset_and_options_may_be_left_out(kernel: Path) -> None:
    found = launch(kernel, SMALLEST)
    assert (found.local_size, found.offset, found.options) == (None, (0,), ())
    assert found.arguments == ()


def test_a_launch_file_that_is_not_toml_is_refused_with_the_line(kernel: Path) -> None:
    assert "line 2" in refusal(kernel, "[launch]\nkernel saxpy\n")


def test_a_launch_file_that_is_not_utf_8_is_refused(kernel: Path) -> None:
    kernel.with_suffix(".toml").write_bytes(b"# caf\xe9\n")
    with pytest.raises(KernelFileError, match="not UTF-8"):
        read_default_launch(kernel)


def test_a_launch_file_that_is_a_directory_is_refused(kernel: Path) -> None:
    kernel.with_suffix(".toml").mkdir()
    with pytest.raises(KernelFileError, match="a directory"):
        read_default_launch(kernel)


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ("", "the table [launch] is missing"),
        ("launch = 3\n", "launch is 3, expected a table"),
        ('[launch]\nkernel = "k"\n[arguments]\n', "launch.global is missing"),
        ("[launch]\nglobal = [8]\n[arguments]\n", "launch.kernel is missing"),
        ('[launch]\nkernel = "k"\nglobal = [8]\n', "the table [arguments] is missing"),
        (SMALLEST + "[more]\n", "more is not known"),
    ],
)
def test_a_table_or_key_that_is_missing_or_unknown_is_named(
    kernel: Path, toml: str, complaint: str
) -> None:
    assert complaint in refusal(kernel, toml)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("kernel = 3", "launch.kernel is 3, expected a name"),
        ('kernel = ""', "launch.kernel is '', expected a name"),
        ("global = 64", "launch.global is 64, expected a list"),
        ("global = [64.0]", "launch.global is [64.0], expected a list"),
        ("global = [true]", "launch.global is [True], expected a list"),
        ("global = []", "launch: "),
        ("global = [1, 2, 3, 4]", "launch: 4 dimensions given"),
        ("global = [0]", "launch: global size"),
        ('local = "8"', "launch.local is '8', expected a list"),
        ("local = [8, 8]", "launch: local size has 2 dimensions"),
        ("local = [7]", "launch: global size 64 is not a multiple of local size 7"),
        ("offset = [-1]", "launch: offset (-1,) given"),
        ('options = "-D X"', "launch.options is '-D X', expected a list of texts"),
        ("options = [1]", "launch.options is [1], expected a list of texts"),
        ("ofset = [0]", "launch.ofset is not known, expected kernel, global, local, offset"),
    ],
)
def test_a_wrong_launch_entry_is_named_with_what_was_expected(
    kernel: Path, line: str, complaint: str
) -> None:
    key = line.split(" = ")[0]
    others = {"kernel": 'kernel = "k"', "global": "global = [64]"}
    lines = [line, *(text for name, text in others.items() if name != key)]
    toml = "\n".join(["[launch]", *lines, "[arguments]", ""])
    assert refusal(kernel, toml).startswith(complaint)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ('"rnd:float32:8"', "arguments.x: 'rnd:float32:8': unknown kind 'rnd'"),
        ("true", "arguments.x is True, expected a number or a SPEC"),
        ("[1, 2]", "arguments.x is [1, 2], expected a number or a SPEC"),
    ],
)
def test_a_wrong_argument_is_named_with_what_was_expected(
    kernel: Path, value: str, complaint: str
) -> None:
    assert refusal(kernel, f"{SMALLEST}x = {value}\n").startswith(complaint)


def test_a_default_launch_cannot_be_built_with_sizes_that_do_not_fit() -> None:
    with pytest.raises(LaunchError, match="not a multiple"):
        DefaultLaunch("k", (64,), (7,), (0,), (), ())
