"""What one launch needs, however it runs: its arguments, its clocks, and where its bytes are noted to be."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyopencl as cl

from lb_runtime.dropin import raw
from lb_runtime.dropin.arguments import BufferRef, LocalRef
from lb_runtime.dropin.conductor import Conductor, Move, Task
from lb_runtime.dropin.decisions import InChunks
from lb_runtime.dropin.hand import Errand
from lb_runtime.dropin.handout import Handout
from lb_runtime.dropin.memories import Memory
from lb_runtime.dropin.ready import Home, Ready, Work
from lb_runtime.memory.byte_map import Place
from lb_runtime.memory.merge import Bytes

if TYPE_CHECKING:
    from lb_runtime.dropin.decisions import Decision
    from lb_runtime.dropin.entry import Entry, Question
    from lb_runtime.dropin.mirror import Mirror
    from lb_runtime.dropin.world import World


class Steps(Task):
    """A launch of the program's, of which it is decided when its turn comes how it runs.

    `question` says how it was launched, `memories` are those of its buffers by number (the index of the
    first argument that is it). It waits for `marker`, an event of the program's queue, or comes right behind
    `follows`, another launch of the same conductor's. Until it has run, nobody knows where the bytes are that
    it writes.
    """

    def __init__(
        self,
        user_event: cl.UserEvent,
        marker: cl.Event | None,
        entry: Entry,
        question: Question,
        memories: Mapping[int, Memory],
        follows: Task | None = None,
    ) -> None:
        super().__init__(user_event)
        self.marker = marker
        self.follows = follows
        self.entry = entry
        self.question = question
        self.memories = memories
        self.stamps: list[int] = []
        """When the user's device began its part, in nanoseconds of its clock; empty where it has not."""
        self._roots = {memory.root: memory for memory in memories.values()}
        self._decision: Decision | None = None
        self._ready: Ready | None = None
        self._step = "wait"
        self._errand: Errand | None = None
        self._chunked: InChunks | None = None
        self._handout: Handout | None = None
        self._held: list[cl.Event] = []
        """Events that must not be dropped before their commands have ended."""
        self._done: dict[Place, Place] = {}
        """Where the part that belongs to a place was run, once it was."""
        self._is_ready_at_home = False
        """Whether the user's device holds what its part needs: it is not brought there again."""
        self._is_whole = False
        self._is_put = False
        self._has_raced = False
        self._damaged: list[Move] = []
        self._originals: dict[int, list[tuple[int, Bytes]]] = {}
        self._to_mirror_bytes = 0
        self._home_bytes = 0
        self._seconds: dict[Place, float] = {}
        """What the kernel took on each device, by its own clock."""
        self._busy_seconds: dict[Place, float] = {}
        """How long each device was busy with its part, copies included, by the host's clock."""
        self._whole_seconds = 0.0

    def promise(self) -> None:
        """Note in the planned maps what the launch may do: nothing that it writes is surely at home."""
        read_only = self.entry.read_only
        for index, value in enumerate(self.question.given):
            if type(value) is not BufferRef:
                continue
            memory = self._roots[value.root]
            stop = value.start_bytes + value.size_bytes
            if not memory.is_tracked:
                memory.planned.wrote(Place.USER, 0, memory.size_bytes)
            elif index in read_only:
                memory.planned.copied(Place.MIRROR, value.start_bytes, stop)
            else:
                memory.planned.wrote(Place.MIRROR, value.start_bytes, stop)

    def ended(self, conductor: Conductor) -> None:
        """Learn from this one as well, where no launch waits for its turn."""
        if conductor.is_idle:
            self._learn(conductor)

    def give_up(self, world: World, error: Exception) -> None:
        """What the launch was to write must not be read."""
        for index, value in enumerate(self.question.given):
            if type(value) is BufferRef and index not in self.entry.read_only:
                world.lose_bytes(self._roots[value.root], error)

    # What the launch is given

    @property
    def _everything(self) -> list[Move]:
        """All bytes of all buffers that the launch is given."""
        return [
            (self._roots[value.root], value.start_bytes, value.start_bytes + value.size_bytes)
            for value in self.question.given
            if type(value) is BufferRef
        ]

    def _moves(self, work: Work) -> list[Move]:
        return [
            (self.memories[number], start, stop)
            for number, ranges in work.needs
            for start, stop in ranges
        ]

    def _set_arguments(self, kernel: cl.Kernel, mirror: Mirror | None) -> None:
        for index, value in enumerate(self.question.given):
            if type(value) is bytes:
                raw.set_arg_bytes(kernel, index, value)
            elif isinstance(value, BufferRef):
                memory = self._roots[value.root]
                raw.set_arg(kernel, index, memory.argument(value, mirror))
            elif isinstance(value, LocalRef):
                raw.set_arg(kernel, index, cl.LocalMemory(value.size_bytes))

    # What devices did

    def _await_mirror(self, conductor: Conductor) -> None:
        """Wait for the mirror's part; once, however it went."""
        errand, self._errand = self._errand, None
        if errand is None:
            return
        self._learn(conductor)
        try:
            start, stop = conductor.wait(errand)
        except Exception:
            if not errand.cancel() and self._ready is not None:
                # What it may have left half done is worth nothing.
                self._damaged = [
                    (self.memories[each.memory], *item)
                    for each in self._ready.written
                    for item in each.leaves.get(Place.MIRROR, ())
                ]
            raise
        self._done[Place.MIRROR] = Place.MIRROR
        if self._ready is not None:
            self._note_places(self._ready)
        self._note_seconds(Place.MIRROR, (stop - start) * 1e-9, errand.ended)

    def _learn(self, conductor: Conductor) -> None:
        """Learn from the launches before, while the devices are at work on this one."""
        with harmless(conductor.world, "tell"):
            if self._decision is not None:
                self._decision.learn()

    def _note_time(self, place: Place, event: cl.Event, ended: float) -> None:
        start, stop = times(event)
        self.stamps[:] = [start]
        self._note_seconds(place, (stop - start) * 1e-9, ended)

    def _note_seconds(self, place: Place, seconds: float, ended: float) -> None:
        self._seconds[place] = self._seconds.get(place, 0.0) + max(0.0, seconds)
        world = self.entry.world
        world.story.span(world.row(place), self.entry.name, ended - max(0.0, seconds), ended)

    # Where the newest bytes are

    def _note_places(self, ready: Ready) -> None:
        """Note where the newest bytes are, as far as the launch has come. Can be called again."""
        for each in ready.written:
            memory = self.memories[each.memory]
            if each.home is Home.STAY:
                for place, ranges in each.leaves.items():
                    where = self._done.get(place)
                    if where is not None:
                        for start, stop in ranges:
                            memory.actual.wrote(where, start, stop)
            elif self._is_put or self._is_whole:
                memory.actual.wrote(Place.USER, *each.hull)
        if self._is_whole:
            for each in ready.written:
                for ranges in each.leaves.values():
                    for start, stop in ranges:
                        self.memories[each.memory].actual.wrote(Place.USER, start, stop)

    def _bring_untracked_home(self, conductor: Conductor) -> None:
        """Leave nothing on the mirror of buffers that the program may read and write unseen."""
        for memory in self.memories.values():
            if not memory.is_tracked:
                conductor.bring_home([(memory, 0, memory.size_bytes)])
                memory.actual.wrote(Place.USER, 0, memory.size_bytes)


class harmless:  # noqa: N801  # reads as a word where it is used
    """A context in which nothing that fails goes further than the report."""

    def __init__(self, world: World, step: str) -> None:
        self._world, self._step = world, step

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        if isinstance(error, Exception):
            with suppress(Exception):
                self._world.tell(self._step, error)
            return True
        return False


def launch(queue: cl.CommandQueue, kernel: cl.Kernel, ready: Ready, work: Work) -> cl.Event:
    """Enqueue one part, its arguments set."""
    event: cl.Event = raw.enqueue_nd_range_kernel(
        queue, kernel, work.global_size, ready.local_size, work.global_offset
    )
    return event


def times(event: cl.Event) -> tuple[int, int]:
    """When a kernel began and ended, in nanoseconds of its device's clock."""
    start = raw.profiling_info(event, cl.profiling_info.START)
    return start, raw.profiling_info(event, cl.profiling_info.END)
