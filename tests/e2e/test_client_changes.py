"""The client's retry loop against a real service: every contender succeeds, or its error lists all attempts."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial

import pytest

import genlock
from genlock import DocumentMerge, DocumentPut, DocumentState, ProviderCreate, ProviderSetTraits, StackCreate
from genlock._client.outgoing import OutgoingMessage
from genlock._client.turns import BUSY_S
from genlock.client import Client
from genlock.service.settings import Settings
from tests.support import harness
from tests.support.database import Connection
from tests.support.factories import Json, new_id
from tests.support.harness import serving, until_waiting


class Asked:
    """What a client asks, commands and queries, in order."""

    def __init__(self, client: Client) -> None:
        self.messages: list[OutgoingMessage] = []
        self.again = asyncio.Event()
        self._ask = client._link.ask
        client._link.ask = self._note  # type: ignore[assignment, method-assign]

    async def _note(self, outgoing: OutgoingMessage, within_s: float | None = None) -> bytes:
        if any(outgoing.id == earlier.id for earlier in self.messages):
            self.again.set()
        self.messages.append(outgoing)
        return await self._ask(outgoing, within_s)

    @property
    def types(self) -> list[str]:
        return [outgoing.envelope["type"] for outgoing in self.messages]


@pytest.fixture
async def user(client: harness.Client, settings: Settings) -> AsyncIterator[Client]:
    """A client of the package, with a service that answers it. The other one is there first and sees all events."""
    async with (
        serving(settings),
        genlock.connect(
            settings.amqp_url.get_secret_value(), namespace=client.topology.namespace, timeout_s=20
        ) as user,
    ):
        yield user


async def put(user: Client, subject: str, expected: int | None, body: Json) -> None:
    outcome = await user.send(genlock.command(DocumentPut(expected_generation=expected, body=body), subject=subject))
    assert isinstance(outcome, genlock.Succeeded)


async def get_in(user: Client, subject: str, key: str) -> Counter[str]:
    """Set a key of a document, however often others are faster."""
    tries: Counter[str] = Counter()

    async def with_key(doc: DocumentState | None) -> partial[DocumentPut]:
        tries[key] += 1
        return partial(DocumentPut, body={**(doc.body if doc else {}), key: True})

    outcome = await user.change("document", subject, with_key)
    assert isinstance(outcome, genlock.Succeeded)
    return tries


async def test_all_contending_clients_get_in(user: Client, second: Connection) -> None:
    subject, keys = new_id(), [f"k{number}" for number in range(32)]
    tries = await asyncio.gather(*(get_in(user, subject, key) for key in keys))
    row = await second.fetchrow("SELECT body, generation FROM documents WHERE id = $1", subject)
    assert row is not None
    assert json.loads(row["body"]) == dict.fromkeys(keys, True)
    assert row["generation"] == 31
    assert sum(sum(each.values()) for each in tries) > 32


async def test_a_slow_fn_that_is_not_async_is_called_once_for_each_contender(user: Client, settings: Settings) -> None:
    """It keeps the whole process busy, so that the states of all others would be old before they can send anything."""
    subject, calls, keys = new_id(), [], [f"k{number}" for number in range(32)]

    def with_key(key: str, doc: DocumentState | None) -> partial[DocumentPut]:
        calls.append(key)
        time.sleep(2 * BUSY_S)
        return partial(DocumentPut, body={**(doc.body if doc else {}), key: True})

    async with genlock.connect(settings.amqp_url.get_secret_value(), namespace=settings.namespace) as other:
        clients = [user, other] * (len(keys) // 2)
        outcomes = await asyncio.gather(
            *(
                client.change("document", subject, partial(with_key, key))
                for client, key in zip(clients, keys, strict=True)
            )
        )
    assert [type(outcome) for outcome in outcomes] == [genlock.Succeeded] * 32
    assert sorted(calls) == sorted(keys)


async def test_giving_up_tells_the_whole_chain(user: Client, client: harness.Client) -> None:
    subject = new_id()
    await put(user, subject, None, {})
    asked = Asked(user)

    async def too_slow(doc: DocumentState | None) -> partial[DocumentPut]:
        assert doc is not None
        await put(user, subject, doc.generation, {"rival": doc.generation})
        return partial(DocumentPut, body={"mine": True})

    with pytest.raises(genlock.GaveUp) as raised:
        await user.change("document", subject, too_slow, attempts=4)
    conflicts = raised.value.conflicts
    assert [conflict.attempt for conflict in conflicts] == [1, 2, 3, 4]
    assert [conflict.reason for conflict in conflicts] == ["stale"] * 4
    assert raised.value.conflict is conflicts[-1]
    assert raised.value.attempts == 4
    mine = [outgoing.envelope for outgoing in asked.messages if outgoing.envelope.get("correlationid")]
    assert [envelope["id"] for envelope in mine] == [conflict.command_id for conflict in conflicts]
    assert {envelope["correlationid"] for envelope in mine} == {mine[0]["id"]}
    assert [envelope.get("causationid") for envelope in mine] == [None, *(conflict.id for conflict in conflicts[:-1])]
    await client.decided(*mine)


async def test_a_retry_starts_from_the_conflict_without_a_read(user: Client) -> None:
    subject = new_id()
    await put(user, subject, None, {"n": 0})
    asked, seen = Asked(user), []

    async def once_too_slow(doc: DocumentState | None) -> partial[DocumentPut]:
        assert doc is not None
        seen.append(doc.generation)
        if len(seen) == 1:
            await put(user, subject, 0, {"n": 1})
        return partial(DocumentPut, body={"n": doc.body["n"] + 1})

    outcome = await user.change("document", subject, once_too_slow)
    assert isinstance(outcome, genlock.Succeeded)
    assert outcome.record == {"id": subject, "generation": 2, "body": {"n": 2}}
    assert seen == [0, 1]
    assert asked.types == ["document.get", "document.put", "document.put", "document.put"]


async def test_nothing_is_sent_where_the_function_stops(user: Client) -> None:
    asked = Asked(user)
    assert await user.change("document", new_id(), lambda _doc: None) is None
    assert asked.types == ["document.get"]


async def test_a_try_without_an_answer_is_sent_again_under_its_own_id(
    user: Client, settings: Settings, second: Connection
) -> None:
    subject = new_id()
    await put(user, subject, None, {})
    url = settings.amqp_url.get_secret_value()
    async with genlock.connect(url, namespace=settings.namespace, timeout_s=1) as impatient:
        asked = Asked(impatient)
        async with second.transaction():
            await second.execute("SELECT FROM documents WHERE id = $1 FOR UPDATE", subject)
            changing = asyncio.create_task(
                impatient.change("document", subject, lambda _doc: partial(DocumentMerge, patch={"a": 1}))
            )
            await until_waiting(second, 1)
            await asked.again.wait()
        outcome = await changing
    assert isinstance(outcome, genlock.Succeeded)
    assert len({outgoing.id for outgoing in asked.messages[1:]}) == 1
    assert await second.fetchval("SELECT count(*) FROM changes WHERE record_id = $1", subject) == 2


async def test_a_command_without_a_token_creates(user: Client) -> None:
    provider, stack = new_id(), new_id()
    created = await user.change(
        "provider", provider, lambda state: None if state else partial(ProviderCreate, name=f"host-{provider}")
    )
    assert isinstance(created, genlock.Succeeded)
    changed = await user.change("provider", provider, lambda _state: partial(ProviderSetTraits, traits=["CUSTOM_A"]))
    assert isinstance(changed, genlock.Succeeded)
    made = await user.change("stack", stack, lambda _state: partial(StackCreate, name=stack, template={}))
    assert isinstance(made, genlock.Succeeded)
    ended = await user.change(
        "stack", stack, lambda state: partial(genlock.StackSetState, status="COMPLETE") if state else None
    )
    assert isinstance(ended, genlock.Succeeded)
    deleted = await user.change("provider", provider, lambda _state: genlock.ProviderDelete)
    assert isinstance(deleted, genlock.Succeeded)


async def test_a_rejection_ends_the_loop(user: Client) -> None:
    stack = new_id()
    await user.change("stack", stack, lambda _state: partial(StackCreate, name=stack, template={}))
    await user.change("stack", stack, lambda _state: partial(genlock.StackSetState, status="COMPLETE"))
    outcome = await user.change("stack", stack, lambda _state: genlock.StackCancel)
    assert isinstance(outcome, genlock.Rejected)
    assert outcome.code == "wrong_status"
