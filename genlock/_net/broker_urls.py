"""Parsing of RabbitMQ's URLs, `amqp://user:password@host:port,host:port/vhost?option=value`."""

import binascii
import re
from base64 import b64decode
from collections.abc import Callable
from random import SystemRandom
from urllib.parse import quote

from aiormq.auth import AuthMechanism
from yarl import URL

from genlock._net.urls import PASSWORD_FILE, InvalidUrl, Kind, ServerUrl, parse

Check = tuple[Callable[[str], object], str]


def _is_base64(text: str) -> bool:
    try:
        return bool(b64decode(text, validate=True))
    except binascii.Error:
        return False


_ANYTHING: Check = (bool, "")
_WHOLE: Check = (re.compile("[0-9]{1,5}").fullmatch, "a whole number of seconds")
_MECHANISMS = [mechanism.name.lower() for mechanism in AuthMechanism]

CONNECTION_TIMEOUT = "connection_timeout"

OPTIONS: dict[str, Check] = {
    PASSWORD_FILE: _ANYTHING,
    "name": _ANYTHING,
    "heartbeat": _WHOLE,
    "timeout": _WHOLE,
    # In the unit of RabbitMQ's own clients.
    CONNECTION_TIMEOUT: (re.compile("[0-9]{1,9}").fullmatch, "a whole number of milliseconds"),
    "auth": (lambda text: text.lower() in _MECHANISMS, f"one of {', '.join(_MECHANISMS)}"),
    "cafile": _ANYTHING,
    "capath": _ANYTHING,
    "cadata": (_is_base64, "certificates in base64"),
    "certfile": _ANYTHING,
    "keyfile": _ANYTHING,
    # aiormq reads any value but 0 as true, even "false".
    "no_verify_ssl": (re.compile("[01]").fullmatch, "0 or 1"),
    "interleave": (re.compile("[0-9]{1,3}").fullmatch, "a whole number"),
    "happy_eyeballs_delay": (re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,9})?").fullmatch, "a number of seconds"),
}
"""The options of aiormq and aio-pika, and two of our own, with their permitted values."""

KIND = Kind(("amqp", "amqps"), "vhost", OPTIONS)


def read(url: str) -> ServerUrl:
    """Read RabbitMQ's URL. Raises InvalidUrl."""
    told = parse(url, KIND)
    if unknown := [name for name in told.options if name not in OPTIONS]:
        raise InvalidUrl(f"it has the unknown option {', '.join(unknown)}; known are {', '.join(OPTIONS)}")
    for name, value in told.options.items():
        takes, what = OPTIONS[name]
        if not takes(value):
            raise InvalidUrl(f"its option {name} has to be {what}")
    if not told.hosts:
        raise InvalidUrl("it names no host")
    if any(host.name.startswith("/") for host in told.hosts):
        raise KIND.wrong_form
    return told


DEFAULT_USER = "guest"
"""The user of a login by password with a URL that names none."""


def login_of(url: str) -> str | None:
    """The user that a URL names; None for a login by certificate, if only the broker knows. Raises InvalidUrl."""
    told = read(url)
    by_certificate = told.options.get("auth", "plain").lower() != "plain"
    return told.user or (None if by_certificate else DEFAULT_USER)


def brokers(url: str, heartbeat_s: int) -> list[URL]:
    """One URL for each host of a URL, in random order, which spreads connections over a cluster.

    A heartbeat in the URL has precedence. Raises InvalidUrl and PasswordFileError.
    """
    told = read(url)
    password = told.current_password()
    query = {name: text for name, text in told.options.items() if name != PASSWORD_FILE}
    query.setdefault("heartbeat", str(heartbeat_s))
    # Escaped here: a slash in the name of a virtual host must not become a slash of the path.
    path = f"/{quote(told.name or '', safe='')}"
    try:
        urls = [
            URL.build(
                scheme=told.scheme, user=told.user, password=password, host=host.name, port=host.port, query=query
            )
            for host in told.hosts
        ]
    except ValueError:
        # yarl is stricter about non-ASCII letters, and quotes them.
        raise KIND.wrong_form from None
    urls = [one.with_path(path, encoded=True, keep_query=True) for one in urls]
    return SystemRandom().sample(urls, len(urls))
