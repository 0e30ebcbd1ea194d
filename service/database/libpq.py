"""The options of PostgreSQL's own clients, as its URLs have them: those that Genlock acts on, and those that it cannot.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS. All other names in the query of a URL
are settings of the server.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from genlock._urls import PASSWORD_FILE, InvalidUrl

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """What an option may be set to, and for which of these Genlock keeps what it promises."""

    takes: Callable[[str], object] = bool
    what: str = ""
    kept: Callable[[str], object] = bool
    broken: str = ""
    """What follows the name where it is told that this cannot be kept."""


def _words(words: str, kept: str = "") -> Option:
    """An option that has one of a few values, of which not all may be kept."""
    choice = words.split()
    keeping = (kept or words).split()
    return Option(
        choice.__contains__, f"one of {', '.join(choice)}", keeping.__contains__, f" other than {' or '.join(keeping)}"
    )


def _never(_: str) -> bool:
    return False


def _is_utf8(text: str) -> bool:
    return text.lower().replace("-", "").replace("_", "") in ("utf8", "unicode", "auto")


_TEXT = Option()
_REFUSED = Option(kept=_never)
_WHOLE = Option(re.compile("-?[0-9]{1,9}").fullmatch, "a whole number")
_SECONDS = Option(_WHOLE.takes, "a whole number of seconds")
_TLS_VERSION = _words("TLSv1 TLSv1.1 TLSv1.2 TLSv1.3")
_PROTOCOL = "3.0 3.2 latest"

OPTIONS: Mapping[str, Option] = {
    "host": _TEXT,
    "hostaddr": _REFUSED,
    "port": _TEXT,
    "dbname": _TEXT,
    "database": _TEXT,
    "user": _TEXT,
    "password": _TEXT,
    "passfile": _TEXT,
    PASSWORD_FILE: _TEXT,
    "service": _TEXT,
    "servicefile": _TEXT,
    "connect_timeout": _SECONDS,
    "keepalives": _WHOLE,
    "keepalives_idle": _SECONDS,
    "keepalives_interval": _SECONDS,
    "keepalives_count": _WHOLE,
    "tcp_user_timeout": Option(_WHOLE.takes, "a whole number of milliseconds"),
    "target_session_attrs": _words("any read-write read-only primary standby prefer-standby"),
    "load_balance_hosts": _words("disable random"),
    "application_name": _TEXT,
    "fallback_application_name": _TEXT,
    "options": _TEXT,
    "client_encoding": Option(kept=_is_utf8, broken=" other than UTF8"),
    "replication": _words("false off no 0 true on yes 1 database", kept="false off no 0"),
    # JDBC's, which libpq takes as well.
    "ssl": _words("true"),
    "sslmode": _words("disable allow prefer require verify-ca verify-full"),
    "sslnegotiation": _words("postgres direct"),
    "sslcert": _TEXT,
    "sslkey": _TEXT,
    "sslpassword": _TEXT,
    # The word is libpq's for the authorities that the system trusts.
    "sslrootcert": Option(kept=lambda text: text != "system", broken="=system"),
    "sslcrl": _TEXT,
    "sslcrldir": _REFUSED,
    "sslkeylogfile": _REFUSED,
    "sslcertmode": _words("disable allow require", kept="allow"),
    "sslsni": _words("0 1", kept="1"),
    "sslcompression": _words("0 1"),
    "requiressl": _REFUSED,
    "ssl_min_protocol_version": _TLS_VERSION,
    "ssl_max_protocol_version": _TLS_VERSION,
    "min_protocol_version": _words(_PROTOCOL, kept="3.0"),
    "max_protocol_version": _words(_PROTOCOL),
    "channel_binding": _words("disable prefer require", kept="disable prefer"),
    "require_auth": _REFUSED,
    "requirepeer": _REFUSED,
    "scram_client_key": _REFUSED,
    "scram_server_key": _REFUSED,
    "gssencmode": _words("disable prefer require", kept="disable prefer"),
    "gssdelegation": _words("0 1", kept="0"),
    "gsslib": _words("gssapi sspi"),
    "krbsrvname": _TEXT,
    "oauth_issuer": _REFUSED,
    "oauth_client_id": _REFUSED,
    "oauth_client_secret": _REFUSED,
    "oauth_scope": _REFUSED,
    "oauth_ca_file": _REFUSED,
}

ALIASES = {"database": "dbname"}

TLS = frozenset(name for name in OPTIONS if name.startswith("ssl_")) | {
    *("sslmode", "sslnegotiation", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl", "krbsrvname", "gsslib")
}
"""What asyncpg understands itself, and takes from a URL alone."""


def checked(options: Mapping[str, str]) -> dict[str, str]:
    """Those options that Genlock acts on, and server settings, under one name each. Raises InvalidUrl.

    What cannot be kept is named, not quoted: a value may be anything.
    """
    broken = []
    for name, value in options.items():
        option = OPTIONS.get(name, _TEXT)
        if not option.takes(value):
            raise InvalidUrl(f"its option {name} has to be {option.what}")
        if not option.kept(value):
            broken.append(f"{name}{option.broken}")
    if broken:
        raise InvalidUrl(f"it asks for what Genlock cannot do and would have to leave out: {_listed(broken)}")
    named: dict[str, str] = {}
    for name, value in options.items():
        key, text = ("sslmode", "require") if name == "ssl" else (ALIASES.get(name, name), value)
        if key in named:
            raise InvalidUrl(f"it says {key} more than once")
        named[key] = text
    if named.get("sslnegotiation") == "direct" and named.get("sslmode", "prefer") in ("disable", "allow", "prefer"):
        raise InvalidUrl("its sslnegotiation=direct needs sslmode=require, verify-ca or verify-full")
    return named


def _listed(names: list[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def read_service(options: Mapping[str, str]) -> dict[str, str]:
    """What the service file says that a URL names; an option of the URL's comes first. Raises InvalidUrl.

    asyncpg reads such a file too, passes over what it does not know, and quotes lines of it in its errors.
    """
    if not (wanted := options.get("service")):
        return {}
    for file in _service_files(options):
        try:
            lines = file.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        if (found := _section(lines, wanted)) is not None:
            return found
    raise InvalidUrl("the service that it names is in no service file that can be read")


def _service_files(options: Mapping[str, str]) -> Iterator[Path]:
    yield Path(options.get("servicefile") or os.environ.get("PGSERVICEFILE") or Path.home() / ".pg_service.conf")
    if folder := os.environ.get("PGSYSCONFDIR"):
        yield Path(folder) / "pg_service.conf"


def _section(lines: list[str], wanted: str) -> dict[str, str] | None:
    """The options in a section of a service file, None where there is no such section."""
    section: dict[str, str] | None = None
    for line in map(str.strip, lines):
        if line.startswith("[") and section is not None:
            break
        if line == f"[{wanted}]":
            section = {}
        elif section is not None and line and not line.startswith("#"):
            name, mark, value = (part.strip() for part in line.partition("="))
            if not mark or name not in OPTIONS or name == "service" or name in section:
                raise InvalidUrl("the service that it names has a line that is no option, or has one twice")
            section[name] = value
    return section
