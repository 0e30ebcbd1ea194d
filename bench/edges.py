"""A ceiling: Genlock without its decisions, so that what remains is RabbitMQ, the protocol and Python.

It is the process of `genlock serve`, whose edges run as they are: consume, decode, collect, publish with confirms,
acknowledge. Only the decider is another one: it answers each command with an event of the same size, made beforehand
save for its ids, and PostgreSQL has nothing to do.
"""

import sys
import uuid
from collections.abc import Collection, Sequence

from genlock.consumers import process, replica
from genlock.schemas.decode import Command
from genlock.service.deciding.decide import Answers, Decider
from genlock.service.ledger.events import Event, timestamp_now
from genlock.service.settings import Settings

EVENT_BYTES = 773
"""The size of an event about a document of the benchmark, as a drain of Genlock reports it."""


class NoDecider(Decider):
    """Answers without deciding."""

    async def decide(self, commands: Sequence[Command], confirmed: Collection[int] = ()) -> Answers:  # noqa: ARG002
        """Make an event for each command. There is nothing to await, which is the point."""
        time = timestamp_now()
        return Answers([_event(command, time) for command in commands], [])


def _event(command: Command, time: str) -> Event:
    event_id = str(uuid.uuid4())
    body = f'{{"id":"{event_id}","causationid":"{command.id}","data":"'
    return Event(event_id, f"{command.type}.succeeded", command.subject, time, f'{body:x<{EVENT_BYTES - 2}}"}}')


if __name__ == "__main__":
    replica.Decider = NoDecider  # type: ignore[attr-defined]
    sys.exit(process.main(Settings()))
