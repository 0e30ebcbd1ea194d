"""The settings as a table shows them: no secret in it, also none that stands in a URL."""

import re
from typing import Any, NamedTuple

from pydantic import SecretStr

from genlock._hosts import addresses
from genlock.service.settings import Settings

MASK = "***"

# Up to the last @, because people forget to escape the one in their password.
_USER_INFO = re.compile(r"(?<=://)(?P<user>[^:@]*):.*@", re.DOTALL)
_SECRET_PARAMETER = re.compile(
    r"(?<=[?&])(?P<name>[^=&]*(?:password(?!_file)|passfile|secret|key|cadata)[^=&]*)=[^&]*", re.IGNORECASE
)


class Row(NamedTuple):
    variable: str
    value: Any
    source: str
    """Where the value is from: the environment, or it is the default."""
    default: Any
    description: str


def rows(settings: Settings) -> list[Row]:
    """Every setting, in the order in which they are declared."""
    prefix = settings.model_config["env_prefix"]
    return [
        Row(
            f"{prefix}{name}".upper(),
            masked(getattr(settings, name)),
            "environment" if name in settings.model_fields_set else "default",
            masked(field.default),
            field.description or "",
        )
        for name, field in type(settings).model_fields.items()
    ]


def masked(value: Any) -> Any:
    """Return what may be shown of a value: of a secret URL all but its secrets, of any other secret nothing."""
    if not isinstance(value, SecretStr):
        return value
    text = value.get_secret_value()
    if "://" not in text:
        return MASK
    text = _USER_INFO.sub(rf"\g<user>:{MASK}@", text)
    return _SECRET_PARAMETER.sub(rf"\g<name>={MASK}", text)


def address(url: SecretStr) -> str:
    """Return where a secret URL points to, without who goes there."""
    try:
        return addresses(url.get_secret_value(), "postgresql", "postgres", "amqp", "amqps") or MASK
    except ValueError:
        return MASK
