"""Which call of the program's was the last that enqueued anything, on any queue.

A launch that is enqueued right behind one of ours on the same in-order queue need not ask the driver when
its turn comes: it comes when ours has ended. Whatever else is enqueued between the two is noted here, while
launches of ours are in flight. A queue that the program hands to others, who enqueue unseen, is foreign.
"""

from __future__ import annotations

from lb_runtime.dropin.conductor import IN_FLIGHT

FOREIGN: set[int] = set()
"""The queues (`cl_command_queue` as a number) whose handles were given out or came from elsewhere."""
_last: list[object] = [object()]


def note_call() -> None:
    """Something was enqueued; to be called after that, by whoever enqueued it."""
    if IN_FLIGHT:
        _last[0] = object()


def note_ours() -> object:
    """A launch of ours was enqueued: what `is_last` tells it by."""
    token = _last[0] = object()
    return token


def is_last(token: object) -> bool:
    """Whether nothing was enqueued since, as far as the caller can know."""
    return _last[0] is token
