"""Carrying out one launch: the parts of both devices, and what to do when something fails.

Each stage notes that it is done. Whatever fails, what is not done yet is then done on the user's device,
and nothing is done twice.
"""

from __future__ import annotations

from time import perf_counter, sleep
from typing import TYPE_CHECKING

import pyopencl as cl

from lb_runtime.dropin import copies, raw
from lb_runtime.dropin.arguments import BufferRef
from lb_runtime.dropin.chunked import ChunkedSteps
from lb_runtime.dropin.conductor import ATTEMPTS, FAILED, Conductor, Piece
from lb_runtime.dropin.decisions import InChunks
from lb_runtime.dropin.hand import Errand
from lb_runtime.dropin.ready import Ready, Work
from lb_runtime.dropin.steps import harmless, launch, times
from lb_runtime.errors import BytesLostError
from lb_runtime.memory.byte_map import Place

if TYPE_CHECKING:
    from lb_runtime.dropin.world import World


class LaunchTask(ChunkedSteps):
    """A launch of the program's, carried out by its queue's conductor. See `Steps` for what it is given."""

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
        with harmless(world, "tell"):
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
        with harmless(world, "tell"):
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
            event = launch(queue, kernel, ready, work)
            event.wait()
            self._busy_seconds[Place.MIRROR] = perf_counter() - began
            held.clear()
            return times(event)

        self._errand = conductor.away(job)

    def _run_at_home(self, conductor: Conductor, ready: Ready, work: Work) -> None:
        """Run a part on the user's device, whichever it belongs to."""
        self._step = "kernel"
        kernel = conductor.kernel(ready.programs[Place.USER], ready.kernel_name)
        self._set_arguments(kernel, None)
        event = launch(conductor.home, kernel, ready, work)
        self._learn(conductor)
        event.wait()
        self._done[work.place] = Place.USER
        self._note_places(ready)
        self._note_time(Place.USER, event, perf_counter())

    # When something fails

    def _recover(self, conductor: Conductor, error: Exception) -> None:
        """Do on the user's device what is not done yet."""
        world = conductor.world
        code = "race" if self._has_raced else "fault"
        if not self._has_raced:
            world.tell(self._step, error)
        with harmless(world, "tell"):
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
            with harmless(world, "recover"):
                world.count_failure(conductor, error)

    def _finish_at_home(self, conductor: Conductor) -> None:
        ready = self._ready
        if self._chunked is not None and self._handout is not None:
            self._finish_chunks_at_home(conductor, self._chunked, self._handout)
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
            event = launch(conductor.home, kernel, ready, whole)
            event.wait()
            self._is_whole = True
        self._note_places(ready)
        self._bring_untracked_home(conductor)
