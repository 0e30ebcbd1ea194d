"""Connecting to PostgreSQL: each host of the URL gets its share of the time, so that a silent one hides no other.

asyncpg tries one host after the other within one deadline, which the first machine that is lost without a word uses up.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from genlock._hosts import one_for_each_host
from genlock._passwords import with_password
from genlock.service.sessions import open_session

# asyncpg's classes are generic for type checkers alone.
if TYPE_CHECKING:
    LoneConnection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    LoneConnection = asyncpg.Connection

LOOK_TIMEOUT_S = 10.0
"""How long connecting for a look may take, and each statement of it."""

KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""After 30 s without a word the system asks the server whether it is there, three times within 30 s."""

NEXT_HOST = (
    OSError,
    # What whoever stands in front of a lost server does: it takes the connection, and closes it.
    asyncpg.PostgresConnectionError,
    # A server that starts, ends, or is ended.
    asyncpg.OperatorInterventionError,
    asyncpg.TargetServerAttributeNotMatched,
)
"""What another host may do better; TimeoutError is among them."""


class Hosts:
    """The hosts of a URL, the one that answered last first."""

    def __init__(self, url: str) -> None:
        self._urls = one_for_each_host(url)
        # Of several hosts one is the primary, whether the URL says that it is wanted or not.
        says_which = len(self._urls) == 1 or "target_session_attrs" in url
        self._wanted: dict[str, Any] = {} if says_which else {"target_session_attrs": "read-write"}

    async def connect(self, *_: Any, timeout: float = LOOK_TIMEOUT_S, **options: Any) -> LoneConnection:  # noqa: ASYNC109 - its name
        """Connect to the first host that can be used. Raises what asyncpg raises.

        Where none is the primary, as in the middle of a failover, that is a ConnectionError, as where a server is away.
        """
        *others, last = self._urls
        for url in others:
            with contextlib.suppress(*NEXT_HOST):
                return await self._connect(url, timeout, options)
        try:
            return await self._connect(last, timeout, options)
        except asyncpg.TargetServerAttributeNotMatched as error:
            raise ConnectionError("no host is the primary") from error

    async def _connect(self, url: str, timeout_s: float, options: dict[str, Any]) -> LoneConnection:
        share_s = timeout_s / len(self._urls)
        others = {name: value for name, value in options.items() if name != "server_settings"}

        async def connect(settings: dict[str, str]) -> LoneConnection:
            return await asyncpg.connect(
                with_password(url), timeout=share_s, server_settings=settings, **self._wanted, **others
            )

        connection = await open_session(connect, options.get("server_settings") or {}, share_s)
        self._urls.sort(key=url.__ne__)
        _keep_alive(connection)
        return connection


def _keep_alive(connection: LoneConnection) -> None:
    """Have the system find out that a server is gone without a word, however long its answer may take."""
    transport: asyncio.Transport = connection._transport  # type: ignore[attr-defined]  # noqa: SLF001 - shown nowhere else
    opened = transport.get_extra_info("socket")
    if opened.family == socket.AF_UNIX:
        return
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, setting in KEEP_ALIVE.items():
        if option := getattr(socket, name, None):
            opened.setsockopt(socket.IPPROTO_TCP, option, setting)


@contextlib.asynccontextmanager
async def looking(url: str) -> AsyncIterator[LoneConnection]:
    """Have a connection for a few quick statements. Raises asyncpg's errors."""
    connection = await Hosts(url).connect(timeout=LOOK_TIMEOUT_S, command_timeout=LOOK_TIMEOUT_S)
    try:
        yield connection
    finally:
        await connection.close()


async def connect(url: str, **options: Any) -> LoneConnection:
    """Connect for work that takes its time. Raises asyncpg's errors."""
    return await Hosts(url).connect(timeout=LOOK_TIMEOUT_S, **options)
