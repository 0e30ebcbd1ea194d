"""The messages of a batch: the event of each command, its further messages, answers for `reply_to`, dead letters."""

from collections.abc import Iterator, Sequence

import structlog

from genlock.consumers.amqp.publisher import Outgoing, bulk_reply, event_message, further_message, reply_message
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.commands.deliveries import Delivery, dead_letter_message
from genlock.consumers.commands.undecodable import undecodable_answer
from genlock.consumers.health.metrics import Metrics
from genlock.schemas.decode import Undecodable
from genlock.service.deciding.batch_outcomes import BatchOutcomes
from genlock.service.ledger.events import Event

REPLY_BYTES_MAX = 8 * 1024 * 1024
"""The outcomes of one bulk message are one reply, as long as they do not come to more than this."""

log = structlog.get_logger()


def messages(
    deliveries: Sequence[Delivery], outcomes: BatchOutcomes, topology: Topology, source: str, metrics: Metrics
) -> Iterator[Outgoing]:
    """The messages of a batch in the order of its deliveries; `outcomes` has one for each command in them."""
    left = iter(outcomes.outcomes)
    for delivery in deliveries:
        answered: list[Event] = []
        for part in delivery.parts:
            if isinstance(part.content, Undecodable):
                log.warning("dead letter", action="dead_letter", why=part.content.reason)
                metrics.dead_letter()
                yield dead_letter_message(delivery, part, part.content.reason, topology)
                if delivery.properties.reply_to and (answer := undecodable_answer(part.content, part.body, source)):
                    answered.append(answer)
                continue
            outcome = next(left)
            if outcome.command.id != part.content.id:
                raise RuntimeError(f"the outcome of {outcome.command.id} was about to answer {part.content.id}")
            event = outcome.event
            yield event_message(event, topology.events, source)
            for stored in outcome.messages:
                yield further_message(stored, topology, source)
            answered.append(event)
            # An earlier try, of this process or of one that has died, may have recorded it and published nothing.
            again = delivery.redelivered or outcomes.retried
            if part.content.id in outcomes.faulty or (again and event.internal_error):
                metrics.dead_letter()
                yield dead_letter_message(delivery, part, "internal_error", topology)
        if answered and (reply_to := delivery.reply_to(topology)):
            yield from _replies(delivery, answered, reply_to, source)


def _replies(delivery: Delivery, events: Sequence[Event], reply_to: str, source: str) -> Iterator[Outgoing]:
    correlation_id = delivery.properties.correlation_id
    if not delivery.bulk:
        yield reply_message(events[0], reply_to, correlation_id, source)
        return
    bodies: list[str] = []
    size = 0
    for event in events:
        if bodies and size + len(event.body) > REPLY_BYTES_MAX:
            yield bulk_reply(bodies, reply_to, correlation_id, source)
            bodies, size = [], 0
        bodies.append(event.body)
        size += len(event.body)
    yield bulk_reply(bodies, reply_to, correlation_id, source)
