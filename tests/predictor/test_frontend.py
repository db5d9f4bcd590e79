"""The front end: what it compiles, what it says of what it cannot, and how its cache behaves."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from predictor import frontend
from predictor.errors import CompileError, FrontEndError

SOURCE = "__kernel void f(__global int *a) { a[get_global_id(0)] = 1; }"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LB_CACHE_DIR", str(tmp_path))
    return tmp_path


def entries(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def test_a_kernel_compiles_to_a_module_with_its_parameters() -> None:
    module = frontend.compile_source(SOURCE, cache=False)
    (kernel,) = module.kernels()
    assert kernel.name == "@f"
    assert [p.type for p in kernel.parameters] == ["ptr addrspace(1)"]
    assert module.metadata_list(kernel.metadata["kernel_arg_name"]) == ("a",)


def test_an_error_is_clangs_own_with_the_users_file_and_line() -> None:
    with pytest.raises(CompileError) as caught:
        frontend.compile_source("\n\n__kernel void f() { x = 1; }", filename="mine.cl", cache=False)
    assert (caught.value.filename, caught.value.line) == ("mine.cl", 3)
    assert str(caught.value).startswith("mine.cl:3:")
    assert "undeclared identifier 'x'" in str(caught.value)


def test_a_missing_include_is_an_error_with_its_line() -> None:
    with pytest.raises(CompileError) as caught:
        frontend.compile_source('\n#include "nowhere.h"\n', filename="mine.cl")
    assert caught.value.line == 2


def test_defines_reach_the_source_in_both_spellings() -> None:
    source = "__kernel void f(__global int *a) { a[0] = N; }"
    for options in (("-D", "N=4"), ("-DN=4",)):
        assert "i32 4," in frontend.compile_text(source, options, cache=False)


def test_includes_are_found_through_dash_i(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "size.h").write_text("#define N 7\n")
    source = '#include "size.h"\n__kernel void f(__global int *a) { a[0] = N; }'
    assert "i32 7," in frontend.compile_text(source, ("-I", str(tmp_path)))


def test_a_changed_include_is_compiled_anew(tmp_path: Path, cache: Path) -> None:
    header = tmp_path / "size.h"
    source = '#include "size.h"\n__kernel void f(__global int *a) { a[0] = N; }'
    header.write_text("#define N 7\n")
    frontend.compile_text(source, (f"-I{tmp_path}",))
    header.write_text("#define N 9\n")
    assert "i32 9," in frontend.compile_text(source, (f"-I{tmp_path}",))


def test_options_of_single_vendors_are_dropped() -> None:
    options = ("-cl-nv-verbose", "-cl-std=CL1.2", "-cl-fast-relaxed-math", "-Werror")
    assert "@f" in frontend.compile_text(SOURCE, options, cache=False)


def test_an_option_without_its_value_is_refused() -> None:
    with pytest.raises(FrontEndError, match="-D given last"):
        frontend.clang_options(("-D",))


def test_a_text_of_options_is_split_as_a_shell_does() -> None:
    assert frontend.split_options("-D 'X=a b' -w") == ("-D", "X=a b", "-w")
    with pytest.raises(FrontEndError, match="quotation mark"):
        frontend.split_options("-D 'X")


def test_a_second_compilation_comes_from_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = frontend.compile_text(SOURCE)

    def no_clang(*_: object) -> str:
        raise AssertionError("clang was run")

    monkeypatch.setattr(frontend, "_clang", no_clang)
    assert frontend.compile_text(SOURCE) == first


def test_other_options_are_another_entry(cache: Path) -> None:
    frontend.compile_text(SOURCE)
    frontend.compile_text(SOURCE, ("-DN=1",))
    assert len(entries(cache)) == 2


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 4096])
def test_a_damaged_entry_is_rebuilt(cache: Path, damage: bytes) -> None:
    first = frontend.compile_text(SOURCE)
    (entry,) = entries(cache)
    entry.write_bytes(damage)
    assert frontend.compile_text(SOURCE) == first
    assert len(entry.read_bytes()) > len(damage) or damage == b"\0" * 4096
    assert frontend._read(entry) == first


def test_an_entry_with_one_flipped_byte_is_not_used(cache: Path) -> None:
    frontend.compile_text(SOURCE)
    (entry,) = entries(cache)
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    entry.write_bytes(bytes(content))
    assert frontend._read(entry) is None


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("LB_CACHE_DIR", str(blocked))
    assert "@f" in frontend.compile_text(SOURCE)


def test_many_at_once_leave_one_whole_entry(cache: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        texts = set(threads.map(lambda _: frontend.compile_text(SOURCE), range(16)))
    assert len(texts) == 1
    (entry,) = entries(cache)
    assert frontend._read(entry) == texts.pop()


def test_processes_share_the_cache(cache: Path) -> None:
    code = f"from predictor import frontend; print(len(frontend.compile_text({SOURCE!r})))"
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(3)
    ]
    lengths = {run.communicate()[0] for run in runs}
    assert len(lengths) == 1
    assert len(entries(cache)) == 1
