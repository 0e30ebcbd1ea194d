"""URLs of servers, `scheme://user:password@host:port,host:port/name?option=value`: the one reader that all use.

It is strict. A special character in a password that is not percent-encoded makes a part of the password look like a
host, a path or an option, and would be shown in errors and asked of name servers. Such a URL is refused instead, by an
error that quotes nothing of it.
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
"""The option that names a file with the password, as secrets of Docker and Kubernetes are. It is read at each connect,
so that a password which is changed there holds from the next connection on."""

SECRETS = frozenset({"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"})
"""Options whose values are nobody's business."""

PORT_MAX = 65_535
LABEL_MAX, HOST_MAX = 63, 253

# Parts of RFC 3986, which knows no list of hosts. All but the delimiters may stand in each part, as browsers and
# PostgreSQL's own clients have it, and a % begins an escape.
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
    """The file with a password gives none. The text goes on after a colon, and quotes neither file nor password."""


class InvalidUrl(ValueError):  # noqa: N818 - what it is, as the client's errors
    """It is no URL of such a server. The text goes on after "The setting … is not valid:", and quotes no secret."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What URLs of one kind of server look like."""

    schemes: tuple[str, ...]
    name: str
    """What stands behind the hosts."""
    options: Collection[str]
    """All that may stand in the query, save what a server itself knows."""

    @property
    def wrong_form(self) -> InvalidUrl:
        """The error for what has another form."""
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
    """What a URL says, with its escapes undone. A password is in none of the texts that are made of this."""

    scheme: str
    user: str | None
    password: str | None = field(repr=False)
    hosts: tuple[Host, ...]
    name: str | None
    options: dict[str, str] = field(repr=False)

    @property
    def addresses(self) -> str:
        """The hosts and ports, which unlike the rest hold no secret."""
        return ", ".join(map(str, self.hosts))

    @property
    def has_password(self) -> bool:
        """Tell whether it has a password itself, or names the file that has it."""
        return self.password is not None or not {"password", PASSWORD_FILE}.isdisjoint(self.options)

    def current_password(self) -> str | None:
        """The password that it has itself, or that stands in the file that it names. Raises PasswordFileError."""
        return read_password(self.options.get(PASSWORD_FILE), self.password)


def read_password(file: str | None, otherwise: str | None) -> str | None:
    """The password in a file, without a line break at the end; without a file the other one.

    Raises PasswordFileError.
    """
    if file is None:
        return otherwise or None
    try:
        password = Path(file).read_bytes().rstrip(b"\r\n").decode()
    except UnicodeDecodeError:
        # The error would quote a piece of it.
        raise PasswordFileError(f"the file {file} has to be UTF-8, as the password in it") from None
    except OSError as error:
        # The error would quote the name, and the name may be the password itself, set where its file belongs.
        raise PasswordFileError(
            f"the file with the password cannot be read ({error.strerror}); password_file in the URL, or the setting "
            "that ends in _PASSWORD_FILE, has to be its name"
        ) from None
    if "\0" in password:
        raise PasswordFileError(f"the password in the file {file} must not have the character 0")
    return password


def parse(url: str, kind: Kind) -> ServerUrl:
    """Read a URL. Raises InvalidUrl."""
    # A file that a variable was read from may have ended in a line break.
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
        # Without a value it says nothing.
        {name: value for name, value in options.items() if value},
    )


def _is_plain(url: str) -> bool:
    """Tell whether all readers take its characters for the same, those beyond ASCII included."""
    normal = unicodedata.normalize("NFKC", url)
    # Python's own reader refuses a letter that is normalized into a delimiter, and quotes all of it.
    return url.isprintable() and all(normal.count(mark) == url.count(mark) for mark in "/?#@:[]%")


def parse_hosts(names: str, kind: Kind) -> Iterator[Host]:
    """Read hosts as an option names them: without ports, and with no brackets around IPv6. Raises InvalidUrl."""
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
    # What the resolver would refuse is refused here, where nothing is quoted.
    try:
        labels = name.encode("idna").removesuffix(b".").split(b".")
    except UnicodeError:
        return False
    lengths = [len(label) for label in labels]
    fits = sum(lengths) + len(lengths) <= HOST_MAX and max(lengths) <= LABEL_MAX
    return fits and _HOST_NAME.fullmatch(name) is not None


def _options(query: str, kind: Kind) -> Iterable[tuple[str, str]]:
    """Read the names and values of a query. An error names none that could be a part of a password in the query."""
    behind_secret = False
    for part in query.split("&") if query else ():
        escaped_name, mark, escaped = part.partition("=")
        name = _decoded(escaped_name, kind)
        known = name in kind.options
        if behind_secret and not known:
            raise InvalidUrl(
                "behind the password in its query stands what is no option, and could be a part of the password, in "
                "which each special character has to be percent-encoded, such as & as %26"
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
            # A space for some, and itself for others.
            if "+" in escaped:
                raise InvalidUrl(f"a + in its {name} has to be percent-encoded, as %2B")
        yield name, _decoded(escaped, kind, plus=name != PASSWORD_FILE)


def _means_password(name: str) -> bool:
    """Tell whether a name that is no option is a password's, misspelt or another program's: what it says is secret."""
    return name in ("pw", "pwd", "passphrase", "secret", "token") or bool(get_close_matches(name, ["password"]))


def _decoded(text: str, kind: Kind, *, plus: bool = False) -> str:
    try:
        decoded = unquote_plus(text, errors="strict") if plus else unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise kind.wrong_form from None
    # It ends a text in PostgreSQL's protocol, and a user's name in RabbitMQ's.
    if "\0" in decoded:
        raise kind.wrong_form
    return decoded


def with_password_file(url: str, file: str, kind: Kind) -> str:
    """The URL with the name of a file in it; as it is where there is none, or where it says its password itself."""
    if not file or parse(url, kind).has_password:
        return url
    url = url.rstrip("\r\n")
    return f"{url}{'&' if '?' in url else '?'}{PASSWORD_FILE}={quote(file)}"


def elsewhere(url: str, kind: Kind, *, login: tuple[str, str] | None = None, name: str | None = None) -> str:
    """The same URL with another user and password, or for another database. Raises InvalidUrl."""
    parse(url, kind)
    scheme, _, rest = url.rstrip("\r\n").partition("://")
    rest, _, query = rest.partition("?")
    hosts, mark, path = rest.partition("/")
    # What the query says of these would say it a second time.
    replaced: set[str] = set()
    if login is not None:
        hosts = f"{':'.join(quote(text, safe='') for text in login)}@{hosts.rpartition('@')[2]}"
        replaced |= {"user", "password", PASSWORD_FILE}
    if name is not None:
        mark, path = "/", quote(name, safe="")
        replaced |= {"dbname", "database"}
    kept = [option for option in query.split("&") if unquote(option.partition("=")[0]) not in replaced]
    return f"{scheme}://{hosts}{mark}{path}" + (f"?{'&'.join(kept)}" if any(kept) else "")
