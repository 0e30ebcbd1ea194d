"""Exchanges, queues and bindings: declared at start, the same on every replica."""

from dataclasses import dataclass
from typing import Any

import aiormq
from aio_pika.abc import AbstractChannel, ExchangeType

QUERY_TTL_MS = 30_000
DELIVERY_LIMIT = 100
"""How often a message may come back before the broker moves it to the dead letters."""


DEAD_LETTER_DELIVERY_LIMIT = 1_000_000


class TopologyError(Exception):
    """An exchange or queue of that name exists with other arguments; the message says which one differs."""


@dataclass(frozen=True, slots=True)
class Topology:
    """The names of one namespace on the broker."""

    namespace: str

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

    def owns(self, queue: str) -> bool:
        """Tell whether a queue's name lies in the namespace, so that no reply may go there."""
        return queue == self.namespace or queue.startswith(f"{self.namespace}.")

    async def declare(self, channel: AbstractChannel) -> None:
        """Declare everything. Raises TopologyError, which closes the channel too."""
        try:
            commands = await channel.declare_exchange(self.commands, ExchangeType.TOPIC, durable=True)
            await channel.declare_exchange(self.events, ExchangeType.TOPIC, durable=True)
            dead = await channel.declare_exchange(self.dead, ExchangeType.FANOUT, durable=True)
            dead_letters = await channel.declare_queue(
                self.dead_letters,
                durable=True,
                # RabbitMQ 4 drops a message that came back 20 times, and looking at one sends it back.
                arguments={"x-queue-type": "quorum", "x-delivery-limit": DEAD_LETTER_DELIVERY_LIMIT},
            )
            await dead_letters.bind(dead)
            inbox = await channel.declare_queue(self.inbox, durable=True, arguments=self._inbox_arguments())
            await inbox.bind(commands, routing_key="#")
            await channel.declare_queue(self.queries, durable=True, arguments={"x-message-ttl": QUERY_TTL_MS})
        except aiormq.exceptions.ChannelPreconditionFailed as error:
            raise TopologyError(f"The broker has it otherwise: {error}") from error

    async def delete(self, channel: AbstractChannel) -> None:
        """Delete everything, messages included."""
        for queue in (self.inbox, self.queries, self.dead_letters):
            await channel.queue_delete(queue)
        for exchange in (self.commands, self.events, self.dead):
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
