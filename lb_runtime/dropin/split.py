"""Carrying out one launch: the parts of both devices, and what to do when something fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pyopencl as cl

from lb_runtime.dropin import copies, raw
from lb_runtime.dropin.arguments import BufferRef, LocalRef
from lb_runtime.dropin.conductor import (
    FAILED,
    BytesLostError,
    Conductor,
    Move,
    Task,
    Waiting,
)
from lb_runtime.dropin.memories import Memory
from lb_runtime.dropin.ready import Home, Ready, Work, Written
from lb_runtime.errors import RaceError
from lb_runtime.memory.atomics import write_combined
from lb_runtime.memory.byte_map import Place
from lb_runtime.memory.merge import Bytes, changed_bytes, first_clash, write_changed

if TYPE_CHECKING:
    from lb_runtime.dropin.decisions import Decision
    from lb_runtime.dropin.mirror import Mirror
    from lb_runtime.dropin.scout import Entry, Question


class LaunchTask(Task):
    """A launch of the program's, of which it is decided when its turn comes how it runs.

    `question` says how it was launched, `memories` are those of its buffers by number (the index of the
    first argument that is it). Until it has run, nobody knows where the bytes are that it writes.
    """

    def __init__(
        self,
        user_event: cl.UserEvent,
        marker: cl.Event,
        entry: Entry,
        question: Question,
        memories: Mapping[int, Memory],
    ) -> None:
        super().__init__(user_event)
        self.marker: cl.Event | None = marker
        self.entry = entry
        self.question = question
        self.memories = memories
        self.stamps: list[int] = []
        """When the user's device began its part, in nanoseconds of its clock; empty where it has not."""
        self._roots = {memory.root: memory for memory in memories.values()}
        self._step = "wait"
        self._held: list[Any] = []
        self._user_ran = False
        self._originals: dict[int, list[tuple[int, Bytes]]] = {}
        self._to_mirror_bytes = 0
        self._home_bytes = 0
        self._seconds: dict[Place, float] = {}

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

    def run(self, conductor: Conductor) -> None:
        """Wait for the user's queue, and run the launch; on the user's device if all else fails."""
        world = conductor.world
        try:
            if self.marker is not None:
                conductor.waits_since = perf_counter()
                self.marker.wait()
        except cl.Error:
            # What the launch waits for failed: it does not run, and nothing was written.
            self.status = FAILED
            return
        finally:
            conductor.waits_since = None
        began = perf_counter()
        decision: Decision | None = None
        ready: Ready | None = None
        try:
            self._step = "decide"
            decision = self.entry.decide_now(self.question)
            chosen = "first-launches" if decision is None else decision.choose()
            if isinstance(chosen, Ready):
                ready = self.ready = chosen
                self._everywhere(conductor)
            else:
                self._whole_at_home(conductor, decision, chosen)
        except RaceError as error:
            self._fail(decision, "race", error)
            self._recover(conductor, self._once_more_whole)
        except Exception as error:
            world.story.fault(self._step, error)
            self._fail(decision, "fault", error)
            if ready is None:
                self._recover(conductor, self._whole_again, error)
            else:
                self._recover(conductor, self._at_home, error)
        else:
            if ready is not None and decision is not None:
                self._tell(conductor, decision, ready, began)
        self._held.clear()
        self._originals.clear()
        self.marker = None

    def _fail(self, decision: Decision | None, code: str, error: Exception) -> None:
        if decision is not None:
            decision.passes(code, f"{self._step}: {error}")

    def _tell(self, conductor: Conductor, decision: Decision, ready: Ready, began: float) -> None:
        total = perf_counter() - began
        conductor.world.story.span(
            "conductor", ready.kernel_name, began, began + total, share=ready.cpu_share
        )
        decision.ran(ready, total, self._seconds, self._to_mirror_bytes, self._home_bytes)

    # Whole

    def _whole_at_home(self, conductor: Conductor, decision: Decision | None, code: str) -> None:
        """Run the launch as the program wrote it, on a queue of ours, which takes its time."""
        self._step = "to-user"
        moves = [
            (self._roots[value.root], value.start_bytes, value.start_bytes + value.size_bytes)
            for value in self.question.given
            if type(value) is BufferRef
        ]
        self._home_bytes += conductor.bring_home(moves)
        self._step = "kernel"
        kernel = conductor.kernel(self.entry.program, self.entry.name)
        self._set_arguments(kernel, None)
        question = self.question
        event = raw.enqueue_nd_range_kernel(
            conductor.home, kernel, question.global_size, question.local_size, question.offset
        )
        event.wait()
        self._user_ran = True
        self._note(conductor, Place.USER, event, perf_counter())
        self.stamps[:] = [raw.profiling_info(event, cl.profiling_info.START)]
        for index, value in enumerate(question.given):
            if type(value) is BufferRef and index not in self.entry.read_only:
                stop = value.start_bytes + value.size_bytes
                self._roots[value.root].actual.wrote(Place.USER, value.start_bytes, stop)
        self._settle_untracked()
        if code:
            self.entry.story.passed(code)
        if self._home_bytes:
            conductor.world.story.operation(self.entry.name, self._home_bytes)
        if decision is not None:
            decision.ran_alone(self._seconds[Place.USER])

    def _whole_again(self, conductor: Conductor) -> None:
        if not self._user_ran:
            self._whole_at_home(conductor, None, "")

    # The ordinary way

    def _everywhere(self, conductor: Conductor) -> None:
        """Run each part where it belongs."""
        ready = self.ready
        mine, theirs = ready.work(Place.USER), ready.work(Place.MIRROR)
        began = perf_counter()
        self._step = "to-user"
        if mine is not None:
            self._home_bytes += conductor.bring_home(self._moves(mine))
        self._step = "to-mirror"
        if theirs is not None:
            self._to_mirror_bytes += conductor.send(self._moves(theirs), self._held)
        if len(ready.works) > 1:
            self._keep_originals(conductor)
        moved = perf_counter()
        if self._home_bytes or self._to_mirror_bytes:
            conductor.world.story.span(
                "host", "move", began, moved, bytes=self._home_bytes + self._to_mirror_bytes
            )
        waiting: Waiting | None = None
        mirror_event: cl.Event | None = None
        if theirs is not None:
            self._step = "mirror-kernel"
            mirror_event = self._launch(conductor, theirs)
            conductor.away.flush()
            waiting = conductor.post(mirror_event)
        if mine is not None:
            self._run_at_home(conductor, mine)
        if waiting is not None and mirror_event is not None:
            self._step = "mirror-wait"
            conductor.wait(waiting)
            self._note(conductor, Place.MIRROR, mirror_event, waiting.ended)
        self._step = "merge"
        fetched = self._fetch(conductor)
        self._put_home(conductor, fetched)
        self._apply(ready.works)

    def _run_at_home(self, conductor: Conductor, work: Work) -> None:
        self._step = "kernel"
        event = self._launch(conductor, work)
        conductor.home.flush()
        event.wait()
        self._user_ran = True
        self._note(conductor, Place.USER, event, perf_counter())
        self.stamps[:] = [raw.profiling_info(event, cl.profiling_info.START)]

    def _note(self, conductor: Conductor, place: Place, event: cl.Event, ended: float) -> None:
        start = raw.profiling_info(event, cl.profiling_info.START)
        stop = raw.profiling_info(event, cl.profiling_info.END)
        seconds = max(0.0, (stop - start) * 1e-9)
        self._seconds[place] = self._seconds.get(place, 0.0) + seconds
        row = conductor.world.row(place)
        conductor.world.story.span(row, self.entry.name, ended - seconds, ended)

    def _moves(self, work: Work) -> list[Move]:
        return [
            (self.memories[number], start, stop)
            for number, ranges in work.needs
            for start, stop in ranges
        ]

    def _launch(self, conductor: Conductor, work: Work, at: Place | None = None) -> cl.Event:
        """Enqueue a part's kernel; `at` is where, if not where it belongs."""
        place = work.place if at is None else at
        kernel = conductor.kernel(self.ready.programs[place], self.ready.kernel_name)
        mirror = conductor.mirror if place is Place.MIRROR else None
        self._set_arguments(kernel, mirror)
        event: cl.Event = raw.enqueue_nd_range_kernel(
            conductor.home if mirror is None else conductor.away,
            kernel,
            work.global_size,
            self.ready.local_size,
            work.global_offset,
        )
        return event

    def _set_arguments(self, kernel: cl.Kernel, mirror: Mirror | None) -> None:
        for index, value in enumerate(self.question.given):
            if type(value) is bytes:
                raw.set_arg_bytes(kernel, index, value)
            elif isinstance(value, BufferRef):
                memory = self._roots[value.root]
                raw.set_arg(kernel, index, memory.argument(value, mirror))
            elif isinstance(value, LocalRef):
                raw.set_arg(kernel, index, cl.LocalMemory(value.size_bytes))

    # What comes together at home

    def _together(self) -> list[Written]:
        return [each for each in self.ready.written if each.home is not Home.STAY]

    def _keep_originals(self, conductor: Conductor) -> None:
        """Read what differences are taken from, and what a race would have to be undone with."""
        for each in self.ready.written:
            memory = self.memories[each.memory]
            ranges: Sequence[tuple[int, int]] = ()
            if each.home in (Home.DIFFERENCE, Home.ATOMIC):
                ranges = (each.hull,)
            elif self.ready.has_difference:
                ranges = each.leaves.get(Place.USER, ())
            if ranges:
                self._originals[each.memory] = [
                    (start, copies.read(conductor.home, memory.own, start, stop))
                    for start, stop in ranges
                ]

    def _fetch(self, conductor: Conductor) -> list[tuple[Memory, int, Bytes]]:
        """What is to be written at home, worked out before anything is."""
        result: list[tuple[Memory, int, Bytes]] = []
        for each in self._together():
            if Place.MIRROR not in each.leaves:
                continue
            memory = self.memories[each.memory]
            if each.home is Home.ROWS:
                for rows in each.region.rows:
                    content = conductor.read_away(memory, rows.start, rows.stop)
                    for number in range(rows.count):
                        begin = number * rows.pitch
                        piece = content[begin : begin + rows.run]
                        result.append((memory, rows.start + begin, piece))
                        self._home_bytes += rows.run
                continue
            result.append((memory, each.hull[0], self._combined(conductor, memory, each)))
        return result

    def _combined(self, conductor: Conductor, memory: Memory, each: Written) -> Bytes:
        """The hull's bytes after both parts."""
        ((start, original),) = self._originals[each.memory]
        stop = start + original.size
        mine = copies.read(conductor.home, memory.own, start, stop)
        begin, end = each.region.start, each.region.stop
        theirs = conductor.read_away(memory, begin, end)
        self._home_bytes += end - begin
        if each.home is Home.ATOMIC:
            whole = original.copy()
            whole[begin - start : end - start] = theirs
            merged = original.copy()
            for zone in each.zones:
                _combine_zone(zone, start, merged, [mine, whole])
            return merged
        here = slice(begin - start, end - start)
        theirs_changed = changed_bytes(original[here], theirs)
        mine_changed = changed_bytes(original[here], mine[here])
        clash = first_clash(mine[here], mine_changed, theirs, theirs_changed)
        if clash is not None:
            raise RaceError(
                f"two parts left different values in byte {begin + clash} of one buffer: the kernel "
                "has a data race"
            )
        write_changed(mine, begin - start, theirs, theirs_changed)
        return mine

    def _put_home(self, conductor: Conductor, pieces: Sequence[tuple[Memory, int, Bytes]]) -> None:
        """Write what was worked out; once more where that fails, since it can be done twice."""
        for attempt in range(2):
            try:
                for memory, start, content in pieces:
                    raw.write_buffer(conductor.home, memory.own, content, start, None, False)
                if pieces:
                    conductor.home.finish()
            except Exception as error:
                if attempt:
                    raise
                conductor.world.story.fault("merge", error)
            else:
                return

    def _apply(self, works: Sequence[Work]) -> None:
        """Note where the newest bytes are now, after all parts ran where they belong."""
        for each in self.ready.written:
            memory = self.memories[each.memory]
            if each.home is Home.STAY:
                for place, ranges in each.leaves.items():
                    for start, stop in ranges:
                        memory.actual.wrote(place, start, stop)
            else:
                memory.actual.wrote(Place.USER, *each.hull)
        self._settle_untracked()

    def _settle_untracked(self) -> None:
        for memory in self.memories.values():
            if not memory.is_tracked:
                memory.actual.wrote(Place.USER, 0, memory.size_bytes)

    # When something fails

    def _recover(
        self,
        conductor: Conductor,
        way: Callable[[Conductor], None],
        cause: Exception | None = None,
    ) -> None:
        """Have the launch done on the user's device."""
        world = conductor.world
        self.entry.story.passed("race" if cause is None else "fault")
        if cause is not None:
            world.count_failure(conductor, cause)
        try:
            way(conductor)
        except BytesLostError as error:
            world.story.fault("recover", error)
            self.status = FAILED
        except Exception as error:
            world.story.fault("recover", error)
            # The bytes may be out of reach: save what can be saved, and try on that.
            world.lose_mirror(conductor, error)
            try:
                way(conductor)
            except Exception as last:
                world.story.fault("recover", last)
                self.status = FAILED

    def _at_home(self, conductor: Conductor) -> None:
        """Run what has not run, all of it on the user's device, from the bytes that are there."""
        self._step = "kernel"
        for work in self.ready.works:
            conductor.bring_home(self._moves(work))
        # What a part may leave unwritten must be there too.
        for each in self.ready.written:
            for ranges in each.leaves.values():
                conductor.bring_home([(self.memories[each.memory], *item) for item in ranges])
        for work in self.ready.works:
            if work.place is Place.USER and self._user_ran:
                continue
            event = self._launch(conductor, work, Place.USER)
            event.wait()
            self.stamps[:] = [raw.profiling_info(event, cl.profiling_info.START)]
            if work.place is Place.USER:
                self._user_ran = True
        self._all_home()

    def _once_more_whole(self, conductor: Conductor) -> None:
        """Undo what the user's part wrote, and run the launch as one."""
        for number, pieces in self._originals.items():
            for start, content in pieces:
                copies.write(conductor.home, self.memories[number].own, start, content)
        for work in self.ready.works:
            conductor.bring_home(self._moves(work))
        whole = Work(Place.USER, self.ready.whole_offset, self.ready.whole_size, ())
        self._launch(conductor, whole).wait()
        self._all_home()

    def _all_home(self) -> None:
        for each in self.ready.written:
            memory = self.memories[each.memory]
            for ranges in each.leaves.values():
                for start, stop in ranges:
                    memory.actual.wrote(Place.USER, start, stop)
            if each.home is not Home.STAY:
                memory.actual.wrote(Place.USER, *each.hull)
        self._settle_untracked()


def _combine_zone(zone: Any, start: int, merged: Bytes, parts: Sequence[Bytes]) -> None:
    """One zone of atomics, in bytes that begin at byte `start` of the buffer."""
    shifted = type(zone)(
        zone.operation, zone.start - start, zone.stop - start, zone.width_bytes, zone.is_signed
    )
    write_combined(merged, [shifted], [0] * len(parts), list(parts))
