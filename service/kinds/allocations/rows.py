"""The allocations of consumers: rows of their own, guarded by the rows of their consumer and their provider.

Which providers a consumer has something of is known for certain only once the consumer is locked, and providers are
locked first. So they are looked up before. If there is another one under the lock, the batch is decided again,
and from then on no other batch moves anything: else a consumer that moves fast enough could keep it waiting for ever
(tests/integration/test_allocation_stress.py).
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import asyncpg

from genlock.service.database.statements import statement
from genlock.service.database.transactions import Connection, DecideAgainError, must_write
from genlock.service.deciding.extension import Extension, Writes
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.limits import StateLimits, TooMuchError
from genlock.service.deciding.state import State
from genlock.service.kinds.allocations.record import Consumer
from genlock.service.kinds.providers.tree_rows import MOVES_BARRIER

Row = tuple[Any, ...]


class AllocationRows(Extension):
    """The allocations of consumers."""

    def barrier(self, _footprint: Footprint) -> str | None:
        return MOVES_BARRIER

    async def find(self, connection: Connection, footprint: Footprint) -> None:
        """Add the providers that the consumers have something of now."""
        rows = await _fetch(connection, "find_allocated_providers", footprint.ids("consumer"), footprint.limits)
        footprint.change("provider", *(str(row["provider_id"]) for row in rows))

    async def read(self, connection: Connection, state: State) -> None:
        """Complete the locked consumers with their allocations.

        Raises DecideAgainError where they have something of a provider that is not locked.
        """
        locked = [consumer.id for consumer in state.of_kind(Consumer)]
        if not locked:
            return
        found: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
        for row in await _fetch(connection, "find_allocations", locked, state.footprint.limits):
            found[str(row["consumer_id"])][str(row["provider_id"])][row["resource_class"]] = row["amount"]
        unlocked: set[str] = set()
        for consumer_id, allocations in found.items():
            consumer = state.records["consumer", consumer_id]
            if isinstance(consumer, Consumer):
                state.records["consumer", consumer_id] = replace(consumer, allocations=allocations)
            unlocked |= {provider_id for provider_id in allocations if ("provider", provider_id) not in state.records}
        # One that does not even exist is a fault in the tables. The rules fail on it, which ends that command alone:
        # deciding again would stop the whole inbox for it (tests/integration/test_allocation_fences.py).
        if unlocked and await connection.fetch(statement("find_ancestors"), list(unlocked)):
            raise DecideAgainError(f"consumers have got something of other providers, such as {min(unlocked)}")

    async def write(self, connection: Connection, writes: Writes) -> None:
        """Write the differences between the consumers' allocations before and after the batch."""
        gone: list[Row] = []
        put: list[Row] = []
        for key, after in writes.changed.items():
            if isinstance(after, Consumer):
                old = writes.before.get(key)
                was = _amounts(old) if isinstance(old, Consumer) else {}
                now = _amounts(after)
                gone += [row for row in was if row not in now]
                put += [(*row, amount) for row, amount in now.items() if was.get(row) != amount]
        if gone:
            await must_write(connection, "delete_allocations", gone)
        if put:
            await must_write(connection, "put_allocations", put)


async def _fetch(
    connection: Connection, name: str, consumers: Collection[str], limits: StateLimits
) -> list[asyncpg.Record]:
    """Fetch something for each allocation of the consumers. Raises TooMuchError where these are too many."""
    rows = await connection.fetch(statement(name), list(consumers), limits.rows + 1)
    if len(rows) > limits.rows:
        raise TooMuchError(f"the consumers that are touched have more than {limits.rows} allocations")
    return rows


def _amounts(consumer: Consumer) -> dict[Row, int]:
    return {
        (consumer.id, provider_id, name): amount
        for provider_id, amounts in consumer.allocations.items()
        for name, amount in amounts.items()
    }
