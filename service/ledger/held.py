"""Held messages: commands that cannot be decided while others can, kept in the database in the order of their records.

A command is held with all of its message, which is acknowledged then. It waits for the keys of its own records and of
those in trouble. Later commands that touch anything with such a key are held behind it, so that a record's commands
keep their order. The first of each is tried again, by one replica at a time, after pauses that grow; once it is decided
and its outcome is published, the next one follows.
"""

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from genlock.schemas.values import value
from genlock.service.database.statements import statement
from genlock.service.database.transactions import (
    Connection,
    DatabaseTroubleError,
    Pool,
    acquired,
    columns,
    transaction,
    written,
)
from genlock.service.ledger.waiting import LONGEST

HELD_MAX = 10_000
"""How many messages are held at most. Beyond that the consumers hold what they get, and all commands wait."""

PAUSE_FIRST_S = 0.1

BEHIND_MAX = 100
"""How many messages behind a decided one are tried together with one another, at most."""

BEHIND_BYTES_MAX = 2**20
"""How many bytes these have at most, and one message more."""


class HeldFullError(DatabaseTroubleError):
    """There are too many held messages to add others."""


@value
class HeldMessage:
    """A message with one command, as it came from the broker, and why it is held. `properties` are AMQP's."""

    command_id: str
    copy: bytes
    """The same for all messages with this command that are to be answered alike."""
    exchange: str
    routing_key: bytes
    properties: bytes
    body: bytes
    bulk: bool
    """Whether it came in a message with others."""
    records: frozenset[str]
    """What it waits for, and what later ones wait for behind it."""
    why: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A held message whose turn it is. Nothing before it waits for the same."""

    position: int
    exchange: str
    routing_key: bytes
    properties: bytes
    body: bytes
    bulk: bool
    tries: int
    held_for: timedelta
    records: frozenset[str]


class HeldTable:
    """The held messages in the database. All methods raise DatabaseTroubleError."""

    def __init__(self, pool: Pool, timeout_s: float, pause_max_s: float, *, held_max: int = HELD_MAX) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._pause_max_s = pause_max_s
        self._held_max = held_max

    async def add(self, messages: Sequence[HeldMessage]) -> None:
        """Hold messages, one at least, in their order. Raises HeldFullError where there is no room for them."""
        async with transaction(self._pool, self._timeout_s) as connection:
            await connection.execute(statement("lock_held"))
            held = await connection.fetchrow(statement("count_held"), self._held_max)
            assert held is not None  # noqa: S101 - it counts, and so has one row
            if held["messages"] >= self._held_max:
                raise HeldFullError(f"{self._held_max} commands are held already; the last one: {messages[0].why}")
            rows = await connection.fetch(statement("insert_held_messages"), *columns(list(map(_row, messages))))
            # Copies of one command may differ in whom they want to be answered, and wait for the same.
            records = {message.command_id: message.records for message in messages}
            positions = {row["position"]: records[str(row["command_id"])] for row in rows}
            await _note(connection, positions)
            await connection.execute(statement("put_to_sleep"), list(positions))

    async def claim(self, lease_s: float) -> Claimed | None:
        """Take the message whose turn it is, for `lease_s` seconds; None if it is the turn of none."""
        async with acquired(self._pool, self._timeout_s) as connection:
            row = await connection.fetchrow(statement("claim_held"), timedelta(seconds=lease_s), LONGEST)
        return None if row is None else _claimed(row)

    async def behind(self, first: Claimed) -> list[Claimed]:
        """Find the messages that wait for nothing but what a claimed one waits for too, up to the first other one."""
        async with acquired(self._pool, self._timeout_s) as connection:
            rows = await connection.fetch(
                statement("find_held_behind"), list(first.records), first.position, BEHIND_MAX, BEHIND_BYTES_MAX
            )
        found: list[Claimed] = []
        for message in map(_claimed, rows):
            if not message.records <= first.records:
                break
            found.append(message)
        return found

    async def remove(self, done: Collection[Claimed]) -> None:
        """Take messages away whose outcomes are published."""
        async with transaction(self._pool, self._timeout_s) as connection:
            await connection.execute(statement("lock_held"))
            await _remove(connection, done)

    @contextlib.asynccontextmanager
    async def dropping(self, positions: Collection[int]) -> AsyncIterator[list[Claimed]]:
        """Take messages away undecided, once the body has done with them what is to be done; those that are there.

        None of them is decided meanwhile or later: `check_still_held` stops a replica that is about to.
        """
        async with transaction(self._pool, self._timeout_s) as connection:
            await connection.execute(statement("lock_held"))
            dropped = list(map(_claimed, await connection.fetch(statement("lock_held_messages"), list(positions))))
            yield dropped
            await _remove(connection, dropped)

    async def put_off(self, message: Claimed, records: frozenset[str], why: str) -> float:
        """Have a message tried again later, which waits for these keys by now; return the pause in seconds."""
        pause_s = min(PAUSE_FIRST_S * 2.0 ** min(message.tries, 32), self._pause_max_s)
        async with transaction(self._pool, self._timeout_s) as connection:
            await connection.execute(statement("lock_held"))
            put_off = await connection.execute(
                statement("put_off_held"), message.position, why, timedelta(seconds=pause_s)
            )
            # An operator may have dropped it meanwhile.
            if records != message.records and written(put_off):
                await connection.execute(statement("delete_held"), [message.position])
                await _note(connection, {message.position: records})
                await connection.execute(statement("put_to_sleep"), [message.position])
                await connection.execute(statement("wake_held"), list(message.records - records))
        return pause_s

    async def next_try_s(self) -> float | None:
        """In how many seconds the next message is to be tried; None where none is held."""
        async with acquired(self._pool, self._timeout_s) as connection:
            left: timedelta | None = await connection.fetchval(statement("find_next_held"), LONGEST)
        return None if left is None else max(0.0, left.total_seconds())


async def blocked(connection: Connection, keys: Collection[str]) -> frozenset[str]:
    """Find those of the keys that held messages wait for."""
    rows = await connection.fetch(statement("find_held_records"), list(keys))
    return frozenset(row["record"] for row in rows)


async def count(pool: Pool) -> tuple[int, float]:
    """How many messages are held, up to HELD_MAX, and for how many seconds the oldest has been."""
    row = await pool.fetchrow(statement("count_held"), HELD_MAX)
    assert row is not None  # noqa: S101 - it counts, and so has one row
    return row["messages"], row["oldest_s"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A held message as an operator looks at it."""

    position: int
    command_id: str
    type: str
    since: datetime
    tries: int
    records: list[str]
    why: str


async def listed(
    pool: Pool,
    timeout_s: float,
    limit: int | None = None,
    *,
    command_ids: Collection[str] | None = None,
    record: str | None = None,
) -> list[Listed]:
    """List held messages, the oldest first: all, or those with these commands, or that wait for the key of a record.

    Raises DatabaseTroubleError.
    """
    chosen = None if command_ids is None else list(command_ids)
    async with acquired(pool, timeout_s) as connection:
        rows = await connection.fetch(statement("list_held"), limit, chosen, record)
    return [
        Listed(
            row["position"],
            str(row["command_id"]),
            row["routing_key"].decode(errors="replace"),
            row["since"],
            row["tries"],
            row["records"],
            row["why"],
        )
        for row in rows
    ]


class NotHeldError(Exception):
    """A command is held no more: an operator has dropped it, or another replica has decided it."""


async def check_still_held(connection: Connection, command_ids: Collection[str]) -> None:
    """Raise NotHeldError if any of the commands is held no more. The others stay held until the transaction ends."""
    found = await connection.fetch(statement("find_still_held"), list(command_ids))
    if missing := set(command_ids) - {str(row["command_id"]) for row in found}:
        raise NotHeldError(f"not held any more: {', '.join(sorted(missing))}")


async def _remove(connection: Connection, messages: Collection[Claimed]) -> None:
    """Take messages away, and wake those behind them. `lock_held` comes first."""
    positions = [message.position for message in messages]
    await connection.execute(statement("delete_held_messages"), positions)
    await connection.execute(statement("delete_held"), positions)
    freed = frozenset[str]().union(*(message.records for message in messages))
    await connection.execute(statement("wake_held"), list(freed))


async def _note(connection: Connection, records: Mapping[int, frozenset[str]]) -> None:
    if pairs := [(record, position) for position, keys in records.items() for record in sorted(keys)]:
        await connection.execute(statement("insert_held"), *columns(pairs))


def _row(message: HeldMessage) -> tuple[object, ...]:
    return (
        message.command_id,
        message.copy,
        message.exchange,
        message.routing_key,
        message.properties,
        message.body,
        message.bulk,
        message.why,
    )


def _claimed(row: asyncpg.Record) -> Claimed:
    return Claimed(
        row["position"],
        row["exchange"],
        row["routing_key"],
        row["properties"],
        row["body"],
        row["bulk"],
        row["tries"],
        row["held_for"],
        frozenset(row["records"]),
    )
