"""The broker ceiling: Genlock without decisions, which leaves RabbitMQ, the protocol and Python.

It is the process of `genlock serve` with its normal edges: consume, decode, collect, publish with confirms,
acknowledge. Only the decider is replaced. It answers each command with a ready-made event of the same size, in which
only the ids differ, and does not use PostgreSQL.
"""

import sys
import uuid
from collections.abc import Collection, Sequence

from genlock.consumers.process import replica
from genlock.consumers.process.serve import serve
from genlock.schemas.decode import Command
from genlock.service.deciding.batch_outcomes import BatchOutcomes, CommandOutcome
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.footprint import Footprint
from genlock.service.ledger.events import Event, timestamp_now
from genlock.service.settings import Settings

EVENT_BYTES = 773
"""The size of an event about a document of the benchmark, as a drain of Genlock reports it."""


class NoDecider(Decider):
    """Answers without deciding."""

    async def decide(
        self,
        commands: Sequence[Command],
        confirmed: Collection[int] = (),  # noqa: ARG002
        footprint: Footprint | None = None,  # noqa: ARG002
        *,
        patient: bool = False,  # noqa: ARG002
    ) -> BatchOutcomes:
        """Make an event for each command, without awaiting anything."""
        time = timestamp_now()
        return BatchOutcomes([CommandOutcome(command, _event(command, time)) for command in commands], [])


def _event(command: Command, time: str) -> Event:
    event_id = str(uuid.uuid4())
    body = f'{{"id":"{event_id}","causationid":"{command.id}","data":"'
    body = f'{body:x<{EVENT_BYTES - 2}}"}}'
    return Event(event_id, f"{command.type}.succeeded", command.subject, time, body, command.id)


if __name__ == "__main__":
    replica.Decider = NoDecider  # type: ignore[attr-defined]
    sys.exit(serve(Settings()))
