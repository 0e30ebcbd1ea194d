"""The exceptions of the client. A conflict or a rejection is no exception but an outcome, which is a value.

    GenlockError
    ├── InvalidMessage      the value cannot be written as a message; nothing was sent (also a ValueError)
    ├── CannotConnect       no connection to the broker: a wrong URL, no server, or access refused
    ├── NotTaken            the broker did not take the message; it will have no effect
    │   ├── Unroutable      no queue takes the message: no Genlock has run in this namespace
    │   └── Refused         the broker refused: the inbox is full, or this user lacks a permission
    ├── Unanswered          no answer; a command may still take effect: send it again under its own id
    │   ├── NoAnswer        neither confirmed nor answered in time
    │   │   └── NoService   no service consumes the queue that the message waits in
    │   ├── Disconnected    the connection was lost and did not come back in time
    │   │   └── ClientClosed  this client was closed, or the broker refuses its connections
    │   └── UnreadableAnswer  an answer came that this version does not understand
    ├── Undecodable         the service found no usable id in the command; it will have no effect
    ├── GaveUp              `change` met conflicts until its deadline or last attempt; it has changed nothing
    └── QueryFailed         the service answered a query with an error code

Sending a command again under its own id is always safe: Genlock answers a known id with its first outcome.
A query changes nothing; an error about a query has no command_id.
"""

from collections.abc import Iterable

from genlock.schemas.faults import FieldError
from genlock.schemas.outcomes import Conflict

# ruff: noqa: N818 - the names say what happened, like those of outcomes; the base class says that it is an error


class GenlockError(Exception):
    """The base of all errors of the client. Its text is a sentence for a person."""


class InvalidMessage(GenlockError, ValueError):
    """The value cannot be written as a message that Genlock could read; nothing was sent."""


class CannotConnect(GenlockError):
    """There is no connection to the broker. `lasting` is true if waiting does not help, as for a wrong password."""

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


class _Unsuccessful(GenlockError):
    """A failure of one message. `command_id` is the id of its command, None for a query and for a bulk."""

    def __init__(self, message: str, command_id: str | None = None) -> None:
        super().__init__(message)
        self.command_id = command_id


class NotTaken(_Unsuccessful):
    """The broker did not take the message; it will have no effect."""


class Unroutable(NotTaken):
    """No queue takes the message, so the broker returned it."""


class Refused(NotTaken):
    """The broker refused: the inbox is full, this user lacks a permission, or a queue of that name differs."""


class Unanswered(_Unsuccessful):
    """It is unknown whether a command was taken. To find out, send it again under its own id."""


class NoAnswer(Unanswered):
    """Neither a confirm nor an answer came in time."""


class NoService(NoAnswer):
    """No service consumes the queue. A command waits in it, and is decided as soon as a service runs."""


class Disconnected(Unanswered):
    """The connection to the broker was lost and did not come back in time."""


class ClientClosed(Disconnected):
    """The client was closed, or stopped reconnecting after long refusals by the broker: make a new client."""


class UnreadableAnswer(Unanswered):
    """An answer came that this version does not understand."""


class Undecodable(_Unsuccessful):
    """The service could not tell which command it is, for the lack of a usable id; nothing was changed.

    A copy is in the dead letters. `errors` says what is wrong.
    """

    def __init__(self, message: str, command_id: str | None, errors: Iterable[FieldError]) -> None:
        super().__init__(message, command_id)
        self.errors = tuple(errors)


class GaveUp(GenlockError):
    """`change` met conflicts until its deadline or its last attempt, and has changed nothing.

    `conflicts` are the last ones, at most 100, in order; it is empty if no try was made.
    """

    def __init__(self, message: str, conflicts: Iterable[Conflict]) -> None:
        super().__init__(message)
        self.conflicts = tuple(conflicts)

    @property
    def conflict(self) -> Conflict | None:
        """The last conflict."""
        return self.conflicts[-1] if self.conflicts else None

    @property
    def attempts(self) -> int:
        """The number of tries that conflicted."""
        return self.conflict.attempt if self.conflict else 0


class QueryFailed(GenlockError):
    """The service could not answer a query. `code` is a code of the contract, such as `not_found`.

    `errors` are the faults of the query, in its subject and its filters.
    """

    def __init__(self, code: str, message: str, errors: Iterable[FieldError] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.errors = list(errors)
