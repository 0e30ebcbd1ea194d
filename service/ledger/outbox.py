"""The outbox: the further messages of decisions, written in the deciding transaction and published at least once.

They go the ways that outcomes go: after their COMMIT, with a redelivered command, by the sweep, and by
`genlock republish`. All ways but the first come through here, where each message's kind is asked whether it is due.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from itertools import groupby

import asyncpg

from genlock.service.database.statements import statement
from genlock.service.database.transactions import Connection, Pool, acquired, await_standby, columns, transaction
from genlock.service.ledger.messages import Message, MessageKind, StoredMessage

AT_ONCE = 100
"""How many messages are read at once."""


async def insert(
    connection: Connection, batch_id: int, messages: Sequence[tuple[str, Message]]
) -> dict[str, list[StoredMessage]]:
    """Write the messages of a batch, one at least, each with the id of its command; return them by that id."""
    stored = [StoredMessage(batch_id, position, *message) for position, message in enumerate(messages)]
    await connection.execute(statement("insert_outbox"), *columns(list(map(_row, stored))))
    by_command: dict[str, list[StoredMessage]] = {}
    for message in stored:
        by_command.setdefault(message.command_id, []).append(message)
    return by_command


class Outbox:
    """Reads the messages that are still due.

    `kinds` are those that this program knows, by name. Messages of other kinds, and for other exchanges than their
    kind's, are left to newer programs. All methods raise DatabaseTroubleError.
    """

    def __init__(self, pool: Pool, timeout_s: float, kinds: Mapping[str, MessageKind]) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._kinds = kinds

    @property
    def known(self) -> tuple[list[str], list[str]]:
        """The kinds with their exchanges that this program knows: a pair for each, as two lists."""
        pairs = [(kind.name, exchange) for kind in self._kinds.values() for exchange in sorted(kind.exchanges)]
        return [name for name, _ in pairs], [exchange for _, exchange in pairs]

    def knows(self, stored: StoredMessage | None) -> bool:
        """Tell whether this program can publish a message, as it can one that is no further message."""
        if stored is None:
            return True
        kind = self._kinds.get(stored.message.kind)
        return kind is not None and stored.message.exchange in kind.exchanges

    async def of_commands(
        self, batches: Mapping[str, int]
    ) -> tuple[dict[str, list[StoredMessage]], dict[int, set[str]]]:
        """The messages of commands, given with their batches, that are still due; and all commands of these batches.

        Both by what they are of; not of a batch that only a newer program can publish.
        """
        batch_ids = set(batches.values())
        commands: dict[int, set[str]] = {}
        async with acquired(self._pool, self._timeout_s) as connection:
            for row in await connection.fetch(statement("find_batch_commands"), list(batch_ids), *self.known):
                commands.setdefault(row["batch_id"], set()).add(str(row["id"]))
            rows = await connection.fetch(statement("find_outbox"), list(batch_ids), list(batches))
        messages: dict[str, list[StoredMessage]] = {}
        for stored in await self.due(map(stored_message, rows)):
            messages.setdefault(stored.command_id, []).append(stored)
        return messages, commands

    async def of_batches(self, batch_ids: Collection[int]) -> AsyncIterator[list[StoredMessage]]:
        """The messages that are still due of batches, in their order and a bounded number at once."""
        last = (0, 0)
        while True:
            async with acquired(self._pool, self._timeout_s) as connection:
                rows = await connection.fetch(statement("list_outbox"), list(batch_ids), *last, AT_ONCE)
            if not rows:
                return
            last = rows[-1]["batch_id"], rows[-1]["position"]
            yield await self.due(map(stored_message, rows))

    async def foreign(self, batch_ids: Collection[int]) -> set[int]:
        """Those of the batches that only a newer program can publish."""
        async with acquired(self._pool, self._timeout_s) as connection:
            rows = await connection.fetch(statement("find_foreign_batches"), list(batch_ids), *self.known)
        return {row["batch_id"] for row in rows}

    async def due(self, stored: Iterable[StoredMessage]) -> list[StoredMessage]:
        """Those of the messages that are still due, in their order, that this program knows."""
        asked = [each for each in stored if self.knows(each)]
        if not asked:
            return []
        due: set[tuple[str, str]] = set()
        for name, group in groupby(sorted(asked, key=_kind), key=_kind):
            messages = [each.message for each in group]
            async with transaction(self._pool, self._timeout_s) as connection:
                due.update((name, message_id) for message_id in await self._kinds[name].due(connection, messages))
        # What was seen may be lost with the primary, and then it must not have ended a message.
        async with acquired(self._pool, self._timeout_s) as connection:
            await await_standby(connection, self._timeout_s)
        return [each for each in asked if (each.message.kind, each.message.id) in due]


def _kind(stored: StoredMessage) -> str:
    return stored.message.kind


def _row(stored: StoredMessage) -> tuple[object, ...]:
    message = stored.message
    return (
        stored.batch_id,
        stored.position,
        stored.command_id,
        message.kind,
        *message.record,
        message.exchange,
        message.routing_key,
        message.mandatory,
        message.id,
        message.type,
        message.subject,
        message.correlation_id,
        message.time,
        message.body,
    )


def stored_message(row: asyncpg.Record) -> StoredMessage:
    """Read a row of the outbox."""
    message = Message(
        kind=row["kind"],
        record=(row["record_kind"], row["record_id"]),
        exchange=row["exchange"],
        routing_key=row["routing_key"],
        id=row["message_id"],
        type=row["message_type"],
        body=row["body"],
        time=row["time"],
        subject=row["subject"],
        correlation_id=row["correlation_id"],
        mandatory=row["mandatory"],
    )
    return StoredMessage(row["batch_id"], row["position"], str(row["command_id"]), message)
