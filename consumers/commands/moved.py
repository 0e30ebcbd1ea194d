"""A message that was moved to the inbox, by the management UI say, and so lost the routing key that it came with."""

from contextlib import suppress

from pamqp.commands import Basic

from genlock.schemas.outline import outline
from genlock.schemas.strictjson import without_mark

ROUTING_KEY_BYTES_MAX = 255


def original_routing_key(properties: Basic.Properties, body: bytes) -> str | None:
    """The routing key that a message was published with, as far as it can be told; None if it cannot.

    The broker notes it where it moves a dead letter. Else it is the type of the command, if that was published as it
    has to be.
    """
    match (properties.headers or {}).get("x-death"):
        case [*_, {"routing-keys": [str() as key, *_]}]:
            return _fitting(key)
        case _:
            pass
    if properties.message_type:
        return _fitting(properties.message_type)
    with suppress(ValueError):
        return _fitting(outline(without_mark(body)).get("type"))
    return None


def _fitting(key: object) -> str | None:
    return key if isinstance(key, str) and 0 < len(key.encode(errors="replace")) <= ROUTING_KEY_BYTES_MAX else None
