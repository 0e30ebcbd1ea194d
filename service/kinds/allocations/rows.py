"""The allocations of consumers: rows of their own, guarded by the rows of their consumer and their provider.

Which providers a consumer has something of is known for certain only once the consumer is locked, and providers are
locked first. So they are looked up before, and where there is another one under the lock, the batch is decided again,
and from then on no other batch moves anything: else a consumer that moves fast enough could keep it waiting for ever
(tests/integration/test_allocation_stress.py).
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from genlock.service.database.statements import statement
from genlock.service.database.transactions import Connection, DecideAgainError, must_write
from genlock.service.deciding.record import Record, RecordKey
from genlock.service.deciding.state import State
from genlock.service.kinds.allocations.record import Consumer

Row = tuple[Any, ...]


async def find_providers(connection: Connection, consumer_ids: Collection[str]) -> set[str]:
    """The providers that the consumers have something of now, without any lock."""
    rows = await connection.fetch(statement("find_allocated_providers"), list(consumer_ids))
    return {str(row["provider_id"]) for row in rows}


async def read(connection: Connection, state: State) -> None:
    """Complete the locked consumers with their allocations.

    Raises DecideAgainError where they have something of a provider that is not locked.
    """
    locked = [record.id for record in state.records.values() if isinstance(record, Consumer)]
    if not locked:
        return
    found: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for row in await connection.fetch(statement("find_allocations"), locked):
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


async def write(
    connection: Connection, before: Mapping[RecordKey, Record], changed: Mapping[RecordKey, Record]
) -> None:
    """Write the differences between the consumers' allocations before and after the batch."""
    gone: list[Row] = []
    put: list[Row] = []
    for key, after in changed.items():
        if isinstance(after, Consumer):
            old = before.get(key)
            was = _amounts(old) if isinstance(old, Consumer) else {}
            now = _amounts(after)
            gone += [row for row in was if row not in now]
            put += [(*row, amount) for row, amount in now.items() if was.get(row) != amount]
    if gone:
        await must_write(connection, "delete_allocations", gone)
    if put:
        await must_write(connection, "put_allocations", put)


def _amounts(consumer: Consumer) -> dict[Row, int]:
    return {
        (consumer.id, provider_id, name): amount
        for provider_id, amounts in consumer.allocations.items()
        for name, amount in amounts.items()
    }
