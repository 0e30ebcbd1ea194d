"""`genlock adopt`: bind the namespace to the database, as after a restore."""

import asyncio

from genlock.cli.failure import Failure, load_settings
from genlock.cli.messages import AmqpUrl, Namespace
from genlock.cli.terminal import say
from genlock.service.settings import Settings


def adopt(*, amqp_url: AmqpUrl = None, namespace: Namespace = None) -> None:
    """Bind the namespace on the broker to the database of GENLOCK_DATABASE_URL, while no replica runs.

    Needed once after the database was restored from a dump, moved by logical replication, or upgraded by pg_upgrade:
    replicas refuse to start with a database other than the one that the namespace is bound to. A failover to a standby
    needs none of this.
    """
    settings = load_settings(amqp_url=amqp_url, namespace=namespace)
    asyncio.run(_adopt(settings))
    say(f"The namespace {settings.namespace} is bound to this database now.")


async def _adopt(settings: Settings) -> None:
    # Imported here: only this command needs them, and --help should stay fast.
    from genlock.cli.connections import broker, database, identity_of  # noqa: PLC0415
    from genlock.consumers.operations.adopt import ReplicasAtWorkError, adopt  # noqa: PLC0415

    async with database(settings, settings.decide_timeout_s), broker(settings, declare=False) as session:
        try:
            await adopt(session, settings, await identity_of(settings))
        except ReplicasAtWorkError as error:
            raise Failure(str(error)) from error
