"""What a batch has to say: an event for each command, a copy of it for whoever asked, and dead letters."""

from collections.abc import Iterator, Sequence

import structlog

from genlock.consumers.deliveries import Delivery, dead_letter
from genlock.consumers.metrics import Metrics
from genlock.consumers.publisher import Outgoing, bulk_reply, event_message, reply_message
from genlock.consumers.topology import Topology
from genlock.schemas.decode import Undecodable
from genlock.service.deciding.decide import Answers
from genlock.service.ledger.events import Event, is_internal_error

REPLY_BYTES_MAX = 8 * 1024 * 1024
"""The outcomes of one bulk message are one reply, as long as they do not come to more than this."""

log = structlog.get_logger()


def messages(
    deliveries: Sequence[Delivery], answers: Answers, topology: Topology, source: str, metrics: Metrics
) -> Iterator[Outgoing]:
    """The messages of a batch in the order of its deliveries; `answers` has an event for each command in them."""
    events = iter(answers.events)
    for delivery in deliveries:
        answered: list[Event] = []
        for part in delivery.parts:
            if isinstance(part.content, Undecodable):
                log.warning("dead letter", action="dead_letter", why=part.content.reason)
                metrics.dead_letter()
                yield dead_letter(delivery, part, part.content.reason, topology)
                continue
            event = next(events)
            yield event_message(event, topology.events, source)
            answered.append(event)
            # Whoever decided a redelivered one may have died before this.
            if part.content.id in answers.faulty or (delivery.redelivered and is_internal_error(event)):
                metrics.dead_letter()
                yield dead_letter(delivery, part, "internal_error", topology)
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
