"""What the client raises. A conflict or a rejection is none of these: it is an outcome, and a value.

    GenlockError
    ├── InvalidMessage      it cannot be written as a message; nothing was sent (a ValueError too)
    ├── CannotConnect       no connection to the broker: a wrong URL, no server there, or not let in
    ├── NotTaken            the broker did not take it; it will have no effect
    │   ├── Unroutable      nothing takes messages there: no Genlock has run in this namespace
    │   └── Refused         the broker said no: the inbox is full, or this user lacks a permission
    ├── Unanswered          no answer; a command may take effect all the same: send it again under its own id
    │   ├── NoAnswer        neither confirmed nor answered in time
    │   │   └── NoService   no service consumes the queue that the message waits in
    │   ├── Disconnected    the connection was lost and did not come back in time
    │   │   └── ClientClosed  this client was closed, or the broker lets it in no more
    │   └── UnreadableAnswer  an answer came, but not one that this version understands
    ├── GaveUp              `change` came too late until its deadline or its last attempt; it has changed nothing
    └── QueryFailed         the service answered a query with an error, which has a code

Sending a command again under its own id is always safe: Genlock answers an id that it knows with what it decided then.
A query changes nothing: an error about one has no command_id.
"""

from collections.abc import Iterable

from genlock.schemas.outcomes import Conflict

# ruff: noqa: N818 - the names say what has happened, as those of outcomes do; the base says that it is an error


class GenlockError(Exception):
    """What all errors of the client have in common. Its text is a sentence for a person."""


class InvalidMessage(GenlockError, ValueError):
    """It cannot be written as a message that Genlock could read; nothing was sent."""


class CannotConnect(GenlockError):
    """There is no connection to the broker. `lasting` says that waiting does not mend it: a wrong password, say."""

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


class _Unsuccessful(GenlockError):
    """Something went wrong with one message. `command_id` is its command's, None for a query and for a bulk."""

    def __init__(self, message: str, command_id: str | None = None) -> None:
        super().__init__(message)
        self.command_id = command_id


class NotTaken(_Unsuccessful):
    """The broker did not take the message; it will have no effect."""


class Unroutable(NotTaken):
    """Nothing takes messages there, so the broker gave it back."""


class Refused(NotTaken):
    """The broker said no: the inbox is full, this user lacks a permission, or a queue of that name is another one."""


class Unanswered(_Unsuccessful):
    """Whether a command was taken is not known. To find out, send it again under its own id."""


class NoAnswer(Unanswered):
    """Neither a confirm nor an answer came in time."""


class NoService(NoAnswer):
    """No service consumes the queue. A command waits in it, and is decided as soon as a service runs."""


class Disconnected(Unanswered):
    """The connection to the broker was lost and did not come back in time."""


class ClientClosed(Disconnected):
    """The client was closed, or the broker has refused it for so long that it stopped asking: make a new one."""


class UnreadableAnswer(Unanswered):
    """What came as the answer is nothing that this version understands."""


class GaveUp(GenlockError):
    """`change` came too late until its deadline or its last attempt, and has changed nothing.

    `conflicts` are the last ones that it met, at most 100, in order; none if it never came to a try.
    """

    def __init__(self, message: str, conflicts: Iterable[Conflict]) -> None:
        super().__init__(message)
        self.conflicts = tuple(conflicts)

    @property
    def conflict(self) -> Conflict | None:
        """The last one."""
        return self.conflicts[-1] if self.conflicts else None

    @property
    def attempts(self) -> int:
        """How many tries were too late."""
        return self.conflict.attempt if self.conflict else 0


class QueryFailed(GenlockError):
    """The service could not answer a query. `code` is one of the contract's, such as `not_found`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
