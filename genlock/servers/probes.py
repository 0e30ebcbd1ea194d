"""Probes: whether a server answers, and its version."""

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlsplit

import asyncpg

from genlock._net.broker_urls import read
from genlock._net.urls import Host
from genlock.servers.programs import ServersUnavailable
from genlock.service.database.connecting import Hosts

READY_TIMEOUT_S = 60.0
ATTEMPT_TIMEOUT_S = 2.0
_ATTEMPT_PAUSE_S = 0.05


def ask_postgres(url: str) -> str:
    """Return the version of the PostgreSQL at a URL. Raises asyncpg's errors."""
    # In a thread, because the caller may run in an event loop.
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(lambda: asyncio.run(_postgres_version(url))).result()


async def _postgres_version(url: str) -> str:
    connection = await Hosts(url).connect(timeout=ATTEMPT_TIMEOUT_S)
    try:
        version: str = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    return version.split(maxsplit=1)[0]


# A broker's first frame is the method connection.start on channel 0, with the version in its properties.
_GREETING = re.compile(rb"\x01\x00\x00....\x00\x0a\x00\x0a.*\x07versionS....([\d.]+)[^\d.]", re.DOTALL)


def ask_rabbit(url: str) -> str:
    """Return the version of the broker at a URL, or of the first host of a cluster. Raises OSError."""
    told = read(url)
    *others, last = told.hosts
    for one in others:
        with suppress(OSError):
            return _rabbit_version(one, tls=told.scheme == "amqps")
    return _rabbit_version(last, tls=told.scheme == "amqps")


def _rabbit_version(host: Host, *, tls: bool) -> str:
    address = (host.name, host.port or (5671 if tls else 5672))
    with socket.create_connection(address, timeout=ATTEMPT_TIMEOUT_S) as plain:
        stream = ssl.create_default_context().wrap_socket(plain, server_hostname=host.name) if tls else plain
        with stream:
            stream.sendall(b"AMQP\x00\x00\x09\x01")
            greeting = b""
            while (match := _GREETING.match(greeting)) is None:
                received = stream.recv(4096)
                if not received:
                    raise ConnectionError("it does not speak AMQP 0-9-1")
                greeting += received
    return match[1].decode()


# Errors of a starting server. Behind Docker's proxy it accepts connections and closes them.
_NOT_YET = (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError)


def await_answer(
    name: str,
    ask: Callable[[str], str],
    url: str,
    *,
    timeout_s: float = READY_TIMEOUT_S,
    check: Callable[[], None] = lambda: None,
) -> str:
    """Probe until a server answers and return its version. `check` raises once further probes are useless.

    Raises ServersUnavailable if no answer comes in time or the server refuses this user.
    """
    where = f"{name} at {urlsplit(url).netloc.rpartition('@')[2]}"
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return ask(url)
        except _NOT_YET as error:
            check()
            if time.monotonic() > deadline:
                raise ServersUnavailable(f"{where} did not answer within {timeout_s:.0f} s: {error}.") from error
        except asyncpg.PostgresError as error:
            raise ServersUnavailable(f"{where} refuses: {error}.") from error
        time.sleep(_ATTEMPT_PAUSE_S)
