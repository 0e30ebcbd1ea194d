"""RabbitMQ's URLs, `amqp://user:password@host:port,host:port/vhost?option=value`, and what may stand in them."""

import binascii
import re
from base64 import b64decode
from collections.abc import Callable
from random import SystemRandom
from urllib.parse import quote

from aiormq.auth import AuthMechanism
from yarl import URL

from genlock._urls import PASSWORD_FILE, InvalidUrl, Kind, ServerUrl, parse

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
    # In the unit that RabbitMQ's own clients take it in.
    CONNECTION_TIMEOUT: (re.compile("[0-9]{1,9}").fullmatch, "a whole number of milliseconds"),
    "auth": (lambda text: text.lower() in _MECHANISMS, f"one of {', '.join(_MECHANISMS)}"),
    "cafile": _ANYTHING,
    "capath": _ANYTHING,
    "cadata": (_is_base64, "certificates in base64"),
    "certfile": _ANYTHING,
    "keyfile": _ANYTHING,
    # aiormq takes anything but 0 for a yes, "false" included.
    "no_verify_ssl": (re.compile("[01]").fullmatch, "0 or 1"),
    "interleave": (re.compile("[0-9]{1,3}").fullmatch, "a whole number"),
    "happy_eyeballs_delay": (re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,9})?").fullmatch, "a number of seconds"),
}
"""What aiormq and aio-pika take, and two of our own: the value that each may have."""

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


def brokers(url: str, heartbeat_s: int) -> list[URL]:
    """The URLs of all hosts that a URL names, in any order, so that those who connect spread over a cluster.

    The heartbeat is the URL's if it says one. Raises InvalidUrl, and PasswordFileError.
    """
    told = read(url)
    password = told.current_password()
    query = {name: text for name, text in told.options.items() if name != PASSWORD_FILE}
    query.setdefault("heartbeat", str(heartbeat_s))
    # Escaped by us: a slash in the name of a virtual host is no slash of the path.
    path = f"/{quote(told.name or '', safe='')}"
    try:
        urls = [
            URL.build(
                scheme=told.scheme, user=told.user, password=password, host=host.name, port=host.port, query=query
            )
            for host in told.hosts
        ]
    except ValueError:
        # yarl is stricter about letters beyond ASCII, and quotes them.
        raise KIND.wrong_form from None
    urls = [one.with_path(path, encoded=True, keep_query=True) for one in urls]
    return SystemRandom().sample(urls, len(urls))
