"""A start tries each server until it can be used, the time is over, a fault lasts, or the end is requested."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
import structlog

from genlock.consumers.process.starting import StartError, Starting
from genlock.consumers.process.stopping import Stop, StoppedError
from genlock.service.database.connecting import RefusedSettingError
from genlock.service.database.migrate import SchemaError
from genlock.service.database.transactions import Pool
from genlock.service.settings import Settings

POOL = cast("Pool", object())
AWAY = ConnectionRefusedError("it is away")

Opening = Callable[[], Coroutine[Any, Any, Pool]]


def opening(*faults: BaseException) -> Opening:
    """An opening that fails with one fault after another, and then works."""
    left = list(faults)

    async def open_pool() -> Pool:
        if left:
            raise left.pop(0)
        return POOL

    return open_pool


async def start(attempt: Opening, *, timeout_s: float = 5.0, stop: Stop | None = None) -> Pool:
    async with asyncio.timeout(10):
        settings = Settings(start_timeout_s=timeout_s)
        return await Starting(settings, stop or Stop(), pause_s=0.0).open_pool(attempt)


async def test_a_server_that_is_away_is_tried_again_and_the_log_says_why() -> None:
    with structlog.testing.capture_logs() as logs:
        assert await start(opening(AWAY, AWAY)) is POOL
    assert [(line["action"], line["server"], line["why"]) for line in logs] == [
        ("wait_for_server", "PostgreSQL", "it is away")
    ] * 2


async def test_a_start_ends_with_the_last_reason_when_its_time_is_over() -> None:
    tried = opening(AWAY)

    async def once_away_and_then_silent() -> Pool:
        await tried()
        await asyncio.Event().wait()
        return POOL

    with pytest.raises(StartError, match=r"^PostgreSQL could not be used within 0\.1 seconds: it is away$"):
        await start(once_away_and_then_silent, timeout_s=0.1)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (SchemaError("run genlock migrate"), "^run genlock migrate$"),
        (RefusedSettingError("no such option"), "^PostgreSQL cannot be used: no such option$"),
    ],
)
async def test_a_fault_that_lasts_ends_the_start_at_once(fault: Exception, sentence: str) -> None:
    with pytest.raises(StartError, match=sentence):
        await start(opening(fault))


async def test_a_fault_of_the_program_is_not_waited_out() -> None:
    with pytest.raises(LookupError):
        await start(opening(LookupError()))


async def test_a_start_that_hangs_ends_when_that_is_requested() -> None:
    stop, began = Stop(), asyncio.Event()

    async def hang() -> Pool:
        began.set()
        await asyncio.Event().wait()
        return POOL

    work = asyncio.create_task(start(hang, stop=stop))
    await began.wait()
    stop.request()
    with pytest.raises(StoppedError):
        await work
