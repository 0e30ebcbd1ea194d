"""Media types, compared as in RFC 9110: case-insensitively and without parameters."""

from email.message import Message
from functools import lru_cache

from genlock.schemas.values import value

MEDIA_TYPE_CHARACTERS_MAX = 255
"""The maximum of an AMQP property."""

UTF_8 = frozenset({"utf-8", "utf8", "us-ascii"})
"""The charset names of UTF-8 and of its subset ASCII."""


@value
class MediaType:
    """A media type in lower case, and the charset in its parameters, if there is one."""

    name: str
    charset: str | None

    @property
    def is_utf_8(self) -> bool:
        """Tell whether the charset is UTF-8, which is the default."""
        return not self.charset or self.charset in UTF_8


@lru_cache(maxsize=256)
def media_type(text: str) -> MediaType:
    """Parse a media type such as `application/json; charset=utf-8`. An invalid one equals no media type."""
    message = Message()
    # A media type is ASCII; no other text may reach the e-mail parser.
    message["content-type"] = text[:MEDIA_TYPE_CHARACTERS_MAX].encode("ascii", "replace").decode()
    return MediaType(message.get_content_type(), message.get_content_charset())
