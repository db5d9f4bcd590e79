"""Host memory and threads are kept from launch to launch."""

from __future__ import annotations

import threading

import pytest

from lb_runtime.contexts import OpenPair
from lb_runtime.memory.staging import MOST_BLOCKS, Staging
from lb_runtime.standby import at_once


def test_a_block_that_was_given_back_is_taken_again() -> None:
    staging = Staging()
    first = staging.take(1000)
    staging.give_back([first])
    assert staging.take(1100) is first


def test_a_block_is_given_to_one_at_a_time() -> None:
    staging = Staging()
    staging.give_back([staging.take(1000)])
    assert staging.take(1000) is not staging.take(1000)


def test_a_block_that_is_too_small_or_far_too_large_is_not_taken() -> None:
    staging = Staging()
    block = staging.take(1000)
    staging.give_back([block])
    assert staging.take(2 * block.size) is not block
    assert staging.take(100) is not block


def test_no_more_than_a_few_blocks_are_kept() -> None:
    staging = Staging()
    blocks = [staging.take(1000) for _ in range(2 * MOST_BLOCKS)]
    staging.give_back(blocks)
    kept = {id(staging.take(1000)) for _ in range(2 * MOST_BLOCKS)} & {id(each) for each in blocks}
    assert len(kept) == MOST_BLOCKS


def test_a_device_keeps_its_thread(pair: OpenPair) -> None:
    calls = {0: threading.get_ident, 1: threading.get_ident}
    first = at_once(pair.devices, calls)
    assert at_once(pair.devices, calls) == first
    assert len({*first.values(), threading.get_ident()}) == 3


def test_an_error_on_one_device_is_raised_once_the_other_has_ended(pair: OpenPair) -> None:
    ended = threading.Event()

    def fails() -> None:
        raise ValueError("not this one")

    def waits() -> None:
        ended.wait(0.05)
        ended.set()

    with pytest.raises(ValueError, match="not this one"):
        at_once(pair.devices, {0: fails, 1: waits})
    assert ended.is_set()
