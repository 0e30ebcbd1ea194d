"""Messages that wait: the broker refused each of them, and nothing else is held for it.

A message is refused where one of the queues that it is for is full, or where it has to reach a queue and reaches none.
The broker does not tell which queue it was, and publishing again brings the message anew to all others. So messages
wait by destination, their exchange and routing key, and a destination that refuses is tried with one message at a
time, after pauses that grow. When it takes one it gets two, then four, and so on: a slow subscriber makes room for few,
and those beyond that would be repeated to all others. One replica at a time has the claim to a destination.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from genlock.schemas.values import value
from genlock.service.database.statements import statement
from genlock.service.database.transactions import Pool, acquired, columns, transaction
from genlock.service.ledger.messages import StoredMessage
from genlock.service.ledger.outbox import stored_message

PAUSE_FIRST_S = 0.1
PAUSE_MAX_S = 300.0
"""The pauses between tries of a destination grow twofold up to this, in seconds."""

LONGEST = timedelta(seconds=2 * PAUSE_MAX_S)
"""No destination is put off or claimed for longer. One that seems to be was, by a clock that was ahead."""

AT_ONCE = 128
"""How many messages are published at once, at most, to a destination that takes all."""

BYTES_AT_ONCE = 4 * 1024 * 1024
"""How many bytes of messages are read at once, and one message more."""

COUNTED_MAX = 10_000
"""Up to how many waiting messages are counted: the number is for a metric, and is asked for all the time."""


@value
class Refused:
    """A message that the broker refused. `properties` are AMQP's, as they travel."""

    exchange: str
    routing_key: str
    properties: bytes
    body: bytes
    mandatory: bool = False
    command_id: str | None = None
    """The command of an outcome. It is kept by reference if the ledger has these bytes."""
    outbox: tuple[int, int] | None = None
    """Batch and position of a further message, which is kept by reference."""


@value
class WaitingMessage:
    """A message whose turn it is; `body` is None where it was forgotten meanwhile."""

    id: int
    mandatory: bool
    properties: bytes
    body: bytes | None
    stored: StoredMessage | None
    """The further message that it is."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to try a destination, for a limited time.

    `tries` counts its refusals since it took a message; below 0, how often in a row it has taken all.
    """

    exchange: str
    routing_key: str
    tries: int
    messages: Sequence[WaitingMessage]


class WaitingTable:
    """The waiting messages in the database. All methods raise DatabaseTroubleError."""

    def __init__(self, pool: Pool, timeout_s: float, *, pause_max_s: float = PAUSE_MAX_S) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._pause_max_s = pause_max_s

    async def add(self, refused: Sequence[Refused]) -> None:
        """Keep messages, one at least, until a queue takes them."""
        # In one order, so that two replicas that add at the same time cannot deadlock.
        destinations = sorted({(message.exchange, message.routing_key) for message in refused})
        async with transaction(self._pool, self._timeout_s) as connection:
            first = timedelta(seconds=PAUSE_FIRST_S)
            await connection.execute(statement("insert_destinations"), *columns(destinations), first)
            await connection.execute(statement("insert_waiting"), *columns(list(map(_row, refused))))

    async def claim(self, lease_s: float) -> Claim | None:
        """Take the destination whose turn it is, for `lease_s` seconds; None if it is the turn of none."""
        async with transaction(self._pool, self._timeout_s) as connection:
            lease = min(timedelta(seconds=lease_s), LONGEST)
            row = await connection.fetchrow(statement("claim_destination"), lease, LONGEST)
            if row is None:
                return None
            destination, tries = (row["exchange"], row["routing_key"]), row["tries"]
            count = 1 if tries > 0 else min(2 ** min(-tries, 32), AT_ONCE)
            rows = await connection.fetch(statement("find_waiting"), *destination, count, BYTES_AT_ONCE)
        messages = [
            WaitingMessage(
                found["waiting_id"],
                found["must_route"],
                found["properties"],
                found["bytes"],
                None if found["kind"] is None else stored_message(found),
            )
            for found in rows
        ]
        return Claim(*destination, tries, messages)

    async def release(self, claim: Claim, *, done: Collection[int], refused: Collection[int]) -> None:
        """Give the claim back: the messages `done` wait no longer, and those `refused` are tried again later."""
        destination = (claim.exchange, claim.routing_key)
        tries = max(claim.tries, 0) + 1 if refused else min(claim.tries, 0) - 1
        pause_s = min(PAUSE_FIRST_S * 2.0 ** min(tries, 32), self._pause_max_s) if refused else 0.0
        async with transaction(self._pool, self._timeout_s) as connection:
            await connection.execute(statement("lock_destination"), *destination)
            if done:
                await connection.execute(statement("delete_waiting"), list(done))
            if refused:
                await connection.execute(statement("count_tries"), list(refused))
            await connection.execute(statement("delete_destination"), *destination)
            pause = timedelta(seconds=pause_s)
            await connection.execute(statement("put_off_destination"), *destination, tries, pause)

    async def next_try_s(self) -> float | None:
        """In how many seconds the next destination is to be tried; None where nothing waits."""
        async with acquired(self._pool, self._timeout_s) as connection:
            left: timedelta | None = await connection.fetchval(statement("find_next_try"), LONGEST)
        return None if left is None else max(0.0, left.total_seconds())


async def count(pool: Pool) -> int:
    """How many messages wait, up to COUNTED_MAX."""
    number: int = await pool.fetchval(statement("count_waiting"), COUNTED_MAX)
    return number


def _row(refused: Refused) -> tuple[object, ...]:
    return (
        refused.exchange,
        refused.routing_key,
        refused.mandatory,
        refused.properties,
        refused.command_id,
        *(refused.outbox or (None, None)),
        refused.body,
    )
