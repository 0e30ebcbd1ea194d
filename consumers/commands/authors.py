"""The author of a message: the user of the broker that published it, which the broker has checked.

RabbitMQ takes a message with the property `user_id` from a connection of that user alone. What the service publishes
again, such as a dead letter, it therefore signs with its own user, and names the author in a header. The header counts
in messages of the service's own user only: no publisher can write it.
"""

from typing import Any

from pamqp.commands import Basic
from pamqp.common import FieldTable, FieldValue

from genlock.schemas.values import value

USER_HEADER = "x-genlock-user"
"""The author of a message that the service publishes again."""


@value
class Reader:
    """What a reader of messages has to know to tell commands, and their authors."""

    source: str
    """The source of all messages that the service publishes."""
    user: str | None = None
    """Its own user on the broker; None if unknown."""
    require_user: bool = False
    """Whether it refuses a command without a known author."""
    inbox: bool = False
    """Whether it reads the inbox or a lane, to which no publisher sends by the default exchange."""
    in_order: bool = False
    """Whether it refuses a command with a priority, which would overtake others."""

    def author_of(self, properties: Basic.Properties) -> str | None:
        """The author of a message; None if unknown."""
        user: FieldValue = properties.user_id
        headers = properties.headers
        if user is not None and user == self.user and headers and USER_HEADER in headers:
            user = headers[USER_HEADER]
        # The database could not keep one with a NUL.
        return user if isinstance(user, str) and user and "\0" not in user else None


def signed(headers: FieldTable, author: str | None, signer: str | None) -> dict[str, Any]:
    """The properties `headers` and `user_id` of a message that the user `signer` publishes again.

    Without its author, if either of the two is unknown.
    """
    others = {name: header for name, header in headers.items() if name != USER_HEADER}
    if author is None or signer is None:
        return {"headers": others, "user_id": None}
    return {"headers": {**others, USER_HEADER: author}, "user_id": signer}
