"""Media types, compared as RFC 9110 says: without regard to case, and apart from their parameters."""

from email.message import Message
from functools import lru_cache

from genlock.schemas.values import value

MEDIA_TYPE_CHARACTERS_MAX = 255
"""As many as an AMQP property can have."""

UTF_8 = frozenset({"utf-8", "utf8", "us-ascii"})
"""Names under which a body may say that it is UTF-8; ASCII is a part of it."""


@value
class MediaType:
    """A media type in lower case, and the charset that its parameters name, if they name one."""

    name: str
    charset: str | None

    @property
    def is_utf_8(self) -> bool:
        """Tell whether the text may be UTF-8, as it is where nothing is said."""
        return not self.charset or self.charset in UTF_8


@lru_cache(maxsize=256)
def media_type(text: str) -> MediaType:
    """Read a media type such as `application/json; charset=utf-8`. What is none equals no media type."""
    message = Message()
    # A media type is ASCII, and nothing else may reach the parser of e-mail.
    message["content-type"] = text[:MEDIA_TYPE_CHARACTERS_MAX].encode("ascii", "replace").decode()
    return MediaType(message.get_content_type(), message.get_content_charset())
