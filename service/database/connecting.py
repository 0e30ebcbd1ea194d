"""Connecting to PostgreSQL: each host of the URL gets its share of the time, so that a silent one hides no other.

asyncpg tries one host after the other within one deadline, which the first machine that is lost without a word uses up.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from random import SystemRandom
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from genlock._urls import Host, read_password
from genlock.service.database.postgres_urls import read, why_refused
from genlock.service.database.sessions import open_session

# asyncpg's classes are generic for type checkers alone.
if TYPE_CHECKING:
    LoneConnection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    LoneConnection = asyncpg.Connection

LOOK_TIMEOUT_S = 10.0
"""How long connecting for a look may take, and each statement of it."""

NEXT_HOST = (
    OSError,
    # What whoever stands in front of a lost server does: it takes the connection, and closes it.
    asyncpg.PostgresConnectionError,
    # A server that starts, ends, or is ended.
    asyncpg.OperatorInterventionError,
    asyncpg.TargetServerAttributeNotMatched,
)
"""What another host may do better; TimeoutError is among them."""


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
    """The hosts of a URL, the one that answered last first. Raises InvalidUrl."""

    def __init__(self, url: str) -> None:
        self._target = read(url)
        self._hosts = list(self._target.hosts)
        # Of several hosts one is the primary, whether the URL says that it is wanted or not.
        by_default = (None,) if len(self._hosts) == 1 else ("read-write",)
        self._attrs: Sequence[str | None] = self._target.session_attrs or by_default

    async def connect(self, *_: Any, timeout: float = LOOK_TIMEOUT_S, **options: Any) -> LoneConnection:  # noqa: ASYNC109 - its name
        """Connect to the first host that can be used. Raises what asyncpg raises, and RefusedSettingError.

        Where none is the primary, as in the middle of a failover, that is a ConnectionError, as where a server is away.
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
                    # The name is the URL's to say; all else that the service relies on is set later.
                    server_settings=settings | said,
                    **others,
                )
            except _REFUSED_SETTING as error:
                unknown = isinstance(error, asyncpg.UndefinedObjectError)
                if why := why_refused(said, str(error), unknown=unknown):
                    raise RefusedSettingError(why) from error
                raise

        connection = await open_session(connect, options.get("server_settings") or {}, timeout_s)
        self._hosts.sort(key=host.__ne__)
        self._tune(connection)
        return connection

    def _arguments(self, host: Host, attrs: str | None) -> dict[str, Any]:
        """What asyncpg is told of a host; never the URL, which its errors would quote. Raises PasswordFileError."""
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
        """Have the system find out that a server is gone without a word, however long its answer may take."""
        transport: asyncio.Transport = connection._transport  # type: ignore[attr-defined]  # noqa: SLF001 - shown nowhere else
        opened = transport.get_extra_info("socket")
        if opened.family == socket.AF_UNIX:
            return
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(self._target.keep_alive))
        for name, setting in self._target.socket_options.items():
            if option := getattr(socket, name, None):
                opened.setsockopt(socket.IPPROTO_TCP, option, setting)


@contextlib.asynccontextmanager
async def looking(url: str) -> AsyncIterator[LoneConnection]:
    """Have a connection for a few quick statements. Raises asyncpg's errors, RefusedSettingError and InvalidUrl."""
    connection = await Hosts(url).connect(timeout=LOOK_TIMEOUT_S, command_timeout=LOOK_TIMEOUT_S)
    try:
        yield connection
    finally:
        await connection.close()


async def connect(url: str, **options: Any) -> LoneConnection:
    """Connect for work that takes its time. Raises asyncpg's errors, RefusedSettingError and InvalidUrl."""
    return await Hosts(url).connect(timeout=LOOK_TIMEOUT_S, **options)
