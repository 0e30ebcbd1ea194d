"""Connecting to PostgreSQL. Each host of the URL gets its share of the time.

asyncpg tries one host after the other within one deadline, and the first host that does not answer uses it up.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from random import SystemRandom
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from genlock._net.urls import Host, read_password
from genlock.service.database.poolers import open_own_session
from genlock.service.database.postgres_urls import read, why_refused

# asyncpg's classes are generic only for type checkers.
if TYPE_CHECKING:
    LoneConnection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    LoneConnection = asyncpg.Connection

LOOK_TIMEOUT_S = 10.0
"""How long a short connection may take to open, and each statement on it."""

NEXT_HOST = (
    OSError,
    # A proxy in front of a lost server accepts the connection and closes it.
    asyncpg.PostgresConnectionError,
    # A server that starts, shuts down, or is killed.
    asyncpg.OperatorInterventionError,
    asyncpg.TargetServerAttributeNotMatched,
)
"""Errors after which the next host is tried. They include TimeoutError."""


_REFUSED_SETTING = (
    asyncpg.UndefinedObjectError,
    asyncpg.InvalidParameterValueError,
    asyncpg.CantChangeRuntimeParamError,
    asyncpg.InsufficientPrivilegeError,
)
"""How PostgreSQL refuses a setting that a connection begins with."""


class RefusedSettingError(ConnectionError):
    """PostgreSQL does not take a setting in its URL; the message says which one."""


class Hosts:
    """The hosts of a URL; the host that answered last is tried first. Raises InvalidUrl."""

    def __init__(self, url: str) -> None:
        self._target = read(url)
        self._hosts = list(self._target.hosts)
        # Of several hosts one is the primary, and it is wanted even if the URL does not say so.
        by_default = (None,) if len(self._hosts) == 1 else ("read-write",)
        self._attrs: Sequence[str | None] = self._target.session_attrs or by_default

    async def connect(self, *_: Any, timeout: float = LOOK_TIMEOUT_S, **options: Any) -> LoneConnection:  # noqa: ASYNC109 - its name
        """Connect to the first host that can be used. Raises what asyncpg raises, and RefusedSettingError.

        Raises ConnectionError if no host is the primary, as during a failover or an outage.
        """
        if self._target.at_random:
            SystemRandom().shuffle(self._hosts)
        *others, last = [(host, attrs) for attrs in self._attrs for host in self._hosts]
        share_s = timeout / (len(others) + 1)
        if (limit_s := self._target.connect_timeout_s) is not None:
            share_s = min(share_s, limit_s)
        for host, attrs in others:
            with contextlib.suppress(*NEXT_HOST):
                return await self._connect(host, attrs, share_s, options)
        try:
            return await self._connect(*last, share_s, options)
        except asyncpg.TargetServerAttributeNotMatched as error:
            what = "the primary" if last[1] == "read-write" else f"what target_session_attrs={last[1]} wants"
            raise ConnectionError(f"no host is {what}") from error

    async def _connect(
        self, host: Host, attrs: str | None, timeout_s: float, options: dict[str, Any]
    ) -> LoneConnection:
        said = self._target.server_settings
        others = {name: value for name, value in options.items() if name != "server_settings"}

        async def connect(settings: dict[str, str]) -> LoneConnection:
            try:
                return await asyncpg.connect(
                    **self._arguments(host, attrs),
                    timeout=timeout_s,
                    # The URL may set the application name. Every setting that the service relies on is set later.
                    server_settings=settings | said,
                    **others,
                )
            except _REFUSED_SETTING as error:
                unknown = isinstance(error, asyncpg.UndefinedObjectError)
                if why := why_refused(said, str(error), unknown=unknown):
                    raise RefusedSettingError(why) from error
                raise

        connection = await open_own_session(connect, options.get("server_settings") or {}, timeout_s)
        self._hosts.sort(key=host.__ne__)
        self._tune(connection)
        return connection

    def _arguments(self, host: Host, attrs: str | None) -> dict[str, Any]:
        """The arguments for asyncpg, without the URL, which its errors would quote. Raises PasswordFileError."""
        target = self._target
        return {
            "dsn": target.tls_url,
            "host": host.name or None,
            "port": host.port,
            "user": target.user,
            "password": read_password(target.password_file, target.password),
            "passfile": target.passfile,
            "database": target.database,
            "target_session_attrs": attrs,
        }

    def _tune(self, connection: LoneConnection) -> None:
        """Set TCP keep-alive, so that the system detects a silent server while a statement runs."""
        transport: asyncio.Transport = connection._transport  # type: ignore[attr-defined]  # noqa: SLF001 - shown nowhere else
        opened = transport.get_extra_info("socket")
        if opened.family == socket.AF_UNIX:
            return
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(self._target.keep_alive))
        for name, setting in self._target.socket_options.items():
            if option := getattr(socket, name, None):
                opened.setsockopt(socket.IPPROTO_TCP, option, setting)


@contextlib.asynccontextmanager
async def short_connection(url: str) -> AsyncIterator[LoneConnection]:
    """Open a connection for a few quick statements. Raises asyncpg's errors, RefusedSettingError and InvalidUrl."""
    connection = await Hosts(url).connect(timeout=LOOK_TIMEOUT_S, command_timeout=LOOK_TIMEOUT_S)
    try:
        yield connection
    finally:
        await connection.close()


async def connect(url: str, **options: Any) -> LoneConnection:
    """Connect for statements without a time limit. Raises asyncpg's errors, RefusedSettingError and InvalidUrl."""
    return await Hosts(url).connect(timeout=LOOK_TIMEOUT_S, **options)
