"""Connections to the servers for commands that bypass the service. Their errors end the program with a sentence."""

import contextlib
from collections.abc import AsyncIterator

import asyncpg
from aiormq.exceptions import DeliveryError

from genlock._net.refusals import AccessRefusedError
from genlock.cli.failure import Failure, say_if_default
from genlock.cli.settings_table import address
from genlock.consumers.amqp.declare import TopologyError
from genlock.consumers.amqp.session import BROKER_ERRORS, Session, open_session
from genlock.service.database.identity import read_identity
from genlock.service.database.lock_waits import LockedError
from genlock.service.database.migrate import SchemaError, check_schema
from genlock.service.database.poolers import PoolerError
from genlock.service.database.transactions import DECIDING_PLANS, DatabaseTroubleError, Pool, closing, open_pool
from genlock.service.deciding.kind import Kinds
from genlock.service.kinds.registry import KINDS
from genlock.service.settings import Settings


@contextlib.asynccontextmanager
async def database(settings: Settings, timeout_s: float) -> AsyncIterator[Pool]:
    """Open a pool of two deciding connections to a database with this program's schema. Raises Failure."""
    url = settings.database_url
    say_if_default(settings, "database_url", f"PostgreSQL at {address(url)}")
    try:
        await check_schema(settings.database)
        pool = await open_pool(settings.database, size=2, timeout_s=timeout_s, plans=DECIDING_PLANS)
    except (SchemaError, LockedError, PoolerError) as error:
        raise Failure(str(error)) from error
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Failure(f"PostgreSQL at {address(url)} cannot be used: {why(error)}.") from error
    async with closing(pool):
        try:
            yield pool
        except DatabaseTroubleError as error:
            raise Failure(f"PostgreSQL at {address(url)} has failed: {why(error)}.") from error


async def identity_of(settings: Settings) -> str:
    """Read the identity of a database with this program's schema. Raises Failure."""
    try:
        return await read_identity(settings.database)
    except SchemaError as error:
        raise Failure(str(error)) from error
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Failure(f"PostgreSQL at {address(settings.database_url)} cannot be used: {why(error)}.") from error


@contextlib.asynccontextmanager
async def broker(
    settings: Settings, *, declare: bool = True, kinds: Kinds = KINDS, identity: str | None = None
) -> AsyncIterator[Session]:
    """Open a session with the broker, and declare the topology if `declare` is set. Raises Failure.

    With the `identity` of the database, for work with both, another database than the service's is refused.
    """
    where = address(settings.amqp_url)
    say_if_default(settings, "amqp_url", f"RabbitMQ at {where}")
    try:
        async with open_session(settings, declare=declare, exchanges=kinds.exchanges, identity=identity) as session:
            yield session
    except TopologyError as error:
        raise Failure(str(error)) from error
    except AccessRefusedError as error:
        raise Failure(f"RabbitMQ at {where} {error.predicate}.") from error
    except DeliveryError as error:
        raise Failure(f"RabbitMQ at {where} refused a message; perhaps its queue is full.") from error
    except BROKER_ERRORS as error:
        raise Failure(f"RabbitMQ at {where} cannot be used: {why(error)}.") from error


def why(error: BaseException) -> str:
    """The text of an error, or the name of its class if it has none."""
    if isinstance(error, TimeoutError):
        return "there was no answer in time"
    return str(error).rstrip(".") or type(error).__name__
