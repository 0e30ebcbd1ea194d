"""A cancellation that a library loses ends a loop all the same."""

import asyncio

import pytest

from genlock.consumers.amqp.session import heed_cancellation


async def test_lost_cancellation_is_heeded_at_the_next_turn_of_a_loop() -> None:
    turns = 0
    waiting = asyncio.Event()

    async def looping() -> None:
        nonlocal turns
        while True:
            heed_cancellation()
            turns += 1
            try:
                waiting.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue  # as asyncio.wait_for of Python 3.11 does if its future is done by then

    task = asyncio.create_task(looping())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert turns == 1
