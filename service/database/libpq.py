"""The options in PostgreSQL's URLs, as libpq defines them: those that Genlock supports, and those that it refuses.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS. All other names in the query of a URL
are settings of the server.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from genlock._net.urls import PASSWORD_FILE, InvalidUrl

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """The values of an option, and which of them Genlock supports."""

    takes: Callable[[str], object] = bool
    what: str = ""
    kept: Callable[[str], object] = bool
    broken: str = ""
    """The text after the option's name in the error about an unsupported value."""


def _words(words: str, kept: str = "") -> Option:
    """An option with a few values, some of which may be unsupported."""
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
    # A JDBC option that libpq accepts as well.
    "ssl": _words("true"),
    "sslmode": _words("disable allow prefer require verify-ca verify-full"),
    "sslnegotiation": _words("postgres direct"),
    "sslcert": _TEXT,
    "sslkey": _TEXT,
    "sslpassword": _TEXT,
    # libpq's word for the certificate authorities that the system trusts.
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
"""Options that asyncpg understands itself and takes only from a URL."""


def checked(options: Mapping[str, str]) -> dict[str, str]:
    """The supported options and the server settings, with aliases resolved. Raises InvalidUrl.

    The error names unsupported options but never quotes a value, which may be a secret.
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
    """The options of the service that a URL names, overridden by the URL's own. Raises InvalidUrl.

    asyncpg reads service files too, but ignores unknown options and quotes lines of the file in its errors.
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
    """The options in a section of a service file; None if there is no such section."""
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
