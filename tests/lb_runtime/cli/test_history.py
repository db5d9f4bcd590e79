"""`lb history`: what it shows, what it clears, and what it says where the file is damaged."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from lb_runtime.cli.main import lb, run
from lb_runtime.history.known import Key, Known
from lb_runtime.history.place import history_path
from lb_runtime.history.store import Store

BUCKET = '{"global":[64,32],"local":null,"offset":null,"arguments":[]}'


@pytest.fixture(autouse=True)
def _filled() -> None:
    for kernel, name in (("aa" * 32, "one"), ("bb" * 32, "two")):
        key = Key(kernel, "pair", BUCKET)
        Store(history_path()).add(
            [Known(key, name, "split", 0.25, (0.5,), (0.25,), 3, 4, 5, 6, 7.0)]
        )


def test_all_is_listed() -> None:
    done = CliRunner().invoke(lb, ["history", "list"])
    assert done.exit_code == 0
    for text in ("one", "two", "64x32", "split", "0.250", "500.000 ms"):
        assert text in done.output


@pytest.mark.parametrize("command", ["list --json", "show two --json", "export"])
def test_programs_can_read_it(command: str) -> None:
    done = CliRunner().invoke(lb, ["history", *command.split()])
    found = json.loads(done.output)
    assert len(found) == (1 if "two" in command else 2)
    assert found[0]["launch"]["global"] == [64, 32]
    assert found[0]["cpu_share"] == 0.25


@pytest.mark.parametrize("kernel", ["two", "bbbb"])
def test_a_kernel_is_shown_by_name_or_hash(kernel: str) -> None:
    done = CliRunner().invoke(lb, ["history", "show", kernel])
    assert "CPU share 0.2500" in done.output
    assert done.output.startswith("two ")
    assert done.output.count("decision:") == 1


def test_one_kernel_or_all_are_cleared_after_a_question() -> None:
    assert CliRunner().invoke(lb, ["history", "clear"], input="n\n").exit_code == 1
    assert len(Store(history_path()).everything()) == 2
    assert CliRunner().invoke(lb, ["history", "clear", "one"], input="y\n").exit_code == 0
    assert [each.kernel_name for each in Store(history_path()).everything()] == ["two"]
    assert CliRunner().invoke(lb, ["history", "clear", "--yes"]).exit_code == 0
    assert Store(history_path()).everything() == []


def test_an_unknown_kernel_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["history", "show", "three"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "'three' given" in error
    assert "lb history list" in error


def test_a_damaged_file_is_one_line_and_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    history_path().write_bytes(b"junk" * 5000)
    assert run(["history", "list"]) == 0
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "history.damaged.sqlite" in told.err
    assert "nothing is known yet" in told.out
