"""Starting: each server is tried until it can be used, or until the time for a start is over."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any, TypeVar

import asyncpg
import structlog

from genlock.consumers.amqp.declare import TopologyError
from genlock.consumers.amqp.session import BROKER_ERRORS, open_session
from genlock.consumers.process.stopping import Stop
from genlock.service.database.clocks import WrongClockError, check_clocks
from genlock.service.database.connecting import RefusedSettingError
from genlock.service.database.durability import UnsafeDatabaseError, check_safety
from genlock.service.database.identity import read_identity
from genlock.service.database.lock_waits import LockedError
from genlock.service.database.migrate import SchemaError, check_schema
from genlock.service.database.poolers import PoolerError
from genlock.service.database.soundness import check_soundness
from genlock.service.database.transactions import Pool
from genlock.service.settings import Settings

T = TypeVar("T")

PAUSE_S = 1.0
"""Between two tries."""

DATABASE_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, LockedError)
LASTING_ERRORS = (SchemaError, TopologyError, UnsafeDatabaseError, WrongClockError, PoolerError)
"""Trying again does not mend these. The text of each names the fault."""

log = structlog.get_logger()


class StartError(Exception):
    """The service cannot start; the message is one clear sentence."""


class Starting:
    """The start of one process. `exchanges` are those that further messages go to.

    Its methods raise StartError, and StoppedError once the end is requested.
    """

    def __init__(
        self, settings: Settings, stop: Stop, exchanges: Collection[str] = (), *, pause_s: float = PAUSE_S
    ) -> None:
        self._settings = settings
        self._exchanges = exchanges
        self._stop = stop
        self._pause_s = pause_s

    async def check_database(self) -> str:
        """Wait for PostgreSQL, and return its identity.

        Checks that it is safe, that its clock agrees, and that its schema is sound and this program's.
        """
        return await self._until_it_works("PostgreSQL", DATABASE_ERRORS, self._check_database)

    async def open_pool(self, opening: Callable[[], Coroutine[Any, Any, Pool]]) -> Pool:
        """Open a pool of connections."""
        return await self._until_it_works("PostgreSQL", DATABASE_ERRORS, opening)

    async def check_broker(self, identity: str) -> None:
        """Wait for RabbitMQ, and declare the topology, bound to the database with this identity."""
        await self._until_it_works("RabbitMQ", BROKER_ERRORS, lambda: self._try_session(identity))

    async def _check_database(self) -> str:
        url = self._settings.database
        await check_safety(url, accept_unsafe=self._settings.accept_unsafe_database)
        await check_clocks(url)
        await check_schema(url)
        await check_soundness(url)
        return await read_identity(url)

    async def _try_session(self, identity: str) -> None:
        async with open_session(self._settings, exchanges=self._exchanges, identity=identity):
            pass

    async def _until_it_works(
        self, server: str, faults: tuple[type[BaseException], ...], attempt: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        deadline = asyncio.get_running_loop().time() + self._settings.start_timeout_s
        why = ""
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._stop.unless_requested(attempt())
            except LASTING_ERRORS as error:
                raise StartError(str(error)) from error
            except RefusedSettingError as error:
                raise StartError(f"PostgreSQL cannot be used: {error}") from error
            except faults as error:
                # The last try ends when the time is over, which says less than what the one before has met.
                why = str(error) or why or type(error).__name__
                if asyncio.get_running_loop().time() >= deadline:
                    waited = self._settings.start_timeout_s
                    raise StartError(f"{server} could not be used within {waited:g} seconds: {why}") from error
                log.info("waiting", action="wait_for_server", server=server, why=why)
                await self._stop.pause(self._pause_s)
