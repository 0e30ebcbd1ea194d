"""The servers, for the commands that go past the service; what goes wrong with them ends the program in a sentence."""

import contextlib
from collections.abc import AsyncIterator

import asyncpg
from aiormq.exceptions import DeliveryError

from genlock._refusals import NotLetInError
from genlock.cli.failure import Failure, say_if_default
from genlock.cli.settings_table import address
from genlock.consumers.session import BROKER_ERRORS, Session, open_session
from genlock.consumers.topology import TopologyError
from genlock.service.database.lock_waits import LockedError
from genlock.service.database.migrate import SchemaError, check_schema
from genlock.service.database.sessions import PoolerError
from genlock.service.database.transactions import DECIDING_PLANS, DatabaseTroubleError, Pool, closing, open_pool
from genlock.service.settings import Settings


@contextlib.asynccontextmanager
async def database(settings: Settings, timeout_s: float) -> AsyncIterator[Pool]:
    """Two connections, as deciding uses them, to a database with the schema of this program. Raises Failure."""
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


@contextlib.asynccontextmanager
async def broker(settings: Settings, *, declare: bool = True) -> AsyncIterator[Session]:
    """A session on a broker, which is given the topology if it lacks it and `declare` is set. Raises Failure."""
    where = address(settings.amqp_url)
    say_if_default(settings, "amqp_url", f"RabbitMQ at {where}")
    try:
        async with open_session(settings, declare=declare) as session:
            yield session
    except TopologyError as error:
        raise Failure(str(error)) from error
    except NotLetInError as error:
        raise Failure(f"RabbitMQ at {where} {error.predicate}.") from error
    except DeliveryError as error:
        raise Failure(f"RabbitMQ at {where} refused a message; perhaps its queue is full.") from error
    except BROKER_ERRORS as error:
        raise Failure(f"RabbitMQ at {where} cannot be used: {why(error)}.") from error


def why(error: BaseException) -> str:
    """What an error says; of one without words, its name."""
    if isinstance(error, TimeoutError):
        return "there was no answer in time"
    return str(error).rstrip(".") or type(error).__name__
