"""Held messages: what was held comes back as it came first."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from genlock.consumers.commands.authors import Reader
from genlock.consumers.commands.deliveries import Delivery, read
from genlock.consumers.commands.holding import GIANT_RECORDS, come_back, giants, held_messages, without
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import BULK_CONTENT_TYPE, CONTENT_TYPE
from genlock.service.deciding.blame import follow, hold
from genlock.service.kinds.registry import KINDS
from genlock.service.ledger.held import Claimed, HeldMessage
from tests.support.consumer_factories import wanted
from tests.support.documents import creation
from tests.support.factories import Json, envelope, json_bytes, new_id, put

READER = Reader("/genlock", "genlock")


async def delivered(body: Any, routing_key: str, **properties: Any) -> Delivery:
    header = ContentHeader(body_size=0, properties=Basic.Properties(**properties))
    deliver = Basic.Deliver("consumer", 7, False, "genlock.commands", routing_key)
    return await read(DeliveredMessage(deliver, header, json_bytes(body), None), READER)  # type: ignore[arg-type]


def claimed(message: HeldMessage, held_for: timedelta = timedelta()) -> Claimed:
    return Claimed(
        1,
        message.exchange,
        message.routing_key,
        message.properties,
        message.body,
        message.bulk,
        0,
        held_for,
        message.records,
    )


def held_of(delivery: Delivery) -> list[HeldMessage]:
    return held_messages([delivery], {one.id: hold(KINDS, one, (), "the test") for one in delivery.commands})


async def test_message_comes_back_with_all_that_it_takes_to_answer_it() -> None:
    body = creation("a")
    came = await delivered(
        body,
        "document.put",
        content_type=CONTENT_TYPE,
        reply_to="replies",
        correlation_id="mine",
        user_id="alice",
        app_id="/agent",
        headers={"subject": "a", "x-delivery-count": 3, "mine": 1},
    )
    [message] = held_of(came)
    back = await come_back(claimed(message), READER)
    assert back.commands == came.commands
    assert (back.exchange, back.routing_key, back.bulk) == (came.exchange, came.routing_key, False)
    properties = back.properties
    assert (properties.reply_to, properties.correlation_id, properties.app_id) == ("replies", "mine", "/agent")
    assert properties.headers == {"subject": "a", "mine": 1}
    assert (back.redelivered, back.returns) == (True, 0)
    assert back.author == came.author == "alice"


async def test_command_of_a_bulk_message_comes_back_by_itself() -> None:
    bodies = [creation("a"), creation("b")]
    came = await delivered(bodies, "document.put", content_type=BULK_CONTENT_TYPE, headers={"subject": "anything"})
    messages = held_of(came)
    back = [await come_back(claimed(message), READER) for message in messages]
    assert [delivery.commands for delivery in back] == [[command] for command in came.commands]
    assert all(delivery.bulk for delivery in back)
    first = came.commands[0]
    assert without(came, {first.id}).commands == came.commands[1:]


@pytest.mark.parametrize("year", [2026, 9999])
async def test_age_stands_still_while_a_command_is_held(year: int) -> None:
    time = datetime(year, 12, 31, tzinfo=UTC)
    came = await delivered(creation("a", time=time.isoformat()), "document.put")
    [message] = held_of(came)
    [command] = (await come_back(claimed(message, timedelta(days=30)), READER)).commands
    assert command.time == (time + timedelta(days=30) if year == 2026 else time)


def allocating(providers: int) -> Json:
    amounts = {new_id(): {"VCPU": 1} for _ in range(providers)}
    return envelope("consumer.set_allocations", new_id(), wanted(None, amounts))


@pytest.mark.parametrize(("providers", "giant"), [(GIANT_RECORDS - 1, False), (GIANT_RECORDS, True)])
async def test_command_that_touches_very_many_records_is_a_giant(providers: int, *, giant: bool) -> None:
    came = await delivered(allocating(providers), "consumer.set_allocations")
    [command] = came.commands
    assert set(giants([came], KINDS)) == ({command.id} if giant else set())


def test_commands_behind_a_held_one_follow_it_and_those_before_it_do_not() -> None:
    before, first, after, other = put("a", None), put("a", 0), put("a", 1), put("b", None)
    held_first = {first.id: hold(KINDS, first, (), "the test")}
    rest, held = follow(KINDS, [before, first, after, other], (), "behind", held_first)
    assert rest == [before, other]
    assert {command_id: one.why for command_id, one in held.items()} == {first.id: "the test", after.id: "behind"}


def keys(command: Command, *more: str) -> frozenset[str]:
    return hold(KINDS, command, more, "the test").records


async def test_only_the_records_of_a_command_and_those_in_trouble_are_waited_for() -> None:
    [one] = (await delivered(allocating(3), "consumer.set_allocations")).commands
    assert keys(one, "provider/x") == {f"consumer/{one.subject}", "provider/x"}
    consumers = {new_id(): wanted(None, {new_id(): {"VCPU": 1}}) for _ in range(2)}
    [many] = (
        await delivered(envelope("consumer.set_many", None, {"consumers": consumers}), "consumer.set_many")
    ).commands
    assert keys(many) == {f"consumer/{consumer}" for consumer in consumers}
