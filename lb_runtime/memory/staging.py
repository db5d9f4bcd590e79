"""Host memory that results are fetched into before they are merged, kept from launch to launch.

Fresh memory costs a page fault for every 4 KiB when it is first written, which takes as long as the copy
itself.
"""

from __future__ import annotations

from threading import Lock

import numpy as np

from lb_runtime.memory.merge import Bytes

LARGEST_WASTE = 2
"""A spare block is taken for what needs at least this part of it."""
MOST_BLOCKS = 16


class Staging:
    """Blocks of host memory that are not in use. Safe to be used by several threads."""

    def __init__(self) -> None:
        self._free: list[Bytes] = []
        self._lock = Lock()

    def take(self, size_bytes: int) -> Bytes:
        """A block of at least `size_bytes`, its content undefined; shape: (bytes,)."""
        with self._lock:
            fits = [
                number
                for number, block in enumerate(self._free)
                if size_bytes <= block.size <= LARGEST_WASTE * size_bytes
            ]
            if fits:
                return self._free.pop(min(fits, key=lambda number: self._free[number].size))
        # Somewhat larger than asked for: the next cut lies a little elsewhere.
        return np.empty(size_bytes + size_bytes // 4, np.uint8)

    def give_back(self, blocks: list[Bytes]) -> None:
        """Keep blocks for the next `take`; the oldest are let go of where there are too many."""
        with self._lock:
            self._free = [*self._free, *blocks][-MOST_BLOCKS:]

    def clear(self) -> None:
        """Let go of every spare block."""
        with self._lock:
            self._free = []
