"""Carrying out one launch: the parts of both devices, and what to do when something fails.

Each stage notes that it is done. Whatever fails, what is not done yet is then done on the user's device,
and nothing is done twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

import pyopencl as cl

from lb_runtime.analysis.regions import Rows
from lb_runtime.analysis.verdict import AtomicZone
from lb_runtime.dropin import copies, raw
from lb_runtime.dropin.arguments import BufferRef, LocalRef
from lb_runtime.dropin.believed import AWAY, HOME
from lb_runtime.dropin.conductor import ATTEMPTS, FAILED, Conductor, Move, Piece, Task
from lb_runtime.dropin.decisions import InChunks
from lb_runtime.dropin.hand import Errand
from lb_runtime.dropin.handout import Handout
from lb_runtime.dropin.memories import Memory
from lb_runtime.dropin.ready import Home, Ready, Work, Written
from lb_runtime.errors import BytesLostError, RaceError
from lb_runtime.memory.atomics import write_combined
from lb_runtime.memory.byte_map import Place
from lb_runtime.memory.merge import Bytes, changed_bytes, first_clash, write_changed

if TYPE_CHECKING:
    from lb_runtime.dropin.decisions import Decision
    from lb_runtime.dropin.mirror import Mirror
    from lb_runtime.dropin.scout import Entry, Question
    from lb_runtime.dropin.world import World


class LaunchTask(Task):
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

    def run(self, conductor: Conductor) -> None:
        """Wait for the user's queue, and run the launch; on the user's device if all else fails."""
        self.entry.undecided = max(0, self.entry.undecided - 1)
        if not self._is_due(conductor):
            # What the launch waits for failed: it does not run, and nothing was written.
            self.status = FAILED
            return
        for memory in self.memories.values():
            if memory.lost_because:
                # What it would compute from lost bytes is as lost.
                self.give_up(conductor.world, BytesLostError(memory.lost_because))
                return
        began = perf_counter()
        try:
            self._step = "decide"
            self._decision = self.entry.decide_now(self.question)
            decision = self._decision
            chosen = "first-launches" if decision is None else decision.choose()
            if isinstance(chosen, Ready):
                self._ready = chosen
                self._everywhere(conductor, chosen)
                self._tell(conductor.world, chosen, began)
            elif isinstance(chosen, InChunks):
                self._in_chunks(conductor, chosen)
                if self._ready is not None:
                    self._tell(conductor.world, self._ready, began)
                else:
                    self._whole_seconds = perf_counter() - began
                    self._tell_whole("no-gain")
            else:
                self._whole_at_home(conductor)
                self._tell_whole(chosen)
        except Exception as error:
            self._recover(conductor, error)
        finally:
            self._errand = self.marker = self.follows = None
            self._held.clear()
            self._originals.clear()

    def _is_due(self, conductor: Conductor) -> bool:
        """Wait for all that stands before the launch; whether it went well."""
        marker = self.marker
        if marker is None:
            return self.follows is None or self.follows.status >= 0
        conductor.waits_since = perf_counter()
        try:
            marker.wait()
        except cl.Error:
            return False
        except Exception as error:
            conductor.world.tell("wait", error)
            while marker.command_execution_status > 0:
                sleep(0.0005)
        finally:
            conductor.waits_since = None
        return True

    def _tell(self, world: World, ready: Ready, began: float) -> None:
        """The launch is done: nothing that fails here may change that."""
        with _harmless(world, "tell"):
            total = perf_counter() - began
            world.story.span("conductor", ready.kernel_name, began, began + total)
            if self._decision is not None:
                self._decision.ran(
                    ready,
                    total,
                    self._seconds,
                    self._busy_seconds,
                    self._to_mirror_bytes,
                    self._home_bytes,
                    is_chunked=self._handout is not None,
                )

    def _tell_whole(self, code: str) -> None:
        world = self.entry.world
        with _harmless(world, "tell"):
            if self._decision is None or self._decision.code:
                self.entry.took(self._seconds[Place.USER])
            self.entry.story.passed(code)
            if self._home_bytes:
                world.story.operation(self.entry.name, self._home_bytes)
            if self._decision is not None:
                self._decision.ran_alone(self._seconds[Place.USER], self._whole_seconds)

    # Whole

    def _whole_at_home(self, conductor: Conductor) -> None:
        """Run the launch as the program wrote it, on a queue of ours, which takes its time."""
        self._step = "to-user"
        self._home_bytes += conductor.bring_home(self._everything)
        if not self._is_whole:
            self._step = "kernel"
            # What was brought home for it is none of it: the next whole launch finds it there.
            began = perf_counter()
            kernel = conductor.kernel(self.entry.program, self.entry.name)
            self._set_arguments(kernel, None)
            question = self.question
            event = raw.enqueue_nd_range_kernel(
                conductor.home, kernel, question.global_size, question.local_size, question.offset
            )
            self._learn(conductor)
            event.wait()
            self._is_whole = True
            self._whole_seconds = perf_counter() - began
            self._note_time(Place.USER, event, perf_counter())
        for index, value in enumerate(self.question.given):
            if type(value) is BufferRef and index not in self.entry.read_only:
                stop = value.start_bytes + value.size_bytes
                self._roots[value.root].actual.wrote(Place.USER, value.start_bytes, stop)
        self._bring_untracked_home(conductor)

    # In parts

    def _everywhere(self, conductor: Conductor, ready: Ready) -> None:
        """Run each part where it belongs."""
        mine, theirs = ready.work(Place.USER), ready.work(Place.MIRROR)
        began = perf_counter()
        # The mirror reads for the user's device while that is read for the mirror.
        self._step = "to-user"
        fetch = None if mine is None else conductor.fetch(self._moves(mine))
        if fetch is not None:
            self._home_bytes += fetch.size_bytes
        self._step = "to-mirror"
        pieces = [] if theirs is None else conductor.to_send(self._moves(theirs))
        self._to_mirror_bytes += sum(content.nbytes for _, _, content in pieces)
        if ready.comes_together:
            self._step = "to-user"
            if fetch is not None:
                self._held += conductor.put_home(fetch)
                fetch = None
            self._keep_originals(conductor, ready)
        if theirs is not None:
            self._step = "mirror-kernel"
            self._is_ready_at_home = fetch is None
            self._send_out(conductor, ready, theirs, pieces)
        if mine is not None:
            self._step = "to-user"
            began_at_home = perf_counter()
            if fetch is not None:
                self._held += conductor.put_home(fetch)
            if self._home_bytes or self._to_mirror_bytes:
                moved = self._home_bytes + self._to_mirror_bytes
                conductor.world.story.span("host", "move", began, perf_counter(), bytes=moved)
            self._is_ready_at_home = True
            self._run_at_home(conductor, ready, mine)
            self._busy_seconds[Place.USER] = perf_counter() - began_at_home
        if theirs is not None:
            self._step = "mirror-wait"
            self._await_mirror(conductor)
        self._step = "merge"
        merging = perf_counter()
        self._put_together(conductor, ready)
        if ready.comes_together:
            conductor.world.story.span("host", "merge", merging, perf_counter())
        self._note_places(ready)
        self._bring_untracked_home(conductor)

    def _send_out(
        self, conductor: Conductor, ready: Ready, work: Work, pieces: list[Piece]
    ) -> None:
        """Have the mirror take what it lacks and run its part."""
        mirror = conductor.mirror
        kernel = conductor.kernel(ready.programs[Place.MIRROR], ready.kernel_name)

        def job(queue: cl.CommandQueue, errand: Errand) -> tuple[int, int]:
            began = perf_counter()
            held = [
                raw.write_buffer(queue, memory.copy_on(mirror), content, start, None, False)
                for memory, start, content in pieces
            ]
            self._set_arguments(kernel, mirror)
            errand.begin()
            # Noted by a job that counts alone: one that was given up may come late, when all has changed.
            for memory, start, content in pieces:
                memory.actual.copied(Place.MIRROR, start, start + content.size)
            event = _launch(queue, kernel, ready, work)
            event.wait()
            self._busy_seconds[Place.MIRROR] = perf_counter() - began
            held.clear()
            return _times(event)

        self._errand = conductor.away(job)

    def _run_at_home(self, conductor: Conductor, ready: Ready, work: Work) -> None:
        """Run a part on the user's device, whichever it belongs to."""
        self._step = "kernel"
        kernel = conductor.kernel(ready.programs[Place.USER], ready.kernel_name)
        self._set_arguments(kernel, None)
        event = _launch(conductor.home, kernel, ready, work)
        self._learn(conductor)
        event.wait()
        self._done[work.place] = Place.USER
        self._note_places(ready)
        self._note_time(Place.USER, event, perf_counter())

    # In chunks

    def _in_chunks(self, conductor: Conductor, chunked: InChunks) -> None:
        """Hand out the work-groups to both devices, until none is left.

        Both hold all that the launch is given, before it begins: whatever fails, it is done at home.
        """
        base, self._chunked = chunked.ready, chunked
        self._step = "to-user"
        everything = self._everything
        self._home_bytes += conductor.bring_home(everything)
        self._step = "to-mirror"
        pieces = conductor.to_send(everything)
        self._to_mirror_bytes += sum(content.nbytes for _, _, content in pieces)
        handout = self._handout = Handout(base.groups, chunked.choice)
        self._step = "mirror-kernel"
        self._hand_out(conductor, base, handout, pieces)
        began = perf_counter()
        self._step = "kernel"
        kernel = conductor.kernel(base.programs[Place.USER], base.kernel_name)
        self._set_arguments(kernel, None)
        while (chunk := handout.next(HOME)) is not None:
            event = _launch(
                conductor.home, kernel, base, base.piece(Place.USER, chunk.start, chunk.stop)
            )
            begun = perf_counter()
            event.wait()
            handout.done(chunk, perf_counter() - begun)
            self._note_time(Place.USER, event, perf_counter())
        self._busy_seconds[Place.USER] = perf_counter() - began
        self._step = "mirror-wait"
        self._await_mirror(conductor)
        self._step = "merge"
        self._join(conductor, chunked, handout)

    @property
    def _everything(self) -> list[Move]:
        """All bytes of all buffers that the launch is given."""
        return [
            (self._roots[value.root], value.start_bytes, value.start_bytes + value.size_bytes)
            for value in self.question.given
            if type(value) is BufferRef
        ]

    def _hand_out(
        self, conductor: Conductor, base: Ready, handout: Handout, pieces: list[Piece]
    ) -> None:
        """Have the mirror take what it lacks, and then chunks."""
        mirror = conductor.mirror
        kernel = conductor.kernel(base.programs[Place.MIRROR], base.kernel_name)

        def job(queue: cl.CommandQueue, errand: Errand) -> tuple[int, int]:
            began, busy = perf_counter(), 0
            held = [
                raw.write_buffer(queue, memory.copy_on(mirror), content, start, None, False)
                for memory, start, content in pieces
            ]
            self._set_arguments(kernel, mirror)
            errand.begin()
            for memory, start, content in pieces:
                memory.actual.copied(Place.MIRROR, start, start + content.size)
            while (chunk := handout.next(AWAY)) is not None:
                begun = perf_counter()
                event = _launch(
                    queue, kernel, base, base.piece(Place.MIRROR, chunk.start, chunk.stop)
                )
                event.wait()
                handout.done(chunk, perf_counter() - begun)
                start, stop = _times(event)
                busy += stop - start
            self._busy_seconds[Place.MIRROR] = perf_counter() - began
            held.clear()
            return 0, busy

        self._errand = conductor.away(job)

    def _join(self, conductor: Conductor, chunked: InChunks, handout: Handout) -> None:
        """Put together what was done in chunks; what is missing is done on the program's device."""
        base, stop = chunked.ready, handout.away_start
        ready = None
        if handout.home_stop < stop:
            self._go_on_at_home(conductor, base, handout.home_stop, stop)
            handout.home_stop = stop
        if stop < handout.groups and self._decision is not None:
            ready = self._decision.cut_at(base, stop)
            if ready is None and not self._is_whole:
                # No cut that can be put together: all is at home that the rest needs.
                self._go_on_at_home(conductor, base, stop, handout.groups)
        if ready is None:
            self._is_whole = True
            for index, value in enumerate(self.question.given):
                if type(value) is BufferRef and index not in self.entry.read_only:
                    end = value.start_bytes + value.size_bytes
                    self._roots[value.root].actual.wrote(Place.USER, value.start_bytes, end)
        else:
            self._ready = ready
            self._done = {Place.USER: Place.USER, Place.MIRROR: Place.MIRROR}
            self._put_together(conductor, ready)
            self._note_places(ready)
        self._bring_untracked_home(conductor)

    def _go_on_at_home(self, conductor: Conductor, base: Ready, start: int, stop: int) -> None:
        kernel = conductor.kernel(base.programs[Place.USER], base.kernel_name)
        self._set_arguments(kernel, None)
        event = _launch(conductor.home, kernel, base, base.piece(Place.USER, start, stop))
        event.wait()
        self._note_time(Place.USER, event, perf_counter())

    def _finish_chunks_at_home(self, conductor: Conductor, chunked: InChunks) -> None:
        """After a failure: nothing more for the mirror, and what it has not done is done at home."""
        handout = self._handout
        if handout is None:
            # Nothing was begun.
            self._whole_at_home(conductor)
            return
        failed = Place.MIRROR not in self._done
        if self._errand is not None:
            failed = False
            handout.stop(away_failed=False)
            try:
                self._await_mirror(conductor)
            except Exception as error:
                conductor.world.tell("mirror-wait", error)
                failed = True
        handout.stop(away_failed=failed)
        self._join(conductor, chunked, handout)

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
        with _harmless(conductor.world, "tell"):
            if self._decision is not None:
                self._decision.learn()

    def ended(self, conductor: Conductor) -> None:
        """Learn from this one as well, where no launch waits for its turn."""
        if conductor.is_idle:
            self._learn(conductor)

    def _note_time(self, place: Place, event: cl.Event, ended: float) -> None:
        start, stop = _times(event)
        self.stamps[:] = [start]
        self._note_seconds(place, (stop - start) * 1e-9, ended)

    def _note_seconds(self, place: Place, seconds: float, ended: float) -> None:
        self._seconds[place] = self._seconds.get(place, 0.0) + max(0.0, seconds)
        world = self.entry.world
        world.story.span(world.row(place), self.entry.name, ended - max(0.0, seconds), ended)

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

    # What comes together at home

    def _keep_originals(self, conductor: Conductor, ready: Ready) -> None:
        """Read what differences are taken from, and what a race would have to be undone with."""
        for each in ready.written:
            memory = self.memories[each.memory]
            ranges: Sequence[tuple[int, int]] = ()
            if each.home in (Home.DIFFERENCE, Home.ATOMIC):
                ranges = (each.hull,)
            elif ready.has_difference:
                ranges = each.leaves.get(Place.USER, ())
            if ranges:
                self._originals[each.memory] = [
                    (start, copies.read(conductor.home, memory.own, start, stop))
                    for start, stop in ranges
                ]

    def _put_together(self, conductor: Conductor, ready: Ready) -> None:
        """Bring home what comes together there: all is worked out before anything is written."""
        if self._is_put:
            return
        pieces: list[tuple[Memory, Rows, Bytes]] = []
        for each in ready.written:
            if each.home is Home.STAY or Place.MIRROR not in each.leaves:
                continue
            if self._done.get(Place.MIRROR) is not Place.MIRROR:
                # It ran at home, on the same bytes.
                continue
            memory = self.memories[each.memory]
            if each.home is Home.ROWS:
                for rows in each.region.rows:
                    pieces.append((memory, rows, conductor.read_rows_away(memory, rows)))
                self._home_bytes += each.region.size_bytes
            else:
                content = self._combined(conductor, memory, each)
                pieces.append((memory, Rows(each.hull[0], content.size), content))
        for attempt in range(ATTEMPTS):
            try:
                for memory, rows, content in pieces:
                    copies.write_rows(conductor.home, memory.own, rows, content)
            except Exception as error:
                # Written again, they are the same.
                if attempt == ATTEMPTS - 1:
                    raise
                conductor.world.tell("merge", error)
            else:
                break
        self._is_put = True

    def _combined(self, conductor: Conductor, memory: Memory, each: Written) -> Bytes:
        """The hull's bytes after both parts."""
        ((start, original),) = self._originals[each.memory]
        mine = copies.read(conductor.home, memory.own, start, start + original.size)
        begin, end = each.region.start, each.region.stop
        theirs = conductor.read_rows_away(memory, Rows(begin, end - begin)).reshape(-1)
        self._home_bytes += end - begin
        here = slice(begin - start, end - start)
        if each.home is Home.ATOMIC:
            whole = original.copy()
            whole[here] = theirs
            merged = original.copy()
            for zone in each.zones:
                _combine_zone(zone, start, merged, [mine, whole])
            return merged
        theirs_changed = changed_bytes(original[here], theirs)
        mine_changed = changed_bytes(original[here], mine[here])
        clash = first_clash(mine[here], mine_changed, theirs, theirs_changed)
        if clash is not None:
            self._has_raced = True
            raise RaceError(
                f"two parts left different values in byte {begin + clash} of one buffer: the kernel "
                "has a data race"
            )
        write_changed(mine, begin - start, theirs, theirs_changed)
        return mine

    # When something fails

    def _recover(self, conductor: Conductor, error: Exception) -> None:
        """Do on the user's device what is not done yet."""
        world = conductor.world
        code = "race" if self._has_raced else "fault"
        if not self._has_raced:
            world.tell(self._step, error)
        with _harmless(world, "tell"):
            if self._decision is not None:
                self._decision.passes(code, f"{self._step}: {error}")
            self.entry.story.passed(code)
        for attempt in range(ATTEMPTS):
            try:
                if attempt == ATTEMPTS - 1:
                    # The bytes may be out of reach: save what can be saved, and try on that.
                    world.lose_mirror(conductor, error)
                self._finish_at_home(conductor)
            except BytesLostError as lost:
                self.give_up(world, lost)
                break
            except Exception as again:
                world.tell("recover", again)
                if attempt == ATTEMPTS - 1:
                    self.give_up(world, again)
            else:
                break
        if not self._has_raced:
            with _harmless(world, "recover"):
                world.count_failure(conductor, error)

    def _finish_at_home(self, conductor: Conductor) -> None:
        ready = self._ready
        if self._chunked is not None:
            self._finish_chunks_at_home(conductor, self._chunked)
            return
        if ready is None:
            self._whole_at_home(conductor)
            return
        if self._errand is not None:
            try:
                self._await_mirror(conductor)
            except Exception as error:
                conductor.world.tell("mirror-wait", error)
        self._forget_damaged(ready)
        if self._has_raced:
            self._once_more_whole(conductor, ready)
            return
        for work in ready.works:
            if work.place not in self._done:
                if work.place is Place.MIRROR or not self._is_ready_at_home:
                    conductor.bring_home(self._moves(work))
                self._run_at_home(conductor, ready, work)
        self._put_together(conductor, ready)
        self._note_places(ready)
        self._bring_untracked_home(conductor)

    def _forget_damaged(self, ready: Ready) -> None:
        """Trust the mirror no more with what its failed part may have written.

        Raises `BytesLostError` where it had the only copy of something that the part must read.
        """
        needed = self._moves(ready.work(Place.MIRROR) or ready.works[0])
        for memory, start, stop in self._damaged:
            for begin, end in memory.actual.lacking(Place.USER, start, stop):
                if any(
                    other is memory and low < end and high > begin for other, low, high in needed
                ):
                    raise BytesLostError(
                        f"bytes [{begin}, {end}) of a buffer of {memory.size_bytes} were on the other "
                        "device alone, which failed while it changed them"
                    )
            memory.actual.wrote(Place.USER, start, stop)
        self._damaged = []

    def _once_more_whole(self, conductor: Conductor, ready: Ready) -> None:
        """Undo what the user's part wrote, and run the launch as one."""
        if not self._is_whole:
            for number, pieces in self._originals.items():
                for start, content in pieces:
                    copies.write(conductor.home, self.memories[number].own, start, content)
            # What the mirror's part wrote in place is at home as it was before.
            for each in ready.written:
                for ranges in each.leaves.values():
                    for start, stop in ranges:
                        self.memories[each.memory].actual.wrote(Place.USER, start, stop)
            for work in ready.works:
                conductor.bring_home(self._moves(work))
            whole = Work(Place.USER, ready.whole_offset, ready.whole_size, ())
            kernel = conductor.kernel(ready.programs[Place.USER], ready.kernel_name)
            self._set_arguments(kernel, None)
            event = _launch(conductor.home, kernel, ready, whole)
            event.wait()
            self._is_whole = True
        self._note_places(ready)
        self._bring_untracked_home(conductor)

    def give_up(self, world: World, error: Exception) -> None:
        """What the launch was to write must not be read."""
        for index, value in enumerate(self.question.given):
            if type(value) is BufferRef and index not in self.entry.read_only:
                world.lose_bytes(self._roots[value.root], error)


class _harmless:  # noqa: N801  # reads as a word where it is used
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


def _launch(queue: cl.CommandQueue, kernel: cl.Kernel, ready: Ready, work: Work) -> cl.Event:
    event: cl.Event = raw.enqueue_nd_range_kernel(
        queue, kernel, work.global_size, ready.local_size, work.global_offset
    )
    return event


def _times(event: cl.Event) -> tuple[int, int]:
    """When a kernel began and ended, in nanoseconds of its device's clock."""
    start = raw.profiling_info(event, cl.profiling_info.START)
    return start, raw.profiling_info(event, cl.profiling_info.END)


def _combine_zone(zone: AtomicZone, start: int, merged: Bytes, parts: Sequence[Bytes]) -> None:
    """One zone of atomics, in bytes that begin at byte `start` of the buffer."""
    shifted = AtomicZone(
        zone.operation, zone.start - start, zone.stop - start, zone.width_bytes, zone.is_signed
    )
    write_combined(merged, [shifted], [0] * len(parts), list(parts))
