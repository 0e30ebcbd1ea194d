"""The table of settings, without secrets, including those in URLs."""

import contextlib
import os
import re
from typing import Any, NamedTuple
from urllib.parse import unquote

from pydantic import SecretStr

from genlock._net import broker_urls
from genlock._net.urls import PASSWORD_FILE, InvalidUrl, ServerUrl, parse
from genlock.service.database import postgres_urls
from genlock.service.settings import Settings

MASK = "***"

_USER_INFO = re.compile(r"(?<=://)(?P<user>[^:@/]*):[^@]*@")
_SECRET = re.compile("password(?!_file)|passfile|secret|key|cadata", re.IGNORECASE)


class Row(NamedTuple):
    variable: str
    value: Any
    source: str
    """The source of the value: the environment or the default."""
    default: Any
    description: str


def rows(settings: Settings) -> list[Row]:
    """All settings, in the order of their declaration."""
    prefix = settings.model_config["env_prefix"]
    return [
        Row(
            f"{prefix}{name}".upper(),
            _file_name(getattr(settings, name)) if name.endswith(PASSWORD_FILE) else masked(getattr(settings, name)),
            "environment" if name in settings.model_fields_set else "default",
            masked(field.default),
            field.description or "",
        )
        for name, field in type(settings).model_fields.items()
    ]


def masked(value: Any) -> Any:
    """The value with its secrets masked: in a URL only its secrets, any other secret as a whole."""
    if not isinstance(value, SecretStr):
        return value
    text = value.get_secret_value().strip()
    if _parsed(text) is None:
        return MASK
    before, mark, query = _USER_INFO.sub(rf"\g<user>:{MASK}@", text).partition("?")
    return before + mark + "&".join(map(_masked_option, query.split("&")))


def _masked_option(option: str) -> str:
    name, mark, value = option.partition("=")
    if unquote(name) == PASSWORD_FILE:
        return f"{name}{mark}{value if _file_name(unquote(value)) != MASK else MASK}"
    return f"{name}{mark}{MASK}" if mark and _SECRET.search(unquote(name)) else option


def _file_name(name: str) -> str:
    """The name of an existing file. Anything else may be a password in its place, and is masked."""
    return name if not name or os.access(name, os.R_OK) else MASK


def address(url: SecretStr) -> str:
    """The hosts and the name of a secret URL, without its login."""
    parsed = _parsed(url.get_secret_value())
    return parsed.addresses or MASK if parsed else MASK


def _parsed(url: str) -> ServerUrl | None:
    for kind in (broker_urls.KIND, postgres_urls.KIND):
        with contextlib.suppress(InvalidUrl):
            return parse(url, kind)
    return None
