"""What compares the runs of pyopencl's tests sees each way in which two runs can differ."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from downstream.outcomes import Outcome, differences, read_outcomes
from downstream.release import ReleaseError, unpack

pytest_plugins = ["pytester"]

PASSED, FAILED, SKIPPED = (
    Outcome("passed"),
    Outcome("failed", "1 != 2"),
    Outcome("skipped", "no SVM"),
)


def test_outcomes_are_read_from_what_pytest_writes(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_some="""
        import pytest
        @pytest.mark.parametrize("n", [1, 2])
        def test_parameters(n): assert n == 1
        def test_skips(): pytest.skip("not here")
        def test_expected(): pytest.xfail("known")
        @pytest.fixture
        def broken(): yield; raise ValueError("late")
        def test_late(broken): pass
        """
    )
    pytester.runpytest_subprocess("--junitxml=some.xml", "-p", "no:cacheprovider")
    found = read_outcomes(pytester.path / "some.xml")
    assert {name: outcome.kind for name, outcome in found.items()} == {
        "test_some::test_parameters[1]": "passed",
        "test_some::test_parameters[2]": "failed",
        "test_some::test_skips": "skipped",
        "test_some::test_expected": "xfailed",
        "test_some::test_late": "error",
    }
    assert found["test_some::test_skips"].why == "not here"


@pytest.mark.parametrize("is_now", [FAILED, SKIPPED, Outcome("error"), Outcome("xfailed")])
def test_a_test_that_no_longer_passes_is_told(is_now: Outcome) -> None:
    assert len(differences({"a": PASSED, "b": PASSED}, {"a": PASSED, "b": is_now})) == 1


def test_tests_that_are_missing_new_or_pass_unexpectedly_are_told() -> None:
    changed = differences({"gone": PASSED, "fixed": FAILED}, {"fixed": PASSED, "new": PASSED})
    assert changed == [
        "gone: stock passed; with lb_runtime did not run",
        "fixed: stock failed (1 != 2); with lb_runtime passed",
        "new: stock did not run; with lb_runtime passed",
    ]


def test_equal_runs_do_not_differ_whatever_the_reasons() -> None:
    assert not differences(
        {"a": FAILED, "b": SKIPPED}, {"b": Outcome("skipped"), "a": Outcome("failed")}
    )


def archive_of(folder: Path, *names: str) -> Path:
    """A source release with empty files of these names."""
    path = folder / "some-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(f"some-1.0/{name}"), io.BytesIO())
    return path


def test_only_tests_and_examples_leave_an_archive(tmp_path: Path) -> None:
    names = [
        "test/test_a.py",
        "examples/b.py",
        "pyproject.toml",
        "some/__init__.py",
        "test/../../c.py",
    ]
    unpack(archive_of(tmp_path, *names), tmp_path / "new")
    files = {
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
    }
    kept = {"new/test/test_a.py", "new/examples/b.py", "new/pyproject.toml"}
    assert files == {"some-1.0.tar.gz", *kept}


def test_an_archive_without_examples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="no folder examples/"):
        unpack(archive_of(tmp_path, "test/test_a.py"), tmp_path / "new")
