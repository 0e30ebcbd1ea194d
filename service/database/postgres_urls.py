"""Parsing of PostgreSQL's URLs, `postgresql://user:password@host:port,host:port/database?option=value`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from urllib.parse import urlencode

from genlock._net.urls import PASSWORD_FILE, Host, InvalidUrl, Kind, ServerUrl, parse, parse_hosts, parse_port
from genlock.service.database import libpq

KIND = Kind(("postgresql", "postgres"), "database", libpq.OPTIONS)

KEEP_ALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""After 30 s of silence the system probes the server three times within 30 s."""

_SOCKET_OPTIONS = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}


@dataclass(frozen=True, slots=True)
class Target:
    """The parameters of a connection."""

    hosts: tuple[Host, ...]
    """For a host without a name asyncpg looks for a server on this machine."""
    user: str | None
    database: str | None
    password: str | None = field(repr=False)
    password_file: str | None
    """It has precedence over the password."""
    passfile: str | None
    tls_url: str | None = field(repr=False)
    """A URL with the options that asyncpg takes only from a URL, and nothing else."""
    session_attrs: tuple[str, ...]
    """The wanted kinds of server, in order of preference; empty if the URL does not say."""
    server_settings: dict[str, str] = field(repr=False)
    connect_timeout_s: float | None
    at_random: bool
    keep_alive: bool
    socket_options: dict[str, int]
    """Keyed by their names in the module `socket`."""


def read(url: str) -> Target:
    """Read PostgreSQL's URL, and the service file if it names a service. Raises InvalidUrl."""
    told = parse(url, KIND)
    own = libpq.checked(told.options)
    for name, before in (("user", told.user), ("password", told.password), ("dbname", told.name), ("host", told.hosts)):
        if before and name in own:
            raise InvalidUrl(f"it says {name} more than once")
    options = libpq.checked(libpq.read_service(own)) | own
    password = told.password or own.get("password")
    attrs = options.get("target_session_attrs", "")
    tls = {name: options[name] for name in options if name in libpq.TLS}
    timeout_s = int(options.get("connect_timeout", 0))
    return Target(
        hosts=_hosts(told, own, options),
        user=told.user or options.get("user"),
        database=told.name or options.get("dbname"),
        password=password or options.get("password"),
        # The URL's own password has precedence over the service file's password file.
        password_file=(own if password else options).get(PASSWORD_FILE),
        passfile=options.get("passfile"),
        tls_url=f"postgresql://?{urlencode(tls)}" if tls else None,
        session_attrs=("standby", "any") if attrs == "prefer-standby" else tuple(filter(None, [attrs])),
        server_settings=_server_settings(options),
        connect_timeout_s=timeout_s if timeout_s > 0 else None,
        at_random=options.get("load_balance_hosts") == "random",
        keep_alive=int(options.get("keepalives", 1)) != 0,
        socket_options=_socket_options(options),
    )


def _hosts(told: ServerUrl, own: Mapping[str, str], options: Mapping[str, str]) -> tuple[Host, ...]:
    hosts = told.hosts or (tuple(parse_hosts(options["host"], KIND)) if "host" in options else ())
    if "port" in own and any(host.port for host in told.hosts):
        raise InvalidUrl("it says port more than once")
    hosts = hosts or (Host(""),)
    if "port" not in options:
        return hosts
    ports = [parse_port(port, KIND) for port in options["port"].split(",")]
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts):
        raise InvalidUrl(f"it names {len(ports)} ports for {len(hosts)} hosts")
    return tuple(Host(host.name, host.port or port) for host, port in zip(hosts, ports, strict=True))


def _server_settings(options: Mapping[str, str]) -> dict[str, str]:
    """The settings of the server: all names that are no client option, and options with the server's own name."""
    settings = {name: text for name, text in options.items() if name not in libpq.OPTIONS or name == "options"}
    name = options.get("application_name") or options.get("fallback_application_name")
    return settings | ({"application_name": name} if name else {})


def _socket_options(options: Mapping[str, str]) -> dict[str, int]:
    """The socket options that are set; 0 in the URL leaves an option to the system."""
    wanted = {name: int(options.get(name, KEEP_ALIVE.get(name, 0))) for name in _SOCKET_OPTIONS}
    return {_SOCKET_OPTIONS[name]: value for name, value in wanted.items() if value > 0}


def why_refused(settings: Mapping[str, str], message: str, *, unknown: bool) -> str | None:
    """Why PostgreSQL refuses one of these settings, as a clause; None if the message is about something else."""
    # The message is in the server's language but contains names unchanged.
    name = next((name for name in settings if f'"{name}"' in message), None)
    if name is None:
        return None
    if not unknown:
        return f"it does not take its setting {name} from GENLOCK_DATABASE_URL as it stands there"
    # Settings of the server are not known here; a misspelt one never resembles an option closely.
    near = get_close_matches(name, [*libpq.OPTIONS], n=1, cutoff=0.8)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"{name} in GENLOCK_DATABASE_URL is neither an option nor a setting of this server{hint}"
