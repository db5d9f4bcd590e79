"""The kernels of random programs, each with what it does in numpy: integers only, so that every bit counts.

Each kernel is given its buffers first, then `uint n` and `uint s`. Every work-item whose id is not less
than `n` does nothing; of two-dimensional kernels, `n` is the width and `s` the height.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
Ids = npt.NDArray[np.int64]


class Role(Enum):
    """What a kernel does to a buffer."""

    READ = "const"
    WRITTEN = "written, never read"
    BOTH = "read and written"


READ, WRITTEN, BOTH = Role


@dataclass(frozen=True)
class Range:
    """A launch's NDRange: global and local size and offset, in work-items, one number per dimension."""

    size: tuple[int, ...]
    local: tuple[int, ...] | None
    offset: tuple[int, ...]

    def ids(self, dimension: int = 0) -> Ids:
        """Global ids; shape: (global size,)."""
        return self.offset[dimension] + np.arange(self.size[dimension])

    def groups(self, dimension: int = 0) -> int:
        """How many work-groups."""
        assert self.local is not None
        return self.size[dimension] // self.local[dimension]

    def group_ids(self, dimension: int = 0) -> Ids:
        """The work-group of each id; shape: (global size,)."""
        assert self.local is not None
        return np.arange(self.size[dimension]) // self.local[dimension]


Model = Callable[[Sequence[Words], int, int, Range], None]


@dataclass(frozen=True)
class Kernel:
    """A kernel and its model.

    Args:
        name: the kernel's name.
        roles: of each buffer.
        body: what stands between the braces.
        model: the same over numpy views of the buffers, which it changes.
        splits: whether it can be split, where every part has a work-group.
        words: how many 4-byte words each buffer must have, for given `n` and `s`.
        dimensions: of its NDRange.
        uses_groups: whether the local size decides what comes out.
        same: pairs of buffers that may be the very same bytes although one of them is written.
        types: of the buffers' elements.
        local_words: the words of `__local` memory for each work-item, if there is such an argument.
    """

    name: str
    roles: tuple[Role, ...]
    body: str
    model: Model
    splits: bool = True
    words: Callable[[int, int], int] = lambda n, s: n
    dimensions: int = 1
    uses_groups: bool = False
    same: frozenset[tuple[int, int]] = frozenset()
    types: tuple[str, ...] = ()
    local_words: int = 0

    def __repr__(self) -> str:
        return self.name

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    @property
    def source(self) -> str:
        """OpenCL C."""
        types = self.types or tuple(
            "global const uint" if role is READ else "global uint" for role in self.roles
        )
        parameters = [f"{kind}* {letter}" for kind, letter in zip(types, "abc")]
        if self.local_words:
            parameters.append("local uint* tile")
        parameters += ["uint n", "uint s"]
        return f"kernel void {self.name}({', '.join(parameters)}) {{\n{self.body}\n}}\n"


def within(n: int, launched: Range) -> Ids:
    """The ids that are less than `n`."""
    ids = launched.ids()
    return ids[ids < n]


def axpy(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    i = within(n, launched)
    buffers[2][i] = buffers[0][i] * np.uint32(s) + buffers[1][i]


def in_place(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    i = within(n, launched)
    buffers[0][i] = buffers[0][i] * np.uint32(3) + i.astype(np.uint32)


def halo(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    i = within(n, launched)
    a, b = buffers
    b[i] = a[np.maximum(i - 1, 0)] + a[i] + a[np.minimum(i + 1, n - 1)]


def shifted(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    i = within(n, launched)
    a, b = buffers
    i = i[i % 3 != 0]
    b[(i + int(a[0]) % n) % n] = i.astype(np.uint32) * np.uint32(s)


def gather(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    i = within(n, launched)
    a, b, c = buffers
    c[i] = a[b[i] % np.uint32(n)] + np.uint32(s)


def histogram(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    i = within(n, launched)
    a, b = buffers
    np.add.at(b, a[i] % np.uint32(n), np.uint32(s))


def maxima(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    i = within(n, launched)
    a, b = buffers
    np.maximum.at(b, a[i] % np.uint32(min(n, 4)), a[i])


def tickets(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    i = within(n, launched)
    a, b = buffers
    drawn = a[0] + np.arange(i.size, dtype=np.uint32)
    b[drawn % np.uint32(n)] = s
    a[0:1] += np.uint32(i.size)


def volatile_add(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    buffers[0][within(n, launched)] += np.uint32(s)


def grid_stride(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    first = launched.offset[0]
    buffers[1][first:n] += buffers[0][first:n]


def grid_sums(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    a, b = buffers
    for i in within(n, launched):
        b[i] = a[i : n : launched.size[0]].sum(dtype=np.uint32)


def stamp(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    groups = launched.groups()
    whole = groups * s + launched.size[0] + 1000 * launched.offset[0]
    buffers[0][: min(groups, n)] = np.arange(min(groups, n)) + whole


def every_third(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    i = within(n, launched)
    i = i[i % 3 == 1]
    buffers[1][i] = buffers[0][i] ^ np.uint32(s)


def swap_ends(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    i = within(n // 2, launched)
    a = buffers[0]
    a[i], a[n - 1 - i] = a[n - 1 - i].copy(), a[i].copy()


def turn_groups(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    assert launched.local is not None
    local = launched.local[0]
    a, b = buffers
    ids = launched.ids()
    tile = np.where(ids < n, a[np.minimum(ids, n - 1)], np.uint32(s))
    turned = tile.reshape(-1, local)[:, ::-1].reshape(-1)
    i = ids < n
    b[ids[i]] = turned[i]


def flip_bytes(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    a = buffers[0].view(np.uint8)
    a[within(n, launched)] ^= np.uint8(s % 256)


def lookup(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    i = within(n, launched)
    a, b = buffers
    b[i] = a[i % min(n, 4)] + np.uint32(s)


def ends(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    i = within(n, launched)
    a, b = buffers
    b[i] += a[0] + a[n - 1 : n]


def vectors(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    i = within(n // 4, launched)
    a = buffers[0][: n // 4 * 4].reshape(-1, 4)
    a[i] = a[i][:, ::-1] + np.uint32(s)


def tiles(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    x, y = launched.ids(0), launched.ids(1)
    told = (
        launched.group_ids(0) * launched.groups(1)
        + (launched.group_ids(1) * 1000 + launched.groups(0))[:, None]
    ).astype(np.uint32)
    x_in, y_in = x < n, y < s
    a, b = (each[: n * s].reshape(s, n) for each in buffers)
    where = np.ix_(y[y_in], x[x_in])
    b[where] = a[where] + told[np.ix_(y_in, x_in)]


def transpose(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    x, y = launched.ids(0), launched.ids(1)
    x, y = x[x < n], y[y < s]
    a, b = buffers[0][: n * s].reshape(s, n), buffers[1][: n * s].reshape(n, s)
    b[np.ix_(x, y)] = a[np.ix_(y, x)].T


def blur(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    x, y = launched.ids(0), launched.ids(1)
    x, y = x[x < n], y[y < s]
    a, b = (each[: n * s].reshape(s, n) for each in buffers)
    left, right = np.maximum(x - 1, 0), np.minimum(x + 1, n - 1)
    up, down = np.maximum(y - 1, 0), np.minimum(y + 1, s - 1)
    around = (a[np.ix_(y, x)], a[np.ix_(y, left)], a[np.ix_(y, right)])
    b[np.ix_(y, x)] = sum(around) + a[np.ix_(up, x)] + a[np.ix_(down, x)]


def row_sums(buffers: Sequence[Words], n: int, s: int, launched: Range) -> None:
    i = within(n, launched)
    a, b = buffers
    b[i] = a[: n * 3].reshape(n, 3)[i].sum(axis=1, dtype=np.uint32)


ID = "uint i = get_global_id(0); if (i >= n) return;\n"
ID_2D = "uint x = get_global_id(0), y = get_global_id(1); if (x >= n || y >= s) return;\n"
ELEMENTWISE = frozenset({(0, 1), (1, 0)})

KERNELS = (
    Kernel(
        "axpy",
        (READ, READ, WRITTEN),
        ID + "c[i] = a[i] * s + b[i];",
        axpy,
        same=frozenset({(0, 2), (2, 0), (1, 2), (2, 1)}),
    ),
    Kernel("in_place", (BOTH,), ID + "a[i] = a[i] * 3u + i;", in_place),
    Kernel(
        "halo",
        (READ, WRITTEN),
        ID + "b[i] = a[i ? i - 1 : 0] + a[i] + a[i + 1 < n ? i + 1 : i];",
        halo,
    ),
    Kernel("shifted", (READ, WRITTEN), ID + "if (i % 3) b[(i + a[0] % n) % n] = i * s;", shifted),
    Kernel("gather", (READ, READ, WRITTEN), ID + "c[i] = a[b[i] % n] + s;", gather),
    Kernel("histogram", (READ, BOTH), ID + "atomic_add(&b[a[i] % n], s);", histogram),
    Kernel("maxima", (READ, BOTH), ID + "atomic_max(&b[a[i] % min(n, 4u)], a[i]);", maxima),
    Kernel("tickets", (BOTH, WRITTEN), ID + "b[atomic_inc(&a[0]) % n] = s;", tickets, splits=False),
    Kernel(
        "volatile_add",
        (BOTH,),
        ID + "a[i] += s;",
        volatile_add,
        splits=False,
        types=("global volatile uint",),
    ),
    Kernel(
        "grid_stride",
        (READ, BOTH),
        "for (uint i = get_global_id(0); i < n; i += get_global_size(0)) b[i] += a[i];",
        grid_stride,
    ),
    Kernel(
        "grid_sums",
        (READ, WRITTEN),
        "uint i = get_global_id(0), sum = 0; if (i >= n) return;\n"
        "for (uint j = i; j < n; j += get_global_size(0)) sum += a[j];\nb[i] = sum;",
        grid_sums,
    ),
    Kernel(
        "stamp",
        (WRITTEN,),
        "uint g = get_group_id(0);\nif (get_local_id(0) == 0 && g < n)\n"
        "a[g] = g + get_num_groups(0) * s + get_global_size(0) + 1000 * get_global_offset(0);",
        stamp,
        uses_groups=True,
    ),
    Kernel(
        "every_third",
        (READ, WRITTEN),
        ID + "if (i % 3 == 1) b[i] = a[i] ^ s;",
        every_third,
        same=ELEMENTWISE,
    ),
    Kernel(
        "swap_ends",
        (BOTH,),
        "uint i = get_global_id(0); if (i >= n / 2) return;\n"
        "uint kept = a[i]; a[i] = a[n - 1 - i]; a[n - 1 - i] = kept;",
        swap_ends,
    ),
    Kernel(
        "turn_groups",
        (READ, WRITTEN),
        "uint i = get_global_id(0), l = get_local_id(0);\ntile[l] = i < n ? a[i] : s;\n"
        "barrier(CLK_LOCAL_MEM_FENCE);\nif (i < n) b[i] = tile[get_local_size(0) - 1 - l];",
        turn_groups,
        uses_groups=True,
        local_words=1,
    ),
    Kernel(
        "flip_bytes",
        (BOTH,),
        ID + "a[i] ^= (uchar)s;",
        flip_bytes,
        words=lambda n, s: (n + 3) // 4,
        types=("global uchar",),
    ),
    Kernel(
        "lookup",
        (READ, WRITTEN),
        ID + "b[i] = a[i % min(n, 4u)] + s;",
        lookup,
        types=("constant uint", "global uint"),
    ),
    Kernel("ends", (READ, BOTH), ID + "b[i] += a[0] + a[n - 1];", ends),
    Kernel(
        "vectors",
        (BOTH,),
        "uint i = get_global_id(0); if (i >= n / 4) return;\na[i] = a[i].wzyx + s;",
        vectors,
        types=("global uint4",),
    ),
    Kernel(
        "tiles",
        (READ, WRITTEN),
        ID_2D + "b[y * n + x] = a[y * n + x] + get_group_id(0) * get_num_groups(1)\n"
        "+ get_group_id(1) * 1000 + get_num_groups(0);",
        tiles,
        words=lambda n, s: n * s,
        dimensions=2,
        uses_groups=True,
        same=ELEMENTWISE,
    ),
    Kernel(
        "transpose",
        (READ, WRITTEN),
        ID_2D + "b[x * s + y] = a[y * n + x];",
        transpose,
        words=lambda n, s: n * s,
        dimensions=2,
    ),
    Kernel(
        "blur",
        (READ, WRITTEN),
        ID_2D + "uint up = y ? y - 1 : 0, down = y + 1 < s ? y + 1 : y;\n"
        "b[y * n + x] = a[y * n + x] + a[y * n + (x ? x - 1 : 0)]\n"
        "+ a[y * n + (x + 1 < n ? x + 1 : x)] + a[up * n + x] + a[down * n + x];",
        blur,
        words=lambda n, s: n * s,
        dimensions=2,
    ),
    Kernel(
        "row_sums",
        (READ, WRITTEN),
        ID + "b[i] = a[3 * i] + a[3 * i + 1] + a[3 * i + 2];",
        row_sums,
        words=lambda n, s: 3 * n,
    ),
)
BY_NAME = {kernel.name: kernel for kernel in KERNELS}
