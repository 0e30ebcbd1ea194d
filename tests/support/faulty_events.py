"""A fault of the service with the outcome of one command, which ends every session that comes to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from genlock.consumers.amqp.publisher import Outgoing, event_message
from genlock.consumers.commands import messages
from genlock.service.ledger.events import Event


@contextmanager
def faulty_event(subject: str) -> Iterator[None]:
    """Services in this process raise when they make the message of an event with this subject."""

    def faulty(event: Event, exchange: str, source: str) -> Outgoing:
        if event.subject == subject:
            raise ZeroDivisionError
        return event_message(event, exchange, source)

    with patch.object(messages, "event_message", faulty):
        yield
