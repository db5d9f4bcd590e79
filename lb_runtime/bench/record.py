"""What a benchmark has measured, as values and as JSON: every launch, so that any report follows from it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lb_runtime.errors import LoadBalancerError
from lb_runtime.shares.observation import Observation

SCHEMA = "lb-bench"
VERSION = 1


class BenchFileError(LoadBalancerError):
    """A file that is no benchmark of this version."""


def short(value: float) -> float:
    """A number with seven digits, which is more than a clock or a share has."""
    return float(f"{value:.7g}")


@dataclass(frozen=True, slots=True)
class Sample:
    """One launch: why its shares were chosen, and what was measured.

    `shares` are what [CPU, GPU] really ran, `part_seconds` how long each was busy, `seconds` what the
    launch took from its beginning to its merged end, `moved_bytes` what was copied for it.
    """

    why: str
    shares: tuple[float, ...]
    part_seconds: tuple[float, ...]
    seconds: float
    moved_bytes: int = 0
    is_chunked: bool = False

    @classmethod
    def of(cls, why: str, seen: Observation) -> Sample:
        """A launch that was observed, in numbers as short as they are true."""
        return cls(
            why,
            tuple(short(each) for each in seen.shares),
            tuple(short(each) for each in seen.seconds),
            short(seen.total_seconds),
            seen.moved_bytes,
            seen.is_chunked,
        )

    @property
    def observation(self) -> Observation:
        """What a policy learns from it."""
        return Observation(
            self.shares, self.part_seconds, self.seconds, self.moved_bytes, self.is_chunked
        )


@dataclass(frozen=True, slots=True)
class Span:
    """A device ran so many work-groups in `[begin_seconds, end_seconds)` from the launch's beginning."""

    device: int
    groups: int
    begin_seconds: float
    end_seconds: float


@dataclass(slots=True)
class KernelRecord:
    """All that was measured of one kernel; it grows while a benchmark runs.

    `key` says what is measured: a record of another key is not gone on with. `reasons` are why the kernel
    is not split, empty where it is. `sweep` has the launches by CPU share, as text with 6 digits; `rounds`
    those of every way, the n-th of each in one round. `timelines` has one launch each of "cut" and
    "chunks", `checks` what comparing bytes found by way, `wrong` the ways whose bytes differ.
    `dropped_rounds` counts rounds that others disturbed; they are in `rounds` no more.
    """

    name: str
    key: str
    launch: str = ""
    groups: int = 1
    may_chunk: bool = False
    data_dependent_loops: bool = False
    reasons: tuple[str, ...] = ()
    sweep: dict[str, list[Sample]] = field(default_factory=dict)
    best_share: float | None = None
    predicted_share: float | None = None
    rounds: dict[str, list[Sample]] = field(default_factory=dict)
    timelines: dict[str, list[Span]] = field(default_factory=dict)
    checks: dict[str, str] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()
    dropped_rounds: int = 0
    is_done: bool = False


@dataclass(slots=True)
class Bench:
    """A benchmark: where and how it was measured, and what."""

    setup: dict[str, Any] = field(default_factory=dict)
    kernels: dict[str, KernelRecord] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For a file: what `of_json` reads."""
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "setup": self.setup,
            "kernels": [dataclasses.asdict(each) for each in self.kernels.values()],
        }

    @classmethod
    def of_json(cls, given: Any) -> Bench:
        """What `as_json` made. Raises BenchFileError for anything else."""
        if not isinstance(given, Mapping) or given.get("schema") != SCHEMA:
            raise BenchFileError("no benchmark: expected what `lb bench` has written")
        if given.get("version") != VERSION:
            raise BenchFileError(
                f"a benchmark of version {given.get('version')!r}, expected {VERSION}: measure anew"
            )
        try:
            records = [_record(each) for each in given["kernels"]]
            return cls(dict(given["setup"]), {each.name: each for each in records})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BenchFileError(f"a damaged benchmark ({error!r}): measure anew") from error

    @classmethod
    def read(cls, path: Path) -> Bench:
        """Read a file. Raises BenchFileError where it is no benchmark, OSError where there is none."""
        try:
            return cls.of_json(json.loads(path.read_text("utf-8")))
        except ValueError as error:
            raise BenchFileError(f"{path} is no JSON: {error}") from error
        except BenchFileError as error:
            raise BenchFileError(f"{path}: {error}") from error

    def write(self, path: Path) -> None:
        """Write a file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(_text(self.as_json()), "utf-8")
        draft.replace(path)


def _text(value: dict[str, Any]) -> str:
    """JSON with a line for each launch."""

    def lines(each: Any, indent: str) -> str:
        deep = indent + " "
        if isinstance(each, dict) and any(
            isinstance(inner, dict | list) for inner in each.values()
        ):
            inner = (f"{deep}{json.dumps(n)}: {lines(v, deep)}" for n, v in each.items())
            return "{\n" + ",\n".join(inner) + f"\n{indent}}}"
        if isinstance(each, list | tuple) and each and isinstance(each[0], dict):
            return "[\n" + ",\n".join(deep + lines(v, deep) for v in each) + f"\n{indent}]"
        return json.dumps(each)

    return lines(value, "") + "\n"


def _record(given: Mapping[str, Any]) -> KernelRecord:
    facts = {
        **given,
        "reasons": tuple(given["reasons"]),
        "wrong": tuple(given["wrong"]),
        "sweep": {share: _samples(each) for share, each in given["sweep"].items()},
        "rounds": {way: _samples(each) for way, each in given["rounds"].items()},
        "timelines": {
            way: [Span(**span) for span in spans] for way, spans in given["timelines"].items()
        },
    }
    return KernelRecord(**facts)


def _samples(given: list[dict[str, Any]]) -> list[Sample]:
    samples = []
    for each in given:
        lists = {name: tuple(each[name]) for name in ("shares", "part_seconds")}
        samples.append(Sample(**{**each, **lists}))
    return samples
