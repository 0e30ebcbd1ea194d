"""What the client raises. A conflict or a rejection is none of these: it is an outcome, and a value.

    GenlockError
    ├── InvalidMessage      it cannot be written as a message; nothing was sent (a ValueError too)
    ├── CannotConnect       no connection to the broker: a wrong URL, nobody there, or not let in
    ├── NotTaken            the broker did not take it; it will have no effect
    │   ├── Unroutable      nothing takes messages there: no Genlock has run in this namespace
    │   └── Refused         the broker said no: the inbox is full, or this user may not
    ├── Unanswered          it may or may not have been taken: send it again under its own id
    │   ├── NoAnswer        neither confirmed nor answered within timeout_s
    │   ├── Disconnected    the connection was lost and did not come back within timeout_s, or the client was closed
    │   └── UnreadableAnswer  an answer came, but not one that this version understands
    ├── GaveUp              `change` met a conflict on its last attempt; it has no effect
    └── QueryFailed         the service answered a query with an error, which has a code

Sending a command again under its own id is always safe: Genlock answers an id that it knows with what it decided then.
"""

from collections.abc import Sequence

from genlock.schemas.outcomes import Conflict

# ruff: noqa: N818 - the names say what has happened, as those of outcomes do; the base says that it is an error


class GenlockError(Exception):
    """What all errors of the client have in common. Its text is a sentence for a person."""


class InvalidMessage(GenlockError, ValueError):
    """It cannot be written as a message that Genlock could read; nothing was sent."""


class CannotConnect(GenlockError):
    """There is no connection to the broker."""


class _Unsuccessful(GenlockError):
    """Something went wrong with one message. `command_id` is its id, None where it is about no message."""

    def __init__(self, message: str, command_id: str | None = None) -> None:
        super().__init__(message)
        self.command_id = command_id


class NotTaken(_Unsuccessful):
    """The broker did not take the message; it will have no effect."""


class Unroutable(NotTaken):
    """Nothing takes messages there, so the broker gave it back."""


class Refused(NotTaken):
    """The broker said no: the inbox is full, this user may not do it, or a queue of that name is another one."""


class Unanswered(_Unsuccessful):
    """Whether the message was taken is not known. To find out, send it again under its own id."""


class NoAnswer(Unanswered):
    """Neither a confirm nor an answer came in time."""


class Disconnected(Unanswered):
    """The connection to the broker was lost and did not come back in time, or this client was closed."""


class UnreadableAnswer(Unanswered):
    """What came as the answer is nothing that this version understands."""


class GaveUp(GenlockError):
    """`change` was too slow at each of its attempts. `conflicts` are what it met, one for each attempt, in order."""

    def __init__(self, message: str, conflicts: Sequence[Conflict]) -> None:
        super().__init__(message)
        self.conflicts = tuple(conflicts)

    @property
    def conflict(self) -> Conflict:
        """The last one."""
        return self.conflicts[-1]


class QueryFailed(GenlockError):
    """The service could not answer a query. `code` is one of the contract's, such as `not_found`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
