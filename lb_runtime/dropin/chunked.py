"""One launch in chunks: whoever is idle gets the next work-groups; where devices meet is one cut."""

from __future__ import annotations

from time import perf_counter

import pyopencl as cl

from lb_runtime.dropin import raw
from lb_runtime.dropin.arguments import BufferRef
from lb_runtime.dropin.conductor import Conductor, Piece
from lb_runtime.dropin.decisions import InChunks
from lb_runtime.dropin.hand import Errand
from lb_runtime.dropin.handout import AWAY, HOME, Handout
from lb_runtime.dropin.merging import MergingSteps
from lb_runtime.dropin.ready import Ready
from lb_runtime.dropin.steps import launch, times
from lb_runtime.memory.byte_map import Place
from lb_runtime.shares.chunks import NOTHING


class ChunkedSteps(MergingSteps):
    """The steps of a launch that is handed out to both devices, until none is left."""

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
        handout = self._handout = Handout(
            base.groups,
            chunked.choice,
            is_home_first=base.is_home_first,
            prepared=self._decision.prepared(base) if self._decision is not None else NOTHING,
        )
        self._step = "mirror-kernel"
        self._hand_out(conductor, base, handout, pieces)
        began = perf_counter()
        self._step = "kernel"
        kernel = conductor.kernel(base.programs[Place.USER], base.kernel_name)
        self._set_arguments(kernel, None)
        limit = conductor.world.settings.mirror_timeout_seconds
        while (chunk := handout.next(HOME, limit)) is not None:
            event = launch(
                conductor.home, kernel, base, base.piece(Place.USER, chunk.start, chunk.stop)
            )
            begun = perf_counter()
            self._foresee(base, handout)
            event.wait()
            self._busy_seconds[Place.USER] = perf_counter() - began
            handout.done(chunk, perf_counter() - begun)
            self._note_time(Place.USER, event, perf_counter())
        self._step = "mirror-wait"
        self._await_mirror(conductor)
        self._step = "merge"
        self._join(conductor, chunked, handout)

    def _hand_out(
        self, conductor: Conductor, base: Ready, handout: Handout, pieces: list[Piece]
    ) -> None:
        """Have the mirror take what it lacks, and then chunks."""
        mirror = conductor.mirror
        kernel = conductor.kernel(base.programs[Place.MIRROR], base.kernel_name)

        def job(queue: cl.CommandQueue, errand: Errand) -> tuple[int, int]:
            try:
                return work(queue, errand)
            finally:
                # However it ended, nobody is to wait for it.
                handout.leave(AWAY)

        def work(queue: cl.CommandQueue, errand: Errand) -> tuple[int, int]:
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
                event = launch(
                    queue, kernel, base, base.piece(Place.MIRROR, chunk.start, chunk.stop)
                )
                event.wait()
                self._busy_seconds[Place.MIRROR] = perf_counter() - began
                handout.done(chunk, perf_counter() - begun)
                start, stop = times(event)
                busy += stop - start
            held.clear()
            return 0, busy

        self._errand = conductor.away(job)

    def _foresee(self, base: Ready, handout: Handout) -> None:
        """Work out the cut of what will have been done, once that is known: both devices still compute."""
        if self._decision is not None and (expected := handout.expected) is not None:
            home, away = expected
            if away[0] < away[1]:
                self._decision.cut_at(base, home, away)

    def _join(self, conductor: Conductor, chunked: InChunks, handout: Handout) -> None:
        """Put together what was done in chunks; what is missing is done on the program's device."""
        base, ready = chunked.ready, None
        start, stop = handout.missing
        if start < stop:
            self._go_on_at_home(conductor, base, start, stop)
            handout.went_on()
        start, stop = handout.away
        if start < stop and self._decision is not None:
            ready = self._decision.cut_at(base, handout.home, (start, stop))
            if ready is None and not self._is_whole:
                # No cut that can be put together: all is at home that the rest needs.
                self._go_on_at_home(conductor, base, start, stop)
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
        event = launch(conductor.home, kernel, base, base.piece(Place.USER, start, stop))
        event.wait()
        self._note_time(Place.USER, event, perf_counter())

    def _finish_chunks_at_home(
        self, conductor: Conductor, chunked: InChunks, handout: Handout
    ) -> None:
        """After a failure: nothing more for the mirror, and what it has not done is done at home."""
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
