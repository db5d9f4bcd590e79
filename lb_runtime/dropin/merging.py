"""How what both devices left comes together at home: rows, differences and atomics."""

from __future__ import annotations

from collections.abc import Sequence

from lb_runtime.analysis.regions import Rows
from lb_runtime.analysis.verdict import AtomicZone
from lb_runtime.dropin import copies
from lb_runtime.dropin.conductor import ATTEMPTS, Conductor
from lb_runtime.dropin.memories import Memory
from lb_runtime.dropin.ready import Home, Ready, Written
from lb_runtime.dropin.steps import Steps
from lb_runtime.errors import RaceError
from lb_runtime.memory.atomics import write_combined
from lb_runtime.memory.byte_map import Place
from lb_runtime.memory.merge import Bytes, changed_bytes, first_clash, write_changed


class MergingSteps(Steps):
    """The steps of a launch whose parts write bytes that cannot stay where they were computed."""

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


def _combine_zone(zone: AtomicZone, start: int, merged: Bytes, parts: Sequence[Bytes]) -> None:
    """One zone of atomics, in bytes that begin at byte `start` of the buffer."""
    shifted = AtomicZone(
        zone.operation, zone.start - start, zone.stop - start, zone.width_bytes, zone.is_signed
    )
    write_combined(merged, [shifted], [0] * len(parts), list(parts))
