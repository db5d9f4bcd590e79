"""What the history is asked and told of one kernel: its launches in terms that outlive the process.

A launch is looked for as it is, and then as earlier processes came to see it: with integers that change
from launch to launch left open.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from lb_runtime.dropin.arguments import BufferRef, Captured, LocalRef
from lb_runtime.dropin.entry import Question
from lb_runtime.history.known import LONGEST_NAME, LONGEST_TEXT, Key, Known

if TYPE_CHECKING:
    from lb_runtime.devices import DeviceInfo
    from lb_runtime.dropin.mirror import Mirror
    from lb_runtime.history.writer import History
    from lb_runtime.kernel import Kernel

ANY = "any"
"""What stands for an integer that changes from launch to launch."""
NUMBER_BYTES = 8


class Recall:
    """One kernel's part of the history, on one pair of devices."""

    def __init__(self, history: History, kernel: Kernel, mirror: Mirror) -> None:
        self._history = history
        self._hash = kernel_hash(kernel)
        self._pair = pair_text(mirror)
        self._name = kernel.name.encode("ascii", "replace").decode()[:LONGEST_NAME]
        self._known = history.of_kernel(self._hash, self._pair)
        self._open = {_open_arguments(bucket) for bucket in self._known} - {frozenset()}

    @property
    def is_empty(self) -> bool:
        """Whether none of the kernel's launches is known."""
        return not self._known

    def find(
        self, question: Question, skipped: Collection[int], varying: frozenset[int]
    ) -> tuple[Known, frozenset[int]] | None:
        """What is known of such a launch, and which integers may be any for that.

        `skipped` are the arguments of no consequence, `varying` those of them that are integers.
        """
        for more in (frozenset[int](), *sorted(self._open, key=sorted)):
            open_arguments = varying | more
            found = self._known.get(
                bucket_text(question, {*skipped, *open_arguments}, open_arguments)
            )
            if found is not None:
                return found, open_arguments
        return None

    def splits(
        self, skipped: Collection[int], most: int
    ) -> Iterator[tuple[Question, Known, frozenset[int]]]:
        """The launches that were split, as far as they are known: what was true last first.

        Each comes with what is known, and with the integers that may be any. The buffers are none of the
        program's, and arguments of no consequence are empty.
        """
        found = 0
        for known in sorted(self._known.values(), key=lambda known: -known.used):
            if known.code != "split" or found == most:
                continue
            bucket = known.key.bucket
            open_arguments = _open_arguments(bucket)
            question = _question(bucket)
            if question is not None and bucket == bucket_text(
                question, {*skipped, *open_arguments}, open_arguments
            ):
                found += 1
                yield question, known, open_arguments

    def key(self, question: Question, skipped: Collection[int], varying: Collection[int]) -> Key:
        """What such a launch is kept under."""
        return Key(self._hash, self._pair, bucket_text(question, skipped, varying))

    @property
    def name(self) -> str:
        """The kernel function's name, for readers."""
        return self._name

    def note(self, known: Known) -> None:
        """Have it written."""
        self._history.note(known)


def kernel_hash(kernel: Kernel) -> str:
    """A name for a kernel's source (with what it includes), build options and function name."""
    text = "\0".join((*kernel.options, "", kernel.name, kernel.source))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def pair_text(mirror: Mirror) -> str:
    """Both devices and their drivers, the program's own device first, as JSON."""
    role = "CPU GPU".split()[mirror.user_role]
    return _fitting(
        {"own": _device(mirror.user), "other": _device(mirror.device.info), "own_role": role}
    )


def _device(info: DeviceInfo) -> dict[str, object]:
    return {
        "name": info.name,
        "platform": info.platform_name,
        "platform_version": info.platform_version,
        "driver_version": info.driver_version,
        "compute_units": info.compute_units,
    }


def bucket_text(question: Question, skipped: Collection[int], varying: Collection[int]) -> str:
    """What `Question.key` tells launches apart by, as JSON that means the same in every process."""
    roots: dict[int, int] = {}
    arguments: list[object] = []
    for index, value in enumerate(question.given):
        if isinstance(value, BufferRef):
            memory = roots.setdefault(value.root, index)
            arguments.append({"memory": memory, "bytes": [value.start_bytes, value.size_bytes]})
        elif index in skipped:
            arguments.append(ANY if index in varying else None)
        elif isinstance(value, LocalRef):
            arguments.append({"local_bytes": value.size_bytes})
        elif isinstance(value, bytes) and len(value) <= NUMBER_BYTES:
            number = int.from_bytes(value, sys.byteorder, signed=True)
            arguments.append({"integer": number, "bits": 8 * len(value)})
        else:
            content = value if isinstance(value, bytes) else repr(value).encode()
            arguments.append({"sha256": hashlib.sha256(content).hexdigest()})
    return _fitting(
        {
            "global": question.global_size,
            "local": question.local_size,
            "offset": question.offset,
            "arguments": arguments,
        }
    )


def _question(bucket: str) -> Question | None:
    """A launch of which `bucket_text` says this; None where that does not say enough."""
    try:
        told = json.loads(bucket)
        ranges = (told[name] for name in ("global", "local", "offset"))
        sizes, local, offset = (None if each is None else tuple(each) for each in ranges)
        given = tuple(_argument(each) for each in told["arguments"])
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return None
    return None if sizes is None else Question(sizes, local, offset, given)


def _argument(told: Any) -> Captured:
    if told in (None, ANY):
        return b""
    if "memory" in told:
        start, size = told["bytes"]
        # No `cl_mem` has such a number.
        return BufferRef(-1 - told["memory"], start, size, start + size, 0, 0)
    if "local_bytes" in told:
        return LocalRef(told["local_bytes"])
    return int(told["integer"]).to_bytes(told["bits"] // 8, sys.byteorder, signed=True)


def _open_arguments(bucket: str) -> frozenset[int]:
    """The integers that a bucket leaves open, by index."""
    try:
        arguments = json.loads(bucket)["arguments"]
        return frozenset(index for index, each in enumerate(arguments) if each == ANY)
    except (KeyError, TypeError, ValueError):
        return frozenset()


def _fitting(value: dict[str, object]) -> str:
    """As JSON in plain characters; of what is too long, a hash."""
    text = json.dumps(value, separators=(",", ":"))
    if len(text) <= LONGEST_TEXT:
        return text
    return json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest()})
