"""The devmap data set: kernels that were timed on a CPU and on a GPU.

680 launches of 247 distinct kernels (Cummins et al., PACT 2017), once with an AMD and once with an
NVIDIA graphics card. The times of the two files are of whole launches on one device; the CPU share
that a launch would be split at is the one at which both devices finish together.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from predictor.datasets.repair import repair
from predictor.errors import CompileError, DatasetError
from predictor.frontend import compile_source
from predictor.program_graph import ProgramGraph, build

NAMES = ("nvidia", "amd")
COLUMNS = ("benchmark", "dataset", "transfer", "wgsize", "runtime_cpu", "runtime_gpu", "src")
_FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "devmap"


@dataclass(frozen=True, slots=True)
class Launch:
    """One measured launch; `kernel` is the index of its source in the data set."""

    benchmark: str
    dataset: str
    kernel: int
    transfer_bytes: int
    work_group_size: int
    cpu_seconds: float
    gpu_seconds: float

    def __post_init__(self) -> None:
        times = (self.cpu_seconds, self.gpu_seconds)
        if not all(math.isfinite(time) and time > 0.0 for time in times):
            raise ValueError(f"run times {times} are not positive numbers of seconds")
        if self.transfer_bytes < 0 or self.work_group_size < 0:
            raise ValueError("transfer and wgsize must not be negative")

    @property
    def cpu_percentage(self) -> float:
        """The label: the share of the work, in whole percent, at which both devices finish together.

        Source: the thesis' data set, which rounds the share to two decimals.
        """
        return 100.0 * round(self.gpu_seconds / (self.cpu_seconds + self.gpu_seconds), 2)


@dataclass(frozen=True, slots=True)
class Devmap:
    """A file of the data set as values; `sha256` is that of the file."""

    name: str
    sha256: str
    sources: tuple[str, ...]
    launches: tuple[Launch, ...]


@dataclass(frozen=True, slots=True)
class Kernel:
    """The graph of a source, and what had to be changed to compile it (see `repair.py`)."""

    graph: ProgramGraph
    repairs: tuple[str, ...]


def locate(name: str, path: Path | None = None) -> Path:
    """The file of a data set: `path` (a file, or its folder), LB_DEVMAP, or the shared folder.

    Raises DatasetError where there is no such file.
    """
    if name not in NAMES:
        raise DatasetError(f"no data set {name!r}; there are {', '.join(NAMES)}")
    given = path or (Path(os.environ["LB_DEVMAP"]) if os.environ.get("LB_DEVMAP") else _FOLDER)
    file = given / f"{name}.csv" if given.is_dir() else given
    if not file.is_file():
        raise DatasetError(f"no data set at {file}; give --data or set LB_DEVMAP to its folder")
    return file


def read(name: str, path: Path | None = None) -> Devmap:
    """The launches of a data set. Raises DatasetError where the file is not what it should be."""
    file = locate(name, path)
    content = file.read_bytes()
    try:
        reader = csv.DictReader(content.decode("utf-8").splitlines(keepends=True))
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise DatasetError(f"{file} lacks the columns {', '.join(missing)}")
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file} is not a table of comma-separated values: {error}") from error
    if not rows:
        raise DatasetError(f"{file} has no rows")
    numbers: dict[str, int] = {}
    launches = []
    for line, row in enumerate(rows, 1):
        kernel = numbers.setdefault(row["src"], len(numbers))
        try:
            launches.append(_launch(row, kernel))
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{file}, row {line}: {error}") from error
    return Devmap(name, hashlib.sha256(content).hexdigest(), tuple(numbers), tuple(launches))


def compile_kernels(
    sources: Sequence[str], advance: Callable[[], object] = lambda: None
) -> list[Kernel | None]:
    """The kernels of sources in their order, None where one cannot be compiled even after repair.

    `advance` is called after each. The front end's own disk cache makes a second call fast.
    """
    kernels: list[Kernel | None] = []
    for source in sources:
        try:
            repaired = repair(source, compile_source)
        except CompileError:
            kernels.append(None)
        else:
            graph = build(compile_source(repaired.source))
            kernels.append(Kernel(graph, repaired.changes))
        advance()
    return kernels


def _launch(row: dict[str, str], kernel: int) -> Launch:
    return Launch(
        benchmark=row["benchmark"],
        dataset=row["dataset"],
        kernel=kernel,
        transfer_bytes=int(float(row["transfer"])),
        work_group_size=int(float(row["wgsize"])),
        cpu_seconds=float(row["runtime_cpu"]) / 1e3,
        gpu_seconds=float(row["runtime_gpu"]) / 1e3,
    )
