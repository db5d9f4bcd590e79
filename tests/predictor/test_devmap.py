"""The data set is read as it is, and what is not it is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from predictor.datasets import devmap
from predictor.datasets.devmap import Launch
from predictor.datasets.examples import examples_of
from predictor.errors import DatasetError

HEADER = "benchmark,dataset,transfer,wgsize,runtime_cpu,runtime_gpu,src\n"
KERNEL = '"__kernel void A(__global float* a) { a[0] = 1; }"'
BROKEN = '"__kernel void A( {"'


def write(folder: Path, text: str) -> Path:
    file = folder / "nvidia.csv"
    file.write_text(text)
    return file


def test_the_label_is_the_share_at_which_both_devices_finish_together() -> None:
    launch = Launch("b", "d", 0, 8, 64, cpu_seconds=3.0, gpu_seconds=1.0)
    assert launch.cpu_percentage == 25.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_run_time_that_is_no_time_cannot_be_built(seconds: float) -> None:
    with pytest.raises(ValueError, match="run times"):
        Launch("b", "d", 0, 8, 64, cpu_seconds=seconds, gpu_seconds=1.0)


def test_rows_that_share_a_source_share_a_kernel(tmp_path: Path) -> None:
    rows = f"x,S,8,64,3,1,{KERNEL}\nx,A,16,64,1,1,{KERNEL}\n"
    data = devmap.read("nvidia", write(tmp_path, HEADER + rows))
    assert len(data.sources) == 1
    assert [launch.kernel for launch in data.launches] == [0, 0]
    assert data.launches[0].cpu_seconds == 3e-3


def test_a_kernel_that_cannot_be_repaired_takes_its_rows_with_it(tmp_path: Path) -> None:
    rows = f"x,S,8,64,3,1,{BROKEN}\nx,A,16,64,1,1,{KERNEL}\n"
    data = devmap.read("nvidia", write(tmp_path, HEADER + rows))
    examples = examples_of(data, devmap.compile_kernels(data.sources))
    assert len(examples) == 1
    assert examples.percentage.tolist() == [50.0]
    assert not examples.repaired.any()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "lacks the columns"),
        ("benchmark,src\nx,y\n", "lacks the columns dataset, transfer"),
        (HEADER, "has no rows"),
        (f"{HEADER}x,S,8,64,zero,1,{KERNEL}\n", "row 1"),
        (f"{HEADER}x,S,8,64,0,1,{KERNEL}\n", "row 1: run times"),
        (f"{HEADER}x,S\n", "row 1"),
        ("\ufeff\0", "lacks the columns"),
    ],
)
def test_a_file_that_is_not_the_data_set_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(DatasetError, match=reason) as caught:
        devmap.read("nvidia", write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="LB_DEVMAP"):
        devmap.read("nvidia", tmp_path)


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(DatasetError, match="nvidia, amd"):
        devmap.read("intel")


@pytest.mark.slow
@pytest.mark.parametrize("name", devmap.NAMES)
def test_every_kernel_of_the_published_data_compiles(name: str) -> None:
    try:
        data = devmap.read(name)
    except DatasetError as error:
        pytest.skip(str(error))
    assert len(data.launches) == 680
    assert len(data.sources) == 247
    kernels = devmap.compile_kernels(data.sources)
    assert None not in kernels
    assert sum(not kernel.repairs for kernel in kernels if kernel) == 190
