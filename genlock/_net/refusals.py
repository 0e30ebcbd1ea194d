"""Explanations of a broker's refusals: sentences that give the remedy and contain no secret."""

import asyncio
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from aio_pika.exceptions import AMQPConnectionError
from aiormq.exceptions import AuthenticationError, ChannelAccessRefused
from pamqp.commands import Connection
from yarl import URL

from genlock._net.handshake import Handshake, NotAmqpError

Permission = Literal["configure", "write", "read"]

ACCESS_REFUSED, NOT_ALLOWED = 403, 530

NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "HTTP_REQUEST"}
"""OpenSSL's reasons for an answer that is not TLS."""

_PLACE = re.compile(r"\[\w+: \w+\] | ?\(_ssl\.c:\d+\)")
_AROUND = re.compile(r"\. For details see .*|^[A-Z_]+ - ")
_REFUSED = re.compile(
    r"(?:(?P<permission>configure|write|read) )?access to (?P<kind>queue|exchange|topic) '(?P<name>.*?)'"
    r"(?: in exchange '(?P<exchange>.*?)')? in vhost '(?P<vhost>.*)' refused for user '(?P<user>.*?)'"
)
_AUTHENTICATED = re.compile(r"user_id property set to '.*' but authenticated user was '(.*)'", re.DOTALL)
DOES = {"configure": "configure", "write": "write to", "read": "read from"}


class AccessRefusedError(AMQPConnectionError):
    """The broker refuses the connection. `predicate` follows its name: "refuses the user ann: …".

    `lasting` is true if waiting does not help.
    """

    def __init__(self, predicate: str, *, lasting: bool) -> None:
        super().__init__(f"it {predicate}")
        self.predicate = predicate
        self.lasting = lasting


def explained(error: BaseException, url: URL, handshake: Handshake | None) -> AccessRefusedError | None:
    """Explain why no connection could be opened; None if the error's own text is best."""
    for cause in _causes(error):
        match cause:
            case AuthenticationError(args=(offered, *_)):
                asked = url.query.get("auth", "plain")
                return AccessRefusedError(f"offers no login by auth={asked}, but by {offered}", lasting=True)
            case NotAmqpError():
                return AccessRefusedError(str(cause), lasting=True)
            case ssl.SSLError():
                return _tls(cause)
            case FileNotFoundError() | PermissionError() | IsADirectoryError():
                return AccessRefusedError(
                    f"is not asked, because a file that the URL names cannot be read ({cause})", lasting=True
                )
            case _:
                pass
    if handshake is not None and (farewell := handshake.farewell()):
        return _farewell(farewell, url)
    return _silence(error, url, handshake)


def told_user(error: BaseException) -> str | None:
    """The user of the connection, where the broker names it in its refusal of another `user_id`."""
    told = _AUTHENTICATED.search(str(error))
    return told[1] if told else None


def _silence(error: BaseException, url: URL, handshake: Handshake | None) -> AccessRefusedError | None:
    """Possible causes of a close without a reason."""
    cut_off = any(isinstance(cause, ConnectionResetError | asyncio.IncompleteReadError) for cause in _causes(error))
    if not cut_off or not (handshake is None or handshake.silent):
        return None
    if url.scheme != "amqps":
        may_be = "it is no AMQP broker on this port, expects TLS (amqps://), or is not ready"
    elif "certfile" not in url.query:
        # The broker reports this by a TLS alert that does not always arrive.
        may_be = "a certificate required by it could be missing (certfile, keyfile), it expects no TLS, or is not ready"
    else:
        return None
    return AccessRefusedError(f"closes the connection without a reason: {may_be}", lasting=False)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _tls(error: ssl.SSLError) -> AccessRefusedError:
    text = _PLACE.sub("", error.strerror or str(error)).rstrip(".")
    if isinstance(error, ssl.SSLCertVerificationError):
        predicate = f"shows a certificate that is not trusted ({text}); cafile in the URL names the authority"
    elif error.reason in NO_TLS:
        predicate = "speaks no TLS on this port: begin the URL with amqp://, or name its port for TLS"
    elif "CERTIFICATE_REQUIRED" in (error.reason or ""):
        predicate = f"asks for a certificate ({text}): name it in the URL, by certfile and keyfile"
    elif error.library in ("X509", "PEM"):
        predicate = f"is not asked, because a certificate or key in the URL is not valid ({text})"
    else:
        return AccessRefusedError(f"does not agree on TLS ({text})", lasting=False)
    return AccessRefusedError(predicate, lasting=True)


def _farewell(close: Connection.Close, url: URL) -> AccessRefusedError:
    """Explain a broker's close frame during the handshake."""
    text, user, vhost = _AROUND.sub("", close.reply_text), url.user or "guest", url.path[1:] or "/"
    if close.reply_code == ACCESS_REFUSED and url.query.get("auth", "plain").lower() == "external":
        predicate = f"does not take the certificate for a login ({text})"
    elif close.reply_code == ACCESS_REFUSED:
        far = ", or guest connects from another machine" if user == "guest" else ""
        predicate = f"refuses the user {user}: the password is wrong, or there is no such user{far}"
    elif close.reply_code == NOT_ALLOWED and "limit" in text:
        return AccessRefusedError(f"takes no more connections of the user {user}: {text}", lasting=False)
    elif close.reply_code == NOT_ALLOWED and text.endswith("not found"):
        predicate = f"has no virtual host {vhost}: add it, or name another one in the URL"
    elif close.reply_code == NOT_ALLOWED and "refused" in text:
        predicate = f"does not let the user {user} into the virtual host {vhost}: give it permissions there"
    else:
        return AccessRefusedError(f"closes the connection: {close.reply_code} {text}", lasting=False)
    return AccessRefusedError(predicate, lasting=True)


@contextmanager
def naming_missing_permission(*, queue: Permission | None = None, exchange: Permission | None = None) -> Iterator[None]:
    """Name the permission that a refused operation needs on a queue or an exchange. Older brokers do not name it."""
    try:
        yield
    except ChannelAccessRefused as error:
        raise ChannelAccessRefused(_lacking(str(error), {"queue": queue, "exchange": exchange})) from error


@contextmanager
def naming_owner_permissions(namespace: str) -> Iterator[None]:
    """Name the permissions that the service needs on its own objects, if the broker refuses an operation on one."""
    try:
        with naming_missing_permission():
            yield
    except ChannelAccessRefused as error:
        raise ChannelAccessRefused(
            f"{error}: give the service's user permission to configure, to write to and to read from all whose names "
            f"begin with {namespace} and a dot"
        ) from error


def _lacking(text: str, needed: dict[str, Permission | None]) -> str:
    """Say which permission a user lacks on which object, if the broker's text has the known form."""
    refused = _REFUSED.search(text)
    if refused is None:
        return text
    on_topic = refused["kind"] == "topic"
    permission = refused["permission"] or needed["exchange" if on_topic else refused["kind"]]
    what = f"{refused['kind']} {refused['name']}"
    if on_topic:
        what = f"exchange {refused['exchange']} with the routing key {refused['name']}"
    topic = "topic " if on_topic else ""
    lack = f"the {topic}permission to {DOES[permission]}" if permission else f"a {topic}permission on"
    return f"the user {refused['user']} lacks {lack} the {what} in the virtual host {refused['vhost']} (ACCESS_REFUSED)"
