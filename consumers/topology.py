"""Exchanges, queues and bindings: declared at start, the same on every replica.

With one lane there is one inbox. With n lanes a command takes this way: `commands`, a topic exchange, hands it on to
`router`, a direct exchange that knows the types of the commands on several records. All others are unknown to it and
go to its alternate exchange, `ring`, which spreads them over the lanes by their subject. The name of the ring has n in
it, and the broker refuses to declare the router again with another alternate exchange: that is how n is fixed.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiormq
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractQueue, ExchangeType
from aiormq.abc import AbstractChannel as UnderlayChannel

from genlock._refusals import owning
from genlock.schemas.catalogue import COMMANDS
from genlock.service.settings import Settings

QUERY_TTL_MS = 30_000
DELIVERY_LIMIT = 100
"""How often a message may come back before the broker moves it to the dead letters."""


DEAD_LETTER_DELIVERY_LIMIT = 1_000_000

RING_TYPE = ExchangeType.X_CONSISTENT_HASH

LANE_HEADER = "subject"
"""By its value the ring chooses a lane; all commands without it go to one and the same lane."""


class TopologyError(Exception):
    """What is on the broker is not what is wanted; the message says what differs."""


@dataclass(frozen=True, slots=True)
class CommandQueue:
    """A queue that commands wait in. One that is `in_order` has a single active consumer at a time."""

    name: str
    in_order: bool


@dataclass(frozen=True, slots=True)
class Topology:
    """The names of one namespace on the broker."""

    namespace: str
    lanes: int = 1

    @classmethod
    def of(cls, settings: Settings) -> "Topology":
        """The names that a replica with these settings knows."""
        return cls(settings.namespace, settings.lanes)

    @property
    def commands(self) -> str:
        return f"{self.namespace}.commands"

    @property
    def inbox(self) -> str:
        return f"{self.namespace}.inbox"

    @property
    def events(self) -> str:
        return f"{self.namespace}.events"

    @property
    def reads(self) -> str:
        """The exchange for queries. Who had to ask through the default exchange could write to any queue with it."""
        return f"{self.namespace}.reads"

    @property
    def queries(self) -> str:
        return f"{self.namespace}.queries"

    @property
    def dead(self) -> str:
        return f"{self.namespace}.dead"

    @property
    def dead_letters(self) -> str:
        return f"{self.namespace}.dead_letters"

    @property
    def dead_letters_reader(self) -> str:
        """An exclusive queue, which who reads the dead letters has: so there is one at a time."""
        return f"{self.namespace}.dead_letters.reader"

    @property
    def router(self) -> str:
        return f"{self.namespace}.lanes"

    @property
    def changing(self) -> str:
        """An exchange that is bound while the number of lanes is being changed."""
        return f"{self.namespace}.lanes.changing"

    @property
    def ring(self) -> str:
        return f"{self.namespace}.lanes.of.{self.lanes}"

    @property
    def lane_queues(self) -> list[str]:
        """The queues that the ring spreads commands over; none where there is one inbox."""
        lanes = self.lanes if self.lanes > 1 else 0
        return [f"{self.namespace}.lane.{number}.of.{lanes}" for number in range(1, lanes + 1)]

    @property
    def several(self) -> str:
        """The lane of the commands on several records."""
        return f"{self.namespace}.lane.several"

    @property
    def command_queues(self) -> list[CommandQueue]:
        """All queues that commands may wait in: the inbox beside lanes too, for what a change of their number left."""
        inbox = CommandQueue(self.inbox, in_order=False)
        if self.lanes == 1:
            return [inbox]
        return [*(CommandQueue(name, in_order=True) for name in (*self.lane_queues, self.several)), inbox]

    def owns(self, queue: str) -> bool:
        """Tell whether a queue's name lies in the namespace, so that no reply may go there."""
        return queue == self.namespace or queue.startswith(f"{self.namespace}.")

    async def declare(self, channel: AbstractChannel) -> None:
        """Declare everything. Raises TopologyError, which closes the channel too."""
        try:
            with owning(self.namespace):
                await self._declare(channel)
        except aiormq.exceptions.ChannelPreconditionFailed as error:
            raise TopologyError(f"The broker has it otherwise: {error}") from error

    async def _declare(self, channel: AbstractChannel) -> None:
        await self._refuse_change_under_way(channel)
        if self.lanes > 1:
            await self._refuse_inbox_alone(channel)
            await self.declare_lanes(channel)
        else:
            await self._refuse_lanes(channel)
            commands, inbox = await self.declare_inbox(channel)
            await inbox.bind(commands, routing_key="#")

    async def declare_inbox(self, channel: AbstractChannel) -> tuple[AbstractExchange, AbstractQueue]:
        """Declare what there is with any number of lanes; return the exchange for commands and the inbox, unbound."""
        commands = await channel.declare_exchange(self.commands, ExchangeType.TOPIC, durable=True)
        await channel.declare_exchange(self.events, ExchangeType.TOPIC, durable=True)
        await self.declare_dead_letters(channel)
        inbox = await channel.declare_queue(self.inbox, durable=True, arguments=self._inbox_arguments())
        # A classic queue is lost with its node: nobody could ask, or even declare it, until that is back.
        queries = await channel.declare_queue(
            self.queries, durable=True, arguments={"x-queue-type": "quorum", "x-message-ttl": QUERY_TTL_MS}
        )
        await queries.bind(
            await channel.declare_exchange(self.reads, ExchangeType.TOPIC, durable=True), routing_key="#"
        )
        return commands, inbox

    async def declare_dead_letters(self, channel: AbstractChannel) -> None:
        """Declare the exchange and the queue for what cannot be decided."""
        dead = await channel.declare_exchange(self.dead, ExchangeType.FANOUT, durable=True)
        dead_letters = await channel.declare_queue(
            self.dead_letters,
            durable=True,
            # RabbitMQ 4 drops a message that came back 20 times, and looking at one sends it back.
            arguments={"x-queue-type": "quorum", "x-delivery-limit": DEAD_LETTER_DELIVERY_LIMIT},
        )
        await dead_letters.bind(dead)

    async def declare_lanes(self, channel: AbstractChannel) -> None:
        """Declare the lanes and let commands go there instead of into the inbox."""
        # First, because here the broker refuses another number of lanes.
        router = await self._declare_router(channel)
        commands, inbox = await self.declare_inbox(channel)
        ring = await self.declare_ring(channel)
        for name in self.lane_queues:
            lane = await self.declare_lane(channel, name)
            # The routing key is the queue's weight.
            await lane.bind(ring, routing_key="1")
        several = await self.declare_lane(channel, self.several)
        for command in COMMANDS.values():
            if command.on_several:
                await several.bind(router, routing_key=command.name)
        await router.bind(commands, routing_key="#")
        await inbox.unbind(commands, routing_key="#")

    async def _declare_router(self, channel: AbstractChannel) -> AbstractExchange:
        try:
            return await channel.declare_exchange(
                self.router, ExchangeType.DIRECT, durable=True, arguments={"alternate-exchange": self.ring}
            )
        except aiormq.exceptions.ChannelPreconditionFailed as error:
            raise TopologyError(self._other_lanes(f"other lanes ({error})")) from error

    async def declare_ring(self, channel: AbstractChannel) -> AbstractExchange:
        """Declare the exchange that spreads commands. Raises TopologyError where the broker lacks the plugin for it."""
        try:
            return await channel.declare_exchange(
                self.ring, RING_TYPE, durable=True, arguments={"hash-header": LANE_HEADER}
            )
        # Before RabbitMQ 4 it closes the connection, later on only the channel.
        except (aiormq.exceptions.ConnectionCommandInvalid, aiormq.exceptions.ChannelPreconditionFailed) as error:
            raise TopologyError(
                "Lanes need a plugin that comes with RabbitMQ: run rabbitmq-plugins enable "
                f"rabbitmq_consistent_hash_exchange on each of its nodes. The broker says: {error}"
            ) from error

    async def declare_lane(self, channel: AbstractChannel, name: str) -> AbstractQueue:
        """Declare the queue of a lane: as the inbox, and with a single active consumer."""
        arguments = {**self._inbox_arguments(), "x-single-active-consumer": True}
        return await channel.declare_queue(name, durable=True, arguments=arguments)

    async def _refuse_change_under_way(self, channel: AbstractChannel) -> None:
        if await is_used(channel, self.changing):
            raise TopologyError(
                f"The lanes in the namespace {self.namespace} are being changed, or a change was interrupted: "
                f"in that case run genlock lanes {self.lanes}."
            )

    async def _refuse_lanes(self, channel: AbstractChannel) -> None:
        if await is_used(channel, self.router):
            raise TopologyError(self._other_lanes("lanes"))

    async def _refuse_inbox_alone(self, channel: AbstractChannel) -> None:
        if await _is_there(channel, lambda probe: probe.exchange_declare(self.router, passive=True)):
            return
        if await _is_there(channel, lambda probe: probe.queue_declare(self.inbox, passive=True)):
            raise TopologyError(self._other_lanes("one inbox"))

    def _other_lanes(self, found: str) -> str:
        return (
            f"GENLOCK_LANES is {self.lanes}, but the broker has {found} in the namespace {self.namespace}: "
            f"stop all replicas, run genlock lanes {self.lanes}, and start them again."
        )

    async def delete(self, channel: AbstractChannel) -> None:
        """Delete everything, messages included."""
        for queue in (self.inbox, self.queries, self.dead_letters, self.several, *self.lane_queues):
            await channel.queue_delete(queue)
        for exchange in (self.commands, self.events, self.reads, self.dead, self.router, self.ring, self.changing):
            await channel.exchange_delete(exchange)

    def _inbox_arguments(self) -> dict[str, Any]:
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": self.dead,
            # At-least-once dead-lettering works with this overflow behaviour only.
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }


async def is_used(channel: AbstractChannel, exchange: str) -> bool:
    """Tell whether an exchange has bindings, which closes the channel then. One without any is deleted.

    A question in the form of an order: the broker does nothing where there is no such exchange, and refuses to delete
    one that is used. To ask for it by its name would be an error in the broker's log each time when all is well.
    """
    try:
        await channel.exchange_delete(exchange, if_unused=True)
    except aiormq.exceptions.ChannelPreconditionFailed:
        return True
    return False


async def _is_there(channel: AbstractChannel, declare: Callable[[UnderlayChannel], Awaitable[object]]) -> bool:
    """Declare something passively, on a channel of its own: where there is none the broker closes it."""
    probe = await (await channel.get_underlay_channel()).connection.channel()
    try:
        await declare(probe)
    except aiormq.exceptions.ChannelNotFoundEntity:
        return False
    await probe.close()
    return True
