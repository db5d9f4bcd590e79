"""What a story comes to: frozen values, as JSON and as tables for a reader.

A launch is counted once: it was split, or it was passed to the user's device as it was. Time saved is
measured, launch by launch of one size: what such a launch takes on the user's device alone, less what it
took split. Where nothing was timed alone, nothing is claimed.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lb_runtime.passes import advice

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PAIRS = 64
"""Of so many samples of each side, evenly spaced in rank, all differences are taken."""

Size = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of `count` measured values, and the quartiles around it."""

    low: float
    median: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """The spread of some values; None of no value."""
        ordered = sorted(values)
        if not ordered:
            return None
        if len(ordered) == 1:
            return cls(ordered[0], ordered[0], ordered[0], 1)
        low, median, high = statistics.quantiles(ordered, n=4, method="inclusive")
        return cls(low, median, high, len(ordered))


@dataclass(frozen=True, slots=True)
class Passed:
    """Launches that went to the user's device as they were, for one reason code."""

    code: str
    launches: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SizeReport:
    """The launches of one kernel with one global size (None: not told), as far as they were timed.

    `split_launches` were split in all; `alone` and `split` are seconds of whole launches, `saved` is the
    difference of one of the former and one of the latter, seconds (negative: lost).
    """

    size: Size | None
    split_launches: int
    alone: Spread | None
    split: Spread | None
    saved: Spread | None


@dataclass(frozen=True, slots=True)
class KernelReport:
    """The launches of all kernels of one name; those `timed` are by size."""

    name: str
    split: int
    passed: tuple[Passed, ...]
    cpu_share: Spread | None
    device_seconds: tuple[tuple[str, float], ...]
    bytes_to_mirror: int
    bytes_home: int
    timed: tuple[SizeReport, ...]

    @property
    def launches(self) -> int:
        """All launches."""
        return self.split + sum(each.launches for each in self.passed)

    @property
    def saved(self) -> Spread | None:
        """Seconds saved by all split launches that can be compared, `count` of them; None: not measured.

        The quartiles are those of one launch times their number: as if all were off in one direction.
        """
        return _total(self.timed)


@dataclass(frozen=True, slots=True)
class OperationReport:
    """Calls of pyopencl (no launches) that made bytes come home to the user's device."""

    name: str
    calls: int
    bytes_home: int


@dataclass(frozen=True, slots=True)
class FaultReport:
    """A cause that made work end on the user's device: where, what, how often."""

    step: str
    cause: str
    text: str
    times: int


@dataclass(frozen=True, slots=True)
class Report:
    """What happened to a program's launches. Kernels are in the order of their first launch."""

    kernels: tuple[KernelReport, ...] = ()
    operations: tuple[OperationReport, ...] = ()
    faults: tuple[FaultReport, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def launches(self) -> int:
        """All launches of all kernels."""
        return sum(kernel.launches for kernel in self.kernels)

    @property
    def split(self) -> int:
        """The launches that ran on both devices."""
        return sum(kernel.split for kernel in self.kernels)

    @property
    def passed(self) -> int:
        """The launches that went to the user's device as they were."""
        return self.launches - self.split

    @property
    def bytes_to_mirror(self) -> int:
        """Bytes that split launches sent to the other device."""
        return sum(kernel.bytes_to_mirror for kernel in self.kernels)

    @property
    def bytes_home(self) -> int:
        """Bytes that came back to the user's device, for launches and for other calls."""
        return sum(kernel.bytes_home for kernel in self.kernels) + sum(
            operation.bytes_home for operation in self.operations
        )

    @property
    def saved(self) -> Spread | None:
        """Seconds saved by all split launches that can be compared; None: not measured."""
        return _total(size for kernel in self.kernels for size in kernel.timed)

    def to_json(self) -> dict[str, Any]:
        """For a program to read; times in seconds, `saved` null where it was not measured."""
        shown = asdict(self)
        for mine, kernel in zip(shown["kernels"], self.kernels):
            mine["launches"] = kernel.launches
            mine["saved_seconds"] = asdict(kernel.saved) if kernel.saved else None
            mine["device_seconds"] = dict(kernel.device_seconds)
            for passed in mine["passed"]:
                passed["advice"] = advice(passed["code"])
        return {
            "launches": self.launches,
            "split": self.split,
            "passed": self.passed,
            "bytes_to_mirror": self.bytes_to_mirror,
            "bytes_home": self.bytes_home,
            "saved_seconds": asdict(self.saved) if self.saved else None,
            **shown,
        }

    def render(self, console: Console) -> None:
        """Print it for a reader; made for 80 columns, and more where there are more."""
        for each in self._blocks():
            console.print(each, soft_wrap=isinstance(each, str), highlight=False, markup=False)

    def _blocks(self) -> Iterable[Table | str]:
        if not self.launches:
            yield "lb-runtime: no kernel was launched"
        else:
            yield self._summary()
            yield _counts(self.kernels)
        if any(kernel.device_seconds for kernel in self.kernels):
            yield _devices(self.kernels)
        if any(kernel.timed for kernel in self.kernels):
            yield _savings(self.kernels)
        if any(kernel.passed for kernel in self.kernels):
            yield _reasons(self.kernels)
        if self.operations:
            yield _operations(self.operations)
        if self.faults:
            yield _faults(self.faults)
        for note in self.notes:
            yield f"lb-runtime: {note}"

    def _summary(self) -> str:
        saved = "time saved not measured"
        if self.saved:
            word = "saved" if self.saved.median >= 0 else "lost"
            saved = f"{duration(abs(self.saved.median))} {word}"
        return (
            f"lb-runtime: {self.launches:,} launches, {self.split:,} split, {self.passed:,} on the "
            f"user's device alone; {saved}"
        )


def difference(alone: Sequence[float], split: Sequence[float]) -> Spread | None:
    """The spread of (alone - split) over pairs of measured seconds; None unless there are both.

    A launch is timed one way or the other, never both: each time alone is held against each time split.
    """
    return Spread.of(one - other for one in _ranks(alone) for other in _ranks(split))


def size_text(size_bytes: int) -> str:
    """Bytes for a reader, in binary units."""
    value, units = float(size_bytes), ["TiB", "GiB", "MiB", "KiB"]
    if value < 1024:
        return f"{size_bytes} B"
    while value >= 1000 and units:
        value, unit = value / 1024, units.pop()
    return f"{value:,.1f} {unit}"


def duration(seconds: float) -> str:
    """Seconds for a reader, in the unit that leaves few digits."""
    size = abs(seconds)
    if size >= 1:
        return f"{seconds:,.2f} s"
    return f"{seconds * 1e3:.2f} ms" if size >= 1e-3 else f"{seconds * 1e6:.1f} us"


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    if len(ordered) <= PAIRS:
        return ordered
    last = len(ordered) - 1
    return [ordered[round(rank * last / (PAIRS - 1))] for rank in range(PAIRS)]


def _total(sizes: Iterable[SizeReport]) -> Spread | None:
    compared = [(size.split_launches, size.saved) for size in sizes if size.saved]
    if not compared:
        return None
    return Spread(
        sum(launches * saved.low for launches, saved in compared),
        sum(launches * saved.median for launches, saved in compared),
        sum(launches * saved.high for launches, saved in compared),
        sum(launches for launches, _ in compared),
    )


def _table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    # Imported here: a program that never asks for a report does not pay for the tables.
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column in right,
            overflow="fold",
        )
    return table


def _counts(kernels: Sequence[KernelReport]) -> Table:
    columns = ("launches", "split", "CPU share", "to mirror", "home")
    table = _table("launches", "kernel", *columns, right=columns)
    for kernel in kernels:
        table.add_row(
            _text(kernel.name),
            f"{kernel.launches:,}",
            f"{kernel.split:,}",
            f"{kernel.cpu_share.median:.2f}" if kernel.cpu_share else "-",
            size_text(kernel.bytes_to_mirror),
            size_text(kernel.bytes_home),
        )
    return table


def _devices(kernels: Sequence[KernelReport]) -> Table:
    table = _table("time of split launches", "kernel", "device", "time", right=("time",))
    for kernel in kernels:
        for number, (device, seconds) in enumerate(kernel.device_seconds):
            name = _text("" if number else kernel.name)
            table.add_row(name, _text(device), duration(seconds))
    return table


def _savings(kernels: Sequence[KernelReport]) -> Table:
    columns = ("alone", "split", "saved", "quartiles")
    table = _table(
        "time saved by each launch, against the user's device alone (medians)",
        "kernel",
        *columns,
        right=columns,
    )
    for kernel in kernels:
        for size in kernel.timed:
            saved = size.saved
            sizes = f" {'x'.join(map(str, size.size))}" if size.size else ""
            table.add_row(
                _text(kernel.name + sizes),
                _median(size.alone),
                _median(size.split),
                duration(saved.median) if saved else "not measured",
                f"{duration(saved.low)} to {duration(saved.high)}" if saved else "",
            )
    return table


def _median(spread: Spread | None) -> str:
    return duration(spread.median) if spread else "-"


def _reasons(kernels: Sequence[KernelReport]) -> Table:
    table = _table("why launches were not split", "kernel", "launches", "why", right=("launches",))
    for kernel in kernels:
        for number, passed in enumerate(kernel.passed):
            detail = f"{passed.detail}\n" if passed.detail else ""
            table.add_row(
                _text("" if number else kernel.name),
                f"{passed.launches:,}",
                _text(f"{detail}[{passed.code}] {advice(passed.code)}"),
            )
    return table


def _operations(operations: Sequence[OperationReport]) -> Table:
    columns = ("calls", "bytes")
    table = _table("calls that brought bytes home", "call", *columns, right=columns)
    for operation in operations:
        table.add_row(
            _text(operation.name), f"{operation.calls:,}", size_text(operation.bytes_home)
        )
    return table


def _faults(faults: Sequence[FaultReport]) -> Table:
    table = _table(
        "faults (the user's device did the work)", "step", "times", "cause", right=("times",)
    )
    for fault in faults:
        table.add_row(_text(fault.step), f"{fault.times:,}", _text(f"{fault.cause}: {fault.text}"))
    return table


def _text(text: str) -> Any:
    """A cell that is printed as it is: brackets are no markup."""
    from rich.text import Text

    return Text(text)
