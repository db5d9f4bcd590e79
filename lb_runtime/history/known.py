"""What is known of one kind of launch, as a value: what it is kept under, and what was measured.

What a file holds may be damaged in ways that the database does not see; a value cannot be built wrong.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

from lb_runtime.records import dataclass

Code = Literal["split", "too-small", "no-gain"]
CODES: tuple[Code, ...] = get_args(Code)
TIMES_KEPT = 5
"""Of each kind the last times; a median of so many is not moved by one that was disturbed."""
LONGEST_NAME = 200
LONGEST_TEXT = 2000
"""Characters of a bucket or a pair; whoever makes them shortens them."""
MOST = 2**62
"""Counts and bytes beyond this are no counts."""


@dataclass(frozen=True, slots=True)
class Key:
    """What launches have in common that are run alike.

    `kernel` is a hash of source, options and name; `pair` names both devices and their drivers; `bucket`
    says the sizes, and the arguments as far as they decide how a launch is split. All are plain text.
    """

    kernel: str
    pair: str
    bucket: str

    def __post_init__(self) -> None:
        for text in (self.kernel, self.pair, self.bucket):
            if not isinstance(text, str) or not 0 < len(text) <= LONGEST_TEXT:
                raise ValueError(
                    f"key part {text!r} given, expected 1 to {LONGEST_TEXT} characters"
                )


@dataclass(frozen=True, slots=True)
class Known:
    """What was found out about such launches. A value that is written holds what is new: see `after`.

    Args:
        key: which.
        kernel_name: the kernel function's name.
        code: "split" where they are split, "too-small" where they take too little time to be, "no-gain"
            where a split was no faster.
        cpu_share: the CPU's share of the work-items at the end; None where none was tried.
        alone_seconds: the last times of whole launches on the program's own device.
        split_seconds: the last times of split launches.
        alone_launches, split_launches: how many were timed.
        to_mirror_bytes, home_bytes: what the last split launch sent to the other device, and brought back.
        used: when this was last true, in seconds since 1970.

    Raises:
        ValueError: a value that cannot have been measured.
    """

    key: Key
    kernel_name: str
    code: Code
    cpu_share: float | None
    alone_seconds: tuple[float, ...]
    split_seconds: tuple[float, ...]
    alone_launches: int
    split_launches: int
    to_mirror_bytes: int
    home_bytes: int
    used: float

    def __post_init__(self) -> None:
        if not isinstance(self.kernel_name, str) or self.code not in CODES:
            raise ValueError(f"kernel {self.kernel_name!r} with code {self.code!r} given")
        if self.cpu_share is None:
            if self.code != "too-small":
                raise ValueError(f"no share given for code {self.code!r}")
        elif not (isinstance(self.cpu_share, float) and 0 <= self.cpu_share <= 1):
            raise ValueError(f"CPU share {self.cpu_share!r} given, expected a fraction from 0 to 1")
        for times in (self.alone_seconds, self.split_seconds):
            if len(times) > TIMES_KEPT or not all(map(_is_time, times)):
                raise ValueError(f"times {times!r} given, expected at most {TIMES_KEPT} of seconds")
        counts = (self.alone_launches, self.split_launches, self.to_mirror_bytes, self.home_bytes)
        if not all(isinstance(each, int) and 0 <= each < MOST for each in counts):
            raise ValueError(f"counts {counts!r} given, expected whole numbers from 0 on")
        if not _is_time(self.used):
            raise ValueError(f"time {self.used!r} given, expected seconds since 1970")

    def after(self, earlier: Known) -> Known:
        """This, counted together with what was known before of the same launches."""
        return Known(
            self.key,
            self.kernel_name,
            self.code,
            earlier.cpu_share if self.cpu_share is None else self.cpu_share,
            (earlier.alone_seconds + self.alone_seconds)[-TIMES_KEPT:],
            (earlier.split_seconds + self.split_seconds)[-TIMES_KEPT:],
            self.alone_launches + earlier.alone_launches,
            self.split_launches + earlier.split_launches,
            self.to_mirror_bytes if self.split_launches else earlier.to_mirror_bytes,
            self.home_bytes if self.split_launches else earlier.home_bytes,
            max(self.used, earlier.used),
        )


def _is_time(value: object) -> bool:
    return isinstance(value, float) and 0 <= value < math.inf
