"""Further messages of a decision, such as work and notices: what a rule gives along with its verdict.

An outcome is no such message: each command has one, its bytes stand in the ledger, and it is always due. A further
message has a kind, which tells whether the message is still due. The first publishing does not ask, because it follows
its COMMIT at once. Every later one does: what was due yesterday may be pointless or harmful today.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from genlock.schemas.base import NAME_CHARACTERS_MAX, Kind
from genlock.schemas.catalogue import COMMANDS
from genlock.schemas.values import value
from genlock.service.database.transactions import Connection
from genlock.service.ledger.events import EVENT_BYTES_MAX

DEFAULT_EXCHANGE = ""
"""The exchange that routes to the queue whose name is the routing key. It is not in the namespace."""

SHORT_BYTES_MAX = 255
"""How long a routing key and a property of a message may be in AMQP."""

SUBJECT_BYTES_MAX = 4 * NAME_CHARACTERS_MAX
"""The subject travels in the headers, which have to fit in a frame."""


class FalseMessageError(Exception):
    """A rule gave a message that cannot be published: a fault of the rule."""


@value
class Message:
    """A message as a rule gives it. It is a CloudEvent, and is published persistent, with these bytes each time."""

    kind: str
    record: tuple[Kind, str]
    """The record that it belongs to, kind and id: under its lock the message's kind is asked whether it is due."""
    exchange: str
    """One of its kind's: the name after the namespace and a dot, such as `work`, or DEFAULT_EXCHANGE."""
    routing_key: str
    id: str
    type: str
    """Of no command: what Genlock has sent is never one."""
    body: bytes
    time: str
    """RFC 3339, in UTC."""
    subject: str | None = None
    correlation_id: str | None = None
    mandatory: bool = False
    """Whether a queue has to take it. Where none does it waits, as where one is full."""


@value
class StoredMessage:
    """A message in the outbox, with the command that it came from."""

    batch_id: int
    position: int
    command_id: str
    message: Message


Due = Callable[[Connection, Sequence[Message]], Awaitable[Collection[str]]]
"""Returns the ids of those messages of its kind that are still due. It locks their records first, in the global order;
the transaction ends before anything is published."""


@dataclass(frozen=True, slots=True)
class MessageKind:
    """A kind of further messages, which belongs to a kind of record.

    Its name and its exchanges are never taken away: messages of older programs are in the database. Older programs meet
    new ones there, and leave these messages to newer programs.
    """

    name: str
    due: Due
    exchanges: frozenset[str]
    """All that its messages may go to, at least one: names after the namespace and a dot, or DEFAULT_EXCHANGE. Each
    session declares them as durable topic exchanges."""


def check(messages: Iterable[Message], kinds: Mapping[str, MessageKind]) -> None:
    """Raise FalseMessageError for a message that cannot be published.

    The broker would close the channel over it, or the message could not even be written. Its command would be
    redelivered, and everything published with it would be repeated each time.
    """
    for message in messages:
        if wrong := _wrong(message, kinds.get(message.kind)):
            raise FalseMessageError(f"message {message.id} of the kind {message.kind} {wrong}")


def _wrong(message: Message, kind: MessageKind | None) -> str | None:
    if kind is None:
        return "is of no kind of messages that there is"
    # Raises ValueError, as the publisher would.
    datetime.fromisoformat(message.time)
    short = (message.routing_key, message.id, message.type, message.correlation_id or "")
    flaws = {
        f"is for the exchange {message.exchange!r}, which its kind does not name": message.exchange
        not in kind.exchanges,
        f"has the type of a command, {message.type}": message.type in COMMANDS,
        f"has more than {EVENT_BYTES_MAX} bytes": len(message.body) > EVENT_BYTES_MAX,
        f"has a routing key, an id, a type or a correlation id of more than {SHORT_BYTES_MAX} bytes": any(
            len(text.encode()) > SHORT_BYTES_MAX for text in short
        ),
        f"has a subject of more than {SUBJECT_BYTES_MAX} bytes": len((message.subject or "").encode())
        > SUBJECT_BYTES_MAX,
    }
    return next((what for what, wrong in flaws.items() if wrong), None)
