"""The parser of server URLs, `scheme://user:password@host:port,host:port/name?option=value`.

It is strict. An unencoded special character in a password makes a part of the password look like a host, a path or an
option, which would appear in errors and in DNS queries. Such a URL is refused with an error that does not quote it.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from urllib.parse import quote, unquote, unquote_plus

PASSWORD_FILE = "password_file"  # noqa: S105 - the name of an option
"""The option that names a file with the password, such as a secret of Docker or Kubernetes. The file is read at each
connect, so a changed password applies from the next connection on."""

SECRETS = frozenset({"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"})
"""Options whose values are secret."""

PORT_MAX = 65_535
LABEL_MAX, HOST_MAX = 63, 253

# The parts of RFC 3986, extended by a list of hosts. As in browsers and libpq, each part may contain all characters but
# the delimiters, and a % begins an escape.
_PLAIN = r"[^\s/?#@:\[\]%]|%[0-9A-Fa-f]{2}"
_URL = re.compile(
    rf"(?P<scheme>[A-Za-z]+)://"
    rf"(?:(?P<user>(?:{_PLAIN})*)(?::(?P<password>(?:{_PLAIN}|:)*))?@)?"
    rf"(?P<hosts>(?:{_PLAIN}|[:\[\]])*)"
    rf"(?:/(?P<name>(?:{_PLAIN}|[:/])*))?"
    rf"(?:\?(?P<query>(?:{_PLAIN}|[:/?\[\]])*))?"
)
_HOST = re.compile(
    rf"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)(?:%25(?P<zone>\w+))?\]|(?P<name>(?:{_PLAIN})*))(?::(?P<port>[0-9]*))?"
)
_HOST_NAME = re.compile(r"[\w-]+(?:\.[\w-]+)*\.?")
_OPTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.$]*")


class PasswordFileError(OSError):
    """A password file cannot be used. The text follows a colon, and quotes neither the file nor the password."""


class InvalidUrl(ValueError):  # noqa: N818 - what it is, as the client's errors
    """The URL is invalid. The text follows "The setting … is not valid:", and quotes no secret."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The form of URLs for one kind of server."""

    schemes: tuple[str, ...]
    name: str
    """The name of the path: what follows the hosts."""
    options: Collection[str]
    """The options that the query may contain, except a server's own settings."""

    @property
    def wrong_form(self) -> InvalidUrl:
        """The error for a URL of another form."""
        return InvalidUrl(
            f"it has to look like {self.schemes[0]}://user:password@host:port/{self.name}, and each special character "
            "in its user and password has to be percent-encoded, such as @ as %40"
        )


@dataclass(frozen=True, slots=True)
class Host:
    """A host of a URL, with its port if the URL says one. A name that begins with a slash is a folder of sockets."""

    name: str
    port: int | None = None

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port is None else f"{name}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """A parsed URL with its escapes decoded. Its `repr` contains no password."""

    scheme: str
    user: str | None
    password: str | None = field(repr=False)
    hosts: tuple[Host, ...]
    name: str | None
    options: dict[str, str] = field(repr=False)

    @property
    def addresses(self) -> str:
        """The hosts and ports, which contain no secret."""
        return ", ".join(map(str, self.hosts))

    @property
    def has_password(self) -> bool:
        """Tell whether the URL has a password or names a password file."""
        return self.password is not None or not {"password", PASSWORD_FILE}.isdisjoint(self.options)

    def current_password(self) -> str | None:
        """The password in the URL, or in the file that it names. Raises PasswordFileError."""
        return read_password(self.options.get(PASSWORD_FILE), self.password)


def read_password(file: str | None, otherwise: str | None) -> str | None:
    """The password in a file, without a line break at the end; `otherwise` if no file is named.

    Raises PasswordFileError.
    """
    if file is None:
        return otherwise or None
    try:
        password = Path(file).read_bytes().rstrip(b"\r\n").decode()
    except UnicodeDecodeError:
        # UnicodeDecodeError would quote a part of the password.
        raise PasswordFileError(f"the file {file} has to be UTF-8, as the password in it") from None
    except OSError as error:
        # OSError would quote the name, which may be the password itself, set by mistake in place of its file.
        raise PasswordFileError(
            f"the file with the password cannot be read ({error.strerror}); password_file in the URL, or the setting "
            "that ends in _PASSWORD_FILE, has to be its name"
        ) from None
    if "\0" in password:
        raise PasswordFileError(f"the password in the file {file} must not have the character 0")
    return password


def parse(url: str, kind: Kind) -> ServerUrl:
    """Read a URL. Raises InvalidUrl."""
    # A variable read from a file may end in a line break.
    parts = _URL.fullmatch(url.rstrip("\r\n"))
    if parts is None or parts["scheme"].lower() not in kind.schemes or not _is_plain(parts[0]):
        raise kind.wrong_form
    texts = {key: None if text is None else _decoded(text, kind) for key, text in parts.groupdict().items()}
    options: dict[str, str] = {}
    for name, value in _options(parts["query"] or "", kind):
        if name in options:
            raise InvalidUrl(f"it says {name} more than once")
        options[name] = value
    hosts = tuple(_host(one, kind) for one in parts["hosts"].split(",")) if parts["hosts"] else ()
    return ServerUrl(
        parts["scheme"].lower(),
        texts["user"] or None,
        texts["password"],
        hosts,
        texts["name"],
        # An option without a value is ignored.
        {name: value for name, value in options.items() if value},
    )


def _is_plain(url: str) -> bool:
    """Tell whether all parsers read its characters alike, including non-ASCII characters."""
    normal = unicodedata.normalize("NFKC", url)
    # urlsplit refuses a letter that is normalized into a delimiter, and quotes the whole URL.
    return url.isprintable() and all(normal.count(mark) == url.count(mark) for mark in "/?#@:[]%")


def parse_hosts(names: str, kind: Kind) -> Iterator[Host]:
    """Parse hosts in an option: without ports, and without brackets around IPv6. Raises InvalidUrl."""
    for name in names.split(","):
        bare = name.removeprefix("[").removesuffix("]")
        yield _host(f"[{bare}]" if ":" in bare else quote(bare, safe=""), kind)


def parse_port(text: str, kind: Kind) -> int:
    """Read a port. Raises InvalidUrl."""
    if re.fullmatch("[0-9]{1,5}", text) and 0 < int(text) <= PORT_MAX:
        return int(text)
    raise kind.wrong_form


def _host(text: str, kind: Kind) -> Host:
    parts = _HOST.fullmatch(text)
    if parts is None:
        raise kind.wrong_form
    port = parse_port(parts["port"], kind) if parts["port"] else None
    if parts["ipv6"]:
        try:
            name = str(IPv6Address(parts["ipv6"]))
        except AddressValueError:
            raise kind.wrong_form from None
        return Host(f"{name}%{parts['zone']}" if parts["zone"] else name, port)
    name = _decoded(parts["name"], kind)
    if not name.startswith("/") and not _is_host_name(name):
        raise kind.wrong_form
    return Host(name, port)


def _is_host_name(name: str) -> bool:
    # Names that the resolver would refuse are refused here without a quote.
    try:
        labels = name.encode("idna").removesuffix(b".").split(b".")
    except UnicodeError:
        return False
    lengths = [len(label) for label in labels]
    fits = sum(lengths) + len(lengths) <= HOST_MAX and max(lengths) <= LABEL_MAX
    return fits and _HOST_NAME.fullmatch(name) is not None


def _options(query: str, kind: Kind) -> Iterable[tuple[str, str]]:
    """Parse the names and values of a query. An error contains no name that may be part of a password in the query."""
    behind_secret = False
    for part in query.split("&") if query else ():
        escaped_name, mark, escaped = part.partition("=")
        name = _decoded(escaped_name, kind)
        known = name in kind.options
        if behind_secret and not known:
            raise InvalidUrl(
                "the text behind the password in its query is no option. It could be a part of the password, in which "
                "each special character has to be percent-encoded, such as & as %26"
            )
        if not mark or _OPTION_NAME.fullmatch(name) is None:
            raise InvalidUrl("its query has to look like ?option=value&option=value")
        if not known and name.lower() in kind.options:
            raise InvalidUrl(f"its option {name} has to be written in lower case")
        if not known and _means_password(name.lower()):
            raise InvalidUrl(
                f"it has no option {name}: a password stands before the @, or in the file that {PASSWORD_FILE} names"
            )
        if name in SECRETS:
            behind_secret = True
            # Some parsers decode a + as a space, others do not.
            if "+" in escaped:
                raise InvalidUrl(f"a + in its {name} has to be percent-encoded, as %2B")
        yield name, _decoded(escaped, kind, plus=name != PASSWORD_FILE)


def _means_password(name: str) -> bool:
    """Tell whether an unknown option probably means a password, so that its value is secret."""
    return name in ("pw", "pwd", "passphrase", "secret", "token") or bool(get_close_matches(name, ["password"]))


def _decoded(text: str, kind: Kind, *, plus: bool = False) -> str:
    try:
        decoded = unquote_plus(text, errors="strict") if plus else unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise kind.wrong_form from None
    # NUL ends a string in PostgreSQL's protocol, and a user's name in RabbitMQ's.
    if "\0" in decoded:
        raise kind.wrong_form
    return decoded


def with_password_file(url: str, file: str, kind: Kind) -> str:
    """The URL with a password file added; unchanged without a file or if the URL has a password."""
    if not file or parse(url, kind).has_password:
        return url
    url = url.rstrip("\r\n")
    return f"{url}{'&' if '?' in url else '?'}{PASSWORD_FILE}={quote(file)}"


def url_with(url: str, kind: Kind, *, login: tuple[str, str] | None = None, name: str | None = None) -> str:
    """The same URL with another login or another database. Raises InvalidUrl."""
    parse(url, kind)
    scheme, _, rest = url.rstrip("\r\n").partition("://")
    rest, _, query = rest.partition("?")
    hosts, mark, path = rest.partition("/")
    # The query must not name these a second time.
    replaced: set[str] = set()
    if login is not None:
        hosts = f"{':'.join(quote(text, safe='') for text in login)}@{hosts.rpartition('@')[2]}"
        replaced |= {"user", "password", PASSWORD_FILE}
    if name is not None:
        mark, path = "/", quote(name, safe="")
        replaced |= {"dbname", "database"}
    kept = [option for option in query.split("&") if unquote(option.partition("=")[0]) not in replaced]
    return f"{scheme}://{hosts}{mark}{path}" + (f"?{'&'.join(kept)}" if any(kept) else "")
