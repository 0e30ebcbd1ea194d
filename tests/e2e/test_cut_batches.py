"""A batch that comes to more than one transaction may make is decided and published in several, and settled once."""

import asyncio
import json

import pytest

from genlock.schemas.decode import Command
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Step
from genlock.service.deciding.limits import OUTCOMES_BYTES_MAX, TooMuchError
from genlock.service.settings import Settings
from tests.support.database import Connection
from tests.support.factories import Json, command, envelope, new_id, put
from tests.support.harness import DEADLINE_S, Client, serving, until

LARGE = {"text": "x" * 500_000}
STALE = {"expected_generation": 7, "patch": {}}
FIT = OUTCOMES_BYTES_MAX // 501_000
"""How many conflicts on a document as large as that one transaction makes."""


def stale_merge(document: str) -> Command:
    return command("document.merge", document, STALE)


class FailsOnce:
    """Breaks the session off at a step, when it comes to it for the given time."""

    def __init__(self, step: Step, time: int) -> None:
        self._step = step
        self._left = time

    def __call__(self, step: Step) -> None:
        self._left -= step is self._step
        if step is self._step and self._left == 0:
            raise RuntimeError("the session is broken off")


async def test_a_transaction_makes_outcomes_up_to_its_limit_and_tells_how_many_fit(
    decider: Decider, second: Connection
) -> None:
    document = new_id()
    await decider.decide([put(document, None, LARGE)])
    merges = [stale_merge(document) for _ in range(FIT + 2)]
    with pytest.raises(TooMuchError) as too_much:
        await decider.decide(merges)
    assert too_much.value.fits == FIT
    assert await second.fetchval("SELECT count(*) FROM ledger") == 1
    outcomes = await decider.decide(merges[: too_much.value.fits])
    assert len(outcomes.events) == FIT


async def test_each_copy_of_a_command_counts_in_the_limit_of_outcomes(decider: Decider) -> None:
    document = new_id()
    await decider.decide([put(document, None, LARGE)])
    stale = stale_merge(document)
    for _ in ("decided now", "decided before"):
        with pytest.raises(TooMuchError) as too_much:
            await decider.decide([stale] * (FIT + 2))
        assert too_much.value.fits == FIT
        assert len((await decider.decide([stale] * FIT)).events) == FIT


async def test_a_transaction_reads_records_up_to_its_limit(decider: Decider) -> None:
    documents = [new_id() for _ in range(4)]
    for document in documents:
        await decider.decide([put(document, None, LARGE)])
    with pytest.raises(TooMuchError, match="documents that are touched"):
        await decider.decide([stale_merge(document) for document in documents])
    for document in documents:
        assert len((await decider.decide([stale_merge(document)])).events) == 1


async def test_a_transaction_makes_changes_up_to_its_limit(decider: Decider) -> None:
    document = new_id()
    await decider.decide([put(document, None, LARGE)])
    merges = [command("document.merge", document, {"patch": {"n": number}}) for number in range(10)]
    with pytest.raises(TooMuchError, match="changes") as too_much:
        await decider.decide(merges)
    assert too_much.value.fits
    assert len((await decider.decide(merges[: too_much.value.fits])).events) == too_much.value.fits


async def test_known_events_are_read_up_to_a_limit(decider: Decider) -> None:
    document = new_id()
    await decider.decide([put(document, None, LARGE)])
    merges = [stale_merge(document) for _ in range(FIT + 4)]
    events = []
    for merge in merges:
        events += (await decider.decide([merge])).events
    with pytest.raises(TooMuchError, match="decided"):
        await decider.decide(merges)
    half = len(merges) // 2
    assert (await decider.decide(merges[:half])).events == events[:half]


@pytest.fixture
async def reply_to(client: Client) -> str:
    """A queue for replies."""
    queue = await client.channel.declare_queue(exclusive=True)
    return queue.name


@pytest.mark.parametrize("step", [Step.COMMITTED, Step.PUBLISHED, Step.SETTLED])
@pytest.mark.parametrize("time", [2, 3])
async def test_a_bulk_message_that_is_cut_and_broken_off_goes_on_where_it_stopped(
    client: Client, settings: Settings, second: Connection, step: Step, time: int
) -> None:
    document = new_id()
    merges: list[Json] = [envelope("document.merge", document, STALE) for _ in range(2 * FIT + 2)]
    last = envelope("document.merge", document, {"expected_generation": 0, "patch": {"text": "short"}})
    created = envelope("document.put", document, {"expected_generation": None, "body": LARGE})
    async with serving(settings):
        await client.ask(created)
    async with serving(settings, failpoint=FailsOnce(step, time), sweep_after_s=1.0):
        await client.send_bulk([*merges, last])
        outcomes = await client.decided(*merges, last)
        await client.until_empty(client.topology.inbox)
        await until(lambda: _all_confirmed(second))
    assert [outcome["type"] for outcome in outcomes] == [
        *["document.merge.conflict"] * len(merges),
        "document.merge.succeeded",
    ]
    assert all(len(set(bodies)) == 1 for bodies in client.bodies.values())
    assert await second.fetchval("SELECT count(*) FROM ledger") == len(merges) + 2
    assert await second.fetchval("SELECT count(*) FROM batches") > 2


async def _all_confirmed(second: Connection) -> bool:
    return bool(await second.fetchval("SELECT count(*) = 0 FROM batches WHERE confirmed_at IS NULL"))


async def test_the_replies_to_a_bulk_message_that_is_cut_have_all_outcomes_in_their_order(
    client: Client, settings: Settings, reply_to: str
) -> None:
    document = new_id()
    merges: list[Json] = [envelope("document.merge", document, STALE) for _ in range(2 * FIT + 2)]
    async with serving(settings):
        await client.ask(envelope("document.put", document, {"expected_generation": None, "body": LARGE}))
        await client.send_bulk(merges, reply_to=reply_to)
        answered: list[str] = []
        queue = await client.channel.get_queue(reply_to)
        async with asyncio.timeout(DEADLINE_S), queue.iterator(no_ack=True) as replies:
            async for message in replies:
                answered += [outcome["causationid"] for outcome in json.loads(message.body)]
                if len(answered) >= len(merges):
                    break
    assert answered == [merge["id"] for merge in merges]
