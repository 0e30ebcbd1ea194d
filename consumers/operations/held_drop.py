"""Dropping held commands: each becomes a dead letter, or is gone for good, and those behind it follow."""

from collections.abc import Sequence

from genlock.consumers.amqp.publisher import Publisher
from genlock.consumers.amqp.session import BROKER_ERRORS, Session
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.commands.authors import Reader
from genlock.consumers.commands.deliveries import dead_letter_message
from genlock.consumers.commands.holding import come_back
from genlock.service.database.transactions import Pool
from genlock.service.ledger.held import HeldTable, Listed
from genlock.service.settings import Settings

AT_ONCE = 16
"""How many held messages are in memory at once; each may have 1 MiB."""

REASON = "dropped while it was held: {}"
"""Why a command is a dead letter that an operator has dropped."""


class NotDroppedError(Exception):
    """The broker did not take a dead letter; the message says why."""


async def drop_held(
    session: Session, pool: Pool, settings: Settings, chosen: Sequence[Listed], *, discard: bool
) -> list[Listed]:
    """Take commands out of the held ones; return those that were still there. They are dead letters, unless discarded.

    Stops at a fault; those before it are dropped. Raises NotDroppedError and DatabaseTroubleError.
    """
    publisher = await Publisher.on(session, settings.publish_timeout_s)
    reader = Reader(settings.source, session.user, settings.require_user)
    table = HeldTable(pool, settings.decide_timeout_s, settings.retry_delay_max_s)
    topology = Topology(settings.namespace)
    dropped: list[Listed] = []
    for start in range(0, len(chosen), AT_ONCE):
        part = {one.position: one for one in chosen[start : start + AT_ONCE]}
        async with table.dropping(part) as there:
            letters = []
            for claimed in [] if discard else there:
                delivery = await come_back(claimed, reader)
                reason = REASON.format(part[claimed.position].why)
                letters += [dead_letter_message(delivery, one, reason, topology) for one in delivery.parts]
            try:
                await publisher.publish(letters)
            except BROKER_ERRORS as error:  # Within the transaction it would be taken for the database's.
                raise NotDroppedError(str(error) or type(error).__name__) from error
        dropped += [part[claimed.position] for claimed in there]
    return dropped
