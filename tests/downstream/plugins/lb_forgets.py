"""A mutant: what a part wrote on the other device is forgotten, so that those bytes never come home."""

from __future__ import annotations

from lb_runtime.memory.byte_map import ByteMap, Place

_wrote = ByteMap.wrote


def _forgets(self: ByteMap, place: Place, start: int, stop: int) -> None:
    if place is not Place.MIRROR:
        _wrote(self, place, start, stop)


def pytest_configure() -> None:
    ByteMap.wrote = _forgets  # type: ignore[method-assign]
