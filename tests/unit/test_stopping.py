"""The request to end cuts pauses short, and gives up work that may be given up."""

import asyncio

import pytest

from genlock.consumers.process.stopping import Stop, StoppedError


async def test_a_pause_ends_by_itself_or_at_the_request() -> None:
    stop = Stop()
    await stop.pause(0.0)
    assert not stop.requested
    pausing = asyncio.create_task(stop.pause(3600.0))
    await asyncio.sleep(0)
    assert not pausing.done()
    stop.request()
    async with asyncio.timeout(5):
        await pausing
        await stop.pause(3600.0)
        await stop.wait()
    assert stop.requested


async def test_work_is_done_unless_the_end_is_requested() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    assert await Stop().unless_requested(work()) == "done"


async def test_work_that_is_given_up_may_close_what_it_has_opened() -> None:
    stop, opened, closed = Stop(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        opened.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            closed.set()

    working = asyncio.create_task(stop.unless_requested(work()))
    await opened.wait()
    stop.request()
    with pytest.raises(StoppedError):
        await working
    assert closed.is_set()


async def test_the_fault_of_the_work_is_told() -> None:
    async def work() -> None:
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        await Stop().unless_requested(work())
