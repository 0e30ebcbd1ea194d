"""Which deliveries form a batch, and when it begins."""

import asyncio

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from genlock.consumers.commands.authors import Reader
from genlock.consumers.commands.batching import Batch, Batching
from genlock.consumers.commands.deliveries import SUSPICIOUS_RETURNS, Delivery, Part
from genlock.consumers.commands.overlap import AT_ONCE
from genlock.consumers.health.activity import Progress
from genlock.service.kinds.registry import KINDS
from tests.support.factories import new_id, put

READER = Reader("/genlock")
LIMIT = 4


def delivery(tag: int, *, commands: int = 1, size: int = 10, returns: int = 0, document_id: str = "") -> Delivery:
    parts = tuple(Part(put(document_id or new_id(), 0), b"") for _ in range(commands))
    return Delivery(tag, "document.put", Basic.Properties(), parts, size, commands > 1, returns, returns > 0)


def suspicious(tag: int) -> Delivery:
    return delivery(tag, returns=SUSPICIOUS_RETURNS)


def batching(*deliveries: Delivery, bytes_max: int = 1000) -> Batching:
    forming = Batching(KINDS, Progress(), LIMIT, READER, bytes_max=bytes_max)
    for each in deliveries:
        forming.add(each)
    return forming


async def formed(forming: Batching) -> list[list[int]]:
    """The tags of all batches from now on, each decided before the next one begins."""
    forming.end()
    batches = []
    async with asyncio.timeout(5):
        while batch := await forming.next():
            batches.append(tags(batch))
            forming.leave(batch)
    return batches


def tags(batch: Batch | None) -> list[int]:
    assert batch is not None
    return [each.tag for each in batch.deliveries]


async def begun(forming: Batching) -> Batch:
    async with asyncio.timeout(5):
        batch = await forming.next()
    assert batch is not None
    return batch


async def test_arrived_deliveries_are_one_batch_up_to_the_limit_of_commands() -> None:
    assert await formed(batching(*map(delivery, range(1, 7)))) == [[1, 2, 3, 4], [5, 6]]


async def test_a_batch_takes_no_more_once_it_has_many_bytes() -> None:
    large = [delivery(tag, size=60) for tag in (1, 2, 3)]
    assert await formed(batching(*large, bytes_max=100)) == [[1, 2], [3]]


async def test_a_message_that_does_not_fit_begins_the_next_batch() -> None:
    several = delivery(3, commands=3)
    assert await formed(batching(delivery(1), delivery(2), several, delivery(4), delivery(5))) == [[1, 2], [3, 4], [5]]


async def test_a_message_of_more_commands_than_the_limit_is_a_batch_of_its_own() -> None:
    assert await formed(batching(delivery(1), delivery(2, commands=LIMIT + 1), delivery(3))) == [[1], [2], [3]]


async def test_a_suspicious_delivery_is_a_batch_of_its_own_in_its_place() -> None:
    assert await formed(batching(delivery(1), suspicious(2), suspicious(3), delivery(4))) == [[1], [2], [3], [4]]


async def test_a_batch_grows_while_it_waits_for_those_under_way() -> None:
    document = new_id()
    forming = batching(delivery(1, document_id=document))
    first = await begun(forming)
    forming.add(delivery(2, document_id=document))
    waiting = asyncio.create_task(forming.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    forming.add(delivery(3))
    forming.leave(first)
    async with asyncio.timeout(5):
        assert tags(await waiting) == [2, 3]


async def test_no_batch_begins_beside_a_suspicious_one() -> None:
    forming = batching(suspicious(1), delivery(2))
    first = await begun(forming)
    waiting = asyncio.create_task(forming.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    forming.leave(first)
    async with asyncio.timeout(5):
        assert tags(await waiting) == [2]


async def test_batches_of_different_records_are_under_way_at_once() -> None:
    forming = batching(*map(delivery, range(1, 1 + AT_ONCE * LIMIT)))
    assert [len((await begun(forming)).deliveries) for _ in range(AT_ONCE)] == [LIMIT] * AT_ONCE


async def test_a_message_is_decoded_and_counts_as_progress() -> None:
    progress = Progress()
    forming = Batching(KINDS, progress, LIMIT, READER)
    moved = []
    progress.moved = lambda: moved.append(True)  # type: ignore[method-assign]  # to see it called
    deliver = Basic.Deliver("", 7, redelivered=False, exchange="", routing_key="document.put")
    header = ContentHeader(properties=Basic.Properties())
    forming.add(DeliveredMessage(delivery=deliver, header=header, body=b"no command", channel=None))  # type: ignore[arg-type]
    batch = await begun(forming)
    assert tags(batch) == [7]
    assert batch.deliveries[0].commands == []
    assert moved
