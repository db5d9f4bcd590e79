"""How the SPEC of an argument is read, what it becomes, and how bad ones are refused."""

from __future__ import annotations

import contextlib
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_runtime.cli.specs import ArraySpec, FileSpec, LocalSpec, NumberSpec, parse_spec
from lb_runtime.errors import ArgumentError
from lb_runtime.launch import LocalArgument


def array(text: str, seed: int = 0, position: int = 0) -> np.ndarray:
    spec = parse_spec(text)
    assert isinstance(spec, ArraySpec)
    return spec.materialise(seed, position)


def refusal(text: str) -> str:
    with pytest.raises(ArgumentError) as caught:
        parse_spec(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-7", -7),
        ("+3", 3),
        ("0x1F", 31),
        ("-0x10", -16),
        ("2.5", 2.5),
        ("-1e-3", -1e-3),
        ("inf", math.inf),
        ("64K", 65536),
        ("1<<20", 1 << 20),
    ],
)
def test_a_number_keeps_its_value_and_whether_it_is_whole(text: str, value: float) -> None:
    spec = parse_spec(text)
    assert isinstance(spec, NumberSpec)
    assert spec.materialise() == value
    assert type(spec.materialise()) is type(value)


@given(st.integers(-(2**70), 2**70) | st.floats(allow_nan=False))
def test_every_python_number_is_read_back(value: float) -> None:
    assert parse_spec(repr(value)) == NumberSpec(value)


@pytest.mark.parametrize(
    ("count", "shape"),
    [
        ("7", (7,)),
        ("2K", (2048,)),
        ("1M", (1 << 20,)),
        ("1<<10", (1024,)),
        ("30x40", (30, 40)),
        ("2x1Kx1<<2", (2, 1024, 4)),
    ],
)
def test_a_count_is_a_shape(count: str, shape: tuple[int, ...]) -> None:
    assert array(f"zeros:uint8:{count}").shape == shape


@pytest.mark.parametrize(
    ("type_name", "dtype", "width"),
    [
        ("float32", np.float32, 1),
        ("uint64", np.uint64, 1),
        ("float", np.float32, 1),
        ("long", np.int64, 1),
        ("float4", np.float32, 4),
        ("uchar4", np.uint8, 4),
        ("int2", np.int32, 2),
        ("half8", np.float16, 8),
        ("float32x16", np.float32, 16),
        ("int8x2", np.int8, 2),
    ],
)
def test_a_type_is_numpy_s_or_opencl_s(type_name: str, dtype: type, width: int) -> None:
    values = array(f"zeros:{type_name}:5")
    assert values.dtype == dtype
    assert values.size == 5 * width


@pytest.mark.parametrize(("name", "dtype"), [("int8", np.int8), ("float16", np.float16)])
def test_a_name_of_both_languages_is_numpy_s(name: str, dtype: type) -> None:
    assert array(f"zeros:{name}:5").dtype == dtype
    assert array(f"zeros:{name}:5").shape == (5,)


def test_a_vector_of_three_takes_the_room_of_four() -> None:
    assert array("ones:float3:5").nbytes == 5 * 16


def test_zeros_ones_and_full_hold_one_value() -> None:
    assert not array("zeros:float32:9").any()
    assert (array("ones:int16:9") == 1).all()
    assert (array("full:uint8:9:0xFF") == 255).all()
    assert (array("full:float32:9:-2.5") == -2.5).all()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("arange:int32:4", [0, 1, 2, 3]),
        ("arange:int8:3:-1", [-1, 0, 1]),
        ("arange:uint32:4:9:-3", [9, 6, 3, 0]),
        ("arange:float32:3:1:0.5", [1.0, 1.5, 2.0]),
        ("arange:uint64:2:18446744073709551614", [2**64 - 2, 2**64 - 1]),
        ("arange:int64:3:-9223372036854775808:9223372036854775807", [-(2**63), -1, 2**63 - 2]),
    ],
)
def test_arange_counts_through_memory(text: str, values: list[float]) -> None:
    assert array(text).tolist() == values


@given(st.integers(-128, 127), st.integers(-20, 20), st.integers(1, 20))
def test_arange_of_integers_holds_its_type_or_is_refused(start: int, step: int, n: int) -> None:
    text = f"arange:int8:{n}:{start}:{step}"
    expected = [start + step * place for place in range(n)]
    if -128 <= expected[-1] <= 127:
        assert array(text).tolist() == expected
    else:
        assert "does not fit int8" in refusal(text)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64"])
def test_random_integers_are_bytes_that_fit_the_type(dtype: str) -> None:
    values = array(f"rand:{dtype}:4K")
    assert values.dtype == dtype
    assert values.min() == 0
    assert values.max() == (127 if dtype == "int8" else 255)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("low", "high"), [(None, None), (-3, 5), (1, 1.001)])
def test_random_floats_lie_between_their_bounds(
    dtype: str, low: float | None, high: float | None
) -> None:
    bounds = "" if low is None else f":{low}:{high}"
    values = array(f"rand:{dtype}:20K{bounds}")
    scalar = np.dtype(dtype).type
    assert values.dtype == dtype
    assert values.min() >= scalar(low or 0)
    assert values.max() < scalar(1 if high is None else high)


def test_random_integers_reach_both_ends_of_their_range_but_not_past() -> None:
    assert set(array("rand:int32:500:-2:3").tolist()) == {-2, -1, 0, 1, 2}
    assert array("rand:uint32:64K:0:4294967296").max() > 0xFFF00000


def test_random_values_depend_on_seed_and_position_alone() -> None:
    first = array("rand:float32:100", seed=1, position=2)
    np.testing.assert_array_equal(first, array("rand:float32:100", seed=1, position=2))
    assert (first != array("rand:float32:100", seed=2, position=2)).any()
    assert (first != array("rand:float32:100", seed=1, position=3)).any()


def test_a_permutation_holds_every_place_once() -> None:
    values = array("perm:int32:1000")
    assert sorted(values.tolist()) == list(range(1000))
    assert values.tolist() != list(range(1000))
    assert sorted(array("perm:uint8:10:200").tolist()) == list(range(200, 210))
    np.testing.assert_array_equal(values, array("perm:int32:1000"))
    assert (values != array("perm:int32:1000", seed=1)).any()


def test_local_memory_is_a_size_in_bytes() -> None:
    spec = parse_spec("local:float4:16x17")
    assert isinstance(spec, LocalSpec)
    assert spec.materialise() == LocalArgument(16 * 17 * 16)


def test_a_file_gives_its_array_from_the_given_folder(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6, dtype=np.int16).reshape(2, 3))
    spec = parse_spec("a.npy", tmp_path)
    assert spec == FileSpec(tmp_path / "a.npy")
    values = spec.materialise()
    assert isinstance(values, np.ndarray)
    assert values.dtype == np.int16
    assert values.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_an_absolute_file_ignores_the_folder(tmp_path: Path) -> None:
    assert parse_spec(str(tmp_path / "a.npy"), Path("other")) == FileSpec(tmp_path / "a.npy")


def test_a_file_in_another_order_is_laid_out_as_opencl_needs(tmp_path: Path) -> None:
    values = np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))
    np.save(tmp_path / "a.npy", values)
    loaded = FileSpec(tmp_path / "a.npy").materialise()
    assert loaded.flags.c_contiguous
    assert loaded.flags.writeable
    assert loaded.dtype.isnative
    np.testing.assert_array_equal(loaded, values)


def test_a_file_that_changes_nothing_on_disk_can_be_written_to(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(4))
    FileSpec(tmp_path / "a.npy").materialise()[:] = 1
    assert not np.load(tmp_path / "a.npy").any()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no such file"),
        (b"", "not a usable .npy file"),
        (b"not numpy at all, but long enough", "not a usable .npy file"),
        (pickle.dumps([1, 2]), "not a usable .npy file"),
    ],
)
def test_a_file_that_is_no_array_is_refused(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    path = tmp_path / "a.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArgumentError, match=complaint) as caught:
        FileSpec(path).materialise()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        np.array([{}, 1], dtype=object),
        np.array(["text"]),
        np.zeros(0),
    ],
    ids=["objects", "text", "empty"],
)
def test_a_file_without_numbers_is_refused(tmp_path: Path, values: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    with pytest.raises(ArgumentError, match=r"a\.npy: .*expected"):
        FileSpec(tmp_path / "a.npy").materialise()


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(1000))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ArgumentError, match="not a usable"):
        FileSpec(path).materialise()


def test_a_file_above_the_limit_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": ((8 << 30) + 1,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + (8 << 30) + 1)
    with pytest.raises(ArgumentError, match="8 GiB"):
        FileSpec(path).materialise()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not a number"),
        ("abc", "not a number"),
        ("1.2.3", "not a number"),
        ("rnd:float32:8", "unknown kind 'rnd'"),
        ("rand", "not a number"),
        ("rand:float32", "rand:TYPE:N"),
        ("zeros:int32:8:1", "zeros:TYPE:N"),
        ("full:int32:8", "full:TYPE:N:VALUE"),
        ("rand:int32:8:1", "rand:TYPE:N:LO:HI"),
        ("arange:int32:8:0:1:2", "arange:TYPE:N:START:STEP"),
        ("local:float32:8:0", "local:TYPE:N"),
        ("zeros:flaot32:8", "unknown type 'flaot32'"),
        ("zeros:float5:8", "unknown type"),
        ("zeros:bool:8", "unknown type"),
        ("zeros:int32:", "not a count"),
        ("zeros:int32:-8", "not a count"),
        ("zeros:int32:8.5", "not a count"),
        ("zeros:int32:8x", "not a count"),
        ("zeros:int32:٣", "not a count"),
        ("zeros:int32:0", "at least 1"),
        ("zeros:float64:2G", "16.0 GiB given, expected at most 8 GiB"),
        ("zeros:int8:1<<99", "at most 8 GiB"),
        ("local:float64:9999999999999999999", "at most 8 GiB"),
        ("full:uint8:8:256", "256 does not fit uint8, expected 0 to 255"),
        ("full:int32:8:2.5", "expected a whole number"),
        ("full:int32:8:x", "'x' is not a number"),
        ("full:float32:8:1e300", "does not fit float32"),
        ("rand:int32:8:5:5", "expected LO < HI"),
        ("rand:uint8:8:0:257", "does not fit uint8"),
        ("rand:float32:8:0:inf", "does not fit float32"),
        ("rand:float32:8:nan:1", "does not fit float32"),
        ("rand:float32:8:-3e38:3e38", "does not fit float32"),
        ("arange:uint8:257", "256 does not fit uint8"),
        ("arange:float16:1M", "does not fit float16"),
        ("perm:int8:129", "128 does not fit int8"),
        ("perm:uint8:10:250", "259 does not fit uint8"),
        ("perm:int32:8:1:2", "perm:TYPE:N:START"),
    ],
)
def test_a_bad_spec_is_refused_in_one_line_that_says_what_was_expected(
    text: str, complaint: str
) -> None:
    message = refusal(text)
    assert complaint in message
    assert "expected" in message
    assert repr(text) in message


def test_a_very_long_spec_is_shown_in_part() -> None:
    assert len(refusal("9" * 100_000 + "z")) < 300


@given(st.text())
def test_no_text_is_answered_with_anything_but_a_spec_or_an_argument_error(text: str) -> None:
    with contextlib.suppress(ArgumentError):
        parse_spec(text)


@given(
    st.from_regex(
        r"(rand|zeros|ones|full|arange|local):(int8|uint64|float16|float|char3)"
        r":[0-9]{1,4}(x[0-9]{1,2})?(:-?[0-9]{1,25}(\.5)?|:1e[0-9]{2,3}){0,2}",
        fullmatch=True,
    )
)
def test_every_spec_that_is_accepted_can_be_made(text: str) -> None:
    try:
        spec = parse_spec(text)
    except ArgumentError:
        return
    value = spec.materialise(seed=1, position=1)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        assert np.isfinite(value).all()
