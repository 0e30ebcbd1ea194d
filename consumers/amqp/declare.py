"""Declaring exchanges, queues and bindings. Every replica does it whenever it begins a session."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import aiormq
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractQueue, ExchangeType
from aiormq.abc import AbstractChannel as UnderlayChannel

from genlock._net.refusals import naming_owner_permissions
from genlock.consumers.amqp.topology import Topology
from genlock.schemas.catalogue import COMMANDS

QUERY_TTL_MS = 30_000

DELIVERY_LIMIT = 100
"""How often a message may come back before the broker moves it to the dead letters."""

DEAD_LETTER_DELIVERY_LIMIT = 1_000_000

RING_TYPE = ExchangeType.X_CONSISTENT_HASH

LANE_HEADER = "subject"
"""The hash ring chooses a lane by its value; all commands without it go to the same lane."""

_DIFFERENCE = re.compile(r"inequivalent arg '(.+?)' for (queue|exchange) '(.+?)' in vhost '.*?': (.+)")


class TopologyError(Exception):
    """The broker has something else than is wanted; the message says what differs."""


async def declare_topology(topology: Topology, channel: AbstractChannel) -> None:
    """Declare everything. Raises TopologyError, which closes the channel too."""
    try:
        with naming_owner_permissions(topology.namespace):
            await _declare(topology, channel)
    except aiormq.exceptions.ChannelPreconditionFailed as error:
        raise TopologyError(_differing(str(error))) from error


def _differing(refusal: str) -> str:
    """Say what to do about an argument that the broker has otherwise. Arguments set by a policy cannot be seen."""
    match _DIFFERENCE.search(refusal):
        case None:
            return f"The broker has it otherwise: {refusal}"
        case found:
            argument, kind, name, difference = found.groups()
    how = " once it is empty" if kind == "queue" else ", which ends the bindings that others made to it"
    return (
        f"The {kind} {name} has another {argument} than Genlock's ({difference}): stop all replicas, "
        f"delete the {kind}{how}, and start them again."
    )


async def declare_identity(topology: Topology, channel: AbstractChannel) -> None:
    """Bind the namespace to the database, the first time. Raises TopologyError if it is bound to another one."""
    bound = f"{topology.database}.{topology.identity}"
    try:
        await channel.declare_exchange(
            topology.database, ExchangeType.FANOUT, durable=True, arguments={"alternate-exchange": bound}
        )
    except aiormq.exceptions.ChannelPreconditionFailed as error:
        raise TopologyError(
            f"The namespace {topology.namespace} on the broker is bound to another database than that of "
            "GENLOCK_DATABASE_URL, and what was decided there would be decided again: connect to that one, or, if this "
            "one takes its place, as after a restore, stop all replicas and run genlock adopt."
        ) from error


async def delete_identity(topology: Topology, channel: AbstractChannel) -> None:
    """Take the binding to a database back."""
    await channel.exchange_delete(topology.database)


async def _declare(topology: Topology, channel: AbstractChannel) -> None:
    if topology.identity is not None:
        await declare_identity(topology, channel)
    await _refuse_change_under_way(topology, channel)
    if topology.lanes > 1:
        await _refuse_inbox_without_lanes(topology, channel)
        await declare_lanes(topology, channel)
    else:
        await _refuse_lanes(topology, channel)
        commands, inbox = await declare_inbox(topology, channel)
        await inbox.bind(commands, routing_key="#")


async def declare_inbox(topology: Topology, channel: AbstractChannel) -> tuple[AbstractExchange, AbstractQueue]:
    """Declare what there is with any number of lanes; return the exchange for commands and the inbox, unbound."""
    commands = await channel.declare_exchange(topology.commands, ExchangeType.TOPIC, durable=True)
    for name in (topology.events, *topology.message_exchanges):
        await channel.declare_exchange(name, ExchangeType.TOPIC, durable=True)
    await declare_dead_letters(topology, channel)
    inbox = await channel.declare_queue(topology.inbox, durable=True, arguments=_inbox_arguments(topology))
    # A classic queue is lost with its node: no query could be sent, nor the queue be declared, until that is back.
    queries = await channel.declare_queue(
        topology.queries, durable=True, arguments={"x-queue-type": "quorum", "x-message-ttl": QUERY_TTL_MS}
    )
    reads = await channel.declare_exchange(topology.reads, ExchangeType.TOPIC, durable=True)
    await queries.bind(reads, routing_key="#")
    return commands, inbox


async def declare_dead_letters(topology: Topology, channel: AbstractChannel) -> None:
    """Declare the exchange and the queue for what cannot be decided."""
    dead = await channel.declare_exchange(topology.dead, ExchangeType.FANOUT, durable=True)
    dead_letters = await channel.declare_queue(
        topology.dead_letters,
        durable=True,
        # RabbitMQ 4 drops a message that came back 20 times, and looking at one sends it back.
        arguments={"x-queue-type": "quorum", "x-delivery-limit": DEAD_LETTER_DELIVERY_LIMIT},
    )
    await dead_letters.bind(dead)


async def declare_lanes(topology: Topology, channel: AbstractChannel) -> None:
    """Declare the lanes and let commands go there instead of into the inbox."""
    # First, because here the broker refuses another number of lanes.
    router = await _declare_router(topology, channel)
    commands, inbox = await declare_inbox(topology, channel)
    ring = await declare_ring(topology, channel)
    for name in topology.lane_queues:
        lane = await declare_lane(topology, channel, name)
        # The routing key is the queue's weight.
        await lane.bind(ring, routing_key="1")
    multi_record = await declare_lane(topology, channel, topology.multi_record)
    for command in COMMANDS.values():
        if command.multi_record:
            await multi_record.bind(router, routing_key=command.name)
    await router.bind(commands, routing_key="#")
    await inbox.unbind(commands, routing_key="#")


async def declare_ring(topology: Topology, channel: AbstractChannel) -> AbstractExchange:
    """Declare the exchange that spreads commands. Raises TopologyError where the broker lacks the plugin for it."""
    try:
        return await channel.declare_exchange(
            topology.ring, RING_TYPE, durable=True, arguments={"hash-header": LANE_HEADER}
        )
    # Before RabbitMQ 4 it closes the connection, later on only the channel.
    except (aiormq.exceptions.ConnectionCommandInvalid, aiormq.exceptions.ChannelPreconditionFailed) as error:
        raise TopologyError(
            "Lanes need a plugin that comes with RabbitMQ: run rabbitmq-plugins enable "
            f"rabbitmq_consistent_hash_exchange on each of its nodes. The broker says: {error}"
        ) from error


async def declare_lane(topology: Topology, channel: AbstractChannel, name: str) -> AbstractQueue:
    """Declare the queue of a lane: as the inbox, and with a single active consumer."""
    arguments = {**_inbox_arguments(topology), "x-single-active-consumer": True}
    return await channel.declare_queue(name, durable=True, arguments=arguments)


async def _declare_router(topology: Topology, channel: AbstractChannel) -> AbstractExchange:
    try:
        return await channel.declare_exchange(
            topology.router, ExchangeType.DIRECT, durable=True, arguments={"alternate-exchange": topology.ring}
        )
    except aiormq.exceptions.ChannelPreconditionFailed as error:
        raise TopologyError(_other_lanes(topology, f"other lanes ({error})")) from error


def _inbox_arguments(topology: Topology) -> dict[str, Any]:
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": topology.dead,
        # At-least-once dead-lettering works with this overflow behaviour only.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


async def _refuse_change_under_way(topology: Topology, channel: AbstractChannel) -> None:
    if await is_used(channel, topology.changing):
        raise TopologyError(
            f"The lanes in the namespace {topology.namespace} are being changed, or a change was interrupted: "
            f"in that case run genlock lanes {topology.lanes}."
        )


async def _refuse_lanes(topology: Topology, channel: AbstractChannel) -> None:
    if await is_used(channel, topology.router):
        raise TopologyError(_other_lanes(topology, "lanes"))


async def _refuse_inbox_without_lanes(topology: Topology, channel: AbstractChannel) -> None:
    if await _is_there(channel, lambda probe: probe.exchange_declare(topology.router, passive=True)):
        return
    if await _is_there(channel, lambda probe: probe.queue_declare(topology.inbox, passive=True)):
        raise TopologyError(_other_lanes(topology, "one inbox"))


def _other_lanes(topology: Topology, found: str) -> str:
    return (
        f"GENLOCK_LANES is {topology.lanes}, but the broker has {found} in the namespace {topology.namespace}: "
        f"stop all replicas, run genlock lanes {topology.lanes}, and start them again."
    )


async def delete_topology(topology: Topology, channel: AbstractChannel) -> None:
    """Delete everything, messages included."""
    queues = (topology.inbox, topology.queries, topology.dead_letters, topology.multi_record, *topology.lane_queues)
    for queue in queues:
        await channel.queue_delete(queue)
    exchanges = (topology.commands, topology.events, topology.reads, topology.dead, *topology.message_exchanges)
    for exchange in (*exchanges, topology.router, topology.ring, topology.changing, topology.database):
        await channel.exchange_delete(exchange)


async def is_used(channel: AbstractChannel, exchange: str) -> bool:
    """Tell whether an exchange has bindings; if so, the channel is closed. An exchange without bindings is deleted.

    The broker does nothing if there is no such exchange, and refuses to delete one that is used. A passive declaration
    instead would write an error into the broker's log whenever all is well.
    """
    try:
        await channel.exchange_delete(exchange, if_unused=True)
    except aiormq.exceptions.ChannelPreconditionFailed:
        return True
    return False


async def _is_there(channel: AbstractChannel, declare: Callable[[UnderlayChannel], Awaitable[object]]) -> bool:
    """Declare something passively on a channel of its own, which the broker closes if it does not exist."""
    probe = await (await channel.get_underlay_channel()).connection.channel()
    try:
        await declare(probe)
    except aiormq.exceptions.ChannelNotFoundEntity:
        return False
    await probe.close()
    return True
