"""Integer atomics of several parts, combined, leave what one device would have left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from splitting import Written, plan_of, run_and_verify

import lb_runtime.memory.atomics as atomics_module
from lb_runtime.analysis.verdict import AtomicZone, Merge
from lb_runtime.contexts import OpenPair
from lb_runtime.errors import ExecutionError, RaceError
from lb_runtime.execute import execute
from lb_runtime.launch import NDRange
from lb_runtime.memory.atomics import OPERATIONS, Words, combined, write_combined
from lb_runtime.verify import Outcome, Verification

BINS, ITEMS, FIRST = 256, 1024, 6
"""Items fall into bins at random, about four in each; the bins begin at element `FIRST` of the buffer."""


def applied(operation: str, value: int, operand: int, bits: int, is_signed: bool) -> int:
    """What one atomic makes of an integer, in Python's own integers (OpenCL 1.2, section 6.12.11)."""
    result = {
        "add": lambda: value + operand,
        "min": lambda: min(value, operand),
        "max": lambda: max(value, operand),
        "and": lambda: value & operand,
        "or": lambda: value | operand,
        "xor": lambda: value ^ operand,
    }[operation]() % (1 << bits)
    return result - (1 << bits) if is_signed and result >> (bits - 1) else result


zones_of_one_kind = st.tuples(
    st.sampled_from(OPERATIONS), st.sampled_from([4, 8]), st.booleans(), st.integers(1, 4)
)


@given(st.data(), st.lists(zones_of_one_kind, min_size=1, max_size=3), st.integers(1, 4))
def test_the_order_and_place_of_atomics_do_not_matter(
    data: st.DataObject, kinds: list[tuple[str, int, bool, int]], part_count: int
) -> None:
    """Operations dealt to parts at random leave what all of them leave one after the other."""
    zones: list[AtomicZone] = []
    stop = 0
    for operation, width, is_signed, count in kinds:
        start = stop + data.draw(st.integers(0, 5))
        stop = start + count * width
        zones.append(AtomicZone(operation, start, stop, width, is_signed))
    size = stop + data.draw(st.integers(0, 3))
    original = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
    whole = original.copy()
    parts = [original.copy() for _ in range(part_count)]
    for zone in zones:
        bits = 8 * zone.width_bytes
        low, high = (-(1 << bits - 1), 1 << bits - 1) if zone.is_signed else (0, 1 << bits)
        kind = np.dtype(f"{'i' if zone.is_signed else 'u'}{zone.width_bytes}")
        count = (zone.stop - zone.start) // zone.width_bytes
        for _ in range(data.draw(st.integers(0, 6))):
            element = data.draw(st.integers(0, count - 1))
            operand = data.draw(st.integers(low, high - 1))
            for copy in (whole, parts[data.draw(st.integers(0, part_count - 1))]):
                words = copy[zone.start : zone.stop].view(kind)
                words[element] = applied(
                    zone.operation, int(words[element]), operand, bits, zone.is_signed
                )
    merged = original.copy()
    first = data.draw(st.integers(0, zones[0].start))
    write_combined(merged, zones, [first] * part_count, [part[first:] for part in parts])
    assert np.array_equal(merged, whole)


def test_an_operation_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="'nand' given"):
        combined("nand", np.zeros(1, np.uint32), [])


@dataclass(frozen=True)
class Atomics:
    """A kernel that lets each item change the bin that its number names by one atomic."""

    source: str
    zone: AtomicZone
    dtype: str

    def values(self) -> list[npt.NDArray[np.generic]]:
        random = np.random.default_rng(3)
        where = random.integers(0, BINS, ITEMS, dtype=np.int32)
        kind = np.dtype(self.dtype)
        limits = np.iinfo(kind)
        operands = random.integers(limits.min, limits.max, ITEMS, kind, endpoint=True)
        bins = random.integers(limits.min, limits.max, FIRST + BINS + 3, kind, endpoint=True)
        return [where, operands, bins]


def kernel_of(function: str, type_text: str, dtype: str, operation: str) -> Atomics:
    width = np.dtype(dtype).itemsize
    prefix = "atom" if width == 8 else "atomic"
    operand = "" if function in ("inc", "dec") else ", operand[i]"
    extensions = "".join(
        f"#pragma OPENCL EXTENSION cl_khr_int64_{kind}_atomics : enable\n"
        for kind in ("base", "extended")
        if width == 8
    )
    source = f"""{extensions}
    kernel void change(global const int* bin, global const {type_text}* operand,
                       volatile global {type_text}* bins) {{
        int i = get_global_id(0);
        {prefix}_{function}(bins + {FIRST} + bin[i]{operand});
    }}"""
    start = FIRST * width
    zone = AtomicZone(operation, start, start + BINS * width, width, dtype.startswith("i"))
    return Atomics(source, zone, dtype)


FUNCTIONS = {"sub": "add", "inc": "add", "dec": "add"} | {name: name for name in OPERATIONS}
TYPES = {"int": "i4", "uint": "u4", "long": "i8", "ulong": "u8"}


def split(
    pair: OpenPair, atomics: Atomics, merge: Merge = Merge.ATOMIC, zone: AtomicZone | None = None
) -> tuple[Verification, bool]:
    """The verification, and whether bytes outside of the zone stayed what they were."""
    values = atomics.values()
    before = values[2].copy()
    zones = (zone or atomics.zone,) if merge is Merge.ATOMIC else ()
    nd_range = NDRange.of((ITEMS,), (32,))
    written = {2: Written(merge, zones=zones)}
    plan = plan_of(atomics.source, "change", nd_range, values, written=written)
    execution, verification = run_and_verify(pair, plan, values, atomics.source)
    if merge is Merge.ATOMIC:
        assert execution.downloaded_bytes == 2 * (atomics.zone.stop - atomics.zone.start)
    beside = np.ones(before.size, bool)
    beside[FIRST : FIRST + BINS] = False
    return verification, bool(np.array_equal(values[2][beside], before[beside]))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("type_text", TYPES)
def test_atomics_of_two_devices_combine(pair: OpenPair, function: str, type_text: str) -> None:
    if type_text in ("long", "ulong"):
        wanted = {"cl_khr_int64_base_atomics", "cl_khr_int64_extended_atomics"}
        for device in pair.devices:
            if not wanted <= set(device.info.extensions):
                pytest.skip(f"{device.label} has no atomics on 64 bits")
    atomics = kernel_of(function, type_text, TYPES[type_text], FUNCTIONS[function])
    verification, kept = split(pair, atomics)
    assert verification.outcome is Outcome.IDENTICAL
    assert kept


def test_atomics_of_many_parts_on_each_device_combine(pair: OpenPair) -> None:
    """Parts of one device share its buffers, and each must begin with the original nevertheless."""
    atomics = kernel_of("add", "uint", "u4", "add")
    values = atomics.values()
    written = {2: Written(Merge.ATOMIC, zones=(atomics.zone,))}
    nd_range = NDRange.of((ITEMS,), (32,))
    plan = plan_of(atomics.source, "change", nd_range, values, (0.125,) * 8, written=written)
    parts = tuple(replace(part, device=number % 2) for number, part in enumerate(plan.parts))
    plan = replace(plan, parts=parts)
    assert run_and_verify(pair, plan, values, atomics.source)[1].outcome is Outcome.IDENTICAL


@pytest.mark.parametrize("merge", [Merge.DIFFERENCE, Merge.RANGE])
def test_a_sum_that_is_merged_otherwise_is_caught(pair: OpenPair, merge: Merge) -> None:
    """By difference one part's change is lost, by range two parts leave the same bytes."""
    atomics = kernel_of("add", "uint", "u4", "add")
    assert split(pair, atomics)[0].ok
    assert is_caught(pair, atomics, merge)


def is_caught(pair: OpenPair, atomics: Atomics, merge: Merge) -> bool:
    if merge is Merge.RANGE:
        # Each part's groups are taken to leave bins of their own.
        values = atomics.values()
        written = {2: Written(merge, group_bytes=32)}
        plan = plan_of(
            atomics.source, "change", NDRange.of((ITEMS,), (32,)), values, written=written
        )
        return not run_and_verify(pair, plan, values, atomics.source)[1].ok
    try:
        return not split(pair, atomics, merge)[0].ok
    except RaceError:
        return True


@pytest.mark.parametrize("operation", ["add", "xor"])
def test_combining_without_taking_the_original_off_is_caught(
    pair: OpenPair, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    atomics = kernel_of(operation, "uint", "u4", operation)
    assert split(pair, atomics)[0].ok

    def all_of_them(operation: str, original: Words, parts: Sequence[Words]) -> Words:
        function = np.add if operation == "add" else np.bitwise_xor
        return function.reduce(parts)  # type: ignore[no-any-return]  # of Words

    monkeypatch.setattr(atomics_module, "combined", all_of_them)
    assert not split(pair, atomics)[0].ok


@pytest.mark.parametrize("function", ["min", "max"])
def test_a_signed_minimum_taken_as_unsigned_is_caught(pair: OpenPair, function: str) -> None:
    atomics = kernel_of(function, "int", "i4", function)
    assert split(pair, atomics)[0].ok
    assert not split(pair, atomics, zone=replace(atomics.zone, is_signed=False))[0].ok


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stop": 4 * (FIRST + BINS + 4)}, "reaches byte"),
        ({"stop": 4 * FIRST + 6}, "whole numbers of 4 bytes"),
        ({"width_bytes": 2}, "on 4 or 8 bytes"),
        ({"operation": "nand"}, "on 4 or 8 bytes"),
    ],
)
def test_zones_that_cannot_be_combined_are_refused(
    pair: OpenPair, change: dict[str, object], said: str
) -> None:
    atomics = kernel_of("add", "uint", "u4", "add")
    values = atomics.values()
    zone = replace(atomics.zone, **change)  # type: ignore[arg-type]  # the parameters above
    plan = plan_of(
        atomics.source,
        "change",
        NDRange.of((ITEMS,), (32,)),
        values,
        written={2: Written(Merge.ATOMIC, zones=(zone,))},
    )
    with pytest.raises(ExecutionError, match=said):
        execute(plan, pair.devices, values)


@pytest.mark.parametrize(
    ("needs", "zones", "said"),
    [
        (False, 1, "must need and leave all of it"),
        (True, 2, "zones that share no byte"),
    ],
)
def test_zones_that_are_not_there_or_there_twice_are_refused(
    pair: OpenPair, needs: bool, zones: int, said: str
) -> None:
    atomics = kernel_of("add", "uint", "u4", "add")
    values = atomics.values()
    written = {2: Written(Merge.ATOMIC, zones=(atomics.zone,))}
    plan = plan_of(atomics.source, "change", NDRange.of((ITEMS,), (32,)), values, written=written)
    parts = []
    for part in plan.parts:
        *others, bins = part.buffers
        wrong = replace(
            bins,
            needs=bins.needs if needs else others[0].leaves,
            zones=(atomics.zone, replace(atomics.zone, operation="xor"))[:zones],
        )
        parts.append(replace(part, buffers=(*others, wrong)))
    with pytest.raises(ExecutionError, match=said):
        execute(replace(plan, parts=tuple(parts)), pair.devices, values)
