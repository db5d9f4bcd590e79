"""Measures one kernel in all ways, beside each other: a sweep of cuts, then rounds of every way.

In a round every way launches once, in an order that the seed shuffles; policies learn after it. A sample is
kept of every launch, and what policies have learnt follows from the samples: an interrupted measurement goes
on where it ended.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from lb_runtime.bench.record import KernelRecord, Sample, Span
from lb_runtime.shares.observation import Choice, Observation, whole_on
from lb_runtime.shares.policy import Fixed, Policy, PolicyName

CPU_ONLY, GPU_ONLY, HALVES = "CPU only", "GPU only", "50/50"
PREDICTED, ADAPTIVE, DYNAMIC = "predicted", "adaptive", "dynamic"
CUT = "best cut"
WAYS = (CPU_ONLY, GPU_ONLY, HALVES, PREDICTED, ADAPTIVE, DYNAMIC, CUT)
"""All ways of a round, as tables list them. The oracle is the best of the static ones and of chunks."""


class Subject(Protocol):
    """A kernel's launch that can be run as chosen: real, or simulated in tests."""

    @property
    def groups(self) -> int:
        """The work-groups along the dimension that is cut; 1 where it cannot be cut."""
        ...

    @property
    def may_chunk(self) -> bool:
        """Whether it can run in chunks."""
        ...

    def policy(self, name: PolicyName) -> Policy:
        """A policy that begins with what the model says."""
        ...

    def run(self, choice: Choice) -> Observation:
        """Run a launch, always from the same data."""
        ...

    def timeline(self) -> list[Span]:
        """When each device ran what in the launch that ran last."""
        ...

    def check(self, choice: Choice) -> tuple[bool, str]:
        """Run a launch and compare its bytes with both devices' own; whether they are right, in words."""
        ...


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: launches of each way, of each share of a sweep, and how fine the sweep is.

    The sweep has `coarse` + 1 shares from 0 to 1, then `finer` times two more shares around the best one.
    Rounds in which `others` saw more than `quiet` of the machine taken are repeated, up to `patience` times.
    Each launch that counts comes right after `warm_ups` of the same choice: programs launch one kernel again
    and again, and the first launch after another way's is slower.
    """

    rounds: int = 15
    sweep_times: int = 3
    coarse: int = 16
    finer: int = 2
    seed: int = 0
    quiet: float = 0.06
    patience: int = 3
    warm_ups: int = 1


QUICK = Effort(rounds=8, sweep_times=1, coarse=8, finer=1, patience=0, warm_ups=0)


class Others(Protocol):
    """Tells how much of the machine others took."""

    def begin(self) -> None:
        """From now on."""
        ...

    def part(self) -> float:
        """The part of all cores' time since then."""
        ...


def measure(
    subject: Subject,
    record: KernelRecord,
    effort: Effort,
    others: Others,
    tell: Callable[[int], None],
) -> None:
    """Measure what a record lacks; it is whole after every launch, whatever ends the measurement.

    `tell` is told how many launches were added.
    """
    # Drivers compile in their first launches, and pages are touched.
    for shares in (whole_on(0, 2), whole_on(1, 2), (0.5, 0.5)):
        subject.run(Choice(shares))
    record.groups, record.may_chunk = subject.groups, subject.may_chunk
    if subject.groups > 1:
        _sweep(subject, record, effort, tell)
    policies = _policies(subject, record)
    _rounds(subject, record, effort, others, policies, tell)
    _look(subject, record, policies)
    record.is_done = True


def planned(groups_are_many: bool, effort: Effort) -> int:
    """About how many launches a kernel takes, for a progress bar."""
    shares = effort.coarse + 1 + 2 * effort.finer if groups_are_many else 0
    return shares * effort.sweep_times + effort.rounds * len(WAYS)


def share_text(share: float) -> str:
    """A share as the sweep's key."""
    return f"{share:.6f}"


def sweep_medians(record: KernelRecord) -> dict[float, float]:
    """The median seconds by CPU share, by rising share."""
    return {
        float(share): median(each.seconds for each in samples)
        for share, samples in sorted(record.sweep.items(), key=lambda pair: float(pair[0]))
        if samples
    }


def _sweep(
    subject: Subject, record: KernelRecord, effort: Effort, tell: Callable[[int], None]
) -> None:
    """Coarse shares from 0 to 1, then finer and finer around the best."""
    groups = subject.groups
    _measure_shares(
        subject, record, effort, [n / effort.coarse for n in range(effort.coarse + 1)], tell
    )
    step = 1.0 / effort.coarse
    for _ in range(effort.finer):
        step /= 2.0
        known = sweep_medians(record)
        best = min(known, key=lambda share: known[share])
        around = [share for share in (best - step, best + step) if 0.0 < share < 1.0]
        if step * groups >= 0.5:
            _measure_shares(subject, record, effort, around, tell)
    known = sweep_medians(record)
    cuts = [share for share in known if 0.0 < share < 1.0]
    record.best_share = min(cuts, key=lambda share: known[share]) if cuts else None


def _measure_shares(
    subject: Subject,
    record: KernelRecord,
    effort: Effort,
    shares: Sequence[float],
    tell: Callable[[int], None],
) -> None:
    """Launch each share as often as is planned, in shuffled rounds; shares are whole work-groups."""
    groups = subject.groups
    wanted = sorted({min(groups, max(0, round(share * groups))) / groups for share in shares})
    for number in range(effort.sweep_times):
        order = list(wanted)
        random.Random(f"{effort.seed} {record.key} sweep {number}").shuffle(order)  # noqa: S311
        for share in order:
            samples = record.sweep.setdefault(share_text(share), [])
            if len(samples) <= number:
                choice = Choice((share, 1.0 - share), why="sweep")
                samples.append(_launched(subject, choice, effort))
            tell(1)


def _launched(subject: Subject, choice: Choice, effort: Effort) -> Sample:
    """A launch, after some like it that do not count."""
    for _ in range(effort.warm_ups):
        subject.run(choice)
    return Sample.of(choice.why, subject.run(choice))


def _policies(subject: Subject, record: KernelRecord) -> dict[str, Policy]:
    """The ways of a round; those that learn know what the record's launches have shown."""
    ways: dict[str, Policy] = {
        CPU_ONLY: Fixed(whole_on(0, 2), "single"),
        GPU_ONLY: Fixed(whole_on(1, 2), "single"),
    }
    if subject.groups > 1:
        ways[HALVES] = Fixed((0.5, 0.5))
        ways[PREDICTED] = subject.policy("predicted")
        record.predicted_share = ways[PREDICTED].choose().shares[0]
        ways[ADAPTIVE] = subject.policy("adaptive")
        if subject.may_chunk:
            ways[DYNAMIC] = subject.policy("dynamic")
        if record.best_share is not None:
            ways[CUT] = Fixed((record.best_share, 1.0 - record.best_share), "best of the sweep")
    for way, policy in ways.items():
        for sample in record.rounds.setdefault(way, []):
            policy.learn(sample.observation)
    return ways


def _rounds(
    subject: Subject,
    record: KernelRecord,
    effort: Effort,
    others: Others,
    policies: dict[str, Policy],
    tell: Callable[[int], None],
) -> None:
    """Rounds of every way; a round that is not finished, or that others disturbed, is not kept."""
    done = min(len(samples) for samples in record.rounds.values())
    while done < effort.rounds:
        order = list(policies)
        random.Random(f"{effort.seed} {record.key} {done}").shuffle(order)  # noqa: S311
        others.begin()
        found: dict[str, Sample] = {}
        for way in order:
            choice = policies[way].choose()
            found[way] = _launched(subject, choice, effort)
        if others.part() > effort.quiet and record.dropped_rounds < effort.patience:
            record.dropped_rounds += 1
            continue
        for way, sample in found.items():
            record.rounds[way].append(sample)
            policies[way].learn(sample.observation)
        done += 1
        tell(len(order))


def _look(subject: Subject, record: KernelRecord, policies: dict[str, Policy]) -> None:
    """Compare every way's bytes once, and look at one cut and at one launch in chunks from inside."""
    wrong = []
    for way, policy in policies.items():
        right, record.checks[way] = subject.check(policy.choose())
        if not right:
            wrong.append(way)
        if way in (CUT, DYNAMIC):
            record.timelines[way] = subject.timeline()
    record.wrong = tuple(wrong)
