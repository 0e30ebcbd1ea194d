"""The client on a connection that is cut at the worst moments: it learns the fate of its commands."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import genlock
from genlock._client.link import _outcome_of
from genlock._client.outgoing import OutgoingMessage
from genlock.client import Client
from genlock.schemas.outcomes import parse_outcome
from genlock.schemas.queries import QUERIES
from genlock.service.settings import Settings
from tests.support import harness
from tests.support.database import Connection
from tests.support.documents import creating
from tests.support.factories import Json, accepted, conflicting, event_of, new_id, put, state_of
from tests.support.harness import DEADLINE_S, serving
from tests.support.proxy import Cut, Proxy, proxied

pytestmark = pytest.mark.usefixtures("client")


@pytest.fixture
async def queue(client: harness.Client) -> AsyncIterator[str]:
    """The name of a reader's queue, which is removed in the end."""
    name = new_id()
    yield name
    await client.channel.queue_delete(name)


@pytest.fixture
async def proxy(settings: Settings) -> AsyncIterator[Proxy]:
    """The broker as the client sees it; the service has a connection of its own."""
    async with serving(settings), proxied(settings.amqp_url.get_secret_value()) as proxy:
        yield proxy


@asynccontextmanager
async def connecting(proxy: Proxy, settings: Settings, timeout_s: float = DEADLINE_S) -> AsyncIterator[Client]:
    async with genlock.connect(proxy.url, namespace=settings.namespace, timeout_s=timeout_s) as client:
        yield client


async def changes(second: Connection, command: genlock.Command) -> int:
    count: int = await second.fetchval("SELECT count(*) FROM changes WHERE record_id = $1", command.subject)
    return count


@pytest.mark.parametrize("after", [False, True])
async def test_a_command_outlives_a_cut(proxy: Proxy, settings: Settings, second: Connection, *, after: bool) -> None:
    async with connecting(proxy, settings) as client:
        command = creating()
        proxy.next_cut = Cut(command.id.encode(), after)
        assert isinstance(await client.send(command), genlock.Succeeded)
        assert await changes(second, command) == 1
        assert client._link._session._pending == {}


@pytest.mark.parametrize("after", [False, True])
async def test_a_published_command_outlives_a_cut(
    proxy: Proxy, settings: Settings, second: Connection, queue: str, *, after: bool
) -> None:
    async with connecting(proxy, settings) as client, client.events(queue=queue) as events:
        command = creating()
        proxy.next_cut = Cut(command.id.encode(), after)
        assert await client.publish(command) == command.id
        async with asyncio.timeout(DEADLINE_S):
            assert (await anext(events)).command_id == command.id
        assert await changes(second, command) == 1


@pytest.mark.parametrize("older", [False, True])
async def test_fate_of_a_command_is_asked_by_its_kind_and_of_an_older_service_otherwise(
    proxy: Proxy, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, older: bool
) -> None:
    monkeypatch.delitem(QUERIES, "document.outcome" if older else "command.get")
    async with connecting(proxy, settings) as client:
        command = creating()
        told = await client.send(command)
        fate = await client._link._fate(client._command(command.members()))
        assert fate is not None
        assert parse_outcome(fate) == told


async def test_a_query_outlives_a_cut(proxy: Proxy, settings: Settings) -> None:
    async with connecting(proxy, settings) as client:
        proxy.next_cut = Cut(b"document.get", after=True)
        assert await client.get("document", new_id()) is None


async def test_what_starts_without_a_connection_waits_for_it(proxy: Proxy, settings: Settings) -> None:
    async with connecting(proxy, settings) as client:
        await proxy.refuse()
        sending = [asyncio.create_task(client.send(creating())) for _ in range(10)]
        subscribing = asyncio.create_task(client.events().__aenter__())
        done, _ = await asyncio.wait([*sending, subscribing], timeout=0.5)
        assert not done
        await proxy.accept()
        outcomes = await asyncio.gather(*sending)
        await subscribing
    assert all(isinstance(outcome, genlock.Succeeded) for outcome in outcomes)


async def test_the_deadline_of_a_call_holds_without_a_connection(proxy: Proxy, settings: Settings) -> None:
    async with connecting(proxy, settings, timeout_s=0.5) as client:
        await proxy.refuse()
        await client._link._session.lost.wait()
        for call in (client.send(creating()), client.publish(creating()), client.get("document", "x")):
            with pytest.raises(genlock.Disconnected):
                await call
        with pytest.raises(genlock.Disconnected):
            async with client.events():
                pass


async def test_waiting_calls_fail_when_the_client_is_closed(settings: Settings, proxy: Proxy) -> None:
    async with connecting(proxy, settings) as client:
        await proxy.refuse()
        sending = asyncio.create_task(client.send(creating()))
        await client._link._session.lost.wait()
    async with asyncio.timeout(DEADLINE_S):
        for call in (sending, client.send(creating())):
            with pytest.raises(genlock.Disconnected, match="this client has closed it"):
                await call


async def test_events_without_a_queue_end_with_the_connection(proxy: Proxy, settings: Settings) -> None:
    async with connecting(proxy, settings) as client, client.events() as events:
        await client.send(creating())
        await anext(events)
        proxy.cut()
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(2):
                with pytest.raises(genlock.Disconnected):
                    await anext(events)


async def test_events_of_a_queue_go_on_after_a_cut(proxy: Proxy, settings: Settings, queue: str) -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        connecting(proxy, settings) as client,
        client.events("document.#", queue=queue) as events,
    ):
        first, second, third = creating(), creating(), creating()
        await client.send(first)
        await client.send(second)
        assert (await anext(events)).command_id == first.id
        # Asking for the second says that the first is done with; the second is not when the cut comes.
        assert (await anext(events)).command_id == second.id
        # An answer on the same connection shows that the broker has got that far.
        await client.get("document", str(first.subject))
        proxy.cut()
        await client.send(third)
        assert {(await anext(events)).command_id, (await anext(events)).command_id} == {second.id, third.id}


async def test_waiting_for_the_next_event_can_be_given_up(proxy: Proxy, settings: Settings, queue: str) -> None:
    async with connecting(proxy, settings) as client, client.events("document.#", queue=queue) as events:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(events)
        command = creating()
        await client.send(command)
        async with asyncio.timeout(DEADLINE_S):
            assert (await anext(events)).command_id == command.id


async def test_readers_of_one_queue_share_it(proxy: Proxy, settings: Settings, queue: str) -> None:
    seen: asyncio.Queue[str] = asyncio.Queue()

    async def read(client: Client) -> None:
        async with client.events("document.#", queue=queue) as events:
            async for event in events:
                seen.put_nowait(event.command_id)

    async with connecting(proxy, settings) as client, client.events("document.#", queue=queue):
        pass
    async with connecting(proxy, settings) as one, connecting(proxy, settings) as other:
        reading = [asyncio.create_task(read(one)), asyncio.create_task(read(other))]
        commands = [creating() for _ in range(50)]
        await asyncio.gather(*map(one.send, commands))
        async with asyncio.timeout(DEADLINE_S):
            came = {await seen.get() for _ in commands}
        assert came <= {command.id for command in commands}
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


async def test_a_queue_that_is_removed_ends_its_events(proxy: Proxy, settings: Settings, queue: str) -> None:
    async with connecting(proxy, settings) as client, client.events(queue=queue) as events:
        channel = await client._link._session.channel()
        await channel.queue_delete(queue)
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(2):
                with pytest.raises(genlock.Disconnected, match="is gone"):
                    await anext(events)


async def test_a_queue_that_is_another_one_is_refused(proxy: Proxy, settings: Settings) -> None:
    queue = new_id()
    async with connecting(proxy, settings) as client:
        channel = await client._link._session.channel()
        await channel.declare_queue(queue, exclusive=True)
        with pytest.raises(genlock.Refused):
            async with client.events(queue=queue):
                pass


async def test_one_message_that_closes_the_channel_harms_no_other(proxy: Proxy, settings: Settings) -> None:
    async with connecting(proxy, settings) as client:
        nowhere = OutgoingMessage("no.such.exchange", "x", {"id": new_id(), "type": "document.put"})
        results = await asyncio.gather(
            *(client.send(creating()) for _ in range(20)),
            client._link.publish(nowhere),
            *(client.send(creating()) for _ in range(20)),
            return_exceptions=True,
        )
    assert [type(result) for result in results if not isinstance(result, genlock.Succeeded)] == [genlock.Unroutable]


def _answer(event: Json) -> bytes:
    return json.dumps({"data": {"record": event}}).encode()


def test_the_outcome_of_another_command_under_the_same_id_is_not_taken() -> None:
    mine = {"id": new_id(), "type": "document.put", "subject": "x", "data": {"expected_generation": None, "body": {}}}
    outgoing = OutgoingMessage("ns.commands", "document.put", mine)
    same = put("x", None)
    event = json.loads(event_of(same, accepted(state_of(), same)).body)
    found = _outcome_of(outgoing, _answer(event))
    assert found is not None
    assert json.loads(found) == event
    late = put("x", 3)
    conflict = json.loads(event_of(late, conflicting(state_of(), late)).body)
    for other in ({**event, "subject": "y"}, {**event, "type": "document.merge.succeeded"}, conflict):
        assert _outcome_of(outgoing, _answer(other)) is None
    for nothing in (b"{", b"[]", b'{"data": {"error": {"code": "not_found", "message": "No."}}}'):
        assert _outcome_of(outgoing, nothing) is None
